//! Walks over everything: listing keys, and what the command line does with a directory.

use super::index::{Found, Slot};
use super::read::{TRIES, count};
use super::shared::{FORMAT, NAMESPACES, OfClass, OfNamespace, Word, name_hash};
use super::slabs::{CLASSES, SIZES, footprint};
use super::{Disk, Result, record};
use crate::groups::Pattern;
use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Bytes that hold nearly every key.
const HEAD: usize = 512;
/// Entries that are looked at at a time.
const PART: usize = 1024;

/// What a directory holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Info {
    /// The number of its format.
    pub format: u64,
    /// Bytes that it may take, as the one who opened it last said.
    pub capacity: u64,
    /// Bytes on disk.
    pub bytes: u64,
    /// Entries, those of emptied namespaces included, and how many those are.
    pub entries: (u64, u64),
    /// How many entries the index has room for.
    pub slots: u64,
    /// Whether it was as it should be when it was opened.
    pub clean: bool,
    /// Each size that is in use: bytes of a place, how many there are and how many in use, and bytes on disk.
    pub classes: Vec<(u32, u64, u64, u64)>,
    /// Each namespace: its name, cut to 32 bytes, entries, and bytes of records.
    pub namespaces: Vec<(String, u64, u64)>,
}

/// What [`verify`] found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Checked {
    /// Entries whose records are right.
    pub good: u64,
    /// Entries whose records aren't, and that were removed.
    pub corrupt: u64,
    /// Entries that nobody can reach any more: their namespaces were emptied.
    pub unreachable: u64,
}

impl Disk {
    /// Keys of the namespace, from a cursor on that begins with 0: about `most` entries are looked at. Gives the next cursor too, `None`
    /// at the end. A key that is there all the while is given once.
    pub fn scan(&self, cursor: u64, most: usize, pattern: Option<&str>, now: u64) -> Result<(Option<u64>, Vec<String>)> {
        let pattern = pattern.map(Pattern::new);
        let (slots, next) = self.index()?.range(cursor, most.max(1));
        let (mut keys, mut buffer) = (Vec::new(), Vec::new());
        for (_, slot) in slots.iter().filter(|(_, slot)| self.own(slot) && !slot.expired(now)) {
            let key = self.moving_key(*slot, &mut buffer)?;
            keys.extend(key.filter(|key| pattern.as_ref().is_none_or(|pattern| pattern.matches(key))));
        }
        Ok((next, keys))
    }

    /// The key of an entry of this namespace, which others may move, or store anew, while it is read.
    pub(super) fn moving_key(&self, mut slot: Slot, buffer: &mut Vec<u8>) -> Result<Option<String>> {
        for _ in 0..TRIES {
            if let Some(key) = self.key(&slot, buffer)? {
                return Ok(Some(key.to_owned()));
            }
            match self.index()?.get(slot.fingerprint) {
                (_, Found::Entry(now)) if (now.place, now.version) != (slot.place, slot.version) => slot = now,
                _ => break,
            }
        }
        Ok(None)
    }

