//! Rooms: owners with a priority or a budget of their own are kept apart from the others, each room under a policy of its own. One that
//! learns is the same for all rooms: it learns from all that is asked for, and what it knows is there once.
//!
//! Room 0 is of all owners of whom nothing is said, and usually the only one. Which room gives the next victim is told by [`Turn`](crate::owners::Turn);
//! which of its entries, by its policy. Policies number the entries of their rooms without gaps, so that many rooms take little.

mod lists;

use crate::learn::prior::Prior;
use crate::list::{Slot, grow};
use crate::owners::Owners;
use crate::policy::{AnyPolicy, Cause, Change, Inspect, Meta, Policy, Standing};
use lists::{List, Lists};
use std::sync::Arc;

/// Where an entry is: its room, and its number there, which in room 0 is its slot.
#[derive(Debug, Clone, Copy, Default)]
struct Place {
    room: u16,
    number: Slot,
}

/// A room beside room 0.
#[derive(Debug)]
struct Room {
    policy: AnyPolicy,
    /// The slot of each number; of those that are free, the one that had it last.
    slots: Vec<Slot>,
    free: Vec<Slot>,
}

impl Room {
    fn is_empty(&self) -> bool {
        self.slots.len() == self.free.len()
    }

    fn number(&mut self, slot: Slot) -> Slot {
        let number = self.free.pop().unwrap_or(self.slots.len() as Slot);
        grow(&mut self.slots, number, slot);
        self.slots[number as usize] = slot;
        number
    }
}

/// The policies of a store.
#[derive(Debug)]
pub struct Rooms {
    base: AnyPolicy,
    /// Rooms that have policies of their own.
    others: Vec<Room>,
    /// Whose entries the policy of all rooms has, if it is that.
    lists: Lists,
    /// As the store has told it; 0 before.
    capacity: u64,
    /// By slot, as far as entries were put into other rooms; whoever is beyond is in room 0.
    places: Vec<Place>,
}

impl Rooms {
    /// One room, under this policy.
    pub fn new(policy: AnyPolicy) -> Self {
        Rooms { base: policy, others: Vec::new(), lists: Lists::default(), capacity: 0, places: Vec::new() }
    }

    /// The policy of room 0; it is that of the others too, or they are of the same kind.
    pub fn base(&self) -> &AnyPolicy {
        &self.base
    }

    /// See [`Policy::on_insert`]; `meta` tells the room.
    #[inline]
    pub fn on_insert(&mut self, slot: Slot, fingerprint: u64, meta: &Meta) {
        if meta.room == 0 && self.lists.is_empty() {
            self.base.on_insert(slot, fingerprint, meta);
        } else {
            self.put(slot, fingerprint, meta);
        }
    }

    #[cold]
    #[inline(never)]
    fn put(&mut self, slot: Slot, fingerprint: u64, meta: &Meta) {
        if let Some(policy) = self.base.as_learned_mut() {
            if self.lists.is_empty() {
                policy.slots().for_each(|slot| self.lists.add(slot, 0));
            }
            policy.on_insert(slot, fingerprint, meta);
            return self.lists.add(slot, meta.room);
        }
        while self.others.len() < meta.room as usize {
            let mut policy = self.base.fresh();
            policy.configure(Change::Capacity(self.capacity));
            self.others.push(Room { policy, slots: Vec::new(), free: Vec::new() });
        }
        let room = &mut self.others[meta.room as usize - 1];
        let number = room.number(slot);
        room.policy.on_insert(number, fingerprint, meta);
        grow(&mut self.places, slot, Place::default());
        self.places[slot as usize] = Place { room: meta.room, number };
    }

    /// See [`Policy::on_hit`].
    #[inline(always)]
    pub fn on_hit(&mut self, slot: Slot) {
        if self.others.is_empty() { self.base.on_hit(slot) } else { self.hit(slot) }
    }

    #[cold]
    #[inline(never)]
    fn hit(&mut self, slot: Slot) {
        let Place { room, number } = self.place(slot);
        self.policy(room).on_hit(number);
    }

    /// See [`Policy::on_remove`].
    pub fn on_remove(&mut self, slot: Slot, cause: Cause) {
        let Place { room, number } = self.place(slot);
        self.policy(room).on_remove(number, cause);
        if !self.lists.is_empty() {
            self.lists.remove(slot);
        } else if room > 0 {
            self.others[room as usize - 1].free.push(number);
            self.places[slot as usize].room = 0;
        }
    }

    /// See [`Policy::victim`]; of the room whose turn it is.
    pub fn victim(&mut self, newcomer: Option<(u64, &Meta)>, owners: &Owners) -> Option<Slot> {
        if self.count() == 1 {
            return self.base.victim(newcomer.map(|(fingerprint, _)| fingerprint));
        }
        let brings = newcomer.map_or((0, 0), |(_, meta)| (meta.room, meta.weight));
        let of = |room: u16| newcomer.filter(|(_, meta)| meta.room == room).map(|(fingerprint, _)| fingerprint);
        let first = self.turn(owners, 0, brings).unwrap_or(0);
        // Only room 0 doesn't tell beforehand that it is empty.
        self.victim_of(first, of(first)).or_else(|| {
            let next = self.turn(owners, 1, brings)?;
            self.victim_of(next, of(next))
        })
    }

    fn victim_of(&mut self, room: u16, newcomer: Option<u64>) -> Option<Slot> {
        match self.base.as_learned_mut() {
            Some(policy) => {
                let List { slots, hand } = self.lists.room(room);
                policy.victim_of(slots, hand)
            }
            None => self.policy(room).victim(newcomer).map(|number| self.slot(room, number)),
        }
    }

