//! Changing: under the lock, so that one at a time is done, and whole when it is done.

use super::index::{Found, LARGE, Slot};
use super::read::count;
use super::set::{Ask, Item, Sealing};
use super::shared::{OfNamespace, Word};
use super::{Disk, Error, Result, Writing, record};
use std::sync::atomic::Ordering::Relaxed;
use xxhash_rust::xxh3::xxh3_64;

/// Slots that are looked at at a time for what is to be cleared.
const CLEARED: usize = 1024;
/// Keys that are deleted before others get the lock.
const DELETED: usize = 256;

pub(super) fn label(text: &str, salt: u64) -> u32 {
    let hash = xxh3_64(text.as_bytes()) ^ salt;
    1 << (hash & 31) | 1 << (hash >> 5 & 31)
}

/// The bits of an owner in [`Slot::labels`].
pub(super) fn owner_label(owner: &str) -> u32 {
    if owner.is_empty() { 0 } else { label(owner, u64::MAX) }
}

impl Disk {
    /// Deletes entries, and gives the keys of those that were there. `None` if the lock is taken and `wait` isn't asked for.
    pub fn delete_many<'k>(&self, keys: &[&'k str], now: u64, wait: bool) -> Result<Option<Vec<&'k str>>> {
        let mut there = Vec::new();
        for (number, some) in keys.chunks(DELETED).enumerate() {
            // Once something is deleted, there is no going back.
            let Some(mut writing) = self.lock(wait || number > 0)? else { return Ok(None) };
            for &key in some {
                if writing.delete(key, now)? {
                    there.push(key);
                }
            }
        }
        Ok(Some(there))
    }

    /// Stores an entry, or deletes it, if what is there has that version, `None` being nothing. `None` if the lock is taken and `wait` isn't
    /// asked for. [`Error::Large`] if there is no room for it.
    pub fn swap(&self, key: &str, version: Option<u64>, item: Option<&Item>, now: u64, wait: bool) -> Result<Option<bool>> {
        let mut records = Vec::new();
        let sealed = match item {
            None => None,
            Some(item) => Some(self.seal(item, &mut records).ok_or(Error::Large(item.payload.len() as u64, u32::MAX.into()))?),
        };
        let Some(mut writing) = self.lock(wait)? else { return Ok(None) };
        if writing.version(key, now)? != version {
            return Ok(Some(false));
        }
        match sealed {
            None => {
                writing.delete(key, now)?;
            }
            Some(sealed) => {
                let length = sealed.length().into();
                if !writing.set_each(&[Sealing::Sealed(sealed)], &records, now, Ask::NOTHING)?.is_empty() {
                    return Err(Error::Large(length, writing.longest()));
                }
            }
        }
        Ok(Some(true))
    }

    /// Removes all entries of the namespace, at once, and gives how many there were, expired ones included. Waits for the lock.
    pub fn clear(&self) -> Result<u64> {
        let writing = self.waiting()?;
        let (id, control) = (self.namespace.load(Relaxed), &self.control);
        let entries = control.namespace(id, OfNamespace::Entries).swap(0, Relaxed);
        control.namespace(id, OfNamespace::Bytes).store(0, Relaxed);
        control.add(Word::Dead, entries as i64);
        let before = self.epoch(id) as u16;
        // An entry's slot has 16 bits of the epoch only.
        while self.epoch(id) as u16 == before {
            control.new_epoch(id);
        }
        self.counters.bump_all();
        drop(writing);
        Ok(entries)
    }

    /// Removes the entries of the namespace that carry any of the tags, or are the owner's. Gives how many lived. Waits for the lock.
    pub fn clear_some(&self, tags: &[&str], owner: Option<&str>, now: u64) -> Result<u64> {
        let labels: Vec<u32> = tags.iter().map(|tag| label(tag, 0)).chain(owner.map(owner_label)).collect();
        // What isn't here may lie in the memory of others, or be on its way from there: nothing of it is stored from now on.
        self.waiting()?.disk.counters.bump_all();
        let (mut removed, mut from, mut buffer) = (0, Some(0), Vec::new());
        while let Some(cursor) = from {
            // Under the lock, so that nothing is missed for being moved.
            let (slots, next) = self.waiting()?.index.range(cursor, CLEARED);
            from = next;
            for (_, slot) in slots.iter().filter(|(_, slot)| labels.iter().any(|&bits| bits & !slot.labels == 0)) {
                if self.waiting()?.drop_named(slot.fingerprint, tags, owner, &mut buffer)? && !slot.expired(now) {
                    removed += 1;
                }
            }
        }
        Ok(removed)
    }

    /// Whether there is an immutable entry of that key, as far as the index tells.
    pub fn is_immutable(&self, key: &str, now: u64) -> Result<bool> {
        Ok(self.look_up(self.fingerprint(key), now)?.is_some_and(|(_, slot)| slot.immutable))
    }

    /// Whether it is an entry of this namespace, as it is now.
    pub(super) fn own(&self, slot: &Slot) -> bool {
        let namespace = self.namespace.load(Relaxed);
        slot.namespace == namespace && slot.place.epoch == self.epoch(namespace) as u16
    }
}

