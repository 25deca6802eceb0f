//! What lies between memory and the tiers below it: a queue for each, what was fetched from them, and what other processes changed.
//!
//! Everything that must be one step with a change of memory is done here, under its guard; the tiers themselves are asked by Python.

use crate::disk;
use crate::envelope::Entry;
use crate::express::{Answer, Express};
use crate::key::{self, Name, Text};
use crate::memory::{Gone, Memory, Value};
use crate::zmemory::ZMemory;
use forecache_core::disk::counters::Counters;
use forecache_core::expiry::NEVER;
use forecache_core::histogram::Histogram;
use forecache_core::list::{Slot, grow};
use forecache_core::pending::Pending;
use forecache_core::store::{Lookup, Removed, Rest};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};
use std::collections::HashSet;
use std::sync::Arc;

/// Bytes that an operation takes in a queue beside key and payload.
pub const OVERHEAD: u64 = 192;
/// Keys of a queue that are looked at, and taken, at most in one go.
const LOOKED: usize = 256;
/// Reads whose ticket is a multiple of this are timed.
pub const TIMED: u64 = 16;

/// Where the shared counter of a key's stripe stood. An epoch of 0 is always current.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Mark {
    pub stripe: u16,
    pub epoch: u32,
}

/// A value on its way down, encoded.
pub struct Shelf {
    pub payload: Py<PyBytes>,
    pub codec: u8,
    /// Milliseconds since 1970, as `hard`.
    pub written: u64,
    pub hard: Option<u64>,
    /// Milliseconds.
    pub time_to_idle: Option<u64>,
    pub owner: Box<str>,
    pub tags: Vec<Box<str>>,
    pub cost: f32,
    pub immutable: bool,
    pub pinned: bool,
}

/// What is to be done to a key in a tier.
pub enum What {
    /// To store this, whatever is there.
    Set(Shelf),
    /// To delete what is there.
    Delete,
    /// To store what left memory for space; if `absent`, only where nothing is.
    Demote { value: Value, rest: Box<Rest>, absent: bool },
    /// To store what left the tier above for space, where nothing is.
    Sink(Py<Entry>),
}

pub struct Operation {
    pub what: What,
    pub mark: Mark,
}

impl Operation {
    pub fn delete() -> Self {
        Operation { what: What::Delete, mark: Mark::default() }
    }
}

/// What tells at once what a tier has under a key.
#[derive(FromPyObject)]
pub enum Index {
    Disk(Py<disk::Disk>),
    ZMemory(Py<ZMemory>),
}

impl Index {
    fn is_immutable(&self, py: Python<'_>, key: &str, now: u64) -> bool {
        match self {
            Index::Disk(disk) => disk.get().is_immutable(py, key, now),
            Index::ZMemory(store) => store.get().is_immutable(py, key, now),
        }
    }
}

/// What a tier is: see the fields of [`Depth`], from `capacity` on.
pub type Traits = (u64, bool, bool, bool, bool);

/// The queue of one tier.
pub struct Depth {
    pub queue: Pending<Text, Operation>,
    /// Bytes.
    pub capacity: u64,
    /// Whether a full queue refuses; else it has callers wait.
    pub refuses: bool,
    /// Whether other processes see the tier.
    pub shared: bool,
    /// Whether it gets at once what is read further below, and nothing that leaves the tier above: others may have changed it by then,
    /// and nothing would tell.
    pub fills: bool,
    /// Whether its counters tell other processes that a key was changed: they look anew then, so all below it has to be changed before.
    pub counts: bool,
    /// Writes and demotions that a full queue didn't take.
    pub refused: u64,
    /// How long hits took, in nanoseconds.
    pub latency: Histogram,
    pub index: Option<Index>,
}

impl Depth {
    /// With an empty queue.
    pub fn new((capacity, refuses, shared, fills, counts): Traits) -> Self {
        let (queue, latency) = (Pending::default(), Histogram::default());
        Depth { queue, capacity, refuses, shared, fills, counts, refused: 0, latency, index: None }
    }

