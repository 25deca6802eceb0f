//! What the engine asks of `Memory` for tiers below it: each method is one step under the guard.

use crate::below::{self, Depth, Mark, OVERHEAD, Operation, Shelf, What};
use crate::disk;
use crate::envelope::Entry;
use crate::key::{self, Name, Text};
use crate::memory::{Gone, Item, Memory, NAMESPACE, State, Value};
use crate::options::Said;
use forecache_core::expiry::NEVER;
use forecache_core::fingerprint::fingerprint;
use forecache_core::pending::{Pending, Taken};
use forecache_core::store::{New, Options, Outcome, Rest};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyString};

/// What `_put` answers beside a mask of the tiers whose queues the caller has to see to.
const TAKEN: i64 = 1;
const WAKE: i64 = 2;
/// Where that mask begins.
const MASK: u32 = 8;
/// It answers the negative number of the tier whose queue is full, counted from this.
const FULL: i64 = -1;
/// It answers this if the caller has to see first whether what is there is immutable.
const ASK: i64 = -65536;

/// What was taken from a queue, to be made Python's when the guard is left.
enum Taking {
    Set(Entry),
    Demote(Value, bool),
    Sink(Py<Entry>),
    Delete,
}

/// Entries to set, live values to demote and whether only where nothing is, entries that sank, keys to delete.
type Batch<'py> = (Bound<'py, PyDict>, Vec<(Py<PyString>, Value, bool)>, Bound<'py, PyDict>, Vec<Py<PyString>>);

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

impl State {
    fn depth(&mut self, depth: usize) -> PyResult<&mut Depth> {
        let depths = &mut self.below.depths;
        let message = "the cache was closed, or never had so many tiers";
        depths.get_mut(depth).ok_or_else(|| pyo3::exceptions::PyIndexError::new_err(message))
    }

    /// Stores in memory what comes from below, with the rest of its times.
    fn bring(&mut self, name: &Name, new: New<Text, Value>, options: &Options, mark: Mark, gone: &mut Gone) -> bool {
        let lookup = name.lookup(NAMESPACE);
        let stored = self.store.set(&lookup, new, options, gone) == Outcome::Stored;
        if stored {
            self.store.counters.sets -= 1;
            self.below.promoted += 1;
            if let Some(slot) = self.store.slot(&lookup) {
                self.below.set_mark(slot, mark);
            }
        }
        stored
    }

    /// Puts back in memory what it had no room for, if it still lives.
    fn rescue(
        &mut self,
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
        self.bring(name, new, &options, rest.mark, gone);
        Some(held)
    }
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

/// What an entry says, as if the caller had.
fn said_of(entry: &Entry, now: u64) -> Said {
    Said {
        ttl: entry.hard.map(|hard| below::nanoseconds(Some(hard.saturating_sub(now)))),
        tti: entry.time_to_idle.map(|time| below::nanoseconds(Some(time))),
        owner: (!entry.owner.is_empty()).then(|| entry.owner.as_str().into()),
        tags: entry.tags.iter().map(|tag| tag.as_str().into()).collect(),
        cost: entry.cost,
        immutable: entry.immutable,
        pin: entry.pinned,
    }
}

/// What the options come to, for tiers.
fn shelf_of(said: &Said, options: &Options, payload: Py<PyBytes>, codec: u8, now: u64) -> Shelf {
    let milliseconds = |time: u64| (time != NEVER).then(|| (time / 1_000_000).max(1));
    Shelf {
        payload,
        codec,
        written: now,
        hard: milliseconds(options.time_to_live).map(|time| now.saturating_add(time)),
        time_to_idle: milliseconds(options.time_to_idle),
        owner: said.owner.clone().unwrap_or_default(),
        tags: said.tags.clone(),
        cost: said.cost,
        immutable: said.immutable,
        pinned: said.pin,
    }
}

#[pymethods]
impl Memory {
    /// Makes a queue for each tier: bytes, whether a full one refuses, whether other processes see the tier.
    fn _attach(&self, py: Python<'_>, tiers: Vec<(u64, bool, bool)>) -> PyResult<()> {
        self.change(py, |state, _| {
            state.store.keeps_rest = !tiers.is_empty();
            let depth = |(capacity, refuses, shared)| Depth {
                queue: Pending::default(),
                capacity,
                refuses,
                shared,
                refused: 0,
                index: None,
            };
            state.below.depths = tiers.into_iter().map(depth).collect();
        })
    }

