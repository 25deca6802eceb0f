//! A bounded map that forgets: weighted entries under one policy and one budget.
//!
//! The store locks nothing and calls nobody. What left is pushed to a vector of the caller's, who drops it (or tells listeners)
//! when no lock is held any more: dropping a value may run foreign code.

use crate::expiry::{Clock, NEVER, Wheel};
use crate::groups::Groups;
use crate::index::Index;
use crate::list::{Slot, grow};
use crate::owners::Owners;
use crate::policy::{AnyPolicy, Cause, Change, Meta, Policy};
use crate::tags::Tags;

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

/// The most that a store may hold. Both bounds hold at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Total weight.
    pub capacity: u64,
    /// Number of entries. If given, the policy balances entries instead of weights.
    pub max_entries: Option<usize>,
}

/// All that is said about an entry when it is stored.
#[derive(Debug, Clone, Copy)]
pub struct Options<'a> {
    /// Nanoseconds from now; [`NEVER`] for none.
    pub time_to_live: u64,
    /// Nanoseconds from the last access; [`NEVER`] for none.
    pub time_to_idle: u64,
    /// Number of its owner.
    pub owner: u32,
    /// Number of its key group.
    pub group: u16,
    /// See [`Meta::cost`].
    pub cost: f32,
    /// Refuses to be overwritten.
    pub immutable: bool,
    /// Is never evicted for space.
    pub pinned: bool,
    /// Tags by which it can be invalidated.
    pub tags: &'a [Box<str>],
}

impl Default for Options<'_> {
    fn default() -> Self {
        Options {
            time_to_live: NEVER,
            time_to_idle: NEVER,
            owner: 0,
            group: 0,
            cost: 1.0,
            immutable: false,
            pinned: false,
            tags: &[],
        }
    }
}

/// An entry that left, and why.
#[derive(Debug, PartialEq, Eq)]
pub struct Removed<K, V> {
    /// Its key.
    pub key: K,
    /// Its value.
    pub value: V,
    /// Why it left.
    pub cause: Cause,
}

/// What became of an attempt to store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is in.
    Stored,
    /// It is heavier than all that isn't pinned together, or the policy preferred what is there.
    Refused,
    /// An immutable entry stands in its place.
    Immutable,
}

/// Sums since the store was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Reads that found a live entry.
    pub hits: u64,
    /// Reads that found none.
    pub misses: u64,
    /// Values stored.
    pub sets: u64,
    /// Values refused.
    pub refused: u64,
    /// Entries that left, by the number of the [`Cause`].
    pub removed: [u64; Cause::ALL.len()],
}

const IDLE: u8 = 1;
const IMMUTABLE: u8 = 2;
const PINNED: u8 = 4;

#[derive(Debug)]
struct Entry<K, V> {
    key: K,
    value: V,
    weight: u64,
    deadline: u64,
    namespace: u32,
    owner: u32,
    generation: u32,
    group: u16,
    flags: u8,
}

/// What only entries with a time to idle need.
#[derive(Debug, Clone, Copy, Default)]
struct Idle {
    time_to_idle: u64,
    /// The end of its time to live.
    hard: u64,
}

/// See the head of this file.
#[derive(Debug)]
pub struct Store<K: Key, V> {
    index: K::Index,
    entries: Vec<Option<Entry<K, V>>>,
    free: Vec<Slot>,
    idle: Vec<Idle>,
    policy: AnyPolicy,
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
    /// Who stored what.
    pub owners: Owners,
    /// Keys of one shape.
    pub groups: Groups,
    /// What happened so far.
    pub counters: Counters,
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
        Store {
            index: K::Index::default(),
            entries: Vec::new(),
            free: Vec::new(),
            idle: Vec::new(),
            policy,
            budget,
            by_entries: budget.max_entries.is_some(),
            weight: 0,
            pinned: (0, 0),
            clock,
            wheel: Wheel::default(),
            tags: Tags::default(),
            dead: 0,
            sweep: 0,
            owners: Owners::default(),
            groups,
            counters: Counters::default(),
        }
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
        &self.policy
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
        self.used(slot);
        let group = self.entry(slot).group;
        self.groups.get(group).hits += 1;
        Some(&self.entry(slot).value)
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
    fn used(&mut self, slot: Slot) {
        let flags = self.entry(slot).flags;
        if flags & PINNED == 0 {
            self.policy.on_hit(slot);
        }
        if flags & IDLE != 0 {
            let Idle { time_to_idle, hard } = self.idle[slot as usize];
            self.entry_mut(slot).deadline = self.clock.now().saturating_add(time_to_idle).min(hard);
        }
    }