    pub fn is_full(&self, bytes: u64) -> bool {
        !self.queue.is_empty() && self.queue.bytes().saturating_add(bytes) > self.capacity
    }
}

/// What was changed since it was opened: what leaves a tier meanwhile is out of date then.
#[derive(Default)]
struct Window {
    number: u64,
    all: bool,
    keys: HashSet<u64>,
}

/// See the head of this file.
#[derive(Default)]
pub struct Below {
    pub depths: Vec<Depth>,
    /// The counters that processes share, and the cache's namespace.
    pub counters: Option<(Arc<Counters>, Box<str>)>,
    /// By slot of memory; empty without counters.
    marks: Vec<Mark>,
    /// Hashes of keys about which a caller is deciding: nothing that is read from a tier climbs to memory.
    changing: HashSet<u64>,
    /// As if all keys were.
    pub held: u32,
    windows: Vec<Window>,
    opened: u64,
    /// Whether the thread that writes behind is up, as it says itself.
    pub awake: bool,
    /// How often something was brought up from below.
    pub promoted: u64,
    /// The short way to the only tier below, if it has one.
    pub express: Option<Arc<Express>>,
}

impl Below {
    /// Whether changes are noted.
    #[inline]
    pub fn watches(&self) -> bool {
        !self.windows.is_empty()
    }

    pub fn strike(&mut self, hash: u64) {
        self.windows.iter_mut().for_each(|window| _ = window.keys.insert(hash));
    }

    pub fn strike_all(&mut self) {
        self.windows.iter_mut().for_each(|window| window.all = true);
    }

    pub fn mark(&self, key: &str) -> Mark {
        self.counters.as_ref().map_or_else(Mark::default, |(counters, namespace)| {
            let stripe = counters.stripe(namespace, key);
            Mark { stripe, epoch: counters.epoch(stripe) }
        })
    }

    #[inline]
    pub fn is_current(&self, mark: Mark) -> bool {
        mark.epoch == 0 || self.counters.as_ref().is_none_or(|(counters, _)| counters.epoch(mark.stripe) == mark.epoch)
    }

    /// The mark of what memory has in `slot`.
    #[inline]
    pub fn mark_of(&self, slot: Slot) -> Mark {
        self.marks.get(slot as usize).copied().unwrap_or_default()
    }

    pub fn set_mark(&mut self, slot: Slot, mark: Mark) {
        if self.counters.is_some() {
            grow(&mut self.marks, slot, Mark::default());
            self.marks[slot as usize] = mark;
        }
    }

    /// Whether what is read from a tier may not climb to memory now.
    pub fn is_changing(&self, hash: u64) -> bool {
        self.held > 0 || self.changing.contains(&hash)
    }

    /// False if somebody else is deciding.
    pub fn begin(&mut self, hash: u64) -> bool {
        self.changing.insert(hash)
    }

    pub fn end(&mut self, hash: u64) {
        self.changing.remove(&hash);
    }

    pub fn open_window(&mut self) -> u64 {
        self.opened += 1;
        self.windows.push(Window { number: self.opened, ..Window::default() });
        self.opened
    }

    pub fn close_window(&mut self, number: u64) {
        self.windows.retain(|window| window.number != number);
    }

    /// Whether nobody has changed the key since the window was opened.
    pub fn stood(&self, number: u64, hash: u64) -> bool {
        let window = self.windows.iter().find(|window| window.number == number);
        window.is_some_and(|window| !window.all && !window.keys.contains(&hash))
    }

