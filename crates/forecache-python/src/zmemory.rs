//! `ZMemory`: sealed, compressed records in memory, between live objects and the disk; the tier of that name is made of it.
//!
//! The store is the one that `Memory` has, under the same guard. Records are sealed and taken apart with the guard let go, and large
//! ones without the GIL.

use crate::envelope::{Entry, LARGE, Packing, payload};
use crate::errors::{codec_error, config_error};
use crate::guard::Guarded;
use crate::options::random_seed;
use forecache_core::compress::Compression;
use forecache_core::envelope::{self, Fields, NEVER};
use forecache_core::expiry::Clock;
use forecache_core::fingerprint::fingerprint;
use forecache_core::groups::{Groups, Pattern};
use forecache_core::index::Hashed;
use forecache_core::policy::{AnyPolicy, Cause};
use forecache_core::store::{Budget, Key, Lookup, New, Options, Outcome, Removed, Store};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes that a record costs beside itself and its key, as charged to the budget.
const BOOKKEEPING: u64 = 176;
/// Nanoseconds, the store's unit, in a millisecond, the tiers'.
const MILLISECOND: u64 = 1_000_000;
const NAMESPACE: u32 = 0;

struct Text {
    hash: u64,
    text: Box<str>,
}

impl Key for Text {
    type Index = Hashed;

    fn hash(&self) -> u64 {
        self.hash
    }
}

#[derive(Clone)]
struct Record {
    sealed: Arc<[u8]>,
    version: u64,
}

type Gone = Vec<Removed<Text, Record>>;

struct State {
    store: Store<Text, Record>,
    clock: Arc<AtomicU64>,
    version: u64,
    corrupt: u64,
}

/// An entry on its way in.
struct Sealed<'a, 'py> {
    key: &'a str,
    sealed: Arc<[u8]>,
    /// The payload's bytes over the record's.
    compression: f32,
    entry: &'a Bound<'py, Entry>,
}

/// See the head of this file.
#[pyclass(frozen, module = "forecache._core")]
pub struct ZMemory {
    state: Guarded<State>,
    namespace: String,
    packing: Compression,
    seed: u64,
}

/// What became of a key that was asked for.
enum Found {
    Nothing,
    /// More bytes than the caller takes.
    Large(usize),
    Entry(Entry),
}

impl ZMemory {
    /// Runs `body` on the store at the time `now`.
    fn at<R>(&self, py: Python<'_>, now: u64, body: impl FnOnce(&mut State, &mut Gone) -> R) -> R {
        // What left is dropped after the guard was let go: it is much, if it was all.
        let mut gone = Vec::new();
        self.state.with(py, |state| {
            state.clock.store(now.saturating_mul(MILLISECOND), Ordering::Relaxed);
            body(state, &mut gone)
        })
    }

    fn hash(&self, key: &str) -> u64 {
        fingerprint(key.as_bytes(), self.seed)
    }

    /// Whether there is an immutable entry. Runs no Python.
    pub fn is_immutable(&self, py: Python<'_>, key: &str, now: u64) -> bool {
        let found = self.at(py, now, |state, _| state.store.peek(&lookup(key, self.hash(key))).cloned());
        found.is_some_and(|record| envelope::parse(&record.sealed).is_ok_and(|envelope| envelope.fields.immutable))
    }

    fn read(&self, py: Python<'_>, key: &str, now: u64, most: Option<usize>) -> Found {
        let hash = self.hash(key);
        let Some(record) = self.at(py, now, |state, gone| state.store.get(&lookup(key, hash), gone).cloned()) else {
            return Found::Nothing;
        };
        let binding = envelope::binding(&self.namespace, key);
        if most.is_some_and(|most| record.sealed.len() > most) {
            return Found::Large(record.sealed.len());
        }
        let opened = match envelope::open(&record.sealed, binding) {
            Ok(opened) if most.is_some_and(|most| opened.length > most) => return Found::Large(opened.length),
            Ok(opened) => opened,
            Err(_) => return self.corrupt(py, key, hash, &record),
        };
        let Some(payload) = payload(py, &opened) else { return self.corrupt(py, key, hash, &record) };
        let mut entry = Entry::opened(opened, payload, record.sealed.len());
        entry.version = record.version;
        Found::Entry(entry)
    }

    /// Removes a damaged record, unless another took its place.
    #[cold]
    fn corrupt(&self, py: Python<'_>, key: &str, hash: u64, record: &Record) -> Found {
        let mut gone = Vec::new();
        self.state.with(py, |state| {
            state.corrupt += 1;
            state.store.counters.hits -= 1;
            state.store.counters.misses += 1;
            let lookup = lookup(key, hash);
            if state.store.peek(&lookup).is_some_and(|there| there.version == record.version) {
                gone.extend(state.store.remove(&lookup, &mut Vec::new()));
            }
        });
        Found::Nothing
    }

