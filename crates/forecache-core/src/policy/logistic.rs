//! Logistic: of a few random entries the one leaves that a logistic model gives the least chance to be asked for within a turnover.
//!
//! Source: the usual online learner of caches that learn, as the linear baseline of Song, Berger, Li and Lloyd, "Learning relaxed
//! Belady for content distribution network caching" (LRB, NSDI 2020), over eight features: recency, frequency, size, access pattern (how
//! far into its usual gap an entry is), hour of the day of its last use, tier, compression ratio and reference count. Idea:
//! 1. Of entries that are there, and of those that leave, a sample is watched. Asked for within as many requests as there are
//!    entries, there or not, it teaches 1, else 0 (`learn/logistic.rs`). So what is learned is what happened, not what was decided.
//! 2. The victim is the worst of 27 random entries, of the runners-up of the last time, and of the latest newcomer.
//!
//! What a store doesn't know is constant there: the tier is 0 in memory, compression ratio and references are 1 where
//! entries aren't compressed or shared, and there is no hour as long as nothing expires, for then nobody looks at the clock.
//!
//! Cost: 28 bytes an entry and 9 a ghost (two to an entry), some 80 KB a cache. Not to use but for comparison: a weighted sum
//! can't tell a loop from a scan (`learned` can).

use super::history::short;
use super::standing::{percent, requests};
use super::{Cause, Change, Inspect, Meta, Policy, Slot, Standing};
use crate::learn::drawing::{RUNNERS_UP, Random, Worst};
use crate::learn::features::{History, MOST_USES, Scale, bucket};
use crate::learn::ghosts::{Ghost, Ghosts};
use crate::learn::logistic::{Expert, Features};
use crate::list::{NONE, grow};
use hashbrown::HashMap;
use std::collections::VecDeque;
use std::f32::consts::TAU;
use xxhash_rust::xxh3::Xxh3DefaultBuilder;

/// Random entries looked at for a victim.
const CANDIDATES: usize = 27;
/// Ghosts to an entry.
const GHOSTS: usize = 2;
/// Entries watched in a turnover: so many that are there, and so many that leave.
const WATCHED: u32 = 512;
/// What is believed at first: recency first, then frequency.
const BEGIN: Features = [0.0, -4.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0];
/// Nanoseconds.
const DAY: u64 = 86_400 * 1_000_000_000;
/// How often, in requests, no age may have become so great that it looks small again.
const REST: u32 = 1 << 20;

#[derive(Debug, Clone, Copy)]
struct Resident {
    slot: Slot,
    fingerprint: u32,
    history: History,
    /// The logarithm of the weight.
    size: f32,
    tier: u8,
    /// Compression ratio in quarters of an octave, and references in octaves.
    compression: u8,
    references: u8,
    /// Whether it is among those that are watched.
    watched: bool,
}

/// An entry as it was when it began to be watched.
#[derive(Debug)]
struct Watched {
    fingerprint: u32,
    since: u32,
    features: Features,
}

/// See the head of this file.
#[derive(Debug)]
pub struct Logistic {
    model: Box<Expert>,
    residents: Vec<Resident>,
    /// Where in `residents` a slot is.
    places: Vec<u32>,
    ghosts: Ghosts,
    scale: Scale,
    now: u32,
    /// Those that are watched, the longest first, and when that began, for those that weren't asked for yet.
    watched: VecDeque<Watched>,
    waiting: HashMap<u32, u32, Xxh3DefaultBuilder>,
    /// When an entry was last chosen to be watched of those that are there, and of those that leave.
    chosen: [u32; 2],
    /// The sum of the logarithms of all weights.
    sizes: f64,
    /// Nanoseconds by the store's clock, and the request and time when it first told one.
    clock: u64,
    first: Option<(u32, u64)>,
    random: Random,
    runners_up: [Slot; RUNNERS_UP],
    newcomer: Slot,
}

impl Default for Logistic {
    fn default() -> Self {
        Logistic {
            model: Box::new(Expert::new(BEGIN)),
            residents: Vec::new(),
            places: Vec::new(),
            ghosts: Ghosts::default(),
            scale: Scale::of(0),
            now: 0,
            watched: VecDeque::new(),
            waiting: HashMap::default(),
            chosen: [0; 2],
            sizes: 0.0,
            clock: 0,
            first: None,
            random: Random::default(),
            runners_up: [NONE; RUNNERS_UP],
            newcomer: NONE,
        }
    }
}

