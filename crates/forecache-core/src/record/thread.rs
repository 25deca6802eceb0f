//! The thread that makes rows of words, and writes them.

use super::ring::Ring;
use super::rows::Rows;
use super::tape::{CLEAR, CLEAR_OWNER, DELETE, HIT, Held, KIND, MISS, OWNER, SET, TIME};
use super::{Map, Reason, Recorded, Recorder, Settings, Shared};
use crate::expiry::NEVER;
use crate::list::Slot;
use crate::trace::{ALL_KEYS, Operation, Record, TraceError, is_cost};
use std::fs::File;
use std::io::{self, BufWriter};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How long it sleeps when there is nothing to do: fifty short looks a second, and a third of the time in which hits fill the ring.
const NAP: Duration = Duration::from_millis(20);
/// Words after which their places are given back.
const BATCH: u64 = 4096;
/// Keys that are remembered beside those that the store holds; some 170 MB.
const KEYS: usize = 1 << 22;
/// The number of a key that isn't recorded.
const NONE: u32 = u32::MAX;
/// Hits that are restored of an entry that was there at the begin, each by one more fill: what is asked for that often stays in any case.
const MOST_HITS: u64 = 15;
/// Room is made sure of for so many rows at a time.
const ROWS: u64 = 64;

/// What is known of the entry in a slot.
#[derive(Debug, Clone, Copy)]
struct Known {
    hash: u64,
    size: u64,
    time_to_live: u64,
    key: u32,
    owner: u32,
    cost: f32,
    /// The owner by the store's number.
    number: u32,
}

const NOTHING: Known = Known { hash: 0, size: 0, time_to_live: NEVER, key: NONE, owner: 0, cost: 1.0, number: 0 };

/// Rows in the making.
struct Maker {
    rows: Rows<BufWriter<File>>,
    texts: bool,
    /// Keys whose hashes are at most that are recorded.
    highest: u64,
    time: u64,
    slots: Vec<Known>,
    keys: Map<u64, u32>,
    /// The slot in which each key was stored last, by its number; `Slot::MAX` if it wasn't taken. Others may know it still, from an entry
    /// that was evicted or whose time was over, of which a tape isn't told.
    places: Vec<Slot>,
    /// Our numbers of owners by the store's.
    owners: Vec<u32>,
    unique: u64,
    hits: u64,
    misses: u64,
}

/// The thread's body.
pub fn run(recorder: Recorder, held: Vec<Held>, owners: Vec<Box<str>>) {
    let Recorder { settings, out, partial, ring, shared } = recorder;
    let path = shared.path.clone();
    let work = AssertUnwindSafe(|| {
        let sampled = settings.facts.sampled;
        let share = (u128::from(sampled) << 64) / u128::from(ALL_KEYS);
        let mut maker = Maker {
            rows: Rows::new(out, settings.max_bytes, shared.clone()),
            texts: !settings.facts.hashed,
            highest: (share - 1) as u64,
            time: 0,
            slots: Vec::new(),
            keys: Map::default(),
            places: Vec::new(),
            owners: vec![0],
            unique: 0,
            hits: 0,
            misses: 0,
        };
        let reason = maker.record(&shared, &ring, held, owners, &settings)?;
        shared.over.store(true, Ordering::Release);
        let Maker { rows, unique: keys, hits, misses, .. } = maker;
        let file = rows.finish()?.into_inner()?;
        let bytes = file.metadata()?.len();
        shared.bytes.store(bytes, Ordering::Relaxed);
        partial.complete(&file)?;
        Ok(Recorded { hits, misses, keys, bytes, time: shared.begin.elapsed(), reason })
    });
    let result = catch_unwind(work).unwrap_or_else(|_| Err(io::Error::other("the thread that writes it has failed")));
    shared.end(result.map_err(|error| TraceError::whole(&path, format!("can't be written: {error}"))));
}

