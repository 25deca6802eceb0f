//! Two miniatures beside a cache, one under its own policy and one under another that is tried: which would do better?
//!
//! Source: Waldspurger, Saemundsson, Ahmad and Park, "Cache modeling and optimization using miniature simulations" (ATC 2017). A share of the
//! keys is chosen by hash, and a store whose budget is that share of the real one's sees all that is asked of these keys. The policy in
//! force is compared in miniature too: what few keys do differs from what all do, but it differs alike in both.
//!
//! What is seen is what the real cache was asked: a read that missed there and hit in a miniature isn't followed by a set in the
//! miniature's world, and one that hit there and missed here is. So with all keys chosen the first miniature does what the
//! cache does, to the last hit. Weights, costs, times and deletes count; owners' priorities, pins and tags don't, but that what they remove is
//! removed here too.
//!
//! Cost: a read of a key that wasn't chosen costs nothing, a miss or a write of one a hash and a comparison. A chosen one costs as much as
//! in two more caches, of [`MOST`] entries at most.

mod comparison;
#[cfg(test)]
mod tests;

pub use comparison::Comparison;

use crate::expiry::{Clock, NEVER};
use crate::index::Hashed;
use crate::list::Slot;
use crate::policy::{AnyPolicy, Cause};
use crate::store::{Budget, Key, Lookup, New, Options, Removed, Store};
use comparison::Parts;
use std::collections::HashMap;

/// Entries of a miniature. If there are more, half of the keys are let go.
pub const MOST: usize = 4096;
/// A key: its fingerprint is all that is known of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Print(u64);

impl Key for Print {
    type Index = Hashed;

    #[inline]
    fn hash(&self) -> u64 {
        self.0
    }
}

type Mini = Store<Print, ()>;
type Gone = Vec<Removed<Print, ()>>;

/// What was said of a chosen key when it was stored.
#[derive(Debug, Clone, Copy)]
struct Said {
    fingerprint: u64,
    weight: u64,
    cost: f32,
    time_to_live: u64,
    time_to_idle: u64,
    group: u16,
}

/// See the head of this file.
#[derive(Debug)]
pub struct Shadow {
    minis: [Mini; 2],
    gone: Gone,
    /// The real cache's.
    budget: Budget,
    /// Of 2^so many keys one is chosen.
    shift: u32,
    /// By the real cache's slot.
    held: HashMap<Slot, Said>,
    /// Keys that the real cache missed; a bit for each miniature that didn't: the set that follows isn't one there.
    awaited: HashMap<u64, u8>,
    parts: Parts,
}

impl Shadow {
    /// Two empty miniatures of a cache with this budget and clock, under these policies.
    pub fn new(policies: [AnyPolicy; 2], budget: Budget, clock: &Clock) -> Self {
        let shift = budget.max_entries.map_or(0, |most| most.div_ceil(MOST).next_power_of_two().ilog2());
        let small = scaled(budget, shift);
        let mini = |policy| Store::new(policy, small, clock.clone(), crate::groups::Groups::new([]));
        Shadow {
            minis: policies.map(mini),
            gone: Vec::new(),
            budget,
            shift,
            held: HashMap::new(),
            awaited: HashMap::new(),
            parts: Parts::default(),
        }
    }

    /// Whether a key is one of those that are looked at.
    #[inline]
    pub fn chooses(&self, fingerprint: u64) -> bool {
        is_chosen(fingerprint, self.shift)
    }

    /// The real cache has read what is in `slot`. False if that isn't looked at any more.
    pub fn hit(&mut self, slot: Slot) -> bool {
        let Some(&said) = self.held.get(&slot) else { return false };
        for (at, found) in self.read(said.fingerprint).into_iter().enumerate() {
            if !found {
                self.store(at, &said);
            }
        }
        self.shrink();
        true
    }

    /// The real cache has read a key and found nothing.
    pub fn miss(&mut self, fingerprint: u64) {
        if !self.chooses(fingerprint) {
            return;
        }
        let [one, other] = self.read(fingerprint).map(u8::from);
        if self.awaited.len() >= MOST {
            self.awaited.clear(); // nobody stores them
        }
        match one | other << 1 {
            0 => _ = self.awaited.remove(&fingerprint),
            bits => _ = self.awaited.insert(fingerprint, bits),
        }
    }

    /// The real cache is told to store this, and may refuse to. Says whether the key is looked at.
    #[inline]
    pub fn set(&mut self, fingerprint: u64, weight: u64, options: &Options) -> bool {
        let chosen = self.chooses(fingerprint);
        if chosen {
            self.stored(&said(fingerprint, weight, options));
        }
        chosen
    }

    /// The real cache has stored in `slot` what it was told last.
    pub fn hold(&mut self, slot: Slot, fingerprint: u64, weight: u64, options: &Options) {
        if self.chooses(fingerprint) {
            self.held.insert(slot, said(fingerprint, weight, options));
        }
    }

    /// The real cache has given what is in `slot` another value.
    pub fn rewrite(&mut self, slot: Slot, weight: u64) {
        if let Some(held) = self.held.get_mut(&slot) {
            held.weight = weight;
            let said = *held;
            self.stored(&said);
        }
    }

