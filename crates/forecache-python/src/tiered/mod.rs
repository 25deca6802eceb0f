//! What the engine asks of `Memory` for tiers below it: each method is one step under the guard.

mod guards;
mod look;
mod many;
mod put;
mod take;

pub use guards::register;

use crate::below::{self, Depth, What};
use crate::disk;
use crate::memory::{Memory, State};
use forecache_core::histogram::Histogram;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

impl State {
    fn depth(&mut self, depth: usize) -> PyResult<&mut Depth> {
        let depths = &mut self.below.depths;
        let message = "the cache was closed, or never had so many tiers";
        depths.get_mut(depth).ok_or_else(|| pyo3::exceptions::PyIndexError::new_err(message))
    }
}

/// Has the thread that writes behind woken, if anything waits for it, whatever interrupts.
fn wake(cache: &Bound<'_, Memory>) -> PyResult<()> {
    let py = cache.py();
    if cache.get().state.with(py, |state| state.below.wakes()) { told(cache) } else { Ok(()) }
}

/// Tells all who wait that something changed, and the thread that writes behind if anything waits for it.
fn told(cache: &Bound<'_, Memory>) -> PyResult<()> {
    crate::foreign::surely(cache, intern!(cache.py(), "_told"))
}

#[pymethods]
impl Memory {
    /// Makes a queue for each tier: bytes, whether a full one refuses, whether other processes see the tier, whether it gets what
    /// is read below it rather than what leaves the one above, and whether it has counters that processes share.
    fn _attach(&self, py: Python<'_>, tiers: Vec<below::Traits>) -> PyResult<()> {
        self.change(py, |state, _| {
            state.below.depths = tiers.into_iter().map(Depth::new).collect();
            state.store.keeps_rest = state.below.depths.first().is_some_and(|depth| !depth.fills);
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

    /// Keys of memory's entries with any of these tags, but for what other processes have changed.
    fn _carrying(&self, py: Python<'_>, tags: Vec<String>) -> PyResult<Vec<Py<PyString>>> {
        self.change(py, |state, _| {
            let slots: std::collections::BTreeSet<_> = tags.iter().flat_map(|tag| state.store.with_tag(tag)).collect();
            let current = slots.into_iter().filter(|&slot| state.below.is_current(state.below.mark_of(slot)));
            current.map(|slot| below::text(py, state.store.held(slot).0)).collect()
        })
    }

    /// The thread that writes behind is about to sleep, or not; says whether something waits.
    fn _sleeping(&self, py: Python<'_>, sleeps: bool) -> bool {
        self.state.with(py, |state| {
            state.below.awake = !sleeps;
            state.below.is_due()
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

    /// Has the tier below learn of reads in memory that put off the end of what has a time to idle.
    fn _part(&self, py: Python<'_>) -> PyResult<()> {
        self.change(py, |state, gone| state.store.expel_idle(gone))
    }

    /// A hit in a tier took so many nanoseconds.
    fn _took(&self, py: Python<'_>, depth: usize, nanoseconds: u64) {
        self.state.with(py, |state| {
            if let Some(depth) = state.below.depths.get_mut(depth) {
                depth.latency.record(nanoseconds);
            }
        });
    }

    /// How long hits in each tier took.
    fn _latencies<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyDict>>> {
        let times: Vec<Histogram> =
            self.state.with(py, |state| state.below.depths.iter().map(|depth| depth.latency.clone()).collect());
        times.iter().map(|times| crate::report::latency(py, times)).collect()
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
            let fresh = |depth: &mut Depth| Depth {
                index: depth.index.take(),
                ..Depth::new((depth.capacity, depth.refuses, depth.shared, depth.fills, depth.counts))
            };
            let depths: Vec<_> = below.depths.iter_mut().map(fresh).collect();
            let (counters, express) = (below.counters.take(), below.express.take());
            let old = below.empty();
            (below.depths, below.counters, below.express) = (depths, counters, express);
            old
        });
        below::release(py, old);
    }
}
