//! Writing: what is stored under a key for the first time, anew, or in the place of a value that is known.

use super::entry::{Entry, IDLE, IMMUTABLE, Idle, New, Options, Outcome, PINNED, Removed, SHADED};
use super::room::SWEEP;
use super::{Ending, Key, Lookup, Store, spread};
use crate::expiry::NEVER;
use crate::index::Index;
use crate::list::{Slot, grow};
use crate::policy::{Cause, Change};

/// What the options say of an entry for as long as it is not overwritten.
fn flags_of(options: &Options) -> u8 {
    let immutable = if options.immutable { IMMUTABLE } else { 0 };
    immutable | if options.time_to_idle != NEVER { IDLE } else { 0 }
}

impl<K: Key, V> Store<K, V> {
    /// Stores a value.
    pub fn set(
        &mut self,
        lookup: &Lookup<impl Fn(&K) -> bool>,
        new: New<K, V>,
        options: &Options,
        gone: &mut Vec<Removed<K, V>>,
    ) -> Outcome {
        let New { key, fingerprint, value, weight } = new;
        self.maintain(SWEEP, gone);
        let old = self.live(lookup, gone);
        if old.is_some_and(|slot| self.entry(slot).flags & IMMUTABLE != 0) {
            return Outcome::Immutable;
        }
        let shaded = self.shadow.as_mut().is_some_and(|shadow| shadow.set(fingerprint, weight, options));
        let meta = self.meta_of(weight, options);
        if self.dead > 0 && !self.has_room_beside_pins(weight) {
            self.reap(usize::MAX, gone);
        }
        if let Some(slot) = old {
            if !self.fits(weight, slot) {
                gone.push(self.take(slot, Cause::Replaced));
                return self.refuse(lookup, Ending::TooLarge);
            }
            if options.pinned && self.entry(slot).flags & PINNED == 0 {
                self.set_pinned(slot, true, fingerprint, &meta);
            }
            self.make_room_to_grow(slot, fingerprint, weight, gone);
            gone.push(self.overwrite(slot, key, value, weight));
            let room = self.owners.room_of(self.entry(slot).owner);
            self.describe(slot, options);
            if shaded {
                self.shade_slot(slot, fingerprint, options);
            }
            if room != meta.room && self.entry(slot).flags & PINNED == 0 {
                self.policy.on_remove(slot, Cause::Explicit);
                self.policy.on_insert(slot, fingerprint, &meta);
            }
            self.counters.sets += 1;
            return Outcome::Stored;
        }
        if !self.has_room_beside_pins(weight) {
            return self.refuse(lookup, Ending::TooLarge);
        }
        if !self.evict(weight, 1, Some((fingerprint, &meta)), gone) {
            return self.refuse(lookup, Ending::NotAdmitted);
        }
        let slot = self.insert(lookup, key, value, weight, options);
        if shaded {
            self.shade_slot(slot, fingerprint, options);
        }
        if options.pinned {
            self.pinned = (self.pinned.0 + weight, self.pinned.1 + 1);
        } else {
            self.policy.on_insert(slot, fingerprint, &meta);
        }
        self.counters.sets += 1;
        Outcome::Stored
    }

    /// Puts `value` in the place of a value for which `current` holds, and leaves the times, tags and owner as they are.
    /// `Err` gives the new one back if there is none.
    pub fn swap(
        &mut self,
        lookup: &Lookup<impl Fn(&K) -> bool>,
        current: impl Fn(&V) -> bool,
        new: New<K, V>,
        gone: &mut Vec<Removed<K, V>>,
    ) -> Result<Outcome, New<K, V>> {
        let slot = match self.live(lookup, gone) {
            Some(slot) if current(&self.entry(slot).value) => slot,
            _ => return Err(new),
        };
        let New { key, fingerprint, value, weight } = new;
        if self.entry(slot).flags & IMMUTABLE != 0 {
            return Ok(Outcome::Immutable);
        }
        if self.dead > 0 && !self.fits(weight, slot) {
            self.reap(usize::MAX, gone);
        }
        if !self.fits(weight, slot) {
            self.counters.refused += 1;
            return Ok(Outcome::Refused);
        }
        self.make_room_to_grow(slot, fingerprint, weight, gone);
        gone.push(self.overwrite(slot, key, value, weight));
        if let Some(shadow) = self.shadow.as_mut().filter(|_| self.entries[slot as usize].as_ref().is_some_and(Entry::is_shaded))
        {
            shadow.rewrite(slot, weight);
        }
        self.counters.sets += 1;
        Ok(Outcome::Stored)
    }

    #[cold]
    fn refuse(&mut self, lookup: &Lookup<impl Fn(&K) -> bool>, ending: Ending) -> Outcome {
        self.counters.refused += 1;
        self.note_refused(lookup, ending);
        Outcome::Refused
    }

