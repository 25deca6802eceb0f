//! The way up: what lies in the queues, and what tiers had, climbs to memory.

use crate::below::{self, Mark, OVERHEAD, Operation, Shelf, What};
use crate::envelope::Entry;
use crate::key::{Name, Text};
use crate::memory::{Gone, Item, Memory, NAMESPACE, State, Value};
use crate::options::Said;
use forecache_core::expiry::NEVER;
use forecache_core::fingerprint::fingerprint;
use forecache_core::store::{Lookup, New, Options, Outcome, Rest};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use std::sync::atomic::Ordering::Relaxed;

/// What lies in the queues for a key.
enum Seen {
    Nothing,
    /// It was on its way down, and is back in memory.
    Live(Value),
    Entry(Entry),
    Sunk(Py<Entry>),
    /// It has to be written first, since other processes changed something meanwhile.
    Stale,
}

/// A copy of [`Rest`], since the queue keeps its own.
struct Kept {
    weight: u64,
    hard: u64,
    time_to_idle: u64,
    deadline: u64,
    owner: Box<str>,
    tags: Vec<Box<str>>,
    immutable: bool,
    mark: Mark,
}

impl Kept {
    fn of(rest: &Rest, mark: Mark) -> Self {
        let Rest { weight, hard, time_to_idle, deadline, immutable, .. } = *rest;
        Kept { weight, hard, time_to_idle, deadline, owner: rest.owner.clone(), tags: rest.tags.clone(), immutable, mark }
    }
}

impl State {
    /// Stores in memory what comes from below, with the rest of its times.
    fn bring(
        &mut self,
        py: Python<'_>,
        name: &Name,
        new: New<Text, Value>,
        options: &Options,
        mark: Mark,
        gone: &mut Gone,
    ) -> bool {
        let lookup = name.lookup(NAMESPACE);
        let stored = self.store.set(&lookup, new, options, gone) == Outcome::Stored;
        if stored {
            self.store.counters.sets -= 1;
            self.below.promoted += 1;
            self.mark(py, &lookup, mark, gone);
        }
        stored
    }

    /// Marks what memory holds now. What left to make room goes first: the slot, which may be the same, has its mark still.
    pub fn mark(&mut self, py: Python<'_>, lookup: &Lookup<impl Fn(&Text) -> bool>, mark: Mark, gone: &mut Gone) {
        self.below.demote(py, gone);
        if self.below.counters.is_some() {
            if let Some(slot) = self.store.slot(lookup) {
                self.below.set_mark(slot, mark);
            }
        }
    }

    /// Puts back in memory what it had no room for, if it still lives.
    fn rescue(
        &mut self,
        py: Python<'_>,
        name: &Name,
        fingerprint: u64,
        (value, held): (Value, Value),
        rest: &Kept,
        gone: &mut Gone,
    ) -> Option<Value> {
        let now = self.store.now();
        if rest.deadline <= now {
            return None;
        }
        // Who decides about it, or clears, has to know that memory doesn't get it meanwhile.
        if self.below.is_changing(name.lookup(NAMESPACE).hash) {
            return Some(held);
        }
        let owner = self.store.owners.number(NAMESPACE, &rest.owner);
        let options = Options {
            time_to_live: if rest.hard == NEVER { NEVER } else { rest.hard - now },
            time_to_idle: rest.time_to_idle,
            owner,
            immutable: rest.immutable,
            tags: &rest.tags,
            ..Options::default()
        };
        let new = New { key: name.text(), fingerprint, value, weight: rest.weight };
        self.bring(py, name, new, &options, rest.mark, gone);
        Some(held)
    }
}

/// The entry of a live value, without the value.
fn bare(py: Python<'_>, rest: &Rest, empty: Py<PyBytes>, store_now: u64, now: u64) -> Entry {
    let mut shelf = Shelf::of(rest, empty, 0, store_now, now);
    shelf.hard = below::wall(rest.hard, store_now, now);
    shelf.entry(py, Mark::default(), true)
}

