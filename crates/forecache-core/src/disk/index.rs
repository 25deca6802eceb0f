//! The index: a mapped table of 64 bytes an entry, that readers use without a lock while one writer changes it.
//!
//! Open addressing with linear probing; an entry's home is its fingerprint, scaled to the table. A removal shifts what follows back,
//! so no marks of removed entries pile up; a reader who found nothing while something was shifted looks again.
//!
//! Nothing in a slot is trusted: a check over it tells one that is half written or damaged, and what it leads to is a record that
//! proves itself. So the worst that a wrong slot can do is a miss.

use super::error::{Error, Result};
use super::mapped::{BLOCK, Mapped, allocate, blocks};
use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::*, fence};

/// An expiry that never comes.
pub const NEVER: u64 = (1 << 48) - 1;
/// The class of records that have a file of their own.
pub const LARGE: u8 = 127;

const MAGIC: u64 = u64::from_le_bytes(*b"fc-index");
const WORDS: usize = 8;
/// Where slots begin, in words.
const FIRST: usize = BLOCK as usize / 8;
const MULTIPLIER: u64 = 0x9E37_79B9_7F4A_7C15;
/// How often a read is tried while writers are in between.
const TRIES: usize = 64;
const NUMBER_BITS: u32 = 40;
/// Lies above a slot's namespace.
const IMMUTABLE: u16 = 1 << 15;

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

/// Where a record lies, and what has to be known of it before it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The size class, or [`LARGE`].
    pub class: u8,
    /// The place in the class's file, or the number of the file.
    pub number: u64,
    /// Never evicted for space.
    pub pinned: bool,
    /// The lower bits of the namespace's epoch.
    pub epoch: u16,
}

impl Place {
    /// The numbers there can be.
    pub const NUMBERS: u64 = 1 << NUMBER_BITS;

    fn to_word(self) -> u64 {
        let Place { class, number, pinned, epoch } = self;
        number | u64::from(class) << NUMBER_BITS | u64::from(pinned) << 47 | u64::from(epoch) << 48
    }

    fn from_word(word: u64) -> Self {
        let (class, pinned) = ((word >> NUMBER_BITS) as u8 & 127, word >> 47 & 1 == 1);
        Place { class, number: word % Place::NUMBERS, pinned, epoch: (word >> 48) as u16 }
    }
}

/// An entry of the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    /// The hash of namespace, epoch and key; not 0.
    pub fingerprint: u64,
    /// Where the record lies.
    pub place: Place,
    /// The version that the record has.
    pub version: u64,
    /// Milliseconds since 1970, at most [`NEVER`].
    pub expiry: u64,
    /// Whose it is: a number of 15 bits.
    pub namespace: u16,
    /// Refuses to be overwritten.
    pub immutable: bool,
    /// A Bloom filter of owner and tags.
    pub labels: u32,
    /// Bytes of the record.
    pub length: u32,
    /// The access stamp.
    pub access: [u64; 2],
}