    /// How many rooms there are.
    fn count(&self) -> usize {
        self.lists.len().max(self.others.len() + 1)
    }

    fn is_bare(&self, room: u16) -> bool {
        if self.lists.is_empty() { room > 0 && self.others[room as usize - 1].is_empty() } else { self.lists.is_bare(room) }
    }

    /// The room whose turn it is, of those from `least` on that have something to give, if a room is brought that much.
    fn turn(&self, owners: &Owners, least: u16, (to, more): (u16, u64)) -> Option<u16> {
        let turn = |room: u16| if room == to { owners.turn_with(room, more) } else { owners.turn(room) };
        let filled = (least..self.count() as u16).filter(|&room| !self.is_bare(room));
        filled.map(|room| (turn(room), room)).min().map(|(_, room)| room)
    }

    /// See [`Policy::admit`]. A newcomer of another room is taken unless its own would have to give first.
    pub fn admit(&mut self, fingerprint: u64, meta: &Meta, victim: Slot, owners: &Owners) -> bool {
        let Place { room, number } = self.place(victim);
        if room == meta.room {
            return self.policy(room).admit(fingerprint, meta, number);
        }
        !owners.turn_with(meta.room, meta.weight).yields_to(owners.turn(room))
    }

    /// See [`Policy::configure`].
    pub fn configure(&mut self, mut change: Change) {
        if let Change::Capacity(capacity) = change {
            self.capacity = capacity;
            self.others.iter_mut().for_each(|room| room.policy.configure(change));
        }
        let places = &self.places;
        let room = change.slot().map_or(0, |slot| {
            let Place { room, number } = place(places, *slot);
            *slot = number;
            room
        });
        self.policy(room).configure(change);
    }

    /// See [`Inspect::candidates`]: room by room, in the order of their turns now.
    pub fn candidates(&self, n: usize, owners: &Owners) -> Vec<Slot> {
        let turn = |room: u16| owners.turn(room);
        if !self.lists.is_empty() {
            let mut slots = self.base.inspect().candidates(usize::MAX);
            slots.sort_by_cached_key(|&slot| turn(self.place(slot).room));
            slots.truncate(n);
            return slots;
        }
        let mut rooms: Vec<u16> = (0..self.count() as u16).collect();
        rooms.sort_by_key(|&room| turn(room));
        let mut candidates = Vec::new();
        for room in rooms {
            let numbers = self.inspect(room).candidates(n - candidates.len());
            candidates.extend(numbers.into_iter().map(|number| self.slot(room, number)));
        }
        candidates
    }

    /// The policies of all rooms.
    pub fn policies(&self) -> impl Iterator<Item = &AnyPolicy> {
        std::iter::once(&self.base).chain(self.others.iter().map(|room| &room.policy))
    }

    /// Has the policies that learn forget what they learned, and go by this.
    pub fn begin_with(&mut self, prior: &Arc<Prior>) {
        let policies = std::iter::once(&mut self.base).chain(self.others.iter_mut().map(|room| &mut room.policy));
        policies.filter_map(AnyPolicy::as_learned_mut).for_each(|policy| policy.begin_with(prior.clone()));
    }

    /// See [`Inspect::hits`].
    pub fn hits(&self, slot: Slot) -> u64 {
        let Place { room, number } = self.place(slot);
        self.inspect(room).hits(number)
    }

    /// See [`Inspect::standing`].
    pub fn standing(&self, slot: Slot) -> Standing {
        let Place { room, number } = self.place(slot);
        self.inspect(room).standing(number)
    }

    /// See [`Inspect::words`]; of an entry that is there.
    pub fn words(&self, slot: Slot) -> String {
        let Place { room, number } = self.place(slot);
        let policy = self.inspect(room);
        policy.words(&policy.standing(number))
    }

    /// See [`Inspect::words`]; of one that left. Which room it had isn't known any more: room 0 speaks for all.
    pub fn words_of_departed(&self, standing: &Standing) -> String {
        self.base.inspect().words(standing)
    }

    /// Bytes that are allocated for all of it.
    pub fn allocated(&self) -> usize {
        let numbers = |room: &Room| (room.slots.capacity() + room.free.capacity()) * size_of::<Slot>();
        let others = self.others.iter().map(|room| numbers(room) + room.policy.inspect().allocated());
        let own = others.sum::<usize>() + self.places.capacity() * size_of::<Place>();
        self.base.inspect().allocated() + own + self.lists.allocated()
    }

    #[inline]
    fn place(&self, slot: Slot) -> Place {
        match self.lists.room_of(slot) {
            Some(room) => Place { room, number: slot },
            None => place(&self.places, slot),
        }
    }

    fn slot(&self, room: u16, number: Slot) -> Slot {
        if room == 0 || self.others.is_empty() { number } else { self.others[room as usize - 1].slots[number as usize] }
    }

    fn policy(&mut self, room: u16) -> &mut AnyPolicy {
        if room == 0 || self.others.is_empty() { &mut self.base } else { &mut self.others[room as usize - 1].policy }
    }

    fn inspect(&self, room: u16) -> &dyn Inspect {
        if room == 0 || self.others.is_empty() { self.base.inspect() } else { self.others[room as usize - 1].policy.inspect() }
    }
}

#[inline]
fn place(places: &[Place], slot: Slot) -> Place {
    places.get(slot as usize).copied().filter(|place| place.room > 0).unwrap_or(Place { room: 0, number: slot })
}

#[cfg(test)]
mod tests;