    /// Stores `value`. `fingerprint` is the key's, `weight` that of key, value and bookkeeping together.
    pub fn set(
        &mut self,
        lookup: &Lookup<impl Fn(&K) -> bool>,
        key: K,
        fingerprint: u64,
        value: V,
        weight: u64,
        options: &Options,
        gone: &mut Vec<Removed<K, V>>,
    ) -> Outcome {
        self.maintain(SWEEP, gone);
        let old = self.live(lookup, gone);
        if old.is_some_and(|slot| self.entry(slot).flags & IMMUTABLE != 0) {
            return Outcome::Immutable;
        }
        let meta = Meta {
            weight: self.policy_weight(weight),
            cost: options.cost,
            owner: options.owner,
            group: options.group,
            time_to_live: options.time_to_live,
        };
        if let Some(slot) = old {
            // The new value takes the old one's slot and place, unless it can't stay or changes what the policy may see of it.
            let pinned = self.entry(slot).flags & PINNED != 0;
            if !self.fits(weight, slot) {
                gone.push(self.take(slot, Cause::Replaced));
                self.counters.refused += 1;
                return Outcome::Refused;
            }
            if pinned != options.pinned {
                self.set_pinned(slot, options.pinned, fingerprint, &meta);
            }
            gone.push(self.overwrite(slot, key, value, weight));
            self.describe(slot, options);
            self.used(slot);
            self.counters.sets += 1;
            self.evict(0, 0, None, gone);
            return Outcome::Stored;
        }
        if self.dead > 0 && !self.has_room_beside_pins(weight) {
            self.reap(usize::MAX, gone);
        }
        if !self.has_room_beside_pins(weight) || !self.evict(weight, 1, Some((fingerprint, &meta)), gone) {
            self.counters.refused += 1;
            return Outcome::Refused;
        }
        let slot = self.insert(lookup, key, value, weight, options);
        if options.pinned {
            self.pinned = (self.pinned.0 + weight, self.pinned.1 + 1);
        } else {
            self.policy.on_insert(slot, fingerprint, &meta);
        }
        self.counters.sets += 1;
        Outcome::Stored
    }

    fn policy_weight(&self, weight: u64) -> u64 {
        if self.by_entries { 1 } else { weight }
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
        slot
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
        let old_group = std::mem::replace(&mut entry.group, options.group);
        (entry.deadline, entry.owner, entry.generation) = (deadline, options.owner, generation);
        entry.flags = entry.flags & PINNED | flags_of(options);
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
        match deadline {
            NEVER => self.wheel.cancel(slot),
            _ => self.wheel.schedule(slot, deadline, self.clock.now()),
        }
    }

    /// Makes room for `weight` in `entries` more entries; false if the policy has nothing to give or prefers what it has.
    fn evict(&mut self, weight: u64, entries: usize, newcomer: Option<(u64, &Meta)>, gone: &mut Vec<Removed<K, V>>) -> bool {
        let full = |store: &Self| {
            store.weight + weight > store.budget.capacity
                || store.budget.max_entries.is_some_and(|most| store.index.len() + entries > most)
        };
        while full(self) {
            let Some(victim) = self.policy.victim() else {
                return false;
            };
            let cause = self.ended(victim).unwrap_or(Cause::Size);
            if let (Cause::Size, Some((fingerprint, meta))) = (cause, newcomer) {
                if !self.policy.admit(fingerprint, meta, victim) {
                    return false;
                }
            }
            gone.push(self.take(victim, cause));
        }
        true
    }

    /// Takes an entry out, live or not.
    fn take(&mut self, slot: Slot, cause: Cause) -> Removed<K, V> {
        let entry = self.entries[slot as usize].take().expect("the index names filled slots only");
        self.index.remove(spread(entry.namespace, entry.key.hash()), slot);
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
        Removed { key: entry.key, value: entry.value, cause }
    }

