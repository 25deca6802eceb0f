//! What `stats()` is made of: copied out under the guard, turned into Python objects after it.

use crate::memory::State;
use crate::model;
use forecache_core::groups::Group;
use forecache_core::histogram::Histogram;
use forecache_core::owners::Owner;
use forecache_core::policy::Cause;
use forecache_core::policy::learned;
use forecache_core::shadow::Comparison;
use forecache_core::store::{Budget, Counters};
use pyo3::prelude::*;
use pyo3::types::PyDict;

pub struct Report {
    counters: Counters,
    entries: usize,
    weight: u64,
    budget: Budget,
    bookkeeping: usize,
    policy: &'static str,
    latency: Histogram,
    groups: Vec<Group>,
    owners: Vec<Owner>,
    model: Option<learned::Report>,
    shadow: Option<Comparison>,
}

impl Report {
    pub fn of(state: &State) -> Self {
        let store = &state.store;
        Report {
            counters: store.counters,
            entries: store.len(),
            weight: store.weight(),
            budget: store.budget(),
            bookkeeping: store.allocated(),
            policy: store.policy().name(),
            latency: state.latency.clone(),
            groups: store.groups.iter().filter(|group| group.entries + group.hits + group.misses > 0).cloned().collect(),
            owners: store.owners.iter().filter(|owner| owner.entries > 0).cloned().collect(),
            model: learned::Report::of(store.policies()),
            shadow: store.shadow.as_ref().map(|shadow| shadow.compare()),
        }
    }

    pub fn into_dict(self, py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
        let removed = PyDict::new(py);
        for cause in Cause::ALL {
            removed.set_item(cause.name(), self.counters.removed[cause as usize])?;
        }
        let latency = latency(py, &self.latency)?;
        let groups: Vec<_> = self
            .groups
            .into_iter()
            .map(|group| (group.name.into_string(), group.hits, group.misses, group.entries, group.weight))
            .collect();
        let owners: Vec<_> =
            self.owners.into_iter().map(|owner| (owner.name.into_string(), owner.entries, owner.weight)).collect();
        let shadow = self.shadow.map(|told| (told.reads, told.hits, told.error, told.share, told.entries));
        let report = PyDict::new(py);
        report.set_item("hits", self.counters.hits)?;
        report.set_item("misses", self.counters.misses)?;
        report.set_item("sets", self.counters.sets)?;
        report.set_item("refused", self.counters.refused)?;
        report.set_item("removed", removed)?;
        report.set_item("entries", self.entries)?;
        report.set_item("weight", self.weight)?;
        report.set_item("capacity", self.budget.capacity)?;
        report.set_item("max_entries", self.budget.max_entries)?;
        report.set_item("bookkeeping_bytes", self.bookkeeping)?;
        report.set_item("policy", self.policy)?;
        report.set_item("get_latency", latency)?;
        report.set_item("groups", groups)?;
        report.set_item("owners", owners)?;
        report.set_item("model", self.model.map(|told| model::report(py, &told)).transpose()?)?;
        report.set_item("shadow", shadow)?;
        Ok(report)
    }
}

/// Counts and quantiles in seconds.
pub fn latency<'py>(py: Python<'py>, times: &Histogram) -> PyResult<Bound<'py, PyDict>> {
    let latency = PyDict::new(py);
    latency.set_item("count", times.count())?;
    for (name, share) in [("p50", 0.5), ("p95", 0.95), ("p99", 0.99)] {
        latency.set_item(name, times.quantile(share).map(|nanoseconds| nanoseconds / 1e9))?;
    }
    let buckets: Vec<_> = times.buckets().map(|(end, count)| (end / 1e9, count)).collect();
    latency.set_item("buckets", buckets)?;
    Ok(latency)
}
