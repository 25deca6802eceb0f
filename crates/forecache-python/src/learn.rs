//! Priors of the policy `learned`, and the evidence they are made of, for `forecache.train` and replays.

use crate::errors::{config_error, trace_error};
use crate::trace::{Trace, beginning};
use forecache_core::belady;
use forecache_core::learn::census::census;
use forecache_core::learn::features::{CLASSES, LOW, Scale, parts};
use forecache_core::learn::prior;
use forecache_core::learn::train;
use forecache_core::policy::{AnyPolicy, Learned};
use forecache_core::simulate::{self, Limit};
use forecache_core::trace::TraceError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use std::sync::Arc;

/// What `learned` knows before it has seen anything.
#[pyclass(frozen, module = "forecache._core")]
#[derive(Clone)]
pub struct Prior(pub Arc<prior::Prior>);

#[pymethods]
impl Prior {
    #[staticmethod]
    fn none() -> Self {
        Prior(Arc::new(prior::Prior::none()))
    }

    #[staticmethod]
    pub fn shipped() -> Self {
        Prior(Arc::new(prior::Prior::shipped()))
    }

    /// The length of a file, in bytes.
    #[classattr]
    const LENGTH: usize = prior::LENGTH;

    /// `subject` is how an error begins.
    #[staticmethod]
    #[pyo3(signature = (file, subject="prior: the file"))]
    fn read(py: Python<'_>, file: &[u8], subject: &str) -> PyResult<Self> {
        let read = prior::Prior::read(file).map_err(|message| config_error(py, format!("{subject} {message}")))?;
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

/// What a class stands for, and a number for each bucket of age.
type ByClass<T> = Vec<((usize, usize, usize), Vec<T>)>;

/// What `learned` knows after it has gone through a trace.
#[pyclass(frozen, get_all, module = "forecache._core")]
pub struct Lessons {
    ages: Vec<f32>,
    chances: ByClass<f32>,
    worths: ByClass<f32>,
}

#[pymethods]
impl Lessons {
    #[staticmethod]
    #[pyo3(signature = (trace, max_entries, *, prior=None))]
    fn of(py: Python<'_>, trace: &Bound<'_, Trace>, max_entries: usize, prior: Option<&Bound<'_, Prior>>) -> PyResult<Self> {
        let policy = beginning(py, "learned", prior)?;
        let trace = trace.get().trace();
        let watched = py.detach(|| simulate::watch(trace, policy, Limit::Entries(max_entries), 0, false));
        let watched = watched.map_err(|error| trace_error(py, error.to_string()))?;
        let AnyPolicy::Learned(learned) = watched.policy() else { unreachable!("it was made above") };
        let model = learned.model();
        let by_class = |class: usize| model.of(class);
        Ok(Lessons {
            ages: LOW[..=model.scale.ages].into(),
            chances: (0..CLASSES).map(|class| (parts(class), by_class(class).0.into())).collect(),
            worths: (0..CLASSES).map(|class| (parts(class), by_class(class).1.into())).collect(),
        })
    }
}

/// How many evictions of a replay were of each class and age; `policy` may be `belady`.
#[pyfunction]
#[pyo3(signature = (trace, policy, max_entries, *, prior=None))]
fn evicted(
    py: Python<'_>,
    trace: &Bound<'_, Trace>,
    policy: &str,
    max_entries: usize,
    prior: Option<&Bound<'_, Prior>>,
) -> PyResult<ByClass<u32>> {
    let made = (policy != "belady").then(|| beginning(py, policy, prior)).transpose()?;
    let trace = trace.get().trace();
    let scale = Scale::of(max_entries);
    let counts = py.detach(|| {
        let evictions = match made {
            None => belady::watch(trace, max_entries).1,
            Some(policy) => simulate::watch(trace, policy, Limit::Entries(max_entries), 0, false)?.evictions,
        };
        Ok(census(trace, &evictions, &scale))
    });
    let counts = counts.map_err(|error: TraceError| trace_error(py, error.to_string()))?;
    Ok(counts.chunks_exact(scale.ages).enumerate().map(|(class, counts)| (parts(class), counts.into())).collect())
}

/// Adds what this file offers.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Prior>()?;
    module.add_class::<Evidence>()?;
    module.add_class::<Lessons>()?;
    module.add_function(wrap_pyfunction!(evicted, module)?)
}
