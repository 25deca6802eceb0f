//! What must end, whoever is interrupted where: objects that end it when they are let go of, at the latest.
//!
//! An exception may fall between any two steps of Python. What is in flight, or being decided, is therefore held by one of these from the
//! very step that began it; a caller ends it by a `with`, and if that was never reached the object's own end does.

use super::many::Reading;
use super::take::Taking;
use super::told;
use crate::below::{self, Mark, OVERHEAD, Operation, What};
use crate::envelope::Entry;
use crate::guard::Guarded;
use crate::key::{self, Name, Text};
use crate::memory::{Memory, NAMESPACE, State};
use pyo3::exceptions::PyException;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyString, PyType};
use std::sync::atomic::Ordering::Relaxed;

/// Operations that are in flight to a tier.
#[pyclass(frozen, module = "forecache._core")]
pub struct Taken {
    cache: Py<Memory>,
    depth: usize,
    /// Entries to set.
    #[pyo3(get)]
    sets: Py<PyDict>,
    /// Live values to demote, and whether only where nothing is: encode each and ask `Memory._entry` for its entry.
    #[pyo3(get)]
    demotes: Py<PyList>,
    /// Entries that sank: only where nothing is.
    #[pyo3(get)]
    sinks: Py<PyDict>,
    /// Keys to delete.
    #[pyo3(get)]
    deletes: Py<PyList>,
    /// What left the tier meanwhile, for the next.
    #[pyo3(get)]
    sinking: Py<PyDict>,
    flight: Guarded<Flight>,
}

#[derive(Default)]
struct Flight {
    /// Keys, and whether they are to be deleted.
    keys: Vec<(Text, bool)>,
    window: Option<u64>,
}

/// What came of it.
enum End<'a, 'py> {
    /// It was done, but for these, of which nobody knows: the tier has to delete them, unless it is told better.
    Done(&'a [Name<'a, 'py>]),
    /// An error: of whatever was to be written nobody knows.
    Failed,
    /// It was interrupted: it waits again.
    Back,
}

impl Taken {
    /// Nothing yet.
    pub fn new(cache: &Bound<'_, Memory>, depth: usize) -> Self {
        let py = cache.py();
        let dict = || PyDict::new(py).unbind();
        let list = || PyList::empty(py).unbind();
        let flight = Guarded::new(Flight::default());
        let cache = cache.clone().unbind();
        Taken { cache, depth, sets: dict(), demotes: list(), sinks: dict(), deletes: list(), sinking: dict(), flight }
    }

    /// Holds what was just taken.
    pub fn hold(&self, py: Python<'_>, taken: Vec<(Text, Taking)>, window: Option<u64>) -> PyResult<()> {
        let keys = taken.iter().map(|(key, taking)| (Text(key.0.clone_ref(py)), matches!(taking, Taking::Delete))).collect();
        self.flight.with(py, |flight| *flight = Flight { keys, window });
        for (Text(key), taking) in taken {
            match taking {
                Taking::Set(entry) => self.sets.bind(py).set_item(key, Py::new(py, entry)?)?,
                Taking::Demote(value, absent) => self.demotes.bind(py).append((key, value, absent))?,
                Taking::Sink(entry) => self.sinks.bind(py).set_item(key, entry)?,
                Taking::Delete => self.deletes.bind(py).append(key)?,
            }
        }
        Ok(())
    }

    fn end_as(&self, py: Python<'_>, end: End<'_, '_>) -> PyResult<()> {
        let sinking = self.sinking.bind(py).iter().filter_map(|(key, entry)| {
            Some((key.cast_into::<PyString>().ok()?.unbind(), entry.cast_into::<Entry>().ok()?.unbind()))
        });
        let sinking: Vec<_> = sinking.collect();
        let Flight { keys, window } = self.flight.with(py, std::mem::take);
        let (cache, mut old) = (self.cache.bind(py), Vec::new());
        // A closed cache has let go of its queues.
        cache.get().state.with(py, |state| {
            if let Some(window) = window {
                sink(py, state, self.depth + 1, window, sinking);
            }
            let Some(depth) = state.below.depths.get_mut(self.depth) else { return };
            let queue = &mut depth.queue;
            let failed: &[Name] = if let End::Done(failed) = &end { failed } else { &[] };
            for name in failed {
                if queue.waiting(&name.lookup(NAMESPACE)).is_none() {
                    queue.put(&name.lookup(NAMESPACE), name.text(), Operation::delete(), OVERHEAD);
                }
            }
            for (key, deletes) in &keys {
                let lookup = key::lookup(key);
                if matches!(end, End::Failed) && !deletes && queue.waiting(&lookup).is_none() {
                    queue.put(&lookup, Text(key.0.clone_ref(py)), Operation::delete(), OVERHEAD);
                }
                old.extend(match end {
                    End::Back => queue.put_back(&lookup, overwrites),
                    End::Done(_) | End::Failed => queue.done(&lookup),
                });
            }
        });
        below::release(py, old);
        if keys.is_empty() { Ok(()) } else { told(cache) }
    }
}

/// What waits came after something that may not have been done: so it can't rely on that nothing is there.
fn overwrites(waiting: &mut Operation) {
    if let What::Demote { absent, .. } = &mut waiting.what {
        *absent = false;
    }
}

/// Queues entries that left the tier above since the window was opened, but for those whose keys were changed meanwhile, here
/// or by another process.
fn sink(py: Python<'_>, state: &mut State, depth: usize, window: u64, sinking: Vec<(Py<PyString>, Py<Entry>)>) {
    for (key, entry) in sinking {
        let (key, bytes) = (Text(key), entry.get().payload.as_bytes(py).len() as u64 + OVERHEAD);
        let lookup = key::lookup(&key);
        let stood = state.below.stood(window, lookup.hash);
        let stripe = key.0.to_str(py).map_or_else(|_| Mark::default(), |key| state.below.mark(key)).stripe;
        // What a private tier had says so in its record. A shared one may have refused the entry for its mark.
        let epoch = if entry.get().epoch == 0 { entry.get().mark.load(Relaxed) } else { entry.get().epoch as u32 };
        let mark = Mark { stripe, epoch };
        let stood = stood && state.below.is_current(mark);
        entry.get().mark.store(epoch, Relaxed);
        let Some(depth) = state.below.depths.get_mut(depth).filter(|depth| stood && !depth.fills) else { continue };
        if depth.is_full(bytes) {
            depth.refused += 1;
        } else if depth.queue.get(&lookup).is_none() {
            let operation = Operation { what: What::Sink(entry), mark };
            depth.queue.put(&lookup, key, operation, bytes);
        }
    }
    state.below.close_window(window);
}

#[pymethods]
impl Taken {
    fn __bool__(&self, py: Python<'_>) -> bool {
        self.flight.with(py, |flight| !flight.keys.is_empty())
    }

