//! Lots, and the worst of those that were drawn: some random entries, those that were nearly chosen last time, and the newcomer.
//!
//! Source: Psounis and Prabhakar, "A randomized web-cache replacement scheme" (INFOCOM 2001).

use crate::list::NONE;

/// The next worst, looked at again the next time.
pub const RUNNERS_UP: usize = 4;

/// The worst entries seen, the very worst first.
#[derive(Debug)]
pub struct Worst([(f32, u32); 1 + RUNNERS_UP]);

impl Default for Worst {
    fn default() -> Self {
        Worst([(f32::INFINITY, NONE); 1 + RUNNERS_UP])
    }
}

impl Worst {
    /// Looks at an entry by its place. Among equals the one seen first is worse.
    #[inline]
    pub fn see(&mut self, worth: f32, place: u32) {
        if worth >= self.0[RUNNERS_UP].0 || self.0.iter().any(|other| other.1 == place) {
            return;
        }
        let mut at = RUNNERS_UP;
        while at > 0 && worth < self.0[at - 1].0 {
            self.0[at] = self.0[at - 1];
            at -= 1;
        }
        self.0[at] = (worth, place);
    }

    /// The places of the worst and of those next to it; [`NONE`] where there are none.
    pub fn split(self) -> (u32, [u32; RUNNERS_UP]) {
        let [(_, worst), runners_up @ ..] = self.0;
        (worst, runners_up.map(|(_, place)| place))
    }
}

/// Random numbers, the same each time (Knuth's MMIX).
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Default for Random {
    fn default() -> Self {
        Random(0x9E37_79B9_7F4A_7C15)
    }
}

impl Random {
    /// One below `bound`.
    #[inline(always)]
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (((self.0 >> 32) * bound as u64) >> 32) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_worst_are_found_and_each_once(worths in prop::collection::vec(0u32..50, 0..40), seed in any::<u64>()) {
            let mut worst = Worst::default();
            let mut random = Random(seed);
            for _ in 0..worths.len() * 20 {
                let place = random.below(worths.len());
                worst.see(worths[place] as f32, place as u32);
            }
            (0..worths.len()).for_each(|place| worst.see(worths[place] as f32, place as u32));
            let found: Vec<u32> = worst.0.iter().map(|other| other.1).filter(|&place| place != NONE).collect();
            let mut sorted = worths.clone();
            sorted.sort_unstable();
            sorted.truncate(1 + RUNNERS_UP);
            prop_assert_eq!(found.iter().map(|&place| worths[place as usize]).collect::<Vec<_>>(), sorted);
        }
    }

    #[test]
    fn random_numbers_reach_all_below_the_bound() {
        let mut random = Random::default();
        let mut seen = [false; 10];
        (0..1000).for_each(|_| seen[random.below(10)] = true);
        assert_eq!(seen, [true; 10]);
    }
}