fn size_of_weight(weight: u64) -> f32 {
    (weight.max(1) as f32).log2()
}

impl Logistic {
    /// Turnovers as requests: entries that are there.
    fn turnover(&self) -> u32 {
        self.residents.len().clamp(1, 1 << 30) as u32
    }

    fn features(&self, resident: &Resident) -> Features {
        let History { last, uses, gaps, .. } = resident.history;
        let age = self.now.wrapping_sub(last);
        // Ages in quarter octaves.
        let (old, turnover) = (bucket(age) as f32, bucket(self.scale.entries) as f32);
        let pattern = if uses == 0 { 0.0 } else { (old - bucket(1 << (gaps & 31)) as f32) / 32.0 };
        let mean = (self.sizes / self.residents.len().max(1) as f64) as f32;
        let (sine, cosine) = self.hour(age);
        let features = [
            1.0,
            (old - turnover) / 32.0,
            f32::from(1 + uses).log2() / 7.0,
            (resident.size - mean) / 8.0,
            pattern,
            sine,
            cosine,
            f32::from(resident.tier) / 8.0,
            f32::from(resident.compression) / 32.0,
            f32::from(resident.references) / 16.0,
        ];
        features.map(|feature| feature.clamp(-1.0, 1.0))
    }

    /// The hour of the day, by the store's clock, so many requests ago, as a point of a circle.
    fn hour(&self, age: u32) -> (f32, f32) {
        let Some((request, time)) = self.first else { return (0.0, 0.0) };
        let pace = (self.clock - time) as f64 / f64::from(self.now.wrapping_sub(request).max(1));
        let then = self.clock.saturating_sub((pace * f64::from(age)) as u64);
        ((then % DAY) as f32 / DAY as f32 * TAU).sin_cos()
    }

    fn worth(&self, resident: &Resident) -> f32 {
        self.model.score(&self.features(resident))
    }

    /// A key was asked for.
    #[cold]
    #[inline(never)]
    fn asked_for(&mut self, fingerprint: u32) {
        let Some(since) = self.waiting.remove(&fingerprint) else { return };
        let at = self.watched.partition_point(|watched| self.now.wrapping_sub(watched.since) > self.now.wrapping_sub(since));
        let found =
            self.watched.range(at..).take_while(|watched| watched.since == since).find(|one| one.fingerprint == fingerprint);
        if let Some(Watched { features, .. }) = found {
            self.model.learn(&{ *features }, true);
        }
    }

    /// Watches an entry from now on, if it is time for one of this kind.
    fn watch(&mut self, resident: &Resident, kind: usize) -> bool {
        if self.now.wrapping_sub(self.chosen[kind]) < self.turnover() / WATCHED
            || self.waiting.contains_key(&resident.fingerprint)
        {
            return false;
        }
        self.chosen[kind] = self.now;
        self.waiting.insert(resident.fingerprint, self.now);
        let features = self.features(resident);
        self.watched.push_back(Watched { fingerprint: resident.fingerprint, since: self.now, features });
        true
    }

    /// Those that weren't asked for within a turnover.
    fn conclude(&mut self) {
        let turnover = self.turnover();
        while self.watched.front().is_some_and(|first| self.now.wrapping_sub(first.since) > turnover) {
            let Some(Watched { fingerprint, since, features }) = self.watched.pop_front() else { return };
            if self.waiting.get(&fingerprint) == Some(&since) {
                self.waiting.remove(&fingerprint);
                self.model.learn(&features, false);
            }
        }
    }

    #[inline]
    fn request(&mut self) {
        const MOST: u32 = 1 << 31;
        self.now = self.now.wrapping_add(1);
        if self.now % REST == 0 {
            for Resident { history, .. } in &mut self.residents {
                history.last = self.now.wrapping_sub(self.now.wrapping_sub(history.last).min(MOST));
            }
            self.ghosts.sweep(self.now);
        }
    }
}

