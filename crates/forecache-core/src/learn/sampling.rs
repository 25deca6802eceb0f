//! Who is looked at for a victim: some entries each time, one after the other, and those that were nearly chosen before.
//!
//! Of a sample of n the worst is, on average, among the worst 1/n of all (Psounis and Prabhakar, "A randomized web-cache replacement
//! scheme", INFOCOM 2001); those that are kept from one time to the next make it better still, as in Redis. Entries stand in no order, for each
//! newcomer takes the place of whoever left, so to go through them by their places is to draw without putting back: nobody is looked at
//! twice while others aren't, and neighbours share a cache line.

use crate::list::Slot;

/// How many are kept. More are hardly better: what was worth little when it was looked at may be worth more by now.
const KEPT: usize = 8;
const NOBODY: u64 = u64::MAX;

/// The worst that were seen and are still there, the very worst first: the bits of what each was worth, then its slot.
#[derive(Debug)]
pub struct Pool([u64; KEPT]);

impl Default for Pool {
    fn default() -> Self {
        Pool([NOBODY; KEPT])
    }
}

impl Pool {
    /// Looks at an entry, which must be worth 0 or more. Says whether it is kept for now.
    #[inline]
    pub fn see(&mut self, worth: f32, slot: Slot) -> bool {
        let mut new = u64::from(worth.to_bits()) << 32 | u64::from(slot);
        match self.0.iter().position(|&kept| kept as u32 == slot && kept != NOBODY) {
            Some(at) => self.give_up(at),
            None if new >= self.0[KEPT - 1] => return false,
            None => {}
        }
        // Each moves on that is better, and the last falls out.
        for kept in &mut self.0 {
            (*kept, new) = ((*kept).min(new), (*kept).max(new));
        }
        true
    }

    #[inline]
    fn give_up(&mut self, at: usize) {
        for kept in 0..KEPT - 1 {
            self.0[kept] = self.0[kept + usize::from(kept >= at)];
        }
        self.0[KEPT - 1] = NOBODY;
    }

    /// Gives up the worst, and says what the next was worth: infinitely much if there is none.
    #[inline]
    pub fn pop(&mut self) -> Option<(Slot, f32)> {
        let worst = self.0[0];
        self.give_up(0);
        // The bits of nobody are no number.
        let next = f32::from_bits((self.0[0] >> 32) as u32).min(f32::INFINITY);
        (worst != NOBODY).then_some((worst as Slot, next))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_worst_are_kept_and_each_as_it_was_seen_last(seen in prop::collection::vec((0u32..50, 0u32..40), 0..100)) {
            let mut pool = Pool::default();
            let mut expected: Vec<(u32, u32)> = Vec::new();
            for (worth, slot) in seen {
                expected.retain(|&(_, other)| other != slot);
                expected.push((worth, slot));
                expected.sort_unstable();
                expected.truncate(KEPT);
                prop_assert_eq!(pool.see(worth as f32, slot), expected.contains(&(worth, slot)));
            }
            let next = expected.iter().skip(1).map(|&(worth, _)| worth as f32).chain([f32::INFINITY]);
            for (&(_, slot), next) in expected.iter().zip(next) {
                prop_assert_eq!(pool.pop(), Some((slot, next)));
            }
            prop_assert_eq!(pool.pop(), None);
        }
    }
}
