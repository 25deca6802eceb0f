//! A bounded map that forgets: weighted entries under one policy and one budget.
//!
//! The store locks nothing and calls nobody. What left is pushed to a vector of the caller's, who drops it (or tells listeners)
//! when no lock is held any more: dropping a value may run foreign code.

mod departures;
mod entry;
mod explain;
mod upkeep;

use crate::expiry::{Clock, NEVER, Wheel};
use crate::groups::Groups;
use crate::index::Index;
use crate::learn::prior::Prior;
use crate::list::{Slot, grow};
use crate::owners::Owners;
use crate::policy::{AnyPolicy, Cause, Change, Meta};
use crate::record::Tape;
use crate::rooms::Rooms;
use crate::shadow::Shadow;
use crate::tags::Tags;
use departures::Departures;
pub use departures::Ending;
pub use entry::{Budget, Counters, New, Options, Outcome, Removed, Rest};
use entry::{Entry, IDLE, IMMUTABLE, Idle, PINNED, SHADED};
pub use explain::{Candidate, Explained, Here, Left};
use std::sync::Arc;

/// What a store needs of a key. Equality comes as a closure with each call, so that a borrowed form can be looked up.
pub trait Key {
    /// What keys of this kind are looked up in: a hash table, unless they are numbers without gaps.
    type Index: Index;
    /// The hash that look-ups of this key come with.
    fn hash(&self) -> u64;
}

/// Which key: the hash of its text in its namespace, and how to tell it from others with the same hash.
#[derive(Debug, Clone, Copy)]
pub struct Lookup<E> {
    /// The namespace's number.
    pub namespace: u32,
    /// The key's hash.
    pub hash: u64,
    /// Whether an entry's key is the one that is looked for.
    pub equal: E,
}
/// See the head of this file.
#[derive(Debug)]
pub struct Store<K: Key, V> {
    index: K::Index,
    entries: Vec<Option<Entry<K, V>>>,
    free: Vec<Slot>,
    idle: Vec<Idle>,
    /// By slot, once one was other than 1.
    costs: Vec<f32>,
    policy: Rooms,
    budget: Budget,
    by_entries: bool,
    weight: u64,
    pinned: (u64, usize),
    clock: Clock,
    wheel: Wheel,
    tags: Tags,
    /// Entries whose owner was emptied and that are still here, and where the search for them goes on.
    dead: usize,
    sweep: usize,
    /// What became of entries, if that is kept.
    departures: Option<Departures>,
    /// Who stored what.
    pub owners: Owners,
    /// Keys of one shape.
    pub groups: Groups,
    /// What happened so far.
    pub counters: Counters,
    /// Where reads that hit and entries that leave are noted while they are recorded; the rest is noted by who has the keys' texts.
    pub tape: Option<Box<Tape>>,
    /// Another policy beside the one in force, in miniature. Who has the keys' texts tells it of reads that miss, and of deletes of what isn't
    /// there; the rest it sees here.
    pub shadow: Option<Box<Shadow>>,
    /// Whether what leaves for space comes with all that was said of it.
    pub keeps_rest: bool,
}

/// How many slots a write looks at for dead entries, while there are any.
const SWEEP: usize = 16;

/// What the options say of an entry for as long as it is not overwritten.
fn flags_of(options: &Options) -> u8 {
    let immutable = if options.immutable { IMMUTABLE } else { 0 };
    immutable | if options.time_to_idle != NEVER { IDLE } else { 0 }
}