impl Policy for Logistic {
    fn on_insert(&mut self, slot: Slot, fingerprint: u64, meta: &Meta) {
        self.request();
        self.clock = self.clock.max(meta.now);
        if self.first.is_none() && meta.now > 0 {
            self.first = Some((self.now, meta.now));
        }
        let fingerprint = short(fingerprint);
        self.asked_for(fingerprint);
        let known = self.ghosts.take(fingerprint, self.now);
        let history = known.map_or(History::new(self.now), |Ghost { mut history, .. }| {
            history.touch(self.now, &self.scale);
            history
        });
        let size = size_of_weight(meta.weight);
        self.sizes += f64::from(size);
        let octaves = |ratio: f32| ratio.max(1.0).log2().min(63.0);
        let resident = Resident {
            slot,
            fingerprint,
            history,
            size,
            tier: meta.tier,
            compression: (octaves(meta.compression) * 4.0) as u8,
            references: octaves(meta.references as f32) as u8,
            watched: false,
        };
        grow(&mut self.places, slot, NONE);
        self.places[slot as usize] = self.residents.len() as u32;
        if self.residents.len() == self.residents.capacity() {
            self.residents.reserve_exact((self.residents.len() / 16).max(16));
        }
        self.residents.push(resident);
        self.newcomer = slot;
    }

    fn on_hit(&mut self, slot: Slot) {
        self.request();
        let resident = &mut self.residents[self.places[slot as usize] as usize];
        resident.history.touch(self.now, &self.scale);
        if std::mem::take(&mut resident.watched) {
            let fingerprint = resident.fingerprint;
            self.asked_for(fingerprint);
        }
    }

    fn on_remove(&mut self, slot: Slot, cause: Cause) {
        let place = std::mem::replace(&mut self.places[slot as usize], NONE) as usize;
        if cause == Cause::Size {
            let resident = self.residents[place];
            self.watch(&resident, 1);
        }
        let gone = self.residents.swap_remove(place);
        if let Some(moved) = self.residents.get(place) {
            self.places[moved.slot as usize] = place as u32;
        }
        self.sizes -= f64::from(gone.size);
        self.ghosts.put(gone.fingerprint, Ghost { history: gone.history, watched: false }, self.now);
    }

    fn victim(&mut self, _newcomer: Option<u64>) -> Option<Slot> {
        if self.residents.is_empty() {
            return None;
        }
        self.scale = Scale::of(self.residents.len());
        self.ghosts.fit(self.residents.len() * GHOSTS, &self.scale, self.now);
        self.conclude();
        let any = self.random.below(self.residents.len());
        let resident = self.residents[any];
        self.residents[any].watched |= self.watch(&resident, 0);
        let mut worst = Worst::default();
        if self.residents.len() <= CANDIDATES {
            (0..self.residents.len()).for_each(|place| worst.see(self.worth(&self.residents[place]), place as u32));
        } else {
            for slot in self.runners_up.into_iter().chain([self.newcomer]) {
                if let Some(&place) = self.places.get(slot as usize).filter(|&&place| place != NONE) {
                    worst.see(self.worth(&self.residents[place as usize]), place);
                }
            }
            for _ in 0..CANDIDATES {
                let place = self.random.below(self.residents.len());
                worst.see(self.worth(&self.residents[place]), place as u32);
            }
        }
        let (victim, runners_up) = worst.split();
        let slot = |place: u32| self.residents.get(place as usize).map(|resident| resident.slot);
        self.runners_up = runners_up.map(|place| slot(place).unwrap_or(NONE));
        slot(victim)
    }

    fn configure(&mut self, change: Change) {
        if let Change::Weight(slot, weight) = change {
            let resident = &mut self.residents[self.places[slot as usize] as usize];
            let size = size_of_weight(weight);
            self.sizes += f64::from(size) - f64::from(std::mem::replace(&mut resident.size, size));
        }
    }
}

impl Inspect for Logistic {
    /// By chance: the victim is among the first, which depends on the sample.
    fn candidates(&self, n: usize) -> Vec<Slot> {
        let rank = |resident: &Resident| (self.worth(resident), self.now.wrapping_sub(resident.history.last), resident.slot);
        let mut ranks: Vec<_> = self.residents.iter().map(rank).collect();
        ranks.sort_unstable_by(|left, right| left.0.total_cmp(&right.0).then(right.1.cmp(&left.1)));
        ranks.into_iter().map(|(_, _, slot)| slot).take(n).collect()
    }

    fn hits(&self, slot: Slot) -> u64 {
        self.residents[self.places[slot as usize] as usize].history.uses.into()
    }

