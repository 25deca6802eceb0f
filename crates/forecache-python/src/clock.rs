//! A clock for tests.

use forecache_core::expiry::Clock;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

const NANOSECONDS: f64 = 1e9;

/// A clock that stands until it is moved: `Cache(clock=FakeClock())`.
#[pyclass(frozen, module = "forecache.testing")]
pub struct FakeClock(Arc<AtomicU64>);

impl FakeClock {
    pub fn clock(&self) -> Clock {
        Clock::Manual(self.0.clone())
    }
}

#[pymethods]
impl FakeClock {
    #[new]
    fn new() -> Self {
        FakeClock(Arc::default())
    }

    /// Moves on; ValueError for a negative number.
    fn advance(&self, seconds: f64) -> PyResult<()> {
        if !(seconds >= 0.0 && seconds.is_finite()) {
            return Err(PyValueError::new_err(format!("seconds: expected a finite number >= 0, got {seconds}")));
        }
        let time = self.0.load(Ordering::Relaxed).saturating_add((seconds * NANOSECONDS) as u64);
        self.0.store(time, Ordering::Relaxed);
        Ok(())
    }

    /// Seconds since the clock was made.
    fn time(&self) -> f64 {
        self.0.load(Ordering::Relaxed) as f64 / NANOSECONDS
    }
}

/// Milliseconds since 1970, by the system's clock.
#[pyfunction]
pub fn milliseconds() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}
