//! Who leaves: the worst of those that were looked at, this time or before.

use super::Learned;
use crate::list::{NONE, Slot};

/// Neighbours that are looked at together: as many as have their histories in a cache line.
const LINE: usize = 8;
/// Entries of a room that are looked at, of which none are kept for the next time.
const AMONG: usize = 64;

impl Learned {
    /// Looks at some lines of entries, where it stopped the last time, and at the newcomer. The worst of each line may be kept.
    #[inline]
    pub(super) fn look_around(&mut self) {
        // Where entries differ in size or cost, more can be won by whom one finds.
        let candidates = if self.even { self.settings.candidates } else { 2 * self.settings.candidates };
        for _ in 0..candidates.div_ceil(LINE).max(1) {
            let begin = if self.hand < self.residents.len() { self.hand } else { 0 };
            let end = (begin + LINE).min(self.residents.len());
            self.hand = end;
            let (mut least, mut worst) = (f32::INFINITY, begin);
            for place in begin..end {
                let worth = self.worth(place);
                (least, worst) = if worth < least { (worth, place) } else { (least, worst) };
            }
            self.see(least, worst);
        }
        if let Some(place) = self.place_of(self.newcomer) {
            self.see(self.worth(place), place);
        }
    }

    /// Of these entries, which are some of those that are there, the one that is worth least of the next that are looked at, and the last.
    pub(crate) fn victim_of(&mut self, slots: &[Slot], hand: &mut usize) -> Option<Slot> {
        self.note_full();
        let newest = *slots.last()?;
        let (before, next) = slots.split_at(*hand % slots.len());
        *hand = (before.len() + AMONG) % slots.len();
        let worth = |slot: Slot| self.worth(self.places[slot as usize] as usize);
        let ranks = next.iter().chain(before).take(AMONG).chain([&newest]).map(|&slot| (worth(slot), slot));
        ranks.min_by(|one, other| one.0.total_cmp(&other.0)).map(|(_, slot)| slot)
    }

    #[inline]
    fn see(&mut self, worth: f32, place: usize) {
        let resident = self.residents[place];
        if self.pool.see(worth, resident.slot) {
            self.ghosts[usize::from(!self.is_counted(resident.fingerprint))].prefetch(resident.fingerprint);
        }
    }

    /// Where the entry in this slot is, if there is one. If another was in the slot when it was noted, this one is as good as any.
    #[inline]
    fn place_of(&self, slot: Slot) -> Option<usize> {
        self.places.get(slot as usize).filter(|&&place| place != NONE).map(|&place| place as usize)
    }

    /// The worst of those that are kept, by what they are worth now.
    #[inline]
    pub(super) fn worst_kept(&mut self) -> Option<Slot> {
        while let Some((slot, next)) = self.pool.pop() {
            let Some(place) = self.place_of(slot) else { continue };
            let worth = self.worth(place);
            // If it is worth as much as another now, then that one is looked at. This ends: what is kept is as it is now.
            if worth <= next || !self.pool.see(worth, slot) {
                return Some(slot);
            }
        }
        None
    }
}
