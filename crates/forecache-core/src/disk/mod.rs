//! The store on disk: entries that several processes of a host share, within a budget of bytes.
//!
//! ```text
//! control   what processes share: sums, namespaces, counters of changes     shared.rs, counters.rs
//! index     where each entry lies, until when, and how it was used          index.rs
//! slabs/    files of places of one size each, with maps of their owners     slabs.rs
//! large/    a file for each record of more than a megabyte                  slabs.rs
//! lock      held by who changes something                                   lock.rs
//! ```
//!
//! A read takes no lock: index, one system call, check. A change is made under the lock: room is made, the record is written to a free
//! place, then the index leads to it, then the old place is free. Whoever dies while holding the lock leaves a mark, and who comes
//! next makes index and sums right again (`repair.rs`). Nothing that is read is trusted: a record is checked against namespace, key
//! and version, so the worst that damage can do is a miss.

pub mod counters;
pub mod doorkeeper;
mod error;
mod index;
pub mod judge;
mod lock;
mod mapped;
mod read;
mod record;
mod repair;
mod room;
mod set;
mod shared;
mod slabs;
mod upkeep;
mod write;

#[cfg(test)]
mod tests;

pub use error::{Error, Result};
pub use read::Read;
pub use set::{BATCH, Item};
pub use upkeep::{Checked, Info, gc, info, verify};

use super::compress::Compression;
use counters::Counters;
use index::Index;
use judge::Judge;
use lock::{Held, Lock};
use rustix::fs::{Access, AtFlags, CWD, accessat};
use shared::{Control, OfNamespace, Word, name_hash};
use slabs::{Owners, Slabs, Space};
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, PoisonError, RwLock};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Bytes: less is no budget for a directory.
pub const LEAST_CAPACITY: u64 = 8 << 20;
/// Bytes that the directories themselves and the lock may take.
const OVERHEAD: u64 = 1 << 16;
/// Names of our own in a directory.
const NAMES: [&str; 6] = ["control", "index", "index.new", "lock", "slabs", "large"];

/// How a directory is used.
#[derive(Debug, Clone)]
pub struct Options {
    /// Whose entries these are. One directory and one budget serve many, who don't see each other's.
    pub namespace: String,
    /// Bytes on disk of all files of the directory.
    pub capacity: u64,
    /// A policy that scores an entry by itself.
    pub policy: String,
    /// Whether a full directory takes only keys that it was given lately.
    pub admission: bool,
    /// How payloads are compressed.
    pub compression: Compression,
    /// Fixes hashing, for a new directory, and sampling.
    pub seed: Option<u64>,
    /// Whether a directory that can't be written to is opened all the same, to be read.
    pub or_read: bool,
}

impl Options {
    /// The usual ones.
    pub fn new(capacity: u64) -> Self {
        let (namespace, policy) = (String::new(), "adaptive".into());
        Options { namespace, capacity, policy, admission: true, compression: Compression::default(), seed: None, or_read: false }
    }
}

macro_rules! tally {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// What this process did.
        #[derive(Debug, Default)]
        pub struct Tally { $($(#[$doc])* pub $name: AtomicU64),* }

        impl Tally {
            /// All of it, by name.
            pub fn all(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name.load(Relaxed))),*]
            }
        }
    };
}

tally! {
    /// Reads that found something.
    hits,
    /// Reads that found nothing.
    misses,
    /// Entries written.
    sets,
    /// Entries removed by request.
    deletes,
    /// Entries not taken.
    refused,
    /// Entries for which the file system had no space left.
    cramped,
    /// Entries that left for space.
    evicted,
    /// Entries found expired.
    expired,
    /// Records and slots found damaged.
    corrupt,
    /// Bytes of records written.
    written_bytes,
}

/// A namespace of a directory.
pub struct Disk {
    directory: PathBuf,
    options: Options,
    hash: u64,
    namespace: AtomicU16,
    control: Arc<Control>,
    index: RwLock<Arc<Index>>,
    slabs: Slabs,
    lock: Lock<State>,
    judge: Judge,
    counters: Arc<Counters>,
    /// It had to be repaired when it was opened.
    repaired: bool,
    /// Why it can't be written to: it is only read, and what is mapped not stored to.
    forbidden: Option<String>,
    /// What this process did.
    pub tally: Tally,
}

