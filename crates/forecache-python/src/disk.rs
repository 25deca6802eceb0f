//! The store on disk, for Python.
//!
//! Nothing here waits for a lock while it holds the GIL: what changes something tries the lock, and waits for it, if it is to wait, with
//! the GIL let go. Short reads hold the GIL, which takes less time than to let it go; long ones don't.

use crate::envelope::{self, Entry, LARGE, Packing};
use crate::errors::{closed, config_error};
use crate::fork;
use crate::guard::Guarded;
use forecache_core::disk::{self, Error, Item, Read, counters};
use forecache_core::envelope::Fields;
use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};
use std::cell::{Cell, RefCell};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// See [`counters::Counters`].
#[pyclass(frozen, module = "forecache._core")]
pub struct Counters(pub Arc<counters::Counters>);

#[pymethods]
impl Counters {
    #[new]
    #[pyo3(signature = (other=None))]
    fn new(other: Option<&Bound<'_, Counters>>) -> Self {
        Counters(Arc::new(other.map_or_else(counters::Counters::private, |other| other.get().0.fresh())))
    }

    fn __eq__(&self, other: &Counters) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    fn stripe(&self, namespace: &str, key: &str) -> u16 {
        self.0.stripe(namespace, key)
    }

    fn epoch(&self, stripe: u16) -> u32 {
        self.0.epoch(stripe)
    }

    fn bump(&self, stripe: u16) {
        self.0.bump(stripe);
    }
}

/// See [`disk::Disk`].
#[pyclass(frozen, module = "forecache._core")]
pub struct Disk {
    /// `None` once it is closed.
    open: Guarded<Option<Opened>>,
}

struct Opened {
    disk: Arc<disk::Disk>,
    process: u32,
}

fn failed(py: Python<'_>, error: Error) -> PyErr {
    let message = error.to_string();
    match error {
        // Python adds number and path itself.
        Error::Io { doing, path, source } => match source.raw_os_error() {
            Some(number) => {
                let why = source.to_string();
                let why = why.strip_suffix(&format!(" (os error {number})")).unwrap_or(&why);
                PyOSError::new_err((number, format!("{doing}: {why}"), path.into_os_string()))
            }
            None => PyOSError::new_err(message),
        },
        Error::Capacity(_) | Error::Policy(_) => config_error(py, message),
        Error::Large(..) => PyValueError::new_err(message),
        Error::None(_)
        | Error::Gone(_)
        | Error::ReadOnly { .. }
        | Error::Foreign { .. }
        | Error::Newer { .. }
        | Error::Remote { .. }
        | Error::Namespaces(_) => PyOSError::new_err(message),
    }
}

thread_local! {
    /// Where short records are read to.
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    /// Whether this thread is one that nobody waits for.
    static PATIENT: Cell<bool> = const { Cell::new(false) };
}

/// Has this thread let go of the GIL for any work on a disk that changes something, however short: nobody waits for what it does, and
/// many may wait for the GIL.
#[pyfunction]
fn be_patient() {
    PATIENT.set(true);
}

/// An entry that is borrowed from Python while it is written.
struct Borrowed {
    key: Py<PyString>,
    entry: Py<Entry>,
}

impl Disk {
    /// The entry of a key, if its record is short. Times are milliseconds since 1970.
    pub fn short(&self, py: Python<'_>, key: &str, now: u64) -> PyResult<Got> {
        BUFFER.with_borrow_mut(|buffer| {
            let read = self.open.with(py, |open| match open {
                Some(opened) if opened.process == fork::process() => Some(opened.disk.read(key, now, LARGE, buffer)),
                _ => None,
            });
            // In the child of a fork, or closed: the long way tells.
            read.map_or(Ok(Got::Longer(usize::MAX)), |read| got(py, read))
        })
    }

