//! The stored form of values, for Python: sealing and opening records. Codecs are Python's.

use crate::errors::{codec_error, config_error};
use forecache_core::compress::{self, Algorithm, Compression};
use forecache_core::envelope::{self, Envelope, Fields, Pieces, Unreadable};
use pyo3::buffer::PyBuffer;
use pyo3::exceptions::{PyBufferError, PyValueError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};
use std::borrow::Cow;
use std::mem::MaybeUninit;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicPtr, AtomicU32};

/// From so many bytes on, other threads run while a value is packed or unpacked.
pub const LARGE: usize = 1 << 14;

/// How payloads are compressed. `None` for `level` is the algorithm's usual one.
#[pyclass(frozen, module = "forecache._core")]
pub struct Packing(pub Compression);

#[pymethods]
impl Packing {
    #[new]
    #[pyo3(signature = (algorithm="none", *, level=None, min_size=1024, min_ratio=1.2))]
    fn new(py: Python<'_>, algorithm: &str, level: Option<i32>, min_size: usize, min_ratio: f64) -> PyResult<Self> {
        let wrong =
            |field: &str, given: String, allowed: String| config_error(py, format!("{field}: got {given}; allowed: {allowed}"));
        let Some(known) = Algorithm::named(algorithm) else {
            let names = Algorithm::ALL.map(Algorithm::name).join(", ");
            return Err(wrong("compression", format!("{algorithm:?}"), names));
        };
        let usual = Compression::new(known);
        let level = match (level, known.levels()) {
            (None, _) => usual.level,
            (Some(level), Some((range, _))) if range.contains(&level) => level,
            (Some(level), Some((range, _))) => {
                return Err(wrong("level", level.to_string(), format!("{} to {} for {algorithm}", range.start(), range.end())));
            }
            (Some(level), None) => return Err(wrong("level", level.to_string(), format!("none, because {algorithm} has none"))),
        };
        if !(min_ratio >= 1.0 && min_ratio.is_finite()) {
            return Err(wrong("min_ratio", min_ratio.to_string(), "a number from 1".into()));
        }
        Ok(Packing(Compression { level, min_size, min_ratio, ..usual }))
    }

    fn __repr__(&self) -> String {
        let Compression { algorithm, level, min_size, min_ratio } = self.0;
        format!("Packing({:?}, level={level}, min_size={min_size}, min_ratio={min_ratio})", algorithm.name())
    }
}

/// A value in the form that tiers exchange: its payload, and what is stored beside it. Times are milliseconds since 1970.
#[pyclass(frozen, module = "forecache._core")]
pub struct Entry {
    /// What a codec made of the value. Nobody copies it.
    #[pyo3(get)]
    pub payload: Py<PyBytes>,
    /// The number of that codec.
    #[pyo3(get)]
    pub codec: u8,
    #[pyo3(get)]
    compression: &'static str,
    /// Bytes of the record that it was read from; 0 if it was never stored.
    #[pyo3(get)]
    stored_bytes: usize,
    #[pyo3(get)]
    pub written: u64,
    #[pyo3(get)]
    pub soft: Option<u64>,
    #[pyo3(get)]
    pub hard: Option<u64>,
    #[pyo3(get)]
    pub time_to_idle: Option<u64>,
    #[pyo3(get)]
    pub version: u64,
    #[pyo3(get)]
    pub owner: String,
    #[pyo3(get)]
    pub generation: u64,
    #[pyo3(get)]
    pub epoch: u64,
    #[pyo3(get)]
    pub tags: Vec<String>,
    #[pyo3(get)]
    pub cost: f32,
    #[pyo3(get)]
    pub immutable: bool,
    #[pyo3(get)]
    pub pinned: bool,
    /// The epoch of the key's stripe when it was queued for a tier that processes share; 0 if that doesn't matter.
    pub mark: AtomicU32,
}

/// The payload of a record that was taken apart, unpacked right to where Python has it, a large one without the GIL; `None` if it can't be.
pub fn payload(py: Python<'_>, record: &Envelope<'_>) -> Option<Py<PyBytes>> {
    filled(py, record.length, |bytes| record.unpack_into(bytes).ok()).ok().map(Bound::unbind)
}

/// Bytes that are filled, large ones without the GIL. Raises `MemoryError` without memory for them, and `ValueError` if `fill` says that it
/// failed; else it has set all of them.
fn filled<'py>(
    py: Python<'py>,
    length: usize,
    fill: impl FnOnce(&mut [MaybeUninit<u8>]) -> Option<()> + Send,
) -> PyResult<Bound<'py, PyBytes>> {
    let size = isize::try_from(length)?;
    // SAFETY: without contents to copy it allocates a bytes object of that size, or gives null and sets an error.
    let made = unsafe { Bound::from_owned_ptr_or_err(py, ffi::PyBytes_FromStringAndSize(std::ptr::null(), size)) };
    let bytes = made?.cast_into::<PyBytes>()?;
    // SAFETY: it is a bytes object.
    let start = AtomicPtr::new(unsafe { ffi::PyBytes_AsString(bytes.as_ptr()) }.cast::<u8>());
    let work = || {
        // SAFETY: the object has `length` bytes from there on, it lives until `bytes` is dropped, and nobody else knows of it yet (the
        // garbage collector doesn't look at bytes).
        fill(unsafe { std::slice::from_raw_parts_mut(start.into_inner().cast(), length) })
    };
    let done = if length < LARGE { work() } else { py.detach(work) };
    done.map(|()| bytes).ok_or_else(|| PyValueError::new_err("damaged"))
}