/// What only who holds the lock touches.
#[derive(Default)]
struct State {
    owners: Owners,
    random: u64,
}

/// The lock is held: what is changed through this is whole when it is dropped.
struct Writing<'a> {
    disk: &'a Disk,
    held: Held<'a, State>,
    index: Arc<Index>,
    /// Something was left that calls for a repair.
    broken: bool,
}

impl Disk {
    /// Opens a directory, and makes it if there is none. May wait for the lock.
    pub fn open(path: impl AsRef<Path>, options: Options) -> Result<Self> {
        if options.capacity < LEAST_CAPACITY {
            return Err(Error::Capacity(options.capacity));
        }
        let directory = path.as_ref();
        std::fs::create_dir_all(directory).map_err(Error::io("can't create", directory))?;
        let hash = name_hash(&options.namespace);
        Disk::open_as(directory, options, hash)
    }

    /// Opens a directory for upkeep, if it is one of ours.
    fn maintain(directory: &Path) -> Result<Self> {
        std::fs::read_dir(directory).map_err(Error::io("can't list", directory))?;
        if !directory.join("control").is_file() || ours(directory).is_err_and(|error| matches!(error, Error::Foreign { .. })) {
            return Err(Error::None(directory.into()));
        }
        Disk::open_as(directory, Options { or_read: true, ..Options::new(u64::MAX) }, 0)
    }

    fn open_as(directory: &Path, options: Options, hash: u64) -> Result<Self> {
        match Disk::open_to_write(directory, options.clone(), hash) {
            Err(error) if options.or_read && error.is_forbidden() => Disk::open_to_read(directory, options, hash, error),
            opened => opened,
        }
    }

    /// Opens what can't be written to. What isn't whole isn't opened: nobody here could repair it.
    fn open_to_read(directory: &Path, options: Options, hash: u64, why: Error) -> Result<Self> {
        let opened = || {
            let lock = Lock::to_read(directory.join("lock"), State::default())?;
            Ok((lock, Control::to_read(&directory.join("control"))?, Index::to_read(&directory.join("index"))?))
        };
        let (lock, control, index) = match opened() {
            Ok((lock, Some(control), Some(index))) => (lock, Arc::new(control), index),
            Err(error @ Error::Newer { .. }) => return Err(error),
            _ => return Err(why),
        };
        ours(directory)?;
        let judge = Judge::named(&options.policy).ok_or_else(|| Error::Policy(options.policy.clone()))?;
        let namespace = if hash == 0 { 0 } else { control.find(hash).unwrap_or(0) };
        Ok(Disk {
            directory: directory.to_path_buf(),
            options,
            hash,
            namespace: namespace.into(),
            counters: Arc::new(Counters::new(control.clone())),
            control,
            index: RwLock::new(Arc::new(index)),
            slabs: Slabs::to_read(directory),
            lock,
            judge,
            repaired: false,
            forbidden: Some(why.to_string()),
            tally: Tally::default(),
        })
    }

    fn open_to_write(directory: &Path, options: Options, hash: u64) -> Result<Self> {
        let judge = Judge::named(&options.policy).ok_or_else(|| Error::Policy(options.policy.clone()))?;
        ours(directory)?;
        let lock = Lock::new(directory.join("lock"), State { random: options.seed.unwrap_or_default(), ..State::default() })?;
        let held = lock.take(true)?;
        let (control, anew) = Control::open(&directory.join("control"), options.capacity, options.seed)?;
        let path = directory.join("index");
        let found = if anew { None } else { Index::open(&path)? };
        let fresh = found.is_none();
        let index = match found {
            Some(index) => index,
            None => Index::replace(&path, room::LEAST_SLOTS)?,
        };
        // They are made last: an opening that the disk had no space for has left less, and nothing was stored then.
        let (slabs, finished) = Slabs::open(directory)?;
        let lost = fresh && finished;
        index.current();
        if !control.born_here() || fresh || !slabs.agree(&control) {
            control.set(Word::Busy, 1);
        }
        if options.capacity != u64::MAX {
            control.set(Word::Capacity, options.capacity);
        }
        drop(held);
        let control = Arc::new(control);
        let (directory, namespace) = (directory.to_path_buf(), AtomicU16::new(0));
        let (index, tally) = (RwLock::new(Arc::new(index)), Tally { corrupt: u64::from(lost).into(), ..Tally::default() });
        let counters = Arc::new(Counters::new(control.clone()));
        let repaired = control.get(Word::Busy) != 0;
        #[rustfmt::skip]
        let disk = Disk {
            repaired, directory, options, hash, namespace, control, index, slabs, lock, judge, counters, tally, forbidden: None,
        };
        disk.waiting()?.fit()?;
        Ok(disk)
    }