    /// Whether there is an entry, as far as the index tells. Runs no Python and keeps the GIL: in the child of a fork it knows of
    /// none until something else has opened the directory anew.
    pub fn has(&self, py: Python<'_>, key: &str, now: u64) -> bool {
        self.here(py, |disk| disk.has(key, now).unwrap_or(false))
    }

    /// Whether there is an immutable entry, with the same words as [`Disk::has`].
    pub fn is_immutable(&self, py: Python<'_>, key: &str, now: u64) -> bool {
        self.here(py, |disk| disk.is_immutable(key, now).unwrap_or(false))
    }

    /// See [`disk::Disk::prefetch`].
    pub fn prefetch(&self, py: Python<'_>, key: &str) {
        self.here(py, |disk| disk.prefetch(key));
    }

    /// What a disk that this process has opened tells; else the usual.
    fn here<T: Default>(&self, py: Python<'_>, tell: impl FnOnce(&disk::Disk) -> T) -> T {
        self.open.with(py, |open| {
            let opened = open.as_ref().filter(|opened| opened.process == fork::process());
            opened.map_or_else(T::default, |opened| tell(&opened.disk))
        })
    }

    fn disk(&self, py: Python<'_>) -> PyResult<Arc<disk::Disk>> {
        let (disk, process) = self
            .open
            .with(py, |open| open.as_ref().map(|opened| (opened.disk.clone(), opened.process)))
            .ok_or_else(|| closed(py))?;
        if process == fork::process() { Ok(disk) } else { self.reopen(py, disk) }
    }

    /// In the child of a fork. The parent's object stays in memory: what it holds may be in any state.
    fn reopen(&self, py: Python<'_>, parent: Arc<disk::Disk>) -> PyResult<Arc<disk::Disk>> {
        let opened = py.detach(|| parent.forked());
        std::mem::forget(parent);
        let disk = Arc::new(opened.map_err(|error| failed(py, error))?);
        let now = Opened { disk: disk.clone(), process: fork::process() };
        std::mem::forget(self.open.with(py, |open| open.replace(now)));
        Ok(disk)
    }

    /// Does it at once if the lock is free; else waits with the GIL let go, if it is to wait. Work on more than some keys and bytes is done
    /// without the GIL anyway.
    fn attempt<T: Send>(
        &self,
        py: Python<'_>,
        wait: bool,
        (keys, bytes): (usize, usize),
        work: impl Fn(&disk::Disk, bool) -> disk::Result<Option<T>> + Sync + Send,
    ) -> PyResult<Option<T>> {
        if keys <= disk::BATCH && bytes <= LARGE && !PATIENT.get() {
            match work(&*self.disk(py)?, false) {
                // Opening it anew takes long.
                Ok(None) | Err(Error::Gone(_)) if wait => {}
                Err(Error::Gone(_)) => return Ok(None),
                done => return done.map_err(|error| failed(py, error)),
            }
        }
        self.alone(py, |disk| work(disk, wait))
    }

    /// Does it without the GIL. A directory that was removed is made and opened anew.
    fn alone<T: Send>(&self, py: Python<'_>, work: impl Fn(&disk::Disk) -> disk::Result<T> + Sync + Send) -> PyResult<T> {
        let disk = self.disk(py)?;
        let done = match py.detach(|| work(&disk)) {
            Err(Error::Gone(_)) => {
                let again = self.replaced(py, &disk)?;
                py.detach(|| work(&again))
            }
            done => done,
        };
        done.map_err(|error| failed(py, error))
    }

    /// What another thread has opened in place of `gone`, or does so.
    fn replaced(&self, py: Python<'_>, gone: &Arc<disk::Disk>) -> PyResult<Arc<disk::Disk>> {
        let current = self.disk(py)?;
        if !Arc::ptr_eq(&current, gone) {
            return Ok(current);
        }
        let again = Arc::new(py.detach(|| gone.again()).map_err(|error| failed(py, error))?);
        let now = Opened { disk: again.clone(), process: std::process::id() };
        // It may have been closed meanwhile.
        let old = self.open.with(py, |open| if open.is_some() { open.replace(now) } else { Some(now) });
        py.detach(|| drop(old));
        Ok(again)
    }
}

