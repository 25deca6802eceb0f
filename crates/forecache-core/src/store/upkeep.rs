//! What is done to entries beside reading and writing them: removed, put off, pinned, emptied, resized, swept, listed.

use super::departures::Departures;
use super::entry::{Budget, Entry, IDLE, IMMUTABLE, Idle, PINNED, Removed, Rest, SHADED};
use super::{Key, Lookup, Options, Store};
use crate::expiry::NEVER;
use crate::index::Index;
use crate::list::{Slot, grow};
use crate::policy::{AnyPolicy, Cause, Change, Meta};
use crate::rooms::Rooms;
use crate::shadow::Shadow;

impl<K: Key, V> Store<K, V> {
    /// Removes a live entry by request.
    pub fn remove(&mut self, lookup: &Lookup<impl Fn(&K) -> bool>, gone: &mut Vec<Removed<K, V>>) -> Option<Removed<K, V>> {
        let slot = self.live(lookup, gone)?;
        Some(self.take(slot, Cause::Explicit))
    }

    /// Removes a live entry of which somebody else says that it is out of date.
    pub fn invalidate(&mut self, lookup: &Lookup<impl Fn(&K) -> bool>, gone: &mut Vec<Removed<K, V>>) {
        if let Some(slot) = self.live(lookup, gone) {
            gone.push(self.take(slot, Cause::Invalidated));
        }
    }

    /// Gives a live entry new times, counted from now; `None` leaves one as it was. Says whether there is such an entry.
    pub fn touch(
        &mut self,
        lookup: &Lookup<impl Fn(&K) -> bool>,
        time_to_live: Option<u64>,
        time_to_idle: Option<u64>,
        gone: &mut Vec<Removed<K, V>>,
    ) -> bool {
        let Some(slot) = self.live(lookup, gone) else {
            return false;
        };
        let now = self.clock.now();
        let entry = self.entry(slot);
        let old =
            if entry.flags & IDLE != 0 { self.idle[slot as usize] } else { Idle { time_to_idle: NEVER, hard: entry.deadline } };
        let hard = time_to_live.map_or(old.hard, |time| now.saturating_add(time));
        let idle = time_to_idle.unwrap_or(old.time_to_idle);
        let deadline = now.saturating_add(idle).min(hard);
        if idle != NEVER {
            grow(&mut self.idle, slot, Idle::default());
            self.idle[slot as usize] = Idle { time_to_idle: idle, hard };
        }
        let entry = self.entry_mut(slot);
        entry.deadline = deadline;
        entry.flags = if idle == NEVER { entry.flags & !IDLE } else { entry.flags | IDLE };
        self.wheel.schedule(slot, deadline, now);
        if self.entry(slot).flags & PINNED == 0 {
            self.policy.configure(Change::Deadline(slot, deadline));
        }
        true
    }

    /// Keeps a live entry from eviction, or no longer. `fingerprint` is the key's. Says whether there is such an entry.
    pub fn pin(
        &mut self,
        lookup: &Lookup<impl Fn(&K) -> bool>,
        fingerprint: u64,
        pinned: bool,
        gone: &mut Vec<Removed<K, V>>,
    ) -> bool {
        let Some(slot) = self.live(lookup, gone) else {
            return false;
        };
        let entry = self.entry(slot);
        if (entry.flags & PINNED != 0) != pinned {
            let meta = self.meta(slot);
            self.set_pinned(slot, pinned, fingerprint, &meta);
            self.evict(0, 0, None, gone);
        }
        true
    }

    /// Takes a slot from the policy, or gives it back.
    pub(super) fn set_pinned(&mut self, slot: Slot, pinned: bool, fingerprint: u64, meta: &Meta) {
        let entry = self.entries[slot as usize].as_mut().expect("the caller found it");
        entry.flags ^= PINNED;
        let weight = entry.weight;
        if pinned {
            self.pinned = (self.pinned.0 + weight, self.pinned.1 + 1);
            self.policy.on_remove(slot, Cause::Explicit);
        } else {
            self.pinned = (self.pinned.0 - weight, self.pinned.1 - 1);
            self.policy.on_insert(slot, fingerprint, meta);
        }
    }

