//! Replays a trace through a store, to learn how often a policy would have hit.
//!
//! The store is the one that the cache uses, driven in the same order: a get that misses is followed by a set of the same key.
//! So what is measured here is what production gets, exactly as long as one thread asks.

use crate::accuracy::Eviction;
use crate::expiry::{Clock, NEVER};
use crate::fingerprint::fingerprint;
use crate::groups::Groups;
use crate::index::Dense;
use crate::policy::{AnyPolicy, Cause};
use crate::store::{Budget, Key, Lookup, New, Options, Removed, Store};
use crate::trace::{Column, Operation, Place, Trace, TraceError};
use std::num::NonZeroU32;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The most that the simulated cache holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// So many entries, whatever they weigh.
    Entries(usize),
    /// So many bytes, each entry weighing its access's size.
    Bytes(u64),
}

impl Limit {
    /// Entries or bytes.
    pub fn amount(self) -> u64 {
        match self {
            Limit::Entries(most) => most as u64,
            Limit::Bytes(most) => most,
        }
    }
}

/// What happened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Gets, looks and sets.
    pub accesses: u64,
    /// Those that found no live entry of their key.
    pub misses: u64,
    /// The sizes of all accesses.
    pub bytes: u64,
    /// The sizes of those that missed.
    pub missed_bytes: u64,
    /// Requests: accesses that follow each other and belong together, or one by itself.
    pub requests: u64,
    /// Those whose accesses all hit.
    pub whole_requests: u64,
    /// How long it took.
    pub took: Duration,
}

impl Tally {
    /// What is asked for, with no misses yet. Where sizes are weights, none may be 0.
    pub(crate) fn of_accesses(trace: &Trace, by_bytes: bool) -> Result<Self, TraceError> {
        Tally::of_rows(trace, 0..trace.len(), by_bytes)
    }

    fn of_rows(trace: &Trace, rows: Range<usize>, by_bytes: bool) -> Result<Self, TraceError> {
        let mut tally = Tally::default();
        for row in rows {
            let (operation, size) = (trace.operations.at(row), trace.sizes.at(row));
            let stores = !matches!(operation, Operation::Delete | Operation::Look);
            if by_bytes && stores && size == 0 {
                let message = "its size is 0; expected at least 1 byte, because the capacity is in bytes";
                return Err(trace.error(Place::Row(row as u64), message));
            }
            if operation.counts() {
                tally.accesses += 1;
                tally.bytes = tally.bytes.saturating_add(size);
            }
        }
        Ok(tally)
    }
}

/// A key of the simulated store: one more than its number in the trace, so that an empty place costs no byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Id(NonZeroU32);

impl Id {
    fn new(id: u32) -> Self {
        Id(NonZeroU32::MIN.saturating_add(id))
    }
}

impl Key for Id {
    type Index = Dense;

    #[inline]
    fn hash(&self) -> u64 {
        u64::from(self.0.get())
    }
}

/// What a cache would know of the trace's keys, by number.
pub(crate) struct Known {
    pub(crate) fingerprints: Vec<u64>,
    pub(crate) groups: Column<u16>,
}

impl Known {
    pub(crate) fn of(trace: &Trace, groups: &mut Groups, seed: u64) -> Self {
        let mut known = Known { fingerprints: Vec::with_capacity(trace.unique()), groups: Column::default() };
        for id in 0..trace.unique() as u32 {
            let text = trace.key(id).text();
            known.fingerprints.push(fingerprint(text.as_bytes(), seed));
            // All numbers are of one shape.
            if id == 0 || !trace.is_numeric() {
                known.groups.push(id as usize, groups.of(&text));
            }
        }
        known
    }
}

/// A request under way.
#[derive(Default)]
struct Request {
    accesses: u64,
    /// Misses of the whole replay when it began.
    misses: u64,
}

impl Request {
    /// To be called behind each row.
    fn ends_or_goes_on(&mut self, trace: &Trace, row: usize, tally: &mut Tally) {
        self.accesses += u64::from(trace.operations.at(row).counts());
        if trace.continues.at(row) {
            return;
        }
        // A request that only deletes asks for nothing.
        if self.accesses > 0 {
            tally.requests += 1;
            tally.whole_requests += u64::from(tally.misses == self.misses);
        }
        *self = Request { accesses: 0, misses: tally.misses };
    }
}

