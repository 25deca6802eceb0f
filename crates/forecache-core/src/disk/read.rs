//! Reading: no lock, one system call.

use super::index::{Found, Index, LARGE, NEVER as NO_EXPIRY, Slot};
use super::judge::Access;
use super::record;
use super::shared::Word;
use super::{Disk, Error, Result};
use crate::envelope::{self, Envelope, NEVER};
use std::io::ErrorKind;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// How often a read is tried while others move what it reads.
pub(super) const TRIES: usize = 16;

/// What a read found.
#[derive(Debug, PartialEq)]
pub enum Read<'b> {
    /// Nothing.
    Miss,
    /// A record of so many bytes, more than were asked for.
    Longer(usize),
    /// An entry, and the bytes of its record.
    Entry(Envelope<'b>, usize),
}

pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}

/// When an entry goes that is used now: at its hard expiry or when it has been idle for too long.
pub(super) fn expiry(hard: u64, time_to_idle: u64, now: u64) -> u64 {
    hard.min(now.saturating_add(time_to_idle)).min(NO_EXPIRY)
}

/// A stamp, for the judge.
pub(super) fn access(slot: &Slot) -> Access {
    let deadline = if slot.expiry == NO_EXPIRY { NEVER } else { slot.expiry };
    Access::from_words(slot.access, slot.length, deadline)
}

impl Slot {
    pub(super) fn expired(&self, now: u64) -> bool {
        self.expiry != NO_EXPIRY && self.expiry <= now
    }
}

impl Disk {
    /// Reads an entry into the buffer, unless its record is longer than `most`. Times are milliseconds since 1970.
    pub fn read<'b>(&self, key: &str, now: u64, most: usize, buffer: &'b mut Vec<u8>) -> Result<Read<'b>> {
        let fingerprint = self.fingerprint(key);
        let Some((position, slot)) = self.look_up(fingerprint, now)? else { return Ok(self.miss()) };
        if slot.length as usize > most {
            return Ok(Read::Longer(slot.length as usize));
        }
        let Some((position, slot, range)) = self.fetch(key, fingerprint, (position, slot), now, buffer)? else {
            return Ok(self.miss());
        };
        let Ok(envelope) = envelope::parse(&buffer[range]) else { return Ok(self.miss()) };
        let fields = &envelope.fields;
        if fields.hard <= now {
            count(&self.tally.expired);
            return Ok(self.miss());
        }
        self.used(position, &slot, expiry(fields.hard, fields.time_to_idle, now));
        count(&self.tally.hits);
        Ok(Read::Entry(envelope, slot.length as usize))
    }

    fn miss(&self) -> Read<'static> {
        count(&self.tally.misses);
        Read::Miss
    }

    fn used(&self, position: u64, slot: &Slot, expiry: u64) {
        if self.forbidden.is_some() {
            return;
        }
        let (mut access, tick) = (access(slot), self.tick());
        self.judge.request(Some(&access), tick);
        access.touch(tick);
        let stamp = |index: &Index| {
            index.stamp(position, slot, access.to_words());
            if expiry > slot.expiry {
                index.expire_at(position, slot, expiry);
            }
        };
        // A stamp that is left nowhere is a guess less.
        let _ = self.indexed(stamp);
    }

    /// A key will be read: what lies here and there in memory may be fetched till then.
    pub fn prefetch(&self, key: &str) {
        self.counters.prefetch(self.stripe(key));
        let _ = self.indexed(|index| index.prefetch(self.fingerprint(key)));
    }

    /// The number of a request: of one that finds or stores something. The judge counts as well, and so have ages the same unit.
    pub(super) fn tick(&self) -> u32 {
        self.control.word(Word::Tick).fetch_add(1, Relaxed) as u32
    }

    /// The live entry of a fingerprint.
    pub(super) fn look_up(&self, fingerprint: u64, now: u64) -> Result<Option<(u64, Slot)>> {
        if !self.settled() {
            self.look_for_namespace(); // for the next: this fingerprint isn't one of it
            return Ok(None);
        }
        match self.indexed(|index| index.get(fingerprint))? {
            (position, Found::Entry(slot)) if !slot.expired(now) => Ok(Some((position, slot))),
            (_, Found::Entry(_)) => {
                count(&self.tally.expired);
                Ok(None)
            }
            (_, Found::Nothing) => Ok(None),
            (_, Found::Torn) => {
                self.call_for_repair(fingerprint);
                Ok(None)
            }
        }
    }

    /// A slot is damaged, if it is so while nobody writes it: its space can't be told then, and the next who waits for the lock repairs.
    pub(super) fn call_for_repair(&self, fingerprint: u64) {
        if let Ok(Some(mut writing)) = self.lock(false) {
            writing.broken = writing.index.get(fingerprint).1 == Found::Torn;
            if writing.broken {
                count(&self.tally.corrupt);
            }
        }
    }

    /// Reads a key's record and checks it. What others move meanwhile is looked up again; what is damaged is removed.
    fn fetch(
        &self,
        key: &str,
        fingerprint: u64,
        mut found: (u64, Slot),
        now: u64,
        buffer: &mut Vec<u8>,
    ) -> Result<Option<(u64, Slot, std::ops::Range<usize>)>> {
        for _ in 0..TRIES {
            let (position, slot) = found;
            if self.read_record(&slot, buffer)? {
                let record = &buffer[..slot.length as usize];
                if let Some(range) = record::check(record, &self.options.namespace, key, slot.version) {
                    return Ok(Some((position, slot, range)));
                }
            }
            match self.look_up(fingerprint, now)? {
                None => return Ok(None),
                Some((_, again)) if (again.place, again.version) == (slot.place, slot.version) => {
                    self.remove_damaged(&slot)?;
                    return Ok(None);
                }
                Some(again) => found = again,
            }
        }
        Ok(None)
    }

    /// Reads the record that a slot leads to; `false` if there is none.
    pub(super) fn read_record(&self, slot: &Slot, buffer: &mut Vec<u8>) -> Result<bool> {
        let length = slot.length as usize;
        if slot.place.class == LARGE && self.slabs.large_length(slot.place.number) < length as u64 {
            return Ok(false);
        }
        if buffer.len() < length {
            buffer.resize(length, 0);
        }
        match self.slabs.read(slot.place, &mut buffer[..length]) {
            Ok(()) => Ok(true),
            Err(error) if matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::NotFound) => Ok(false),
            Err(error) => Err(Error::io("can't read from", &self.directory)(error)),
        }
    }

    /// Removes an entry whose record is damaged, unless the lock is taken, or nothing can be written: then the next reader will who can.
    fn remove_damaged(&self, slot: &Slot) -> Result<()> {
        count(&self.tally.corrupt);
        if self.forbidden.is_some() {
            return Ok(());
        }
        if let Some(mut writing) = self.lock(false)? {
            writing.drop_version(slot)?;
        }
        Ok(())
    }

    /// Whether a key is there. Looks into the index only.
    pub fn has(&self, key: &str, now: u64) -> Result<bool> {
        Ok(self.look_up(self.fingerprint(key), now)?.is_some())
    }

    /// Those of the keys that aren't there. Looks into the index only.
    pub fn lacks<'k>(&self, keys: impl IntoIterator<Item = &'k str>, now: u64) -> Result<Vec<&'k str>> {
        let mut lacking = Vec::new();
        for key in keys {
            if !self.has(key, now)? {
                lacking.push(key);
            }
        }
        Ok(lacking)
    }
}
