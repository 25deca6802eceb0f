//! Builds a trace in memory, row by row.

use super::{Column, Facts, Key, Keys, Operation, Row, Trace};
use crate::expiry::NEVER;
use hashbrown::{HashMap, HashTable};
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, RandomState};
use std::ops::RangeInclusive;
use std::path::Path;
use xxhash_rust::xxh3::{Xxh3Builder, xxh3_64_with_seed};

/// See the head of this file.
#[derive(Debug)]
pub struct Builder {
    trace: Trace,
    index: HashTable<u32>,
    /// That of the index: no file can be made so that its keys collide.
    seed: u64,
    /// Bytes of keys that are texts.
    texts: usize,
    /// Bytes, by key.
    largest: Vec<u64>,
    /// Whether it was accessed and not deleted since, by key.
    live: Vec<bool>,
    /// The live ones in order, as soon as anybody asked for them.
    ordered: Option<BTreeSet<u64>>,
    owners: HashMap<Box<str>, u32, Xxh3Builder>,
    /// The first row of the request that goes on.
    request: usize,
}

fn hash_number(number: u64, seed: u64) -> u64 {
    // Both halves of the product: hashbrown takes its bits from either end.
    let product = u128::from(number ^ seed) * 0xA076_1D64_78BD_642F;
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
            costs: Column::Same(1.0),
            skipped: BTreeMap::new(),
            keys: Keys::Numbers(Vec::new()),
            owner_names: vec!["".into()],
            footprint: 0,
        };
        let seed = RandomState::new().hash_one(0);
        Builder {
            trace,
            index: HashTable::new(),
            texts: 0,
            seed,
            largest: Vec::new(),
            live: Vec::new(),
            ordered: None,
            owners: HashMap::with_hasher(Xxh3Builder::new().with_seed(seed)),
            request: 0,
        }
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

    /// Bytes that the trace takes so far, and what it takes to build it.
    pub(super) fn held(&self) -> u64 {
        let trace = &self.trace;
        let columns = [
            size_of_val(trace.ids.as_slice()),
            trace.times.held(),
            trace.sizes.held(),
            trace.operations.held(),
            trace.times_to_live.held(),
            trace.owners.held(),
            trace.continues.held(),
            trace.costs.held(),
        ];
        // A place of the index is a number and a byte.
        let index = self.index.capacity() * 5;
        let keys = match &trace.keys {
            Keys::Numbers(numbers) => size_of_val(numbers.as_slice()),
            Keys::Texts(texts) => size_of_val(texts.as_slice()) + self.texts,
        };
        let ordered = self.ordered.as_ref().map_or(0, |ordered| ordered.len() * 2 * size_of::<u64>());
        let beside = size_of_val(self.largest.as_slice()) + self.live.len();
        (columns.iter().sum::<usize>() + index + keys + ordered + beside) as u64
    }

    /// Appends an access. A delete of a key that isn't there, because nothing has asked for it before or since it was deleted, says
    /// nothing, and is left out: a device that is trimmed as a whole would otherwise count as so many objects. Times must not go back.
    pub fn push(&mut self, row: &Row) {
        let known = self.find(row.key);
        let id = match (known, row.operation) {
            (Some(id), Operation::Delete) if self.live[id as usize] => id,
            (_, Operation::Delete) => return self.close(row.continues),
            (Some(id), _) => id,
            (None, _) => self.intern(row.key),
        };
        self.set_live(id, row.key, row.operation != Operation::Delete);
        let owner = self.owner(row.owner);
        let at = self.trace.len();
        let trace = &mut self.trace;
        debug_assert!(at == 0 || trace.times.at(at - 1) <= row.time, "times that go back");
        trace.times.push(at, row.time);
        trace.sizes.push(at, row.size);
        trace.operations.push(at, row.operation);
        trace.times_to_live.push(at, row.time_to_live);
        trace.owners.push(at, owner);
        trace.continues.push(at, row.continues);
        trace.costs.push(at, row.cost);
        trace.ids.push(id);
        if row.operation != Operation::Delete {
            let largest = &mut self.largest[id as usize];
            *largest = row.size.max(*largest);
        }
        self.close(row.continues);
    }

    fn set_live(&mut self, id: u32, key: Key, live: bool) {
        let before = std::mem::replace(&mut self.live[id as usize], live);
        if let (Some(ordered), Key::Number(number), true) = (&mut self.ordered, key, before != live) {
            match live {
                true => ordered.insert(number),
                false => ordered.remove(&number),
            };
        }
    }

    /// The largest size that the key ever had; 0 if it is new.
    pub(super) fn size_of(&self, key: Key) -> u64 {
        self.find(key).map_or(0, |id| self.largest[id as usize])
    }

    /// The numbers in `range` that a delete would find, in order. Takes no longer for a larger range.
    pub(super) fn present(&mut self, range: RangeInclusive<u64>) -> Vec<u64> {
        let (trace, live) = (&self.trace, &self.live);
        let number = |id: usize| match trace.key(id as u32) {
            Key::Number(number) => Some(number),
            Key::Text(_) => None,
        };
        let all = || (0..live.len()).filter(|&id| live[id]).filter_map(number).collect();
        self.ordered.get_or_insert_with(all).range(range).copied().collect()
    }

    /// Ends the request unless it `continues`: its last row that was kept is its end.
    pub(super) fn close(&mut self, continues: bool) {
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
            (Keys::Numbers(_), Key::Number(number)) => hash_number(number, self.seed),
            _ => xxh3_64_with_seed(key.text().as_bytes(), self.seed),
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
                let hash = |text: &str| xxh3_64_with_seed(text.as_bytes(), self.seed);
                self.index.insert_unique(hash(text), id as u32, |&id| hash(&texts[id as usize]));
            }
            self.texts = texts.iter().map(|text| text.len()).sum();
            self.trace.keys = Keys::Texts(texts);
        }
        let (id, hash) = (self.trace.unique() as u32, self.hash(key));
        match (&mut self.trace.keys, key) {
            (Keys::Numbers(numbers), Key::Number(number)) => {
                numbers.push(number);
                self.index.insert_unique(hash, id, |&id| hash_number(numbers[id as usize], self.seed));
            }
            (Keys::Texts(texts), key) => {
                texts.push(key.text().into());
                self.texts += texts[id as usize].len();
                self.index.insert_unique(hash, id, |&id| xxh3_64_with_seed(texts[id as usize].as_bytes(), self.seed));
            }
            (Keys::Numbers(_), Key::Text(_)) => unreachable!("numbers became texts above"),
        }
        self.largest.push(0);
        self.live.push(false);
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