    /// Whether what is below memory is immutable, as far as queues and indexes tell.
    pub fn is_immutable(&self, py: Python<'_>, lookup: &Lookup<impl Fn(&Text) -> bool>, key: &str, now: u64) -> bool {
        for depth in &self.depths {
            match depth.queue.get(lookup).map(|operation| &operation.what) {
                Some(What::Set(shelf)) => return shelf.immutable,
                Some(What::Demote { rest, .. }) => return rest.immutable,
                Some(What::Sink(entry)) => return entry.get().immutable,
                Some(What::Delete) => {}
                None if depth.index.as_ref().is_some_and(|index| index.is_immutable(py, key, now)) => return true,
                None => {}
            }
        }
        false
    }

    /// Has the first tier below keep what memory had no room for, unless it is told better already.
    #[inline]
    pub fn demote(&mut self, py: Python<'_>, gone: &mut Gone) {
        if !self.depths.is_empty() && !gone.is_empty() {
            self.demote_all(py, gone);
        }
    }

    #[cold]
    #[inline(never)]
    fn demote_all(&mut self, py: Python<'_>, gone: &mut Gone) {
        for Removed { key, value, rest, .. } in gone {
            let Some(rest) = rest.take() else { continue };
            let mark = self.mark_of(rest.slot);
            let depth = &mut self.depths[0];
            let (lookup, bytes) = (key::lookup(key), rest.weight + OVERHEAD);
            let absent = match (depth.queue.waiting(&lookup), depth.queue.flying(&lookup)) {
                (Some(Operation { what: What::Delete, .. }), _) => false,
                (None, None | Some(Operation { what: What::Delete, .. })) => true,
                _ => continue,
            };
            // A time to idle is told to the tier even if it has the entry.
            let told = absent && rest.time_to_idle == NEVER;
            let has = |express: &Arc<Express>| key.0.to_str(py).is_ok_and(|key| express.has(py, key));
            if told && self.express.as_ref().is_some_and(has) {
                continue;
            }
            if absent && depth.is_full(bytes) {
                depth.refused += 1;
            } else {
                let what = What::Demote { value: value.clone_ref(py), rest, absent };
                depth.queue.put(&lookup, Text(key.0.clone_ref(py)), Operation { what, mark }, bytes);
            }
        }
    }

    /// Keys whose operations may be taken from a queue without being asked for, some of those that have been ready longest.
    pub fn due(&self, depth: usize) -> impl Iterator<Item = &Text> {
        let below = if self.depths[depth].counts { &self.depths[depth + 1..] } else { &[] };
        let waits = |key: &Text, depth: &Depth| depth.queue.get(&key::lookup(key)).is_some();
        let ready = self.depths[depth].queue.ready().take(LOOKED);
        ready.filter(move |key| !below.iter().any(|depth| waits(key, depth)))
    }

    /// Whether there is work for the thread that writes behind.
    pub fn is_due(&self) -> bool {
        (0..self.depths.len()).any(|depth| self.due(depth).next().is_some())
    }

    /// Whether the thread that writes behind has to be woken for what waits.
    pub fn wakes(&self) -> bool {
        !self.awake && self.is_due()
    }

    /// Lets go of everything, to be dropped when the guard is left.
    pub fn empty(&mut self) -> Vec<Operation> {
        self.windows.clear();
        self.changing.clear();
        self.counters = None;
        self.express = None;
        std::mem::take(&mut self.depths).into_iter().flat_map(|depth| depth.queue.into_operations()).collect()
    }

    /// The live values in the queues.
    pub fn values(&self) -> impl Iterator<Item = &Value> {
        self.depths.iter().flat_map(|depth| depth.queue.iter()).filter_map(|(_, operation)| match &operation.what {
            What::Demote { value, .. } => Some(value),
            _ => None,
        })
    }
}

/// Asks the tiers below for what memory doesn't have, if there are any.
#[cold]
#[inline(never)]
pub fn get<'py>(
    cache: &Bound<'py, Memory>,
    key: &Bound<'py, PyAny>,
    default: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = cache.py();
    let default = default.map_or_else(|| py.None().into_bound(py), Bound::clone);
    if cache.get().state.with(py, |state| state.below.depths.is_empty()) {
        return Ok(default);
    }
    match cache.get().express(py, &Name::of(key)?)? {
        Answer::Value(value) => Ok(value),
        Answer::Nothing => Ok(default),
        Answer::Unknown => crate::foreign::call(&cache.getattr("_below")?, (key, default)),
    }
}

