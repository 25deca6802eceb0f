//! Traces and the simulator, for `forecache.replay` and the command line. None of it holds the interpreter while it works.

use crate::errors::{config_error, trace_error};
use crate::foreign;
use crate::learn::Prior;
use forecache_core::accuracy::{self, Accuracy, Eviction};
use forecache_core::belady;
use forecache_core::curve;
use forecache_core::expiry::NEVER;
use forecache_core::policy::AnyPolicy;
use forecache_core::simulate::{self, Limit};
use forecache_core::trace::import::import_blocks;
use forecache_core::trace::secret::Secret;
use forecache_core::trace::{self, ALL_KEYS, Columns, Facts, Format, Key, Operation, Reading, Row, TraceError, convert};
use forecache_core::{bare, lockstep};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

/// An access as Python sees it: nanoseconds, key, bytes, operation, nanoseconds to live, owner, whether its request goes on.
type Access = (u64, String, u64, &'static str, Option<u64>, String, bool);
/// An access as Python gives it, with how many pages it covers.
type Given = (u64, String, u64, String, Option<u64>, String, bool, u64);

/// A recording in memory.
#[pyclass(frozen, module = "forecache._core")]
pub struct Trace(trace::Trace);

#[pymethods]
impl Trace {
    #[staticmethod]
    #[pyo3(signature = (path, columns=None, *, format=None, lenient=false, group_requests=None, memory=None))]
    fn open(
        py: Python<'_>,
        path: PathBuf,
        columns: Option<Bound<'_, PyAny>>,
        format: Option<&str>,
        lenient: bool,
        group_requests: Option<PathBuf>,
        memory: Option<u64>,
    ) -> PyResult<Self> {
        let columns = columns.map(|columns| read_columns(py, &columns)).transpose()?;
        let format = format.map(Format::named).transpose();
        let format = format.map_err(|message| trace_error(py, format!("format: {message}")))?;
        let reading = Reading { format, columns, lenient, group_requests, memory };
        let opened = py.detach(|| trace::Trace::open_as(&path, &reading));
        opened.map(Trace).map_err(|error| trace_error(py, error.to_string()))
    }

    fn __len__(&self) -> usize {
        self.0.len()
    }

    #[getter]
    fn unique(&self) -> usize {
        self.0.unique()
    }

    #[getter]
    fn footprint(&self) -> u64 {
        self.0.footprint
    }

    #[getter]
    fn page_size(&self) -> u32 {
        self.0.facts.page_size
    }

    #[getter]
    fn device_size(&self) -> u64 {
        self.0.facts.device_size
    }

    #[getter]
    fn description(&self) -> &str {
        &self.0.facts.description
    }

    #[getter]
    fn opaque(&self) -> bool {
        self.0.facts.opaque
    }

    #[getter]
    fn hashed(&self) -> bool {
        self.0.facts.hashed
    }

    #[getter]
    fn sampled(&self) -> u32 {
        self.0.facts.sampled
    }

    #[getter]
    fn skipped(&self) -> BTreeMap<&'static str, u64> {
        self.0.skipped.iter().map(|(flaw, &rows)| (flaw.reason(), rows)).collect()
    }

    #[pyo3(signature = (start=0, stop=None))]
    fn costs(&self, start: usize, stop: Option<usize>) -> Vec<f32> {
        self.range(start, stop).map(|row| self.0.costs.at(row)).collect()
    }

    fn check_addresses(&self, py: Python<'_>) -> PyResult<()> {
        self.0.addresses().map(|_| ()).map_err(|error| trace_error(py, error.to_string()))
    }

    #[getter]
    fn expires(&self) -> bool {
        self.0.times_to_live.same() != Some(NEVER)
    }

    #[getter]
    fn accesses(&self) -> usize {
        (0..self.0.len()).filter(|&row| self.0.operations.at(row).counts()).count()
    }

    #[getter]
    fn only_asks(&self) -> bool {
        use Operation::{Delete, Get, Set};
        (0..self.0.len()).all(|row| matches!(self.0.operations.at(row), Get | Set | Delete))
    }

    fn lru_is_exact(&self, by_bytes: bool) -> bool {
        curve::is_exact(&self.0, by_bytes)
    }

    fn in_lockstep(&self, policy: &str, by_bytes: bool) -> bool {
        lockstep::applies(&self.0, policy, by_bytes)
    }

    fn sample(&self, py: Python<'_>, keys: f64) -> Self {
        py.detach(|| Trace(self.0.sample(keys)))
    }

    fn with_times_to_live(&self, py: Python<'_>, factor: Option<f64>) -> Self {
        py.detach(|| Trace(self.0.with_times_to_live(factor)))
    }

    #[pyo3(signature = (start=0, stop=None))]
    fn rows(&self, start: usize, stop: Option<usize>) -> Vec<Access> {
        self.range(start, stop).map(|row| access(self.0.row(row))).collect()
    }
}