/// A replay under way.
struct Replay<'a> {
    trace: &'a Trace,
    store: Store<Id, ()>,
    known: Known,
    /// By number of the key, if policies are to be told.
    addresses: Option<&'a [u64]>,
    owners: Vec<u32>,
    by_bytes: bool,
    gone: Vec<Removed<Id, ()>>,
    /// If they are asked for.
    evictions: Option<Vec<Eviction>>,
    tally: Tally,
}

impl<'a> Replay<'a> {
    /// An empty store, and the clock that it goes by.
    fn begin(
        trace: &'a Trace,
        policy: AnyPolicy,
        limit: Limit,
        seed: u64,
        addresses: Option<&'a [u64]>,
    ) -> Result<(Self, Arc<AtomicU64>), TraceError> {
        let budget = match limit {
            Limit::Entries(most) => Budget { capacity: u64::MAX, max_entries: Some(most) },
            Limit::Bytes(capacity) => Budget { capacity, max_entries: None },
        };
        let by_bytes = matches!(limit, Limit::Bytes(_));
        let tally = Tally::of_accesses(trace, by_bytes)?;
        let mut groups = Groups::new([]);
        let known = Known::of(trace, &mut groups, seed);
        let clock = Arc::new(AtomicU64::new(0));
        let mut store = Store::new(policy, budget, Clock::Manual(clock.clone()), groups);
        let owners = trace.owner_names().iter().map(|name| store.owners.number(0, name)).collect();
        let replay = Replay { trace, store, known, addresses, owners, by_bytes, gone: Vec::new(), evictions: None, tally };
        Ok((replay, clock))
    }

    /// These rows, in order. Of what a row says the common one, a get that hits, needs only its key.
    fn run(&mut self, clock: &AtomicU64, rows: Range<usize>) {
        let trace = self.trace;
        let first = if trace.is_empty() { 0 } else { trace.times.at(0) };
        // Without times to live nothing ever looks at the clock.
        let timed = trace.times_to_live.same() != Some(NEVER);
        let grouped = trace.continues.same() != Some(false);
        let mut request = Request::default();
        for (row, &id) in trace.ids[..rows.end].iter().enumerate().skip(rows.start) {
            let key = Id::new(id);
            let lookup = Lookup { namespace: 0, hash: Key::hash(&key), equal: |other: &Id| *other == key };
            if timed {
                clock.store(trace.times.at(row) - first, Ordering::Relaxed);
            }
            let operation = trace.operations.at(row);
            let reads = matches!(operation, Operation::Get | Operation::Look);
            if !(reads && self.store.get(&lookup, &mut self.gone).is_some()) {
                self.miss_or_change(row, id, operation);
            }
            if grouped {
                request.ends_or_goes_on(trace, row, &mut self.tally);
            }
        }
        if !grouped {
            (self.tally.requests, self.tally.whole_requests) = (self.tally.accesses, self.tally.accesses - self.tally.misses);
        }
    }

    /// All but a hit.
    #[inline(never)]
    fn miss_or_change(&mut self, row: usize, id: u32, operation: Operation) {
        let (trace, key) = (self.trace, Id::new(id));
        let lookup = Lookup { namespace: 0, hash: Key::hash(&key), equal: |other: &Id| *other == key };
        match operation {
            Operation::Look => return self.miss(row),
            Operation::Delete => {
                self.store.remove(&lookup, &mut self.gone);
                return self.gone.clear();
            }
            _ => {}
        }
        let size = trace.sizes.at(row);
        let options = self.options(row, id);
        let (weight, fingerprint) = (if self.by_bytes { size } else { 1 }, self.known.fingerprints[id as usize]);
        self.gone.clear();
        self.store.set(&lookup, New { key, fingerprint, value: (), weight }, &options, &mut self.gone);
        if self.evictions.is_some() {
            self.note_evictions(row);
        }
        let replaced = |removed: &Removed<Id, ()>| removed.cause == Cause::Replaced && removed.key == key;
        let missed = operation == Operation::Get || !self.gone.iter().any(replaced);
        if missed && operation.counts() {
            self.miss(row);
        }
    }

