//! Priors of the policy `learned`, and the evidence they are made of, for `forecache.train` and replays.

use crate::errors::{config_error, trace_error};
use crate::trace::Trace;
use forecache_core::learn::prior;
use forecache_core::learn::train;
use forecache_core::policy::{AnyPolicy, Learned};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use std::sync::Arc;

/// What `learned` knows before it has seen anything.
#[pyclass(frozen, module = "forecache._core")]
pub struct Prior(Arc<prior::Prior>);

#[pymethods]
impl Prior {
    #[staticmethod]
    fn none() -> Self {
        Prior(Arc::new(prior::Prior::none()))
    }

    #[staticmethod]
    fn shipped() -> Self {
        Prior(Arc::new(prior::Prior::shipped()))
    }

    #[staticmethod]
    fn read(py: Python<'_>, file: &[u8]) -> PyResult<Self> {
        let read = prior::Prior::read(file).map_err(|message| config_error(py, format!("prior: the file {message}")))?;
        Ok(Prior(Arc::new(read)))
    }

    fn corrected(&self, evidence: Vec<PyRef<'_, Evidence>>) -> Self {
        Prior(Arc::new(train::prior(&self.0, evidence.iter().map(|evidence| &evidence.0))))
    }

    fn write<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.0.write())
    }
}

impl Prior {
    /// The policy `learned` with this prior.
    pub fn policy(&self) -> AnyPolicy {
        AnyPolicy::Learned(Learned::with_prior(self.0.clone()))
    }

    /// The same, otherwise as the policy in force if that is `learned`.
    pub fn beside(&self, in_force: &AnyPolicy) -> AnyPolicy {
        match in_force {
            AnyPolicy::Learned(learned) => AnyPolicy::Learned(learned.trying(self.0.clone())),
            _ => self.policy(),
        }
    }
}

/// What became of the keys of a trace.
#[pyclass(frozen, module = "forecache._core")]
pub struct Evidence(train::Evidence);

#[pymethods]
impl Evidence {
    #[staticmethod]
    #[pyo3(signature = (trace, entries, *, rows=usize::MAX, weight=train::WEIGHT))]
    fn of(py: Python<'_>, trace: &Bound<'_, Trace>, entries: Vec<usize>, rows: usize, weight: f32) -> PyResult<Self> {
        let trace = trace.get().trace();
        let evidence = py.detach(|| train::Evidence::of(trace, rows, &entries, weight));
        let smallest = train::FEWEST;
        let wrong =
            || trace_error(py, format!("nothing can be learned from a trace whose caches hold fewer than {smallest} entries"));
        evidence.map(Evidence).ok_or_else(wrong)
    }
}

/// Adds what this file offers.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Prior>()?;
    module.add_class::<Evidence>()
}
