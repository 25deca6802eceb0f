//! Traces: recordings of what real programs asked for, and in what order.
//!
//! A [`Trace`] is a struct of arrays held in memory; [`Trace::open`] reads one from a file of any known format, wholly or not at
//! all. Formats: our own ([`file`], written by [`Writer`]), oracleGeneral ([`oracle`]), tables ([`table`]) and plain text ([`text`]).

mod block;
pub(crate) mod bounds;
mod build;
mod column;
mod columns;
pub mod convert;
#[cfg(test)]
mod crafted;
mod error;
pub mod file;
#[cfg(test)]
mod foreign;
mod format;
pub mod import;
mod input;
mod intake;
mod open;
pub mod oracle;
mod sample;
pub mod secret;
pub mod table;
#[cfg(test)]
mod tests;
pub mod text;
mod write;

pub use build::Builder;
pub use column::Column;
pub use columns::Columns;
pub use error::{Place, TraceError};
pub use format::Format;
pub use intake::Flaw;
pub use open::Reading;
pub(crate) use write::Partial;
pub use write::{Record, Writer, create};

use crate::expiry::NEVER;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What was asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Operation {
    /// A read; on a miss the cache is filled.
    #[default]
    Get,
    /// A write, which leaves the new value in the cache.
    Set,
    /// The key is gone.
    Delete,
    /// Something is stored that nobody asked for first, such as what was in a cache when its recording began. It isn't counted.
    Fill,
    /// A read after which nothing is stored, whether it found something or not.
    Look,
}

impl Operation {
    /// All operations, in the order of their numbers.
    pub const ALL: [Operation; 5] = [Operation::Get, Operation::Set, Operation::Delete, Operation::Fill, Operation::Look];

    /// The name that users see.
    pub fn name(self) -> &'static str {
        match self {
            Operation::Get => "get",
            Operation::Set => "set",
            Operation::Delete => "delete",
            Operation::Fill => "fill",
            Operation::Look => "look",
        }
    }

    /// Whether it is an access, which hits or misses.
    pub fn counts(self) -> bool {
        !matches!(self, Operation::Delete | Operation::Fill)
    }

    /// The operation of that number.
    pub(crate) fn numbered(number: u64) -> Option<Self> {
        Operation::ALL.get(usize::try_from(number).ok()?).copied()
    }
}

/// A key as a recording names it. A text that is the decimal form of a `u64` is the same key as that number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Key<'a> {
    /// A block, page or object number.
    Number(u64),
    /// Any other text.
    Text(&'a str),
}

impl<'a> Key<'a> {
    /// The key of that text: a number if it is one, written as `to_string` writes it.
    pub fn parse(text: &'a str) -> Self {
        let plain = text.len() < 2 || !text.starts_with('0');
        match text.parse() {
            Ok(number) if plain && !text.starts_with('+') => Key::Number(number),
            _ => Key::Text(text),
        }
    }

    /// The text by which a cache knows it.
    pub fn text(self) -> Cow<'a, str> {
        match self {
            Key::Number(number) => Cow::Owned(number.to_string()),
            Key::Text(text) => Cow::Borrowed(text),
        }
    }
}

/// One access.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Row<'a> {
    /// Nanoseconds since any fixed moment; an ordinal times 10^9 where a recording has no times.
    pub time: u64,
    /// What was accessed.
    pub key: Key<'a>,
    /// Bytes.
    pub size: u64,
    /// How.
    pub operation: Operation,
    /// Nanoseconds that a value stored by this access may live; [`NEVER`] for ever.
    pub time_to_live: u64,
    /// On whose behalf; empty for nobody's.
    pub owner: &'a str,
    /// Whether the next row is of the same request.
    pub continues: bool,
    /// How dear it is to load what was accessed, in any unit; 1 unless said.
    pub cost: f32,
}

impl<'a> Row<'a> {
    /// A read of `key` at `time`, of which nothing else is known.
    pub fn get(time: u64, key: Key<'a>, size: u64) -> Self {
        Row { time, key, size, operation: Operation::Get, time_to_live: NEVER, owner: "", continues: false, cost: 1.0 }
    }
}

/// What holds for a whole trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Bytes of a page, where keys number pages; 0 where they don't.
    pub page_size: u32,
    /// Bytes of the device that was recorded; 0 where there was none.
    pub device_size: u64,
    /// Keys were numbered by first appearance: "the next number" looks into the future, so no predictor may use it.
    pub opaque: bool,
    /// Keys are secret hashes of the real ones: they tell nothing but which are the same.
    pub hashed: bool,
    /// Of a million keys, those that were recorded, chosen by hash. Caches shrink alike: one of 1,000 entries behaves on the whole as
    /// one of 10 does on a hundredth of its keys.
    pub sampled: u32,
    /// What was recorded, and how.
    pub description: String,
}

