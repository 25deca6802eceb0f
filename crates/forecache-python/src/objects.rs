//! Objects as stores keep them, for Python: what each begins with, and the entry of one that was read whole. `tiers/objects/form.py` says
//! what they look like, and writes them.

use crate::envelope::{Entry, readable};
use pyo3::buffer::PyBuffer;
use pyo3::prelude::*;

const MAGIC: &[u8] = b"fco\x01";
/// Bytes before the CRC-32 of what each object begins with, and with it.
const CHECKED: usize = 43;
const SIZE: usize = CHECKED + 4;
const GRAVE: u8 = 0;
/// The kind of an object whose payload isn't compressed.
const PLAIN: u8 = 2;

/// What each object begins with.
#[pyclass(frozen, get_all, module = "forecache._core")]
pub struct Begin {
    /// Bytes of the key.
    key: usize,
    /// Bytes of the facts.
    facts: usize,
    /// When it was stored, by the clock of the cache: milliseconds since 1970.
    stored: u64,
    /// When it was sent, by the clock of the store: milliseconds since 1970.
    sent: u64,
    /// Milliseconds after which a store that hadn't it by then was no longer waited for.
    within: u64,
    /// Bytes of the payload.
    length: u64,
    kind: u8,
}

impl Begin {
    fn read(object: &[u8]) -> Option<Self> {
        let (checked, check) = object.get(..SIZE)?.split_at(CHECKED);
        if !checked.starts_with(MAGIC) || crc32fast::hash(checked).to_le_bytes() != *check {
            return None;
        }
        let mut rest = &checked[MAGIC.len()..];
        let mut number = |size: usize| {
            let (bytes, behind) = rest.split_at(size);
            rest = behind;
            bytes.iter().rev().fold(0, |sum, &byte| sum << 8 | u64::from(byte))
        };
        let (key, facts) = (number(2) as usize, number(4) as usize);
        let (stored, sent, within, length) = (number(8), number(8), number(8), number(8));
        Some(Begin { key, facts, stored, sent, within, length, kind: number(1) as u8 })
    }
}

#[pymethods]
impl Begin {
    /// That of the object that begins with these bytes; None if it is damaged, or not one of ours.
    #[staticmethod]
    fn of(object: PyBuffer<u8>) -> PyResult<Option<Self>> {
        readable(&object).map(Begin::read)
    }

    /// Bytes of the head.
    #[getter]
    fn start(&self) -> usize {
        SIZE + self.key + self.facts
    }

    /// Whether nothing is there: it is a grave, or the store had it, `modified`, after it was given up.
    fn void(&self, modified: i64) -> bool {
        self.kind == GRAVE || i128::from(modified) > i128::from(self.sent) + i128::from(self.within)
    }
}

/// What opening an object comes to.
#[derive(IntoPyObject)]
enum Opened<'py> {
    Entry(Bound<'py, Entry>),
    Told(bool),
    Nothing(Option<bool>),
}

/// The entry of an object that a store had from `modified` on. None: nothing is there. False: it is damaged, or not ours. True: it has more
/// bytes than are opened where one stands, `packed` if they are compressed, `plain` if not.
#[pyfunction]
#[pyo3(signature = (namespace, key, object, modified, packed=usize::MAX, plain=usize::MAX))]
fn open_object<'py>(
    py: Python<'py>,
    namespace: &str,
    key: &str,
    object: PyBuffer<u8>,
    modified: i64,
    packed: usize,
    plain: usize,
) -> PyResult<Opened<'py>> {
    let bytes = readable(&object)?;
    let Some(begin) = Begin::read(bytes) else { return Ok(Opened::Told(false)) };
    if begin.void(modified) {
        return Ok(Opened::Nothing(None));
    }
    if bytes.len() > if begin.kind == PLAIN { plain } else { packed } {
        return Ok(Opened::Told(true));
    }
    match Entry::open(py, namespace, key, bytes.get(begin.start()..).unwrap_or_default()) {
        Ok(entry) => Bound::new(py, entry).map(Opened::Entry),
        Err(_) => Ok(Opened::Told(false)),
    }
}

/// Adds what this file offers.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Begin>()?;
    module.add_function(wrap_pyfunction!(open_object, module)?)
}
