//! The way up of many keys at once: what memory has of them, and what is announced, stored and taken back of the others.

use super::guards::at_last;
use crate::envelope::Entry;
use crate::express::RAW;
use crate::key::{self, Name, Text};
use crate::memory::{Memory, NAMESPACE, Spread};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyString};
use std::collections::HashMap;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

/// A key that memory doesn't have.
struct Asked {
    key: Text,
    group: Option<u16>,
    /// Its announcement; 0 as long as something of it lies in the queues, and when it was taken back.
    ticket: AtomicU64,
}

/// Key, ticket and entry of what Python has to see to.
type Other<'py> = (Bound<'py, PyAny>, u64, Bound<'py, Entry>);

/// What a call reads from tiers: each key once. Its end takes announcements back.
#[pyclass(frozen, module = "forecache._core")]
pub struct Reading {
    cache: Py<Memory>,
    asked: Vec<Asked>,
}

#[pymethods]
impl Memory {
    /// The values of those keys that are there, and the reading of the others; None if there are none.
    fn _read_many<'py>(
        slf: &Bound<'py, Self>,
        keys: &Bound<'py, PyAny>,
    ) -> PyResult<(Bound<'py, PyDict>, Option<Bound<'py, Reading>>)> {
        let (py, cache) = (slf.py(), slf.get());
        let (found, keys) = (PyDict::new(py), crate::methods::listed(keys)?);
        let mut names = Vec::with_capacity(keys.len());
        for key in &keys {
            names.push(Name::of(key)?);
        }
        let mut asked = Vec::with_capacity(keys.len());
        for name in &names {
            match cache.hit(py, name)? {
                Some(value) => found.set_item(name.string(), value)?,
                None => {
                    let group = cache.missed(py, name)?;
                    // Nothing is stored under lone surrogates.
                    if name.utf8().is_ok() {
                        asked.push((name, group, cache.mark(py, name)?));
                    }
                }
            }
        }
        if asked.is_empty() {
            return Ok((found, None));
        }
        let asked = cache.change(py, |state, _| {
            let mut seen = HashMap::with_capacity_and_hasher(asked.len(), Spread::default());
            let mut announced = Vec::with_capacity(asked.len());
            for (name, group, mark) in asked {
                let lookup = name.lookup(NAMESPACE);
                let place = *seen.entry(lookup.hash).or_insert(announced.len());
                // The first of that hash is nearly always it.
                if announced[place..].iter().any(|asked: &Asked| (lookup.equal)(&asked.key)) {
                    continue;
                }
                let idle = state.below.depths.iter().all(|depth| depth.queue.get(&lookup).is_none());
                let ticket = AtomicU64::new(if idle { state.announce(lookup.hash, mark) } else { 0 });
                announced.push(Asked { key: name.text(), group, ticket });
            }
            announced
        })?;
        Ok((found, Some(Bound::new(py, Reading { cache: slf.clone().unbind(), asked })?)))
    }
}

#[pymethods]
impl Reading {
    /// What memory doesn't have.
    fn keys<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        PyList::new(py, self.asked.iter().map(|asked| &asked.key.0))
    }

    /// Keys of which something lies in the queues, with their places: `Memory._look` tells of them.
    fn on_the_way<'py>(&self, py: Python<'py>) -> Vec<(usize, Bound<'py, PyString>)> {
        let asked = self.asked.iter().enumerate().filter(|(_, asked)| asked.ticket.load(Relaxed) == 0);
        asked.map(|(at, asked)| (at, asked.key.0.bind(py).clone())).collect()
    }

    /// The announcement of the key at that place, which ends with the others.
    fn hold(&self, at: usize, ticket: u64) {
        if let Some(asked) = self.asked.get(at) {
            asked.ticket.store(ticket, Relaxed);
        }
    }

    /// Adds to `found` what of the `entries` of the tier at `depth` is bytes as they are, and stores it, if the tier is `trusted`; of the
    /// others keys, tickets and entries are the answer. What nobody asked for is left out.
    fn promote<'py>(
        &self,
        py: Python<'py>,
        entries: &Bound<'py, PyDict>,
        found: &Bound<'py, PyDict>,
        now: u64,
        depth: usize,
        trusted: bool,
    ) -> PyResult<Vec<Other<'py>>> {
        let (cache, mut others) = (self.cache.bind(py), Vec::new());
        let stored = self.asked.iter().try_for_each(|Asked { key, group, ticket }| {
            let (key, ticket) = (key.0.bind(py).as_any(), ticket.load(Relaxed));
            let Some(entry) = entries.get_item(key)? else { return Ok(()) };
            let entry = entry.cast_into::<Entry>()?;
            if trusted && entry.get().codec == RAW {
                let value = entry.get().payload.bind(py).as_any();
                found.set_item(key, value)?;
                cache.get().fill(key, ticket, &entry, depth)?;
                cache.get().climb(key, value, ticket, entry.get(), now, *group)?;
            } else {
                others.push((key.clone(), ticket, entry));
            }
            Ok(())
        });
        super::wake(cache)?;
        stored.map(|()| others)
    }

    /// Takes announcements back.
    fn end(&self, py: Python<'_>) {
        // A closed cache has none.
        self.cache.get().state.with(py, |state| {
            for Asked { key, ticket, .. } in &self.asked {
                match ticket.swap(0, Relaxed) {
                    0 => {}
                    ticket => _ = state.redeem(key::lookup(key).hash, ticket),
                }
            }
        });
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        if self.asked.iter().any(|asked| asked.ticket.load(Relaxed) > 0) {
            at_last(|py| {
                self.end(py);
                Ok(())
            });
        }
    }
}