impl Trace {
    /// The trace itself.
    pub fn trace(&self) -> &trace::Trace {
        &self.0
    }

    fn range(&self, start: usize, stop: Option<usize>) -> Range<usize> {
        let end = stop.unwrap_or(self.0.len()).min(self.0.len());
        start.min(end)..end
    }
}

fn access(row: Row) -> Access {
    let time_to_live = (row.time_to_live != NEVER).then_some(row.time_to_live);
    let key = row.key.text().into_owned();
    (row.time, key, row.size, row.operation.name(), time_to_live, row.owner.into(), row.continues)
}

/// Reads `"key=id,size=bytes"` or a mapping of the same.
fn read_columns(py: Python<'_>, given: &Bound<'_, PyAny>) -> PyResult<Columns> {
    let wrong = |message: String| trace_error(py, format!("columns: {message}"));
    let Ok(mapping) = given.cast::<PyDict>() else {
        return Columns::parse(&given.extract::<String>()?).map_err(wrong);
    };
    let mut columns = Columns::default();
    for (field, name) in mapping {
        columns.set(&field.extract::<String>()?, &name.extract::<String>()?).map_err(wrong)?;
    }
    Ok(columns)
}

/// What a replay counted.
#[pyclass(frozen, get_all, module = "forecache._core")]
pub struct Tally {
    accesses: u64,
    misses: u64,
    bytes: u64,
    missed_bytes: u64,
    requests: u64,
    whole_requests: u64,
    seconds: f64,
    evictions: u64,
    right_evictions: u64,
}

impl From<simulate::Tally> for Tally {
    fn from(tally: simulate::Tally) -> Self {
        let simulate::Tally { accesses, misses, bytes, missed_bytes, requests, whole_requests, took } = tally;
        let seconds = Duration::as_secs_f64(&took);
        Tally { accesses, misses, bytes, missed_bytes, requests, whole_requests, seconds, evictions: 0, right_evictions: 0 }
    }
}

impl Tally {
    /// The same, and how many of the evictions were right.
    fn judged(tally: simulate::Tally, trace: &trace::Trace, evictions: &[Eviction]) -> Self {
        let Accuracy { judged, right } = accuracy::judge(trace, evictions);
        Tally { evictions: judged, right_evictions: right, ..tally.into() }
    }
}

#[pyfunction(name = "simulate")]
#[pyo3(signature = (trace, policy, *, max_entries=None, capacity=None, seed=0, addresses=false, prior=None, accuracy=false, first=0))]
#[expect(clippy::too_many_arguments, reason = "keyword arguments are the interface")]
fn replay(
    py: Python<'_>,
    trace: &Bound<'_, Trace>,
    policy: &str,
    max_entries: Option<usize>,
    capacity: Option<u64>,
    seed: u64,
    addresses: bool,
    prior: Option<&Bound<'_, Prior>>,
    accuracy: bool,
    first: usize,
) -> PyResult<Tally> {
    if first > 0 && (addresses || accuracy) {
        return Err(config_error(py, "first: expected neither addresses nor accuracy beside it".into()));
    }
    let limit = limit(py, max_entries, capacity)?;
    let made = beginning(py, policy, prior)?;
    let trace = &trace.get().0;
    let tally = py.detach(|| match (addresses, first) {
        _ if accuracy => {
            let watched = simulate::watch(trace, made, limit, seed, addresses)?;
            Ok(Tally::judged(watched.tally, trace, &watched.evictions))
        }
        (true, _) => simulate::simulate_with_addresses(trace, made, limit, seed).map(Tally::from),
        (false, 0) => simulate::simulate(trace, made, limit, seed).map(Tally::from),
        (false, first) => simulate::simulate_from(trace, made, limit, seed, first).map(Tally::from),
    });
    tally.map_err(|error: TraceError| trace_error(py, error.to_string()))
}