    fn standing(&self, slot: Slot) -> Standing {
        let resident = &self.residents[self.places[slot as usize] as usize];
        let History { last, uses, .. } = resident.history;
        Standing { worth: self.model.chance(&self.features(resident)), age: self.now.wrapping_sub(last), class: 0, uses }
    }

    fn words(&self, standing: &Standing) -> String {
        let (used, chance) = (standing.used(MOST_USES), percent(standing.worth));
        format!("{used}; its features give it {chance} chance to be asked for within the next {}", requests(self.turnover()))
    }

    fn allocated(&self) -> usize {
        self.residents.capacity() * size_of::<Resident>()
            + self.places.capacity() * 4
            + self.ghosts.allocated()
            + self.watched.capacity() * size_of::<Watched>()
            + self.waiting.allocation_size()
            + size_of::<Expert>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::collections::BTreeMap;

    const HOUR: u64 = DAY / 24;

    fn fingerprint(key: u32) -> u64 {
        crate::fingerprint::fingerprint(&key.to_le_bytes(), 3)
    }

    fn holding(metas: &[Meta]) -> Logistic {
        let mut policy = Logistic::default();
        metas.iter().zip(0..).for_each(|(meta, slot)| policy.on_insert(slot, fingerprint(slot), meta));
        policy
    }

    #[test]
    fn before_anything_is_learned_it_evicts_what_was_used_longest_ago_unless_it_was_used_more() {
        let mut policy = holding(&[Meta::of_weight(1); 40]);
        assert_eq!(policy.candidates(2), [0, 1]);
        (0..100).for_each(|_| policy.on_hit(0));
        assert_eq!(policy.candidates(1), [1]);
        assert!(policy.victim(None).is_some_and(|victim| victim != 0));
    }

    #[test]
    fn every_feature_that_is_told_is_seen() {
        let plain = Meta { now: 6 * HOUR, ..Meta::of_weight(100) };
        let of = |meta: Meta| holding(&[plain, meta]).features(&holding(&[plain, meta]).residents[1]);
        let usual = of(plain);
        let other = [
            (3, Meta { weight: 1000, ..plain }),
            (7, Meta { tier: 2, ..plain }),
            (8, Meta { compression: 4.0, ..plain }),
            (9, Meta { references: 8, ..plain }),
        ];
        for (feature, meta) in other {
            let changed = of(meta);
            let differ: Vec<_> = (0..usual.len()).filter(|&at| usual[at] != changed[at]).collect();
            assert_eq!(differ, [feature]);
        }
        assert!((usual[5] - 1.0).abs() < 1e-3 && usual[6].abs() < 1e-3, "six hours are a quarter of a day: {usual:?}");
        let mut policy = holding(&[plain; 2]);
        (0..9).for_each(|_| policy.on_hit(0));
        let used = policy.features(&policy.residents[0]);
        assert!(used[2] > usual[2] && policy.features(&policy.residents[1])[1] > used[1]);
    }

    #[test]
    fn what_is_asked_for_soon_after_it_left_teaches_that_it_should_have_stayed() {
        // Large entries come back, small ones don't, whatever is decided about them.
        let (large, small) = (Meta::of_weight(1000), Meta::of_weight(10));
        let mut policy = Logistic::default();
        let (mut slot_of, mut key_of) = (BTreeMap::new(), BTreeMap::new());
        let mut free: Vec<Slot> = (0..60).collect();
        for turn in 0..20_000u32 {
            let (key, meta) = if turn % 2 == 0 { (turn / 2 % 40, &large) } else { (1000 + turn, &small) };
            if let Some(&slot) = slot_of.get(&key) {
                policy.on_hit(slot);
                continue;
            }
            let slot = free.pop().unwrap_or_else(|| {
                let victim = policy.victim(None).unwrap();
                policy.on_remove(victim, Cause::Size);
                slot_of.remove(&key_of.remove(&victim).unwrap());
                victim
            });
            policy.on_insert(slot, fingerprint(key), meta);
            slot_of.insert(key, slot);
            key_of.insert(slot, key);
        }
        let kept = slot_of.keys().filter(|&&key| key < 1000).count();
        assert!(kept > 35, "{kept} of 40 large ones in 60 places: {:?}", policy.model);
        assert!(policy.watched.len() <= 2 * WATCHED as usize && policy.waiting.len() <= policy.watched.len());
    }
}
