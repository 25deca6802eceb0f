//! The store on disk, for Python.

use forecache_core::disk::counters;
use pyo3::prelude::*;
use std::sync::Arc;

/// See [`counters::Counters`].
#[pyclass(frozen, module = "forecache._core")]
pub struct Counters(pub Arc<counters::Counters>);

#[pymethods]
impl Counters {
    #[new]
    #[pyo3(signature = (other=None))]
    fn new(other: Option<&Bound<'_, Counters>>) -> Self {
        Counters(Arc::new(other.map_or_else(counters::Counters::private, |other| other.get().0.fresh())))
    }

    fn stripe(&self, namespace: &str, key: &str) -> u16 {
        self.0.stripe(namespace, key)
    }

    fn epoch(&self, stripe: u16) -> u16 {
        self.0.epoch(stripe)
    }

    fn bump(&self, stripe: u16) {
        self.0.bump(stripe);
    }
}

/// Adds what this file offers.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Counters>()
}