/// The policy of that name; if it learns, with that prior.
pub fn beginning(py: Python<'_>, policy: &str, prior: Option<&Bound<'_, Prior>>) -> PyResult<AnyPolicy> {
    Ok(match (named(py, policy)?, prior) {
        (AnyPolicy::Learned(_), Some(prior)) => prior.get().policy(),
        (made, _) => made,
    })
}

fn named(py: Python<'_>, policy: &str) -> PyResult<AnyPolicy> {
    AnyPolicy::named(policy)
        .ok_or_else(|| config_error(py, format!("policy: got {policy:?}; allowed: {}", AnyPolicy::NAMES.join(", "))))
}

#[pyfunction(name = "curve")]
#[pyo3(signature = (trace, policy, sizes, *, by_bytes=false, seed=0))]
fn of_sizes(
    py: Python<'_>,
    trace: &Bound<'_, Trace>,
    policy: &str,
    sizes: Vec<u64>,
    by_bytes: bool,
    seed: u64,
) -> PyResult<Vec<Tally>> {
    named(py, policy)?;
    let (trace, make) = (&trace.get().0, || AnyPolicy::named(policy).expect("it was made before"));
    let limit = |size: u64| if by_bytes { Limit::Bytes(size) } else { Limit::Entries(size as usize) };
    let limits: Vec<Limit> = sizes.into_iter().map(limit).collect();
    let tallies = py.detach(|| {
        if policy == "lru" && curve::is_exact(trace, by_bytes) {
            curve::lru(trace, &limits)
        } else if limits.len() > 1 && limits.iter().all(|limit| limit.amount() > 0) && lockstep::applies(trace, policy, by_bytes)
        {
            lockstep::replay(trace, policy, &limits, seed)
        } else if bare::is_exact(trace, by_bytes) {
            bare::replay(trace, make, &limits, seed)
        } else {
            limits.iter().map(|&limit| simulate::simulate(trace, make(), limit, seed)).collect()
        }
    });
    tallies.map(|tallies| tallies.into_iter().map(Tally::from).collect()).map_err(|error| trace_error(py, error.to_string()))
}

#[pyfunction]
#[pyo3(signature = (trace, sizes, *, by_bytes=false))]
fn recency(py: Python<'_>, trace: &Bound<'_, Trace>, sizes: Vec<u64>, by_bytes: bool) -> PyResult<Vec<Tally>> {
    let trace = &trace.get().0;
    let limit = |size: u64| if by_bytes { Limit::Bytes(size) } else { Limit::Entries(size as usize) };
    let tallies = py.detach(|| curve::lru(trace, &sizes.into_iter().map(limit).collect::<Vec<_>>()));
    tallies.map(|tallies| tallies.into_iter().map(Tally::from).collect()).map_err(|error| trace_error(py, error.to_string()))
}

#[pyfunction(name = "belady")]
#[pyo3(signature = (trace, *, max_entries=None, capacity=None, accuracy=false))]
fn optimum(
    py: Python<'_>,
    trace: &Bound<'_, Trace>,
    max_entries: Option<usize>,
    capacity: Option<u64>,
    accuracy: bool,
) -> PyResult<Tally> {
    let limit = limit(py, max_entries, capacity)?;
    let trace = &trace.get().0;
    let tally = py.detach(|| match limit {
        Limit::Entries(most) if accuracy => {
            let (tally, evictions) = belady::watch(trace, most);
            Ok(Tally::judged(tally, trace, &evictions))
        }
        Limit::Entries(most) => Ok(belady::belady(trace, most).into()),
        // What isn't stored isn't evicted either, so there is nothing to compare.
        Limit::Bytes(capacity) => belady::belady_by_size(trace, capacity).map(Tally::from),
    });
    tally.map_err(|error| trace_error(py, error.to_string()))
}

