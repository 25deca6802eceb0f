//! The blocks of our own format: some thousand records, column by column, compressed.

use super::bounds::{ACCESSES, NAME, NAMES, RECORDS, charge, most_pages};
use super::{Key, Operation, Row, is_cost};
use crate::number::{push, push_text, step, stepped, take, take_text};
use hashbrown::HashMap;
use xxhash_rust::xxh3::Xxh3DefaultBuilder;

const COLUMNS: usize = 9;
const TIME: usize = 0;
const KEY: usize = 1;
const PAGE: usize = 2;
const SIZE: usize = 3;
const OPERATION: usize = 4;
const LIFE: usize = 5;
const OWNER: usize = 6;
const MORE: usize = 7;
const COST: usize = 8;
const SAME: u64 = 0;
const EACH: u64 = 1;

/// Names by number, in the order in which they came.
#[derive(Debug, Default)]
pub struct Names {
    /// How many earlier blocks told; the others, and their bytes.
    told: u64,
    list: Vec<Box<str>>,
    untold: usize,
    numbers: HashMap<Box<str>, u64, Xxh3DefaultBuilder>,
}

impl Names {
    fn number(&mut self, name: &str) -> u64 {
        if let Some(&number) = self.numbers.get(name) {
            return number;
        }
        let number = self.tell(name.into());
        self.numbers.insert(name.into(), number);
        number
    }

    /// The number of a name that is told anew, whether it was told before or not.
    fn tell(&mut self, name: Box<str>) -> u64 {
        self.untold += name.len();
        self.list.push(name);
        self.told + self.list.len() as u64 - 1
    }
}

/// An access whose key and owner were told by number.
#[derive(Debug, Clone, Copy)]
pub struct Record {
    /// See [`Row::time`].
    pub time: u64,
    /// The number of the key.
    pub key: u32,
    /// The number of the owner; 0 for nobody.
    pub owner: u32,
    /// Bytes.
    pub size: u64,
    /// See [`Row::time_to_live`].
    pub time_to_live: u64,
    /// See [`Row::cost`].
    pub cost: f32,
    /// How.
    pub operation: Operation,
}

/// A block that is being filled, and the names that all blocks share.
#[derive(Debug, Default)]
pub struct Filling {
    columns: [Vec<u64>; COLUMNS],
    /// What the records stand for, as a reader counts it.
    accesses: u64,
    /// The time of the record before, and the key after its last.
    before: (u64, u64),
    keys: Names,
    owners: Names,
}

impl Filling {
    /// Whether it is time to write it.
    pub fn is_full(&self) -> bool {
        self.len() == RECORDS || self.accesses >= ACCESSES || self.keys.untold + self.owners.untold > NAMES
    }

    /// Records in the block.
    pub fn len(&self) -> usize {
        self.columns[TIME].len()
    }

    /// Accesses that the block stands for.
    pub fn accesses(&self) -> u64 {
        self.accesses
    }

    /// Appends an access of `pages` keys from that of `row` on. With `texts` the key is told as a text.
    pub fn push(&mut self, row: &Row, pages: u64, texts: bool) {
        let key = match row.key {
            Key::Number(number) if !texts => {
                let step = step(self.before.1, number);
                self.before.1 = number.wrapping_add(pages);
                step
            }
            key => self.keys.number(&key.text()),
        };
        let owner = if row.owner.is_empty() { 0 } else { self.owners.number(row.owner) + 1 };
        let (operation, continues) = (row.operation as u64, u64::from(row.continues));
        let (life, cost) = (row.time_to_live.wrapping_add(1), u64::from(row.cost.to_bits()));
        self.put([step(self.before.0, row.time), key, pages - 1, row.size, operation, life, owner, continues, cost]);
        self.before.0 = row.time;
        self.accesses += charge(row.operation, pages);
    }

    /// Appends an access to a key that was told.
    #[inline]
    pub fn push_record(&mut self, record: &Record) {
        let &Record { time, key, owner, size, time_to_live, cost, operation } = record;
        let (key, owner, life) = (key.into(), owner.into(), time_to_live.wrapping_add(1));
        self.put([step(self.before.0, time), key, 0, size, operation as u64, life, owner, 0, u64::from(cost.to_bits())]);
        self.before.0 = time;
        self.accesses += 1;
    }

    #[inline]
    fn put(&mut self, values: [u64; COLUMNS]) {
        for (column, value) in self.columns.iter_mut().zip(values) {
            column.push(value);
        }
    }

    /// The number of a key that is told with this block.
    pub fn tell_key(&mut self, name: Box<str>) -> u64 {
        self.keys.tell(name)
    }

    /// The number of an owner that is told with this block; never 0.
    pub fn tell_owner(&mut self, name: Box<str>) -> u64 {
        self.owners.tell(name) + 1
    }