/// [`Facts::sampled`] where all keys were recorded.
pub const ALL_KEYS: u32 = 1_000_000;

impl Default for Facts {
    fn default() -> Self {
        Facts { page_size: 0, device_size: 0, opaque: false, hashed: false, sampled: ALL_KEYS, description: String::new() }
    }
}

/// The name of the file at `path` in small letters, without the suffix of a packing.
fn unpacked_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    name.strip_suffix(".gz").or(name.strip_suffix(".zst")).unwrap_or(&name).into()
}

/// Whether it can be what an entry costs to load.
pub(crate) fn is_cost(cost: f32) -> bool {
    cost.is_finite() && cost >= 0.0
}

/// The keys of a trace, each once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Keys {
    Numbers(Vec<u64>),
    Texts(Vec<Box<str>>),
}

/// A recording in memory. Rows are numbered from 0; keys by the order of their first access.
#[derive(Debug, Clone, PartialEq)]
pub struct Trace {
    /// What holds for the whole of it.
    pub facts: Facts,
    /// Where it was read from.
    pub path: PathBuf,
    /// The number of the key, a row.
    pub ids: Vec<u32>,
    /// Nanoseconds, a row; never less than in the row before.
    pub times: Column<u64>,
    /// Bytes, a row.
    pub sizes: Column<u64>,
    /// How, a row.
    pub operations: Column<Operation>,
    /// Nanoseconds to live, a row; [`NEVER`] for ever.
    pub times_to_live: Column<u64>,
    /// The number of the owner, a row.
    pub owners: Column<u32>,
    /// Whether the next row is of the same request, a row.
    pub continues: Column<bool>,
    /// See [`Row::cost`], a row.
    pub costs: Column<f32>,
    /// Rows of the file that couldn't be used and were left out, by what was wrong.
    pub skipped: BTreeMap<Flaw, u64>,
    pub(crate) keys: Keys,
    pub(crate) owner_names: Vec<Box<str>>,
    /// Bytes: the largest size that each key ever had, summed.
    pub footprint: u64,
}

impl Trace {
    /// Accesses.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether nothing was recorded.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// How many keys there are.
    pub fn unique(&self) -> usize {
        match &self.keys {
            Keys::Numbers(numbers) => numbers.len(),
            Keys::Texts(texts) => texts.len(),
        }
    }

    /// The key of that number.
    pub fn key(&self, id: u32) -> Key<'_> {
        match &self.keys {
            Keys::Numbers(numbers) => Key::Number(numbers[id as usize]),
            Keys::Texts(texts) => Key::parse(&texts[id as usize]),
        }
    }

    /// Whether every key is a number.
    pub fn is_numeric(&self) -> bool {
        matches!(self.keys, Keys::Numbers(_))
    }

    /// The keys as numbers, for policies that look at how they lie. Refused where that tells nothing, or what nobody could know.
    pub fn addresses(&self) -> Result<&[u64], TraceError> {
        let refused =
            |why: &str| Err(self.error(Place::Whole, format!("addresses: {why}, so there are none to hand to a policy")));
        match &self.keys {
            _ if self.facts.hashed => refused("its keys are secret hashes"),
            _ if self.facts.opaque => refused("its keys were numbered by first appearance, which tells the future"),
            Keys::Texts(_) => refused("its keys are texts"),
            Keys::Numbers(numbers) => Ok(numbers),
        }
    }

    /// The names of the owners, by number.
    pub fn owner_names(&self) -> &[Box<str>] {
        &self.owner_names
    }

    /// All that is known of one access.
    pub fn row(&self, row: usize) -> Row<'_> {
        Row {
            time: self.times.at(row),
            key: self.key(self.ids[row]),
            size: self.sizes.at(row),
            operation: self.operations.at(row),
            time_to_live: self.times_to_live.at(row),
            owner: &self.owner_names[self.owners.at(row) as usize],
            continues: self.continues.at(row),
            cost: self.costs.at(row),
        }
    }

    /// An error that names this trace.
    pub fn error(&self, place: Place, message: impl Into<String>) -> TraceError {
        TraceError { path: self.path.clone(), place, message: message.into() }
    }
}
