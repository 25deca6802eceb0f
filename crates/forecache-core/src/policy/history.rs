//! What a policy remembers of entries that left.

use crate::table;
use hashbrown::HashTable;
use std::collections::VecDeque;

/// Ghosts in the order of their leaving: a queue of 32-bit fingerprints with an index, about 12 bytes a ghost. One look-up in
/// 2^32 / ghosts takes a stranger for a ghost, which costs at most one entry a better place than it deserves.
#[derive(Debug, Default)]
pub struct Ghosts {
    queue: VecDeque<u32>,
    /// The number in the queue of each ghost, counted from the first that ever came.
    index: HashTable<u32>,
    /// How many have left the front of the queue, modulo 2^32.
    gone: u32,
}

/// A place in the queue whose ghost was forgotten before its turn. No fingerprint has this value.
const FORGOTTEN: u32 = 0;

fn hash(fingerprint: u32) -> u64 {
    u64::from(fingerprint).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29)
}

/// The 32 bits of a fingerprint that are kept.
pub fn short(fingerprint: u64) -> u32 {
    ((fingerprint >> 32) as u32).max(FORGOTTEN + 1)
}

impl Ghosts {
    /// Remembers `fingerprint`, which is no ghost, as the latest, and forgets the oldest until at most `limit` are left. If a
    /// stranger with the same fingerprint is one, both stay: looking for it first would cost more than it is worth.
    pub fn remember(&mut self, fingerprint: u32, limit: usize) {
        let Ghosts { queue, index, gone } = self;
        let number = gone.wrapping_add(queue.len() as u32);
        if queue.len() == queue.capacity() {
            queue.reserve_exact((queue.len() / 16).max(16));
        }
        queue.push_back(fingerprint);
        table::insert(index, hash(fingerprint), number, |&n| hash(queue[n.wrapping_sub(*gone) as usize]));
        while self.index.len() > limit {
            self.forget_front();
        }
        if self.queue.len() > self.index.len() + self.index.len() / 2 + 64 {
            self.compact();
        }
    }

    /// Whether `fingerprint` is a ghost; it is none any more.
    pub fn forget(&mut self, fingerprint: u32) -> bool {
        let Ghosts { queue, index, gone } = self;
        let place = |&n: &u32| n.wrapping_sub(*gone) as usize;
        match index.find_entry(hash(fingerprint), |n| queue[place(n)] == fingerprint) {
            Ok(found) => {
                let at = place(found.get());
                found.remove();
                queue[at] = FORGOTTEN;
                true
            }
            Err(_) => false,
        }
    }

    fn forget_front(&mut self) {
        let Some(fingerprint) = self.queue.front().copied() else {
            return;
        };
        if fingerprint != FORGOTTEN {
            if let Ok(found) = self.index.find_entry(hash(fingerprint), |&number| number == self.gone) {
                found.remove();
            }
        }
        self.queue.pop_front();
        self.gone = self.gone.wrapping_add(1);
    }

    /// Drops the places of the forgotten, whose number nothing else bounds.
    fn compact(&mut self) {
        self.queue.retain(|&fingerprint| fingerprint != FORGOTTEN);
        self.gone = 0;
        self.index.clear();
        let Ghosts { queue, index, .. } = self;
        for (number, &fingerprint) in queue.iter().enumerate() {
            index.insert_unique(hash(fingerprint), number as u32, |&n| hash(queue[n as usize]));
        }
    }

    /// Bytes allocated.
    pub fn allocated(&self) -> usize {
        self.queue.capacity() * 4 + self.index.allocation_size()
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.index.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn ghosts_are_a_bounded_queue_without_repeats(steps in prop::collection::vec((any::<bool>(), 1u32..40), 1..600), limit in 1usize..20) {
            let mut ghosts = Ghosts::default();
            let mut model: Vec<u32> = Vec::new();
            for (remember, fingerprint) in steps {
                let known = model.contains(&fingerprint);
                model.retain(|&other| other != fingerprint);
                if remember && !known {
                    ghosts.remember(fingerprint, limit);
                    model.push(fingerprint);
                    model.drain(..model.len().saturating_sub(limit));
                    prop_assert!(ghosts.queue.len() <= 2 * ghosts.len() + 64);
                } else {
                    prop_assert_eq!(ghosts.forget(fingerprint), known);
                }
                prop_assert_eq!(ghosts.len(), model.len());
            }
            for fingerprint in 1..40 {
                prop_assert_eq!(ghosts.forget(fingerprint), model.contains(&fingerprint));
            }
        }
    }
}
