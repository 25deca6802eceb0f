//! The error table: which of the package's exceptions says what. They are defined in `forecache.errors`.

use crate::foreign;
use pyo3::prelude::*;
use pyo3::types::PyString;

fn error(py: Python<'_>, class: &str, message: String) -> PyErr {
    let made = py.import("forecache.errors").and_then(|errors| errors.getattr(class)?.call1((message,)));
    match made {
        Ok(error) => PyErr::from_value(error),
        Err(error) => error,
    }
}

/// A value of a setting that isn't allowed; the message names field, value and what is allowed.
pub fn config_error(py: Python<'_>, message: String) -> PyErr {
    error(py, "ConfigError", message)
}

/// A trace that can't be used; the message says where and why.
pub fn trace_error(py: Python<'_>, message: String) -> PyErr {
    error(py, "TraceError", message)
}

/// A value without a stored form, or a record without a value.
pub fn codec_error(py: Python<'_>, message: String) -> PyErr {
    error(py, "CodecError", message)
}

/// Other content for an immutable entry.
pub fn immutable(py: Python<'_>, key: &Bound<'_, PyString>) -> PyErr {
    error(py, "ImmutableError", format!("{key:?} is immutable and holds other content; delete it first"))
}

/// A call after `close`.
pub fn closed(py: Python<'_>) -> PyErr {
    error(py, "CacheClosed", "the cache was closed".into())
}

fn parse<'py>(parser: &str, value: &Bound<'py, PyAny>, field: &str) -> PyResult<Bound<'py, PyAny>> {
    foreign::call(&value.py().import("forecache.config")?.getattr(parser)?, (value, field))
}

/// Seconds of what Python takes as a duration.
pub fn parse_duration(value: &Bound<'_, PyAny>, field: &str) -> PyResult<f64> {
    parse("parse_duration", value, field)?.extract()
}

/// Bytes of what Python takes as a size.
pub fn parse_size(value: &Bound<'_, PyAny>, field: &str) -> PyResult<u64> {
    parse("parse_size", value, field)?.extract()
}

/// A whole number above zero.
pub fn parse_count(value: &Bound<'_, PyAny>, field: &str) -> PyResult<usize> {
    parse("parse_count", value, field)?.extract()
}
