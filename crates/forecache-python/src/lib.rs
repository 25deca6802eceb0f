//! The border between Python and [`forecache_core`]: this list is all that crosses it.

mod below;
mod clock;
mod disk;
mod envelope;
mod errors;
mod explain;
mod express;
mod foreign;
mod fork;
mod guard;
mod key;
mod learn;
mod memory;
mod methods;
mod model;
mod objects;
mod options;
mod plain;
mod recorder;
mod report;
mod served;
mod tiered;
mod trace;
mod weight;
mod zmemory;

use forecache_core::policy::AnyPolicy;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

/// The type of `MISSING`, which tells a miss from a cached None.
#[pyclass(frozen, module = "forecache._core")]
struct Missing;

#[pymethods]
impl Missing {
    fn __bool__(&self) -> bool {
        false
    }

    fn __repr__(&self) -> &'static str {
        "MISSING"
    }

    fn __reduce__(&self) -> &'static str {
        "MISSING"
    }
}

/// `MISSING`.
fn missing(py: Python<'_>) -> Bound<'_, PyAny> {
    static MISSING: PyOnceLock<Py<Missing>> = PyOnceLock::new();
    let made = MISSING.get_or_init(py, || Py::new(py, Missing).expect("an object without content can be made"));
    made.bind(py).clone().into_any()
}

#[pymodule(gil_used = true)]
fn _core(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("DEBUG", cfg!(debug_assertions))?;
    module.add("POLICIES", AnyPolicy::NAMES.to_vec())?;
    module.add("ALIASES", AnyPolicy::ALIASES.to_vec())?;
    module.add("TIMED", below::TIMED)?;
    module.add("MISSING", missing(module.py()))?;
    module.add_class::<Missing>()?;
    module.add_class::<clock::FakeClock>()?;
    module.add_function(wrap_pyfunction!(clock::milliseconds, module)?)?;
    module.add_class::<express::Gate>()?;
    module.add_class::<memory::Memory>()?;
    module.add_function(wrap_pyfunction!(plain::is_plain, module)?)?;
    envelope::register(module)?;
    objects::register(module)?;
    served::register(module)?;
    module.add_class::<zmemory::ZMemory>()?;
    disk::register(module)?;
    tiered::register(module)?;
    module.add_class::<recorder::Recorder>()?;
    learn::register(module)?;
    trace::register(module)
}