    /// All of it was done, but for `failed`, of which nobody knows: the tier has to delete them, unless it is told better.
    fn end(&self, py: Python<'_>, failed: Vec<Bound<'_, PyAny>>) -> PyResult<()> {
        let names = failed.iter().map(Name::of).collect::<PyResult<Vec<_>>>()?;
        self.end_as(py, End::Done(&names))
    }

    fn __enter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    /// What wasn't ended waits again after an interrupt; after an error the tier has to delete it.
    fn __exit__(
        &self,
        py: Python<'_>,
        kind: Option<&Bound<'_, PyType>>,
        _error: Option<&Bound<'_, PyAny>>,
        _traceback: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        self.end_as(py, if kind.is_some_and(is_error) { End::Failed } else { End::Back })
    }
}

/// Whether it is an error of what was done: else somebody interrupted it.
fn is_error(kind: &Bound<'_, PyType>) -> bool {
    kind.is_subclass_of::<PyException>().unwrap_or(false)
}

/// Does what a last reference leaves to do, and keeps the exception that may be on its way.
pub fn at_last(body: impl FnOnce(Python<'_>) -> PyResult<()>) {
    // An interpreter that ends needs nothing any more.
    Python::try_attach(|py| {
        let raised = PyErr::take(py);
        if let Err(error) = body(py) {
            error.write_unraisable(py, None);
        }
        if let Some(raised) = raised {
            raised.restore(py);
        }
    });
}

impl Drop for Taken {
    fn drop(&mut self) {
        at_last(|py| self.end_as(py, End::Back));
    }
}

/// A key, or all, under which nothing that tiers have climbs to memory: somebody is deciding, or clearing.
#[pyclass(frozen, module = "forecache._core")]
pub struct Changing {
    cache: Py<Memory>,
    /// The key, `None` for all; taken out when it is over.
    what: Guarded<Option<Option<Text>>>,
}

impl Changing {
    /// Ends it. If it was `interrupted`, a tier may have a value by now of which memory wasn't told.
    fn end(&self, py: Python<'_>, interrupted: bool) -> PyResult<()> {
        let Some(what) = self.what.with(py, Option::take) else { return Ok(()) };
        let (cache, mut gone) = (self.cache.bind(py), Vec::new());
        // What was fetched meanwhile doesn't climb any more either.
        cache.get().state.with(py, |state| match &what {
            Some(key) => {
                let lookup = key::lookup(key);
                if interrupted && state.below.counters.is_some() {
                    state.store.invalidate(&lookup, &mut gone);
                }
                state.strike(lookup.hash);
                state.below.end(lookup.hash);
            }
            None => {
                state.strike_all();
                state.below.held = state.below.held.saturating_sub(1);
            }
        });
        cache.get().let_go(py, gone);
        told(cache)
    }
}

#[pymethods]
impl Changing {
    fn __enter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __exit__(
        &self,
        py: Python<'_>,
        kind: Option<&Bound<'_, PyType>>,
        _error: Option<&Bound<'_, PyAny>>,
        _traceback: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        self.end(py, kind.is_some_and(|kind| !is_error(kind)))
    }
}

impl Drop for Changing {
    fn drop(&mut self) {
        at_last(|py| self.end(py, true));
    }
}

#[pymethods]
impl Memory {
    /// While what is given is held, nothing that tiers have under the key (None: any) climbs to memory. None: somebody else holds the key.
    #[pyo3(signature = (key))]
    fn _begin<'py>(slf: &Bound<'py, Self>, key: Option<&Bound<'py, PyAny>>) -> PyResult<Option<Bound<'py, Changing>>> {
        let py = slf.py();
        let name = key.map(Name::of).transpose()?;
        let changing = Bound::new(py, Changing { cache: slf.clone().unbind(), what: Guarded::new(None) })?;
        let begun = slf.get().change(py, |state, _| match &name {
            Some(name) => state.below.begin(name.lookup(NAMESPACE).hash),
            None => {
                state.below.held += 1;
                true
            }
        })?;
        if begun {
            changing.get().what.with(py, |what| *what = Some(name.as_ref().map(Name::text)));
        }
        Ok(begun.then_some(changing))
    }
}

/// Adds what this file offers.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Reading>()?;
    module.add_class::<Taken>()?;
    module.add_class::<Changing>()
}
