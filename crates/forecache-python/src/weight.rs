//! How many bytes an object takes: exact for the built-in types, bounded in effort for nested ones.
//!
//! Containers are looked into; of large ones an even sample stands for the rest, and a limit on the number of objects looked
//! at bounds the effort: 0.1 ms for three levels of dicts and lists of twelve. What others hold as well costs nothing here: small
//! integers, `None`, types, modules, functions, strings with many references; an object met twice counts once.

use crate::foreign;
use pyo3::exceptions::{PyException, PyRuntimeError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::string::PyStringData;
use pyo3::types::{
    PyBool, PyBytes, PyDict, PyFloat, PyFrozenSet, PyFunction, PyInt, PyList, PyModule, PySet, PyString, PyTuple, PyType,
};
use pyo3::{Borrowed, ffi};
use std::collections::HashSet;

/// Objects looked at, at most.
const MOST_OBJECTS: usize = 4096;
/// Children of a container looked at, at most, by its depth.
const SAMPLES: [usize; 6] = [128, 32, 16, 8, 4, 4];
/// References from which on a string counts as shared.
const COMMON_FROM: isize = 8;
const GC_HEADER: usize = 16;
const POINTER: usize = size_of::<usize>();
const SHARED_INTEGERS: std::ops::RangeInclusive<i64> = -5..=256;

/// Bytes that the allocator takes for an object of `size` bytes: Python's own up to 512, the system's above.
fn block(size: usize) -> usize {
    if size <= 512 { size.next_multiple_of(16) } else { (size + POINTER).next_multiple_of(16) }
}

/// The bytes of `object` and of all that it alone holds.
pub fn deep_size(object: &Bound<'_, PyAny>) -> PyResult<u64> {
    if let Some(size) = leaf(object.as_borrowed()) {
        return Ok(size as u64);
    }
    let first = Waiting { object: object.clone(), depth: 0, factor: 1.0 };
    let mut walk = Walk { waiting: vec![first], seen: HashSet::new(), left: MOST_OBJECTS, bytes: 0.0, objects: 0.0 };
    while let Some(next) = walk.waiting.pop() {
        walk.left -= 1;
        walk.add(next)?;
    }
    Ok(walk.bytes as u64)
}

/// The size of a string whose text in UTF-8 is known.
pub fn string_size(string: &Bound<'_, PyString>, utf8: &str) -> PyResult<usize> {
    if utf8.is_ascii() { Ok(ascii_size(utf8.len())) } else { shallow(string.as_any()) }
}

fn ascii_size(length: usize) -> usize {
    block(size_of::<ffi::PyASCIIObject>() + length + 1)
}

/// The size of an object that holds no others, if it is of a known type.
fn leaf(object: Borrowed<'_, '_, PyAny>) -> Option<usize> {
    let size = if object.is_none() || object.is_exact_instance_of::<PyBool>() {
        0
    } else if let Ok(bytes) = object.cast_exact::<PyBytes>() {
        block(size_of::<ffi::PyBytesObject>() + bytes.as_bytes().len())
    } else if let Ok(string) = object.cast_exact::<PyString>() {
        // SAFETY: a live str's data doesn't change.
        match unsafe { string.data() } {
            Ok(PyStringData::Ucs1(text)) if text.is_ascii() => ascii_size(text.len()),
            _ => return None,
        }
    } else if object.is_exact_instance_of::<PyInt>() {
        match object.extract::<i64>() {
            Ok(number) if SHARED_INTEGERS.contains(&number) => 0,
            Ok(_) => 32,
            Err(_) => return None,
        }
    } else if object.is_exact_instance_of::<PyFloat>() {
        block(size_of::<ffi::PyFloatObject>())
    } else {
        return None;
    };
    Some(size)
}

/// Objects still to be looked at, and what is known so far. A list, not recursion: values may be nested deeper than a stack.
struct Walk<'py> {
    waiting: Vec<Waiting<'py>>,
    seen: HashSet<usize>,
    /// How many more may be looked at; never less than are waiting.
    left: usize,
    bytes: f64,
    objects: f64,
}

struct Waiting<'py> {
    object: Bound<'py, PyAny>,
    depth: usize,
    /// How many objects of its container it stands for.
    factor: f64,
}