    /// The key of an entry of this namespace.
    fn key<'b>(&self, slot: &Slot, buffer: &'b mut Vec<u8>) -> Result<Option<&'b str>> {
        let part = |length: usize| Slot { length: slot.length.min(length as u32), ..*slot };
        let mut read = self.read_record(&part(HEAD), buffer)?;
        let length = record::head_length(&buffer[..part(HEAD).length as usize * usize::from(read)]).unwrap_or(0);
        if read && length > HEAD {
            read = self.read_record(&part(length.min(u32::MAX as usize)), buffer)?;
        }
        let names = if read { record::names(&buffer[..part(length).length as usize]) } else { None };
        Ok(names.filter(|(_, key)| self.fingerprint(key) == slot.fingerprint).map(|(_, key)| key))
    }

    /// Calls for each entry of each namespace; `progress` hears how much is done, from 0 to 1.
    fn walk(&self, progress: &mut dyn FnMut(f64), mut body: impl FnMut(&Slot) -> Result<()>) -> Result<()> {
        let mut from = Some(0);
        while let Some(cursor) = from {
            progress(cursor as f64 / u64::MAX as f64);
            let (slots, next) = self.index()?.range(cursor, PART);
            slots.iter().try_for_each(|(_, slot)| body(slot))?;
            from = next;
        }
        progress(1.0);
        Ok(())
    }

    fn dead(&self, slot: &Slot) -> bool {
        self.epoch(slot.namespace) as u16 != slot.place.epoch
    }

    /// Whether the record of an entry, whosever it is, is what the slot says.
    fn whole(&self, slot: &Slot, buffer: &mut Vec<u8>) -> Result<bool> {
        if !self.read_record(slot, buffer)? {
            return Ok(false);
        }
        let Some((namespace, key, _)) = record::any(&buffer[..slot.length as usize], slot.version) else { return Ok(false) };
        let seed = self.epoch(slot.namespace) ^ self.control.get(Word::Seed).rotate_left(32) ^ name_hash(namespace);
        Ok(xxh3_64_with_seed(key.as_bytes(), seed).max(1) == slot.fingerprint)
    }

    /// As it is, without walking over it.
    pub fn info(&self) -> Result<Info> {
        let control = &self.control;
        let classes = (0..CLASSES).filter_map(|class| {
            let [length, used] = [OfClass::Length, OfClass::Used].map(|word| control.class(class, word).load(Relaxed));
            (length > 0).then(|| (SIZES[class], length / u64::from(SIZES[class]), used, footprint(class, length)))
        });
        let namespaces = (1..NAMESPACES as u16).filter_map(|id| {
            let number = |word| control.namespace(id, word).load(Relaxed);
            let row = (control.name(id), number(OfNamespace::Entries), number(OfNamespace::Bytes));
            (number(OfNamespace::Hash) != 0).then_some(row)
        });
        Ok(Info {
            format: FORMAT,
            capacity: control.get(Word::Capacity),
            bytes: self.bytes(),
            entries: (control.get(Word::Entries), control.get(Word::Dead)),
            slots: self.index()?.slots(),
            clean: !self.repaired,
            classes: classes.collect(),
            namespaces: namespaces.collect(),
        })
    }
}

/// What the directory holds.
pub fn info(directory: &Path) -> Result<Info> {
    Disk::maintain(directory)?.info()
}

/// Reads and checks everything, and removes what is damaged.
pub fn verify(directory: &Path, progress: &mut dyn FnMut(f64)) -> Result<Checked> {
    let disk = Disk::maintain(directory)?;
    let (mut checked, mut buffer) = (Checked::default(), Vec::new());
    disk.walk(progress, |slot| {
        if disk.dead(slot) {
            checked.unreachable += 1;
        } else if disk.whole(slot, &mut buffer)? {
            checked.good += 1;
        } else {
            // Under the lock, under which nobody moves it, it may prove whole.
            let mut writing = disk.waiting()?;
            match writing.index.get(slot.fingerprint) {
                (_, Found::Entry(slot)) if disk.dead(&slot) => checked.unreachable += 1,
                (_, Found::Entry(slot)) if disk.whole(&slot, &mut buffer)? => checked.good += 1,
                (position, Found::Entry(slot)) => {
                    writing.drop_entry(position, &slot)?;
                    checked.corrupt += 1;
                    count(&disk.tally.corrupt);
                }
                _ => {}
            }
        }
        Ok(())
    })?;
    Ok(checked)
}

/// Drops what is expired or dead, and gives back all space that isn't needed. Gives the entries dropped and the bytes given back.
pub fn gc(directory: &Path, now: u64) -> Result<(u64, u64)> {
    let disk = Disk::maintain(directory)?;
    let (before, mut dropped) = (disk.bytes(), 0);
    disk.walk(&mut |_| {}, |slot| {
        if disk.dead(slot) || slot.expired(now) {
            dropped += u64::from(disk.waiting()?.drop_version(slot)?);
        }
        Ok(())
    })?;
    disk.waiting()?.tighten()?;
    Ok((dropped, before.saturating_sub(disk.bytes())))
}
