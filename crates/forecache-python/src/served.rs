//! Values as a server keeps them, for Python: a head that scripts on the server read too, and the record of an entry.
//!
//! The head is the generation of the namespace (12 bytes, the first 4 of which say that the value is ours), the version, and the time
//! from which on the entry isn't there any more (both `u64`, little-endian; milliseconds since 1970).

use crate::envelope::Entry;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyString};

const HEAD: usize = 28;
const OURS: usize = 4;
const GENERATION: usize = 12;

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |sum, &byte| sum << 8 | u64::from(byte))
}

/// Keys of Python's.
type Keys<'py> = Vec<Bound<'py, PyString>>;

/// The live entries of `values` by their keys, those that nobody reads for a while leave, and the keys whose values are damaged or
/// somebody else's. What isn't there is None, and what has another generation was cleared.
#[pyfunction]
fn open_served<'py>(
    py: Python<'py>,
    namespace: &str,
    keys: Keys<'py>,
    values: Vec<Bound<'py, PyAny>>,
    generation: &[u8],
    now: u64,
) -> PyResult<(Bound<'py, PyDict>, Keys<'py>, Keys<'py>)> {
    let (found, mut idle, mut damaged) = (PyDict::new(py), Vec::new(), Vec::new());
    for (key, value) in keys.into_iter().zip(values) {
        if value.is_none() {
            continue;
        }
        let Ok(value) = value.cast::<PyBytes>() else {
            damaged.push(key);
            continue;
        };
        let value = value.as_bytes();
        if value.len() < HEAD || generation.len() != GENERATION || value[..OURS] != generation[..OURS] {
            damaged.push(key);
        } else if value[..GENERATION] == *generation && now < number(&value[GENERATION + 8..HEAD]) {
            match Entry::open(py, namespace, key.to_str()?, &value[HEAD..]) {
                Ok(mut entry) => {
                    entry.version = number(&value[GENERATION..GENERATION + 8]);
                    if entry.time_to_idle.is_some() {
                        idle.push(key.clone());
                    }
                    found.set_item(key, Py::new(py, entry)?)?;
                }
                Err(_) => damaged.push(key),
            }
        }
    }
    Ok((found, idle, damaged))
}

/// Adds what this file offers.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(open_served, module)?)
}