    fn insert(&mut self, lookup: &Lookup<impl Fn(&K) -> bool>, key: K, value: V, weight: u64, options: &Options) -> Slot {
        let slot = self.free.pop().unwrap_or(self.entries.len() as Slot);
        if slot as usize == self.entries.len() {
            if self.entries.len() == self.entries.capacity() {
                self.entries.reserve_exact((self.entries.len() / 16).max(16));
            }
            self.entries.push(None);
        }
        let (namespace, owner) = (lookup.namespace, options.owner);
        let entry = Entry {
            key,
            value,
            weight,
            deadline: self.deadline_of(slot, options),
            namespace,
            owner,
            generation: self.owners.generation(owner),
            group: options.group,
            flags: flags_of(options) | if options.pinned { PINNED } else { 0 },
        };
        if entry.deadline != NEVER {
            self.wheel.schedule(slot, entry.deadline, self.clock.now());
        }
        self.entries[slot as usize] = Some(entry);
        self.weight += weight;
        self.owners.add(owner, weight);
        self.count_in_group(options.group, weight);
        let entries = &self.entries;
        let hash_of = |slot: Slot| entries[slot as usize].as_ref().map_or(0, |entry| spread(entry.namespace, entry.key.hash()));
        self.index.insert(spread(namespace, lookup.hash), slot, hash_of);
        self.tags.set(slot, options.tags);
        self.note_cost(slot, options.cost);
        slot
    }

    fn note_cost(&mut self, slot: Slot, cost: f32) {
        if cost != 1.0 || !self.costs.is_empty() {
            grow(&mut self.costs, slot, 1.0);
            self.costs[slot as usize] = cost;
        }
    }

    pub(super) fn cost(&self, slot: Slot) -> f32 {
        self.costs.get(slot as usize).copied().unwrap_or(1.0)
    }

    /// When an entry in `slot` ends that is stored now; what only a time to idle needs is noted beside it.
    #[inline]
    fn deadline_of(&mut self, slot: Slot, options: &Options) -> u64 {
        if options.time_to_live == NEVER && options.time_to_idle == NEVER {
            return NEVER;
        }
        let now = self.clock.now();
        let hard = now.saturating_add(options.time_to_live);
        if options.time_to_idle != NEVER {
            grow(&mut self.idle, slot, Idle::default());
            self.idle[slot as usize] = Idle { time_to_idle: options.time_to_idle, hard };
        }
        now.saturating_add(options.time_to_idle).min(hard)
    }

    fn count_in_group(&mut self, group: u16, weight: u64) {
        let group = self.groups.get(group);
        group.entries += 1;
        group.weight += weight;
    }

    /// Gives the entry in `slot` another key object, value and weight, and returns what it was.
    fn overwrite(&mut self, slot: Slot, key: K, value: V, weight: u64) -> Removed<K, V> {
        let entry = self.entries[slot as usize].as_mut().expect("the caller found it");
        let old = std::mem::replace(&mut entry.weight, weight);
        let removed = Removed {
            key: std::mem::replace(&mut entry.key, key),
            value: std::mem::replace(&mut entry.value, value),
            cause: Cause::Replaced,
            rest: None,
        };
        let (owner, generation, group, pinned) = (entry.owner, entry.generation, entry.group, entry.flags & PINNED != 0);
        self.weight = self.weight - old + weight;
        self.owners.subtract(owner, generation, old);
        self.owners.add(owner, weight);
        let group = self.groups.get(group);
        group.weight = group.weight - old + weight;
        if pinned {
            self.pinned.0 = self.pinned.0 - old + weight;
        } else if !self.by_entries {
            self.policy.configure(Change::Weight(slot, weight));
        }
        self.counters.removed[Cause::Replaced as usize] += 1;
        removed
    }

    /// Sets all that `options` say of the entry in `slot`, except whether it is pinned.
    fn describe(&mut self, slot: Slot, options: &Options) {
        let deadline = self.deadline_of(slot, options);
        let generation = self.owners.generation(options.owner);
        let entry = self.entries[slot as usize].as_mut().expect("the caller filled it");
        let (old_owner, old_generation, weight) = (entry.owner, entry.generation, entry.weight);
        let (old_deadline, old_group) = (entry.deadline, std::mem::replace(&mut entry.group, options.group));
        (entry.deadline, entry.owner, entry.generation) = (deadline, options.owner, generation);
        entry.flags = entry.flags & (PINNED | SHADED) | flags_of(options);
        if old_owner != options.owner {
            self.owners.subtract(old_owner, old_generation, weight);
            self.owners.add(options.owner, weight);
        }
        if old_group != options.group {
            let group = self.groups.get(old_group);
            group.entries -= 1;
            group.weight -= weight;
            self.count_in_group(options.group, weight);
        }
        self.tags.remove(slot);
        self.tags.set(slot, options.tags);
        let old_cost = self.cost(slot);
        self.note_cost(slot, options.cost);
        match deadline {
            NEVER => self.wheel.cancel(slot),
            _ => self.wheel.schedule(slot, deadline, self.clock.now()),
        }
        if self.entry(slot).flags & PINNED != 0 {
            return;
        }
        if old_cost != options.cost {
            self.policy.configure(Change::Cost(slot, options.cost, self.policy_weight(weight)));
        }
        if old_deadline != deadline {
            self.policy.configure(Change::Deadline(slot, deadline));
        }
    }
}
