//! Eviction policies: which entry leaves when a store is full.
//!
//! A policy sees slots, fingerprints and a plain [`Meta`]: never keys, values or Python. The store and the simulator drive
//! the same code in the same order, so the hit ratio that the simulator measures is the one that production gets.

mod adaptive;
mod arc;
mod clock2qplus;
mod ghost_lists;
pub(crate) mod history;
pub mod learned;
mod lfu;
mod logistic;
mod lru;
mod random;
mod s3fifo;
mod sieve;
pub(crate) mod standing;
#[cfg(test)]
mod suite;
mod tinylfu;

pub use crate::list::Slot;
pub use adaptive::Adaptive;
pub(crate) use adaptive::lessons::{KEEP, Lessons};
pub(crate) use adaptive::score::{AGES, CLASSES, Moment, Stamp, Weights};
pub use arc::Arc;
pub use clock2qplus::Clock2QPlus;
pub use learned::Learned;
pub use lfu::Lfu;
pub use logistic::Logistic;
pub use lru::Lru;
pub use random::Random;
pub use s3fifo::S3Fifo;
pub use sieve::Sieve;
pub use standing::Standing;
pub use tinylfu::TinyLfu;

/// What a policy may know of an entry.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Meta {
    /// In the unit of the budget that the policy balances: bytes, the weigher's unit, or 1 where entries are counted.
    pub weight: u64,
    /// How dear the entry is to load again, in the user's own unit; 1 unless said.
    pub cost: f32,
    /// Who stored it.
    pub owner: u32,
    /// Where its owner's entries are kept: see [`Rooms`](crate::rooms::Rooms).
    pub room: u16,
    /// Its key group: a small number for keys of one shape; 0 where unknown.
    pub group: u16,
    /// Nanoseconds it may live; `u64::MAX` for ever.
    pub time_to_live: u64,
    /// Nanoseconds by the store's clock; 0 if neither this entry nor any that is there expires.
    pub now: u64,
    /// The number that its key is, such as a block's or a page's: where the next one lies. Only a replay that was asked for addresses tells
    /// it, and not of an entry that is pinned or unpinned.
    pub address: Option<u64>,
    /// Which tier it is in; 0 is memory.
    pub tier: u8,
    /// Its bytes before compression over those after; 1 if it isn't compressed.
    pub compression: f32,
    /// How many refer to it; 1 unless said.
    pub references: u32,
}

impl Meta {
    /// An entry of this weight of which nothing else is known.
    pub fn of_weight(weight: u64) -> Self {
        Meta {
            weight,
            cost: 1.0,
            owner: 0,
            room: 0,
            group: 0,
            time_to_live: u64::MAX,
            now: 0,
            address: None,
            tier: 0,
            compression: 1.0,
            references: 1,
        }
    }
}

/// Why an entry left its store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cause {
    /// Deleted, popped or cleared by request.
    Explicit,
    /// Overwritten.
    Replaced,
    /// Its time to live or to idle ran out.
    Expired,
    /// Evicted to make room.
    Size,
    /// Named by a tag, pattern or event that invalidates.
    Invalidated,
}

impl Cause {
    /// All causes, in the order of their numbers.
    pub const ALL: [Cause; 5] = [Cause::Explicit, Cause::Replaced, Cause::Expired, Cause::Size, Cause::Invalidated];

    /// The name that users see.
    pub fn name(self) -> &'static str {
        match self {
            Cause::Explicit => "explicit",
            Cause::Replaced => "replaced",
            Cause::Expired => "expired",
            Cause::Size => "size",
            Cause::Invalidated => "invalidated",
        }
    }
}

/// What changed under a policy that tracks an entry.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Change {
    /// The entry in this slot has this weight now.
    Weight(Slot, u64),
    /// The entry in this slot costs this much to load again now, and has this weight.
    Cost(Slot, f32, u64),
    /// The entry in this slot expires then, in nanoseconds by the store's clock; `u64::MAX` for never. A time to idle that is put off by
    /// a hit isn't told.
    Deadline(Slot, u64),
    /// The store has room for so much, in the unit of weights. Told before the first entry comes, and when it changes.
    Capacity(u64),
}

impl Change {
    /// The slot of the entry that changed.
    pub fn slot(&mut self) -> Option<&mut Slot> {
        match self {
            Change::Weight(slot, _) | Change::Cost(slot, ..) | Change::Deadline(slot, _) => Some(slot),
            Change::Capacity(_) => None,
        }
    }
}

/// Which entry leaves. The store calls `on_insert` once for each entry that comes under the policy, `on_remove` once when it
/// leaves, whatever the cause; a pinned entry is taken from the policy while it is pinned.
pub trait Policy {
    /// A new entry. `fingerprint` is the seeded 64-bit hash of its key, the same whenever the key comes back.
    fn on_insert(&mut self, slot: Slot, fingerprint: u64, meta: &Meta);
    /// The entry was read or overwritten.
    fn on_hit(&mut self, slot: Slot);
    /// The entry left; [`Cause::Size`] if it was evicted while it lived.
    fn on_remove(&mut self, slot: Slot, cause: Cause);
    /// The entry to evict next; `None` only if the policy tracks none. `newcomer` is the fingerprint of the entry that needs the room,
    /// which is inserted after the evictions unless it is refused; `None` where an entry grew, or the budget shrank.
    fn victim(&mut self, newcomer: Option<u64>) -> Option<Slot>;
    /// Whether the newcomer deserves the room that `victim` takes.
    fn admit(&mut self, _fingerprint: u64, _meta: &Meta, _victim: Slot) -> bool {
        true
    }
    /// What the store changed by request.
    fn configure(&mut self, change: Change);
}