    /// Removes everything, gives the memory back, and says how many entries were live. What the policy learned stays.
    pub fn clear(&mut self, gone: &mut Vec<Removed<K, V>>) -> usize {
        let (mut tape, mut shadow, mut live) = (self.tape.take(), self.shadow.take(), 0);
        for slot in 0..self.entries.len() as Slot {
            if self.entries[slot as usize].is_some() {
                let ended = self.ended(slot);
                live += usize::from(ended.is_none());
                gone.push(self.take(slot, ended.unwrap_or(Cause::Explicit)));
            }
        }
        (self.index, self.entries, self.free, self.idle, self.costs) = Default::default();
        (self.wheel, self.tags, self.sweep) = Default::default();
        self.policy = Rooms::new(self.policy.base().emptied());
        self.tell_capacity();
        if let Some(tape) = &mut tape {
            tape.clear(self.clock.now());
        }
        if let Some(shadow) = &mut shadow {
            shadow.clear();
        }
        (self.tape, self.shadow) = (tape, shadow);
        live
    }

    /// Declares all entries of an owner dead, in O(1), and says how many, expired ones included unless [`Store::expire`] took them out; the
    /// writes to come take them out, a few each.
    pub fn clear_owner(&mut self, owner: u32) -> usize {
        let dead = self.owners.empty(owner);
        self.dead += dead;
        if let Some(tape) = &mut self.tape {
            tape.clear_owner(owner, self.clock.now());
        }
        dead
    }

    /// Removes all live entries with this tag, and says how many.
    pub fn invalidate_tag(&mut self, tag: &str, gone: &mut Vec<Removed<K, V>>) -> usize {
        let slots = self.tags.slots(tag);
        let mut invalidated = 0;
        for slot in slots {
            let cause = self.ended(slot).unwrap_or(Cause::Invalidated);
            invalidated += usize::from(cause == Cause::Invalidated);
            gone.push(self.take(slot, cause));
        }
        invalidated
    }

    /// Slots of the live entries with this tag.
    pub fn with_tag(&self, tag: &str) -> impl Iterator<Item = Slot> {
        self.tags.slots(tag).into_iter().filter(|&slot| self.ended(slot).is_none())
    }

    /// Live entries with this tag.
    pub fn tagged(&self, tag: &str) -> usize {
        self.with_tag(tag).count()
    }

    /// Another budget; evicts until it holds. Whether entries or weights are balanced was settled when the store was made.
    pub fn resize(&mut self, capacity: u64, max_entries: Option<usize>, gone: &mut Vec<Removed<K, V>>) {
        self.budget = Budget { capacity, max_entries };
        self.tell_capacity();
        if let Some(shadow) = &mut self.shadow {
            shadow.resize(self.budget);
        }
        self.evict(0, 0, None, gone);
    }

    /// Has another policy run beside the one in force from now on, in miniature.
    pub fn shade(&mut self, policy: AnyPolicy) {
        self.shadow = Some(Box::new(Shadow::new([self.policy.base().fresh(), policy], self.budget, &self.clock)));
    }

    /// Has the shadow look at what was stored in `slot`.
    #[cold]
    #[inline(never)]
    pub(super) fn shade_slot(&mut self, slot: Slot, fingerprint: u64, options: &Options) {
        let entry = self.entry_mut(slot);
        entry.flags |= SHADED;
        let weight = entry.weight;
        if let Some(shadow) = &mut self.shadow {
            shadow.hold(slot, fingerprint, weight, options);
        }
    }

    /// Takes out what expired 67 ms ago or earlier, and more as it comes, and looks for dead entries in the next `sweep` slots.
    pub fn maintain(&mut self, sweep: usize, gone: &mut Vec<Removed<K, V>>) {
        let now = if self.wheel.is_used() { self.clock.now() } else { 0 };
        if self.wheel.is_behind(now) {
            self.expire(gone);
        }
        if self.dead > 0 {
            self.reap(sweep, gone);
        }
    }

    /// Takes out all that has expired by now.
    pub fn expire(&mut self, gone: &mut Vec<Removed<K, V>>) {
        let (entries, mut due) = (&self.entries, Vec::new());
        let deadline = |slot: Slot| entries[slot as usize].as_ref().map_or(NEVER, |entry| entry.deadline);
        self.wheel.advance(self.clock.now(), deadline, &mut due);
        for slot in due {
            let cause = self.ended(slot).unwrap_or(Cause::Expired);
            gone.push(self.take(slot, cause));
        }
    }

    /// Takes out the dead among the next `most` slots.
    pub(super) fn reap(&mut self, most: usize, gone: &mut Vec<Removed<K, V>>) {
        for _ in 0..most.min(self.entries.len()) {
            if self.dead == 0 {
                return;
            }
            self.sweep = (self.sweep + 1) % self.entries.len();
            let slot = self.sweep as Slot;
            if self.entries[self.sweep].is_some() && self.ended(slot) == Some(Cause::Explicit) {
                gone.push(self.take(slot, Cause::Explicit));
            }
        }
    }

