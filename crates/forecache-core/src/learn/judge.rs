//! How right the policy is: evictions and predictions, held against what was asked for afterwards.
//!
//! An eviction is right if its key isn't asked for again within the next requests, as many as the cache holds entries. What is predicted is the
//! chance of just that, for keys that are evicted and for some that stay, so that predictions can be held against
//! what came in bins of equal chance: where the model is calibrated, of those given 30 % come 30 % (Naeini, Cooper and Hauskrecht,
//! "Obtaining well calibrated probabilities using Bayesian binning", AAAI 2015, whose expected calibration error is the one number).
//!
//! Of the keys that are counted one in four is judged, each in a place that its fingerprint gives it; who finds its place taken isn't judged, which has
//! nothing to do with what becomes of it. What was found fades with the evidence, so it tells of the present.

/// Keys that can wait for their judgement.
const PLACES: usize = 1 << PLACE_BITS;
const PLACE_BITS: u32 = 9;
/// Of keys that stay, so many are offered at the end of an epoch.
pub const STAYING: usize = 256;
/// A key is judged if its fingerprint has none of these bits, which tell neither whether it is counted nor its place.
const SPARED: u32 = 3 << 16;
/// Where bins of chances end. Most of what is evicted has little chance, so bins are narrow there.
pub const ENDS: [f32; 9] = [0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0];

/// A key that waits for its judgement.
#[derive(Debug, Clone, Copy, Default)]
struct Open {
    fingerprint: u32,
    /// The last request that counts.
    end: u32,
    chance: f32,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Kind {
    #[default]
    None,
    Stays,
    Evicted,
}

/// Predictions of about the same chance: how many, the sum of their chances, and how many of the keys were asked for. They fade.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Bin {
    /// How many.
    pub weight: f64,
    /// The sum of their chances.
    pub predicted: f64,
    /// Those that came true.
    pub seen: f64,
}

/// What was found; of several rooms, added up.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Verdict {
    /// Evictions that were judged.
    pub judged: u64,
    /// Those of them that were right and those that were wrong. They fade.
    pub right: f64,
    /// See `right`.
    pub wrong: f64,
    /// Predictions by chance: see [`ENDS`].
    pub bins: [Bin; ENDS.len()],
}

impl Verdict {
    /// Adds that of another room.
    pub fn add(&mut self, other: &Verdict) {
        self.judged += other.judged;
        self.right += other.right;
        self.wrong += other.wrong;
        for (bin, other) in self.bins.iter_mut().zip(&other.bins) {
            bin.weight += other.weight;
            bin.predicted += other.predicted;
            bin.seen += other.seen;
        }
    }
}

/// See the head of this file.
#[derive(Debug, Clone, Default)]
pub struct Judge {
    /// None before the first eviction.
    open: Vec<Open>,
    /// Apart, since it is large and seldom needed.
    found: Box<Verdict>,
}

impl Judge {
    /// A key that was evicted, or that stays, will be asked for within the next `window` requests with this chance.
    #[inline]
    pub fn expect(&mut self, fingerprint: u32, evicted: bool, now: u32, window: u32, chance: impl FnOnce() -> f32) {
        if fingerprint & SPARED != 0 {
            return;
        }
        if self.open.is_empty() {
            self.open = vec![Open::default(); PLACES];
        }
        let place = &mut self.open[(fingerprint >> (u32::BITS - PLACE_BITS)) as usize];
        if place.kind != Kind::None {
            if !is_past(place.end, now) {
                return;
            }
            self.found.note(place, false);
        }
        let kind = if evicted { Kind::Evicted } else { Kind::Stays };
        *place = Open { fingerprint, end: now.wrapping_add(window), chance: chance(), kind };
    }

    /// A key was asked for.
    #[inline]
    pub fn asked(&mut self, fingerprint: u32, now: u32) {
        if fingerprint & SPARED != 0 {
            return;
        }
        let Some(place) = self.open.get_mut((fingerprint >> (u32::BITS - PLACE_BITS)) as usize) else { return };
        if place.fingerprint == fingerprint && place.kind != Kind::None {
            self.found.note(place, !is_past(place.end, now));
        }
    }