    /// What tells at once whether a tier has a key: a `Disk` or a `ZMemory`.
    fn _index(&self, py: Python<'_>, depth: usize, index: below::Index) -> PyResult<()> {
        let old = self.change(py, |state, _| state.depth(depth).map(|depth| depth.index.replace(index)))?;
        old.map(drop)
    }

    /// The counters by which other processes tell what they changed; None for none. What memory has counts as current.
    #[pyo3(signature = (counters, namespace))]
    fn _counters(&self, py: Python<'_>, counters: Option<&Bound<'_, disk::Counters>>, namespace: &str) -> PyResult<()> {
        self.change(py, |state, _| below::attach(py, state, counters, namespace))
    }

    /// Sets memory (only drops what it has, unless `near`) and queues the payload for the tiers, in one step.
    ///
    /// `plan` has a letter a tier: `b` to write behind, `t` to write through, `d` to delete, `-` for nothing. With a ticket it is done only
    /// if that still stands: else None. `like` gives all that the options would. Negative: nothing was done, since the queue of that
    /// tier, counted from -1, is full; or, unless `sure`, since what is below may be immutable.
    #[pyo3(signature = (key, value, payload, codec, now, plan, near=true, ticket=None, like=None, sure=false, *, ttl=None, tti=None, tags=None, owner=None,
        cost=None, immutable=false, pin=false))]
    #[expect(clippy::too_many_arguments, reason = "they are the keywords of the Python method")]
    fn _put(
        &self,
        key: &Bound<'_, PyAny>,
        value: &Bound<'_, PyAny>,
        payload: &Bound<'_, PyBytes>,
        codec: u8,
        now: u64,
        plan: &[u8],
        near: bool,
        ticket: Option<u64>,
        like: Option<&Bound<'_, Entry>>,
        sure: bool,
        ttl: Option<&Bound<'_, PyAny>>,
        tti: Option<&Bound<'_, PyAny>>,
        tags: Option<&Bound<'_, PyAny>>,
        owner: Option<&str>,
        cost: Option<f32>,
        immutable: bool,
        pin: bool,
    ) -> PyResult<Option<i64>> {
        let py = key.py();
        let said = match like {
            None => Said::new(py, ttl, tti, tags, owner, cost, immutable, pin)?,
            Some(like) => said_of(like.get(), now),
        };
        let item = self.item(key, value)?;
        let utf8 = item.name.utf8()?;
        let bytes = payload.as_bytes().len() as u64 + utf8.len() as u64 + OVERHEAD;
        let mut old = Vec::new();
        let done = self.change(py, |state, gone| {
            let lookup = item.name.lookup(NAMESPACE);
            let mut mark = state.below.mark(&utf8);
            if let Some(ticket) = ticket {
                let Some(standing) = state.standing(lookup.hash, ticket) else { return (None, None) };
                mark = standing.mark;
            }
            state.refresh(&lookup, gone);
            let asks = !sure
                && ticket.is_none()
                && match state.store.slot(&lookup) {
                    Some(slot) => !near && state.store.rest(slot).immutable,
                    None => state.below.may_be_immutable(py, &lookup, &utf8, now),
                };
            if asks {
                return (Some(ASK), None);
            }
            let mut plan: Vec<u8> = plan.to_vec();
            for (number, (letter, depth)) in plan.iter_mut().zip(&mut state.below.depths).enumerate() {
                if *letter == b'b' && depth.is_full(bytes) {
                    if !depth.refuses {
                        return (Some(FULL - number as i64), None);
                    }
                    depth.refused += 1;
                    *letter = b'd';
                }
            }
            let group = state.store.groups.of(&utf8);
            let class = state.store.groups.get(group).class;
            let number = said.owner.as_deref().map_or(0, |owner| state.store.owners.number(NAMESPACE, owner));
            let mut options = self.defaults.options(&said, class, group, number);
            if like.is_some() {
                (options.time_to_live, options.time_to_idle) = (said.ttl.unwrap_or(NEVER), said.tti.unwrap_or(NEVER));
            }
            let mut outcome = None;
            if near {
                let Item { fingerprint, weight, .. } = item;
                let weight = if self.weigher.is_some() { weight } else { weight.saturating_add(said.tags_weight()) };
                let new = New { key: item.name.text(), fingerprint, value: item.value.clone_ref(py), weight };
                let stored = state.store.set(&lookup, new, &options, gone);
                outcome = Some(stored);
                match stored {
                    Outcome::Immutable => return (Some(0), outcome),
                    Outcome::Stored => {
                        if let Some(slot) = state.store.slot(&lookup) {
                            state.below.set_mark(slot, mark);
                        }
                        if state.store.tape.is_some() {
                            state.note_stored(&lookup, &utf8, options.cost);
                        }
                    }
                    Outcome::Refused => {
                        // As if it had been evicted at once.
                        if let Some(letter) = plan.iter_mut().find(|letter| **letter == b'd') {
                            *letter = b't';
                        }
                    }
                }
            } else if let Some(removed) = state.store.remove(&lookup, gone) {
                gone.push(removed);
            }
            state.strike(lookup.hash);
            let mut answer = if outcome == Some(Outcome::Stored) { TAKEN } else { 0 };
            for (number, (letter, depth)) in plan.iter().zip(&mut state.below.depths).enumerate() {
                let (what, bytes) = match letter {
                    b'b' | b't' => {
                        answer |= TAKEN;
                        (What::Set(shelf_of(&said, &options, payload.clone().unbind(), codec, now)), bytes)
                    }
                    b'd' => (What::Delete, OVERHEAD),
                    _ => continue,
                };
                old.extend(depth.queue.put(&lookup, item.name.text(), Operation { what, mark }, bytes));
                if *letter != b'b' {
                    answer |= 1 << (MASK as usize + number);
                }
            }
            if state.below.wakes() {
                answer |= WAKE;
            }
            (Some(answer), outcome)
        });
        below::release(py, old);
        match done? {
            (answer, Some(outcome @ (Outcome::Refused | Outcome::Immutable))) => {
                let equal = self.taken(py, &item, outcome)?;
                Ok(answer.map(|answer| answer | if equal { TAKEN } else { 0 }))
            }
            (answer, _) => Ok(answer),
        }
    }

    /// Removes a key from memory and has the tiers of `plan` delete it (`d`), or not get what left the tier above (`c`, for one that was
    /// told better), or do nothing (`-`): the value, or MISSING, and whether a queue had one. With a ticket only if that still stands:
    /// else None.
    #[pyo3(signature = (key, plan, ticket=None))]
    fn _drop<'py>(
        &self,
        py: Python<'py>,
        key: &Bound<'py, PyAny>,
        plan: &[u8],
        ticket: Option<u64>,
    ) -> PyResult<Option<(Bound<'py, PyAny>, bool)>> {
        let name = Name::of(key)?;
        let mut old = Vec::new();
        let done = self.change(py, |state, gone| {
            let lookup = name.lookup(NAMESPACE);
            if ticket.is_some_and(|ticket| state.standing(lookup.hash, ticket).is_none()) {
                return None;
            }
            state.refresh(&lookup, gone);
            let removed = state.store.remove(&lookup, gone);
            state.strike(lookup.hash);
            let value = removed.as_ref().map(|removed| removed.value.clone_ref(py));
            gone.extend(removed);
            let mut queued = false;
            for (letter, depth) in plan.iter().zip(&mut state.below.depths) {
                let there = depth.queue.get(&lookup);
                queued |= there.is_some_and(|operation| !matches!(operation.what, What::Delete));
                old.extend(match letter {
                    b'd' => depth.queue.put(&lookup, name.text(), Operation::delete(), OVERHEAD),
                    b'c' => {
                        depth.queue.withdraw(&lookup, |operation| matches!(operation.what, What::Demote { .. } | What::Sink(_)))
                    }
                    _ => None,
                });
            }
            Some((value, queued))
        });
        below::release(py, old);
        Ok(done?.map(|(value, queued)| (value.map_or_else(|| crate::missing(py), |value| value.into_bound(py)), queued)))
    }

    /// What is known of a key before the tiers are asked: a ticket for what they have, if nothing lies in their queues; else ticket,
    /// mask of the tiers that have nothing valid, and what was found on its way: MISSING if nothing, an Entry, None if it has to be
    /// written first, or else the value, in a tuple.
    fn _look<'py>(&self, py: Python<'py>, key: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
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
                        match state.rescue(&name, fingerprint, values, &kept, gone) {
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

    /// Stores what a tier had, unless the key was changed since the ticket was given. True: the thread that writes
    /// behind has to be woken.
    fn _promote(
        &self,
        key: &Bound<'_, PyAny>,
        value: &Bound<'_, PyAny>,
        ticket: u64,
        entry: &Bound<'_, Entry>,
        now: u64,
    ) -> PyResult<bool> {
        self.climb(key, value, ticket, entry.get(), now)
    }

    /// Takes operations from a queue: those of `keys`, or the next, until there are `entries` or `bytes` of them; entries to set, live
    /// values to demote (encode each and ask `_entry` for its entry), entries that sank (only where nothing is), and keys to delete. Each has
    /// to be ended by `_done`.
    #[pyo3(signature = (depth, keys, entries=256, bytes=4_000_000))]
    fn _take<'py>(
        &self,
        py: Python<'py>,
        depth: usize,
        keys: Option<Vec<Bound<'py, PyAny>>>,
        entries: usize,
        bytes: u64,
    ) -> PyResult<Batch<'py>> {
        let names = keys.as_ref().map(|keys| keys.iter().map(Name::of).collect::<PyResult<Vec<_>>>()).transpose()?;
        let mut taken: Vec<(Py<PyString>, Taking)> = Vec::new();
        self.change(py, |state, _| -> PyResult<()> {
            let depth = state.depth(depth)?;
            let shared = depth.shared;
            let taking = |operation: &Operation| match &operation.what {
                What::Set(shelf) => Taking::Set(shelf.entry(py, operation.mark, shared)),
                What::Demote { value, absent, .. } => Taking::Demote(value.clone_ref(py), *absent),
                What::Sink(entry) => Taking::Sink(entry.clone_ref(py)),
                What::Delete => Taking::Delete,
            };
            match &names {
                Some(names) => {
                    for name in names {
                        if let Taken::Taken(operation) = depth.queue.take(&name.lookup(NAMESPACE)) {
                            taken.push((name.text().0, taking(operation)));
                        }
                    }
                }
                None => {
                    let mut size = 0;
                    while taken.len() < entries && size < bytes {
                        let Some((key, operation)) = depth.queue.take_next() else { break };
                        let taking = taking(operation);
                        if let Taking::Set(entry) = &taking {
                            size += entry.payload.as_bytes(py).len() as u64;
                        }
                        taken.push((key.0.clone_ref(py), taking));
                    }
                }
            }
            Ok(())
        })??;
        let (sets, sinks) = (PyDict::new(py), PyDict::new(py));
        let (mut demotes, mut deletes) = (Vec::new(), Vec::new());
        for (key, taking) in taken {
            match taking {
                Taking::Set(entry) => sets.set_item(key, Py::new(py, entry)?)?,
                Taking::Demote(value, absent) => demotes.push((key, value, absent)),
                Taking::Sink(entry) => sinks.set_item(key, entry)?,
                Taking::Delete => deletes.push(key),
            }
        }
        Ok((sets, demotes, sinks, deletes))
    }

    /// The entry of a live value that was taken to be demoted, encoded.
    fn _entry(
        &self,
        py: Python<'_>,
        depth: usize,
        key: &Bound<'_, PyAny>,
        payload: Py<PyBytes>,
        codec: u8,
        now: u64,
    ) -> PyResult<Option<Entry>> {
        let name = Name::of(key)?;
        self.change(py, |state, _| {
            let store_now = state.store.now();
            let depth = state.depth(depth)?;
            let Some(Operation { what: What::Demote { rest, .. }, mark }) = depth.queue.flying(&name.lookup(NAMESPACE)) else {
                return Ok(None);
            };
            Ok(Some(Shelf::of(rest, payload, codec, store_now, now).entry(py, *mark, depth.shared)))
        })?
    }

    /// The entry that `set` with these options would give to a tier.
    #[pyo3(signature = (key, payload, codec, now, *, ttl=None, tti=None, tags=None, owner=None, cost=None, immutable=false, pin=false))]
    #[expect(clippy::too_many_arguments, reason = "they are the keywords of the Python method")]
    fn _fresh(
        &self,
        key: &Bound<'_, PyAny>,
        payload: Py<PyBytes>,
        codec: u8,
        now: u64,
        ttl: Option<&Bound<'_, PyAny>>,
        tti: Option<&Bound<'_, PyAny>>,
        tags: Option<&Bound<'_, PyAny>>,
        owner: Option<&str>,
        cost: Option<f32>,
        immutable: bool,
        pin: bool,
    ) -> PyResult<Entry> {
        let py = key.py();
        let said = Said::new(py, ttl, tti, tags, owner, cost, immutable, pin)?;
        let name = Name::of(key)?;
        let utf8 = name.utf8()?;
        self.change(py, |state, _| {
            let group = state.store.groups.of(&utf8);
            let class = state.store.groups.get(group).class;
            let options = self.defaults.options(&said, class, group, 0);
            shelf_of(&said, &options, payload, codec, now).entry(py, Mark::default(), true)
        })
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
            let mut shelf = Shelf::of(rest, empty, 0, store_now, now);
            shelf.hard = below::wall(rest.hard, store_now, now);
            Some(shelf.entry(py, Mark::default(), true))
        })
    }

    /// Has a tier delete a key, unless something newer waits for it.
    fn _purge(&self, py: Python<'_>, depth: usize, key: &Bound<'_, PyAny>) -> PyResult<()> {
        let name = Name::of(key)?;
        self.change(py, |state, _| {
            let depth = state.depth(depth)?;
            let lookup = name.lookup(NAMESPACE);
            if depth.queue.waiting(&lookup).is_none() {
                depth.queue.put(&lookup, name.text(), Operation::delete(), OVERHEAD);
            }
            Ok(())
        })?
    }

    /// Keys in a queue.
    fn _keys(&self, py: Python<'_>, depth: usize) -> Vec<Py<PyString>> {
        self.state.with(py, |state| {
            let depth = state.below.depths.get(depth);
            depth.map_or_else(Vec::new, |depth| depth.queue.keys().map(|key| below::text(py, key)).collect())
        })
    }

    /// Ends what was taken. With `failed`, nobody knows what became of it: the tier has to delete the keys, unless it is told better.
    #[pyo3(signature = (depth, keys, failed=false))]
    fn _done(&self, py: Python<'_>, depth: usize, keys: Vec<Bound<'_, PyAny>>, failed: bool) -> PyResult<bool> {
        let names = keys.iter().map(Name::of).collect::<PyResult<Vec<_>>>()?;
        let mut old = Vec::new();
        // A closed cache has let go of its queues.
        let more = self.state.with(py, |state| {
            let Some(depth) = state.below.depths.get_mut(depth) else { return false };
            for name in &names {
                let lookup = name.lookup(NAMESPACE);
                if failed && depth.queue.waiting(&lookup).is_none() {
                    depth.queue.put(&lookup, name.text(), Operation::delete(), OVERHEAD);
                }
                old.extend(depth.queue.done(&lookup));
            }
            depth.queue.is_ready()
        });
        below::release(py, old);
        Ok(more)
    }

    /// Those of the keys that still have something in a queue.
    fn _queued<'py>(&self, py: Python<'py>, depth: usize, keys: Vec<Bound<'py, PyAny>>) -> PyResult<Vec<Bound<'py, PyAny>>> {
        let names = keys.iter().map(Name::of).collect::<PyResult<Vec<_>>>()?;
        let queued: Vec<bool> = self.state.with(py, |state| {
            let depth = state.below.depths.get(depth);
            let queued = |name: &Name| depth.is_some_and(|depth| depth.queue.get(&name.lookup(NAMESPACE)).is_some());
            names.iter().map(queued).collect()
        });
        drop(names);
        Ok(keys.into_iter().zip(queued).filter_map(|(key, queued)| queued.then_some(key)).collect())
    }

    /// Has everything in the queues be forgotten (without `tags` and `owner`), or what carries one of the tags or is the owner's be
    /// deleted; gives how many keys that were, and for each queue the keys in flight, which nobody can stop.
    fn _void<'py>(&self, py: Python<'py>, tags: Vec<String>, owner: Option<&str>) -> PyResult<(usize, Vec<Bound<'py, PyList>>)> {
        let mut old = Vec::new();
        let flying = self.change(py, |state, _| {
            state.strike_all();
            let named = |its: Vec<&str>, whose: &str| {
                owner.is_some_and(|owner| owner == whose) || its.iter().any(|its| tags.iter().any(|tag| tag == its))
            };
            let mut flying = Vec::new();
            for depth in &mut state.below.depths {
                old.extend(if tags.is_empty() && owner.is_none() {
                    depth.queue.clear()
                } else {
                    depth.queue.replace(|_, operation| {
                        let hit = match &operation.what {
                            What::Set(shelf) => named(shelf.tags.iter().map(|tag| &**tag).collect(), &shelf.owner),
                            What::Demote { rest, .. } => named(rest.tags.iter().map(|tag| &**tag).collect(), &rest.owner),
                            What::Sink(entry) => named(entry.get().tags.iter().map(String::as_str).collect(), &entry.get().owner),
                            What::Delete => false,
                        };
                        hit.then(Operation::delete)
                    })
                });
                flying.push(depth.queue.in_flight().map(|key| below::text(py, key)).collect::<Vec<_>>());
            }
            flying
        })?;
        let voided = old.len();
        below::release(py, old);
        let lists = flying.into_iter().map(|keys| PyList::new(py, keys)).collect::<PyResult<Vec<_>>>()?;
        Ok((voided, lists))
    }

    /// Whether an operation of one of the keys waits that may be taken.
    fn _ready(&self, py: Python<'_>, depth: usize, keys: Vec<Bound<'_, PyAny>>) -> PyResult<bool> {
        let names = keys.iter().map(Name::of).collect::<PyResult<Vec<_>>>()?;
        Ok(self.state.with(py, |state| {
            state.below.depths.get(depth).is_some_and(|depth| {
                let ready = |lookup| depth.queue.waiting(&lookup).is_some() && depth.queue.flying(&lookup).is_none();
                names.iter().any(|name| ready(name.lookup(NAMESPACE)))
            })
        }))
    }

    /// Raises what `set` would raise for this key.
    fn _check_key(&self, key: &Bound<'_, PyAny>) -> PyResult<()> {
        Name::of(key)?.utf8().map(drop)
    }

    /// Keys of memory's entries with any of these tags, but for what other processes have changed.
    fn _carrying(&self, py: Python<'_>, tags: Vec<String>) -> PyResult<Vec<Py<PyString>>> {
        self.change(py, |state, _| {
            let slots: std::collections::BTreeSet<_> = tags.iter().flat_map(|tag| state.store.with_tag(tag)).collect();
            let current = slots.into_iter().filter(|&slot| state.below.is_current(state.below.mark_of(slot)));
            current.map(|slot| below::text(py, state.store.held(slot).0)).collect()
        })
    }

    /// From now until `_end`, nothing that tiers have under the key (None: any) climbs to memory. False: somebody else has begun with the
    /// key, and not yet ended.
    #[pyo3(signature = (key))]
    fn _begin(&self, py: Python<'_>, key: Option<&Bound<'_, PyAny>>) -> PyResult<bool> {
        let hash = key.map(|key| Name::of(key).map(|name| name.lookup(NAMESPACE).hash)).transpose()?;
        self.change(py, |state, _| match hash {
            Some(hash) => state.below.begin(hash),
            None => {
                state.below.held += 1;
                true
            }
        })
    }

    /// See `_begin`; what was fetched meanwhile doesn't climb any more either.
    #[pyo3(signature = (key))]
    fn _end(&self, py: Python<'_>, key: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        let hash = key.map(|key| Name::of(key).map(|name| name.lookup(NAMESPACE).hash)).transpose()?;
        self.state.with(py, |state| match hash {
            Some(hash) => {
                state.strike(hash);
                state.below.end(hash);
            }
            None => {
                state.strike_all();
                state.below.held = state.below.held.saturating_sub(1);
            }
        });
        Ok(())
    }

    /// Begins to note which keys change; `_sink` ends it.
    fn _watch(&self, py: Python<'_>) -> PyResult<u64> {
        self.change(py, |state, _| state.below.open_window())
    }

    /// Queues entries that left the tier above since that `_watch`, but for those whose keys were changed meanwhile.
    fn _sink(&self, py: Python<'_>, depth: usize, window: u64, entries: &Bound<'_, PyDict>) -> PyResult<()> {
        let mut sinking = Vec::new();
        for (key, entry) in entries.iter() {
            sinking.push((key.cast_into::<PyString>()?.unbind(), entry.cast_into::<Entry>()?.unbind()));
        }
        self.state.with(py, |state| {
            for (key, entry) in sinking {
                let (key, bytes) = (Text(key), entry.get().payload.as_bytes(py).len() as u64 + OVERHEAD);
                let lookup = key::lookup(&key);
                let stood = state.below.stood(window, lookup.hash);
                let epoch = entry.get().epoch as u16;
                let stripe = key.0.to_str(py).map_or_else(|_| Mark::default(), |key| state.below.mark(key)).stripe;
                let Some(depth) = state.below.depths.get_mut(depth).filter(|_| stood) else { continue };
                if depth.is_full(bytes) {
                    depth.refused += 1;
                } else if depth.queue.get(&lookup).is_none() {
                    let operation = Operation { what: What::Sink(entry), mark: Mark { stripe, epoch } };
                    depth.queue.put(&lookup, key, operation, bytes);
                }
            }
            state.below.close_window(window);
        });
        Ok(())
    }

    /// Whether nobody else has changed a key since a private tier got an entry with this epoch.
    fn _is_current(&self, py: Python<'_>, key: &Bound<'_, PyAny>, epoch: u64) -> PyResult<bool> {
        let name = Name::of(key)?;
        Ok(epoch == 0 || u64::from(self.mark(py, &name)?.epoch) == epoch || self.mark(py, &name)?.epoch == 0)
    }

    /// The thread that writes behind is about to sleep, or not; says whether something waits.
    fn _sleeping(&self, py: Python<'_>, sleeps: bool) -> bool {
        self.state.with(py, |state| {
            let ready = state.below.depths.iter().any(|depth| depth.queue.is_ready());
            state.below.awake = !sleeps || ready;
            ready
        })
    }

    /// Whether the thread that writes behind has to be woken.
    fn _wakes(&self, py: Python<'_>) -> bool {
        self.state.with(py, |state| state.below.wakes())
    }

    /// Entries, bytes, and refusals of each queue, and how often something climbed to memory.
    fn _queues(&self, py: Python<'_>) -> (Vec<(usize, u64, u64)>, u64) {
        self.state.with(py, |state| {
            let depths = state.below.depths.iter();
            (depths.map(|depth| (depth.queue.len(), depth.queue.bytes(), depth.refused)).collect(), state.below.promoted)
        })
    }

    /// Keys on their way down, for a scan.
    fn _on_the_way(&self, py: Python<'_>) -> Vec<Py<PyString>> {
        self.state.with(py, |state| {
            let operations = state.below.depths.iter().flat_map(|depth| depth.queue.iter());
            let there = operations.filter(|(_, operation)| !matches!(operation.what, What::Delete));
            there.map(|(key, _)| below::text(py, key)).collect()
        })
    }

    /// In the child of a fork: what waits is the parent's to write, and nobody fetches anything.
    fn _forked(&self, py: Python<'_>) {
        let old = self.state.with(py, |state| {
            state.loads.clear();
            state.fetches.clear();
            let below = &mut state.below;
            below.awake = false;
            below.held = 0;
            let fresh = |depth: &mut Depth| Depth { queue: Pending::default(), refused: 0, index: depth.index.take(), ..*depth };
            let depths: Vec<_> = below.depths.iter_mut().map(fresh).collect();
            let counters = below.counters.take();
            let old = below.empty();
            (below.depths, below.counters) = (depths, counters);
            old
        });
        below::release(py, old);
    }
}