fn items<'a>(py: Python<'a>, borrowed: &'a [Borrowed]) -> PyResult<Vec<Item<'a>>> {
    borrowed.iter().map(|Borrowed { key, entry }| Ok(item(py, key.to_str(py)?, entry.get()))).collect()
}

fn item<'a>(py: Python<'a>, key: &'a str, entry: &'a Entry) -> Item<'a> {
    let fields: Fields<'a> = entry.fields();
    Item { key, codec: entry.codec, fields, payload: entry.payload.as_bytes(py), mark: entry.mark.load(Relaxed) }
}

#[pymethods]
impl Disk {
    #[new]
    #[pyo3(signature = (path, *, namespace="", capacity=1 << 30, policy="adaptive", admission="doorkeeper", packing=None, seed=None,
        or_read=false))]
    #[expect(clippy::too_many_arguments, reason = "keyword arguments are the interface")]
    fn new(
        py: Python<'_>,
        path: PathBuf,
        namespace: &str,
        capacity: u64,
        policy: &str,
        admission: &str,
        packing: Option<&Bound<'_, Packing>>,
        seed: Option<u64>,
        or_read: bool,
    ) -> PyResult<Self> {
        let admission = match admission {
            "doorkeeper" => true,
            "all" => false,
            other => return Err(config_error(py, format!("admission: got {other:?}; allowed: doorkeeper, all"))),
        };
        let compression = packing.map(|packing| packing.get().0).unwrap_or_default();
        let (namespace, policy) = (namespace.into(), policy.into());
        let options = disk::Options { namespace, capacity, policy, admission, compression, seed, or_read };
        let disk = py.detach(|| disk::Disk::open(path, options)).map_err(|error| failed(py, error))?;
        let opened = Opened { disk: Arc::new(disk), process: fork::process() };
        Ok(Disk { open: Guarded::new(Some(opened)) })
    }

    #[pyo3(signature = (key, now, most=None))]
    fn get(&self, py: Python<'_>, key: &Bound<'_, PyString>, now: u64, most: Option<usize>) -> PyResult<Option<Py<PyAny>>> {
        let disk = self.disk(py)?;
        match read(py, &disk, key.to_str()?, now, most)? {
            Got::Miss => Ok(None),
            Got::Longer(length) => Ok(Some(length.into_pyobject(py)?.into_any().unbind())),
            Got::Entry(entry) => Ok(Some(Py::new(py, entry)?.into_any())),
        }
    }

    #[pyo3(signature = (keys, now, most=None))]
    fn get_many<'py>(
        &self,
        py: Python<'py>,
        keys: Vec<Bound<'py, PyString>>,
        now: u64,
        most: Option<usize>,
    ) -> PyResult<(Bound<'py, PyDict>, Vec<Bound<'py, PyString>>)> {
        let disk = self.disk(py)?;
        let (found, mut longer) = (PyDict::new(py), Vec::new());
        for key in keys {
            match read(py, &disk, key.to_str()?, now, most)? {
                Got::Miss => {}
                Got::Longer(_) => longer.push(key),
                Got::Entry(entry) => found.set_item(key, Py::new(py, entry)?)?,
            }
        }
        Ok((found, longer))
    }

    #[pyo3(signature = (entries, now, *, absent=false, wait=true))]
    fn set_many(
        &self,
        py: Python<'_>,
        entries: &Bound<'_, PyDict>,
        now: u64,
        absent: bool,
        wait: bool,
    ) -> PyResult<Option<Vec<Py<PyString>>>> {
        let borrowed = entries.iter().map(|(key, entry)| {
            let (key, entry) = (key.cast_into::<PyString>()?.unbind(), entry.cast_into::<Entry>()?.unbind());
            Ok(Borrowed { key, entry })
        });
        let borrowed = borrowed.collect::<PyResult<Vec<_>>>()?;
        let items = items(py, &borrowed)?;
        let bytes = items.iter().map(|item| item.payload.len()).sum();
        let refused = self.attempt(py, wait, (items.len(), bytes), |disk, wait| disk.set_many(&items, now, absent, wait))?;
        Ok(refused.map(|refused| refused.into_iter().map(|number| borrowed[number].key.clone_ref(py)).collect()))
    }

    #[pyo3(signature = (keys, now, *, wait=true))]
    fn delete_many(&self, py: Python<'_>, keys: Vec<String>, now: u64, wait: bool) -> PyResult<Option<Vec<String>>> {
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        let there = self.attempt(py, wait, (keys.len(), 0), |disk, wait| disk.delete_many(&keys, now, wait))?;
        Ok(there.map(|there| there.into_iter().map(String::from).collect()))
    }

    #[pyo3(signature = (key, version, entry, now, *, wait=true))]
    fn swap(
        &self,
        py: Python<'_>,
        key: &str,
        version: Option<u64>,
        entry: Option<&Bound<'_, Entry>>,
        now: u64,
        wait: bool,
    ) -> PyResult<Option<bool>> {
        let item = entry.map(|entry| item(py, key, entry.get()));
        let bytes = item.as_ref().map_or(0, |item| item.payload.len());
        self.attempt(py, wait, (1, bytes), |disk, wait| disk.swap(key, version, item.as_ref(), now, wait))
    }

    fn lacks(&self, py: Python<'_>, keys: Vec<String>, now: u64) -> PyResult<Vec<String>> {
        let disk = self.disk(py)?;
        let lacking = disk.lacks(keys.iter().map(String::as_str), now).map_err(|error| failed(py, error))?;
        Ok(lacking.into_iter().map(String::from).collect())
    }

    #[pyo3(signature = (cursor, most, pattern, now))]
    fn scan(
        &self,
        py: Python<'_>,
        cursor: u64,
        most: usize,
        pattern: Option<&str>,
        now: u64,
    ) -> PyResult<(Option<u64>, Vec<String>)> {
        let disk = self.disk(py)?;
        py.detach(|| disk.scan(cursor, most, pattern, now)).map_err(|error| failed(py, error))
    }

    #[pyo3(signature = (tags, owner=None, now=0))]
    fn clear(&self, py: Python<'_>, tags: Vec<String>, owner: Option<&str>, now: u64) -> PyResult<u64> {
        let tags: Vec<&str> = tags.iter().map(String::as_str).collect();
        self.alone(py, |disk| if tags.is_empty() && owner.is_none() { disk.clear() } else { disk.clear_some(&tags, owner, now) })
    }

    fn flush(&self, py: Python<'_>) -> PyResult<()> {
        self.alone(py, disk::Disk::flush)
    }

    fn close(&self, py: Python<'_>) {
        if let Some(Opened { disk, process }) = self.open.with(py, Option::take) {
            if process == fork::process() { py.detach(|| drop(disk)) } else { std::mem::forget(disk) }
        }
    }

    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let disk = self.disk(py)?;
        let stats = PyDict::new(py);
        stats.set_item("entries", disk.entries())?;
        stats.set_item("bytes", disk.bytes())?;
        stats.set_item("capacity", disk.options().capacity)?;
        stats.set_item("repairs", disk.repairs())?;
        disk.tally.all().into_iter().try_for_each(|(name, number)| stats.set_item(name, number))?;
        Ok(stats)
    }

    fn cramped(&self, py: Python<'_>) -> PyResult<u64> {
        Ok(self.disk(py)?.tally.cramped.load(Relaxed))
    }

    fn read_only(&self, py: Python<'_>) -> PyResult<Option<String>> {
        Ok(self.disk(py)?.read_only().map(|error| error.to_string()))
    }

    fn counters(&self, py: Python<'_>) -> PyResult<Counters> {
        Ok(Counters(self.disk(py)?.counters().clone()))
    }

    fn forked(&self, py: Python<'_>) -> PyResult<()> {
        self.disk(py).map(|_| ())
    }

    #[staticmethod]
    fn info(py: Python<'_>, path: PathBuf) -> PyResult<Bound<'_, PyDict>> {
        let info = py.detach(|| disk::info(&path)).map_err(|error| failed(py, error))?;
        let told = PyDict::new(py);
        told.set_item("format", info.format)?;
        told.set_item("capacity", info.capacity)?;
        told.set_item("bytes", info.bytes)?;
        told.set_item("entries", info.entries.0)?;
        told.set_item("dead", info.entries.1)?;
        told.set_item("slots", info.slots)?;
        told.set_item("clean", info.clean)?;
        told.set_item("classes", info.classes)?;
        told.set_item("namespaces", info.namespaces)?;
        Ok(told)
    }

    #[staticmethod]
    #[pyo3(signature = (path, progress=None))]
    fn verify<'py>(py: Python<'py>, path: PathBuf, progress: Option<Py<PyAny>>) -> PyResult<Bound<'py, PyDict>> {
        let mut raised = None;
        let mut told = |done: f64| {
            if let (Some(progress), None) = (&progress, &raised) {
                raised = Python::attach(|py| crate::foreign::call(progress.bind(py), (done,)).err());
            }
        };
        let checked = py.detach(|| disk::verify(&path, &mut told)).map_err(|error| failed(py, error))?;
        match raised {
            Some(error) => Err(error),
            None => numbers(py, [("good", checked.good), ("corrupt", checked.corrupt), ("unreachable", checked.unreachable)]),
        }
    }

    #[staticmethod]
    fn gc(py: Python<'_>, path: PathBuf, now: u64) -> PyResult<Bound<'_, PyDict>> {
        let (dropped, freed) = py.detach(|| disk::gc(&path, now)).map_err(|error| failed(py, error))?;
        numbers(py, [("dropped", dropped), ("freed", freed)])
    }
}

