//! Room for what is to be stored: how much there is, and who leaves for it.

use super::entry::{PINNED, Removed};
use super::{Key, Store};
use crate::index::Index;
use crate::list::Slot;
use crate::policy::{Cause, Meta};

/// How many slots a write looks at for dead entries, while there are any.
pub(super) const SWEEP: usize = 16;

impl<K: Key, V> Store<K, V> {
    pub(super) fn has_room_beside_pins(&self, weight: u64) -> bool {
        weight <= self.budget.capacity.saturating_sub(self.pinned.0)
            && self.budget.max_entries.is_none_or(|most| self.pinned.1 < most)
    }

    /// Whether the entry in `slot` may weigh `weight`.
    pub(super) fn fits(&self, weight: u64, slot: Slot) -> bool {
        let entry = self.entry(slot);
        let others = if entry.flags & PINNED != 0 { self.pinned.0 - entry.weight } else { self.pinned.0 };
        weight <= self.budget.capacity.saturating_sub(others)
    }

    /// Whether `weight` in `entries` more entries is over the budget.
    fn is_full(&self, weight: u64, entries: usize) -> bool {
        self.weight.checked_add(weight).is_none_or(|sum| sum > self.budget.capacity)
            || self.budget.max_entries.is_some_and(|most| self.index.len() + entries > most)
    }

    /// Makes room for `weight` in `entries` more entries; false if the policy has nothing to give or prefers what it has.
    pub(super) fn evict(
        &mut self,
        weight: u64,
        entries: usize,
        newcomer: Option<(u64, &Meta)>,
        gone: &mut Vec<Removed<K, V>>,
    ) -> bool {
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
    pub(super) fn make_room_to_grow(&mut self, slot: Slot, fingerprint: u64, weight: u64, gone: &mut Vec<Removed<K, V>>) {
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
}
