//! `Memory`: the memory tier behind Python's `Cache`; `methods.rs` has what Python calls.
//!
//! Everything here has the same shape: make out the arguments, do one thing in the store under its guard, and only then, with
//! the guard let go, run what may be foreign code: dropping values, telling the listener, comparing, copying.

use crate::below::{Below, Mark};
use crate::errors::{self, config_error};
use crate::foreign;
use crate::guard::Guarded;
use crate::key::{Name, Text};
use crate::options::{Defaults, Said};
use crate::weight;
use forecache_core::fingerprint::fingerprint;
use forecache_core::histogram::Histogram;
use forecache_core::policy::Slot;
use forecache_core::record::{Held, Recording};
use forecache_core::store::{Lookup, New, Outcome, Removed, Store};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyString;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

/// Bytes that an entry costs beside its key and value, as charged to the budget; `benchmarks/` measures the real ones.
const BOOKKEEPING: u64 = 96;
/// One call in so many is timed.
const TIMED: u32 = 64;
/// The namespace of a cache that shares its store with no other.
pub const NAMESPACE: u32 = 0;

pub type Value = Py<PyAny>;
pub type Gone = Vec<Removed<Text, Value>>;

pub struct State {
    pub store: Store<Text, Value>,
    pub latency: Histogram,
    pub listener: Option<Py<PyAny>>,
    pub closed: bool,
    /// Hashes of keys that are being loaded and that nobody has changed since, each with the ticket of the latest announcement. A
    /// collision costs one load's value its place.
    pub loads: HashMap<u64, Ticket, Spread>,
    /// The same for keys that are being read from tiers; who reads one at a time with others has the same ticket.
    pub fetches: HashMap<u64, Ticket, Spread>,
    /// The last ticket given.
    pub ticket: u64,
    /// What lies between memory and the tiers below.
    pub below: Below,
    /// The latest recording, if there was any.
    pub recording: Option<Recording>,
}

/// Hashes of keys are spread well as they are: Python's are.
pub type Spread = BuildHasherDefault<AsIs>;

#[derive(Default)]
pub struct AsIs(u64);