/// Milliseconds since 1970 of a time by the store's clock, if it comes.
pub fn wall(time: u64, store_now: u64, now: u64) -> Option<u64> {
    (time != NEVER).then(|| if time >= store_now { now + (time - store_now) / 1_000_000 } else { now })
}

fn milliseconds(time: u64) -> Option<u64> {
    (time != NEVER).then_some(time / 1_000_000)
}

/// Nanoseconds of milliseconds, if there are any.
pub fn nanoseconds(time: Option<u64>) -> u64 {
    time.map_or(NEVER, |time| time.saturating_mul(1_000_000))
}

impl Shelf {
    /// What left memory, encoded.
    pub fn of(rest: &Rest, payload: Py<PyBytes>, codec: u8, store_now: u64, now: u64) -> Self {
        // When it was last used isn't told to the tier, so it ends when it would have in memory.
        let idle = rest.time_to_idle != NEVER;
        Shelf {
            payload,
            codec,
            written: now,
            hard: wall(if idle { rest.deadline } else { rest.hard }, store_now, now),
            time_to_idle: milliseconds(rest.time_to_idle),
            owner: rest.owner.clone(),
            tags: rest.tags.clone(),
            cost: 1.0,
            immutable: rest.immutable,
            pinned: false,
        }
    }

    /// As tiers take it. A tier of this process alone keeps the mark in the record, a shared one compares it when it writes.
    pub fn entry(&self, py: Python<'_>, mark: Mark, shared: bool) -> Entry {
        let (epoch, mark) = if shared { (0, mark.epoch) } else { (u64::from(mark.epoch), 0) };
        Entry::made(
            self.payload.clone_ref(py),
            self.codec,
            (self.written, self.hard, self.time_to_idle),
            (String::from(&*self.owner), self.tags.iter().map(|tag| tag.to_string()).collect()),
            (self.cost, self.immutable, self.pinned),
            (epoch, mark),
        )
    }
}

/// Drops operations, which may run finalisers: not while the store is in use.
pub fn release(py: Python<'_>, operations: impl IntoIterator<Item = Operation>) {
    for operation in operations {
        match operation.what {
            What::Demote { value, .. } => crate::foreign::release(py, value),
            What::Set(_) | What::Delete | What::Sink(_) => {}
        }
    }
}

impl Memory {
    /// Where the shared counter of a key stands.
    pub fn mark(&self, py: Python<'_>, name: &crate::key::Name) -> PyResult<Mark> {
        if self.state.with(py, |state| state.below.counters.is_none()) {
            return Ok(Mark::default());
        }
        let utf8 = name.utf8()?;
        Ok(self.state.with(py, |state| state.below.mark(&utf8)))
    }
}

/// A key as Python has it.
pub fn text(py: Python<'_>, key: &Text) -> Py<PyString> {
    key.0.clone_ref(py)
}

/// Compares what memory has with counters from now on; what is there already counts as current.
pub fn attach(py: Python<'_>, state: &mut crate::memory::State, counters: Option<&Bound<'_, disk::Counters>>, namespace: &str) {
    state.below.counters = counters.map(|counters| (counters.get().0.clone(), namespace.into()));
    state.below.marks.clear();
    let marks: Vec<_> = state.store.slots().map(|slot| (slot, state.store.held(slot).0.0.to_str(py))).collect();
    for (slot, key) in marks.into_iter().filter_map(|(slot, key)| Some((slot, key.ok()?.to_owned()))).collect::<Vec<_>>() {
        let mark = state.below.mark(&key);
        state.below.set_mark(slot, mark);
    }
}
