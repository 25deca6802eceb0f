//! How many bytes an object takes: exact for the built-in types, bounded in effort for nested ones.
//!
//! Containers are looked into; of large ones an even sample stands for the rest, and a limit on the number of objects looked
//! at bounds the effort at a few hundred microseconds. What others hold as well costs nothing here: small integers, `None`,
//! types, modules, functions, strings with many references; an object met twice counts once.

use crate::foreign;
use pyo3::exceptions::PyRuntimeError;
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
    let mut walk = Walk { seen: HashSet::new(), left: MOST_OBJECTS };
    Ok(walk.size(object, 0)? as u64)
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

struct Walk {
    seen: HashSet<usize>,
    left: usize,
}

impl Walk {
    fn size(&mut self, object: &Bound<'_, PyAny>, depth: usize) -> PyResult<f64> {
        self.left = self.left.saturating_sub(1);
        // What only its container refers to (and we, now) can't be met again.
        let may_be_shared = references(object) > 2;
        if may_be_shared && (is_common(object) || !self.seen.insert(object.as_ptr() as usize)) {
            return Ok(0.0);
        }
        if let Some(size) = leaf(object.as_borrowed()) {
            return Ok(size as f64);
        }
        let own = shallow(object)? as f64;
        Ok(own + self.children(object, depth)?)
    }

    fn children(&mut self, object: &Bound<'_, PyAny>, depth: usize) -> PyResult<f64> {
        if let Ok(list) = object.cast_exact::<PyList>() {
            self.sample(list.len(), depth, |at| list.get_item(at).map(|item| [Some(item), None]))
        } else if let Ok(tuple) = object.cast_exact::<PyTuple>() {
            self.sample(tuple.len(), depth, |at| tuple.get_item(at).map(|item| [Some(item), None]))
        } else if let Ok(dict) = object.cast_exact::<PyDict>() {
            let mut items = dict.iter();
            self.sample_in_order(dict.len(), depth, move |skip| items.nth(skip).map(|(key, value)| [Some(key), Some(value)]))
        } else if object.is_exact_instance_of::<PySet>() || object.is_exact_instance_of::<PyFrozenSet>() {
            let mut items = object.try_iter()?;
            let length = object.len()?;
            self.sample_in_order(length, depth, move |skip| items.nth(skip)?.ok().map(|item| [Some(item), None]))
        } else {
            let referents = referents(object)?;
            self.sample(referents.len(), depth, |at| referents.get_item(at).map(|item| [Some(item), None]))
        }
    }

    fn sample<'py>(
        &mut self,
        length: usize,
        depth: usize,
        mut item: impl FnMut(usize) -> PyResult<[Option<Bound<'py, PyAny>>; 2]>,
    ) -> PyResult<f64> {
        let mut at = 0;
        self.sample_in_order(length, depth, move |skip| {
            at += skip + 1;
            item(at - 1).ok()
        })
    }

    /// Adds up every `length / samples`-th child and scales. `next(skip)` passes over `skip` children and gives the one after.
    fn sample_in_order<'py>(
        &mut self,
        length: usize,
        depth: usize,
        mut next: impl FnMut(usize) -> Option<[Option<Bound<'py, PyAny>>; 2]>,
    ) -> PyResult<f64> {
        let stride = length.div_ceil(SAMPLES[depth.min(SAMPLES.len() - 1)]).max(1);
        let (mut sum, mut looked_at) = (0.0, 0usize);
        while self.left > 0 {
            let Some(children) = next(if looked_at == 0 { 0 } else { stride - 1 }) else {
                break;
            };
            for child in children.into_iter().flatten() {
                sum += self.size(&child, depth + 1)?;
            }
            looked_at += 1;
        }
        Ok(if looked_at == 0 { 0.0 } else { sum * length as f64 / looked_at as f64 })
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
    let size = foreign::call(getsizeof, (object, 0))?.extract()?;
    Ok(block(size))
}

fn referents<'py>(object: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyList>> {
    static REFERENTS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let referents = REFERENTS.import(object.py(), "gc", "get_referents")?.call1((object,))?;
    referents.cast_into().map_err(|_| PyRuntimeError::new_err("gc.get_referents gave no list"))
}
