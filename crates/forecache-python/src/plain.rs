//! Which values MessagePack holds as they are, so that the same types come back.

use pyo3::Borrowed;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyDict, PyFloat, PyInt, PyList, PyString};

/// Containers in one another, at most; what is deeper is left to the slow path, which says so.
const DEPTH: usize = 200;

/// Whether `value` is made of nothing but None, bool, int (of 64 bits), float, str, bytes, list, and dict with str as keys: of these
/// very types, not of others derived from them.
#[pyfunction]
pub fn is_plain(value: &Bound<'_, PyAny>) -> bool {
    // A list, not recursion, and the deepest first: a value that contains itself ends at the depth that is allowed.
    let mut waiting = Vec::new();
    if !look(value.as_borrowed(), 0, &mut waiting) {
        return false;
    }
    while let Some((container, depth)) = waiting.pop() {
        let plain = if let Ok(list) = container.cast_exact::<PyList>() {
            list.iter().all(|item| look(item.as_borrowed(), depth + 1, &mut waiting))
        } else if let Ok(dict) = container.cast_exact::<PyDict>() {
            dict.iter()
                .all(|(key, item)| key.is_exact_instance_of::<PyString>() && look(item.as_borrowed(), depth + 1, &mut waiting))
        } else {
            false
        };
        if !plain {
            return false;
        }
    }
    true
}

/// False if `item` isn't plain; a container is only put down, to be looked into later.
fn look<'py>(item: Borrowed<'_, 'py, PyAny>, depth: usize, waiting: &mut Vec<(Bound<'py, PyAny>, usize)>) -> bool {
    if item.is_none()
        || item.is_exact_instance_of::<PyString>()
        || item.is_exact_instance_of::<PyFloat>()
        || item.is_exact_instance_of::<PyBool>()
        || item.is_exact_instance_of::<PyBytes>()
    {
        return true;
    }
    if item.is_exact_instance_of::<PyInt>() {
        return item.extract::<i64>().is_ok() || item.extract::<u64>().is_ok();
    }
    let container = item.is_exact_instance_of::<PyList>() || item.is_exact_instance_of::<PyDict>();
    if container && depth < DEPTH {
        waiting.push((item.to_owned(), depth));
        return true;
    }
    false
}
