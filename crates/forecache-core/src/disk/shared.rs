//! The control file: what the processes that use a directory share beside the index. It is mapped.
//!
//! ```text
//! header · a row a size class · a row a namespace · change counters, one a stripe · the judge's lessons · the doorkeeper's table, to the end
//! ```
//!
//! All of it but the header may be damaged without harm: sums are made good by a repair, an epoch that isn't the right one hides
//! entries, and the rest only serves good guesses.

use super::counters::{STRIPES, Words};
use super::error::{Error, Result};
use super::judge::LESSONS;
use super::mapped::{BLOCK, Mapped, allocate, blocks};
use std::fs::{File, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// The version of the format that is written and read.
pub const FORMAT: u64 = 1;
/// Namespaces, 0 being none.
pub const NAMESPACES: usize = 4096;

const MAGIC: u64 = u64::from_le_bytes(*b"forecach");
const ROW: usize = 8;
const CLASS_ROWS: usize = 128;
const CLASSES_AT: usize = 64;
const NAMESPACES_AT: usize = CLASSES_AT + CLASS_ROWS * ROW;
const STRIPES_AT: usize = (NAMESPACES_AT + NAMESPACES * ROW) * 8;
const LESSONS_AT: usize = STRIPES_AT + STRIPES * 4;
const DOORKEEPER_AT: usize = (LESSONS_AT + LESSONS * 4).next_multiple_of(64);

/// A word of the header. Those that change at each request have a cache line of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word {
    /// Ours.
    Magic = 0,
    /// Which format.
    Format = 1,
    /// What fingerprints are keyed with.
    Seed = 2,
    /// The check of the three before.
    Check = 3,
    /// Set while someone changes something under the lock: who finds it set repairs.
    Busy = 4,
    /// The boot of the machine, and the file, that the rest is of: after another boot, or in a copy, files may not fit together, and
    /// that is repaired.
    Birth = 5,
    /// Bytes of all files.
    Allocated = 6,
    /// Entries, of all namespaces.
    Entries = 7,
    /// Entries of namespaces emptied since, that take room yet.
    Dead = 8,
    /// Where the next sweep begins.
    Sweep = 9,
    /// As the one who opened it last said; to be shown only.
    Capacity = 10,
    /// How often it was repaired.
    Repairs = 11,
    /// The version that was given last.
    Version = 16,
    /// The number of the last request.
    Tick = 24,
}

/// A number of a size class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OfClass {
    /// Bytes of its file.
    Length = 0,
    /// Places in use.
    Used = 1,
    /// Where a free place may be.
    Hint = 2,
    /// Writes.
    Written = 3,
    /// Writes that a sync has covered; for records with files of their own, the number of the last.
    Synced = 4,
}

/// A number of a namespace; its name, cut to 32 bytes, follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OfNamespace {
    /// The hash of its name; 0 for a free row.
    Hash = 0,
    /// Another one each time it is emptied. Fingerprints depend on it.
    Epoch = 1,
    /// Entries of this epoch.
    Entries = 2,
    /// Bytes of their records.
    Bytes = 3,
}
const NAME_AT: usize = 4;

/// The mapped control file.
pub struct Control {
    map: Mapped,
    birth: u64,
    writable: bool,
    /// Device and number of the file.
    identity: (u64, u64),
}

/// What a namespace's name is known by.
pub fn name_hash(namespace: &str) -> u64 {
    xxh3_64(namespace.as_bytes()).max(1)
}

/// Which file on which boot of the machine this is: another one if the directory was copied. 0 if the system doesn't tell the boot.
fn birth(file: &Metadata) -> u64 {
    let Ok(boot) = std::fs::read("/proc/sys/kernel/random/boot_id") else { return 0 };
    xxh3_64(&[&boot[..], &file.dev().to_le_bytes(), &file.ino().to_le_bytes()].concat()).max(1)
}

/// An epoch whose upper bits are a check of the rest and of the namespace's hash.
fn checked(epoch: u64, hash: u64) -> u64 {
    const BITS: u32 = 48;
    let rest = epoch % (1 << BITS);
    rest | xxh3_64_with_seed(&rest.to_le_bytes(), hash) << BITS
}