/// A look inside, for people and tests. Not every policy has an order to show.
pub trait Inspect {
    /// The next `n` victims if nothing more is asked for, the very next first.
    fn candidates(&self, n: usize) -> Vec<Slot>;
    /// Hits that the policy has counted for an entry it tracks and still goes by; 0 where it counts none.
    fn hits(&self, _slot: Slot) -> u64 {
        0
    }
    /// How an entry stands that it tracks.
    fn standing(&self, slot: Slot) -> Standing {
        Standing::queued(0, self.hits(slot))
    }
    /// What a standing means: why such an entry leaves, or may.
    fn words(&self, standing: &Standing) -> String;
    /// Bytes that the policy has allocated.
    fn allocated(&self) -> usize;
}

macro_rules! policies {
    ($($name:literal => $variant:ident($type:ty)),+ $(,)?) => {
        /// A policy chosen by name. An enum, not a trait object: the call on a hit is a predictable branch that can be inlined.
        #[derive(Debug)]
        #[expect(missing_docs, reason = "each variant is documented at its type")]
        pub enum AnyPolicy { $($variant($type)),+ }

        impl AnyPolicy {
            /// The names that [`AnyPolicy::named`] takes.
            pub const NAMES: &[&str] = &[$($name),+];

            /// Other names of some.
            pub const ALIASES: &[(&str, &str)] = &[("ml", "learned")];

            /// The policy of that name, empty.
            pub fn named(name: &str) -> Option<Self> {
                let alias = Self::ALIASES.iter().find(|(alias, _)| *alias == name);
                match alias.map_or(name, |(_, name)| name) { $($name => Some(AnyPolicy::$variant(<$type>::default())),)+ _ => None }
            }

            /// The name it was made by.
            pub fn name(&self) -> &'static str {
                match self { $(AnyPolicy::$variant(_) => $name),+ }
            }

            /// An empty one like it.
            pub fn fresh(&self) -> Self {
                match self {
                    AnyPolicy::Learned(learned) => AnyPolicy::Learned(learned.fresh()),
                    _ => Self::named(self.name()).expect("it has a known name"),
                }
            }

            /// An empty one that knows what this one learned.
            pub fn emptied(&self) -> Self {
                match self {
                    AnyPolicy::Learned(policy) => AnyPolicy::Learned(policy.emptied()),
                    policy => policy.fresh(),
                }
            }

            /// The one that learns, if it is that.
            pub fn as_learned(&self) -> Option<&Learned> {
                if let AnyPolicy::Learned(policy) = self { Some(policy) } else { None }
            }

            /// The same, to be changed.
            pub fn as_learned_mut(&mut self) -> Option<&mut Learned> {
                if let AnyPolicy::Learned(policy) = self { Some(policy) } else { None }
            }

            /// Its inside.
            pub fn inspect(&self) -> &dyn Inspect {
                match self { $(AnyPolicy::$variant(policy) => policy),+ }
            }
        }

        impl Policy for AnyPolicy {
            fn on_insert(&mut self, slot: Slot, fingerprint: u64, meta: &Meta) {
                match self { $(AnyPolicy::$variant(policy) => policy.on_insert(slot, fingerprint, meta)),+ }
            }
            #[inline(always)]
            fn on_hit(&mut self, slot: Slot) {
                match self { $(AnyPolicy::$variant(policy) => policy.on_hit(slot)),+ }
            }
            fn on_remove(&mut self, slot: Slot, cause: Cause) {
                match self { $(AnyPolicy::$variant(policy) => policy.on_remove(slot, cause)),+ }
            }
            fn victim(&mut self, newcomer: Option<u64>) -> Option<Slot> {
                match self { $(AnyPolicy::$variant(policy) => policy.victim(newcomer)),+ }
            }
            fn admit(&mut self, fingerprint: u64, meta: &Meta, victim: Slot) -> bool {
                match self { $(AnyPolicy::$variant(policy) => policy.admit(fingerprint, meta, victim)),+ }
            }
            fn configure(&mut self, change: Change) {
                match self { $(AnyPolicy::$variant(policy) => policy.configure(change)),+ }
            }
        }
    };
}

policies! {
    "lru" => Lru(Lru),
    "lfu" => Lfu(Lfu),
    "random" => Random(Random),
    "s3fifo" => S3Fifo(S3Fifo),
    "arc" => Arc(Arc),
    "sieve" => Sieve(Sieve),
    "clock2q+" => Clock2QPlus(Clock2QPlus),
    "tinylfu" => TinyLfu(TinyLfu),
    "adaptive" => Adaptive(Adaptive),
    "logistic" => Logistic(Logistic),
    "learned" => Learned(Learned),
}
