//! Random: any entry leaves, each with the same chance.
//!
//! Source: Belady, "A study of replacement algorithms for a virtual-storage computer" (IBM Systems Journal 1966), where it stands
//! beside MIN and FIFO. Idea: what knows nothing can't be fooled; a policy that is no better learns nothing from the traffic.
//! Cost: 8 bytes an entry, and nothing on a hit.
//! Not to use but to compare with: it hits what is in favour as often as what isn't (`lru` costs the same and knows more).

use super::{Cause, Change, Inspect, Meta, Policy, Slot, Standing};
use crate::learn::drawing;
use crate::list::{NONE, grow};

/// See the head of this file.
#[derive(Debug, Clone, Default)]
pub struct Random {
    slots: Vec<Slot>,
    /// Where in `slots` a slot is.
    places: Vec<u32>,
    numbers: drawing::Random,
}

impl Policy for Random {
    fn on_insert(&mut self, slot: Slot, _fingerprint: u64, _meta: &Meta) {
        grow(&mut self.places, slot, NONE);
        self.places[slot as usize] = self.slots.len() as u32;
        let end = self.slots.len() as Slot;
        grow(&mut self.slots, end, slot);
    }

    fn on_hit(&mut self, _slot: Slot) {}

    fn on_remove(&mut self, slot: Slot, _cause: Cause) {
        let place = self.places[slot as usize];
        self.slots.swap_remove(place as usize);
        if let Some(&moved) = self.slots.get(place as usize) {
            self.places[moved as usize] = place;
        }
    }

    fn victim(&mut self, _newcomer: Option<u64>) -> Option<Slot> {
        let entries = self.slots.len();
        (entries > 0).then(|| self.slots[self.numbers.below(entries)])
    }

    fn configure(&mut self, _change: Change) {}
}

impl Inspect for Random {
    fn candidates(&self, n: usize) -> Vec<Slot> {
        let mut ahead = self.clone();
        let next = || {
            let victim = ahead.victim(None)?;
            ahead.on_remove(victim, Cause::Size);
            Some(victim)
        };
        std::iter::from_fn(next).take(n).collect()
    }

    fn words(&self, _standing: &Standing) -> String {
        "drawn at random".into()
    }

    fn allocated(&self) -> usize {
        (self.slots.capacity() + self.places.capacity()) * size_of::<Slot>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_leaves_about_as_often_as_any_other() {
        let mut random = Random::default();
        (0..10).for_each(|slot| random.on_insert(slot, 0, &Meta::of_weight(1)));
        let mut left = [0; 10];
        for _ in 0..10_000 {
            let victim = random.victim(None).unwrap();
            left[victim as usize] += 1;
            random.on_remove(victim, Cause::Size);
            random.on_insert(victim, 0, &Meta::of_weight(1));
        }
        // Five standard deviations of a binomial distribution.
        assert!(left.iter().all(|&times| (850..1150).contains(&times)), "{left:?}");
    }

    #[test]
    fn the_candidates_are_those_that_leave() {
        let mut random = Random::default();
        (0..100).for_each(|slot| random.on_insert(slot, 0, &Meta::of_weight(1)));
        for expected in random.candidates(100) {
            assert_eq!(random.victim(None), Some(expected));
            random.on_remove(expected, Cause::Size);
        }
    }
}