impl Maker {
    fn record(
        &mut self,
        shared: &Shared,
        ring: &Ring,
        held: Vec<Held>,
        owners: Vec<Box<str>>,
        settings: &Settings,
    ) -> io::Result<Reason> {
        let most = settings.duration;
        for (number, name) in owners.iter().enumerate().skip(1) {
            self.owner(number, settings.owner(name).into());
        }
        for held in held {
            for _ in 0..=held.hits.min(MOST_HITS) {
                if !self.rows.has_room(ROWS + 1, held.text.len() as u64)? {
                    return Ok(Reason::Bytes);
                }
                self.set(&held, held.text.clone())?;
            }
        }
        let (mut read, mut room) = (0, 0);
        loop {
            // In this order: what was shown before it was told to stop is read.
            let time_is_over = most.is_some_and(|most| shared.begin.elapsed() >= most);
            let stops = shared.stop.load(Ordering::Acquire) || time_is_over;
            let written = ring.written();
            let idle = read == written;
            while read < written {
                let batch = written.min(read + BATCH);
                while read < batch {
                    if room == 0 {
                        if !self.rows.has_room(ROWS, 0)? {
                            return Ok(Reason::Bytes);
                        }
                        room = ROWS;
                    }
                    room -= 1;
                    if !self.word(ring, &mut read)? {
                        return Ok(Reason::Bytes);
                    }
                }
                ring.give_back(read);
            }
            shared.hits.store(self.hits, Ordering::Relaxed);
            shared.misses.store(self.misses, Ordering::Relaxed);
            if stops {
                return Ok(match (shared.late.load(Ordering::Acquire), time_is_over) {
                    (true, _) => Reason::Late,
                    (_, true) => Reason::Duration,
                    _ => Reason::Stopped,
                });
            }
            if idle {
                let left = most.map_or(NAP, |most| most.saturating_sub(shared.begin.elapsed()));
                std::thread::park_timeout(NAP.min(left));
            }
        }
    }

    /// Reads what is said from word `at` on; false if there is no room for it in the file.
    #[inline]
    fn word(&mut self, ring: &Ring, at: &mut u64) -> io::Result<bool> {
        let mut next = || {
            *at += 1;
            ring.word(*at - 1)
        };
        let word = next();
        let argument = word & ((1 << KIND) - 1);
        match word >> KIND {
            HIT => {
                let Known { size, time_to_live, key, owner, cost, .. } = self.slots[argument as usize];
                if key != NONE {
                    self.hits += 1;
                    self.rows.push(Record {
                        time: self.time,
                        key,
                        owner,
                        size,
                        time_to_live,
                        cost,
                        operation: Operation::Get,
                    })?;
                }
            }
            TIME => self.time = argument,
            MISS => {
                let hash = next();
                let text = if self.texts { text(next) } else { "".into() };
                if !self.rows.has_room(ROWS + 1, text.len() as u64)? {
                    return Ok(false);
                }
                if let Some(key) = self.key(hash, text)? {
                    self.misses += 1;
                    self.rows.look(Record { key, operation: Operation::Look, ..self.row(&NOTHING) })?;
                }
            }
            SET => {
                let slot = Some(argument as Slot).filter(|&slot| slot != Slot::MAX);
                let [hash, weight, time_to_live, owner] = [next(), next(), next(), next()];
                let text = if self.texts { text(next) } else { "".into() };
                if !self.rows.has_room(ROWS + 1, text.len() as u64)? {
                    return Ok(false);
                }
                let cost = f32::from_bits((owner >> 32) as u32);
                let held = Held { slot, hash, text: "".into(), weight, time_to_live, owner: owner as u32, cost, hits: 0 };
                self.set(&held, text)?;
            }
            DELETE => self.delete(argument as usize)?,
            CLEAR => return self.delete_all(|_| true),
            CLEAR_OWNER => return self.delete_all(|known| u64::from(known.number) == argument),
            OWNER => {
                let name = text(next);
                if !self.rows.has_room(ROWS + 1, name.len() as u64)? {
                    return Ok(false);
                }
                self.owner(argument as usize, name);
            }
            kind => unreachable!("no word is of kind {kind}"),
        }
        Ok(true)
    }

    fn row(&self, known: &Known) -> Record {
        let &Known { key, owner, size, time_to_live, cost, .. } = known;
        Record { time: self.time, key, owner, size, time_to_live, cost, operation: Operation::Delete }
    }