/// Bytes that are pieces in a row.
fn joined<'py>(py: Python<'py>, pieces: &[&[u8]]) -> PyResult<Bound<'py, PyBytes>> {
    filled(py, pieces.iter().map(|piece| piece.len()).sum(), |mut rest| {
        for piece in pieces {
            let (place, later) = rest.split_at_mut(piece.len());
            compress::fill(place, piece)?;
            rest = later;
        }
        Some(())
    })
}

fn never(time: Option<u64>) -> u64 {
    time.unwrap_or(envelope::NEVER)
}

fn at(time: u64) -> Option<u64> {
    (time != envelope::NEVER).then_some(time)
}

#[pymethods]
impl Entry {
    /// The epoch of the key's stripe when it was queued for a tier that processes share; 0 if that doesn't matter.
    #[getter]
    fn mark(&self) -> u32 {
        self.mark.load(Relaxed)
    }

    #[new]
    #[pyo3(signature = (payload, *, codec=0, written=0, soft=None, hard=None, time_to_idle=None, version=0, owner=String::new(),
        generation=0, epoch=0, tags=vec![], cost=1.0, immutable=false, pinned=false))]
    #[expect(clippy::too_many_arguments, reason = "keyword arguments are the interface")]
    fn new(
        payload: Py<PyBytes>,
        codec: u8,
        written: u64,
        soft: Option<u64>,
        hard: Option<u64>,
        time_to_idle: Option<u64>,
        version: u64,
        owner: String,
        generation: u64,
        epoch: u64,
        tags: Vec<String>,
        cost: f32,
        immutable: bool,
        pinned: bool,
    ) -> Self {
        let (compression, stored_bytes, mark) = (Algorithm::None.name(), 0, AtomicU32::new(0));
        #[rustfmt::skip]
        let entry = Entry {
            payload, codec, compression, stored_bytes, written, soft, hard, time_to_idle, version, owner, generation, epoch, tags, cost,
            immutable, pinned, mark,
        };
        entry
    }

    /// The record of the entry, to be read under the same namespace and key only.
    fn seal<'py>(
        &self,
        py: Python<'py>,
        namespace: &str,
        key: &str,
        packing: &Bound<'py, Packing>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let payload = self.payload.as_bytes(py);
        if payload.len() >= LARGE {
            let Pieces { head, body, check } = self.pieces(py, namespace, key, packing)?;
            return joined(py, &[&head, &body, &check]);
        }
        let binding = envelope::binding(namespace, key);
        let record = envelope::seal(self.codec, &packing.get().0, &self.fields(), payload, binding);
        Ok(PyBytes::new(py, &record.ok_or_else(|| self.too_long(py))?))
    }

    /// The same in pieces, which are no copy of a large payload that isn't compressed.
    fn seal_pieces<'py>(
        &self,
        py: Python<'py>,
        namespace: &str,
        key: &str,
        packing: &Bound<'py, Packing>,
    ) -> PyResult<Vec<Bound<'py, PyBytes>>> {
        if self.payload.as_bytes(py).len() < LARGE {
            return Ok(vec![self.seal(py, namespace, key, packing)?]);
        }
        let Pieces { head, body, check } = self.pieces(py, namespace, key, packing)?;
        let body = match body {
            Cow::Borrowed(_) => self.payload.bind(py).clone(),
            Cow::Owned(packed) => joined(py, &[&packed])?,
        };
        Ok(vec![PyBytes::new(py, &head), body, PyBytes::new(py, &check)])
    }

    /// The same entry under another version, or with another payload.
    #[pyo3(signature = (version, payload=None))]
    fn versioned(&self, py: Python<'_>, version: u64, payload: Option<Py<PyBytes>>) -> Self {
        let payload = payload.unwrap_or_else(|| self.payload.clone_ref(py));
        let (compression, stored_bytes, mark) = (Algorithm::None.name(), 0, AtomicU32::new(0));
        let (owner, tags) = (self.owner.clone(), self.tags.clone());
        Entry { payload, version, compression, stored_bytes, mark, owner, tags, ..*self }
    }

    /// A record taken apart.
    #[staticmethod]
    pub fn open(py: Python<'_>, namespace: &str, key: &str, record: &[u8]) -> PyResult<Self> {
        let unreadable = |why: Unreadable| {
            codec_error(
                py,
                match why {
                    Unreadable::Corrupt => format!("what is stored under {key:?} is damaged, or was stored under another key"),
                    Unreadable::Newer => format!("what is stored under {key:?} was stored by a newer forecache"),
                },
            )
        };
        let binding = envelope::binding(namespace, key);
        let work = || envelope::open(record, binding);
        let opened = if record.len() < LARGE { work() } else { py.detach(work) }.map_err(unreadable)?;
        let payload = payload(py, &opened).ok_or_else(|| unreadable(Unreadable::Corrupt))?;
        Ok(Entry::opened(opened, payload, record.len()))
    }

    fn __repr__(&self, py: Python<'_>) -> String {
        let (length, Entry { codec, version, .. }) = (self.payload.as_bytes(py).len(), self);
        format!("<Entry of {length} bytes, codec {codec}, version {version}>")
    }
}

