//! The way down, gone: what waits in a queue is taken to its tier, and ended there.

use crate::below::{self, Mark, OVERHEAD, Operation, Shelf, What};
use crate::envelope::Entry;
use crate::key::{self, Name, Text};
use crate::memory::{Memory, NAMESPACE, Value};
use forecache_core::pending::Taken;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyString};

/// What was taken from a queue, to be made Python's when the guard is left.
enum Taking {
    Set(Entry),
    Demote(Value, bool),
    Sink(Py<Entry>),
    Delete,
}

/// Entries to set, live values to demote and whether only where nothing is, entries that sank, keys to delete.
type Batch<'py> = (Bound<'py, PyDict>, Vec<(Py<PyString>, Value, bool)>, Bound<'py, PyDict>, Vec<Py<PyString>>);

#[pymethods]
impl Memory {
    /// Takes operations from a queue: those of `keys`, or the next, until there are `entries` or `bytes` of them; entries to set, live
    /// values to demote (encode each and ask `_entry` for its entry), entries that sank (only where nothing is), and keys to delete. Each has
    /// to be ended by `_done`. They come into a list of the caller's, so that an interrupt between here and there loses none.
    #[pyo3(signature = (depth, keys, into, entries=256, bytes=4_000_000))]
    fn _take<'py>(
        &self,
        py: Python<'py>,
        depth: usize,
        keys: Option<Vec<Bound<'py, PyAny>>>,
        into: &Bound<'py, PyList>,
        entries: usize,
        bytes: u64,
    ) -> PyResult<()> {
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
        let batch: Batch<'py> = (sets, demotes, sinks, deletes);
        into.append(batch)
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
                let epoch = entry.get().epoch as u32;
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
}
