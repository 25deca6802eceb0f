//! Which entries carry which tags. Costs nothing for entries without.

use crate::list::Slot;
use hashbrown::{HashMap, HashSet};
use xxhash_rust::xxh3::Xxh3DefaultBuilder as Hash;

#[derive(Debug, Default)]
struct Tag {
    name: Box<str>,
    slots: HashSet<Slot, Hash>,
}

/// Tags of slots and slots of tags. A tag is numbered as long as an entry carries it.
#[derive(Debug, Default)]
pub struct Tags {
    list: Vec<Tag>,
    free: Vec<u32>,
    numbers: HashMap<Box<str>, u32, Hash>,
    of: HashMap<Slot, Box<[u32]>, Hash>,
}

impl Tags {
    /// Gives `slot`, which has none, these tags.
    #[inline]
    pub fn set(&mut self, slot: Slot, tags: &[Box<str>]) {
        if !tags.is_empty() {
            self.add(slot, tags);
        }
    }

    fn add(&mut self, slot: Slot, tags: &[Box<str>]) {
        let numbers: Box<[u32]> = tags.iter().map(|tag| self.number(tag)).collect();
        for &number in &numbers {
            self.list[number as usize].slots.insert(slot);
        }
        self.of.insert(slot, numbers);
    }

    /// The tags of `slot`.
    pub fn names(&self, slot: Slot) -> Vec<Box<str>> {
        self.of
            .get(&slot)
            .map_or_else(Vec::new, |numbers| numbers.iter().map(|&tag| self.list[tag as usize].name.clone()).collect())
    }

    fn number(&mut self, tag: &str) -> u32 {
        if let Some(&number) = self.numbers.get(tag) {
            return number;
        }
        let number = self.free.pop().unwrap_or(self.list.len() as u32);
        if number as usize == self.list.len() {
            self.list.push(Tag::default());
        }
        self.list[number as usize].name = tag.into();
        self.numbers.insert(tag.into(), number);
        number
    }

    /// Forgets the tags of `slot`, if it has any.
    #[inline]
    pub fn remove(&mut self, slot: Slot) {
        if !self.of.is_empty() {
            self.take_off(slot);
        }
    }

    fn take_off(&mut self, slot: Slot) {
        for number in self.of.remove(&slot).unwrap_or_default() {
            let tag = &mut self.list[number as usize];
            // A tag that was said twice is gone by now.
            if tag.slots.remove(&slot) && tag.slots.is_empty() {
                self.numbers.remove(&std::mem::take(tag).name);
                self.free.push(number);
            }
        }
    }

    /// The slots that carry `tag`, in order.
    pub fn slots(&self, tag: &str) -> Vec<Slot> {
        let number = self.numbers.get(tag);
        let mut slots: Vec<Slot> =
            number.map_or(Vec::new(), |&number| self.list[number as usize].slots.iter().copied().collect());
        slots.sort_unstable();
        slots
    }
}