    /// Removes a live entry by request.
    pub fn remove(&mut self, lookup: &Lookup<impl Fn(&K) -> bool>, gone: &mut Vec<Removed<K, V>>) -> Option<Removed<K, V>> {
        let slot = self.live(lookup, gone)?;
        Some(self.take(slot, Cause::Explicit))
    }

    /// Puts `value` in the place of a value for which `current` holds, and leaves the times, tags and owner as they are.
    /// `Err` gives `value` back if there is none or the new one doesn't fit.
    pub fn swap(
        &mut self,
        lookup: &Lookup<impl Fn(&K) -> bool>,
        key: K,
        current: impl Fn(&V) -> bool,
        value: V,
        weight: u64,
        gone: &mut Vec<Removed<K, V>>,
    ) -> Result<Outcome, (K, V)> {
        let slot = match self.live(lookup, gone) {
            Some(slot) if current(&self.entry(slot).value) => slot,
            _ => return Err((key, value)),
        };
        if self.entry(slot).flags & IMMUTABLE != 0 {
            return Ok(Outcome::Immutable);
        }
        if !self.fits(weight, slot) {
            self.counters.refused += 1;
            return Ok(Outcome::Refused);
        }
        gone.push(self.overwrite(slot, key, value, weight));
        self.used(slot);
        self.counters.sets += 1;
        self.evict(0, 0, None, gone);
        Ok(Outcome::Stored)
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
            let meta = Meta {
                weight: self.policy_weight(entry.weight),
                cost: 1.0,
                owner: entry.owner,
                group: entry.group,
                time_to_live: entry.deadline.saturating_sub(self.clock.now()),
            };
            self.set_pinned(slot, pinned, fingerprint, &meta);
            self.evict(0, 0, None, gone);
        }
        true
    }

    /// Takes a slot from the policy, or gives it back.
    fn set_pinned(&mut self, slot: Slot, pinned: bool, fingerprint: u64, meta: &Meta) {
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

    /// Removes everything, and gives the memory back.
    pub fn clear(&mut self, gone: &mut Vec<Removed<K, V>>) {
        for slot in 0..self.entries.len() as Slot {
            if self.entries[slot as usize].is_some() {
                let cause = self.ended(slot).unwrap_or(Cause::Explicit);
                gone.push(self.take(slot, cause));
            }
        }
        (self.index, self.entries, self.free, self.idle) = Default::default();
        (self.wheel, self.tags, self.sweep) = Default::default();
        self.policy = AnyPolicy::named(self.policy.name()).expect("it has a known name");
    }

    /// Declares all entries of an owner dead, in O(1), and says how many; the writes to come take them out, a few each.
    pub fn clear_owner(&mut self, owner: u32) -> usize {
        let dead = self.owners.empty(owner);
        self.dead += dead;
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

    /// Live entries with this tag.
    pub fn tagged(&self, tag: &str) -> usize {
        self.tags.slots(tag).into_iter().filter(|&slot| self.ended(slot).is_none()).count()
    }

    /// Another budget; evicts until it holds. Whether entries or weights are balanced was settled when the store was made.
    pub fn resize(&mut self, capacity: u64, max_entries: Option<usize>, gone: &mut Vec<Removed<K, V>>) {
        self.budget = Budget { capacity, max_entries };
        self.evict(0, 0, None, gone);
    }

    /// Takes out what has expired, and looks for dead entries in the next `sweep` slots.
    pub fn maintain(&mut self, sweep: usize, gone: &mut Vec<Removed<K, V>>) {
        let now = if self.wheel.is_used() { self.clock.now() } else { 0 };
        if self.wheel.is_behind(now) {
            let mut due = Vec::new();
            let entries = &self.entries;
            self.wheel.advance(now, |slot| entries[slot as usize].as_ref().map_or(NEVER, |entry| entry.deadline), &mut due);
            for slot in due {
                let cause = self.ended(slot).unwrap_or(Cause::Expired);
                gone.push(self.take(slot, cause));
            }
        }
        if self.dead > 0 {
            self.reap(sweep, gone);
        }
    }

    /// Takes out the dead among the next `most` slots.
    fn reap(&mut self, most: usize, gone: &mut Vec<Removed<K, V>>) {
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
            + self.policy.inspect().allocated()
            + self.wheel.allocated()
    }
}
