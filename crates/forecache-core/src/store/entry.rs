//! What a store is told of entries, what it keeps of them, and what it says of those that left.

use crate::expiry::NEVER;
use crate::list::Slot;
use crate::policy::Cause;
#[cfg(doc)]
use crate::policy::Meta;

/// The most that a store may hold. Both bounds hold at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Total weight.
    pub capacity: u64,
    /// Number of entries. If given, the policy balances entries instead of weights.
    pub max_entries: Option<usize>,
}

/// A value on its way in.
#[derive(Debug)]
pub struct New<K, V> {
    /// Its key.
    pub key: K,
    /// The key's fingerprint.
    pub fingerprint: u64,
    /// The value.
    pub value: V,
    /// The weight of key, value and bookkeeping together.
    pub weight: u64,
}

/// All that is said about an entry when it is stored.
#[derive(Debug, Clone, Copy)]
pub struct Options<'a> {
    /// Nanoseconds from now; [`NEVER`] for none.
    pub time_to_live: u64,
    /// Nanoseconds from the last access; [`NEVER`] for none.
    pub time_to_idle: u64,
    /// Number of its owner.
    pub owner: u32,
    /// Number of its key group.
    pub group: u16,
    /// See [`Meta::cost`].
    pub cost: f32,
    /// See [`Meta::address`].
    pub address: Option<u64>,
    /// See [`Meta::tier`].
    pub tier: u8,
    /// See [`Meta::compression`].
    pub compression: f32,
    /// See [`Meta::references`].
    pub references: u32,
    /// Refuses to be overwritten.
    pub immutable: bool,
    /// Is never evicted for space.
    pub pinned: bool,
    /// Tags by which it can be invalidated.
    pub tags: &'a [Box<str>],
}

impl Default for Options<'_> {
    fn default() -> Self {
        Options {
            time_to_live: NEVER,
            time_to_idle: NEVER,
            owner: 0,
            group: 0,
            cost: 1.0,
            address: None,
            tier: 0,
            compression: 1.0,
            references: 1,
            immutable: false,
            pinned: false,
            tags: &[],
        }
    }
}

/// An entry that left, and why.
#[derive(Debug, PartialEq, Eq)]
pub struct Removed<K, V> {
    /// Its key.
    pub key: K,
    /// Its value.
    pub value: V,
    /// Why it left.
    pub cause: Cause,
    /// What it was, if the store [keeps that](super::Store::keeps_rest) and it left for space.
    pub rest: Option<Box<Rest>>,
}

/// All that was said of an entry which left, for who stores it elsewhere.
#[derive(Debug, PartialEq, Eq)]
pub struct Rest {
    /// The slot that it had.
    pub slot: Slot,
    /// Its weight.
    pub weight: u64,
    /// The end of its time to live, in nanoseconds of the store's clock; [`NEVER`] for none.
    pub hard: u64,
    /// Nanoseconds from the last access; [`NEVER`] for none.
    pub time_to_idle: u64,
    /// When it would have expired if nobody had read it any more.
    pub deadline: u64,
    /// The name of its owner.
    pub owner: Box<str>,
    /// Its tags.
    pub tags: Vec<Box<str>>,
    /// Whether it refuses to be overwritten.
    pub immutable: bool,
}

/// What became of an attempt to store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is in.
    Stored,
    /// It is heavier than all that isn't pinned together, or the policy preferred what is there.
    Refused,
    /// An immutable entry stands in its place.
    Immutable,
}

/// Sums since the store was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Reads that found a live entry.
    pub hits: u64,
    /// Reads that found none.
    pub misses: u64,
    /// Values stored.
    pub sets: u64,
    /// Values refused.
    pub refused: u64,
    /// Entries that left, by the number of the [`Cause`].
    pub removed: [u64; Cause::ALL.len()],
}

pub(super) const IDLE: u8 = 1;
pub(super) const IMMUTABLE: u8 = 2;
pub(super) const PINNED: u8 = 4;
/// A [shadow](crate::shadow) looks at it.
pub(super) const SHADED: u8 = 8;

#[derive(Debug)]
pub(super) struct Entry<K, V> {
    pub(super) key: K,
    pub(super) value: V,
    pub(super) weight: u64,
    pub(super) deadline: u64,
    pub(super) namespace: u32,
    pub(super) owner: u32,
    pub(super) generation: u32,
    pub(super) group: u16,
    pub(super) flags: u8,
}

impl<K, V> Entry<K, V> {
    pub(super) fn is_shaded(&self) -> bool {
        self.flags & SHADED != 0
    }
}

/// What only entries with a time to idle need.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Idle {
    pub(super) time_to_idle: u64,
    /// The end of its time to live.
    pub(super) hard: u64,
}
