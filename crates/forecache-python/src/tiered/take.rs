//! The way down, gone: what waits in a queue is taken to its tier, and ended there.

use super::guards::Taken;
use crate::below::{self, OVERHEAD, Operation, Shelf, What};
use crate::envelope::Entry;
use crate::key::{self, Name, Text};
use crate::memory::{Memory, NAMESPACE, Value};
use forecache_core::pending;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyString};

/// What was taken from a queue, to be made Python's when the guard is left.
pub(super) enum Taking {
    Set(Entry),
    Demote(Value, bool),
    Sink(Py<Entry>),
    Delete,
}

#[pymethods]
impl Memory {
    /// Takes operations from a queue: those of `keys`, or some that are due, until they are so many `bytes`. What may leave the tier for
    /// the next is noted from now on.
    #[pyo3(signature = (depth, keys, bytes=4_000_000))]
    fn _take<'py>(
        slf: &Bound<'py, Self>,
        depth: usize,
        keys: Option<Vec<Bound<'py, PyAny>>>,
        bytes: u64,
    ) -> PyResult<Bound<'py, Taken>> {
        let py = slf.py();
        let names = keys.as_ref().map(|keys| keys.iter().map(Name::of).collect::<PyResult<Vec<_>>>()).transpose()?;
        let held = Bound::new(py, Taken::new(slf, depth))?;
        let mut taken: Vec<(Text, Taking)> = Vec::new();
        let window = slf.get().change(py, |state, _| -> PyResult<Option<u64>> {
            let last = depth + 1 >= state.below.depths.len();
            state.depth(depth)?;
            let due: Vec<_> =
                if names.is_none() { state.below.due(depth).map(|key| Text(key.0.clone_ref(py))).collect() } else { Vec::new() };
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
                        if let pending::Taken::Taken(operation) = depth.queue.take(&name.lookup(NAMESPACE)) {
                            taken.push((name.text(), taking(operation)));
                        }
                    }
                }
                None => {
                    let mut size = 0;
                    for key in due {
                        let pending::Taken::Taken(operation) = depth.queue.take(&key::lookup(&key)) else { continue };
                        let taking = taking(operation);
                        if let Taking::Set(entry) = &taking {
                            size += entry.payload.as_bytes(py).len() as u64;
                        }
                        taken.push((key, taking));
                        if size >= bytes {
                            break;
                        }
                    }
                }
            }
            Ok((!last).then(|| state.below.open_window()))
        })??;
        held.get().hold(py, taken, window)?;
        Ok(held)
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

    /// Has a tier delete a key, unless something newer waits for it.
    fn _purge(slf: &Bound<'_, Self>, depth: usize, key: &Bound<'_, PyAny>) -> PyResult<()> {
        let name = Name::of(key)?;
        slf.get().change(slf.py(), |state, _| {
            let depth = state.depth(depth)?;
            let lookup = name.lookup(NAMESPACE);
            if depth.queue.waiting(&lookup).is_none() {
                depth.queue.put(&lookup, name.text(), Operation::delete(), OVERHEAD);
            }
            PyResult::Ok(())
        })??;
        super::wake(slf)
    }

    /// Keys in a queue.
    fn _keys(&self, py: Python<'_>, depth: usize) -> Vec<Py<PyString>> {
        self.state.with(py, |state| {
            let depth = state.below.depths.get(depth);
            depth.map_or_else(Vec::new, |depth| depth.queue.keys().map(|key| below::text(py, key)).collect())
        })
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
    fn _void<'py>(slf: &Bound<'py, Self>, tags: Vec<String>, owner: Option<&str>) -> PyResult<(usize, Vec<Bound<'py, PyList>>)> {
        let (py, mut old) = (slf.py(), Vec::new());
        let flying = slf.get().change(py, |state, _| {
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
        super::wake(slf)?;
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
}