#[pymethods]
impl Memory {
    /// What is known of a key before the tiers are asked: a ticket for what they have, if nothing lies in their queues; else ticket,
    /// mask of the tiers that have nothing valid, and what was found on its way: MISSING if nothing, an Entry, None if it has to be
    /// written first, or else the value, in a tuple.
    pub fn _look<'py>(&self, py: Python<'py>, key: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let name = Name::of(key)?;
        let mark = self.mark(py, &name)?;
        let fingerprint = if self.state.with(py, |state| state.below.depths.iter().all(|depth| depth.queue.is_empty())) {
            0
        } else {
            fingerprint(name.utf8()?.as_bytes(), self.seed)
        };
        let (ticket, hidden, seen) = self.change(py, |state, gone| {
            let lookup = name.lookup(NAMESPACE);
            let ticket = state.announce(lookup.hash, mark);
            let mut hidden = 0u32;
            for number in 0..state.below.depths.len() {
                let depth = &state.below.depths[number];
                let Some(operation) = depth.queue.get(&lookup) else { continue };
                if !state.below.is_current(operation.mark) && !matches!(operation.what, What::Delete) {
                    return (ticket, 1 << number, Seen::Stale);
                }
                match &operation.what {
                    What::Delete => hidden |= 1 << number,
                    What::Set(shelf) => return (ticket, hidden, Seen::Entry(shelf.entry(py, operation.mark, depth.shared))),
                    What::Sink(entry) => return (ticket, hidden, Seen::Sunk(entry.clone_ref(py))),
                    What::Demote { value, rest, .. } => {
                        let kept = Kept::of(rest, operation.mark);
                        let values = (value.clone_ref(py), value.clone_ref(py));
                        match state.rescue(py, &name, fingerprint, values, &kept, gone) {
                            Some(value) => return (ticket, hidden, Seen::Live(value)),
                            None => hidden |= 1 << number,
                        }
                    }
                }
            }
            (ticket, hidden, Seen::Nothing)
        })?;
        let found = match seen {
            Seen::Nothing if hidden == 0 => return Ok(ticket.into_pyobject(py)?.into_any()),
            Seen::Nothing => crate::missing(py),
            Seen::Live(value) => (value,).into_pyobject(py)?.into_any(),
            Seen::Entry(entry) => Bound::new(py, entry)?.into_any(),
            Seen::Sunk(entry) => entry.into_bound(py).into_any(),
            Seen::Stale => py.None().into_bound(py),
        };
        Ok((ticket, hidden, found).into_pyobject(py)?.into_any())
    }

    /// Announces that the value of `key` is being read from tiers: a ticket, shared by all who do so at a time.
    fn _fetch(&self, py: Python<'_>, key: &Bound<'_, PyAny>) -> PyResult<u64> {
        let name = Name::of(key)?;
        let mark = self.mark(py, &name)?;
        self.change(py, |state, _| state.announce(name.lookup(NAMESPACE).hash, mark))
    }

    /// Stores what the tier at `depth` had, or what lay in a queue, unless the key was changed since the ticket was given.
    #[pyo3(signature = (key, value, ticket, entry, now, depth=0))]
    fn _promote(
        slf: &Bound<'_, Self>,
        key: &Bound<'_, PyAny>,
        value: &Bound<'_, PyAny>,
        ticket: u64,
        entry: &Bound<'_, Entry>,
        now: u64,
        depth: usize,
    ) -> PyResult<()> {
        slf.get().fill(key, ticket, entry, depth)?;
        slf.get().climb(key, value, ticket, entry.get(), now, None)?;
        super::wake(slf)
    }

    /// The entry of what memory has, or what left it and is on its way down, with an empty payload; None if there is nothing.
    fn _held(&self, py: Python<'_>, key: &Bound<'_, PyAny>, now: u64) -> PyResult<Option<Entry>> {
        let name = Name::of(key)?;
        let empty = PyBytes::new(py, b"").unbind();
        self.change(py, |state, gone| {
            let lookup = name.lookup(NAMESPACE);
            state.refresh(&lookup, gone);
            let store_now = state.store.now();
            let held = state.store.slot(&lookup).map(|slot| state.store.rest(slot));
            let on_the_way =
                || state.below.depths.iter().find_map(|depth| depth.queue.get(&lookup)).map(|operation| &operation.what);
            let rest = match (&held, on_the_way) {
                (Some(rest), _) => rest,
                (None, what) => match what() {
                    Some(What::Demote { rest, .. }) => rest,
                    _ => return None,
                },
            };
            Some(bare(py, rest, empty, store_now, now))
        })
    }

    /// What of a key is on its way down, and nothing is done about it: a mask of the tiers that have nothing valid, and the entry, if
    /// there is one; that of a live value has an empty payload.
    fn _waiting<'py>(&self, py: Python<'py>, key: &Bound<'py, PyAny>, now: u64) -> PyResult<(u32, Option<Bound<'py, Entry>>)> {
        let name = Name::of(key)?;
        let empty = PyBytes::new(py, b"").unbind();
        let (hidden, seen) = self.change(py, |state, _| {
            let (lookup, store_now) = (name.lookup(NAMESPACE), state.store.now());
            let mut hidden = 0u32;
            for (number, depth) in state.below.depths.iter().enumerate() {
                let Some(operation) = depth.queue.get(&lookup) else { continue };
                match &operation.what {
                    What::Delete => hidden |= 1 << number,
                    _ if !state.below.is_current(operation.mark) => {} // another process has changed it since
                    What::Set(shelf) => return (hidden, Seen::Entry(shelf.entry(py, operation.mark, depth.shared))),
                    What::Sink(entry) => return (hidden, Seen::Sunk(entry.clone_ref(py))),
                    What::Demote { rest, .. } if rest.deadline <= store_now => hidden |= 1 << number,
                    What::Demote { rest, .. } => return (hidden, Seen::Entry(bare(py, rest, empty, store_now, now))),
                }
            }
            (hidden, Seen::Nothing)
        })?;
        let entry = match seen {
            Seen::Entry(entry) => Some(Bound::new(py, entry)?),
            Seen::Sunk(entry) => Some(entry.into_bound(py)),
            _ => None,
        };
        Ok((hidden, entry))
    }

    /// Whether nobody else has changed a key since a private tier got an entry with this epoch.
    fn _is_current(&self, py: Python<'_>, key: &Bound<'_, PyAny>, epoch: u64) -> PyResult<bool> {
        let name = Name::of(key)?;
        Ok(epoch == 0 || u64::from(self.mark(py, &name)?.epoch) == epoch || self.mark(py, &name)?.epoch == 0)
    }
}