    /// In the child of a fork: the same directory, opened anew. The parent's object is not to be used, nor dropped, in the child.
    pub fn forked(&self) -> Result<Self> {
        if self.forbidden.is_none() {
            self.lock.abandon()?;
        }
        let mut child = self.again()?;
        if child.control.is_same(&self.control) {
            // What memory compares with them stays comparable.
            child.counters = self.counters.clone();
        }
        Ok(child)
    }

    /// The same directory, opened anew: after it is [`Error::Gone`].
    pub fn again(&self) -> Result<Self> {
        std::fs::create_dir_all(&self.directory).map_err(Error::io("can't create", &self.directory))?;
        Disk::open_as(&self.directory, self.options.clone(), self.hash)
    }

    /// The lock; `None` if it is taken, or if a repair is called for, and `wait` isn't asked for.
    fn lock(&self, wait: bool) -> Result<Option<Writing<'_>>> {
        if let Some(why) = &self.forbidden {
            return Err(self.refusal(why));
        }
        let Some(held) = self.lock.take(wait)? else { return Ok(None) };
        if !self.lock.is_there() {
            return Err(Error::Gone(self.directory.clone()));
        }
        if !wait && self.control.get(Word::Busy) != 0 {
            return Ok(None);
        }
        let index = self.index()?;
        let mut writing = Writing { disk: self, held, index, broken: true };
        if self.control.word(Word::Busy).swap(1, Relaxed) != 0 {
            writing.repair()?;
        }
        if !self.settled() {
            self.tally.corrupt.fetch_add(self.control.drop_damaged(), Relaxed);
            let id = self.control.find(self.hash).or_else(|| self.control.claim(&self.options.namespace));
            writing.broken = false;
            self.namespace.store(id.ok_or_else(|| Error::Namespaces(self.directory.clone()))?, Relaxed);
        }
        writing.broken = false;
        Ok(Some(writing))
    }

    /// What is said to who wants to change what can't be written to: [`Error::Gone`] if it should be opened anew, since it can be by now.
    fn refusal(&self, why: &str) -> Error {
        let writable = |name| accessat(CWD, self.directory.join(name), Access::WRITE_OK, AtFlags::EACCESS).is_ok();
        if !self.lock.is_there() || ["", "lock", "control", "index", "slabs", "large"].into_iter().all(writable) {
            return Error::Gone(self.directory.clone());
        }
        self.look_for_namespace();
        Error::ReadOnly { path: self.directory.clone(), why: why.into() }
    }

    /// Where nothing can be written, somebody else may have claimed the namespace since.
    fn look_for_namespace(&self) {
        if let (true, false, Some(id)) = (self.forbidden.is_some(), self.settled(), self.control.find(self.hash)) {
            self.namespace.store(id, Relaxed);
        }
    }

    /// That it can't be written to, and why, if it is so.
    pub fn read_only(&self) -> Option<Error> {
        self.forbidden.as_ref().map(|why| Error::ReadOnly { path: self.directory.clone(), why: why.clone() })
    }

    fn waiting(&self) -> Result<Writing<'_>> {
        match self.lock(true)? {
            Some(writing) => Ok(writing),
            None => Err(Error::io("can't lock", &self.directory)(std::io::ErrorKind::WouldBlock.into())),
        }
    }

    /// Whether our row of the namespaces is still ours.
    fn settled(&self) -> bool {
        let id = self.namespace.load(Relaxed);
        // Upkeep is nobody's in particular.
        self.hash == 0 || id != 0 && self.control.namespace(id, OfNamespace::Hash).load(Relaxed) == self.hash
    }

    fn epoch(&self, namespace: u16) -> u64 {
        self.control.namespace(namespace, OfNamespace::Epoch).load(Relaxed)
    }

    /// Not 0.
    fn fingerprint(&self, key: &str) -> u64 {
        let epoch = self.epoch(self.namespace.load(Relaxed));
        xxh3_64_with_seed(key.as_bytes(), epoch ^ self.control.get(Word::Seed).rotate_left(32) ^ self.hash).max(1)
    }

    fn stripe(&self, key: &str) -> u16 {
        self.counters.stripe(&self.options.namespace, key)
    }

    /// Looks something up in the current index.
    #[inline]
    fn indexed<T>(&self, look: impl FnOnce(&Index) -> T) -> Result<T> {
        let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
        if !index.superseded() {
            return Ok(look(&index));
        }
        drop(index);
        Ok(look(&*self.index()?))
    }

    /// The current index.
    fn index(&self) -> Result<Arc<Index>> {
        let index = self.index.read().unwrap_or_else(PoisonError::into_inner).clone();
        if !index.superseded() {
            return Ok(index);
        }
        let path = self.directory.join("index");
        let open = if self.forbidden.is_some() { Index::to_read } else { Index::open };
        let opened = open(&path)?.ok_or_else(|| Error::io("can't reopen", &path)(std::io::ErrorKind::InvalidData.into()))?;
        let opened = Arc::new(opened);
        *self.index.write().unwrap_or_else(PoisonError::into_inner) = opened.clone();
        Ok(opened)
    }

    /// The counters of changes of this directory, as this process sees them.
    pub fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    /// Where it is.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// How it is used.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Bytes on disk of all files of the directory.
    pub fn bytes(&self) -> u64 {
        self.control.get(Word::Allocated)
    }

    /// Entries of the namespace.
    pub fn entries(&self) -> u64 {
        self.control.namespace(self.namespace.load(Relaxed), OfNamespace::Entries).load(Relaxed)
    }

    /// How often the directory was repaired.
    pub fn repairs(&self) -> u64 {
        self.control.get(Word::Repairs)
    }

    /// Waits until all that was stored so far would survive a crash of the machine, and for the lock.
    pub fn flush(&self) -> Result<()> {
        if self.forbidden.is_some() {
            return Ok(());
        }
        let version = {
            let _writing = self.waiting()?;
            self.control.get(Word::Version)
        };
        self.slabs.sync(&self.control, version)?;
        let index = self.index()?;
        index.sync().map_err(Error::io("can't sync", &self.directory.join("index")))?;
        self.control.sync().map_err(Error::io("can't sync", &self.directory.join("control")))?;
        let directory = std::fs::File::open(&self.directory).and_then(|directory| directory.sync_all());
        directory.map_err(Error::io("can't sync", &self.directory))
    }
}

