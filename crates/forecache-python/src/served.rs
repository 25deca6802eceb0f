//! Values as a server keeps them, for Python: a head that scripts on the server read too, and the record of an entry.
//!
//! The head is the generation of the namespace (12 bytes, the first 4 of which say that the value is ours), the version, and the time
//! from which on the entry isn't there any more (both `u64`, little-endian; milliseconds since 1970).

use crate::envelope::{Entry, LARGE};
use forecache_core::reply::{self, Stop};
use pyo3::buffer::PyBuffer;
use pyo3::exceptions::PyBufferError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyString};

const HEAD: usize = 28;
const OURS: usize = 4;
const GENERATION: usize = 12;

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |sum, &byte| sum << 8 | u64::from(byte))
}

/// Keys of Python's.
type Keys<'py> = Vec<Bound<'py, PyString>>;

/// Those of a list, without the detours that a sequence of any kind takes.
fn listed<'py>(keys: &Bound<'py, PyList>) -> PyResult<Keys<'py>> {
    keys.iter().map(|key| Ok(key.cast_into()?)).collect()
}

/// What is sent to a Redis server to ask for the generation and the values of keys: `MGET` of `base` and `g`, and of `base`, `k:` and each key.
#[pyfunction]
fn ask_served<'py>(py: Python<'py>, base: &[u8], keys: &Bound<'py, PyList>) -> PyResult<Bound<'py, PyBytes>> {
    let mut sent = Vec::with_capacity(64 + keys.len() * (base.len() + 48));
    push_header(&mut sent, b'*', keys.len() + 2);
    sent.extend_from_slice(b"$4\r\nMGET\r\n");
    push_string(&mut sent, &[base, b"g"]);
    for key in keys.iter() {
        push_string(&mut sent, &[base, b"k:", key.cast::<PyString>()?.to_str()?.as_bytes()]);
    }
    Ok(PyBytes::new(py, &sent))
}

/// A string in Redis's protocol, of pieces in a row.
fn push_string(sent: &mut Vec<u8>, pieces: &[&[u8]]) {
    push_header(sent, b'$', pieces.iter().map(|piece| piece.len()).sum());
    pieces.iter().for_each(|piece| sent.extend_from_slice(piece));
    sent.extend_from_slice(b"\r\n");
}

fn push_header(sent: &mut Vec<u8>, kind: u8, mut number: usize) {
    let mut line = [0; 24];
    let mut start = line.len() - 2;
    line[start..].copy_from_slice(b"\r\n");
    loop {
        start -= 1;
        line[start] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    line[start - 1] = kind;
    sent.extend_from_slice(&line[start - 1..]);
}

/// The live entries by their keys, those that nobody reads for a while leave, and the keys whose values are damaged or somebody else's.
#[derive(IntoPyObject)]
struct Served<'py>(Bound<'py, PyDict>, Keys<'py>, Keys<'py>);

impl<'py> Served<'py> {
    fn new(py: Python<'py>) -> Self {
        Served(PyDict::new(py), Vec::new(), Vec::new())
    }

    /// Sees to what a server has under a key. With a `version` that counts, and not the head's.
    fn add(
        &mut self,
        namespace: &str,
        key: Bound<'py, PyString>,
        value: &[u8],
        (generation, now, version): (&[u8], u64, Option<u64>),
    ) -> PyResult<()> {
        let Served(found, idle, damaged) = self;
        if value.len() < HEAD || generation.len() != GENERATION || value[..OURS] != generation[..OURS] {
            damaged.push(key);
        } else if value[..GENERATION] == *generation && now < number(&value[GENERATION + 8..HEAD]) {
            match Entry::open(key.py(), namespace, key.to_str()?, &value[HEAD..]) {
                Ok(mut entry) => {
                    entry.version = version.unwrap_or_else(|| number(&value[GENERATION..GENERATION + 8]));
                    if entry.time_to_idle.is_some() {
                        idle.push(key.clone());
                    }
                    found.set_item(&key, Py::new(key.py(), entry)?)?;
                }
                Err(_) => damaged.push(key),
            }
        }
        Ok(())
    }
}

/// What there is of `values`. What isn't there is None, and what has another generation was cleared. Nothing is told of more bytes than
/// `most`. With `versions` those count, and not the heads'.
#[pyfunction]
#[pyo3(signature = (namespace, keys, values, generation, now, most=usize::MAX, versions=None))]
#[expect(clippy::too_many_arguments, reason = "keyword arguments are the interface")]
fn open_served<'py>(
    py: Python<'py>,
    namespace: &str,
    keys: Keys<'py>,
    values: Vec<Bound<'py, PyAny>>,
    generation: &[u8],
    now: u64,
    most: usize,
    versions: Option<Vec<u64>>,
) -> PyResult<Option<Served<'py>>> {
    let bytes = |value: &Bound<'py, PyAny>| value.cast::<PyBytes>().map_or(0, |value| value.as_bytes().len());
    if values.iter().map(bytes).sum::<usize>() > most {
        return Ok(None);
    }
    let mut served = Served::new(py);
    for (at, (key, value)) in keys.into_iter().zip(values).enumerate() {
        if value.is_none() {
            continue;
        }
        match value.cast::<PyBytes>() {
            Ok(value) => {
                let version = versions.as_ref().and_then(|versions| versions.get(at)).copied();
                served.add(namespace, key, value.as_bytes(), (generation, now, version))?;
            }
            Err(_) => served.2.push(key),
        }
    }
    Ok(Some(served))
}

/// The same of the reply to `ask_served` as it came, of which `buffer` holds `size` bytes: it saves an object and a copy a value. False:
/// there is more to come. None: something is unusual, such as an error or a long value, and the reply is to be read by other means.
///
/// Nobody may write to the buffer meanwhile.
#[pyfunction]
fn open_reply<'py>(
    py: Python<'py>,
    namespace: &str,
    keys: &Bound<'py, PyList>,
    buffer: PyBuffer<u8>,
    size: usize,
    now: u64,
) -> PyResult<Bound<'py, PyAny>> {
    if !buffer.is_c_contiguous() || size == 0 || size > buffer.len_bytes() {
        return Err(PyBufferError::new_err(format!("{size} bytes were asked for of a buffer of {}", buffer.len_bytes())));
    }
    // SAFETY: the buffer is of one piece, has so many bytes, and stays where it is as long as `buffer` holds it. Nobody writes to it, by
    // the caller's word: it is that of a connection which this thread alone has in hand.
    let bytes = unsafe { std::slice::from_raw_parts(buffer.buf_ptr().cast::<u8>(), size) };
    let values = match reply::strings(bytes, keys.len() + 1, LARGE) {
        Ok(values) => values,
        Err(Stop::More) => return Ok(false.into_pyobject(py)?.to_owned().into_any()),
        Err(Stop::Unusual) => return Ok(py.None().into_bound(py)),
    };
    let mut served = Served::new(py);
    if let Some((Some(generation), values)) = values.split_first() {
        for (key, value) in listed(keys)?.into_iter().zip(values) {
            if let Some(value) = value {
                served.add(namespace, key, value, (generation, now, None))?;
            }
        }
    }
    Ok(served.into_pyobject(py)?.into_any())
}

/// Adds what this file offers.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(ask_served, module)?)?;
    module.add_function(wrap_pyfunction!(open_reply, module)?)?;
    module.add_function(wrap_pyfunction!(open_served, module)?)
}
