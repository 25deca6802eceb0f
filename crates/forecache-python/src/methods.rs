//! The methods of `Memory`, the base class of `Cache`: what Python calls. Their docstrings are what `help(Cache.get)` shows.

use crate::below::{self, Below};
use crate::errors::{self, config_error};
use crate::foreign;
use crate::guard::Guarded;
use crate::key::Name;
use crate::learn::Prior;
use crate::memory::{Item, Memory, NAMESPACE, State, Value, When};
use crate::options::{Defaults, Said, seconds};
use crate::recorder::{self, Recorder};
use forecache_core::expiry::{Clock, NEVER};
use forecache_core::groups::{Class, Groups, Pattern};
use forecache_core::histogram::Histogram;
use forecache_core::owners::{Claim, Owners};
use forecache_core::policy::AnyPolicy;
use forecache_core::record::{Recording, Settings};
use forecache_core::store::{Budget, New, Outcome, Store};
use forecache_core::trace::Facts;
use forecache_core::trace::secret::Secret;
use pyo3::exceptions::{PyKeyError, PyTypeError};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyMapping, PyString};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

fn expected(field: &str, allowed: &str, given: &Bound<'_, PyAny>) -> PyErr {
    let kind = given.get_type().name().map_or_else(|_| "an object".into(), |name| name.to_string());
    PyTypeError::new_err(format!("{field}: expected {allowed}, got {kind}"))
}

/// Keys from any iterable that isn't itself a `str`.
pub fn listed<'py>(keys: &Bound<'py, PyAny>) -> PyResult<Vec<Bound<'py, PyAny>>> {
    if keys.is_instance_of::<PyString>() {
        return Err(expected("keys", "an iterable of str", keys));
    }
    Ok(foreign::list(keys)?.iter().collect())
}

/// How to write to tiers below: it has to be right, though there are none.
#[inline]
fn check_write(py: Python<'_>, write: Option<&str>) -> PyResult<()> {
    match write {
        None | Some("behind" | "through" | "around") => Ok(()),
        Some(other) => Err(config_error(py, format!("write: got {other:?}; allowed: behind, through, around"))),
    }
}

#[pymethods]
impl Memory {
    #[new]
    #[pyo3(signature = (config, model=None))]
    fn new(config: &Bound<'_, PyAny>, model: Option<&Prior>) -> PyResult<Self> {
        let py = config.py();
        let name: String = config.getattr("policy")?.extract()?;
        let policy = AnyPolicy::named(&name).ok_or_else(|| config_error(py, format!("policy: there is no {name:?}")))?;
        let policy = if policy.as_learned().is_some() { crate::model::policy(config, model)? } else { policy };
        let budget =
            Budget { capacity: config.getattr("capacity")?.extract()?, max_entries: config.getattr("max_entries")?.extract()? };
        let clock = match config.getattr("clock")? {
            clock if clock.is_none() => Clock::Coarse,
            clock => clock.cast::<crate::clock::FakeClock>()?.get().clock(),
        };
        let classes: Vec<(String, Option<f64>, Option<f64>)> = config.getattr("groups")?.extract()?;
        let class = |ttl: Option<f64>, tti: Option<f64>| Class { time_to_live: ttl.map(seconds), time_to_idle: tti.map(seconds) };
        let groups = Groups::new(classes.iter().map(|(pattern, ttl, tti)| (pattern.as_str(), class(*ttl, *tti))));
        let claims: Vec<(String, i16, Option<u64>)> = config.getattr("owners")?.extract()?;
        let claims = claims.iter().map(|&(ref pattern, priority, budget)| (pattern.as_str(), Claim { priority, budget }));
        let mut store = Store::new(policy, budget, clock, groups);
        store.owners = Owners::new(claims);
        store.keep_departures();
        let seed: Option<u64> = config.getattr("seed")?.extract()?;
        let seed = seed.unwrap_or_else(crate::options::random_seed);
        let weigher = config.getattr("weigher")?;
        Ok(Memory {
            state: Guarded::new(State {
                store,
                latency: Histogram::default(),
                listener: None,
                closed: false,
                loads: HashMap::default(),
                fetches: HashMap::default(),
                ticket: 0,
                below: Below::default(),
                recording: None,
            }),
            calls: AtomicU32::new(0),
            seed,
            copies: config.getattr("copy")?.extract()?,
            weigher: (!weigher.is_none()).then(|| weigher.unbind()),
            defaults: Defaults::new(config, seed)?,
        })
    }

