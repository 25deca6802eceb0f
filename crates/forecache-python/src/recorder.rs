//! Recording a cache, for `Cache.record`.

use crate::errors::{config_error, trace_error};
use crate::memory::{Memory, State};
use forecache_core::record::{self, Held, Recording, Settings};
use pyo3::prelude::*;
use std::path::PathBuf;
use std::time::Duration;

/// A recording under way, or over.
#[pyclass(frozen, module = "forecache._core")]
pub struct Recorder(Recording);

/// Hits, misses, keys, bytes, seconds and why it ended.
type Recorded = (u64, u64, u64, u64, f64, &'static str);

#[pymethods]
impl Recorder {
    /// Whether it still records, in this process.
    #[getter]
    fn active(&self) -> bool {
        self.0.is_active()
    }

    /// Whether it was begun in this process, not in the one that this was forked from.
    #[getter]
    fn own(&self) -> bool {
        self.0.is_of_this_process()
    }

    /// Hits, misses, bytes and seconds so far.
    #[getter]
    fn progress(&self) -> (u64, u64, u64, f64) {
        let (hits, misses, bytes, time) = self.0.progress();
        (hits, misses, bytes, time.as_secs_f64())
    }

    /// Why it failed, if it did.
    #[getter]
    fn error(&self) -> Option<String> {
        self.0.error().map(|error| error.to_string())
    }

    /// Has it end.
    fn stop(&self) {
        self.0.stop();
    }

    /// Waits until it has ended and the file is complete. Not for a child of the process that began it, which would wait for ever.
    fn wait(&self, py: Python<'_>) -> PyResult<Recorded> {
        let recorded = py.detach(|| self.0.wait()).map_err(|error| trace_error(py, error.to_string()))?;
        let record::Recorded { hits, misses, keys, bytes, time, reason } = recorded;
        Ok((hits, misses, keys, bytes, time.as_secs_f64(), reason.name()))
    }

    /// Waits, but no longer than so many seconds, and says whether it has ended.
    fn wait_at_most(&self, py: Python<'_>, seconds: f64) -> bool {
        py.detach(|| self.0.wait_at_most(Duration::from_secs_f64(seconds)))
    }
}

/// Begins to record `memory`.
pub fn begin(py: Python<'_>, memory: &Memory, path: PathBuf, settings: Settings) -> PyResult<Recorder> {
    let recorder = py.detach(|| record::Recorder::prepare(&path, settings));
    let recorder = recorder.map_err(|error| trace_error(py, error.to_string()))?;
    let owners = memory.change(py, |state, gone| {
        if state.recording.as_ref().is_some_and(Recording::is_active) {
            return None;
        }
        state.store.maintain(0, gone);
        let owners: Vec<Box<str>> = state.store.owners.iter().map(|owner| owner.name.clone()).collect();
        let tape = recorder.tape(state.store.now(), owners.clone());
        let held = held(py, state, &tape);
        state.store.tape = Some(Box::new(tape));
        state.recording = Some(recorder.recording());
        Some((held, owners))
    })?;
    let Some((held, owners)) = owners else {
        return Err(config_error(py, "record: the cache is being recorded already; stop that recording first".into()));
    };
    Ok(Recorder(recorder.start(held, owners)))
}

/// What the store holds, in the order in which it is to be stored again.
fn held(py: Python<'_>, state: &State, tape: &record::Tape) -> Vec<Held> {
    let store = &state.store;
    let one = |(slot, hits)| {
        let (key, weight, time_to_live, owner) = store.held(slot);
        // A key that is stored can be encoded: it was before.
        let key = key.0.bind(py).to_str().unwrap_or_default();
        Held { text: tape.text_of(key), hits, ..tape.held(key, Some(slot), weight, time_to_live, owner) }
    };
    store.order().into_iter().map(one).collect()
}