    /// The block, not yet compressed; the next begins.
    pub fn take(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        for names in [&mut self.keys, &mut self.owners] {
            push(&mut out, names.list.len() as u64);
            names.list.iter().for_each(|name| push_text(&mut out, name));
            names.told += names.list.len() as u64;
            names.list.clear();
            names.untold = 0;
        }
        for column in &mut self.columns {
            match column.first() {
                Some(&first) if column.iter().all(|&value| value == first) => {
                    push(&mut out, SAME);
                    push(&mut out, first);
                }
                _ => {
                    push(&mut out, EACH);
                    column.iter().for_each(|&value| push(&mut out, value));
                }
            }
            column.clear();
        }
        (self.before, self.accesses) = ((0, 0), 0);
        out
    }
}

/// The names that the blocks read so far have told.
#[derive(Debug)]
pub struct Told {
    keys: Vec<Box<str>>,
    owners: Vec<Box<str>>,
    /// Columns of a block: the first version knew no costs.
    columns: usize,
}

impl Told {
    /// Of a file of that version, nothing read yet.
    pub fn of_version(version: u16) -> Self {
        Told { keys: Vec::new(), owners: Vec::new(), columns: if version < 2 { COST } else { COLUMNS } }
    }

    /// Reads a block that was uncompressed: `each` gets a record's first access and how many pages it covers. Says what is wrong
    /// if the bytes are no such block.
    pub fn read(
        &mut self,
        mut bytes: &[u8],
        records: usize,
        texts: bool,
        mut each: impl FnMut(Row, u64) -> Result<(), String>,
    ) -> Result<(), String> {
        for names in [&mut self.keys, &mut self.owners] {
            let count = take(&mut bytes).ok_or("the number of its names is cut off")?;
            if count > records as u64 {
                return Err(format!("it tells {count} names for {records} records; expected at most one a record"));
            }
            for _ in 0..count {
                let name = take_text(&mut bytes).ok_or("a name is cut off or no UTF-8")?;
                if name.len() > NAME {
                    return Err(format!("it tells a name of {} bytes; expected at most {NAME}", name.len()));
                }
                names.push(name.into());
            }
        }
        let mut columns: [Vec<u64>; COLUMNS] = Default::default();
        for column in &mut columns[..self.columns] {
            *column = read_column(&mut bytes, records).ok_or("a column is cut off or of an unknown kind")?;
        }
        if !bytes.is_empty() {
            return Err(format!("{} bytes are left over behind its columns", bytes.len()));
        }
        let mut before = (0, 0);
        (0..records).try_for_each(|record| {
            let value = |column: usize| columns[column][record];
            before.0 = stepped(before.0, value(TIME));
            let operation = Operation::numbered(value(OPERATION)).ok_or("a record has an unknown operation")?;
            let (pages, most) = (value(PAGE).saturating_add(1), most_pages(operation));
            if pages > most {
                return Err(format!("record {record} is a {} of {pages} pages; expected at most {most}", operation.name()));
            }
            let key = if texts {
                Key::parse(named(&self.keys, value(KEY)).ok_or("a record has a key that was never told")?)
            } else {
                let number = stepped(before.1, value(KEY));
                before.1 = number.wrapping_add(pages);
                number.checked_add(pages - 1).ok_or("a record reaches beyond the largest key")?;
                Key::Number(number)
            };
            if texts && pages > 1 {
                return Err("a record of a text covers pages".into());
            }
            let owner = match value(OWNER).checked_sub(1) {
                None => "",
                Some(number) => named(&self.owners, number).ok_or("a record has an owner that was never told")?,
            };
            let cost = match columns[COST].get(record) {
                None => 1.0,
                Some(&bits) => u32::try_from(bits).ok().map(f32::from_bits).filter(|cost| is_cost(*cost)).ok_or_else(|| {
                    format!("record {record} has a cost of the bits {bits:#x}; expected those of a number of at least 0")
                })?,
            };
            let row = Row {
                time: before.0,
                key,
                size: value(SIZE),
                operation,
                time_to_live: value(LIFE).wrapping_sub(1),
                owner,
                continues: value(MORE) != 0,
                cost,
            };
            each(row, pages)
        })
    }
}

fn named(names: &[Box<str>], number: u64) -> Option<&str> {
    names.get(usize::try_from(number).ok()?).map(AsRef::as_ref)
}

fn read_column(bytes: &mut &[u8], records: usize) -> Option<Vec<u64>> {
    match take(bytes)? {
        SAME => Some(vec![take(bytes)?; records]),
        EACH => (0..records).map(|_| take(bytes)).collect(),
        _ => None,
    }
}
