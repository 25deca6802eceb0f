//! The index: a mapped table of 64 bytes an entry, that readers use without a lock while one writer changes it.
//!
//! Open addressing with linear probing; an entry's home is its fingerprint, scaled to the table. A removal shifts what follows back,
//! so no marks of removed entries pile up; a reader who found nothing while something was shifted looks again.
//!
//! Nothing in a slot is trusted: a check over it tells one that is half written or damaged, and what it leads to is a record that
//! proves itself. So the worst that a wrong slot can do is a miss.

mod slot;
mod walk;

#[cfg(test)]
mod tests;

pub use slot::{LARGE, NEVER, Place, Slot};

use super::error::{Error, Result};
use super::mapped::{BLOCK, Mapped, allocate, blocks, prefetch};
use slot::WORDS;
use std::fs::{File, OpenOptions};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::*, fence};

const MAGIC: u64 = u64::from_le_bytes(*b"fc-index");
/// Where slots begin, in words.
const FIRST: usize = BLOCK as usize / 8;
const MULTIPLIER: u64 = 0x9E37_79B9_7F4A_7C15;
/// How often a read is tried while writers are in between.
const TRIES: usize = 64;

/// Words of the header.
#[derive(Clone, Copy)]
enum Head {
    Magic,
    Slots,
    Check,
    Superseded,
    Filled,
    /// Counted up before and after something is shifted.
    Shifts,
}

/// What there is at a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// Nothing.
    Nothing,
    /// An entry.
    Entry(Slot),
    /// An entry that is being written, or damaged.
    Torn,
}

/// See the head of this file.
pub struct Index {
    map: Mapped,
    slots: u64,
}

impl Index {
    /// Bytes of an index of so many slots.
    pub fn bytes(slots: u64) -> u64 {
        blocks(BLOCK + slots * 64)
    }

    /// Makes an index in a new file, in place of one that may be there.
    pub fn create(path: &Path, slots: u64) -> Result<Self> {
        let _ = std::fs::remove_file(path);
        let file = File::options().read(true).write(true).create_new(true).open(path);
        let file = file.map_err(Error::io("can't create", path))?;
        let length = Index::bytes(slots);
        let mapped = allocate(&file, 0, length).and_then(|()| Mapped::new(&file, length));
        let map = mapped.inspect_err(|_| drop(std::fs::remove_file(path))).map_err(Error::io("can't allocate", path))?;
        let index = Index { map, slots };
        index.head(Head::Slots).store(slots, Relaxed);
        index.head(Head::Check).store(slots.wrapping_mul(MULTIPLIER) ^ MAGIC, Relaxed);
        index.head(Head::Magic).store(MAGIC, Release);
        Ok(index)
    }

    /// Opens an index; `None` if there is none that could be used.
    pub fn open(path: &Path) -> Result<Option<Self>> {
        let Some((index, file)) = Index::mapped(path, File::options().read(true).write(true), Mapped::new)? else {
            return Ok(None);
        };
        // A file with holes could run out of disk at a store into it.
        allocate(&file, 0, index.length()).map_err(Error::io("can't allocate", path))?;
        Ok(Some(index))
    }

    /// The same where it may only be read.
    pub fn to_read(path: &Path) -> Result<Option<Self>> {
        Ok(Index::mapped(path, File::options().read(true), Mapped::to_read)?.map(|(index, _)| index))
    }

    fn mapped(
        path: &Path,
        options: &OpenOptions,
        map: impl FnOnce(&File, u64) -> std::io::Result<Mapped>,
    ) -> Result<Option<(Self, File)>> {
        let file = match options.open(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            file => file.map_err(Error::io("can't open", path))?,
        };
        let length = file.metadata().map_err(Error::io("can't open", path))?.len();
        if length < Index::bytes(1) {
            return Ok(None);
        }
        let index = Index { map: map(&file, length).map_err(Error::io("can't map", path))?, slots: 0 };
        let slots = index.head(Head::Slots).load(Relaxed);
        let whole = index.head(Head::Magic).load(Acquire) == MAGIC
            && index.head(Head::Check).load(Relaxed) == slots.wrapping_mul(MULTIPLIER) ^ MAGIC
            && slots <= length / 64
            && Index::bytes(slots) == length;
        Ok(whole.then_some((Index { slots, ..index }, file)))
    }