    /// What was in `slot` left the real cache. What any cache would have lost, the miniatures lose too.
    pub fn removed(&mut self, slot: Slot, cause: Cause) {
        if let Some(said) = self.held.remove(&slot) {
            if matches!(cause, Cause::Explicit | Cause::Invalidated) {
                self.delete(said.fingerprint);
            }
        }
    }

    /// A key is deleted, whether the real cache has it or not.
    pub fn delete(&mut self, fingerprint: u64) {
        self.awaited.remove(&fingerprint);
        for mini in &mut self.minis {
            mini.remove(&lookup(fingerprint), &mut self.gone);
        }
        self.gone.clear();
    }

    /// All keys are.
    pub fn clear(&mut self) {
        self.minis.iter_mut().for_each(|mini| _ = mini.clear(&mut self.gone));
        self.gone.clear();
        (self.held, self.awaited) = Default::default();
    }

    /// The real cache has another budget.
    pub fn resize(&mut self, budget: Budget) {
        self.budget = budget;
        let Budget { capacity, max_entries } = scaled(budget, self.shift);
        self.minis.iter_mut().for_each(|mini| mini.resize(capacity, max_entries, &mut self.gone));
        self.gone.clear();
    }

    /// Reads a key in both, and counts.
    fn read(&mut self, fingerprint: u64) -> [bool; 2] {
        let Shadow { minis, gone, parts, .. } = self;
        let found = minis.each_mut().map(|mini| mini.get(&lookup(fingerprint), gone).is_some());
        gone.clear();
        parts.note(spread(fingerprint), found);
        found
    }

    fn stored(&mut self, said: &Said) {
        let there = self.awaited.remove(&said.fingerprint).unwrap_or(0);
        for at in 0..2 {
            if there & 1 << at == 0 {
                self.store(at, said);
            }
        }
        self.shrink();
    }

    fn store(&mut self, at: usize, said: &Said) {
        let mini = &mut self.minis[at];
        mini.groups.reach(said.group);
        let options = Options {
            time_to_live: said.time_to_live,
            time_to_idle: said.time_to_idle,
            group: said.group,
            cost: said.cost,
            ..Options::default()
        };
        let new = New { key: Print(said.fingerprint), fingerprint: said.fingerprint, value: (), weight: said.weight };
        mini.set(&lookup(said.fingerprint), new, &options, &mut self.gone);
        self.gone.clear();
    }

    /// Lets half of the keys go while there are too many, and counts from there on.
    fn shrink(&mut self) {
        while self.minis.iter().any(|mini| mini.len() > MOST) {
            self.halve();
        }
    }

    #[cold]
    fn halve(&mut self) {
        self.shift += 1;
        let shift = self.shift;
        let chosen = |fingerprint: u64| is_chosen(fingerprint, shift);
        for mini in &mut self.minis {
            let mut out = Vec::new();
            mini.scan(0, usize::MAX, |key, ()| out.extend((!chosen(key.0)).then_some(key.0)));
            out.into_iter().for_each(|fingerprint| _ = mini.remove(&lookup(fingerprint), &mut self.gone));
            mini.expire(&mut self.gone);
        }
        self.held.retain(|_, said| chosen(said.fingerprint));
        self.awaited.retain(|&fingerprint, _| chosen(fingerprint));
        self.parts = Parts::default();
        self.resize(self.budget);
    }

    /// What was seen.
    pub fn compare(&self) -> Comparison {
        let share = (-f64::from(self.shift)).exp2();
        self.parts.compare(share, [self.minis[0].len(), self.minis[1].len()])
    }

    /// Bytes allocated.
    pub fn allocated(&self) -> usize {
        self.minis.iter().map(Store::allocated).sum::<usize>()
            + self.held.capacity() * size_of::<(Slot, Said)>()
            + self.awaited.capacity() * size_of::<(u64, u8)>()
    }
}

/// Spreads fingerprints anew: what policies make of them has to be independent of who is chosen (Knuth's golden ratio).
#[inline]
fn spread(fingerprint: u64) -> u64 {
    fingerprint.wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

/// Whether a key is one of those that are looked at, if of 2^`shift` one is.
#[inline]
fn is_chosen(fingerprint: u64, shift: u32) -> bool {
    spread(fingerprint) <= u64::MAX >> shift
}

fn said(fingerprint: u64, weight: u64, options: &Options) -> Said {
    let &Options { cost, time_to_live, time_to_idle, group, .. } = options;
    Said { fingerprint, weight, cost, time_to_live, time_to_idle, group }
}

fn lookup(fingerprint: u64) -> Lookup<impl Fn(&Print) -> bool> {
    Lookup { namespace: 0, hash: fingerprint, equal: move |other: &Print| other.0 == fingerprint }
}

/// A budget for one of 2^`shift` keys.
fn scaled(budget: Budget, shift: u32) -> Budget {
    let capacity = if budget.capacity == NEVER { NEVER } else { (budget.capacity >> shift).max(1) };
    Budget { capacity, max_entries: budget.max_entries.map(|most| (most >> shift).max(1)) }
}
