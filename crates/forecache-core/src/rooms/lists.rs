//! The entries of each room, where all of them are under one policy that can be asked for a victim of some entries.

use crate::list::{NONE, Slot, grow};

/// A room's.
#[derive(Debug, Default)]
pub struct List {
    pub slots: Vec<Slot>,
    /// Where the policy looks next.
    pub hand: usize,
}

#[derive(Debug, Clone, Copy)]
struct Place {
    room: u16,
    at: Slot,
}

/// By room; empty as long as there is one room only.
#[derive(Debug, Default)]
pub struct Lists {
    rooms: Vec<List>,
    /// By slot.
    places: Vec<Place>,
}

impl Lists {
    pub fn is_empty(&self) -> bool {
        self.rooms.is_empty()
    }

    /// How many rooms there are.
    pub fn len(&self) -> usize {
        self.rooms.len()
    }

    pub fn room(&mut self, room: u16) -> &mut List {
        &mut self.rooms[room as usize]
    }

    /// Whether a room has no entries.
    pub fn is_bare(&self, room: u16) -> bool {
        self.rooms[room as usize].slots.is_empty()
    }

    /// The room that an entry is in.
    pub fn room_of(&self, slot: Slot) -> Option<u16> {
        self.places.get(slot as usize).map(|place| place.room)
    }

    pub fn add(&mut self, slot: Slot, room: u16) {
        if self.rooms.len() <= room as usize {
            self.rooms.resize_with(room as usize + 1, List::default);
        }
        let slots = &mut self.rooms[room as usize].slots;
        grow(&mut self.places, slot, Place { room: 0, at: NONE });
        self.places[slot as usize] = Place { room, at: slots.len() as Slot };
        slots.push(slot);
    }

    pub fn remove(&mut self, slot: Slot) {
        let Place { room, at } = self.places[slot as usize];
        let slots = &mut self.rooms[room as usize].slots;
        slots.swap_remove(at as usize);
        if let Some(&moved) = slots.get(at as usize) {
            self.places[moved as usize].at = at;
        }
    }

    /// Bytes allocated.
    pub fn allocated(&self) -> usize {
        let lists = self.rooms.iter().map(|list| list.slots.capacity() * size_of::<Slot>()).sum::<usize>();
        lists + self.rooms.capacity() * size_of::<List>() + self.places.capacity() * size_of::<Place>()
    }
}