impl Hasher for AsIs {
    fn write(&mut self, _: &[u8]) {
        unreachable!("only hashes are hashed");
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// An announcement that a key's value is being loaded or fetched.
#[derive(Clone, Copy)]
pub struct Ticket {
    pub number: u64,
    holders: u32,
    /// Where the shared counter of the key's stripe stood when the first announced it.
    pub mark: Mark,
}

impl State {
    /// The entry under this hash changes: a value that is being fetched for it is out of date.
    #[inline]
    pub fn strike(&mut self, hash: u64) {
        if self.loads.len() + self.fetches.len() > 0 || self.below.watches() {
            self.strike_out(hash);
        }
    }

    #[cold]
    #[inline(never)]
    fn strike_out(&mut self, hash: u64) {
        self.loads.remove(&hash);
        self.fetches.remove(&hash);
        self.below.strike(hash);
    }

    /// As if all keys were struck.
    pub fn strike_all(&mut self) {
        self.loads.clear();
        self.fetches.clear();
        self.below.strike_all();
    }

    /// Announces that the value under this hash is being loaded.
    pub fn announce_load(&mut self, hash: u64, mark: Mark) -> u64 {
        self.ticket += 1;
        self.loads.insert(hash, Ticket { number: self.ticket, holders: 1, mark });
        self.ticket
    }

    /// Announces that the value under this hash is being read from tiers.
    pub fn announce(&mut self, hash: u64, mark: Mark) -> u64 {
        let number = self.ticket + 1;
        let ticket = self.fetches.entry(hash).or_insert(Ticket { number, holders: 0, mark });
        ticket.holders += 1;
        self.ticket = self.ticket.max(ticket.number);
        ticket.number
    }

    /// The announcement with this number, if it still stands.
    pub fn standing(&self, hash: u64, ticket: u64) -> Option<Ticket> {
        [&self.fetches, &self.loads]
            .iter()
            .find_map(|tickets| tickets.get(&hash).filter(|standing| standing.number == ticket))
            .copied()
    }

    /// Takes an announcement back, and says whether it still stood.
    pub fn redeem(&mut self, hash: u64, ticket: u64) -> bool {
        for tickets in [&mut self.loads, &mut self.fetches] {
            if let Some(standing) = tickets.get_mut(&hash).filter(|standing| standing.number == ticket) {
                standing.holders -= 1;
                if standing.holders == 0 {
                    tickets.remove(&hash);
                }
                return true;
            }
        }
        false
    }

    /// Takes an entry out that another process has changed since it was stored.
    #[inline]
    pub fn refresh(&mut self, lookup: &Lookup<impl Fn(&Text) -> bool>, gone: &mut Gone) {
        if self.below.counters.is_some() {
            self.check(lookup, gone);
        }
    }

    #[cold]
    #[inline(never)]
    fn check(&mut self, lookup: &Lookup<impl Fn(&Text) -> bool>, gone: &mut Gone) {
        if self.store.slot(lookup).is_some_and(|slot| !self.below.is_current(self.below.mark_of(slot))) {
            self.store.invalidate(lookup, gone);
        }
    }

    /// The same for a read: what it looks up with is made anew, so that the usual one stays in registers.
    #[cold]
    #[inline(never)]
    fn check_named(&mut self, name: &Name, gone: &mut Gone) {
        self.check(&name.lookup(NAMESPACE), gone);
    }

    /// A value of which the caller, who is within a change, gets a reference. It's counted as a hit or a miss.
    pub fn read(&mut self, py: Python<'_>, name: &Name, gone: &mut Gone) -> Option<Value> {
        let lookup = name.lookup(NAMESPACE);
        self.refresh(&lookup, gone);
        self.store.get(&lookup, gone).map(|value| value.clone_ref(py))
    }

    /// Tells a recording what there is now where a key leads: it was stored, or stored anew. `cost` is no number if that stays.
    #[cold]
    #[inline(never)]
    pub fn note_stored(&mut self, lookup: &Lookup<impl Fn(&Text) -> bool>, utf8: &str, cost: f32) {
        let Some(slot) = self.store.slot(lookup) else { return };
        let (_, weight, time_to_live, owner) = self.store.held(slot);
        self.note(utf8, Some(slot), (weight, time_to_live, cost), owner);
    }

    /// What a read that found nothing has to do. Gives the group of the key, if there is one.
    pub fn missed(&mut self, py: Python<'_>, utf8: Option<&str>, seed: u64) -> Option<u16> {
        if let (Some(express), Some(key)) = (&self.below.express, utf8) {
            express.prefetch(py, key);
        }
        let group = utf8.and_then(|key| self.store.groups.known(key));
        self.store.groups.get(group.unwrap_or(0)).misses += 1;
        if self.store.tape.is_some() {
            self.note_missed(utf8.unwrap_or_default());
        }
        if self.store.shadow.is_some() {
            self.shade_missed(utf8.unwrap_or_default(), seed);
        }
        group
    }

    /// Tells a recording that a read found nothing.
    #[cold]
    #[inline(never)]
    fn note_missed(&mut self, utf8: &str) {
        let now = self.store.now();
        if let Some(tape) = &mut self.store.tape {
            tape.miss(utf8, now);
        }
    }

    /// Tells a shadow the same.
    #[cold]
    #[inline(never)]
    fn shade_missed(&mut self, utf8: &str, seed: u64) {
        if let Some(shadow) = &mut self.store.shadow {
            shadow.miss(fingerprint(utf8.as_bytes(), seed));
        }
    }

    /// Tells a shadow that a key is deleted which isn't there.
    #[cold]
    #[inline(never)]
    fn shade_removed(&mut self, name: &Name, seed: u64) {
        if let (Some(shadow), Ok(key)) = (&mut self.store.shadow, name.utf8()) {
            shadow.delete(fingerprint(key.as_bytes(), seed));
        }
    }

    /// Tells a recording that something was to be stored.
    #[cold]
    #[inline(never)]
    fn note(&mut self, utf8: &str, slot: Option<Slot>, (weight, time_to_live, cost): (u64, u64, f32), owner: u32) {
        let now = self.store.now();
        if let Some(tape) = &mut self.store.tape {
            let held = Held { cost, ..tape.held(utf8, slot, weight, time_to_live, owner) };
            tape.set(utf8, &held, self.store.owners.name(owner), now);
        }
    }

    /// Has a recording end.
    pub fn end_recording(&mut self) -> Option<Recording> {
        self.store.tape = None;
        self.recording.as_ref().inspect(|recording| recording.stop()).cloned()
    }
}

/// See the head of this file.
#[pyclass(frozen, subclass, module = "forecache._core")]
pub struct Memory {
    pub state: Guarded<State>,
    pub calls: AtomicU32,
    pub seed: u64,
    pub copies: bool,
    pub weigher: Option<Py<PyAny>>,
    pub defaults: Defaults,
}

/// On what condition a value is stored.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum When {
    Always,
    /// Nothing is stored under the key.
    New,
    /// The key was announced with `_expect`, which gave this ticket, and nobody has changed it since.
    Expected(u64),
}

/// What a call stores: everything that must be known before the store is entered.
pub struct Item<'a, 'py> {
    pub name: Name<'a, 'py>,
    pub fingerprint: u64,
    pub weight: u64,
    pub value: Value,
}

impl Drop for Memory {
    /// Lets go of all values while finalisers may still run Python code.
    fn drop(&mut self) {
        Python::try_attach(|py| self.empty(py));
    }
}

impl Memory {
    /// Drops all values and the listener, unheard.
    pub fn empty(&self, py: Python<'_>) {
        let mut gone = Vec::new();
        let listener = self.state.try_with(|state| {
            state.end_recording();
            state.store.clear(&mut gone);
            (state.listener.take(), state.below.empty())
        });
        let (listener, queued) = listener.unzip();
        crate::below::release(py, queued.into_iter().flatten());
        for value in gone.into_iter().map(|removed| removed.value).chain(listener.flatten()) {
            foreign::release(py, value);
        }
    }

