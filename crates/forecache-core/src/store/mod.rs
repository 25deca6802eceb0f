//! A bounded map that forgets: weighted entries under one policy and one budget.
//!
//! The store locks nothing and calls nobody. What left is pushed to a vector of the caller's, who drops it (or tells listeners)
//! when no lock is held any more: dropping a value may run foreign code.

mod departures;
mod entry;
mod explain;
mod room;
mod upkeep;
mod write;

use crate::expiry::{Clock, NEVER, Wheel};
use crate::groups::Groups;
use crate::index::Index;
use crate::learn::prior::Prior;
use crate::list::Slot;
use crate::owners::Owners;
use crate::policy::{AnyPolicy, Cause, Change, Meta};
use crate::record::Tape;
use crate::rooms::Rooms;
use crate::shadow::Shadow;
use crate::tags::Tags;
use departures::Departures;
pub use departures::Ending;
pub use entry::{Budget, Counters, New, Options, Outcome, Removed, Rest};
use entry::{Entry, IDLE, Idle, PINNED, SHADED};
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

    fn policy_weight(&self, weight: u64) -> u64 {
        if self.by_entries { 1 } else { weight }
    }

    /// The time for the policy, beside this time to live or deadline. Where nothing expires, reading the clock would be for nothing.
    fn time_beside(&self, time: u64) -> u64 {
        if time != NEVER || self.wheel.is_used() { self.clock.now() } else { 0 }
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
}
