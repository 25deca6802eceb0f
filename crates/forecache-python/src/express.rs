//! The short way to a disk right below memory: what the flow of a read does, in one call, where nothing has to be waited for.
//!
//! It takes what is usual: a short value, nothing of the key on its way down, a tier that is well. Whatever else there is
//! is left to the flow, which begins as if nothing had been tried.

use crate::below::TIMED;
use crate::disk::{Disk, Got};
use crate::foreign;
use crate::key::Name;
use crate::memory::{Memory, NAMESPACE};
use forecache_core::expiry::wall_time;
use pyo3::exceptions::PyException;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Instant;

/// Whether the short way may be taken. Who knows how a tier is says so.
#[pyclass(frozen, module = "forecache._core")]
pub struct Gate(AtomicBool);

#[pymethods]
impl Gate {
    #[new]
    fn new() -> Self {
        Gate(AtomicBool::new(true))
    }

    /// Opens or closes it.
    fn set(&self, open: bool) {
        self.0.store(open, Relaxed);
    }
}

/// The codec of payloads that are the value itself, as `forecache.codec` has it.
pub const RAW: u8 = 0;

/// See the head of this file.
pub struct Express {
    disk: Py<Disk>,
    gate: Py<Gate>,
    /// `decode(key, entry)`, for what isn't bytes as they are.
    decode: Py<PyAny>,
    /// `wake()`, for the thread that writes behind.
    wake: Py<PyAny>,
}

/// What the short way came to.
pub enum Answer<'py> {
    /// It can't be taken.
    Unknown,
    /// No tier has it.
    Nothing,
    Value(Bound<'py, PyAny>),
}

impl Express {
    fn is_open(&self) -> bool {
        self.gate.get().0.load(Relaxed)
    }

    /// Whether the disk has the key by now. Looks into its index only, and runs no Python.
    pub fn has(&self, py: Python<'_>, key: &str) -> bool {
        self.is_open() && self.disk.get().has(py, key, wall_time())
    }

    /// The key may be read soon. Runs no Python.
    pub fn prefetch(&self, py: Python<'_>, key: &str) {
        self.disk.get().prefetch(py, key);
    }

    /// What the garbage collector has to know of.
    pub fn visit(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.decode)?;
        visit.call(&self.wake)
    }
}

#[pymethods]
impl Memory {
    /// Has reads take the short way to the only tier below, while its gate is open.
    fn _hasten(&self, py: Python<'_>, disk: Py<Disk>, gate: Py<Gate>, decode: Py<PyAny>, wake: Py<PyAny>) {
        let express = Arc::new(Express { disk, gate, decode, wake });
        let old = self.state.with(py, |state| state.below.express.replace(express));
        drop(old);
    }

    /// What the short way gives: the value, MISSING if there is none, or NotImplemented if it can't tell.
    fn _express<'py>(&self, py: Python<'py>, key: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        Ok(match self.express(py, &Name::of(key)?)? {
            Answer::Unknown => py.NotImplemented().into_bound(py),
            Answer::Nothing => crate::missing(py),
            Answer::Value(value) => value,
        })
    }
}

impl Memory {
    /// Reads what memory doesn't have, and puts it there.
    pub fn express<'py>(&self, py: Python<'py>, name: &Name<'_, 'py>) -> PyResult<Answer<'py>> {
        let Ok(utf8) = name.utf8() else { return Ok(Answer::Nothing) };
        let lookup = name.lookup(NAMESPACE);
        // The mark is taken before the disk is read: what others change from then on makes it a mark of the past.
        let begun = self.state.with(py, |state| {
            let express = state.below.express.clone().filter(|express| express.is_open())?;
            let idle =
                state.below.counters.is_some() && state.below.depths.iter().all(|depth| depth.queue.get(&lookup).is_none());
            if !idle {
                return None;
            }
            let mark = state.below.mark(&utf8);
            Some((express, state.announce(lookup.hash, mark)))
        });
        let Some((express, ticket)) = begun else { return Ok(Answer::Unknown) };
        let began = (ticket % TIMED == 0).then(Instant::now);
        let answer = self.fetch(py, name, &utf8, &express, ticket);
        self.state.with(py, |state| {
            state.redeem(lookup.hash, ticket);
            if let (Some(began), Ok(Answer::Value(_)), Some(depth)) = (began, &answer, state.below.depths.first_mut()) {
                depth.latency.record(began.elapsed().as_nanos() as u64);
            }
        });
        answer
    }

    fn fetch<'py>(
        &self,
        py: Python<'py>,
        name: &Name<'_, 'py>,
        utf8: &str,
        express: &Express,
        ticket: u64,
    ) -> PyResult<Answer<'py>> {
        let now = wall_time();
        let entry = match express.disk.get().short(py, utf8, now) {
            Ok(Got::Entry(entry)) => entry,
            Ok(Got::Miss) => return Ok(Answer::Nothing),
            Ok(Got::Longer(_)) | Err(_) => return Ok(Answer::Unknown),
        };
        let (value, wakes);
        if entry.codec == RAW {
            value = entry.payload.clone_ref(py).into_bound(py).into_any();
            wakes = self.climb(name.string(), &value, ticket, &entry, now, None)?;
        } else {
            let entry = Bound::new(py, entry)?;
            let decoded = match foreign::call(express.decode.bind(py), (name.string(), &entry)) {
                Ok(decoded) => decoded,
                // What can't be read is the flow's affair; an interrupt is the caller's.
                Err(error) if error.is_instance_of::<PyException>(py) => return Ok(Answer::Unknown),
                Err(error) => return Err(error),
            };
            value = decoded;
            wakes = self.climb(name.string(), &value, ticket, entry.get(), now, None)?;
        }
        if wakes {
            foreign::call(express.wake.bind(py), ())?;
        }
        Ok(Answer::Value(value))
    }
}