impl Memory {
    /// See `_promote`.
    pub fn climb(
        &self,
        key: &Bound<'_, PyAny>,
        value: &Bound<'_, PyAny>,
        ticket: u64,
        entry: &Entry,
        now: u64,
    ) -> PyResult<bool> {
        let py = key.py();
        let item = self.item(key, value)?;
        let utf8 = item.name.utf8()?;
        let tags: Vec<Box<str>> = entry.tags.iter().map(|tag| tag.as_str().into()).collect();
        let said = Said { tags, ..Said::default() };
        self.change(py, |state, gone| {
            let lookup = item.name.lookup(NAMESPACE);
            let standing = state.standing(lookup.hash, ticket);
            let Some(standing) = standing.filter(|_| !state.below.is_changing(lookup.hash)) else { return false };
            state.refresh(&lookup, gone);
            if state.store.peek(&lookup).is_some() || entry.hard.is_some_and(|hard| hard <= now) {
                return false;
            }
            let group = state.store.groups.of(&utf8);
            let owner = if entry.owner.is_empty() { 0 } else { state.store.owners.number(NAMESPACE, &entry.owner) };
            let options = Options {
                time_to_live: below::nanoseconds(entry.hard.map(|hard| hard - now)),
                time_to_idle: below::nanoseconds(entry.time_to_idle),
                owner,
                group,
                cost: entry.cost,
                address: None,
                immutable: entry.immutable,
                pinned: entry.pinned,
                tags: &said.tags,
            };
            let Item { fingerprint, weight, .. } = item;
            let weight = if self.weigher.is_some() { weight } else { weight.saturating_add(said.tags_weight()) };
            let new = New { key: item.name.text(), fingerprint, value: item.value.clone_ref(py), weight };
            state.bring(&item.name, new, &options, standing.mark, gone);
            // What made room for it waits only now.
            state.below.demote(py, gone);
            state.below.wakes()
        })
    }
}
