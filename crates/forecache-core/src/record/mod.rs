//! Records what a store is asked for, while it is asked, as a trace.
//!
//! A [`Tape`] hangs on the store and notes in a ring, in one word, that the entry in a slot was read: neither key nor size, which a
//! thread at the other end of the ring knows from when the entry was stored. It makes rows of the words, packs and writes them,
//! and is there only while a recording goes on. Whoever uses the store waits for it only if the ring is full, and no longer than
//! [`PATIENCE`] if the file doesn't grow.

mod ring;
mod rows;
mod tape;
mod thread;

pub use tape::{Held, Tape};

use crate::trace::bounds::NAME;
use crate::trace::secret::Secret;
use crate::trace::{Facts, Partial, TraceError, Writer};
use ring::Ring;
use std::borrow::Cow;
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::thread::Thread;
use std::time::{Duration, Instant};

type Map<K, V> = hashbrown::HashMap<K, V, xxhash_rust::xxh3::Xxh3DefaultBuilder>;

/// How hard zstd packs: as fast as it can, since the program recorded wants the processor too.
const LEVEL: i32 = 1;
/// For how long a full ring may stay full while the file doesn't grow. A writer at work makes room within a millisecond; a disk that hangs
/// doesn't.
pub const PATIENCE: Duration = Duration::from_secs(1);
/// The fewest bytes that a recording may be bounded by.
pub const LEAST_BYTES: u64 = 1 << 16;

/// What is asked of a recording.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What is to be said in the trace. Only keys of which `sampled` says so are recorded, chosen by their hashes; where keys aren't
    /// `hashed`, their texts and the owners' names are written.
    pub facts: Facts,
    /// What keys and owners are hashed with.
    pub secret: Secret,
    /// The most bytes that the file may have, at least [`LEAST_BYTES`].
    pub max_bytes: u64,
    /// After which time it ends by itself.
    pub duration: Option<Duration>,
}

impl Settings {
    /// What the trace names an owner. Names longer than a trace may have are hashed in any case, as keys are.
    fn owner<'a>(&self, name: &'a str) -> Cow<'a, str> {
        if self.facts.hashed || name.len() > NAME { self.secret.hashed_owner(name).into() } else { name.into() }
    }
}

/// Why a recording ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// It was told to.
    Stopped,
    /// Its time was over.
    Duration,
    /// The file has as many bytes as it may.
    Bytes,
    /// The file couldn't be written as fast as the store was asked, for [`PATIENCE`]; up to then the trace is whole.
    Late,
}

impl Reason {
    /// The name that users see.
    pub fn name(self) -> &'static str {
        match self {
            Reason::Stopped => "stopped",
            Reason::Duration => "duration",
            Reason::Bytes => "max_bytes",
            Reason::Late => "fell_behind",
        }
    }
}

/// What was recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recorded {
    /// Reads that found something.
    pub hits: u64,
    /// Reads that found nothing.
    pub misses: u64,
    /// Different keys, those that were there at the begin among them. Where they are very many, one that comes back after long counts anew.
    pub keys: u64,
    /// Bytes of the file.
    pub bytes: u64,
    /// From begin to end.
    pub time: Duration,
    /// Why it ended.
    pub reason: Reason,
}

/// What both ends know, and who waits for the end.
#[derive(Debug)]
struct Shared {
    path: PathBuf,
    process: u32,
    begin: Instant,
    stop: AtomicBool,
    late: AtomicBool,
    /// Nothing is read from the ring any more.
    over: AtomicBool,
    hits: AtomicU64,
    misses: AtomicU64,
    bytes: AtomicU64,
    thread: OnceLock<Thread>,
    result: Mutex<Option<Result<Recorded, TraceError>>>,
    done: Condvar,
}

impl Shared {
    fn wake(&self) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }

    fn end(&self, result: Result<Recorded, TraceError>) {
        self.over.store(true, Ordering::Release);
        *self.result.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
        self.done.notify_all();
    }
}

/// A recording that was prepared: its file can be written.
#[derive(Debug)]
pub struct Recorder {
    settings: Settings,
    out: Writer<BufWriter<File>>,
    partial: Partial,
    ring: Arc<Ring>,
    shared: Arc<Shared>,
}