    /// Those that the row made.
    fn note_evictions(&mut self, row: usize) {
        let (row, held) = (row as u32, self.store.len() as u32);
        let evicted = self.gone.iter().filter(|removed| removed.cause == Cause::Size);
        let evictions = evicted.map(|removed| Eviction { row, id: removed.key.0.get() - 1, held });
        self.evictions.iter_mut().for_each(|all| all.extend(evictions.clone()));
    }

    /// What is said of the entry that the access stores.
    fn options(&self, row: usize, id: u32) -> Options<'static> {
        let trace = self.trace;
        Options {
            time_to_live: trace.times_to_live.at(row),
            owner: self.owners[trace.owners.at(row) as usize],
            group: self.known.groups.at(id as usize),
            cost: trace.costs.at(row),
            address: self.addresses.map(|addresses| addresses[id as usize]),
            ..Options::default()
        }
    }

    fn miss(&mut self, row: usize) {
        self.tally.misses += 1;
        self.tally.missed_bytes = self.tally.missed_bytes.saturating_add(self.trace.sizes.at(row));
    }
}

/// Replays `trace` through an empty store. Policies know keys by their fingerprints alone. The store's clock begins at 0 with the first
/// access. `seed` is that of the cache whose hits are to be had. Bounded by bytes, an access of size 0 is an error.
pub fn simulate(trace: &Trace, policy: AnyPolicy, limit: Limit, seed: u64) -> Result<Tally, TraceError> {
    run(trace, policy, limit, seed, None)
}

/// The same, and policies are told the number that each key is. Refused for a trace whose numbers tell nothing, or the future.
pub fn simulate_with_addresses(trace: &Trace, policy: AnyPolicy, limit: Limit, seed: u64) -> Result<Tally, TraceError> {
    run(trace, policy, limit, seed, Some(trace.addresses()?))
}

/// The same as [`simulate`], and what is counted are the rows from `first` on: those before only fill the cache.
pub fn simulate_from(trace: &Trace, policy: AnyPolicy, limit: Limit, seed: u64, first: usize) -> Result<Tally, TraceError> {
    let first = first.min(trace.len());
    let (mut replay, clock) = Replay::begin(trace, policy, limit, seed, None)?;
    replay.run(&clock, 0..first);
    replay.tally = Tally::of_rows(trace, first..trace.len(), replay.by_bytes)?;
    let begin = Instant::now();
    replay.run(&clock, first..trace.len());
    replay.tally.took = begin.elapsed();
    Ok(replay.tally)
}

fn run(trace: &Trace, policy: AnyPolicy, limit: Limit, seed: u64, addresses: Option<&[u64]>) -> Result<Tally, TraceError> {
    let (mut replay, clock) = Replay::begin(trace, policy, limit, seed, addresses)?;
    let begin = Instant::now();
    replay.run(&clock, 0..trace.len());
    replay.tally.took = begin.elapsed();
    Ok(replay.tally)
}

/// A replay, and what a look inside shows.
pub struct Watched {
    /// What happened.
    pub tally: Tally,
    /// In order.
    pub evictions: Vec<Eviction>,
    store: Store<Id, ()>,
}

impl Watched {
    /// As it is after the last row.
    pub fn policy(&self) -> &AnyPolicy {
        self.store.policy()
    }
}

/// The same as `simulate` or, with `addresses`, `simulate_with_addresses`, and what was evicted; 12 bytes an eviction.
pub fn watch(trace: &Trace, policy: AnyPolicy, limit: Limit, seed: u64, addresses: bool) -> Result<Watched, TraceError> {
    let addresses = if addresses { Some(trace.addresses()?) } else { None };
    let (mut replay, clock) = Replay::begin(trace, policy, limit, seed, addresses)?;
    replay.evictions = Some(Vec::new());
    let begin = Instant::now();
    replay.run(&clock, 0..trace.len());
    replay.tally.took = begin.elapsed();
    let Replay { tally, evictions, store, .. } = replay;
    Ok(Watched { tally, evictions: evictions.unwrap_or_default(), store })
}

#[cfg(test)]
mod tests;