impl Writing<'_> {
    /// Deletes a key, and says whether it was there. Others are told in any case: it may lie in their memory.
    fn delete(&mut self, key: &str, now: u64) -> Result<bool> {
        let there = self.disk.look_up(self.disk.fingerprint(key), now)?.is_some();
        self.remove(key)?;
        self.disk.counters.bump(self.disk.stripe(key));
        if there {
            count(&self.disk.tally.deletes);
        }
        Ok(there)
    }

    /// Takes out what a slot led to, unless it has changed since.
    pub(super) fn drop_version(&mut self, slot: &Slot) -> Result<bool> {
        match self.index.get(slot.fingerprint) {
            (position, Found::Entry(found)) if found.version == slot.version => {
                self.drop_entry(position, &found)?;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// Takes out the entry of a fingerprint if it carries any of the tags, or is the owner's. Says whether it did.
    fn drop_named(&mut self, fingerprint: u64, tags: &[&str], owner: Option<&str>, buffer: &mut Vec<u8>) -> Result<bool> {
        let disk = self.disk;
        let (position, Found::Entry(slot)) = self.index.get(fingerprint) else { return Ok(false) };
        if !disk.own(&slot) || !disk.read_record(&slot, buffer)? {
            return Ok(false);
        }
        let Some((_, key, found)) = record::any(&buffer[..slot.length as usize], slot.version) else { return Ok(false) };
        let named = tags.iter().any(|tag| found.fields.tags.contains(tag)) || owner == Some(found.fields.owner);
        if named {
            self.drop_entry(position, &slot)?;
            disk.counters.bump(disk.stripe(key));
        }
        Ok(named)
    }

    pub(super) fn remove(&mut self, key: &str) -> Result<()> {
        match self.index.get(self.disk.fingerprint(key)) {
            (position, Found::Entry(slot)) => self.drop_entry(position, &slot),
            (_, Found::Torn) => self.repair(),
            (_, Found::Nothing) => Ok(()),
        }
    }

    /// The version of what is stored under a key. What can't be read isn't there.
    fn version(&mut self, key: &str, now: u64) -> Result<Option<u64>> {
        let Some((position, slot)) = self.disk.look_up(self.disk.fingerprint(key), now)? else { return Ok(None) };
        let mut buffer = Vec::new();
        let whole = self.disk.read_record(&slot, &mut buffer)?
            && record::check(&buffer[..slot.length as usize], &self.disk.options.namespace, key, slot.version).is_some();
        if !whole {
            count(&self.disk.tally.corrupt);
            self.drop_entry(position, &slot)?;
        }
        Ok(whole.then_some(slot.version))
    }
}

const _: () = assert!(LARGE as usize >= super::slabs::CLASSES);