impl Control {
    /// Opens the file, and makes it if there is none. The caller holds the lock. Says whether it had to begin anew.
    pub fn open(path: &Path, capacity: u64, seed: Option<u64>) -> Result<(Self, bool)> {
        let file = File::options().read(true).write(true).create(true).truncate(false).open(path);
        let file = file.map_err(Error::io("can't open", path))?;
        let metadata = file.metadata().map_err(Error::io("can't open", path))?;
        let found = metadata.len();
        let doorkeeper = blocks(capacity / 512).clamp(1 << 16, 1 << 24);
        let least = blocks(DOORKEEPER_AT as u64);
        let length = if found >= least { found / BLOCK * BLOCK } else { least + doorkeeper };
        allocate(&file, 0, length).map_err(Error::io("can't allocate", path))?;
        let map = Mapped::new(&file, length).map_err(Error::io("can't map", path))?;
        let identity = (metadata.dev(), metadata.ino());
        let control = Control { map, birth: birth(&metadata), writable: true, identity };
        // Of one that was cut off the header may be whole, but nothing else.
        let anew = found < least || !control.is_ours(path)?;
        if anew {
            control.begin(seed);
        }
        Ok((control, anew))
    }

    /// Opens the file where it may only be read; `None` if there is nothing in it.
    pub fn to_read(path: &Path) -> Result<Option<Self>> {
        let file = File::open(path).map_err(Error::io("can't open", path))?;
        let metadata = file.metadata().map_err(Error::io("can't open", path))?;
        if metadata.len() < blocks(DOORKEEPER_AT as u64) {
            return Ok(None);
        }
        let map = Mapped::to_read(&file, metadata.len() / BLOCK * BLOCK).map_err(Error::io("can't map", path))?;
        let control = Control { map, birth: 0, writable: false, identity: (metadata.dev(), metadata.ino()) };
        Ok(control.is_ours(path)?.then_some(control))
    }

    /// Whether the header is whole, and of our format.
    fn is_ours(&self, path: &Path) -> Result<bool> {
        let (format, whole) = (self.get(Word::Format), self.get(Word::Check) == self.check() && self.get(Word::Magic) == MAGIC);
        if whole && format > FORMAT {
            return Err(Error::Newer { path: path.parent().unwrap_or(path).into(), format });
        }
        Ok(whole && format == FORMAT)
    }

    fn begin(&self, seed: Option<u64>) {
        let seed = seed.unwrap_or_else(|| {
            let mut bytes = [0; 8];
            // Without randomness, keys that collide could be found by someone who tries to: no more than that.
            let _ = getrandom::fill(&mut bytes);
            u64::from_le_bytes(bytes)
        });
        self.map.words()[..NAMESPACES_AT + NAMESPACES * ROW].iter().for_each(|word| word.store(0, Relaxed));
        self.set(Word::Magic, MAGIC);
        self.set(Word::Format, FORMAT);
        self.set(Word::Seed, seed);
        self.set(Word::Check, self.check());
    }

    fn check(&self) -> u64 {
        let words = [Word::Magic, Word::Format, Word::Seed].map(|word| self.get(word).to_le_bytes());
        xxh3_64(words.as_flattened())
    }

    /// Whether all was written on this boot, to these files; says that it is from now on.
    pub fn born_here(&self) -> bool {
        let here = self.birth != 0 && self.get(Word::Birth) == self.birth;
        self.set(Word::Birth, self.birth);
        here
    }

    /// Whether the other one is of the same file.
    pub fn is_same(&self, other: &Control) -> bool {
        self.identity == other.identity
    }

    /// A word of the header.
    #[inline]
    pub fn word(&self, word: Word) -> &AtomicU64 {
        &self.map.words()[word as usize]
    }

    /// Its value.
    #[inline]
    pub fn get(&self, word: Word) -> u64 {
        self.word(word).load(Relaxed)
    }

