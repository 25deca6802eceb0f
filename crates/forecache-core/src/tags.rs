//! Which entries carry which tags. Costs nothing for entries without.

use crate::list::Slot;
use hashbrown::{HashMap, HashSet};
use xxhash_rust::xxh3::Xxh3DefaultBuilder as Hash;

/// Tags of slots and slots of tags.
#[derive(Debug, Default)]
pub struct Tags {
    slots: HashMap<Box<str>, HashSet<Slot, Hash>, Hash>,
    tags: HashMap<Slot, Box<[Box<str>]>, Hash>,
}

impl Tags {
    /// Gives `slot`, which has none, these tags.
    pub fn set(&mut self, slot: Slot, tags: &[Box<str>]) {
        if !tags.is_empty() {
            for tag in tags {
                self.slots.entry(tag.clone()).or_default().insert(slot);
            }
            self.tags.insert(slot, tags.into());
        }
    }

    /// Forgets the tags of `slot`, if it has any.
    #[inline]
    pub fn remove(&mut self, slot: Slot) {
        if !self.tags.is_empty() {
            self.forget(slot);
        }
    }

    fn forget(&mut self, slot: Slot) {
        for tag in self.tags.remove(&slot).unwrap_or_default() {
            if let Some(slots) = self.slots.get_mut(&tag) {
                slots.remove(&slot);
                if slots.is_empty() {
                    self.slots.remove(&tag);
                }
            }
        }
    }

    /// The slots that carry `tag`, in order.
    pub fn slots(&self, tag: &str) -> Vec<Slot> {
        let mut slots: Vec<Slot> = self.slots.get(tag).into_iter().flatten().copied().collect();
        slots.sort_unstable();
        slots
    }
}
