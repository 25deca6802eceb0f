//! The rows of a recording on their way to the file: for a while they wait for what a missed read turns out to have been.
//!
//! A read that found nothing is a look. If its key is stored soon after, both are one `get`, whose row stands where the store happened,
//! since that is when a replay has to store it; of several looks it is the last, as in a process where several callers missed and one
//! loaded. Something stored without such a look is a `fill`.

use super::{Map, Shared};
use crate::trace::{Operation, Record, Writer};
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Rows that wait at most, and how many then go: where 10,000 are asked for a second, a load has some three seconds.
const WAITING: usize = 1 << 16;
const GOING: usize = 1 << 15;
/// The most bytes that a record takes in a block, before packing.
const RECORD: u64 = 80;
/// Bytes of a block's heads and checks, and of the trailer.
const HEADS: u64 = 64;
/// The number of a name that wasn't told.
const UNTOLD: u32 = u32::MAX;

/// Names by our number, told when the first row with them goes: a block tells at most one a record.
#[derive(Debug, Default)]
struct Names {
    told: Vec<u32>,
    untold: Map<u32, Box<str>>,
    bytes: u64,
}

impl Names {
    fn add(&mut self, text: Box<str>) -> u32 {
        let number = self.told.len() as u32;
        self.bytes += text.len() as u64;
        self.told.push(UNTOLD);
        self.untold.insert(number, text);
        number
    }

    #[inline]
    fn tell(&mut self, number: u32, tell: impl FnOnce(Box<str>) -> u64) -> u32 {
        let told = self.told[number as usize];
        if told == UNTOLD { self.tell_first(number, tell) } else { told }
    }

    #[cold]
    fn tell_first(&mut self, number: u32, tell: impl FnOnce(Box<str>) -> u64) -> u32 {
        let text = self.untold.remove(&number).expect("a name is told once");
        self.bytes -= text.len() as u64;
        let told = tell(text) as u32;
        self.told[number as usize] = told;
        told
    }
}

/// See the head of this file.
#[derive(Debug)]
pub struct Rows<W> {
    out: Writer<W>,
    most: u64,
    shared: Arc<Shared>,
    rows: Vec<Option<Record>>,
    /// Rows that have gone.
    gone: u64,
    /// Records in the block that is being filled, at most, and bytes of the names told with them.
    block: (u64, u64),
    /// The number of the latest look for each key.
    looks: Map<u32, u64>,
    keys: Names,
    owners: Names,
}

impl<W: Write> Rows<W> {
    /// For a file that may have `most` bytes.
    pub fn new(out: Writer<W>, most: u64, shared: Arc<Shared>) -> Self {
        let (keys, mut owners) = (Names::default(), Names::default());
        // Nobody.
        owners.told.push(0);
        let (rows, looks) = (Vec::with_capacity(WAITING), Map::default());
        Rows { out, most, shared, rows, gone: 0, block: (0, 0), looks, keys, owners }
    }

    /// The number of a new key.
    pub fn add_key(&mut self, text: Box<str>) -> u32 {
        self.keys.add(text)
    }

    /// The number of a new owner.
    pub fn add_owner(&mut self, text: Box<str>) -> u32 {
        self.owners.add(text)
    }

    /// How many numbers of keys were given.
    pub fn keys(&self) -> usize {
        self.keys.told.len()
    }

    /// Appends a row.
    #[inline]
    pub fn push(&mut self, row: Record) -> io::Result<()> {
        self.rows.push(Some(row));
        if self.rows.len() < WAITING { Ok(()) } else { self.go(GOING) }
    }

    /// Appends a read that found nothing.
    pub fn look(&mut self, row: Record) -> io::Result<()> {
        self.looks.insert(row.key, self.gone + self.rows.len() as u64);
        self.push(row)
    }

    /// Appends what was stored.
    pub fn stored(&mut self, mut row: Record) -> io::Result<()> {
        row.operation = Operation::Fill;
        if let Some(place) = self.looks.remove(&row.key).and_then(|look| look.checked_sub(self.gone)) {
            self.rows[place as usize] = None;
            row.operation = Operation::Get;
        }
        self.push(row)
    }

    /// Lets the first `count` rows go.
    fn go(&mut self, count: usize) -> io::Result<()> {
        let Rows { out, rows, block, keys, owners, .. } = self;
        for row in rows.drain(..count).flatten() {
            let (untold, written) = (keys.bytes + owners.bytes, out.written());
            let key = keys.tell(row.key, |text| out.tell_key(text));
            let owner = owners.tell(row.owner, |text| out.tell_owner(text));
            *block = (block.0 + 1, block.1 + untold - keys.bytes - owners.bytes);
            out.push_record(&Record { key, owner, ..row })?;
            if out.written() > written {
                *block = (0, 0);
            }
        }
        self.gone += count as u64;
        let gone = self.gone;
        self.looks.retain(|_, look| *look >= gone);
        self.shared.bytes.store(self.out.written(), Ordering::Relaxed);
        Ok(())
    }

    /// Whether there is room in the file for `rows` more rows with so many bytes of names, however badly all of it packs.
    pub fn has_room(&mut self, rows: u64, names: u64) -> io::Result<bool> {
        if self.fits(rows, names) {
            return Ok(true);
        }
        self.flush()?;
        Ok(self.fits(rows, names))
    }

    fn fits(&self, rows: u64, names: u64) -> bool {
        let names = names + self.block.1 + self.keys.bytes + self.owners.bytes;
        let rows = rows + self.block.0 + self.rows.len() as u64;
        self.out.written() + rows * RECORD + names + HEADS < self.most
    }

    /// Writes all that waits.
    fn flush(&mut self) -> io::Result<()> {
        self.go(self.rows.len())?;
        self.block = (0, 0);
        self.out.flush()
    }

    /// Writes what is left and the trailer, and gives back what was written to.
    pub fn finish(mut self) -> io::Result<W> {
        self.flush()?;
        self.out.finish()
    }

    /// Forgets all numbers of keys but those that `renumber` is called with, which get others.
    pub fn forget_keys(&mut self, renumber: impl FnOnce(&mut dyn FnMut(u32) -> u32)) -> io::Result<()> {
        self.flush()?;
        let old = std::mem::take(&mut self.keys.told);
        let (new, untold) = (&mut self.keys.told, &mut self.keys.untold);
        let mut texts = Map::default();
        renumber(&mut |number| {
            let (told, number) = (old[number as usize], number);
            new.push(told);
            if let Some(text) = untold.remove(&number) {
                texts.insert(new.len() as u32 - 1, text);
            }
            new.len() as u32 - 1
        });
        *untold = texts;
        Ok(())
    }
}
