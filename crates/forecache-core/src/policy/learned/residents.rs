//! Where entries stand: side by side in places without gaps, those that are counted first.

use super::{Learned, Resident};
use crate::learn::features::History;
use crate::learn::ghosts::Ghost;
use crate::list::{NONE, Slot, grow};

impl Learned {
    /// Puts an entry in its place: those that are counted come first.
    pub(super) fn place(&mut self, resident: Resident, history: History) {
        grow(&mut self.places, resident.slot, NONE);
        if self.residents.len() == self.residents.capacity() {
            let more = (self.residents.len() / 16).max(16);
            self.residents.reserve_exact(more);
            self.histories.reserve_exact(more);
        }
        self.residents.push(resident);
        self.histories.push(history);
        let mut place = self.residents.len() - 1;
        if self.is_counted(resident.fingerprint) {
            self.swap(place, self.counted);
            self.places[self.residents[place].slot as usize] = place as u32;
            place = self.counted;
            self.counted += 1;
        }
        self.places[resident.slot as usize] = place as u32;
    }

    fn swap(&mut self, one: usize, other: usize) {
        self.residents.swap(one, other);
        self.histories.swap(one, other);
    }

    pub(super) fn displace(&mut self, slot: Slot) -> (Resident, History) {
        let mut place = self.places[slot as usize] as usize;
        if place < self.counted {
            self.counted -= 1;
            self.swap(place, self.counted);
            self.places[self.residents[place].slot as usize] = place as u32;
            place = self.counted;
        }
        let gone = (self.residents.swap_remove(place), self.histories.swap_remove(place));
        if let Some(moved) = self.residents.get(place) {
            self.places[moved.slot as usize] = place as u32;
        }
        self.places[slot as usize] = NONE;
        gone
    }

    /// Classes at another scale, and others that are counted. Returns the ghosts, if they have to be sorted anew.
    pub(super) fn resort(&mut self, share: u32) -> Vec<(u32, Ghost)> {
        for history in &mut self.histories {
            history.class = self.model.scale.class(history);
        }
        if share == self.share {
            return Vec::new();
        }
        self.share = share;
        self.counted = 0;
        for place in 0..self.residents.len() {
            if self.is_counted(self.residents[place].fingerprint) {
                self.swap(place, self.counted);
                self.counted += 1;
            }
        }
        for (resident, place) in self.residents.iter().zip(0..) {
            self.places[resident.slot as usize] = place;
        }
        let ghosts = std::mem::take(&mut self.ghosts);
        ghosts.iter().flat_map(|ghosts| ghosts.iter(self.now)).collect()
    }
}
