//! Values as a server keeps them, for Python: a head that scripts on the server read too, and the record of an entry.
//!
//! The head is the generation of the namespace (12 bytes, the first 4 of which say that the value is ours), the version, and the time
//! from which on the entry isn't there any more (both `u64`, little-endian; milliseconds since 1970).

use crate::envelope::Entry;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyString};
use std::io::Write;

const HEAD: usize = 28;
const OURS: usize = 4;
const GENERATION: usize = 12;

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |sum, &byte| sum << 8 | u64::from(byte))
}

/// Keys of Python's.
type Keys<'py> = Vec<Bound<'py, PyString>>;

/// What is sent to a Redis server to ask for the generation and the values of keys: `MGET` of `base` and `g`, and of `base`, `k:` and each key.
#[pyfunction]
fn ask_served<'py>(py: Python<'py>, base: &[u8], keys: Keys<'py>) -> PyResult<Bound<'py, PyBytes>> {
    let mut sent = Vec::with_capacity(64 + keys.len() * (base.len() + 48));
    write!(sent, "*{}\r\n$4\r\nMGET\r\n${}\r\n", keys.len() + 2, base.len() + 1)?;
    sent.extend_from_slice(base);
    sent.extend_from_slice(b"g\r\n");
    for key in &keys {
        let key = key.to_str()?.as_bytes();
        write!(sent, "${}\r\n", base.len() + 2 + key.len())?;
        for part in [base, b"k:", key, b"\r\n"] {
            sent.extend_from_slice(part);
        }
    }
    Ok(PyBytes::new(py, &sent))
}

/// What `open_served` tells.
type Served<'py> = (Bound<'py, PyDict>, Keys<'py>, Keys<'py>);

/// The live entries of `values` by their keys, those that nobody reads for a while leave, and the keys whose values are damaged or
/// somebody else's. What isn't there is None, and what has another generation was cleared. Nothing is told of more bytes than `most`.
#[pyfunction]
#[pyo3(signature = (namespace, keys, values, generation, now, most=usize::MAX))]
fn open_served<'py>(
    py: Python<'py>,
    namespace: &str,
    keys: Keys<'py>,
    values: Vec<Bound<'py, PyAny>>,
    generation: &[u8],
    now: u64,
    most: usize,
) -> PyResult<Option<Served<'py>>> {
    let bytes = |value: &Bound<'py, PyAny>| value.cast::<PyBytes>().map_or(0, |value| value.as_bytes().len());
    if values.iter().map(bytes).sum::<usize>() > most {
        return Ok(None);
    }
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
    Ok(Some((found, idle, damaged)))
}

/// Adds what this file offers.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(ask_served, module)?)?;
    module.add_function(wrap_pyfunction!(open_served, module)?)
}
