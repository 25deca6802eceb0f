//! Builds a trace in memory, row by row.

use super::{Column, Facts, Key, Keys, Operation, Row, Trace};
use crate::expiry::NEVER;
use hashbrown::{HashMap, HashTable};
use std::path::Path;
use xxhash_rust::xxh3::{Xxh3DefaultBuilder, xxh3_64};

/// See the head of this file.
#[derive(Debug)]
pub struct Builder {
    trace: Trace,
    index: HashTable<u32>,
    /// Bytes, by key.
    largest: Vec<u64>,
    owners: HashMap<Box<str>, u32, Xxh3DefaultBuilder>,
    /// The first row of the request that goes on.
    request: usize,
}

fn hash_number(number: u64) -> u64 {
    // Both halves of the product: hashbrown takes its bits from either end.
    let product = u128::from(number ^ 0x9E37_79B9_7F4A_7C15) * 0xA076_1D64_78BD_642F;
    (product >> 64) as u64 ^ product as u64
}

impl Builder {
    /// Begins a trace that is read from `path`.
    pub fn new(path: &Path, facts: Facts) -> Self {
        let trace = Trace {
            facts,
            path: path.into(),
            ids: Vec::new(),
            times: Column::default(),
            sizes: Column::default(),
            operations: Column::default(),
            times_to_live: Column::Same(NEVER),
            owners: Column::default(),
            continues: Column::default(),
            keys: Keys::Numbers(Vec::new()),
            owner_names: vec!["".into()],
            footprint: 0,
        };
        Builder { trace, index: HashTable::new(), largest: Vec::new(), owners: HashMap::default(), request: 0 }
    }

    /// Accesses so far.
    pub fn len(&self) -> usize {
        self.trace.len()
    }

    /// Whether there is none yet.
    pub fn is_empty(&self) -> bool {
        self.trace.is_empty()
    }

    /// Whether there is no room for another: rows are numbered by 32 bits.
    pub fn is_full(&self) -> bool {
        self.len() >= u32::MAX as usize - 1
    }

    /// Appends an access. A delete of a key that nothing has asked for before says nothing, and is left out: a device that is
    /// trimmed as a whole would otherwise count as so many objects. Times that go back stand still.
    pub fn push(&mut self, row: &Row) {
        let known = self.find(row.key);
        let id = match (known, row.operation) {
            (Some(id), _) => id,
            (None, Operation::Delete) => return self.close(row.continues),
            (None, _) => self.intern(row.key),
        };
        let owner = self.owner(row.owner);
        let at = self.trace.len();
        let trace = &mut self.trace;
        let time = if at == 0 { row.time } else { row.time.max(trace.times.at(at - 1)) };
        trace.times.push(at, time);
        trace.sizes.push(at, row.size);
        trace.operations.push(at, row.operation);
        trace.times_to_live.push(at, row.time_to_live);
        trace.owners.push(at, owner);
        trace.continues.push(at, row.continues);
        trace.ids.push(id);
        if row.operation != Operation::Delete {
            let largest = &mut self.largest[id as usize];
            *largest = row.size.max(*largest);
        }
        self.close(row.continues);
    }

    /// Ends the request unless it `continues`: its last row that was kept is its end.
    fn close(&mut self, continues: bool) {
        let rows = self.trace.len();
        if !continues {
            if rows > self.request {
                self.trace.continues.set_last(rows, false);
            }
            self.request = rows;
        }
    }

    fn hash(&self, key: Key) -> u64 {
        match (&self.trace.keys, key) {
            (Keys::Numbers(_), Key::Number(number)) => hash_number(number),
            _ => xxh3_64(key.text().as_bytes()),
        }
    }

    fn find(&self, key: Key) -> Option<u32> {
        let hash = self.hash(key);
        match (&self.trace.keys, key) {
            (Keys::Numbers(numbers), Key::Number(number)) => self.index.find(hash, |&id| numbers[id as usize] == number).copied(),
            (Keys::Numbers(_), Key::Text(_)) => None,
            (Keys::Texts(texts), key) => {
                let text = key.text();
                self.index.find(hash, |&id| *texts[id as usize] == *text).copied()
            }
        }
    }

    /// Numbers a new key.
    fn intern(&mut self, key: Key) -> u32 {
        if let (Keys::Numbers(numbers), Key::Text(_)) = (&self.trace.keys, key) {
            let texts: Vec<Box<str>> = numbers.iter().map(|number| number.to_string().into()).collect();
            self.index.clear();
            for (id, text) in texts.iter().enumerate() {
                self.index.insert_unique(xxh3_64(text.as_bytes()), id as u32, |&id| xxh3_64(texts[id as usize].as_bytes()));
            }
            self.trace.keys = Keys::Texts(texts);
        }
        let (id, hash) = (self.trace.unique() as u32, self.hash(key));
        match (&mut self.trace.keys, key) {
            (Keys::Numbers(numbers), Key::Number(number)) => {
                numbers.push(number);
                self.index.insert_unique(hash, id, |&id| hash_number(numbers[id as usize]));
            }
            (Keys::Texts(texts), key) => {
                texts.push(key.text().into());
                self.index.insert_unique(hash, id, |&id| xxh3_64(texts[id as usize].as_bytes()));
            }
            (Keys::Numbers(_), Key::Text(_)) => unreachable!("numbers became texts above"),
        }
        self.largest.push(0);
        id
    }

    fn owner(&mut self, name: &str) -> u32 {
        if name.is_empty() {
            return 0;
        }
        if let Some(&number) = self.owners.get(name) {
            return number;
        }
        let number = self.trace.owner_names.len() as u32;
        self.trace.owner_names.push(name.into());
        self.owners.insert(name.into(), number);
        number
    }

    /// The trace. A request that was said to continue ends here.
    pub fn finish(mut self) -> Trace {
        self.close(false);
        self.trace.footprint = self.largest.iter().fold(0, |sum, &size| sum.saturating_add(size));
        self.trace
    }

    /// The numbers so far, if all keys are numbers, by first access.
    pub(crate) fn numbers(&self) -> Option<&[u64]> {
        match &self.trace.keys {
            Keys::Numbers(numbers) => Some(numbers),
            Keys::Texts(_) => None,
        }
    }

    /// What holds for the whole trace.
    pub(crate) fn facts_mut(&mut self) -> &mut Facts {
        &mut self.trace.facts
    }
}