fn numbers<'py, const N: usize>(py: Python<'py>, numbers: [(&str, u64); N]) -> PyResult<Bound<'py, PyDict>> {
    let told = PyDict::new(py);
    numbers.into_iter().try_for_each(|(name, number)| told.set_item(name, number))?;
    Ok(told)
}

/// What a read found.
pub enum Got {
    Miss,
    Longer(usize),
    Entry(Entry),
}

fn read(py: Python<'_>, disk: &disk::Disk, key: &str, now: u64, most: Option<usize>) -> PyResult<Got> {
    let short = most.unwrap_or(usize::MAX).min(LARGE);
    let got = BUFFER.with_borrow_mut(|buffer| got(py, disk.read(key, now, short, buffer)))?;
    match got {
        Got::Longer(length) if length <= most.unwrap_or(usize::MAX) => {
            let mut buffer = Vec::new();
            let read = py.detach(|| disk.read(key, now, usize::MAX, &mut buffer));
            self::got(py, read)
        }
        got => Ok(got),
    }
}

fn got(py: Python<'_>, read: disk::Result<Read<'_>>) -> PyResult<Got> {
    match read.map_err(|error| failed(py, error))? {
        Read::Miss => Ok(Got::Miss),
        Read::Longer(length) => Ok(Got::Longer(length)),
        Read::Entry(envelope, stored) => {
            let payload = envelope::payload(py, &envelope);
            Ok(payload.map_or(Got::Miss, |payload| Got::Entry(Entry::opened(envelope, payload, stored))))
        }
    }
}

/// Adds what this file offers.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Disk>()?;
    module.add_function(wrap_pyfunction!(be_patient, module)?)?;
    module.add_class::<Counters>()
}
