//! From a key's hash to its entry's slot: what a store looks its keys up in.

use crate::list::{NONE, Slot, grow};
use crate::table;
use hashbrown::HashTable;

/// See the head of this file. `equal` tells whether a slot holds the key in question, `hash_of` the hash that a slot came with.
pub trait Index: Default + std::fmt::Debug {
    /// The slot of a key.
    fn find(&self, hash: u64, equal: impl Fn(Slot) -> bool) -> Option<Slot>;
    /// Adds the slot of a key that isn't in.
    fn insert(&mut self, hash: u64, slot: Slot, hash_of: impl Fn(Slot) -> u64);
    /// Removes a slot, if it is in.
    fn remove(&mut self, hash: u64, slot: Slot);
    /// Slots held.
    fn len(&self) -> usize;
    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Bytes allocated.
    fn allocated(&self) -> usize;
}

/// For keys of any kind.
pub type Hashed = HashTable<Slot>;

impl Index for Hashed {
    #[inline]
    fn find(&self, hash: u64, equal: impl Fn(Slot) -> bool) -> Option<Slot> {
        HashTable::find(self, hash, |&slot| equal(slot)).copied()
    }

    #[inline]
    fn insert(&mut self, hash: u64, slot: Slot, hash_of: impl Fn(Slot) -> u64) {
        table::insert(self, hash, slot, |&slot| hash_of(slot));
    }

    #[inline]
    fn remove(&mut self, hash: u64, slot: Slot) {
        if let Ok(found) = self.find_entry(hash, |&other| other == slot) {
            found.remove();
        }
    }

    fn len(&self) -> usize {
        HashTable::len(self)
    }

    fn allocated(&self) -> usize {
        self.allocation_size()
    }
}

/// For keys that are small numbers without gaps, each its own hash: an array. The simulator's keys are such.
#[derive(Debug, Default)]
pub struct Dense {
    slots: Vec<Slot>,
    used: usize,
}

impl Index for Dense {
    #[inline]
    fn find(&self, hash: u64, _equal: impl Fn(Slot) -> bool) -> Option<Slot> {
        self.slots.get(hash as usize).copied().filter(|&slot| slot != NONE)
    }

    #[inline]
    fn insert(&mut self, hash: u64, slot: Slot, _hash_of: impl Fn(Slot) -> u64) {
        grow(&mut self.slots, hash as Slot, NONE);
        self.slots[hash as usize] = slot;
        self.used += 1;
    }

    #[inline]
    fn remove(&mut self, hash: u64, _slot: Slot) {
        self.slots[hash as usize] = NONE;
        self.used -= 1;
    }

    fn len(&self) -> usize {
        self.used
    }

    fn allocated(&self) -> usize {
        self.slots.capacity() * size_of::<Slot>()
    }
}