/// The bound that is given.
fn limit(py: Python<'_>, max_entries: Option<usize>, capacity: Option<u64>) -> PyResult<Limit> {
    match (max_entries, capacity) {
        (Some(most), None) => Ok(Limit::Entries(most)),
        (None, Some(capacity)) => Ok(Limit::Bytes(capacity)),
        _ => Err(config_error(py, "max_entries and capacity: expected exactly one of them".into())),
    }
}

#[pyfunction]
#[pyo3(signature = (path, accesses, *, texts=false, page_size=0, device_size=0, opaque=false, hashed=false, sampled=ALL_KEYS, description=String::new()))]
#[expect(clippy::too_many_arguments, reason = "keyword arguments are the interface")]
fn write_trace(
    py: Python<'_>,
    path: PathBuf,
    accesses: &Bound<'_, PyAny>,
    texts: bool,
    page_size: u32,
    device_size: u64,
    opaque: bool,
    hashed: bool,
    sampled: u32,
    description: String,
) -> PyResult<()> {
    let accesses = foreign::list(accesses)?.iter().map(|access| access.extract()).collect::<PyResult<Vec<Given>>>()?;
    let facts = Facts { page_size, device_size, opaque, hashed, sampled, description };
    let written = py.detach(|| {
        trace::create(&path, &facts, texts, |writer| {
            for (number, given) in accesses.iter().enumerate() {
                let wrong = |message: String| TraceError::whole(&path, format!("record {number}: {message}"));
                let row = row(given).map_err(wrong)?;
                writer.push_pages(&row, given.7).map_err(|error| wrong(error.to_string()))?;
            }
            Ok(())
        })
    });
    written.map_err(|error| trace_error(py, error.to_string()))
}

fn row(given: &Given) -> Result<Row<'_>, String> {
    let (time, key, size, operation, time_to_live, owner, continues, _) = given;
    let known = Operation::ALL.into_iter().find(|known| known.name() == operation);
    let operation = known.ok_or_else(|| format!("operation is {operation:?}; expected get, set, delete, fill or look"))?;
    let (key, time_to_live) = (Key::parse(key), time_to_live.unwrap_or(NEVER));
    Ok(Row { time: *time, key, size: *size, operation, time_to_live, owner, continues: *continues, cost: 1.0 })
}

#[pyfunction(name = "import_blocks")]
#[pyo3(signature = (source, target, *, page_size=4096, device_size=0, description=String::new()))]
fn import_list(
    py: Python<'_>,
    source: PathBuf,
    target: PathBuf,
    page_size: u32,
    device_size: u64,
    description: String,
) -> PyResult<(u64, u64)> {
    let facts = Facts { page_size, device_size, description, ..Facts::default() };
    let imported = py.detach(|| import_blocks(&source, &target, &facts));
    imported.map(|imported| (imported.requests, imported.pages)).map_err(|error| trace_error(py, error.to_string()))
}

#[pyfunction(name = "convert_trace")]
#[pyo3(signature = (trace, path, *, hash_keys=false, secret=None, description=None))]
fn convert_into(
    py: Python<'_>,
    trace: &Bound<'_, Trace>,
    path: PathBuf,
    hash_keys: bool,
    secret: Option<&[u8]>,
    description: Option<&str>,
) -> PyResult<()> {
    let trace = &trace.get().0;
    let secret = hash_keys.then(|| secret.map_or_else(Secret::random, Secret::from_bytes));
    let converted = py.detach(|| convert::convert(trace, &path, secret.as_ref(), description));
    converted.map_err(|error| trace_error(py, error.to_string()))
}

/// Adds what this file offers.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Trace>()?;
    module.add_class::<Tally>()?;
    module.add_function(wrap_pyfunction!(replay, module)?)?;
    module.add_function(wrap_pyfunction!(of_sizes, module)?)?;
    module.add_function(wrap_pyfunction!(recency, module)?)?;
    module.add_function(wrap_pyfunction!(optimum, module)?)?;
    module.add_function(wrap_pyfunction!(write_trace, module)?)?;
    module.add("FORMATS", Format::NAMES.map(|(name, _)| name).to_vec())?;
    module.add_function(wrap_pyfunction!(convert_into, module)?)?;
    module.add_function(wrap_pyfunction!(import_list, module)?)
}