impl<'py> Walk<'py> {
    fn add(&mut self, Waiting { object, depth, factor }: Waiting<'py>) -> PyResult<()> {
        self.objects += factor;
        // What only its container refers to (and we, now) can't be met again.
        let may_be_shared = references(&object) > 2;
        if may_be_shared && (is_common(&object) || !self.seen.insert(object.as_ptr() as usize)) {
            return Ok(());
        }
        if let Some(size) = leaf(object.as_borrowed()) {
            self.bytes += factor * size as f64;
            return Ok(());
        }
        self.bytes += factor * shallow(&object)? as f64;
        self.add_children(&object, depth, factor)
    }

    /// Has the children of a container wait, all or an even sample. None is looked at before: that may run code which changes it.
    fn add_children(&mut self, object: &Bound<'py, PyAny>, depth: usize, factor: f64) -> PyResult<()> {
        if let Ok(list) = object.cast_exact::<PyList>() {
            self.sample(list.len(), depth, factor, list.iter());
        } else if let Ok(tuple) = object.cast_exact::<PyTuple>() {
            self.sample(tuple.len(), depth, factor, tuple.iter());
        } else if let Ok(dict) = object.cast_exact::<PyDict>() {
            self.sample(dict.len(), depth, factor, dict.iter().map(|(key, _)| key));
            self.sample(dict.len(), depth, factor, dict.iter().map(|(_, value)| value));
        } else if let Ok(set) = object.cast_exact::<PySet>() {
            self.sample(set.len(), depth, factor, set.iter());
        } else if let Ok(set) = object.cast_exact::<PyFrozenSet>() {
            self.sample(set.len(), depth, factor, set.iter());
        } else {
            let referents = referents(object)?;
            self.sample(referents.len(), depth, factor, referents.iter());
        }
        Ok(())
    }

    fn sample(&mut self, length: usize, depth: usize, factor: f64, children: impl Iterator<Item = Bound<'py, PyAny>>) {
        let most = SAMPLES[depth.min(SAMPLES.len() - 1)].min(self.left - self.waiting.len());
        if most == 0 {
            // No more may be looked at: these are taken for what the others were on average.
            self.bytes += factor * length as f64 * self.bytes / self.objects;
            return;
        }
        let stride = length.div_ceil(most).max(1);
        let factor = factor * length as f64 / length.div_ceil(stride).max(1) as f64;
        self.waiting.extend(children.step_by(stride).map(|object| Waiting { object, depth: depth + 1, factor }));
    }
}

/// Whether the object is of those that a whole program shares. For strings the number of references tells: names of fields,
/// which are literals or interned, have many.
fn is_common(object: &Bound<'_, PyAny>) -> bool {
    object.is_exact_instance_of::<PyString>() && references(object) > COMMON_FROM
        || object.is_instance_of::<PyType>()
        || object.is_exact_instance_of::<PyModule>()
        || object.is_exact_instance_of::<PyFunction>()
}

fn references(object: &Bound<'_, PyAny>) -> isize {
    // SAFETY: the object is alive.
    unsafe { ffi::Py_REFCNT(object.as_ptr()) as isize }
}

/// The object's own bytes, without what it refers to.
fn shallow(object: &Bound<'_, PyAny>) -> PyResult<usize> {
    if let Ok(tuple) = object.cast_exact::<PyTuple>() {
        return Ok(block(GC_HEADER + size_of::<ffi::PyVarObject>() + tuple.len() * POINTER));
    }
    static SIZE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let getsizeof = SIZE.import(object.py(), "sys", "getsizeof")?;
    match foreign::call(getsizeof, (object, 0)) {
        Ok(size) => Ok(block(size.extract()?)),
        // A `__sizeof__` that fails is no reason not to store the object.
        Err(error) if error.is_instance_of::<PyException>(object.py()) => {
            Ok(block(object.get_type().getattr("__basicsize__")?.extract()?))
        }
        Err(error) => Err(error),
    }
}

fn referents<'py>(object: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyList>> {
    static REFERENTS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let referents = REFERENTS.import(object.py(), "gc", "get_referents")?.call1((object,))?;
    referents.cast_into().map_err(|_| PyRuntimeError::new_err("gc.get_referents gave no list"))
}
