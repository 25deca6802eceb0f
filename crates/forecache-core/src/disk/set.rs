//! Storing: records are sealed before the lock is taken; under it each gets a place, those that lie side by side are written with one
//! call, and then the index leads there.

use super::doorkeeper::Doorkeeper;
use super::index::{Found, LARGE, NEVER as NO_EXPIRY, Place, Slot};
use super::judge::Access;
use super::read::{access, count, expiry};
use super::shared::OfClass;
use super::slabs::{SIZES, class_of};
use super::write::{label, owner_label};
use super::{Disk, Result, Writing, record};
use crate::envelope::{self, Fields};
use std::io::IoSlice;
use std::ops::Range;
use std::sync::atomic::Ordering::Relaxed;

/// Entries and bytes that are written before others get the lock.
pub const BATCH: usize = 64;
const BATCH_BYTES: usize = 1 << 20;
/// Bytes that a record takes beside key and payload, about.
const BESIDE: usize = 192;

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
pub(super) struct Sealed<'i, 'a> {
    item: &'i Item<'a>,
    version: u64,
    /// Where its record is among those of the batch. What follows it fills its place.
    at: Range<usize>,
}

/// What came of sealing an item.
pub(super) enum Sealing<'i, 'a> {
    Sealed(Sealed<'i, 'a>),
    /// There was one already, and that is to stay.
    Stays(&'i Item<'a>),
    /// It is longer than anything can be.
    Large(&'i Item<'a>),
}

impl Sealed<'_, '_> {
    /// Bytes of the record.
    pub(super) fn length(&self) -> u32 {
        self.at.len() as u32
    }
}

/// What became of an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// It has a place, and is on disk when the batch is written.
    Stored,
    /// There is one already, and that was to stay.
    Stays,
    /// What is there now isn't wanted either.
    Refused,
    /// Someone else was first: it isn't stored, and what is there stays.
    Late,
}

/// On what an item's being stored depends.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ask {
    /// Nothing is there.
    pub absent: bool,
    /// A full directory knows the key.
    pub known: bool,
}

impl Ask {
    /// Nothing of that.
    pub(super) const NOTHING: Ask = Ask { absent: false, known: false };
}

/// Records that have places but aren't written yet. Nothing may be repaired or moved while there are any.
struct Batch<'r> {
    records: &'r [u8],
    placed: Vec<Placed<'r>>,
}

struct Placed<'r> {
    /// The number of the item.
    number: usize,
    slot: Slot,
    key: &'r str,
    stripe: u16,
    at: Range<usize>,
    absent: bool,
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
        let bytes = |item: &Item| item.key.len() + item.payload.len() / 8 * 9 + BESIDE;
        let mut records = Vec::with_capacity(items.iter().map(bytes).sum());
        let sealed = items.iter().map(|item| {
            let stays = absent && self.look_up(self.fingerprint(item.key), now)?.is_some();
            Ok(if stays {
                Sealing::Stays(item)
            } else {
                self.seal(item, &mut records).map_or(Sealing::Large(item), Sealing::Sealed)
            })
        });
        let sealed = sealed.collect::<Result<Vec<_>>>()?;
        let Some(mut writing) = self.lock(wait)? else { return Ok(None) };
        if !wait && writing.takes_long() {
            return Ok(None);
        }
        let refused = writing.set_each(&sealed, &records, now, Ask { absent, known: self.options.admission })?;
        writing.sweep(now)?;
        Ok(Some(refused))
    }

    /// Appends the record of an item, and what fills its place. `None` if it is longer than anything can be.
    pub(super) fn seal<'i, 'a>(&self, item: &'i Item<'a>, records: &mut Vec<u8>) -> Option<Sealed<'i, 'a>> {
        let (version, start) = (self.control.next_version(), records.len());
        let namespace = &self.options.namespace;
        let fields = Fields { version, ..item.fields.clone() };
        let binding = envelope::binding(namespace, item.key);
        record::push_head(records, namespace, item.key)?;
        envelope::seal_onto(records, item.codec, &self.options.compression, &fields, item.payload, binding)?;
        let at = start..records.len();
        u32::try_from(at.len()).ok()?;
        if let Some(class) = class_of(at.len() as u64) {
            records.resize(start + SIZES[class] as usize, 0);
        }
        Some(Sealed { item, version, at })
    }
}

