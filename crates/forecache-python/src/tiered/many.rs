//! The way up of many keys at once: what memory has of them, and what is announced, stored and taken back of the others.

use super::guards::at_last;
use super::look::Climbing;
use crate::envelope::Entry;
use crate::express::RAW;
use crate::key::{self, Name, Text};
use crate::memory::{Memory, NAMESPACE, Spread, State};
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
        let names = keys.iter().map(Name::of).collect::<PyResult<Vec<_>>>()?;
        if names.is_empty() {
            return Ok((found, None));
        }
        // Nothing is stored under lone surrogates. Errors are objects, and those aren't made while the store is in use.
        let texts: Vec<_> = names.iter().map(|name| name.utf8().ok()).collect();
        let (hits, asked) = cache.change(py, |state, gone| {
            let (mut hits, mut missed) = (Vec::new(), Vec::with_capacity(names.len()));
            for (name, text) in names.iter().zip(&texts) {
                match state.read(py, name, gone) {
                    Some(value) => hits.push((name, value)),
                    None => {
                        let group = state.missed(py, text.as_deref(), cache.seed);
                        missed.extend(text.as_deref().map(|text| (name, text, group)));
                    }
                }
            }
            (hits, state.ask(&missed))
        })?;
        let reading = if asked.is_empty() { None } else { Some(Bound::new(py, Reading { cache: slf.clone().unbind(), asked })?) };
        for (name, value) in hits {
            found.set_item(name.string(), cache.given(value.into_bound(py))?)?;
        }
        Ok((found, reading))
    }
}

impl State {
    /// Announces keys that memory doesn't have, each once.
    fn ask(&mut self, missed: &[(&Name, &str, Option<u16>)]) -> Vec<Asked> {
        let mut seen = HashMap::with_capacity_and_hasher(missed.len(), Spread::default());
        let mut asked = Vec::with_capacity(missed.len());
        for &(name, text, group) in missed {
            let lookup = name.lookup(NAMESPACE);
            let place = *seen.entry(lookup.hash).or_insert(asked.len());
            // The first of that hash is nearly always it.
            if asked[place..].iter().any(|asked: &Asked| (lookup.equal)(&asked.key)) {
                continue;
            }
            let idle = self.below.depths.iter().all(|depth| depth.queue.get(&lookup).is_none());
            let ticket = AtomicU64::new(if idle { self.announce(lookup.hash, self.below.mark(text)) } else { 0 });
            asked.push(Asked { key: name.text(), group, ticket });
        }
        asked
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
        let (cache, told) = (self.cache.bind(py), self.told(py, entries)?);
        let (mut climbing, mut others) = (Vec::with_capacity(told.len()), Vec::new());
        let taken = told.iter().try_for_each(|(Asked { key, group, ticket }, entry)| {
            let (key, ticket) = (key.0.bind(py).as_any(), ticket.load(Relaxed));
            if trusted && entry.get().codec == RAW {
                let value = entry.get().payload.bind(py).as_any();
                found.set_item(key, value)?;
                cache.get().fill(key, ticket, entry, depth)?;
                climbing.push(Climbing { item: cache.get().item(key, value)?, entry: entry.get(), ticket, group: *group });
            } else {
                others.push((key.clone(), ticket, entry.clone()));
            }
            PyResult::Ok(())
        });
        // What came before an error is stored.
        let stored = cache.get().climb_all(py, &climbing, now);
        super::wake(cache)?;
        taken.and(stored).map(|_| others)
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

impl Reading {
    /// What was asked for and is among the `entries`, with its entry.
    fn told<'a, 'py>(&'a self, py: Python<'py>, entries: &Bound<'py, PyDict>) -> PyResult<Vec<(&'a Asked, Bound<'py, Entry>)>> {
        // Most tiers tell in the order in which they were asked, so there is little to look up.
        let all: Vec<_> = entries.iter().collect();
        let mut next = all.into_iter().peekable();
        let mut told = Vec::with_capacity(entries.len());
        for asked in &self.asked {
            let key = asked.key.0.bind(py);
            let entry = match next.next_if(|(name, _)| name.is(key)) {
                Some((_, entry)) => Some(entry),
                None => entries.get_item(key)?,
            };
            if let Some(entry) = entry {
                told.push((asked, entry.cast_into::<Entry>()?));
            }
        }
        Ok(told)
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
