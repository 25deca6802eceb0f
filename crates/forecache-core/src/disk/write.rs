//! Changing: under the lock, so that one at a time is done, and whole when it is done.

use super::doorkeeper::Doorkeeper;
use super::index::{Found, LARGE, NEVER as NO_EXPIRY, Place, Slot};
use super::judge::Access;
use super::read::{access, count, expiry};
use super::shared::{OfClass, OfNamespace, Word};
use super::{Disk, Error, Result, Writing, record};
use crate::envelope::{self, Fields};
use std::sync::atomic::Ordering::Relaxed;
use xxhash_rust::xxh3::xxh3_64;

/// Entries and bytes that are written before others get the lock.
pub const BATCH: usize = 64;
const BATCH_BYTES: usize = 1 << 20;
/// Slots that are looked at at a time for what is to be cleared.
const CLEARED: usize = 1024;

/// What is to be stored under a key. Its version is given by the store.
#[derive(Debug, Clone)]
pub struct Item<'a> {
    /// The key.
    pub key: &'a str,
    /// The number of the codec that made the payload.
    pub codec: u8,
    /// What is stored beside it.
    pub fields: Fields<'a>,
    /// The payload.
    pub payload: &'a [u8],
    /// The epoch of the key's stripe ([`super::counters`]) when it was decided to store this; 0 if that doesn't matter.
    pub mark: u32,
}

/// An item as it will lie on disk.
struct Sealed<'i, 'a> {
    item: &'i Item<'a>,
    version: u64,
    head: Vec<u8>,
    body: Vec<u8>,
}

impl Sealed<'_, '_> {
    fn length(&self) -> u64 {
        (self.head.len() + self.body.len()) as u64
    }
}

/// What became of an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Stored,
    /// There is one already, and that was to stay.
    Stays,
    Refused,
}

fn label(text: &str, salt: u64) -> u32 {
    let hash = xxh3_64(text.as_bytes()) ^ salt;
    1 << (hash & 31) | 1 << (hash >> 5 & 31)
}

/// The bits of an owner in [`Slot::labels`].
fn owner_label(owner: &str) -> u32 {
    if owner.is_empty() { 0 } else { label(owner, u64::MAX) }
}

impl Disk {
    /// Stores entries; with `absent`, only those whose keys aren't there. Gives those that were refused, by their numbers; `None` if the
    /// lock is taken, or it would take long, and `wait` isn't asked for; then nothing was stored.
    pub fn set_many(&self, items: &[Item], now: u64, absent: bool, wait: bool) -> Result<Option<Vec<usize>>> {
        let mut refused = Vec::new();
        let mut from = 0;
        while from < items.len() {
            let mut bytes = 0;
            let some = items[from..].iter().take(BATCH).take_while(|item| {
                let fits = bytes < BATCH_BYTES;
                bytes += item.payload.len();
                fits
            });
            let some = from..from + some.count();
            // Once something is stored, there is no going back.
            match self.set_some(&items[some.clone()], now, absent, wait || from > 0)? {
                None => return Ok(None),
                Some(more) => refused.extend(more.into_iter().map(|number| number + from)),
            }
            from = some.end;
        }
        Ok(Some(refused))
    }

    fn set_some(&self, items: &[Item], now: u64, absent: bool, wait: bool) -> Result<Option<Vec<usize>>> {
        // Packing takes longer than all the rest: not under the lock, and not for what is there anyway.
        let sealed = items.iter().map(|item| {
            let stays = absent && self.look_up(self.fingerprint(item.key), now)?.is_some();
            Ok(if stays { None } else { Some(self.seal(item)) })
        });
        let sealed = sealed.collect::<Result<Vec<_>>>()?;
        let Some(mut writing) = self.lock(wait)? else { return Ok(None) };
        if !wait && writing.takes_long() {
            return Ok(None);
        }
        let mut refused = Vec::new();
        for (number, (item, sealed)) in items.iter().zip(&sealed).enumerate() {
            let outcome = match sealed {
                None => writing.put_off(item, now),
                Some(None) => writing.refuse(item.key, absent),
                Some(Some(sealed)) => writing.set(sealed, now, absent, self.options.admission),
            }?;
            if outcome == Outcome::Refused {
                refused.push(number);
            }
        }
        writing.sweep(now)?;
        Ok(Some(refused))
    }