    fn seal<'a, 'py>(&self, key: &'a str, entry: &'a Bound<'py, Entry>) -> PyResult<Sealed<'a, 'py>> {
        let (py, inside) = (entry.py(), entry.get());
        let payload = inside.payload.as_bytes(py);
        let fields = Fields { version: 0, ..inside.fields() };
        let work = || envelope::seal(inside.codec, &self.packing, &fields, payload, envelope::binding(&self.namespace, key));
        let sealed = if payload.len() < LARGE { work() } else { py.detach(work) };
        let sealed =
            sealed.ok_or_else(|| codec_error(py, format!("a value of {} bytes; at most 4 GiB can be stored", payload.len())))?;
        let compression = payload.len() as f32 / sealed.len().max(1) as f32;
        Ok(Sealed { key, sealed: sealed.into(), compression, entry })
    }

    /// Stores a sealed entry; false if it was refused.
    fn store(&self, state: &mut State, Sealed { key, sealed, compression, entry }: Sealed, now: u64, gone: &mut Gone) -> bool {
        let (hash, entry) = (self.hash(key), entry.get());
        let lookup = lookup(key, hash);
        let time_to_live = match entry.hard {
            None => NEVER,
            // Has ended before it began: nothing is there.
            Some(hard) if hard <= now => {
                gone.extend(state.store.remove(&lookup, &mut Vec::new()));
                return true;
            }
            Some(hard) => (hard - now).saturating_mul(MILLISECOND),
        };
        let owner = if entry.owner.is_empty() { 0 } else { state.store.owners.number(NAMESPACE, &entry.owner) };
        let tags: Vec<Box<str>> = entry.tags.iter().map(|tag| tag.as_str().into()).collect();
        let options = Options {
            time_to_live,
            time_to_idle: entry.time_to_idle.map_or(NEVER, |time| time.saturating_mul(MILLISECOND)),
            owner,
            cost: entry.cost,
            pinned: entry.pinned,
            tags: &tags,
            tier: 1,
            compression,
            ..Options::default()
        };
        let weight = (sealed.len() + key.len()) as u64 + BOOKKEEPING;
        state.version += 1;
        let value = Record { sealed, version: state.version };
        let new = New { key: Text { hash, text: key.into() }, fingerprint: hash, value, weight };
        let outcome = state.store.set(&lookup, new, &options, gone);
        if !entry.pinned {
            state.store.pin(&lookup, hash, false, gone);
        }
        outcome == Outcome::Stored
    }

    /// Victims as entries, for the tier below.
    fn evicted<'py>(&self, py: Python<'py>, gone: Gone) -> PyResult<Bound<'py, PyDict>> {
        let evicted = PyDict::new(py);
        let mut victims: Gone = gone.into_iter().filter(|removed| removed.cause == Cause::Size).collect();
        // What was stored anew since must not reach the tier below as it was.
        self.state
            .with(py, |state| victims.retain(|victim| state.store.peek(&lookup(&victim.key.text, victim.key.hash)).is_none()));
        for Removed { key, value, .. } in victims {
            let Ok(opened) = envelope::open(&value.sealed, envelope::binding(&self.namespace, &key.text)) else { continue };
            if let Some(payload) = payload(py, &opened) {
                let mut entry = Entry::opened(opened, payload, value.sealed.len());
                entry.version = value.version;
                evicted.set_item(&*key.text, Py::new(py, entry)?)?;
            }
        }
        Ok(evicted)
    }
}

fn lookup(key: &str, hash: u64) -> Lookup<impl Fn(&Text) -> bool> {
    Lookup { namespace: NAMESPACE, hash, equal: move |other: &Text| *other.text == *key }
}

#[pymethods]
impl ZMemory {
    #[new]
    #[pyo3(signature = (*, namespace, capacity, policy, packing, seed=None))]
    fn new(
        py: Python<'_>,
        namespace: String,
        capacity: u64,
        policy: &str,
        packing: &Bound<'_, Packing>,
        seed: Option<u64>,
    ) -> PyResult<Self> {
        let known = AnyPolicy::named(policy)
            .ok_or_else(|| config_error(py, format!("policy: got {policy:?}; allowed: {}", AnyPolicy::NAMES.join(", "))))?;
        let clock = Arc::new(AtomicU64::new(0));
        let budget = Budget { capacity, max_entries: None };
        let store = Store::new(known, budget, Clock::Manual(clock.clone()), Groups::new([]));
        let state = State { store, clock, version: 0, corrupt: 0 };
        Ok(ZMemory { state: Guarded::new(state), namespace, packing: packing.get().0, seed: seed.unwrap_or_else(random_seed) })
    }