    /// Runs `body` on the open store, then lets go of what left it.
    #[inline]
    pub fn change<R>(&self, py: Python<'_>, body: impl FnOnce(&mut State, &mut Gone) -> R) -> PyResult<R> {
        let mut gone = Vec::new();
        let result = self.state.with(py, |state| {
            let result = (!state.closed).then(|| body(state, &mut gone));
            state.below.demote(py, &mut gone);
            result
        });
        self.let_go(py, gone);
        result.ok_or_else(|| errors::closed(py))
    }

    /// Tells the listener, if there is one, and drops what left.
    #[inline]
    pub fn let_go(&self, py: Python<'_>, gone: Gone) {
        if !gone.is_empty() {
            self.tell(py, gone);
        }
    }

    #[cold]
    fn tell(&self, py: Python<'_>, gone: Gone) {
        let listener = self.listener(py);
        for removed in gone {
            if let Some(listener) = &listener {
                let cause = PyString::intern(py, removed.cause.name());
                notify(listener.bind(py), cause, removed.key.0.bind(py), &removed.value);
            }
            foreign::release(py, removed.value);
        }
    }

    fn listener(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.state.with(py, |state| state.listener.as_ref().map(|listener| listener.clone_ref(py)))
    }

    #[cold]
    fn refused(&self, py: Python<'_>, name: &Name, value: &Value) {
        if let Some(listener) = self.listener(py) {
            notify(listener.bind(py), PyString::intern(py, "refused"), name.string(), value);
        }
    }

    /// The value as the caller may have it.
    #[inline]
    pub fn given<'py>(&self, value: Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        if self.copies { deep_copy(&value) } else { Ok(value) }
    }