    /// Tells those who have what lies under that name open, be it an index or what is left of one, that it isn't the index any more.
    pub fn retire(path: &Path) {
        let Ok(file) = File::options().read(true).write(true).open(path) else { return };
        if file.metadata().is_ok_and(|found| found.len() >= BLOCK) {
            if let Ok(map) = Mapped::new(&file, BLOCK) {
                map.words()[Head::Superseded as usize].store(1, Release);
            }
        }
    }

    /// Says, for who holds the lock and has just opened it, that this is the index.
    pub fn current(&self) {
        self.head(Head::Superseded).store(0, Release);
    }

    fn head(&self, word: Head) -> &AtomicU64 {
        &self.map.words()[word as usize]
    }

    fn at(&self, position: u64) -> &[AtomicU64] {
        let from = FIRST + position as usize * WORDS;
        &self.map.words()[from..from + WORDS]
    }

    /// Where the search for a fingerprint begins. Grows with it.
    pub fn home(&self, fingerprint: u64) -> u64 {
        ((u128::from(fingerprint) * u128::from(self.slots)) >> 64) as u64
    }

    /// The position after.
    pub fn after(&self, position: u64) -> u64 {
        if position + 1 == self.slots { 0 } else { position + 1 }
    }

    /// How many entries have room.
    pub fn slots(&self) -> u64 {
        self.slots
    }

    /// How many entries there are.
    pub fn filled(&self) -> u64 {
        self.head(Head::Filled).load(Relaxed)
    }

    /// Whether there is a newer one under the same name.
    #[inline]
    pub fn superseded(&self) -> bool {
        self.head(Head::Superseded).load(Acquire) != 0
    }

    /// Tells those who have this one open that there is a newer one.
    pub fn supersede(&self) {
        self.head(Head::Superseded).store(1, Release);
    }

    /// Counts what is shifted: a walk during which this changed may have missed something.
    pub fn shifts(&self) -> u64 {
        self.head(Head::Shifts).load(Acquire)
    }

    /// What there is at a position.
    pub fn load(&self, position: u64) -> Found {
        let slot = self.at(position);
        let fingerprint = slot[0].load(Acquire);
        if fingerprint == 0 {
            return Found::Nothing;
        }
        let words: [u64; WORDS] = std::array::from_fn(|word| if word == 0 { fingerprint } else { slot[word].load(Acquire) });
        Slot::from_words(words).map_or(Found::Torn, Found::Entry)
    }

    /// The entry of a fingerprint will be asked for.
    pub fn prefetch(&self, fingerprint: u64) {
        prefetch(&self.at(self.home(fingerprint))[0]);
    }

    /// Where a fingerprint is.
    pub fn find(&self, fingerprint: u64) -> Option<u64> {
        for _ in 0..TRIES {
            let before = self.shifts();
            let found = self.probe(fingerprint);
            if let Ok(position) = found {
                return Some(position);
            }
            if before % 2 == 0 && before == self.shifts() {
                return None;
            }
            std::hint::spin_loop();
        }
        None
    }

    /// Where a fingerprint is, or else where it would go; a full table (which there never is, unless damaged) has nowhere.
    fn probe(&self, fingerprint: u64) -> std::result::Result<u64, Option<u64>> {
        let mut position = self.home(fingerprint);
        for _ in 0..self.slots {
            match self.at(position)[0].load(Acquire) {
                found if found == fingerprint => return Ok(position),
                0 => return Err(Some(position)),
                _ => position = self.after(position),
            }
        }
        Err(None)
    }