impl Writing<'_> {
    fn space(&mut self) -> Space<'_> {
        Space { slabs: &self.disk.slabs, control: &self.disk.control, owners: &mut self.held.owners }
    }
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        if !self.broken && !std::thread::panicking() {
            self.disk.control.set(Word::Busy, 0);
        }
    }
}

/// Refuses what isn't a directory of ours, or to become one.
fn ours(directory: &Path) -> Result<()> {
    let names = std::fs::read_dir(directory).map_err(Error::io("can't list", directory))?;
    if let Some(kind) = lock::remote(directory) {
        return Err(Error::Remote { path: directory.into(), kind });
    }
    let names: Vec<String> = names.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    // What bears our names but begins otherwise is somebody else's, unless all the rest is ours: then it was damaged.
    let begins = |name: &str, magic: &[u8; 8]| {
        let mut begin = [0; 8];
        let read = File::open(directory.join(name)).and_then(|mut file| file.read_exact(&mut begin));
        read.is_err() || begin == [0; 8] || begin == *magic
    };
    let mine = |name: &str| match name {
        "control" => begins(name, b"forecach"),
        "index" => begins(name, b"fc-index"),
        _ => true,
    };
    if !names.iter().any(|name| name == "slabs") {
        if let Some(found) = names.iter().find(|name| !mine(name)) {
            return Err(Error::Foreign { path: directory.into(), found: found.clone() });
        }
    }
    let foreign = names.iter().find(|name| !NAMES.contains(&name.as_str()));
    match foreign {
        Some(found) if !names.iter().any(|name| name == "control") => {
            Err(Error::Foreign { path: directory.into(), found: found.clone() })
        }
        _ => Ok(()),
    }
}