impl Recorder {
    /// Begins the file. It will be at `path`, in the place of what is there, when the recording has ended.
    pub fn prepare(path: &Path, settings: Settings) -> Result<Self, TraceError> {
        let unwritable = |error: io::Error| TraceError::whole(path, format!("can't be written: {error}"));
        if path.exists() && !path.is_file() {
            return Err(TraceError::whole(path, "can't be written: it is there and no file"));
        }
        let mut options = OpenOptions::new();
        // What a program asks for is nobody else's business.
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let (partial, file) = Partial::begin(path, &mut options).map_err(unwritable)?;
        let out = Writer::new(BufWriter::new(file), &settings.facts, true).map_err(unwritable)?.at_level(LEVEL);
        let shared = Shared {
            path: path.into(),
            process: std::process::id(),
            begin: Instant::now(),
            stop: AtomicBool::new(false),
            late: AtomicBool::new(false),
            over: AtomicBool::new(false),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
            bytes: AtomicU64::new(out.written()),
            thread: OnceLock::new(),
            result: Mutex::new(None),
            done: Condvar::new(),
        };
        Ok(Recorder { settings, out, partial, ring: Arc::default(), shared: Arc::new(shared) })
    }

    /// The recording that it is going to be.
    pub fn recording(&self) -> Recording {
        Recording(self.shared.clone())
    }

    /// What hangs on the store whose clock shows `now`, and whose owners have these names by number.
    pub fn tape(&self, now: u64, owners: Vec<Box<str>>) -> Tape {
        Tape::new(self, now, owners)
    }

    /// Starts the thread that writes: first what the store held when it got its tape, in the order in which it is to be stored.
    pub fn start(self, held: Vec<Held>, owners: Vec<Box<str>>) -> Recording {
        let shared = self.shared.clone();
        let path = shared.path.clone();
        let thread = std::thread::Builder::new().name("forecache-record".into());
        let started = thread.spawn(move || thread::run(self, held, owners));
        match started {
            Ok(handle) => _ = shared.thread.set(handle.thread().clone()),
            Err(error) => shared.end(Err(TraceError::whole(&path, format!("no thread could be started: {error}")))),
        }
        Recording(shared)
    }
}

/// A recording under way, or over.
#[derive(Debug, Clone)]
pub struct Recording(Arc<Shared>);

impl Recording {
    /// Whether it still records, in this process: a fork's child has no part in it.
    pub fn is_active(&self) -> bool {
        self.is_of_this_process() && !self.0.over.load(Ordering::Acquire)
    }

    /// Whether it was started in this process, not in the one that it was forked from.
    pub fn is_of_this_process(&self) -> bool {
        self.0.process == std::process::id()
    }

    /// Reads that found something, reads that found nothing, bytes and time, as far as they got.
    pub fn progress(&self) -> (u64, u64, u64, Duration) {
        let Shared { hits, misses, bytes, begin, .. } = &*self.0;
        (hits.load(Ordering::Relaxed), misses.load(Ordering::Relaxed), bytes.load(Ordering::Relaxed), begin.elapsed())
    }

    /// Why it failed, if it did.
    pub fn error(&self) -> Option<TraceError> {
        self.0.result.lock().unwrap_or_else(PoisonError::into_inner).as_ref()?.as_ref().err().cloned()
    }

    /// Has it end. What is noted later isn't recorded.
    pub fn stop(&self) {
        self.0.stop.store(true, Ordering::Release);
        self.0.wake();
    }

    /// Waits, but no longer than `most`, and says whether it has ended.
    pub fn wait_at_most(&self, most: Duration) -> bool {
        let result = self.0.result.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.0.done.wait_timeout_while(result, most, |result| result.is_none());
        waited.unwrap_or_else(PoisonError::into_inner).0.is_some()
    }

    /// Waits until the file is complete, or the recording has failed.
    pub fn wait(&self) -> Result<Recorded, TraceError> {
        let mut result = self.0.result.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match &*result {
                Some(result) => return result.clone(),
                None => result = self.0.done.wait(result).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }
}