    fn get<'py>(&self, py: Python<'py>, key: &str, now: u64, most: Option<usize>) -> PyResult<Bound<'py, PyAny>> {
        match self.read(py, key, now, most) {
            Found::Nothing => Ok(py.None().into_bound(py)),
            Found::Large(length) => Ok(length.into_pyobject(py)?.into_any()),
            Found::Entry(entry) => Ok(Bound::new(py, entry)?.into_any()),
        }
    }

    fn get_many<'py>(
        &self,
        py: Python<'py>,
        keys: Vec<Bound<'py, PyString>>,
        now: u64,
        most: Option<usize>,
    ) -> PyResult<(Bound<'py, PyDict>, Vec<Bound<'py, PyString>>)> {
        let (found, mut large) = (PyDict::new(py), Vec::new());
        for key in keys {
            match self.read(py, key.to_str()?, now, most) {
                Found::Nothing => {}
                Found::Large(_) => large.push(key),
                Found::Entry(entry) => found.set_item(&key, Py::new(py, entry)?)?,
            }
        }
        Ok((found, large))
    }

    fn set_many<'py>(
        &self,
        py: Python<'py>,
        entries: Vec<(Bound<'py, PyString>, Bound<'py, Entry>)>,
        now: u64,
        absent: bool,
    ) -> PyResult<(Vec<Bound<'py, PyString>>, Bound<'py, PyDict>)> {
        let (mut refused, mut left) = (Vec::new(), Vec::new());
        for (name, entry) in &entries {
            let key = name.to_str()?;
            let lacks = |state: &State| state.store.peek(&lookup(key, self.hash(key))).is_none();
            // Nothing is sealed for nothing.
            if absent && !self.at(py, now, |state, _| lacks(state)) {
                continue;
            }
            let sealed = self.seal(key, entry)?;
            let stored = self.at(py, now, |state, _| (absent && !lacks(state)) || self.store(state, sealed, now, &mut left));
            if !stored {
                refused.push(name.clone());
            }
        }
        Ok((refused, self.evicted(py, left)?))
    }

    fn delete_many<'py>(
        &self,
        py: Python<'py>,
        keys: Vec<Bound<'py, PyString>>,
        now: u64,
    ) -> PyResult<Vec<Bound<'py, PyString>>> {
        let mut deleted = Vec::new();
        for name in keys {
            let key = name.to_str()?;
            let hash = self.hash(key);
            let removed = self.at(py, now, |state, gone| state.store.remove(&lookup(key, hash), gone));
            if removed.is_some() {
                deleted.push(name);
            }
        }
        Ok(deleted)
    }

    fn swap(
        &self,
        py: Python<'_>,
        key: &str,
        version: Option<u64>,
        entry: Option<&Bound<'_, Entry>>,
        now: u64,
    ) -> PyResult<bool> {
        let sealed = entry.map(|entry| self.seal(key, entry)).transpose()?;
        let lookup = lookup(key, self.hash(key));
        Ok(self.at(py, now, |state, gone| {
            if state.store.peek(&lookup).map(|record| record.version) != version {
                return false;
            }
            match sealed {
                // That it may have been refused is no other's doing: it was there and was evicted.
                Some(sealed) => drop(self.store(state, sealed, now, gone)),
                None => {
                    let removed = state.store.remove(&lookup, gone);
                    gone.extend(removed);
                }
            }
            true
        }))
    }

    #[pyo3(signature = (cursor, most, pattern, now))]
    fn scan(&self, py: Python<'_>, cursor: usize, most: usize, pattern: Option<&str>, now: u64) -> (Option<usize>, Vec<String>) {
        let pattern = pattern.map(Pattern::new);
        let mut keys = Vec::new();
        let matches = |key: &str| pattern.as_ref().is_none_or(|pattern| pattern.matches(key));
        let next = self.at(py, now, |state, _| {
            state.store.scan(cursor, most, |key, _| {
                if matches(&key.text) {
                    keys.push(key.text.to_string());
                }
            })
        });
        (next, keys)
    }

    fn clear(&self, py: Python<'_>, tags: Vec<String>, owner: Option<&str>, now: u64) -> usize {
        self.at(py, now, |state, gone| {
            if tags.is_empty() && owner.is_none() {
                return state.store.clear(gone);
            }
            state.store.expire(gone);
            let tagged: usize = tags.iter().map(|tag| state.store.invalidate_tag(tag, gone)).sum();
            let owned = owner.and_then(|owner| state.store.owners.known(NAMESPACE, owner));
            tagged + owned.map_or(0, |owner| state.store.clear_owner(owner))
        })
    }

    fn resize<'py>(&self, py: Python<'py>, capacity: u64, now: u64) -> PyResult<Bound<'py, PyDict>> {
        let mut left = Vec::new();
        self.at(py, now, |state, _| state.store.resize(capacity, None, &mut left));
        self.evicted(py, left)
    }

    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let (counters, corrupt, sizes) = self.state.with(py, |state| {
            let store = &state.store;
            (store.counters, state.corrupt, [store.len() as u64, store.weight(), store.budget().capacity])
        });
        let told = PyDict::new(py);
        let [entries, bytes, capacity] = sizes;
        let numbers = [
            ("hits", counters.hits),
            ("misses", counters.misses),
            ("sets", counters.sets),
            ("refused", counters.refused),
            ("evicted", counters.removed[Cause::Size as usize]),
            ("corrupt", corrupt),
            ("entries", entries),
            ("bytes", bytes),
            ("capacity", capacity),
        ];
        numbers.into_iter().try_for_each(|(name, number)| told.set_item(name, number))?;
        Ok(told)
    }
}
