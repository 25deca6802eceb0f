//! Making room: what leaves a full directory, and how the space it had becomes another's.

use super::doorkeeper::{Doorkeeper, buckets};
use super::index::{Found, Index, LARGE, Place, Slot};
use super::judge::{Access, Seen};
use super::mapped::{BLOCK, blocks};
use super::read::{access, count};
use super::set::BATCH;
use super::shared::{OfClass, OfNamespace, Word};
use super::slabs::{CLASSES, SIZES, class_of};
use super::{Error, Result, Writing};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// Slots of a new index.
pub(super) const LEAST_SLOTS: u64 = 1024;
/// Entries that are held against each other when one has to leave.
const SAMPLE: usize = 16;
/// Slots that each write looks at for what is dead.
const SWEPT: u64 = 4;
/// With less than this part of the capacity free, a directory is full.
const RESERVE: u64 = 64;
/// The index gets at most this part of the capacity.
const INDEX_PART: u64 = 4;

impl Writing<'_> {
    fn capacity(&self) -> u64 {
        self.disk.options.capacity
    }

    fn allocated(&self) -> u64 {
        self.disk.control.get(Word::Allocated)
    }

    /// Files grow by so many bytes: little beside the capacity, so that no class holds much that others could use.
    fn step(&self) -> u64 {
        blocks(self.capacity() / 1024).clamp(BLOCK, 1 << 18)
    }

    /// The longest record that is taken.
    pub fn longest(&self) -> u64 {
        (self.capacity() / 2).min(u32::MAX.into())
    }

    /// Whether nothing can be put in unless something leaves, or nearly so: an overwrite needs a place for a moment, and the one that is
    /// free afterwards is no room for newcomers.
    pub fn full(&mut self, length: u64) -> bool {
        let (step, room) = (self.step(), self.capacity().saturating_sub(self.allocated()));
        let needed = match class_of(length) {
            Some(class) if self.space().free(class) > 0 => 0,
            Some(class) => self.space().growth(class, step),
            None => blocks(length),
        };
        let least = self.capacity() / RESERVE;
        needed > room || (self.crowded() && self.larger_index().is_none()) || (room < least && room + self.spare() < least)
    }

    /// Bytes of free places.
    fn spare(&mut self) -> u64 {
        let space = self.space();
        (0..CLASSES).map(|class| space.free(class)).sum()
    }

    pub fn crowded(&self) -> bool {
        self.index.filled() * 4 >= self.index.slots() * 3
    }

    /// How many slots the index gets when it grows; `None` if it may not.
    fn larger_index(&self) -> Option<u64> {
        let slots = (self.index.slots() * 3 / 2).next_multiple_of(64);
        (Index::bytes(slots) <= self.capacity() / INDEX_PART).then_some(slots)
    }

    /// Takes space for a record, for which others may have to leave; `None` if they don't make enough room.
    pub fn reserve(&mut self, length: u64, fingerprint: u64, now: u64) -> Result<Option<(u8, u64)>> {
        let step = self.step();
        let Some(class) = class_of(length) else {
            if !self.make_room(None, blocks(length), now)? {
                return Ok(None);
            }
            let control = &self.disk.control;
            control.add(Word::Allocated, blocks(length) as i64);
            control.class(LARGE.into(), OfClass::Used).fetch_add(1, Relaxed);
            return Ok(Some((LARGE, control.next_version() % Place::NUMBERS)));
        };
        loop {
            if let Some(number) = self.space().take(class, fingerprint)? {
                return Ok(Some((class as u8, number)));
            }
            let growth = self.space().growth(class, step);
            if !self.make_room(Some(class), growth, now)? {
                return Ok(None);
            }
            if self.space().free(class) == 0 {
                self.space().grow(class, step)?;
            }
        }
    }

    /// Has entries leave until so many bytes can be allocated, or until a place of that class is free.
    fn make_room(&mut self, class: Option<usize>, bytes: u64, now: u64) -> Result<bool> {
        loop {
            let free = class.is_some_and(|class| self.space().free(class) > 0);
            if free || self.allocated() + bytes <= self.capacity() {
                return Ok(true);
            }
            if !self.squeeze(class, self.step() + BLOCK)? && !self.evict(now)? {
                return Ok(false);
            }
        }
    }

    /// Takes the bytes that the class with most of them has to spare, if they are so many.
    fn squeeze(&mut self, but: Option<usize>, least: u64) -> Result<bool> {
        let space = self.space();
        let most = (0..CLASSES).filter(|&class| Some(class) != but).max_by_key(|&class| space.free(class));
        let Some(class) = most.filter(|&class| space.free(class) >= least.max(SIZES[class].into())) else { return Ok(false) };
        let before = self.allocated();
        self.compact(class, least)?;
        Ok(self.allocated() < before)
    }

    /// Moves records from the end of a class's file to free places, until so many bytes can be cut off, and cuts them off.
    fn compact(&mut self, class: usize, wanted: u64) -> Result<()> {
        let (places, size, mut buffer) = (self.space().places(class), u64::from(SIZES[class]), Vec::new());
        let mut end = self.space().end(class, places)?;
        while (places - end) * size < wanted && end > 0 {
            let last = end - 1;
            let Some(hole) = self.space().hole(class, last)? else { break };
            let owner = self.space().owner(class, last)?;
            if !self.move_record(class, owner, last, hole, &mut buffer)? {
                // Nobody's: a repair would find that too.
                self.space().give_back(Place { class: class as u8, number: last, pinned: false, epoch: 0 }, 0, owner)?;
            }
            end = self.space().end(class, last)?;
        }
        self.space().cut(class)
    }

    fn move_record(&mut self, class: usize, owner: u64, from: u64, to: u64, buffer: &mut Vec<u8>) -> Result<bool> {
        let (position, Found::Entry(slot)) = self.index.get(owner) else { return Ok(false) };
        if (usize::from(slot.place.class), slot.place.number) != (class, from) {
            return Ok(false);
        }
        if !self.disk.read_record(&slot, buffer)? {
            self.drop_entry(position, &slot)?;
            return Ok(true);
        }
        if !self.space().claim(class, to, owner)? {
            return Ok(false);
        }
        let moved = Slot { place: Place { number: to, ..slot.place }, ..slot };
        self.disk.slabs.write(moved.place, &buffer[..slot.length as usize])?;
        self.disk.control.class(class, OfClass::Written).fetch_add(1, Relaxed);
        self.index.put(&moved);
        self.space().give_back(slot.place, slot.length, slot.fingerprint)?;
        Ok(true)
    }

    /// Whether its namespace was emptied after it was written.
    pub fn dead(&self, slot: &Slot) -> bool {
        self.disk.epoch(slot.namespace) as u16 != slot.place.epoch
    }

    /// The entry that a sample finds worth least leaves, or whatever in it is expired or dead. `false`: there is nothing that may.
    pub(super) fn evict(&mut self, now: u64) -> Result<bool> {
        let sample = self.sample()?;
        let gone: Vec<Slot> = sample.iter().filter(|slot| slot.expired(now) || self.dead(slot)).copied().collect();
        if !gone.is_empty() {
            return self.lose_all(&gone, now).map(|()| true);
        }
        let (judge, control) = (&self.disk.judge, &self.disk.control);
        let (tick, doorkeeper) = (control.get(Word::Tick) as u32, control.doorkeeper());
        let stamps: Vec<Access> = sample.iter().map(access).collect();
        let ghosts = Doorkeeper::sample(doorkeeper, (self.held.random >> 16) as u32);
        let seen = Seen { tick, entries: control.get(Word::Entries), lessons: control.lessons() };
        judge.sampled(&stamps, ghosts, buckets(doorkeeper) as u64, &seen);
        let worths = stamps.iter().map(|stamp| judge.worth(stamp, tick, now)).zip(&sample);
        let Some((_, least)) = worths.min_by(|(one, _), (other, _)| one.total_cmp(other)) else { return Ok(false) };
        Doorkeeper::remember(self.disk.control.doorkeeper(), least.fingerprint, &access(least));
        count(&self.disk.tally.evicted);
        self.take_out(least)?;
        Ok(true)
    }

    /// Some entries that lie side by side, which is by chance, and may leave.
    fn sample(&mut self) -> Result<Vec<Slot>> {
        // SplitMix64.
        self.held.random = self.held.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        // Processes that began alike must not look at the same places one after the other.
        let mut mixed = self.held.random ^ self.disk.control.get(Word::Version).rotate_left(32);
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        let mut position = self.index.home(mixed ^ mixed >> 31);
        let mut sample = Vec::with_capacity(SAMPLE);
        for _ in 0..self.index.slots() {
            match self.index.load(position) {
                Found::Entry(slot) if !slot.place.pinned || self.dead(&slot) => sample.push(slot),
                Found::Torn => {
                    self.repair()?;
                    return self.sample();
                }
                _ => {}
            }
            if sample.len() == SAMPLE {
                break;
            }
            position = self.index.after(position);
        }
        Ok(sample)
    }

    /// Takes an expired or dead entry out, as [`Writing::take_out`].
    fn lose(&mut self, slot: &Slot, now: u64) -> Result<bool> {
        if slot.expired(now) && !self.dead(slot) {
            count(&self.disk.tally.expired);
        }
        self.take_out(slot)
    }

    /// Takes out an entry that was met on a walk. `false`: it isn't found as readers find it, so something was damaged, and is repaired now.
    fn take_out(&mut self, slot: &Slot) -> Result<bool> {
        let found = self.drop_version(slot)?;
        if !found {
            self.repair()?;
        }
        Ok(found)
    }

    /// Looks at a few slots and takes out what is expired or dead.
    pub fn sweep(&mut self, now: u64) -> Result<()> {
        let control = &self.disk.control;
        let mut position = control.get(Word::Sweep) % self.index.slots();
        let mut gone = Vec::new();
        for _ in 0..SWEPT {
            if let Found::Entry(slot) = self.index.load(position) {
                if slot.expired(now) || self.dead(&slot) {
                    gone.push(slot);
                }
            }
            position = self.index.after(position);
        }
        control.set(Word::Sweep, position);
        self.lose_all(&gone, now)
    }

    fn lose_all(&mut self, gone: &[Slot], now: u64) -> Result<()> {
        for slot in gone {
            if !self.lose(slot, now)? {
                break;
            }
        }
        Ok(())
    }

    /// Takes an entry out and frees its place.
    pub fn drop_entry(&mut self, position: u64, slot: &Slot) -> Result<()> {
        self.index.remove(position);
        self.uncount(slot);
        self.space().give_back(slot.place, slot.length, slot.fingerprint)
    }

    pub fn uncount(&self, slot: &Slot) {
        let control = &self.disk.control;
        control.add(Word::Entries, -1);
        if self.dead(slot) {
            control.add(Word::Dead, -1);
        } else {
            control.add_to(slot.namespace, OfNamespace::Entries, -1);
            control.add_to(slot.namespace, OfNamespace::Bytes, -i64::from(slot.length));
        }
    }

    pub fn count(&self, slot: &Slot) {
        let control = &self.disk.control;
        control.add(Word::Entries, 1);
        if self.dead(slot) {
            control.add(Word::Dead, 1);
        } else {
            control.add_to(slot.namespace, OfNamespace::Entries, 1);
            control.add_to(slot.namespace, OfNamespace::Bytes, slot.length.into());
        }
    }

    /// Whether the index is so long that nobody who hasn't the time should have it grow.
    pub fn takes_long(&self) -> bool {
        self.index.slots() > 1 << 13
            && (self.index.filled() + BATCH as u64) * 4 >= self.index.slots() * 3
            && self.larger_index().is_some()
    }

    /// Makes sure that the index takes one entry more: it grows, or an entry leaves.
    pub fn widen(&mut self, now: u64) -> Result<bool> {
        while self.crowded() {
            let larger = self.larger_index();
            if let Some(slots) = larger {
                if self.make_room(None, Index::bytes(slots), now)? {
                    if self.crowded() {
                        self.rebuild(slots)?;
                    }
                    continue;
                }
            }
            if !self.evict(now)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Copies the index into a new file of so many slots, which takes its place.
    pub fn rebuild(&mut self, slots: u64) -> Result<()> {
        let (path, aside) = (self.disk.directory.join("index"), self.disk.directory.join("index.new"));
        let larger = Index::create(&aside, slots)?;
        for position in 0..self.index.slots() {
            if let Found::Entry(slot) = self.index.load(position) {
                larger.put(&slot);
            }
            self.index.rest(position);
        }
        // Before, so that nobody goes on with the old one if this process dies in between: until then they find it again.
        self.index.supersede();
        std::fs::rename(&aside, &path).inspect_err(|_| self.index.current()).map_err(Error::io("can't rename", &aside))?;
        self.disk.control.add(Word::Allocated, larger.length() as i64 - self.index.length() as i64);
        self.replace_index(larger);
        Ok(())
    }

    pub fn replace_index(&mut self, index: Index) {
        self.index = Arc::new(index);
        *self.disk.index.write().unwrap_or_else(std::sync::PoisonError::into_inner) = self.index.clone();
    }

    /// Gives back all space that isn't needed.
    pub fn tighten(&mut self) -> Result<()> {
        for class in 0..CLASSES {
            self.compact(class, u64::MAX)?;
        }
        self.shrink_index()
    }

    /// Has entries leave until the directory is within its capacity.
    pub fn fit(&mut self) -> Result<()> {
        if self.index.length() > self.capacity() / INDEX_PART && self.index.slots() > LEAST_SLOTS {
            self.shrink_index()?;
        }
        // Nothing is taken for expired here: whose clock it goes by isn't known.
        self.make_room(None, 0, 0).map(|_| ())
    }

    /// Makes the index as small as its entries allow, or as the capacity does, for which entries leave.
    fn shrink_index(&mut self) -> Result<()> {
        let most = (self.capacity() / INDEX_PART - BLOCK) / 64;
        while self.index.filled() * 3 / 2 > most && self.evict(0)? {}
        let slots = (self.index.filled() * 3 / 2).next_multiple_of(64).max(LEAST_SLOTS);
        // Who comes here has space to spare, or too much in use anyway: for the moment that both are there, nobody has to leave.
        if slots < self.index.slots() { self.rebuild(slots) } else { Ok(()) }
    }
}
