//! What people ask a store: which entries leave next, and why a key is there, or isn't.

use super::departures::{Departure, Departures, Ending, ticks};
use super::entry::{PINNED, Removed, Rest};
use super::{Key, Lookup, Store, spread};
use crate::list::Slot;
use crate::policy::{Cause, Standing};

/// An entry that may leave soon.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// Its slot.
    pub slot: Slot,
    /// The share of the entries that would stay longer: 1 leaves first, 0 last.
    pub score: f64,
    /// Why, in words.
    pub reason: String,
}

/// An entry that is there.
#[derive(Debug)]
pub struct Here {
    /// All that was said of it.
    pub rest: Box<Rest>,
    /// Whether it is kept from eviction.
    pub pinned: bool,
    /// How it stands with the policy, in words; empty if it is pinned.
    pub reason: String,
}

/// What became of a key, as far as that is remembered.
#[derive(Debug, PartialEq)]
pub struct Left {
    /// Why it isn't there.
    pub ending: Ending,
    /// Nanoseconds since.
    pub ago: u64,
    /// Why the policy evicted it, in words; empty if it didn't.
    pub reason: String,
}

/// See [`Store::explain`].
#[derive(Debug)]
pub struct Explained {
    /// The entry, if it is there.
    pub here: Option<Here>,
    /// What became of the one before it, or of the latest.
    pub left: Option<Left>,
    /// How many removals are remembered, if some are forgotten.
    pub most: Option<usize>,
}

impl<K: Key, V> Store<K, V> {
    /// Remembers from now on what becomes of entries: see [`Store::explain`].
    pub fn keep_departures(&mut self) {
        self.departures = Some(Departures::default());
    }

    /// Notes why an entry leaves, while it is still with the policy.
    #[inline(never)]
    pub(super) fn note_departure(&mut self, slot: Slot, cause: Cause) {
        // What is overwritten is there, or was refused, which is noted then.
        if cause == Cause::Replaced {
            return;
        }
        let entry = self.entry(slot);
        let (hash, pinned) = (spread(entry.namespace, entry.key.hash()), entry.flags & PINNED != 0);
        let standing = (cause == Cause::Size && !pinned).then(|| self.policy.standing(slot));
        self.note(hash, Ending::Left(cause), standing);
    }

    /// Notes that something isn't taken.
    #[cold]
    pub(super) fn note_refused(&mut self, lookup: &Lookup<impl Fn(&K) -> bool>, ending: Ending) {
        self.note(spread(lookup.namespace, lookup.hash), ending, None);
    }

    fn note(&mut self, hash: u64, ending: Ending, standing: Option<Standing>) {
        let departure = Departure { ending, tick: ticks(self.clock.now()), standing };
        if let Some(departures) = &mut self.departures {
            departures.note(hash, &departure, self.entries.len());
        }
    }

    /// The next `n` entries that would leave if nothing more were asked for, the very next first. What has ended leaves at once.
    pub fn candidates(&mut self, n: usize, gone: &mut Vec<Removed<K, V>>) -> Vec<Candidate> {
        self.expire(gone);
        self.reap(usize::MAX, gone);
        let others = (self.len() - self.pinned.1).saturating_sub(1).max(1) as f64;
        let slots = self.policy.candidates(n, &self.owners);
        let candidate =
            |(rank, slot): (usize, Slot)| Candidate { slot, score: 1.0 - rank as f64 / others, reason: self.policy.words(slot) };
        slots.into_iter().enumerate().map(candidate).collect()
    }

    /// Where a key stands, or why it isn't there.
    pub fn explain(&mut self, lookup: &Lookup<impl Fn(&K) -> bool>, gone: &mut Vec<Removed<K, V>>) -> Explained {
        let here = self.live(lookup, gone).map(|slot| {
            let pinned = self.entry(slot).flags & PINNED != 0;
            Here { rest: self.rest(slot), pinned, reason: if pinned { String::new() } else { self.policy.words(slot) } }
        });
        let departure = self.departures.as_ref().and_then(|departures| departures.of(spread(lookup.namespace, lookup.hash)));
        let left = departure.map(|departure| Left {
            ending: departure.ending,
            ago: departure.ago(self.clock.now()),
            reason: departure.standing.map_or_else(String::new, |standing| self.policy.words_of_departed(&standing)),
        });
        Explained { here, left, most: self.departures.as_ref().and_then(Departures::most) }
    }
}