    /// Live entries from slot `cursor` on, in the order of slots, until `most` were looked at; the cursor to go on with, if any.
    pub fn scan(&self, cursor: usize, most: usize, mut each: impl FnMut(&K, &V)) -> Option<usize> {
        let end = self.entries.len().min(cursor.saturating_add(most));
        for slot in cursor..end {
            if let Some(entry) = &self.entries[slot] {
                if self.ended(slot as Slot).is_none() {
                    each(&entry.key, &entry.value);
                }
            }
        }
        (end < self.entries.len()).then_some(end)
    }

    /// Slots of the live entries in the order in which a like store has to be filled to be as this one, each with the hits it needs then:
    /// those that leave first come first, and those of which the policy knows nothing last.
    pub fn order(&self) -> Vec<(Slot, u64)> {
        let candidates = self.policy.candidates(self.entries.len(), &self.owners);
        let mut order: Vec<_> = candidates.into_iter().map(|slot| (slot, self.policy.hits(slot))).collect();
        let mut listed = vec![false; self.entries.len()];
        order.iter().for_each(|&(slot, _)| listed[slot as usize] = true);
        order.extend((0..self.entries.len() as Slot).filter(|&slot| !listed[slot as usize]).map(|slot| (slot, 0)));
        order.retain(|&(slot, _)| self.entries[slot as usize].is_some() && self.ended(slot).is_none());
        order
    }

    /// Key, weight, rest of its time to live and owner of what is in `slot`.
    pub fn held(&self, slot: Slot) -> (&K, u64, u64, u32) {
        let entry = self.entry(slot);
        let hard = if entry.flags & IDLE != 0 { self.idle[slot as usize].hard } else { entry.deadline };
        let rest = if hard == NEVER { NEVER } else { hard.saturating_sub(self.clock.now()) };
        (&entry.key, entry.weight, rest, entry.owner)
    }

    /// Slots of the live entries.
    pub fn slots(&self) -> impl Iterator<Item = Slot> {
        (0..self.entries.len() as Slot).filter(|&slot| self.entries[slot as usize].is_some() && self.ended(slot).is_none())
    }

    /// Takes out, as if for space, what has a time to idle: who keeps it elsewhere learns until when it is kept.
    pub fn expel_idle(&mut self, gone: &mut Vec<Removed<K, V>>) {
        for slot in 0..self.entries.len() as Slot {
            let idles = self.entries[slot as usize].as_ref().is_some_and(|entry| entry.flags & IDLE != 0);
            if idles && self.ended(slot).is_none() {
                gone.push(self.take(slot, Cause::Size));
            }
        }
    }

    /// All that was said of what is in `slot`.
    #[cold]
    pub fn rest(&self, slot: Slot) -> Box<Rest> {
        let entry = self.entry(slot);
        let Idle { time_to_idle, hard } =
            if entry.flags & IDLE != 0 { self.idle[slot as usize] } else { Idle { time_to_idle: NEVER, hard: entry.deadline } };
        Box::new(Rest {
            slot,
            weight: entry.weight,
            hard,
            time_to_idle,
            deadline: entry.deadline,
            owner: self.owners.name(entry.owner).into(),
            tags: self.tags.names(slot),
            immutable: entry.flags & IMMUTABLE != 0,
        })
    }

    /// The slot of a live entry.
    pub fn slot(&self, lookup: &Lookup<impl Fn(&K) -> bool>) -> Option<Slot> {
        self.find(lookup).filter(|&slot| self.ended(slot).is_none())
    }

    /// Every value held, live or not: for a garbage collector.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.entries.iter().flatten().map(|entry| &entry.value)
    }

    /// Bytes allocated for bookkeeping: all but keys, values, tags and the names of owners and groups.
    pub fn allocated(&self) -> usize {
        self.index.allocated()
            + self.entries.capacity() * size_of::<Option<Entry<K, V>>>()
            + self.free.capacity() * size_of::<Slot>()
            + self.idle.capacity() * size_of::<Idle>()
            + self.costs.capacity() * size_of::<f32>()
            + self.policy.allocated()
            + self.departures.as_ref().map_or(0, Departures::allocated)
            + self.wheel.allocated()
            + self.shadow.as_ref().map_or(0, |shadow| shadow.allocated())
    }
}