    /// Gives it a value.
    pub fn set(&self, word: Word, value: u64) {
        self.word(word).store(value, Relaxed);
    }

    /// Changes a sum, by someone who holds the lock. A damaged one doesn't fall below 0.
    pub fn add(&self, word: Word, change: i64) {
        self.set(word, self.get(word).saturating_add_signed(change));
    }

    /// A number of a size class.
    pub fn class(&self, class: usize, word: OfClass) -> &AtomicU64 {
        &self.map.words()[CLASSES_AT + class * ROW + word as usize]
    }

    /// A number of a namespace.
    #[inline]
    pub fn namespace(&self, id: u16, word: OfNamespace) -> &AtomicU64 {
        &self.map.words()[NAMESPACES_AT + usize::from(id) % NAMESPACES * ROW + word as usize]
    }

    /// Changes a sum of a namespace, as [`Control::add`].
    pub fn add_to(&self, id: u16, word: OfNamespace, change: i64) {
        let sum = self.namespace(id, word);
        sum.store(sum.load(Relaxed).saturating_add_signed(change), Relaxed);
    }

    /// The row of a namespace.
    pub fn find(&self, hash: u64) -> Option<u16> {
        (1..NAMESPACES as u16).find(|&id| self.namespace(id, OfNamespace::Hash).load(Relaxed) == hash)
    }

    /// Gives a namespace a row, by someone who holds the lock; `None` if there is none left.
    pub fn claim(&self, namespace: &str) -> Option<u16> {
        let id = self.find(0)?;
        self.begin_epoch(id, name_hash(namespace));
        let mut name = [0; 32];
        let cut = (0..=name.len().min(namespace.len())).rev().find(|&end| namespace.is_char_boundary(end)).unwrap_or(0);
        name[..cut].copy_from_slice(&namespace.as_bytes()[..cut]);
        let from = NAMESPACES_AT + usize::from(id) * ROW + NAME_AT;
        for (word, part) in self.map.words()[from..].iter().zip(name.chunks_exact(8)) {
            let bytes = part.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte));
            word.store(bytes, Relaxed);
        }
        self.namespace(id, OfNamespace::Hash).store(name_hash(namespace), Relaxed);
        Some(id)
    }

    /// The name of a namespace, as far as it is kept.
    pub fn name(&self, id: u16) -> String {
        let from = NAMESPACES_AT + usize::from(id) * ROW + NAME_AT;
        let bytes: Vec<u8> = self.map.words()[from..from + 4].iter().flat_map(|word| word.load(Relaxed).to_le_bytes()).collect();
        String::from_utf8_lossy(&bytes).trim_end_matches('\0').into()
    }

    /// All entries of a namespace so far are out of reach from now on. No epoch comes twice.
    pub fn new_epoch(&self, id: u16) {
        self.begin_epoch(id, self.namespace(id, OfNamespace::Hash).load(Relaxed));
    }

    fn begin_epoch(&self, id: u16, hash: u64) {
        let number = self.next_version().to_le_bytes();
        let epoch = checked(xxh3_64_with_seed(&number, self.get(Word::Seed)), hash);
        self.namespace(id, OfNamespace::Epoch).store(epoch, Relaxed);
    }

    /// Gives up the rows that are damaged, by someone who holds the lock, and says how many there were.
    pub fn drop_damaged(&self) -> u64 {
        let damaged = |id: &u16| {
            let [hash, epoch] = [OfNamespace::Hash, OfNamespace::Epoch].map(|word| self.namespace(*id, word).load(Relaxed));
            epoch != checked(epoch, hash) && (hash, epoch) != (0, 0)
        };
        let rows = (1..NAMESPACES as u16).filter(damaged);
        rows.inspect(|&id| {
            self.begin_epoch(id, 0);
            self.namespace(id, OfNamespace::Hash).store(0, Relaxed);
        })
        .count() as u64
    }

    /// A version that was never given.
    pub fn next_version(&self) -> u64 {
        self.word(Word::Version).fetch_add(1, Relaxed).wrapping_add(1)
    }

    /// What the judges of all processes learnt.
    pub fn lessons(&self) -> &[AtomicU32] {
        self.map.halves(LESSONS_AT, LESSONS)
    }

    /// The table of [`super::doorkeeper`].
    pub fn doorkeeper(&self) -> &[AtomicU32] {
        self.map.halves(DOORKEEPER_AT, (self.map.length() as usize - DOORKEEPER_AT) / 4)
    }

    /// Bytes of the file.
    pub fn length(&self) -> u64 {
        self.map.length()
    }

    /// Waits until it would survive a crash of the machine.
    pub fn sync(&self) -> std::io::Result<()> {
        self.map.sync()
    }
}