    /// The value stored under `key`, or `default`.
    #[pyo3(signature = (key, default=None))]
    fn get<'py>(
        slf: &Bound<'py, Self>,
        key: &Bound<'py, PyAny>,
        default: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        match slf.get().read(py, &Name::of(key)?)? {
            Some(found) => Ok(found),
            None => below::get(slf, key, default),
        }
    }

    /// Like `get`, from memory alone.
    #[pyo3(signature = (key, default=None))]
    fn _near<'py>(
        &self,
        py: Python<'py>,
        key: &Bound<'py, PyAny>,
        default: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let found = self.read(py, &Name::of(key)?)?;
        Ok(found.unwrap_or_else(|| default.unwrap_or_else(|| py.None().into_bound(py))))
    }

    /// Stores `value`, and says whether it was taken.
    #[pyo3(signature = (key, value, *, ttl=None, tti=None, tags=None, owner=None, cost=None, immutable=false, pin=false, write=None))]
    #[expect(clippy::too_many_arguments, reason = "they are the keywords of the Python method")]
    fn set(
        &self,
        key: &Bound<'_, PyAny>,
        value: &Bound<'_, PyAny>,
        ttl: Option<&Bound<'_, PyAny>>,
        tti: Option<&Bound<'_, PyAny>>,
        tags: Option<&Bound<'_, PyAny>>,
        owner: Option<&str>,
        cost: Option<f64>,
        immutable: bool,
        pin: bool,
        write: Option<&str>,
    ) -> PyResult<bool> {
        let said = Said::new(key.py(), ttl, tti, tags, owner, cost, immutable, pin)?;
        check_write(key.py(), write)?;
        self.store(key.py(), &self.item(key, value)?, &said, When::Always).map(|taken| taken == Some(true))
    }

    /// Stores `value` if nothing is stored under `key`, and says whether it did.
    #[pyo3(signature = (key, value, *, ttl=None, tti=None, tags=None, owner=None, cost=None, immutable=false, pin=false))]
    #[expect(clippy::too_many_arguments, reason = "they are the keywords of the Python method")]
    fn add(
        &self,
        key: &Bound<'_, PyAny>,
        value: &Bound<'_, PyAny>,
        ttl: Option<&Bound<'_, PyAny>>,
        tti: Option<&Bound<'_, PyAny>>,
        tags: Option<&Bound<'_, PyAny>>,
        owner: Option<&str>,
        cost: Option<f64>,
        immutable: bool,
        pin: bool,
    ) -> PyResult<bool> {
        let said = Said::new(key.py(), ttl, tti, tags, owner, cost, immutable, pin)?;
        self.store(key.py(), &self.item(key, value)?, &said, When::New).map(|taken| taken == Some(true))
    }

    /// Stores all values of a mapping, and says how many were taken.
    #[pyo3(signature = (items, *, ttl=None, tti=None, tags=None, owner=None, cost=None, immutable=false, pin=false, write=None))]
    #[expect(clippy::too_many_arguments, reason = "they are the keywords of the Python method")]
    fn set_many(
        &self,
        items: &Bound<'_, PyAny>,
        ttl: Option<&Bound<'_, PyAny>>,
        tti: Option<&Bound<'_, PyAny>>,
        tags: Option<&Bound<'_, PyAny>>,
        owner: Option<&str>,
        cost: Option<f64>,
        immutable: bool,
        pin: bool,
        write: Option<&str>,
    ) -> PyResult<usize> {
        let py = items.py();
        let said = Said::new(py, ttl, tti, tags, owner, cost, immutable, pin)?;
        check_write(py, write)?;
        let pairs: Vec<(Bound<'_, PyAny>, Bound<'_, PyAny>)> = match items.cast_exact::<PyDict>() {
            Ok(dict) => dict.iter().collect(),
            Err(_) => {
                let mapping = items.cast::<PyMapping>().map_err(|_| expected("items", "a mapping", items))?;
                let pairs = foreign::call(&mapping.getattr("items")?, ())?;
                foreign::list(&pairs)?.iter().map(|pair| pair.extract()).collect::<PyResult<_>>()?
            }
        };
        // All are made out before the first is stored: a bad key or value changes nothing.
        let items = pairs.iter().map(|(key, value)| self.item(key, value)).collect::<PyResult<Vec<_>>>()?;
        let mut stored = 0;
        for item in &items {
            stored += usize::from(self.store(py, item, &said, When::Always)? == Some(true));
        }
        Ok(stored)
    }

    /// The values of those keys that are there.
    fn get_many<'py>(&self, py: Python<'py>, keys: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyDict>> {
        let keys = listed(keys)?;
        let names = keys.iter().map(Name::of).collect::<PyResult<Vec<_>>>()?;
        let found = PyDict::new(py);
        for name in &names {
            if let Some(value) = self.found(py, name)? {
                found.set_item(name.string(), value)?;
            }
        }
        Ok(found)
    }

    /// Removes an entry, and says whether there was one.
    fn delete(&self, key: &Bound<'_, PyAny>) -> PyResult<bool> {
        self.deleted(key)
    }

    /// Removes those keys, and says how many were there.
    fn delete_many(&self, keys: &Bound<'_, PyAny>) -> PyResult<usize> {
        let keys = listed(keys)?;
        keys.iter().try_for_each(|key| Name::of(key).map(drop))?;
        keys.iter().map(|key| self.deleted(key).map(usize::from)).sum()
    }

    /// Removes an entry and gives its value, or `default`.
    #[pyo3(signature = (key, default=None))]
    fn pop<'py>(
        &self,
        py: Python<'py>,
        key: &Bound<'py, PyAny>,
        default: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        match self.removed(key)? {
            Some(removed) => {
                let value = removed.value.bind(py).clone();
                self.let_go(py, vec![removed]);
                Ok(value)
            }
            None => Ok(default.unwrap_or_else(|| py.None().into_bound(py))),
        }
    }

    /// Whether there is an entry; neither statistics nor eviction take note.
    fn exists(&self, key: &Bound<'_, PyAny>) -> PyResult<bool> {
        let name = Name::of(key)?;
        self.change(key.py(), |state, gone| {
            let lookup = name.lookup(NAMESPACE);
            state.refresh(&lookup, gone);
            state.store.peek(&lookup).is_some()
        })
    }

    /// Gives an entry new times, counted from now, and says whether there is one.
    #[pyo3(signature = (key, *, ttl=None, tti=None))]
    fn touch(&self, key: &Bound<'_, PyAny>, ttl: Option<&Bound<'_, PyAny>>, tti: Option<&Bound<'_, PyAny>>) -> PyResult<bool> {
        let name = Name::of(key)?;
        let said = Said::new(key.py(), ttl, tti, None, None, None, false, false)?;
        let utf8 = name.utf8()?;
        self.change(key.py(), |state, gone| {
            let group = state.store.groups.of(&utf8);
            let class = state.store.groups.get(group).class;
            let options = self.defaults.options(&said, class, group, 0);
            // Without a word on either, the entry's own time to idle starts anew, and the time to live that its key would get now; an
            // entry with a time to live of its own keeps the rest of it.
            let ttl = match (said.ttl, said.tti) {
                (None, Some(_)) => None,
                _ => Some(options.time_to_live).filter(|&time| said.ttl.is_some() || time != NEVER),
            };
            let tti = said.tti;
            let lookup = name.lookup(NAMESPACE);
            state.refresh(&lookup, gone);
            let touched = state.store.touch(&lookup, ttl, tti, gone);
            if touched && ttl.is_some() && state.store.tape.is_some() {
                state.note_stored(&lookup, &utf8, f32::NAN);
            }
            touched
        })
    }

    /// Seconds until the entry expires; None if it doesn't, 0.0 if there is no entry.
    fn ttl(&self, key: &Bound<'_, PyAny>) -> PyResult<Option<f64>> {
        let name = Name::of(key)?;
        self.change(key.py(), |state, gone| {
            let lookup = name.lookup(NAMESPACE);
            state.refresh(&lookup, gone);
            match state.store.deadline(&lookup) {
                None => Some(0.0),
                Some(NEVER) => None,
                Some(deadline) => Some(deadline.saturating_sub(state.store.now()) as f64 / 1e9),
            }
        })
    }

    /// Keeps an entry from eviction until `unpin`, and says whether there is one.
    fn pin(&self, key: &Bound<'_, PyAny>) -> PyResult<bool> {
        self.pinned(key, true)
    }

    /// Lets eviction have the entry again, and says whether there is one.
    fn unpin(&self, key: &Bound<'_, PyAny>) -> PyResult<bool> {
        self.pinned(key, false)
    }

    /// Removes everything, or all that `owner` stored, which takes the same short time however much it is.
    #[pyo3(signature = (*, owner=None))]
    fn clear(&self, py: Python<'_>, owner: Option<&str>) -> PyResult<()> {
        self.change(py, |state, gone| {
            state.strike_all();
            match owner {
                None => _ = state.store.clear(gone),
                Some(owner) => {
                    if let Some(number) = state.store.owners.known(NAMESPACE, owner) {
                        state.store.clear_owner(number);
                    }
                }
            }
        })
    }

    /// Has `learned` with this prior run in miniature beside the policy in force.
    fn _shade(&self, py: Python<'_>, prior: &Bound<'_, Prior>) -> PyResult<()> {
        let prior = prior.get();
        self.change(py, |state, _| state.store.shade(prior.beside(state.store.policy())))
    }

    /// Another capacity, number of entries, or both; None leaves one as it is.
    #[pyo3(signature = (capacity=None, *, max_entries=None))]
    fn resize(
        &self,
        py: Python<'_>,
        capacity: Option<&Bound<'_, PyAny>>,
        max_entries: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let capacity = capacity.map(|capacity| errors::parse_size(capacity, "capacity")).transpose()?;
        let max_entries = max_entries.map(|most| errors::parse_count(most, "max_entries")).transpose()?;
        self.change(py, |state, gone| {
            let old = state.store.budget();
            state.store.resize(capacity.unwrap_or(old.capacity), max_entries.or(old.max_entries), gone);
        })
    }

    /// Empties the cache and refuses all further calls.
    fn close(&self, py: Python<'_>) {
        let mut gone = Vec::new();
        let recording = self.state.with(py, |state| {
            let recording = state.end_recording();
            state.store.clear(&mut gone);
            state.closed = true;
            (recording, state.below.empty())
        });
        let (recording, queued) = recording;
        below::release(py, queued);
        self.let_go(py, gone);
        if let Some(recording) = recording.filter(Recording::is_of_this_process) {
            // What comes of it is told by the recording itself.
            _ = py.detach(|| recording.wait());
        }
    }

    /// Whether `close` was called.
    #[getter]
    fn closed(&self, py: Python<'_>) -> bool {
        self.state.with(py, |state| state.closed)
    }

    fn __contains__(&self, key: &Bound<'_, PyAny>) -> PyResult<bool> {
        self.exists(key)
    }

    fn __len__(&self, py: Python<'_>) -> PyResult<usize> {
        self.change(py, |state, gone| {
            state.store.maintain(0, gone);
            state.store.len()
        })
    }

    fn __bool__(&self) -> bool {
        true
    }

    fn __getitem__<'py>(slf: &Bound<'py, Self>, key: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let found = match slf.get().found(py, &Name::of(key)?)? {
            Some(found) => return Ok(found),
            None => below::get(slf, key, Some(&crate::missing(py)))?,
        };
        if found.is_exact_instance_of::<crate::Missing>() { Err(PyKeyError::new_err(key.clone().unbind())) } else { Ok(found) }
    }

    fn __setitem__(&self, key: &Bound<'_, PyAny>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        self.store(key.py(), &self.item(key, value)?, &Said::default(), When::Always).map(drop)
    }

    fn __delitem__(&self, key: &Bound<'_, PyAny>) -> PyResult<()> {
        if self.deleted(key)? { Ok(()) } else { Err(PyKeyError::new_err(key.clone().unbind())) }
    }

    /// The live value itself, with no effect on statistics or eviction.
    #[pyo3(signature = (key, default=None))]
    fn _peek<'py>(
        &self,
        py: Python<'py>,
        key: &Bound<'py, PyAny>,
        default: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let name = Name::of(key)?;
        let value = self.change(py, |state, gone| {
            let lookup = name.lookup(NAMESPACE);
            state.refresh(&lookup, gone);
            state.store.peek(&lookup).map(|value| value.clone_ref(py))
        })?;
        Ok(value.map_or_else(|| default.unwrap_or_else(|| py.None().into_bound(py)), |value| value.into_bound(py)))
    }

    /// `value` in the place of the very object `current`, or of nothing if that is MISSING. None: something else is there by now;
    /// False: refused. Without `ttl`, times, tags and owner stay as they are.
    #[pyo3(signature = (key, current, value, *, ttl=None))]
    fn _swap<'py>(
        &self,
        py: Python<'py>,
        key: &Bound<'py, PyAny>,
        current: &Bound<'py, PyAny>,
        value: &Bound<'py, PyAny>,
        ttl: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Option<bool>> {
        let said = Said::new(py, ttl, None, None, None, None, false, false)?;
        let item = self.item(key, value)?;
        if current.is_exact_instance_of::<crate::Missing>() {
            return self.store(py, &item, &said, When::New);
        }
        let utf8 = item.name.utf8()?;
        let swapped = self.change(py, |state, gone| {
            let lookup = item.name.lookup(NAMESPACE);
            let Item { fingerprint, weight, .. } = item;
            let new = New { key: item.name.text(), fingerprint, value: item.value.clone_ref(py), weight };
            state.strike(lookup.hash);
            let outcome = state.store.swap(&lookup, |there| there.is(current), new, gone);
            if let (Ok(Outcome::Stored), Some(ttl)) = (&outcome, said.ttl) {
                state.store.touch(&lookup, Some(self.defaults.shortened(ttl)), None, gone);
            }
            if state.store.tape.is_some() && matches!(outcome, Ok(Outcome::Stored)) {
                state.note_stored(&lookup, &utf8, f32::NAN);
            }
            outcome
        })?;
        swapped.ok().map(|outcome| self.taken(py, &item, outcome)).transpose()
    }

    /// Raises what `set` would raise for these options.
    #[pyo3(signature = (*, ttl=None, tti=None, tags=None, owner=None, cost=None, immutable=false, pin=false))]
    #[expect(clippy::too_many_arguments, reason = "they are the keywords of the Python method")]
    fn _check(
        &self,
        py: Python<'_>,
        ttl: Option<&Bound<'_, PyAny>>,
        tti: Option<&Bound<'_, PyAny>>,
        tags: Option<&Bound<'_, PyAny>>,
        owner: Option<&str>,
        cost: Option<f64>,
        immutable: bool,
        pin: bool,
    ) -> PyResult<()> {
        Said::new(py, ttl, tti, tags, owner, cost, immutable, pin).map(drop)
    }

    /// Announces that the value of `key` is being loaded, and gives a ticket for it.
    fn _expect(&self, py: Python<'_>, key: &Bound<'_, PyAny>) -> PyResult<u64> {
        let name = Name::of(key)?;
        let mark = self.mark(py, &name)?;
        self.change(py, |state, _| state.announce_load(name.lookup(NAMESPACE).hash, mark))
    }

    /// Takes an announcement back: the load failed, or its value isn't to be stored.
    pub fn _forget(&self, py: Python<'_>, key: &Bound<'_, PyAny>, ticket: u64) -> PyResult<()> {
        let name = Name::of(key)?;
        self.change(py, |state, _| _ = state.redeem(name.lookup(NAMESPACE).hash, ticket))
    }

    /// Stores the value of an announced key as `set` does, unless the key was set, deleted or invalidated since: then None.
    #[pyo3(signature = (key, value, ticket, *, ttl=None, tti=None, tags=None, owner=None, cost=None, immutable=false, pin=false))]
    #[expect(clippy::too_many_arguments, reason = "they are the keywords of the Python method")]
    fn _fulfil(
        &self,
        key: &Bound<'_, PyAny>,
        value: &Bound<'_, PyAny>,
        ticket: u64,
        ttl: Option<&Bound<'_, PyAny>>,
        tti: Option<&Bound<'_, PyAny>>,
        tags: Option<&Bound<'_, PyAny>>,
        owner: Option<&str>,
        cost: Option<f64>,
        immutable: bool,
        pin: bool,
    ) -> PyResult<Option<bool>> {
        let said = Said::new(key.py(), ttl, tti, tags, owner, cost, immutable, pin)?;
        self.store(key.py(), &self.item(key, value)?, &said, When::Expected(ticket))
    }

    /// Live entries of the next `most` places, and where to go on.
    fn _scan<'py>(
        &self,
        py: Python<'py>,
        cursor: usize,
        most: usize,
        pattern: Option<&str>,
    ) -> PyResult<(Option<usize>, Bound<'py, PyList>)> {
        let mut entries: Vec<(Py<PyString>, Value)> = Vec::new();
        let next = self.change(py, |state, _| {
            state.store.scan(cursor, most, |key, value| entries.push((key.0.clone_ref(py), value.clone_ref(py))))
        })?;
        if let Some(pattern) = pattern {
            let pattern = Pattern::new(pattern);
            entries.retain(|(key, _)| key.bind(py).to_str().is_ok_and(|key| pattern.matches(key)));
        }
        Ok((next, PyList::new(py, entries)?))
    }

    fn _invalidate(&self, py: Python<'_>, tags: &Bound<'_, PyAny>) -> PyResult<usize> {
        let tags = crate::options::tags(tags)?;
        self.change(py, |state, gone| {
            // Which tags a value that is being loaded will carry isn't known: none of them may be stored.
            state.strike_all();
            tags.iter().map(|tag| state.store.invalidate_tag(tag, gone)).sum()
        })
    }

    fn _tagged(&self, py: Python<'_>, tag: &str) -> PyResult<usize> {
        self.change(py, |state, _| state.store.tagged(tag))
    }

    fn _on_event(&self, py: Python<'_>, listener: Option<Py<PyAny>>) {
        let old = self.state.with(py, |state| std::mem::replace(&mut state.listener, listener));
        if let Some(old) = old {
            foreign::release(py, old);
        }
    }

    fn _stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let mut gone = Vec::new();
        let report = self.state.with(py, |state| {
            state.store.maintain(0, &mut gone);
            crate::report::Report::of(state)
        });
        self.let_go(py, gone);
        report.into_dict(py)
    }

    /// Begins to record what is asked for. `sampled` are keys of a million; `secret` is what keys are hashed with, random if None.
    #[pyo3(signature = (path, *, sampled, hash_keys, secret, max_bytes, seconds, description))]
    #[expect(clippy::too_many_arguments, reason = "keyword arguments are the interface")]
    fn _record(
        &self,
        py: Python<'_>,
        path: PathBuf,
        sampled: u32,
        hash_keys: bool,
        secret: Option<&[u8]>,
        max_bytes: u64,
        seconds: Option<f64>,
        description: String,
    ) -> PyResult<Recorder> {
        let facts = Facts { sampled, hashed: hash_keys, description, ..Facts::default() };
        let secret = secret.map_or_else(Secret::random, Secret::from_bytes);
        let duration = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        recorder::begin(py, self, path, Settings { facts, secret, max_bytes, duration })
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.weigher)?;
        // While another thread is in the store (only without the GIL), its values count as reachable: none is freed by mistake.
        let visited = self.state.try_with(|state| {
            visit.call(&state.listener)?;
            state.below.express.iter().try_for_each(|express| express.visit(&visit))?;
            state.below.values().try_for_each(|value| visit.call(value))?;
            state.store.values().try_for_each(|value| visit.call(value))
        });
        visited.unwrap_or(Ok(()))
    }

    fn __clear__(&self, py: Python<'_>) {
        self.empty(py);
    }
}
