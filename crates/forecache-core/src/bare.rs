//! Replays a trace through a policy alone, for many sizes: what the store would do beside is left out, what it tells the policy isn't.
//!
//! Where nothing expires and an entry keeps its weight, a store does no more than to look a key up, tell its policy, and evict until there is
//! room. So the misses are those of [`simulate`](crate::simulate::simulate), which a test demands for every policy; the time is that of the
//! policy.

use crate::expiry::NEVER;
use crate::groups::Groups;
use crate::list::{NONE, Slot};
use crate::owners::Owners;
use crate::policy::{AnyPolicy, Cause, Change, Meta, Policy};
use crate::simulate::{Known, Limit, Tally};
use crate::trace::{Operation, Trace, TraceError};
use std::time::Instant;

/// Whether [`replay`] counts what the simulator counts.
pub fn is_exact(trace: &Trace, by_bytes: bool) -> bool {
    trace.times_to_live.same() == Some(NEVER) && !(by_bytes && trace.resizes())
}

/// Replays `trace` through an empty cache of each limit, each with a policy that `policy` makes. See [`is_exact`]. Bounded by bytes, an
/// access of size 0 is an error.
pub fn replay(trace: &Trace, policy: impl Fn() -> AnyPolicy, limits: &[Limit], seed: u64) -> Result<Vec<Tally>, TraceError> {
    let by_bytes = limits.iter().any(|limit| matches!(limit, Limit::Bytes(_)));
    let total = Tally::of_accesses(trace, by_bytes)?;
    let known = Known::of(trace, &mut Groups::new([]), seed);
    let mut numbers = Owners::default();
    let owners: Vec<u32> = trace.owner_names().iter().map(|name| numbers.number(0, name)).collect();
    let replay = |limit: &Limit| {
        let begin = Instant::now();
        let mut cache = Bare {
            trace,
            known: &known,
            owners: &owners,
            policy: told(policy(), limit.amount()),
            by_bytes: matches!(limit, Limit::Bytes(_)),
            capacity: limit.amount(),
            used: 0,
            slots: vec![NONE; trace.unique()],
            held: Vec::new(),
            free: Vec::new(),
            tally: total,
        };
        cache.run();
        cache.tally.took = begin.elapsed();
        cache.tally
    };
    Ok(limits.iter().map(replay).collect())
}

fn told(mut policy: AnyPolicy, capacity: u64) -> AnyPolicy {
    policy.configure(Change::Capacity(capacity));
    policy
}

struct Bare<'a> {
    trace: &'a Trace,
    known: &'a Known,
    owners: &'a [u32],
    policy: AnyPolicy,
    by_bytes: bool,
    capacity: u64,
    /// Entries, or bytes.
    used: u64,
    /// By key.
    slots: Vec<Slot>,
    /// The key and its weight, by slot.
    held: Vec<(u32, u64)>,
    free: Vec<Slot>,
    tally: Tally,
}

impl Bare<'_> {
    fn run(&mut self) {
        for (row, &id) in self.trace.ids.iter().enumerate() {
            let slot = self.slots[id as usize];
            match self.trace.operations.at(row) {
                Operation::Delete if slot == NONE => {}
                Operation::Delete => self.remove(slot, Cause::Explicit),
                operation if slot != NONE => {
                    self.policy.on_hit(slot);
                    if self.by_bytes && matches!(operation, Operation::Set | Operation::Fill) {
                        self.policy.configure(Change::Weight(slot, self.trace.sizes.at(row)));
                    }
                }
                operation => {
                    if operation.counts() {
                        self.tally.misses += 1;
                        self.tally.missed_bytes = self.tally.missed_bytes.saturating_add(self.trace.sizes.at(row));
                    }
                    if operation != Operation::Look {
                        self.store(row, id);
                    }
                }
            }
        }
        (self.tally.requests, self.tally.whole_requests) = (self.tally.accesses, self.tally.accesses - self.tally.misses);
    }

    fn weight(&self, row: usize) -> u64 {
        if self.by_bytes { self.trace.sizes.at(row) } else { 1 }
    }

    fn store(&mut self, row: usize, id: u32) {
        let (weight, fingerprint) = (self.weight(row), self.known.fingerprints[id as usize]);
        let (owner, group) = (self.owners[self.trace.owners.at(row) as usize], self.known.groups.at(id as usize));
        let meta = Meta { owner, group, cost: self.trace.costs.at(row), ..Meta::of_weight(weight) };
        if weight > self.capacity {
            return;
        }
        while self.used > self.capacity - weight {
            match self.policy.victim(Some(fingerprint)) {
                Some(victim) if self.policy.admit(fingerprint, &meta, victim) => self.remove(victim, Cause::Size),
                _ => return,
            }
        }
        let slot = self.free.pop().unwrap_or(self.held.len() as Slot);
        match self.held.get_mut(slot as usize) {
            Some(place) => *place = (id, weight),
            None => self.held.push((id, weight)),
        }
        self.slots[id as usize] = slot;
        self.used += weight;
        self.policy.on_insert(slot, fingerprint, &meta);
    }

    fn remove(&mut self, slot: Slot, cause: Cause) {
        self.policy.on_remove(slot, cause);
        let (id, weight) = self.held[slot as usize];
        self.slots[id as usize] = NONE;
        self.used -= weight;
        self.free.push(slot);
    }
}