    /// `None` if it is longer than anything can be.
    fn seal<'i, 'a>(&self, item: &'i Item<'a>) -> Option<Sealed<'i, 'a>> {
        let version = self.control.next_version();
        let namespace = &self.options.namespace;
        let fields = Fields { version, ..item.fields.clone() };
        let binding = envelope::binding(namespace, item.key);
        let body = envelope::seal(item.codec, &self.options.compression, &fields, item.payload, binding)?;
        Some(Sealed { item, version, head: record::head(namespace, item.key)?, body })
    }

    /// Deletes entries, and gives the keys of those that were there. `None` if the lock is taken and `wait` isn't asked for.
    pub fn delete_many<'k>(&self, keys: &[&'k str], now: u64, wait: bool) -> Result<Option<Vec<&'k str>>> {
        let Some(mut writing) = self.lock(wait)? else { return Ok(None) };
        let mut there = Vec::new();
        for &key in keys {
            if writing.delete(key, now)? {
                there.push(key);
            }
        }
        Ok(Some(there))
    }

    /// Stores an entry, or deletes it, if what is there has that version, `None` being nothing. `None` if the lock is taken and `wait` isn't
    /// asked for. [`Error::Large`] if there is no room for it.
    pub fn swap(&self, key: &str, version: Option<u64>, item: Option<&Item>, now: u64, wait: bool) -> Result<Option<bool>> {
        let sealed = match item {
            None => None,
            Some(item) => Some(self.seal(item).ok_or(Error::Large(item.payload.len() as u64, u32::MAX.into()))?),
        };
        let Some(mut writing) = self.lock(wait)? else { return Ok(None) };
        if writing.version(key, now)? != version {
            return Ok(Some(false));
        }
        match &sealed {
            None => {
                writing.delete(key, now)?;
            }
            Some(sealed) => {
                if writing.set(sealed, now, false, false)? == Outcome::Refused {
                    return Err(Error::Large(sealed.length(), writing.longest()));
                }
            }
        }
        Ok(Some(true))
    }

    /// Removes all entries of the namespace, at once, and gives how many there were. Waits for the lock.
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

    /// Removes the entries of the namespace that carry any of the tags, or are the owner's. Gives how many. Waits for the lock.
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

    /// Whether it is an entry of this namespace, as it is now.
    pub(super) fn own(&self, slot: &Slot) -> bool {
        let namespace = self.namespace.load(Relaxed);
        slot.namespace == namespace && slot.place.epoch == self.epoch(namespace) as u16
    }
}

