//! Calls that may run Python code of the user's, made so that a thread which Python ends inside them parks instead.
//!
//! Before Python 3.14, a daemon thread that asks for the GIL when the interpreter has begun to end is ended itself, by
//! `pthread_exit`. Its unwinding can't pass the frames of Rust: the whole process would abort in place of a clean exit. What
//! stands here lets the unwinding begin (`C-unwind`), and a guard then stops the thread for good, as Python 3.14 does itself and
//! as PyO3 does around `PyGILState_Ensure`. The symbols are those that PyO3 doesn't declare for its own use, since one that is
//! declared as never unwinding anywhere would be taken as such here.

use pyo3::exceptions::PySystemError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyList, PyString, PyTuple};
use pyo3::{IntoPyObject, ffi};
use std::ffi::c_int;
use std::time::Duration;

unsafe extern "C-unwind" {
    fn PyObject_CallObject(callable: *mut ffi::PyObject, arguments: *mut ffi::PyObject) -> *mut ffi::PyObject;
    fn PyObject_RichCompareBool(left: *mut ffi::PyObject, right: *mut ffi::PyObject, operator: c_int) -> c_int;
    fn Py_DecRef(object: *mut ffi::PyObject);
}

struct Park;

impl Drop for Park {
    fn drop(&mut self) {
        loop {
            std::thread::sleep(Duration::from_secs(3600));
        }
    }
}

/// Makes a call whose only unwinding can be that of a thread which is ended.
#[inline]
fn outside<R>(call: impl FnOnce() -> R) -> R {
    let park = Park;
    let result = call();
    std::mem::forget(park);
    result
}

/// `callable(*arguments)`.
pub fn call<'py, A>(callable: &Bound<'py, PyAny>, arguments: A) -> PyResult<Bound<'py, PyAny>>
where
    A: IntoPyObject<'py, Target = PyTuple, Output = Bound<'py, PyTuple>>,
    A::Error: Into<PyErr>,
{
    let py = callable.py();
    let arguments = arguments.into_pyobject(py).map_err(Into::into)?;
    // SAFETY: both are alive and the thread is attached.
    let result = outside(|| unsafe { PyObject_CallObject(callable.as_ptr(), arguments.as_ptr()) });
    // SAFETY: the result is a new reference, or null with an exception set.
    unsafe { Bound::from_owned_ptr_or_err(py, result) }
}

/// Calls a method that can be called again if it was interrupted, and must not be left half done: what it raised is given when it is through.
pub fn surely(object: &Bound<'_, PyAny>, method: &Bound<'_, PyString>) -> PyResult<()> {
    /// Who goes on raising isn't interrupted.
    const TRIES: usize = 8;
    let mut raised = None;
    for _ in 0..TRIES {
        match object.getattr(method).and_then(|method| call(&method, ())) {
            Ok(_) => break,
            Err(error) => raised = raised.or(Some(error)),
        }
    }
    raised.map_or(Ok(()), Err)
}

/// `left is right or left == right`.
pub fn equal(left: &Bound<'_, PyAny>, right: &Bound<'_, PyAny>) -> PyResult<bool> {
    // SAFETY: both are alive and the thread is attached.
    match outside(|| unsafe { PyObject_RichCompareBool(left.as_ptr(), right.as_ptr(), ffi::Py_EQ) }) {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(PyErr::take(left.py()).unwrap_or_else(|| PySystemError::new_err("a comparison failed without an exception"))),
    }
}

/// `list(iterable)`: whatever an iterator of the user's does, it does it here.
pub fn list<'py>(iterable: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyList>> {
    let py = iterable.py();
    Ok(call(py.get_type::<PyList>().as_any(), (iterable,))?.cast_into()?)
}

/// `repr(object)`, or its type's name if that fails.
pub fn repr(object: &Bound<'_, PyAny>) -> String {
    static REPR: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let text = REPR.import(object.py(), "builtins", "repr").and_then(|repr| call(repr, (object,)));
    text.map_or_else(|_| object.get_type().to_string(), |text| text.to_string())
}

/// Gives up a reference, whose object may have a finaliser.
#[inline]
pub fn release(_py: Python<'_>, object: Py<PyAny>) {
    let object = object.into_ptr();
    // SAFETY: the reference was owned and isn't used again; the thread is attached.
    outside(|| unsafe { Py_DecRef(object) });
}