#[inline]
fn spread(namespace: u32, hash: u64) -> u64 {
    hash ^ u64::from(namespace).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

impl<K: Key, V> Store<K, V> {
    /// An empty store.
    pub fn new(policy: AnyPolicy, budget: Budget, clock: Clock, groups: Groups) -> Self {
        let mut store = Store {
            index: K::Index::default(),
            entries: Vec::new(),
            free: Vec::new(),
            idle: Vec::new(),
            costs: Vec::new(),
            policy: Rooms::new(policy),
            budget,
            by_entries: budget.max_entries.is_some(),
            weight: 0,
            pinned: (0, 0),
            clock,
            wheel: Wheel::default(),
            tags: Tags::default(),
            dead: 0,
            sweep: 0,
            departures: None,
            owners: Owners::default(),
            groups,
            counters: Counters::default(),
            tape: None,
            shadow: None,
            keeps_rest: false,
        };
        store.tell_capacity();
        store
    }

    /// Tells the policy how much there is room for.
    fn tell_capacity(&mut self) {
        let Budget { capacity, max_entries } = self.budget;
        self.policy.configure(Change::Capacity(max_entries.map_or(capacity, |most| most as u64)));
    }

    /// Entries held; expired and dead ones count until [`Store::maintain`] took them out.
    pub fn len(&self) -> usize {
        self.index.len() - self.dead
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Total weight of the entries held.
    pub fn weight(&self) -> u64 {
        self.weight
    }

    /// The budget.
    pub fn budget(&self) -> Budget {
        self.budget
    }

    /// The policy.
    pub fn policy(&self) -> &AnyPolicy {
        self.policy.base()
    }

    /// The policies of all rooms.
    pub fn policies(&self) -> impl Iterator<Item = &AnyPolicy> {
        self.policy.policies()
    }

    /// Has the policies that learn forget what they learned, and go by this.
    pub fn begin_with(&mut self, prior: &Arc<Prior>) {
        self.policy.begin_with(prior);
    }

    /// Nanoseconds by the store's clock.
    pub fn now(&self) -> u64 {
        self.clock.now()
    }

    #[inline]
    fn find(&self, lookup: &Lookup<impl Fn(&K) -> bool>) -> Option<Slot> {
        let equal = |slot: Slot| {
            self.entries[slot as usize]
                .as_ref()
                .is_some_and(|entry| entry.namespace == lookup.namespace && (lookup.equal)(&entry.key))
        };
        self.index.find(spread(lookup.namespace, lookup.hash), equal)
    }

    #[inline]
    fn entry(&self, slot: Slot) -> &Entry<K, V> {
        self.entries[slot as usize].as_ref().expect("the index names filled slots only")
    }

    #[inline]
    fn entry_mut(&mut self, slot: Slot) -> &mut Entry<K, V> {
        self.entries[slot as usize].as_mut().expect("the index names filled slots only")
    }

    /// Why an entry may not be read any more, if so.
    #[inline(always)]
    fn ended(&self, slot: Slot) -> Option<Cause> {
        let entry = self.entry(slot);
        if self.dead == 0 && entry.deadline == NEVER { None } else { self.ended_by(entry) }
    }

    fn ended_by(&self, entry: &Entry<K, V>) -> Option<Cause> {
        if entry.generation != self.owners.generation(entry.owner) {
            Some(Cause::Explicit)
        } else if entry.deadline <= self.clock.now() && entry.deadline != NEVER {
            Some(Cause::Expired)
        } else {
            None
        }
    }

    /// The slot of a live entry; one that has ended is taken out.
    #[inline(always)]
    fn live(&mut self, lookup: &Lookup<impl Fn(&K) -> bool>, gone: &mut Vec<Removed<K, V>>) -> Option<Slot> {
        let slot = self.find(lookup)?;
        match self.ended(slot) {
            None => Some(slot),
            Some(cause) => {
                self.expel(slot, cause, gone);
                None
            }
        }
    }

    #[cold]
    #[inline(never)]
    fn expel(&mut self, slot: Slot, cause: Cause, gone: &mut Vec<Removed<K, V>>) {
        gone.push(self.take(slot, cause));
    }

    /// Reads an entry: counts, tells the policy, and puts off its time to idle. Allocates nothing on a hit.
    #[inline]
    pub fn get(&mut self, lookup: &Lookup<impl Fn(&K) -> bool>, gone: &mut Vec<Removed<K, V>>) -> Option<&V> {
        let Some(slot) = self.live(lookup, gone) else {
            self.counters.misses += 1;
            return None;
        };
        self.counters.hits += 1;
        self.used(slot, true);
        let group = self.entry(slot).group;
        self.groups.get(group).hits += 1;
        if self.tape.is_some() {
            self.note_hit(slot);
        }
        Some(&self.entry(slot).value)
    }

    /// Tells a recording of a hit. Out of line, so that hits which nobody records stay small.
    #[inline(never)]
    fn note_hit(&mut self, slot: Slot) {
        let now = self.clock.now();
        if self.tape.as_mut().is_some_and(|tape| !tape.hit(slot, now)) {
            self.tape = None;
        }
    }

    /// The value of a live entry, untouched and uncounted.
    pub fn peek(&self, lookup: &Lookup<impl Fn(&K) -> bool>) -> Option<&V> {
        let slot = self.find(lookup)?;
        self.ended(slot).is_none().then(|| &self.entry(slot).value)
    }

    /// When a live entry expires, in nanoseconds of the store's clock; [`NEVER`] if it doesn't.
    pub fn deadline(&self, lookup: &Lookup<impl Fn(&K) -> bool>) -> Option<u64> {
        let slot = self.find(lookup)?;
        self.ended(slot).is_none().then(|| self.entry(slot).deadline)
    }

    #[inline(always)]
    fn used(&mut self, slot: Slot, read: bool) {
        let flags = self.entry(slot).flags;
        if flags & PINNED == 0 {
            self.policy.on_hit(slot);
        }
        // Of both in one look, so that a shadow costs hits nothing that it doesn't look at.
        if flags & (IDLE | SHADED) != 0 {
            self.used_further(slot, flags, read);
        }
    }

    #[inline(never)]
    fn used_further(&mut self, slot: Slot, flags: u8, read: bool) {
        if flags & IDLE != 0 {
            let Idle { time_to_idle, hard } = self.idle[slot as usize];
            self.entry_mut(slot).deadline = self.clock.now().saturating_add(time_to_idle).min(hard);
        }
        if read && flags & SHADED != 0 && !self.shadow.as_mut().is_some_and(|shadow| shadow.hit(slot)) {
            self.entry_mut(slot).flags &= !SHADED;
        }
    }

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

    #[cold]
    fn refuse(&mut self, lookup: &Lookup<impl Fn(&K) -> bool>, ending: Ending) -> Outcome {
        self.counters.refused += 1;
        self.note_refused(lookup, ending);
        Outcome::Refused
    }

    fn policy_weight(&self, weight: u64) -> u64 {
        if self.by_entries { 1 } else { weight }
    }

    /// The time for the policy, beside this time to live or deadline. Where nothing expires, reading the clock would be for nothing.
    fn time_beside(&self, time: u64) -> u64 {
        if time != NEVER || self.wheel.is_used() { self.clock.now() } else { 0 }
    }

    fn has_room_beside_pins(&self, weight: u64) -> bool {
        weight <= self.budget.capacity.saturating_sub(self.pinned.0)
            && self.budget.max_entries.is_none_or(|most| self.pinned.1 < most)
    }

    /// Whether the entry in `slot` may weigh `weight`.
    fn fits(&self, weight: u64, slot: Slot) -> bool {
        let entry = self.entry(slot);
        let others = if entry.flags & PINNED != 0 { self.pinned.0 - entry.weight } else { self.pinned.0 };
        weight <= self.budget.capacity.saturating_sub(others)
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

    fn cost(&self, slot: Slot) -> f32 {
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

    /// Whether `weight` in `entries` more entries is over the budget.
    fn is_full(&self, weight: u64, entries: usize) -> bool {
        self.weight.checked_add(weight).is_none_or(|sum| sum > self.budget.capacity)
            || self.budget.max_entries.is_some_and(|most| self.index.len() + entries > most)
    }

    /// Makes room for `weight` in `entries` more entries; false if the policy has nothing to give or prefers what it has.
    fn evict(&mut self, weight: u64, entries: usize, newcomer: Option<(u64, &Meta)>, gone: &mut Vec<Removed<K, V>>) -> bool {
        while self.is_full(weight, entries) {
            // The dead go before anyone who lives.
            if self.dead > 0 {
                self.reap(SWEEP, gone);
                continue;
            }
            let Some(victim) = self.policy.victim(newcomer, &self.owners) else {
                return false;
            };
            let cause = self.ended(victim).unwrap_or(Cause::Size);
            if let (Cause::Size, Some((fingerprint, meta))) = (cause, newcomer) {
                if !self.policy.admit(fingerprint, meta, victim, &self.owners) {
                    return false;
                }
            }
            gone.push(self.take(victim, cause));
        }
        true
    }

    /// Counts an access to `slot` and evicts until its entry may weigh `weight`, which `fits`. It never makes room for itself: if the
    /// policy would have it leave, it is put aside and comes back as a newcomer.
    fn make_room_to_grow(&mut self, slot: Slot, fingerprint: u64, weight: u64, gone: &mut Vec<Removed<K, V>>) {
        self.used(slot, false);
        let more = weight.saturating_sub(self.entry(slot).weight);
        let mut aside = false;
        while self.is_full(more, 0) {
            if self.dead > 0 {
                self.reap(SWEEP, gone);
                continue;
            }
            match self.policy.victim(None, &self.owners) {
                None => break,
                Some(victim) if victim == slot => {
                    self.policy.on_remove(slot, Cause::Explicit);
                    aside = true;
                }
                Some(victim) => {
                    let cause = self.ended(victim).unwrap_or(Cause::Size);
                    gone.push(self.take(victim, cause));
                }
            }
        }
        if aside {
            let meta = self.meta(slot);
            self.policy.on_insert(slot, fingerprint, &meta);
        }
    }

    /// What the policy may know of an entry that is to be stored.
    pub(crate) fn meta_of(&self, weight: u64, options: &Options) -> Meta {
        Meta {
            weight: self.policy_weight(weight),
            cost: options.cost,
            owner: options.owner,
            room: self.owners.room_of(options.owner),
            group: options.group,
            time_to_live: options.time_to_live,
            now: self.time_beside(options.time_to_live),
            address: options.address,
            tier: options.tier,
            compression: options.compression,
            references: options.references,
        }
    }

    /// What the policy may know of an entry that is there.
    fn meta(&self, slot: Slot) -> Meta {
        let entry = self.entry(slot);
        Meta {
            cost: self.cost(slot),
            owner: entry.owner,
            room: self.owners.room_of(entry.owner),
            group: entry.group,
            time_to_live: if entry.deadline == NEVER { NEVER } else { entry.deadline.saturating_sub(self.clock.now()) },
            now: self.time_beside(entry.deadline),
            ..Meta::of_weight(self.policy_weight(entry.weight))
        }
    }

    /// Tells a recording that an entry left, unless a replay finds that out by itself.
    #[cold]
    #[inline(never)]
    fn note_taken(&mut self, slot: Slot, cause: Cause, flags: u8) {
        // A trace has no time to idle: that it ran out has to be said.
        let told = matches!(cause, Cause::Explicit | Cause::Invalidated) || cause == Cause::Expired && flags & IDLE != 0;
        if let Some(tape) = self.tape.as_mut().filter(|_| told) {
            tape.delete(slot, self.clock.now());
        }
    }

    /// Takes an entry out, live or not.
    fn take(&mut self, slot: Slot, cause: Cause) -> Removed<K, V> {
        let rest = (self.keeps_rest && cause == Cause::Size).then(|| self.rest(slot));
        if self.departures.is_some() {
            self.note_departure(slot, cause);
        }
        let entry = self.entries[slot as usize].take().expect("the index names filled slots only");
        if self.tape.is_some() {
            self.note_taken(slot, cause, entry.flags);
        }
        self.index.remove(spread(entry.namespace, entry.key.hash()), slot);
        if let Some(shadow) = self.shadow.as_mut().filter(|_| entry.flags & SHADED != 0) {
            shadow.removed(slot, cause);
        }
        if entry.flags & PINNED != 0 {
            self.pinned = (self.pinned.0 - entry.weight, self.pinned.1 - 1);
        } else {
            self.policy.on_remove(slot, cause);
        }
        if self.dead > 0 && entry.generation != self.owners.generation(entry.owner) {
            self.dead -= 1;
        }
        self.weight -= entry.weight;
        self.owners.subtract(entry.owner, entry.generation, entry.weight);
        let group = self.groups.get(entry.group);
        group.entries -= 1;
        group.weight -= entry.weight;
        self.wheel.cancel(slot);
        self.tags.remove(slot);
        self.free.push(slot);
        self.counters.removed[cause as usize] += 1;
        Removed { key: entry.key, value: entry.value, cause, rest }
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
}