    /// Judges those whose time is over. What was found before counts for this share of it from now on.
    pub fn settle(&mut self, now: u32, share: f32) {
        let share = f64::from(share);
        self.found.right *= share;
        self.found.wrong *= share;
        for bin in &mut self.found.bins {
            *bin = Bin { weight: bin.weight * share, predicted: bin.predicted * share, seen: bin.seen * share };
        }
        for place in self.open.iter_mut().filter(|place| place.kind != Kind::None && is_past(place.end, now)) {
            self.found.note(place, false);
        }
    }

    /// What was found so far.
    pub fn verdict(&self) -> &Verdict {
        &self.found
    }

    /// Bytes allocated.
    pub fn allocated(&self) -> usize {
        self.open.capacity() * size_of::<Open>() + size_of::<Verdict>()
    }
}

impl Verdict {
    fn note(&mut self, place: &mut Open, asked: bool) {
        let Open { chance, kind, .. } = std::mem::take(place);
        let bin = ENDS.iter().position(|&end| chance <= end).unwrap_or(ENDS.len() - 1);
        let bin = &mut self.bins[bin];
        bin.weight += 1.0;
        bin.predicted += f64::from(chance);
        bin.seen += f64::from(u8::from(asked));
        if kind == Kind::Evicted {
            self.judged += 1;
            *(if asked { &mut self.wrong } else { &mut self.right }) += 1.0;
        }
    }
}

/// Whether a request comes after another; they are numbered modulo 2^32.
fn is_past(end: u32, now: u32) -> bool {
    (now.wrapping_sub(end) as i32) > 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fingerprint(number: u32) -> u32 {
        crate::fingerprint::fingerprint(&number.to_le_bytes(), 5) as u32 & !SPARED
    }

    #[test]
    fn an_eviction_is_wrong_if_its_key_comes_within_the_window_and_right_if_not() {
        let mut judge = Judge::default();
        for (key, comes) in [(1, Some(109)), (2, Some(110)), (3, Some(111)), (4, None)] {
            judge.expect(fingerprint(key), true, 10, 100, || 0.3);
            comes.into_iter().for_each(|comes| judge.asked(fingerprint(key), comes));
        }
        judge.settle(110, 1.0);
        assert_eq!((judge.verdict().right, judge.verdict().wrong, judge.verdict().judged), (1.0, 2.0, 3), "one has time left");
        judge.settle(111, 0.5);
        assert_eq!((judge.verdict().right, judge.verdict().wrong, judge.verdict().judged), (1.5, 1.0, 4));
        judge.asked(fingerprint(4), 112);
        assert_eq!(judge.verdict().judged, 4);
    }

    #[test]
    fn those_that_stay_count_for_calibration_alone() {
        let mut judge = Judge::default();
        judge.expect(fingerprint(1), false, u32::MAX - 3, 10, || 0.7);
        judge.asked(fingerprint(1), 5);
        assert_eq!((judge.verdict().right, judge.verdict().wrong), (0.0, 0.0));
        let bin = judge.verdict().bins[7];
        assert_eq!((bin.weight, bin.predicted as f32, bin.seen), (1.0, 0.7, 1.0));
    }

    proptest! {
        /// Whatever the chance, judging a coin with it finds it calibrated and evictions wrong as often, whoever found no place.
        #[test]
        fn a_coin_is_found_to_be_one(chance in 0f32..1.0, seed in any::<u32>()) {
            let mut judge = Judge::default();
            for number in 0..20_000u32 {
                let (key, now) = (fingerprint(number.wrapping_add(seed)), number);
                judge.expect(key, true, now, 700, || chance);
                let lot = fingerprint(!number.wrapping_add(seed)) as f32 / u32::MAX as f32;
                if let Some(before) = number.checked_sub(300).filter(|_| lot < chance) {
                    judge.asked(fingerprint(before.wrapping_add(seed)), now);
                }
            }
            judge.settle(u32::MAX / 2, 1.0);
            let found = judge.verdict();
            let share = found.wrong / (found.right + found.wrong);
            prop_assert!(found.judged > 5000 && (share - f64::from(chance)).abs() < 0.05, "{} of {}", share, chance);
        }
    }
}