    pub fn weight(&self, name: &Name, utf8: &str, value: &Bound<'_, PyAny>) -> PyResult<u64> {
        if let Some(weigher) = &self.weigher {
            let weight = foreign::call(weigher.bind(value.py()), (name.string(), value))?;
            return weight.extract::<u64>().map_err(|_| {
                let text = foreign::repr(&weight);
                config_error(value.py(), format!("weigher: expected an int >= 0 and < 2**64 as its result, got {text}"))
            });
        }
        let key = weight::string_size(name.string(), utf8)? as u64;
        Ok(weight::deep_size(value)?.saturating_add(key + BOOKKEEPING))
    }

    pub fn item<'a, 'py>(&self, key: &'a Bound<'py, PyAny>, value: &Bound<'py, PyAny>) -> PyResult<Item<'a, 'py>> {
        let name = Name::of(key)?;
        if value.is_exact_instance_of::<crate::Missing>() {
            return Err(PyValueError::new_err(
                "value: MISSING stands for no value and can't be stored; delete the key, or store None",
            ));
        }
        let value = if self.copies { deep_copy(value)? } else { value.clone() };
        let (fingerprint, weight) = {
            let utf8 = name.utf8()?;
            (fingerprint(utf8.as_bytes(), self.seed), self.weight(&name, &utf8, &value)?)
        };
        Ok(Item { name, fingerprint, weight, value: value.unbind() })
    }

    /// Stores one item and says whether it was taken; None if the condition didn't hold.
    pub fn store(&self, py: Python<'_>, item: &Item, said: &Said, when: When) -> PyResult<Option<bool>> {
        let utf8 = item.name.utf8()?;
        let outcome = self.change(py, |state, gone| {
            let lookup = item.name.lookup(NAMESPACE);
            let holds = match when {
                When::Always => true,
                When::New => state.store.peek(&lookup).is_none(),
                When::Expected(ticket) => state.redeem(lookup.hash, ticket),
            };
            if !holds {
                return None;
            }
            state.strike(lookup.hash);
            let group = state.store.groups.of(&utf8);
            let class = state.store.groups.get(group).class;
            let owner = said.owner.as_deref().map_or(0, |owner| state.store.owners.number(NAMESPACE, owner));
            let options = self.defaults.options(said, class, group, owner);
            let Item { fingerprint, weight, .. } = *item;
            let weight = if self.weigher.is_some() { weight } else { weight.saturating_add(said.tags_weight()) };
            // What the store refuses is dropped in here, which runs no finaliser: `item` holds both objects too.
            let new = New { key: item.name.text(), fingerprint, value: item.value.clone_ref(py), weight };
            let outcome = state.store.set(&lookup, new, &options, gone);
            if state.store.tape.is_some() {
                match outcome {
                    Outcome::Stored => state.note_stored(&lookup, &utf8, options.cost),
                    Outcome::Refused => state.note(&utf8, None, (weight, options.time_to_live, options.cost), owner),
                    Outcome::Immutable => {}
                }
            }
            Some(outcome)
        })?;
        outcome.map(|outcome| self.taken(py, item, outcome)).transpose()
    }

    /// What an attempt to store comes to for the caller.
    pub fn taken(&self, py: Python<'_>, item: &Item, outcome: Outcome) -> PyResult<bool> {
        match outcome {
            Outcome::Stored => Ok(true),
            Outcome::Refused => {
                self.refused(py, &item.name, &item.value);
                Ok(false)
            }
            Outcome::Immutable => self.same_as_immutable(py, &item.name, &item.value),
        }
    }

    /// Whether the immutable entry in the way equals `value`; an error if it doesn't.
    #[cold]
    fn same_as_immutable(&self, py: Python<'_>, name: &Name, value: &Value) -> PyResult<bool> {
        let there = self.state.with(py, |state| state.store.peek(&name.lookup(NAMESPACE)).map(|value| value.clone_ref(py)));
        match there {
            Some(there) if foreign::equal(there.bind(py), value.bind(py))? => Ok(true),
            _ => Err(errors::immutable(py, name.string())),
        }
    }