impl Writing<'_> {
    /// Stores items, and gives the numbers of those that were refused.
    pub(super) fn set_each(&mut self, sealed: &[Sealing], records: &[u8], now: u64, ask: Ask) -> Result<Vec<usize>> {
        let mut batch = Batch { records, placed: Vec::new() };
        let refused = self.set_all(sealed, &mut batch, now, ask);
        if refused.is_err() {
            // Nothing comes of what has a place only. What can't be given back, a repair will find.
            for placed in &batch.placed {
                self.broken |= self.give_back(&placed.slot).is_err();
            }
        }
        refused
    }

    fn set_all<'r>(&mut self, sealed: &'r [Sealing], batch: &mut Batch<'r>, now: u64, ask: Ask) -> Result<Vec<usize>> {
        let mut refused = Vec::new();
        for (number, sealing) in sealed.iter().enumerate() {
            let (item, outcome) = match sealing {
                Sealing::Stays(item) => (item, self.put_off(item, now)?),
                Sealing::Large(item) => (item, Outcome::Refused),
                Sealing::Sealed(sealed) => match self.set(sealed, number, batch, now, ask) {
                    Err(error) if error.is_full() => {
                        count(&self.disk.tally.cramped);
                        (&sealed.item, Outcome::Refused)
                    }
                    outcome => (&sealed.item, outcome?),
                },
            };
            match outcome {
                Outcome::Stored | Outcome::Stays => {}
                Outcome::Late => {
                    count(&self.disk.tally.refused);
                    refused.push(number);
                }
                Outcome::Refused => {
                    refused.extend(self.write(batch)?);
                    self.refuse(item.key, ask.absent)?;
                    refused.push(number);
                }
            }
        }
        refused.extend(self.write(batch)?);
        Ok(refused)
    }

    /// Has an item stored with its batch, if nothing speaks against it. What is refused is left to the caller.
    fn set<'r>(&mut self, sealed: &'r Sealed, number: usize, batch: &mut Batch<'r>, now: u64, ask: Ask) -> Result<Outcome> {
        let Item { key, fields, mark, .. } = sealed.item;
        let disk = self.disk;
        let (fingerprint, stripe, length) = (disk.fingerprint(key), disk.stripe(key), sealed.length());
        if batch.placed.iter().any(|placed| placed.slot.fingerprint == fingerprint) {
            self.write(batch)?;
        }
        if self.index.get(fingerprint).1 == Found::Torn {
            self.write(batch)?;
            self.repair()?;
        }
        let found = disk.look_up(fingerprint, now)?;
        let there = found.is_some();
        if ask.absent && there {
            return self.put_off(sealed.item, now);
        }
        if *mark != 0 && *mark != disk.counters.epoch(stripe) && !there {
            // Someone else changed a key of the stripe since: it may have been this one, and it was deleted.
            return Ok(Outcome::Late);
        }
        let expiry = expiry(fields.hard, fields.time_to_idle, now);
        if u64::from(length) > self.longest() || expiry <= now {
            return Ok(Outcome::Refused);
        }
        let deadline = if expiry == NO_EXPIRY { envelope::NEVER } else { expiry };
        let tick = disk.tick();
        let newcomer = Access::new(tick, length, fields.cost, deadline);
        // An overwrite is a use, and who comes back is judged by what it was before.
        let before = match &found {
            Some((_, slot)) => Some(access(slot)),
            None => Doorkeeper::recall(disk.control.doorkeeper(), fingerprint, &newcomer),
        };
        disk.judge.request(before.as_ref(), tick);
        if before.is_none() && ask.known && !self.admits(sealed) {
            Doorkeeper::remember(disk.control.doorkeeper(), fingerprint, &newcomer);
            return Ok(Outcome::Refused);
        }
        let mut stamp = newcomer;
        if let Some(Access { last, uses, gap, gaps, .. }) = before {
            stamp = Access { last, uses, gap, gaps, ..newcomer };
            stamp.touch(tick);
        }
        let Some((class, place)) = self.place(length, fingerprint, batch, now)? else { return Ok(Outcome::Refused) };
        let namespace = disk.namespace.load(Relaxed);
        let place = Place { class, number: place, pinned: fields.pinned, epoch: disk.epoch(namespace) as u16 };
        let labels = fields.tags.iter().fold(owner_label(fields.owner), |labels, tag| labels | label(tag, 0));
        let (version, immutable, access) = (sealed.version, fields.immutable, stamp.to_words());
        let slot = Slot { fingerprint, place, version, expiry, namespace, immutable, labels, length, access };
        batch.placed.push(Placed { number, slot, key, stripe, at: sealed.at.clone(), absent: ask.absent });
        Ok(Outcome::Stored)
    }

    /// A place for a record. What waits to be written is, before anything has to leave or grow for it.
    fn place(&mut self, length: u32, fingerprint: u64, batch: &mut Batch, now: u64) -> Result<Option<(u8, u64)>> {
        if let Some(class) = class_of(length.into()).filter(|_| !self.crowded()) {
            if let Some(number) = self.space().take(class, fingerprint)? {
                return Ok(Some((class as u8, number)));
            }
        }
        self.write(batch)?;
        if self.widen(now)? { self.reserve(length.into(), fingerprint, now) } else { Ok(None) }
    }

    /// Whether a key that isn't known is taken.
    fn admits(&mut self, sealed: &Sealed) -> bool {
        let Fields { immutable, pinned, .. } = sealed.item.fields;
        immutable || pinned || !self.full(sealed.length().into())
    }

    /// Writes what has places, and has the index lead there. Gives the numbers of those for which the disk has fewer bytes than the
    /// directory may take: nothing is stored under their keys then.
    fn write(&mut self, batch: &mut Batch) -> Result<Vec<usize>> {
        let mut placed = std::mem::take(&mut batch.placed);
        placed.sort_unstable_by_key(|placed| (placed.slot.place.class, placed.slot.place.number));
        let (mut lost, mut free, mut done) = (Vec::new(), Vec::new(), Ok(()));
        let mut rest = &placed[..];
        while !rest.is_empty() {
            let (run, after) = rest.split_at(side_by_side(rest));
            rest = after;
            // After an error that has nothing to do with room, the others aren't tried.
            let written = done.is_ok().then(|| self.write_run(run, batch.records));
            if let Some(Ok(())) = written {
                free.extend(run.iter().filter_map(|placed| self.publish(placed)));
                continue;
            }
            free.extend(run.iter().map(|placed| placed.slot));
            match written {
                Some(Err(error)) if error.is_full() => {
                    run.iter().for_each(|_| count(&self.disk.tally.cramped));
                    lost.extend(run);
                }
                Some(Err(error)) => done = Err(error),
                _ => {}
            }
        }
        // The lowest last: there the next batch begins to look for places, and finds them side by side.
        free.sort_unstable_by_key(|slot| std::cmp::Reverse(slot.place.number));
        for slot in &free {
            self.broken |= self.give_back(slot).is_err();
        }
        lost.iter().try_for_each(|placed| self.refuse(placed.key, placed.absent))?;
        done.map(|()| lost.iter().map(|placed| placed.number).collect())
    }

    fn write_run(&self, run: &[Placed], records: &[u8]) -> Result<()> {
        let (first, slabs) = (run[0].slot.place, &self.disk.slabs);
        if first.class == LARGE {
            return slabs.write(first, &records[run[0].at.clone()]);
        }
        let size = SIZES[usize::from(first.class)] as usize;
        let last = run.len() - 1;
        let part = |(number, placed): (usize, &Placed)| {
            let Range { start, end } = placed.at;
            IoSlice::new(&records[start..if number == last { end } else { start + size }])
        };
        slabs.write_run(first, &mut run.iter().enumerate().map(part).collect::<Vec<_>>())
    }

    /// Has the index lead to a record that was written, and gives what it led to before.
    fn publish(&mut self, placed: &Placed) -> Option<Slot> {
        let (disk, slot) = (self.disk, &placed.slot);
        let before = self.index.put(slot);
        self.count(slot);
        disk.control.class(slot.place.class.into(), OfClass::Written).fetch_add(1, Relaxed);
        if let Some(before) = &before {
            self.uncount(before);
        }
        if !placed.absent {
            disk.counters.bump(placed.stripe);
        }
        count(&disk.tally.sets);
        disk.tally.written_bytes.fetch_add(slot.length.into(), Relaxed);
        before
    }

    fn give_back(&mut self, slot: &Slot) -> Result<()> {
        self.space().give_back(slot.place, slot.length, slot.fingerprint)
    }

    /// What was stored under the key isn't what should be: nothing is, then. With `absent`, nothing was.
    fn refuse(&mut self, key: &str, absent: bool) -> Result<()> {
        count(&self.disk.tally.refused);
        if !absent {
            self.remove(key)?;
            self.disk.counters.bump(self.disk.stripe(key));
        }
        Ok(())
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
}

/// How many of those that are placed first lie side by side. A file of its own has none beside it.
fn side_by_side(placed: &[Placed]) -> usize {
    let beside = |pair: &[Placed]| {
        let [one, other] = [&pair[0].slot.place, &pair[1].slot.place];
        one.class == other.class && one.class != LARGE && one.number + 1 == other.number
    };
    1 + placed.windows(2).take_while(|pair| beside(pair)).count()
}