impl Entry {
    /// The record of a large payload, made without the GIL.
    fn pieces<'a>(&'a self, py: Python<'a>, namespace: &str, key: &str, packing: &Bound<'_, Packing>) -> PyResult<Pieces<'a>> {
        let (packing, binding) = (&packing.get().0, envelope::binding(namespace, key));
        let (payload, fields) = (self.payload.as_bytes(py), self.fields());
        let pieces = py.detach(|| envelope::seal_pieces(self.codec, packing, &fields, payload, binding));
        pieces.ok_or_else(|| self.too_long(py))
    }

    fn too_long(&self, py: Python<'_>) -> PyErr {
        codec_error(py, format!("a value of {} bytes; at most 4 GiB can be stored", self.payload.as_bytes(py).len()))
    }

    /// An entry on its way to a tier: `written`, `hard` and time to idle, owner and tags, cost and whether it is immutable and pinned,
    /// epoch and mark.
    pub fn made(
        payload: Py<PyBytes>,
        codec: u8,
        (written, hard, time_to_idle): (u64, Option<u64>, Option<u64>),
        (owner, tags): (String, Vec<String>),
        (cost, immutable, pinned): (f32, bool, bool),
        (epoch, mark): (u64, u32),
    ) -> Self {
        let (compression, stored_bytes, mark) = (Algorithm::None.name(), 0, AtomicU32::new(mark));
        let (soft, version, generation) = (None, 0, 0);
        #[rustfmt::skip]
        let entry = Entry {
            payload, codec, compression, stored_bytes, written, soft, hard, time_to_idle, version, owner, generation, epoch, tags, cost,
            immutable, pinned, mark,
        };
        entry
    }

    /// What is stored beside the payload.
    pub fn fields(&self) -> Fields<'_> {
        Fields {
            written: self.written,
            soft: never(self.soft),
            hard: never(self.hard),
            time_to_idle: never(self.time_to_idle),
            version: self.version,
            owner: &self.owner,
            generation: self.generation,
            epoch: self.epoch,
            tags: self.tags.iter().map(String::as_str).collect(),
            cost: self.cost,
            immutable: self.immutable,
            pinned: self.pinned,
        }
    }

    /// The entry of a record of `stored_bytes` that was taken apart and whose payload was unpacked.
    pub fn opened(record: Envelope<'_>, payload: Py<PyBytes>, stored_bytes: usize) -> Self {
        let fields = record.fields;
        Entry {
            payload,
            codec: record.codec,
            compression: record.algorithm.name(),
            stored_bytes,
            written: fields.written,
            soft: at(fields.soft),
            hard: at(fields.hard),
            time_to_idle: at(fields.time_to_idle),
            version: fields.version,
            owner: fields.owner.into(),
            generation: fields.generation,
            epoch: fields.epoch,
            tags: fields.tags.into_iter().map(String::from).collect(),
            cost: fields.cost,
            immutable: fields.immutable,
            pinned: fields.pinned,
            mark: AtomicU32::new(0),
        }
    }
}

/// The bytes of a buffer that nobody can write to.
pub fn readable(buffer: &PyBuffer<u8>) -> PyResult<&[u8]> {
    if !buffer.readonly() || !buffer.is_c_contiguous() {
        return Err(PyBufferError::new_err("a record is read from bytes, or another buffer that is read-only and of one piece"));
    }
    if buffer.len_bytes() == 0 {
        return Ok(&[]);
    }
    // SAFETY: the buffer is of one piece and stays where it is as long as `buffer` holds it. Its owner exports it as read-only.
    Ok(unsafe { std::slice::from_raw_parts(buffer.buf_ptr().cast::<u8>(), buffer.len_bytes()) })
}

/// Whether something is a dict of entries.
#[pyfunction]
fn are_entries(answer: &Bound<'_, PyAny>) -> bool {
    answer.cast::<PyDict>().is_ok_and(|entries| entries.iter().all(|(_, entry)| entry.is_exact_instance_of::<Entry>()))
}

/// Adds what this file offers.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Entry>()?;
    module.add_class::<Packing>()?;
    module.add_function(wrap_pyfunction!(are_entries, module)?)
}