    /// What a read that found nothing has to do.
    #[cold]
    pub fn missed(&self, py: Python<'_>, name: &Name) -> PyResult<()> {
        let utf8 = name.utf8().ok();
        self.change(py, |state, _| _ = state.missed(py, utf8.as_deref(), self.seed))
    }

    #[inline]
    pub fn found<'py>(&self, py: Python<'py>, name: &Name) -> PyResult<Option<Bound<'py, PyAny>>> {
        match self.hit(py, name)? {
            Some(value) => Ok(Some(value)),
            None => self.missed(py, name).map(|()| None),
        }
    }

    /// The same, for a caller who sees to what a miss has to do.
    #[inline]
    pub fn hit<'py>(&self, py: Python<'py>, name: &Name) -> PyResult<Option<Bound<'py, PyAny>>> {
        let lookup = name.lookup(NAMESPACE);
        let mut gone = Vec::new();
        let found = self.state.with(py, |state| {
            if state.below.counters.is_some() {
                state.check_named(name, &mut gone);
            }
            state.store.get(&lookup, &mut gone).map(|value| value.clone_ref(py))
        });
        match found {
            Some(value) => self.given(value.into_bound(py)).map(Some),
            None => {
                self.let_go(py, gone);
                Ok(None)
            }
        }
    }

    #[cold]
    fn timed<'py>(&self, py: Python<'py>, name: &Name) -> PyResult<Option<Bound<'py, PyAny>>> {
        let start = Instant::now();
        let found = self.found(py, name);
        let time = start.elapsed().as_nanos() as u64;
        self.state.with(py, |state| state.latency.record(time));
        found
    }

    pub fn removed<'py>(&self, key: &Bound<'py, PyAny>) -> PyResult<Option<Removed<Text, Value>>> {
        let name = Name::of(key)?;
        self.change(key.py(), |state, gone| {
            let lookup = name.lookup(NAMESPACE);
            state.refresh(&lookup, gone);
            state.strike(lookup.hash);
            let removed = state.store.remove(&lookup, gone);
            if removed.is_none() && state.store.shadow.is_some() {
                state.shade_removed(&name, self.seed);
            }
            removed
        })
    }

    pub fn deleted(&self, key: &Bound<'_, PyAny>) -> PyResult<bool> {
        let removed = self.removed(key)?;
        let was_there = removed.is_some();
        self.let_go(key.py(), removed.into_iter().collect());
        Ok(was_there)
    }

    /// Reads, and now and then takes the time of it.
    #[inline]
    pub fn read<'py>(&self, py: Python<'py>, name: &Name) -> PyResult<Option<Bound<'py, PyAny>>> {
        // A plain load and store: a lost update only moves the next timed call.
        let calls = self.calls.load(Ordering::Relaxed);
        self.calls.store(calls.wrapping_add(1), Ordering::Relaxed);
        if calls % TIMED == 0 { self.timed(py, name) } else { self.found(py, name) }
    }

    pub fn pinned(&self, key: &Bound<'_, PyAny>, pinned: bool) -> PyResult<bool> {
        let name = Name::of(key)?;
        let fingerprint = fingerprint(name.utf8()?.as_bytes(), self.seed);
        self.change(key.py(), |state, gone| {
            let lookup = name.lookup(NAMESPACE);
            state.refresh(&lookup, gone);
            state.store.pin(&lookup, fingerprint, pinned, gone)
        })
    }
}

fn deep_copy<'py>(value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    static COPY: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    foreign::call(COPY.import(value.py(), "copy", "deepcopy")?, (value,))
}

fn notify<'py>(listener: &Bound<'py, PyAny>, cause: Bound<'py, PyString>, key: &Bound<'py, PyString>, value: &Value) {
    if let Err(error) = foreign::call(listener, (cause, key, value)) {
        error.write_unraisable(listener.py(), Some(listener));
    }
}
