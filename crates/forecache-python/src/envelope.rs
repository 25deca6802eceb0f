//! The stored form of values, for Python: sealing and opening records. Codecs are Python's.

use crate::errors::{codec_error, config_error};
use forecache_core::compress::{Algorithm, Compression};
use forecache_core::envelope::{self, Fields, Unreadable};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

/// From so many bytes on, other threads run while a value is packed or unpacked.
const LARGE: usize = 1 << 14;

/// What is stored beside a value, and how it is compressed. Times are milliseconds since 1970.
#[pyclass(frozen, get_all, module = "forecache._core")]
pub struct Envelope {
    codec: u8,
    compression: &'static str,
    payload: Py<PyBytes>,
    stored_bytes: usize,
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
}

/// How payloads are compressed. `None` for `level` is the algorithm's usual one.
#[pyclass(frozen, module = "forecache._core")]
pub struct Packing(Compression);

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

#[pyfunction]
#[pyo3(signature = (namespace, key, payload, *, codec, packing, written=0, soft=None, hard=None, time_to_idle=None, version=0, owner="",
    generation=0, epoch=0, tags=vec![], cost=1.0, immutable=false, pinned=false))]
#[expect(clippy::too_many_arguments, reason = "keyword arguments are the interface")]
fn seal<'py>(
    py: Python<'py>,
    namespace: &str,
    key: &str,
    payload: &[u8],
    codec: u8,
    packing: &Bound<'py, Packing>,
    written: u64,
    soft: Option<u64>,
    hard: Option<u64>,
    time_to_idle: Option<u64>,
    version: u64,
    owner: &str,
    generation: u64,
    epoch: u64,
    tags: Vec<String>,
    cost: f32,
    immutable: bool,
    pinned: bool,
) -> PyResult<Bound<'py, PyBytes>> {
    let never = |time: Option<u64>| time.unwrap_or(envelope::NEVER);
    let fields = Fields {
        written,
        soft: never(soft),
        hard: never(hard),
        time_to_idle: never(time_to_idle),
        version,
        owner,
        generation,
        epoch,
        tags: tags.iter().map(String::as_str).collect(),
        cost,
        immutable,
        pinned,
    };
    let (packing, binding) = (&packing.get().0, envelope::binding(namespace, key));
    let work = || envelope::seal(codec, packing, &fields, payload, binding);
    let record = if payload.len() < LARGE { work() } else { py.detach(work) };
    let record =
        record.ok_or_else(|| codec_error(py, format!("a value of {} bytes; at most 4 GiB can be stored", payload.len())))?;
    Ok(PyBytes::new(py, &record))
}

#[pyfunction]
fn unseal(py: Python<'_>, namespace: &str, key: &str, record: &[u8]) -> PyResult<Envelope> {
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
    let work = || {
        let opened = envelope::open(record, binding)?;
        // What isn't compressed is copied once, into the object that Python gets.
        let unpacked = if opened.algorithm == Algorithm::None { None } else { Some(opened.unpack()?) };
        Ok((opened, unpacked))
    };
    let (opened, unpacked) = if record.len() < LARGE { work() } else { py.detach(work) }.map_err(unreadable)?;
    let at = |time: u64| (time != envelope::NEVER).then_some(time);
    let fields = opened.fields;
    Ok(Envelope {
        codec: opened.codec,
        compression: opened.algorithm.name(),
        payload: PyBytes::new(py, unpacked.as_deref().unwrap_or(opened.packed)).unbind(),
        stored_bytes: record.len(),
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
    })
}

/// Adds what this file offers.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Envelope>()?;
    module.add_class::<Packing>()?;
    module.add_function(wrap_pyfunction!(seal, module)?)?;
    module.add_function(wrap_pyfunction!(unseal, module)?)
}