impl Writing<'_> {
    /// Stores an item. With `ask`, a full directory takes it only if it knows the key. If there are fewer bytes on the disk than the
    /// directory may take, what has no room is refused.
    fn set(&mut self, sealed: &Sealed, now: u64, absent: bool, ask: bool) -> Result<Outcome> {
        match self.try_set(sealed, now, absent, ask) {
            Err(error) if error.is_full() => self.refuse(sealed.item.key, absent),
            outcome => outcome,
        }
    }

    fn try_set(&mut self, sealed: &Sealed, now: u64, absent: bool, ask: bool) -> Result<Outcome> {
        let Item { key, fields, mark, .. } = sealed.item;
        let disk = self.disk;
        let (fingerprint, stripe, length) = (disk.fingerprint(key), disk.stripe(key), sealed.length());
        if self.index.get(fingerprint).1 == Found::Torn {
            self.repair()?;
        }
        let found = disk.look_up(fingerprint, now)?;
        let there = found.is_some();
        if absent && there {
            return self.put_off(sealed.item, now);
        }
        if *mark != 0 && *mark != disk.counters.epoch(stripe) && !there {
            // Someone else changed a key of the stripe since: it may have been this one, and it was deleted.
            count(&disk.tally.refused);
            return Ok(Outcome::Refused);
        }
        let expiry = expiry(fields.hard, fields.time_to_idle, now);
        if length > self.longest() || expiry <= now {
            return self.refuse(key, absent);
        }
        let deadline = if expiry == NO_EXPIRY { envelope::NEVER } else { expiry };
        let tick = disk.tick();
        let newcomer = Access::new(tick, length as u32, fields.cost, deadline);
        // An overwrite is a use, and who comes back is judged by what it was before.
        let before = match &found {
            Some((_, slot)) => Some(access(slot)),
            None => Doorkeeper::recall(disk.control.doorkeeper(), fingerprint, &newcomer),
        };
        disk.judge.request(before.as_ref(), tick);
        if before.is_none() && ask && !self.admits(sealed) {
            Doorkeeper::remember(disk.control.doorkeeper(), fingerprint, &newcomer);
            return self.refuse(key, absent);
        }
        let mut stamp = newcomer;
        if let Some(Access { last, uses, gap, .. }) = before {
            stamp = Access { last, uses, gap, ..newcomer };
            stamp.touch(tick);
        }
        let reserved = if self.widen(now)? { self.reserve(length, fingerprint, now)? } else { None };
        let Some((class, number)) = reserved else { return self.refuse(key, absent) };
        let epoch = disk.epoch(disk.namespace.load(Relaxed)) as u16;
        let place = Place { class, number, pinned: fields.pinned, epoch };
        if let Err(error) = disk.slabs.write(place, [&sealed.head, &sealed.body]) {
            self.space().give_back(place, length as u32, fingerprint)?;
            return Err(error);
        }
        let labels = fields.tags.iter().fold(owner_label(fields.owner), |labels, tag| labels | label(tag, 0));
        let (version, namespace) = (sealed.version, disk.namespace.load(Relaxed));
        let slot =
            Slot { fingerprint, place, version, expiry, namespace, labels, length: length as u32, access: stamp.to_words() };
        self.publish(&slot)?;
        if !absent {
            disk.counters.bump(stripe);
        }
        count(&disk.tally.sets);
        disk.tally.written_bytes.fetch_add(length, Relaxed);
        Ok(Outcome::Stored)
    }

    /// Whether a key that isn't known is taken.
    fn admits(&mut self, sealed: &Sealed) -> bool {
        let Fields { immutable, pinned, .. } = sealed.item.fields;
        immutable || pinned || !self.full(sealed.length())
    }

    /// Has the index lead to a record that was written; the one before is free.
    fn publish(&mut self, slot: &Slot) -> Result<()> {
        let before = match self.index.get(slot.fingerprint) {
            (_, Found::Entry(before)) => Some(before),
            _ => None,
        };
        self.index.put(slot);
        self.count(slot);
        self.disk.control.class(slot.place.class.into(), OfClass::Written).fetch_add(1, Relaxed);
        if let Some(before) = before {
            self.uncount(&before);
            self.space().give_back(before.place, before.length, before.fingerprint)?;
        }
        Ok(())
    }

    /// What was stored under the key isn't what should be: nothing is, then. With `absent`, nothing was.
    fn refuse(&mut self, key: &str, absent: bool) -> Result<Outcome> {
        count(&self.disk.tally.refused);
        if !absent {
            self.remove(key)?;
            self.disk.counters.bump(self.disk.stripe(key));
        }
        Ok(Outcome::Refused)
    }

    /// An entry that is to stay, and that was used in a faster tier: it expires when that one does, if that is later.
    fn put_off(&mut self, item: &Item, now: u64) -> Result<Outcome> {
        if item.fields.time_to_idle != envelope::NEVER {
            if let Some((position, slot)) = self.disk.look_up(self.disk.fingerprint(item.key), now)? {
                let later = expiry(item.fields.hard, item.fields.time_to_idle, now);
                if later > slot.expiry {
                    self.index.expire_at(position, &slot, later);
                }
            }
        }
        Ok(Outcome::Stays)
    }

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

    fn remove(&mut self, key: &str) -> Result<()> {
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