impl Memory {
    /// Queues what the tier at `depth` had for those above it that fill from there.
    pub fn fill(&self, key: &Bound<'_, PyAny>, ticket: u64, entry: &Bound<'_, Entry>, depth: usize) -> PyResult<()> {
        if depth == 0 {
            return Ok(());
        }
        let (py, name) = (key.py(), Name::of(key)?);
        self.change(py, |state, _| {
            let lookup = name.lookup(NAMESPACE);
            let standing = state.standing(lookup.hash, ticket);
            let Some(standing) = standing.filter(|_| !state.below.is_changing(lookup.hash)) else { return };
            let bytes = entry.get().payload.as_bytes(py).len() as u64 + OVERHEAD;
            entry.get().mark.store(standing.mark.epoch, Relaxed);
            for above in state.below.depths.iter_mut().take(depth).filter(|above| above.fills && !above.is_full(bytes)) {
                if above.queue.get(&lookup).is_none() {
                    let what = What::Sink(entry.clone().unbind());
                    above.queue.put(&lookup, name.text(), Operation { what, mark: standing.mark }, bytes);
                }
            }
        })
    }

    /// See `_promote`. Says whether the thread that writes behind has to be woken. The key's `group` needn't be known.
    pub fn climb(
        &self,
        key: &Bound<'_, PyAny>,
        value: &Bound<'_, PyAny>,
        ticket: u64,
        entry: &Entry,
        now: u64,
        group: Option<u16>,
    ) -> PyResult<bool> {
        self.climb_all(key.py(), &[Climbing { item: self.item(key, value)?, entry, ticket, group }], now)
    }

    /// The same of many.
    pub fn climb_all(&self, py: Python<'_>, all: &[Climbing], now: u64) -> PyResult<bool> {
        self.change(py, |state, gone| {
            let mut left = Vec::new();
            for climbing in all {
                state.climb(py, climbing, now, self.weigher.is_some(), &mut left);
                gone.append(&mut left);
            }
            state.below.wakes()
        })
    }
}

/// A value that a tier had, and what must be known of it before the store is entered.
pub struct Climbing<'a, 'py> {
    pub item: Item<'a, 'py>,
    pub entry: &'a Entry,
    pub ticket: u64,
    pub group: Option<u16>,
}

impl State {
    /// Stores what a tier had, unless its announcement was struck out. `weighed` says that the weight is the user's.
    fn climb(&mut self, py: Python<'_>, climbing: &Climbing, now: u64, weighed: bool, gone: &mut Gone) {
        let Climbing { item, entry, ticket, group } = climbing;
        let lookup = item.name.lookup(NAMESPACE);
        let standing = self.standing(lookup.hash, *ticket);
        let Some(standing) = standing.filter(|_| !self.below.is_changing(lookup.hash)) else { return };
        self.refresh(&lookup, gone);
        if self.store.peek(&lookup).is_some() || entry.hard.is_some_and(|hard| hard <= now) {
            return;
        }
        // An item's key has a text: that was made out with its weight.
        let group = group.unwrap_or_else(|| item.name.utf8().map_or(0, |utf8| self.store.groups.of(&utf8)));
        let owner = if entry.owner.is_empty() { 0 } else { self.store.owners.number(NAMESPACE, &entry.owner) };
        let said = Said { tags: entry.tags.iter().map(|tag| tag.as_str().into()).collect(), ..Said::default() };
        let options = Options {
            time_to_live: below::nanoseconds(entry.hard.map(|hard| hard - now)),
            time_to_idle: below::nanoseconds(entry.time_to_idle),
            owner,
            group,
            cost: entry.cost,
            immutable: entry.immutable,
            pinned: entry.pinned,
            tags: &said.tags,
            ..Options::default()
        };
        let weight = if weighed { item.weight } else { item.weight.saturating_add(said.tags_weight()) };
        let new = New { key: item.name.text(), fingerprint: item.fingerprint, value: item.value.clone_ref(py), weight };
        self.bring(py, &item.name, new, &options, standing.mark, gone);
    }
}
