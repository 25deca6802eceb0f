//! What a cache has learned, as Python sees it: the model it begins with, what became of it, and how it went.

use crate::errors::config_error;
use crate::learn::Prior;
use crate::memory::Memory;
use forecache_core::learn::train;
use forecache_core::policy::AnyPolicy;
use forecache_core::policy::learned::{Learned, Report, Settings, learned};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::sync::Arc;

/// The policy `learned` with the options of a configuration, beginning with a model, or else with what ships.
pub fn policy(config: &Bound<'_, PyAny>, model: Option<&Prior>) -> PyResult<AnyPolicy> {
    let usual = Settings::default();
    let rate: Option<f32> = config.getattr("learning_rate")?.extract()?;
    let interval: Option<u32> = config.getattr("update_interval")?.extract()?;
    let settings = Settings {
        fades: rate.unwrap_or(usual.fades),
        epochs: (usual.epochs.0, interval.unwrap_or(usual.epochs.1)),
        online: config.getattr("online")?.extract()?,
        ..usual
    };
    let prior = model.map_or_else(Prior::shipped, |model| model.clone());
    Ok(AnyPolicy::Learned(Learned::with(prior.0, settings)))
}

#[pymethods]
impl Memory {
    /// The model that what was learned so far makes.
    fn _learned(&self, py: Python<'_>) -> PyResult<Prior> {
        let seen = self.change(py, |state, _| learned(state.store.policies()))?;
        let (base, evidence) = seen.ok_or_else(|| config_error(py, "policy: this one learns no model".into()))?;
        Ok(Prior(Arc::new(py.detach(|| train::prior(&base, [&evidence])))))
    }

    /// Goes by this model from now on, and forgets what was learned.
    fn _begin_with(&self, py: Python<'_>, model: &Prior) -> PyResult<()> {
        self.change(py, |state, _| state.store.begin_with(&model.0))
    }
}

/// How it went, for `stats()`.
pub fn report<'py>(py: Python<'py>, report: &Report) -> PyResult<Bound<'py, PyDict>> {
    let told = PyDict::new(py);
    let (right, wrong) = (report.verdict.right, report.verdict.wrong);
    told.set_item("judged", report.verdict.judged)?;
    told.set_item("accuracy", (right + wrong > 0.0).then(|| right / (right + wrong)))?;
    let bins: Vec<_> = report.verdict.bins.iter().map(|bin| (bin.weight, bin.predicted, bin.seen)).collect();
    told.set_item("bins", bins)?;
    told.set_item("updates", report.updates)?;
    told.set_item("seconds", report.spent.as_secs_f64())?;
    told.set_item("online", report.online)?;
    Ok(told)
}
