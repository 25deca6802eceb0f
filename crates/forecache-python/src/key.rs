//! Keys: Python strings, hashed by Python and compared by identity first.

use forecache_core::index::Hashed;
use forecache_core::store::{Key, Lookup};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyString;
use std::borrow::Cow;

/// A key that a store holds: an exact `str`.
pub struct Text(pub Py<PyString>);

impl Key for Text {
    type Index = Hashed;

    #[inline]
    fn hash(&self) -> u64 {
        hash(self.0.as_ptr())
    }
}

/// A key in a call: borrowed if it is an exact `str`, a copy of its text if it is of a subclass (whose hash and equality may
/// be its own, as those of enumerations are).
pub enum Name<'a, 'py> {
    Borrowed(&'a Bound<'py, PyString>),
    Copied(Bound<'py, PyString>),
}

impl<'a, 'py> Name<'a, 'py> {
    /// `TypeError` for anything but a `str`.
    #[inline]
    pub fn of(key: &'a Bound<'py, PyAny>) -> PyResult<Self> {
        match key.cast_exact::<PyString>() {
            Ok(key) => Ok(Name::Borrowed(key)),
            Err(_) => Name::convert(key),
        }
    }

    #[cold]
    fn convert(key: &'a Bound<'py, PyAny>) -> PyResult<Self> {
        if !key.is_instance_of::<PyString>() {
            let kind = key.get_type();
            return Err(PyTypeError::new_err(format!("key: expected a str, got {}", kind.name()?)));
        }
        // SAFETY: `key` is a str; the call gives a new reference to an exact one, or null with an exception set.
        let copy = unsafe { Bound::from_owned_ptr_or_err(key.py(), ffi::PyUnicode_FromObject(key.as_ptr()))? };
        Ok(Name::Copied(copy.cast_into()?))
    }

    #[inline]
    pub fn string(&self) -> &Bound<'py, PyString> {
        match self {
            Name::Borrowed(key) => key,
            Name::Copied(key) => key,
        }
    }

    /// How the store finds this key in a namespace.
    #[inline]
    pub fn lookup(&self, namespace: u32) -> Lookup<impl Fn(&Text) -> bool> {
        let key = self.string().as_ptr();
        Lookup { namespace, hash: hash(key), equal: move |other: &Text| equal(key, other.0.as_ptr()) }
    }

    pub fn text(&self) -> Text {
        Text(self.string().clone().unbind())
    }

    /// The key's text; `ValueError` for lone surrogates, which no encoding has.
    pub fn utf8(&self) -> PyResult<Cow<'_, str>> {
        let string = self.string();
        string.to_cow().map_err(|_| {
            PyValueError::new_err(format!(
                "key: {:?} has lone surrogates; keys must be encodable as UTF-8",
                string.to_string_lossy()
            ))
        })
    }
}

/// How a store finds the key that another holds.
pub fn lookup(key: &Text) -> Lookup<impl Fn(&Text) -> bool + use<>> {
    let key = key.0.as_ptr();
    Lookup { namespace: crate::memory::NAMESPACE, hash: hash(key), equal: move |other: &Text| equal(key, other.0.as_ptr()) }
}

/// Python's own hash, which every str keeps once it is computed, and which can't be foreseen from outside the process.
#[inline]
fn hash(key: *mut ffi::PyObject) -> u64 {
    // SAFETY: `key` is a live exact str, whose hash can't fail and runs no foreign code.
    (unsafe { ffi::PyObject_Hash(key) }) as u64
}

/// Compares as Python's own dicts do, which is shorter than its general comparison.
#[inline]
fn equal(left: *mut ffi::PyObject, right: *mut ffi::PyObject) -> bool {
    // SAFETY: both are live exact strs in their final form (their hashes are known), whose text doesn't change.
    left == right || unsafe { text(left) == text(right) }
}

/// Bytes a character, of which an exact str has as few as it can, and the bytes.
///
/// # Safety
/// `string` is a live exact str whose hash was taken, and outlives what is returned.
#[inline]
unsafe fn text<'a>(string: *mut ffi::PyObject) -> (u32, &'a [u8]) {
    // SAFETY: by the caller's word.
    unsafe {
        let kind = ffi::PyUnicode_KIND(string);
        let length = ffi::PyUnicode_GET_LENGTH(string) as usize * kind as usize;
        (kind, std::slice::from_raw_parts(ffi::PyUnicode_DATA(string).cast(), length))
    }
}
