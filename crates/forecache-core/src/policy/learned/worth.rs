//! What an entry is worth: what the model says of its like, for its room, cost and time to live.

use super::{Learned, Resident};
use crate::list::Slot;

/// A deadline in 2^26 ns, about a fifteenth of a second.
const TICK: u32 = 26;
pub(super) const NEVER: u32 = u32::MAX >> 1;
/// Set if a deadline may have been put off by a hit.
pub(super) const LOOSE: u32 = 1 << 31;

impl Learned {
    #[inline(always)]
    pub(super) fn worth(&self, place: usize) -> f32 {
        let history = &self.histories[place];
        let age = self.now.wrapping_sub(history.last);
        let worth = self.model.worth(history.class, age);
        if self.alike { worth } else { self.worth_for_room(&self.residents[place], history.class, age, worth) }
    }

    /// The worth of a newcomer.
    pub(super) fn worth_at_first(&self, newcomer: &Resident) -> f32 {
        let class = self.class_to_be(newcomer.fingerprint);
        self.worth_for_room(newcomer, class, 0, self.model.worth(class, 0))
    }

    #[inline(never)]
    fn worth_for_room(&self, resident: &Resident, class: u16, age: u32, worth: f32) -> f32 {
        if resident.deadline == NEVER {
            return worth * resident.density;
        }
        let deadline = u64::from(resident.deadline & !LOOSE) << TICK;
        if deadline <= self.clock.0 {
            return 0.0;
        }
        let horizon = (deadline - self.clock.0) as f32 / self.pace;
        self.model.worth_within(class, age, horizon) * resident.density
    }

    pub(super) fn cost(&self, slot: Slot) -> f32 {
        self.costs.get(slot as usize).copied().unwrap_or(1.0)
    }

    pub(super) fn density(&self, cost: f32, weight: u64) -> f32 {
        let density = if weight == 1 { cost } else { cost / (weight.max(1) as f32).powf(self.settings.size) };
        // Whatever the costs that users and tiers tell: a worth is a number, not below 0, and less than that of no entry.
        if density > 0.0 { density.min(1e30) } else { 0.0 }
    }
}

/// The tick in which an entry expires.
pub(super) fn deadline(time: u64) -> u32 {
    if time == u64::MAX { NEVER } else { (time >> TICK).min(u64::from(NEVER - 1)) as u32 }
}