impl Slot {
    /// The word of that expiry, and of all that lies above it.
    fn times(&self, expiry: u64) -> u64 {
        let above = self.namespace | if self.immutable { IMMUTABLE } else { 0 };
        expiry.min(NEVER) | u64::from(above) << 48
    }
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

fn check(words: [u64; 5]) -> u64 {
    // The expiry, which readers put off without a lock, is left out: the record itself says when it must not be used any more.
    let [fingerprint, place, version, times, sizes] = words;
    [fingerprint, place, version, times >> 48, sizes].into_iter().fold(MAGIC, |hash, word| {
        let mixed = (hash ^ word).wrapping_mul(MULTIPLIER);
        mixed ^ mixed >> 29
    })
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
        let file = match File::options().read(true).write(true).open(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            file => file.map_err(Error::io("can't open", path))?,
        };
        let length = file.metadata().map_err(Error::io("can't open", path))?.len();
        if length < Index::bytes(1) {
            return Ok(None);
        }
        let index = Index { map: Mapped::new(&file, length).map_err(Error::io("can't map", path))?, slots: 0 };
        let slots = index.head(Head::Slots).load(Relaxed);
        let whole = index.head(Head::Magic).load(Acquire) == MAGIC
            && index.head(Head::Check).load(Relaxed) == slots.wrapping_mul(MULTIPLIER) ^ MAGIC
            && slots <= length / 64
            && Index::bytes(slots) == length;
        // A file with holes could run out of disk at a store into it.
        allocate(&file, 0, length).map_err(Error::io("can't allocate", path))?;
        Ok(whole.then_some(Index { slots, ..index }))
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

    /// Calls for each entry.
    pub fn each(&self, mut body: impl FnMut(&Slot)) {
        for position in 0..self.slots {
            if let Found::Entry(slot) = self.load(position) {
                body(&slot);
            }
            self.rest(position);
        }
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
        let words = [1, 2, 3, 4].map(|word| slot[word].load(Acquire));
        let [place, version, times, sizes] = words;
        if slot[7].load(Acquire) != check([fingerprint, place, version, times, sizes]) {
            return Found::Torn;
        }
        Found::Entry(Slot {
            fingerprint,
            place: Place::from_word(place),
            version,
            expiry: times & NEVER,
            namespace: (times >> 48) as u16 & !IMMUTABLE,
            immutable: (times >> 48) as u16 & IMMUTABLE != 0,
            labels: sizes as u32,
            length: (sizes >> 32) as u32,
            access: [slot[5].load(Relaxed), slot[6].load(Relaxed)],
        })
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
        let Slot { fingerprint, place, version, expiry, labels, length, access, .. } = *slot;
        let times = slot.times(expiry);
        let sizes = u64::from(labels) | u64::from(length) << 32;
        let words = [fingerprint, place.to_word(), version, times, sizes];
        self.write(position, [words[0], words[1], words[2], words[3], words[4], access[0], access[1], check(words)]);
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

    /// Makes the table right whatever was done to it: all that `keep` says stays, can be found, and is there once. Gives how
    /// many didn't stay. The caller holds the lock.
    pub fn repair(&self, mut keep: impl FnMut(&Slot) -> bool) -> u64 {
        self.head(Head::Shifts).store(self.shifts() | 1, Release);
        let (mut filled, mut lost) = (0, 0);
        for position in 0..self.slots {
            match self.load(position) {
                Found::Nothing => {}
                Found::Entry(slot) if keep(&slot) => filled += 1,
                _ => {
                    self.at(position)[0].store(0, Release);
                    lost += 1;
                }
            }
            self.rest(position);
        }
        self.head(Head::Filled).store(filled, Relaxed);
        // What can't be found is put in again, into a hole that it was cut off by; that leaves a hole in turn.
        let mut again = true;
        while again {
            again = false;
            for position in 0..self.slots {
                if let Found::Entry(slot) = self.load(position) {
                    if self.probe(slot.fingerprint) != Ok(position) {
                        self.at(position)[0].store(0, Release);
                        self.head(Head::Filled).store(self.filled().saturating_sub(1), Relaxed);
                        // Of two, the later stays.
                        let (_, other) = self.get(slot.fingerprint);
                        if !matches!(other, Found::Entry(other) if other.version >= slot.version) {
                            self.put(&slot);
                        }
                        again = true;
                    }
                }
                self.rest(position);
            }
        }
        self.head(Head::Shifts).store(self.shifts().wrapping_add(1), Release);
        lost
    }

    /// After a walk over a whole megabyte: gives back the memory that it took.
    pub fn rest(&self, position: u64) {
        const STRIDE: u64 = 1 << 14;
        if position % STRIDE == STRIDE - 1 {
            let to = FIRST + (position as usize + 1) * WORDS;
            self.map.release(to - STRIDE as usize * WORDS, to);
        }
    }

    /// The entries at or after the home of `from`, whose fingerprints are below the boundary that is also given: `None` at the end.
    /// About `most` of them.
    pub fn range(&self, from: u64, most: usize) -> (Vec<(u64, Slot)>, Option<u64>) {
        let start = self.home(from);
        let (mut taken, mut end) = (Vec::new(), None);
        for _ in 0..TRIES {
            let before = self.shifts();
            taken.clear();
            let mut position = start;
            while position < self.slots && taken.len() < most {
                self.take(position, &mut taken);
                position += 1;
            }
            let mut rest = self.slots - (position - start);
            end = (position < self.slots).then(|| self.begin_of(position));
            // Those that belong before the end may have been pushed past it, and around.
            position %= self.slots;
            while rest > 0 && self.at(position)[0].load(Acquire) != 0 {
                self.take(position, &mut taken);
                (position, rest) = (self.after(position), rest - 1);
            }
            taken.retain(|(_, slot)| slot.fingerprint >= from && end.is_none_or(|end| slot.fingerprint < end));
            if before % 2 == 0 && before == self.shifts() {
                break;
            }
        }
        (taken, end)
    }

    fn take(&self, position: u64, taken: &mut Vec<(u64, Slot)>) {
        if let Found::Entry(slot) = self.load(position) {
            taken.push((position, slot));
        }
    }

    /// The least fingerprint whose home is that position.
    fn begin_of(&self, position: u64) -> u64 {
        ((u128::from(position) << 64).div_ceil(u128::from(self.slots))) as u64
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    fn slot(fingerprint: u64, version: u64) -> Slot {
        let place = Place { class: 3, number: version % 1000, pinned: version % 2 == 0, epoch: 7 };
        Slot {
            fingerprint,
            place,
            version,
            expiry: NEVER,
            namespace: 5,
            immutable: version % 3 == 0,
            labels: 6,
            length: 77,
            access: [8, 9],
        }
    }

    fn index(slots: u64) -> (tempfile::TempDir, Index) {
        let directory = tempfile::tempdir().unwrap();
        let index = Index::create(&directory.path().join("index"), slots).unwrap();
        (directory, index)
    }

    fn held(index: &Index) -> HashMap<u64, u64> {
        let (all, end) = index.range(0, usize::MAX);
        assert_eq!(end, None);
        all.into_iter().map(|(_, slot)| (slot.fingerprint, slot.version)).collect()
    }

    /// Few homes, so that many meet: at both ends of the table too.
    fn crowded(number: u8) -> u64 {
        [1 << 58, u64::MAX - 300, 1, 1 << 63][usize::from(number % 4)] + u64::from(number / 4)
    }

    proptest! {
        #[test]
        fn it_is_a_map(operations in prop::collection::vec((any::<u8>(), any::<bool>()), 0..400)) {
            let (_directory, index) = index(384);
            let mut model = HashMap::new();
            for (version, (number, put)) in operations.into_iter().enumerate() {
                let (fingerprint, version) = (crowded(number), version as u64);
                if put {
                    let before = index.put(&slot(fingerprint, version)).map(|before| before.version);
                    prop_assert_eq!(before, model.insert(fingerprint, version));
                } else if let Some(position) = index.find(fingerprint) {
                    index.remove(position);
                    prop_assert!(model.remove(&fingerprint).is_some());
                }
                prop_assert_eq!(index.find(fingerprint).is_some(), model.contains_key(&fingerprint));
            }
            prop_assert_eq!(index.filled(), model.len() as u64);
            for (&fingerprint, &version) in &model {
                prop_assert_eq!(index.get(fingerprint).1, Found::Entry(slot(fingerprint, version)));
            }
            prop_assert_eq!(held(&index), model);
        }

        #[test]
        fn a_walk_in_parts_meets_everything_once(numbers in prop::collection::hash_set(any::<u64>(), 0..200), most in 1usize..50) {
            let numbers: Vec<u64> = numbers.into_iter().map(|number| number.max(1)).collect();
            let (_directory, index) = index(320);
            numbers.iter().for_each(|&fingerprint| assert_eq!(index.put(&slot(fingerprint, 1)), None));
            let (mut met, mut from) = (Vec::new(), Some(0));
            while let Some(cursor) = from {
                let (part, next) = index.range(cursor, most);
                met.extend(part.iter().map(|(_, slot)| slot.fingerprint));
                from = next;
            }
            met.sort();
            let mut numbers = numbers;
            numbers.sort();
            prop_assert_eq!(met, numbers);
        }

        #[test]
        fn a_repair_makes_it_right_whatever_was_done(
            numbers in prop::collection::vec(any::<u8>(), 0..200), harm in prop::collection::vec((0u64..384, 0usize..8, 0u32..64), 0..60),
        ) {
            let (_directory, index) = index(384);
            let mut model = HashMap::new();
            for (version, number) in numbers.into_iter().enumerate() {
                index.put(&slot(crowded(number), version as u64));
                model.insert(crowded(number), version as u64);
            }
            let mut harmed = 0;
            for (position, word, bit) in harm {
                harmed += u64::from(index.at(position)[0].load(Relaxed) != 0);
                index.at(position)[word].fetch_xor(1 << bit, Relaxed);
            }
            index.repair(|_| true);
            let now = held(&index);
            prop_assert_eq!(index.filled(), now.len() as u64);
            prop_assert!(now.len() as u64 + harmed >= model.len() as u64);
            for (&fingerprint, &version) in &now {
                prop_assert_eq!(model.get(&fingerprint), Some(&version));
                prop_assert!(index.find(fingerprint).is_some());
            }
        }
    }

    #[test]
    fn a_hit_puts_the_expiry_off_without_harm() {
        let (_directory, index) = index(64);
        index.put(&slot(9, 1));
        let (position, Found::Entry(found)) = index.get(9) else { panic!() };
        index.expire_at(position, &found, 1000);
        index.stamp(position, &found, [1, 2]);
        assert_eq!(index.get(9).1, Found::Entry(Slot { expiry: 1000, access: [1, 2], ..found }));
        // Someone else was first.
        index.expire_at(position, &found, 2000);
        assert_eq!(index.get(9).1, Found::Entry(Slot { expiry: 1000, access: [1, 2], ..found }));
    }

    #[test]
    fn a_hit_found_in_a_larger_index_does_no_harm() {
        let (_directory, index) = index(64);
        index.put(&slot(9, 1));
        let (position, Found::Entry(found)) = index.get(9) else { panic!() };
        for elsewhere in [position + 1, 64, u64::MAX] {
            index.stamp(elsewhere, &found, [1, 2]);
            index.expire_at(elsewhere, &found, 1000);
        }
        assert_eq!(index.get(9).1, Found::Entry(found));
    }

    #[test]
    fn a_damaged_head_is_no_index() {
        let (directory, index) = index(64);
        let path = directory.path().join("index");
        assert!(Index::open(&path).unwrap().is_some());
        index.head(Head::Slots).store(65, Relaxed);
        assert!(Index::open(&path).unwrap().is_none());
        File::options().write(true).open(&path).unwrap().set_len(100).unwrap();
        assert!(Index::open(&path).unwrap().is_none());
        assert!(Index::open(&directory.path().join("none")).unwrap().is_none());
    }

    #[test]
    fn readers_find_what_is_there_while_others_come_and_go() {
        let (_directory, index) = index(256);
        let stays: Vec<u64> = (0..40).map(|number| crowded(number as u8 * 4)).collect();
        stays.iter().for_each(|&fingerprint| assert_eq!(index.put(&slot(fingerprint, 1)), None));
        let done = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for round in 0..20_000u64 {
                    let fingerprint = (1 << 58) - 1 - round % 20;
                    match index.find(fingerprint) {
                        Some(position) => index.remove(position),
                        None => assert_eq!(index.put(&slot(fingerprint, 2)), None),
                    }
                }
                done.store(true, Relaxed);
            });
            while !done.load(Relaxed) {
                stays.iter().for_each(|&fingerprint| assert_eq!(index.get(fingerprint).1, Found::Entry(slot(fingerprint, 1))));
            }
        });
    }
}