impl Words for Control {
    fn words(&self) -> &[AtomicU32] {
        self.map.halves(STRIPES_AT, STRIPES)
    }

    fn writable(&self) -> bool {
        self.writable
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(directory: &Path) -> (Control, bool) {
        Control::open(&directory.join("control"), 8 << 20, None).unwrap()
    }

    #[test]
    fn namespaces_keep_their_rows_and_an_epoch_never_comes_twice() {
        let directory = tempfile::tempdir().unwrap();
        let (control, anew) = open(directory.path());
        assert!(anew);
        let long = "ü".repeat(40);
        let ids: Vec<u16> = ["", "shop", &long].iter().map(|name| control.claim(name).unwrap()).collect();
        assert_eq!(ids, [1, 2, 3]);
        assert_eq!((control.name(1), control.name(2), control.name(3)), (String::new(), "shop".into(), "ü".repeat(16)));
        let before = control.namespace(2, OfNamespace::Epoch).load(Relaxed);
        control.new_epoch(2);
        let (again, anew) = open(directory.path());
        assert!(!anew);
        assert_eq!(again.find(name_hash("shop")), Some(2));
        assert_ne!(again.namespace(2, OfNamespace::Epoch).load(Relaxed), before);
        (4..NAMESPACES).for_each(|id| assert_eq!(control.claim(&id.to_string()), Some(id as u16)));
        assert_eq!(control.claim("one more"), None);
    }

    #[test]
    fn a_row_whose_hash_or_epoch_was_damaged_is_given_up() {
        let directory = tempfile::tempdir().unwrap();
        let (control, _) = open(directory.path());
        for word in [OfNamespace::Hash, OfNamespace::Epoch] {
            let id = control.claim("shop").unwrap();
            assert_eq!(control.drop_damaged(), 0);
            control.namespace(id, word).fetch_xor(1 << 20, Relaxed);
            assert_eq!((control.drop_damaged(), control.drop_damaged()), (1, 0));
            assert_eq!(control.find(name_hash("shop")), None);
        }
    }

    #[test]
    fn a_file_that_was_cut_off_anywhere_is_mapped_whole() {
        let directory = tempfile::tempdir().unwrap();
        for length in [0, 1, STRIPES_AT, DOORKEEPER_AT + 1, DOORKEEPER_AT.next_multiple_of(BLOCK as usize) + 1] {
            drop(open(directory.path()));
            File::options().write(true).open(directory.path().join("control")).unwrap().set_len(length as u64).unwrap();
            let (control, _) = open(directory.path());
            assert_eq!((control.words().len(), control.lessons().len()), (STRIPES, LESSONS));
            assert!(control.doorkeeper().len() * 4 <= control.length() as usize);
        }
    }

    #[test]
    fn a_damaged_header_begins_anew_and_a_newer_format_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let (control, _) = open(directory.path());
        control.claim("shop");
        control.set(Word::Seed, control.get(Word::Seed) ^ 1);
        let (control, anew) = open(directory.path());
        assert!(anew && control.find(name_hash("shop")).is_none());
        control.set(Word::Format, FORMAT + 1);
        control.set(Word::Check, control.check());
        let refused = Control::open(&directory.path().join("control"), 8 << 20, None);
        assert!(matches!(refused, Err(Error::Newer { format, .. }) if format == FORMAT + 1));
    }
}