    /// The entry of a fingerprint. A damaged one is [`Found::Torn`].
    pub fn get(&self, fingerprint: u64) -> (u64, Found) {
        let mut position = 0;
        for _ in 0..TRIES {
            let Some(found) = self.find(fingerprint) else { return (0, Found::Nothing) };
            position = found;
            match self.load(position) {
                Found::Entry(slot) if slot.fingerprint == fingerprint => return (position, Found::Entry(slot)),
                _ => std::hint::spin_loop(),
            }
        }
        (position, Found::Torn)
    }

    /// Puts an entry in, or in place of the one with its fingerprint, which is given back. The caller holds the lock; there is room.
    pub fn put(&self, slot: &Slot) -> Option<Slot> {
        let (position, before) = match self.probe(slot.fingerprint) {
            Ok(position) => (position, self.load(position)),
            Err(Some(position)) => {
                self.head(Head::Filled).store(self.filled() + 1, Relaxed);
                (position, Found::Nothing)
            }
            Err(None) => return None,
        };
        self.write(position, slot.to_words());
        if let Found::Entry(before) = before { Some(before) } else { None }
    }

    /// The fingerprint last: with it the rest is seen.
    fn write(&self, position: u64, words: [u64; WORDS]) {
        let slot = self.at(position);
        (1..WORDS).for_each(|word| slot[word].store(words[word], Release));
        slot[0].store(words[0], Release);
    }

    /// Takes the entry at a position out. The caller holds the lock.
    pub fn remove(&self, position: u64) {
        let shifts = self.head(Head::Shifts);
        shifts.store(self.shifts() | 1, Release);
        fence(SeqCst);
        let (mut hole, mut position) = (position, position);
        for _ in 0..self.slots {
            position = self.after(position);
            let slot = self.at(position);
            let fingerprint = slot[0].load(Relaxed);
            if fingerprint == 0 {
                break;
            }
            // It may go to the hole if that lies on its way from home.
            if self.distance(self.home(fingerprint), hole) < self.distance(self.home(fingerprint), position) {
                self.write(hole, std::array::from_fn(|word| slot[word].load(Relaxed)));
                hole = position;
            }
        }
        self.at(hole)[0].store(0, Release);
        self.head(Head::Filled).store(self.filled().saturating_sub(1), Relaxed);
        shifts.store(self.shifts().wrapping_add(1), Release);
    }

    fn distance(&self, from: u64, to: u64) -> u64 {
        if to >= from { to - from } else { to + self.slots - from }
    }

    /// Leaves an access stamp on an entry that was found at a position, of this index or of the one before it; no lock is needed, and it
    /// doesn't matter if it goes astray.
    #[inline]
    pub fn stamp(&self, position: u64, slot: &Slot, access: [u64; 2]) {
        if let Some(words) = self.still(position, slot) {
            words[5].store(access[0], Relaxed);
            words[6].store(access[1], Relaxed);
        }
    }

    /// Changes when an entry that was found at a position expires, unless someone else has just done so; no lock is needed.
    pub fn expire_at(&self, position: u64, slot: &Slot, expiry: u64) {
        if let Some(words) = self.still(position, slot) {
            let _ = words[3].compare_exchange(slot.times(slot.expiry), slot.times(expiry), AcqRel, Relaxed);
        }
    }

    /// The words of an entry that was found at a position, if it is there yet: it may have been moved since, and the index exchanged for a
    /// smaller one.
    #[inline]
    fn still(&self, position: u64, slot: &Slot) -> Option<&[AtomicU64]> {
        let words = (position < self.slots).then(|| self.at(position))?;
        (words[0].load(Acquire) == slot.fingerprint).then_some(words)
    }

    /// Waits until it would survive a crash of the machine.
    pub fn sync(&self) -> std::io::Result<()> {
        self.map.sync()
    }

    /// Bytes of the file.
    pub fn length(&self) -> u64 {
        self.map.length()
    }
}