    fn owner(&mut self, number: usize, name: Box<str>) {
        if number >= self.owners.len() {
            self.owners.resize(number + 1, 0);
        }
        self.owners[number] = if name.is_empty() { 0 } else { self.rows.add_owner(name) };
    }

    /// Our number of a key, if it is recorded.
    fn key(&mut self, hash: u64, text: Box<str>) -> io::Result<Option<u32>> {
        if hash > self.highest {
            return Ok(None);
        }
        if let Some(&key) = self.keys.get(&hash) {
            return Ok(Some(key));
        }
        if self.rows.keys() >= KEYS.max(2 * self.slots.len()) {
            self.forget()?;
        }
        let text = if text.is_empty() { hash.to_string().into() } else { text };
        let key = self.rows.add_key(text);
        self.keys.insert(hash, key);
        self.places.push(Slot::MAX);
        self.unique += 1;
        Ok(Some(key))
    }

    /// Forgets the keys that the store doesn't hold: those that pass through must not stay for ever. Should one come back, it is told anew.
    #[cold]
    fn forget(&mut self) -> io::Result<()> {
        let Maker { rows, slots, keys, places, .. } = self;
        keys.clear();
        let old = std::mem::take(places);
        rows.forget_keys(|renumber| {
            for known in slots.iter_mut().filter(|known| known.key != NONE) {
                known.key = *keys.entry(known.hash).or_insert_with(|| {
                    places.push(old[known.key as usize]);
                    renumber(known.key)
                });
            }
        })
    }

    fn set(&mut self, held: &Held, text: Box<str>) -> io::Result<()> {
        let Some(key) = self.key(held.hash, text)? else {
            if let Some(slot) = held.slot {
                *self.slot(slot) = NOTHING;
            }
            return Ok(());
        };
        let owner = self.owners[held.owner as usize];
        // What a weigher finds to weigh nothing weighs 1, because a replay by bytes can't take less.
        let (size, time_to_live) = (held.weight.max(1), held.time_to_live);
        self.places[key as usize] = held.slot.unwrap_or(Slot::MAX);
        let before = held.slot.and_then(|slot| self.slots.get(slot as usize)).filter(|known| known.key == key);
        // What no trace can say counts as what is usual.
        let cost = if is_cost(held.cost) { held.cost } else { before.map_or(1.0, |known| known.cost) };
        let known = Known { hash: held.hash, size, time_to_live, key, owner, cost, number: held.owner };
        if let Some(slot) = held.slot {
            *self.slot(slot) = known;
        }
        let row = self.row(&known);
        self.rows.stored(row)
    }

    fn slot(&mut self, slot: Slot) -> &mut Known {
        crate::list::grow(&mut self.slots, slot, NOTHING);
        &mut self.slots[slot as usize]
    }

    fn delete(&mut self, slot: usize) -> io::Result<()> {
        // What was dead when the recording began isn't known.
        let known = self.slots.get_mut(slot).map_or(NOTHING, |known| std::mem::replace(known, NOTHING));
        if known.key == NONE { Ok(()) } else { self.rows.push(self.row(&known)) }
    }

    /// Deletes those keys by what was stored last under them; false if there is no room for all of it in the file.
    fn delete_all(&mut self, chosen: impl Fn(&Known) -> bool) -> io::Result<bool> {
        for slot in 0..self.slots.len() {
            let known = &self.slots[slot];
            if known.key != NONE && self.places[known.key as usize] as usize == slot && chosen(known) {
                if !self.rows.has_room(ROWS + 1, 0)? {
                    return Ok(false);
                }
                self.delete(slot)?;
            }
        }
        Ok(true)
    }
}

fn text(mut next: impl FnMut() -> u64) -> Box<str> {
    let length = next() as usize;
    let mut bytes: Vec<u8> = (0..length.div_ceil(8)).flat_map(|_| next().to_le_bytes()).collect();
    bytes.truncate(length);
    String::from_utf8(bytes).expect("a tape writes texts").into()
}
