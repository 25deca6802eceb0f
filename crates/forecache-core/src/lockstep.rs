//! Replays a trace through caches of many sizes at once, for policies that only note a hit: SIEVE and those of S3-FIFO's queues.
//!
//! Idea: what such a policy keeps of an entry, whether it is in the main queue and was hit, is a few bits. A key has a word for each of
//! them, with a bit for each size, so a few instructions count a hit in all sizes; only a miss is worked on size by size. As entries
//! leave by eviction alone, queues are rings of keys that are written and read in order. SIEVE's is two: what the hand has passed, and
//! what is ahead of it.
//! Cost: 8 bytes a key for SIEVE, else 24 and 4 for each size; and for each size 8 to 16 bytes an entry.

use crate::bare;
use crate::groups::Groups;
use crate::policy::history::{WAYS, bucket_of, buckets_for, short};
use crate::simulate::{Known, Limit, Tally};
use crate::trace::{Operation, Trace, TraceError};
use std::time::Instant;

/// One bit a size.
type Sizes = u32;

/// Sizes that are replayed at once.
const MOST: usize = Sizes::BITS as usize;

/// Whether [`replay`] knows the policy and counts what the simulator counts: exactly, but that the simulator's S3-FIFO and Clock2Q+ take
/// two keys in 2^32 for one, and so see a few ghosts more.
pub fn applies(trace: &Trace, policy: &str, by_bytes: bool) -> bool {
    let deletes = match trace.operations.same() {
        Some(same) => same == Operation::Delete,
        None => (0..trace.len()).any(|row| trace.operations.at(row) == Operation::Delete),
    };
    let known = matches!(policy, "sieve" | "s3fifo" | "clock2q+");
    known && !by_bytes && !deletes && trace.len() < (u32::MAX / COUNTS) as usize && bare::is_exact(trace, false)
}

/// Replays `trace` through an empty cache of each limit, which are numbers of entries from 1. See [`applies`].
pub fn replay(trace: &Trace, policy: &str, limits: &[Limit], seed: u64) -> Result<Vec<Tally>, TraceError> {
    let total = Tally::of_accesses(trace, false)?;
    let known = Known::of(trace, &mut Groups::new([]), seed);
    let tallies = limits.chunks(MOST).map(|limits| match policy {
        "sieve" => run::<Sieve>(trace, &known, limits, total),
        "s3fifo" => run::<SmallAndMain<2, false>>(trace, &known, limits, total),
        _ => run::<SmallAndMain<1, true>>(trace, &known, limits, total),
    });
    Ok(tallies.flatten().collect())
}

/// The caches' policy, of one size.
trait Cache {
    /// What the caches of all sizes keep of keys.
    type Keys;
    /// Of keys that were never asked for.
    fn keys(fingerprints: &[u64], sizes: usize) -> Self::Keys;
    /// The cache whose bits have this number.
    fn new(capacity: usize, number: usize) -> Self;
    /// Counts a hit in the sizes that hold the key, which it gives.
    fn hit(keys: &mut Self::Keys, id: u32) -> Sizes;
    /// Stores a key that isn't there, and evicts if there is no room.
    fn store(&mut self, keys: &mut Self::Keys, id: u32);
}

fn run<C: Cache>(trace: &Trace, known: &Known, limits: &[Limit], total: Tally) -> Vec<Tally> {
    let begin = Instant::now();
    let new = |(number, limit): (usize, &Limit)| C::new((limit.amount() as usize).min(trace.unique()), number);
    let mut caches: Vec<C> = limits.iter().enumerate().map(new).collect();
    let all = Sizes::MAX >> (MOST - limits.len());
    let mut keys = C::keys(&known.fingerprints, limits.len());
    let mut tallies = vec![total; limits.len()];
    for (row, &id) in trace.ids.iter().enumerate() {
        let mut missing = all & !C::hit(&mut keys, id);
        let (operation, size) = (trace.operations.at(row), trace.sizes.at(row));
        let (counts, stores) = (operation.counts(), operation != Operation::Look);
        while missing != 0 {
            let number = missing.trailing_zeros() as usize;
            missing &= missing - 1;
            if counts {
                tallies[number].misses += 1;
                tallies[number].missed_bytes = tallies[number].missed_bytes.saturating_add(size);
            }
            if stores {
                caches[number].store(&mut keys, id);
            }
        }
    }
    for tally in &mut tallies {
        (tally.requests, tally.whole_requests) = (tally.accesses, tally.accesses - tally.misses);
        tally.took = begin.elapsed();
    }
    tallies
}

/// A queue of keys. Places are numbered from the first that ever came.
#[derive(Debug)]
struct Ring {
    keys: Vec<u32>,
    front: usize,
    back: usize,
}

impl Ring {
    fn new(most: usize) -> Self {
        Ring { keys: vec![0; most.next_power_of_two()], front: 0, back: 0 }
    }

    fn len(&self) -> usize {
        self.back - self.front
    }

    fn at(&self, place: usize) -> u32 {
        self.keys[place & (self.keys.len() - 1)]
    }

    #[inline]
    fn push(&mut self, id: u32) {
        let mask = self.keys.len() - 1;
        self.keys[self.back & mask] = id;
        self.back += 1;
    }

    /// There is one.
    #[inline]
    fn pop(&mut self) -> u32 {
        self.front += 1;
        self.at(self.front - 1)
    }
}

/// See `policy/sieve.rs`. The oldest are those that the hand has passed, then come those ahead of it.
struct Sieve {
    bit: Sizes,
    capacity: usize,
    passed: Ring,
    ahead: Ring,
}

#[derive(Debug, Clone, Copy, Default)]
struct Visits {
    held: Sizes,
    visited: Sizes,
}

impl Cache for Sieve {
    type Keys = Vec<Visits>;

    fn keys(fingerprints: &[u64], _sizes: usize) -> Vec<Visits> {
        vec![Visits::default(); fingerprints.len()]
    }

    fn new(capacity: usize, number: usize) -> Self {
        Sieve { bit: 1 << number, capacity, passed: Ring::new(capacity), ahead: Ring::new(capacity) }
    }

    #[inline(always)]
    fn hit(keys: &mut Vec<Visits>, id: u32) -> Sizes {
        let node = &mut keys[id as usize];
        node.visited |= node.held;
        node.held
    }

    #[inline]
    fn store(&mut self, keys: &mut Vec<Visits>, id: u32) {
        let mut full = self.passed.len() + self.ahead.len() == self.capacity;
        while full {
            let id = self.ahead.pop();
            let node = &mut keys[id as usize];
            full = node.visited & self.bit != 0;
            if full {
                node.visited ^= self.bit;
                self.passed.push(id);
            } else {
                node.held ^= self.bit;
            }
            if self.ahead.len() == 0 {
                std::mem::swap(&mut self.passed, &mut self.ahead);
            }
        }
        keys[id as usize].held |= self.bit;
        self.ahead.push(id);
    }
}

/// See `policy/s3fifo.rs`, and with a window `policy/clock2qplus.rs`. `PROMOTE_AT` is 2 and hits are counted up to 3, or both are 1.
struct SmallAndMain<const PROMOTE_AT: u8, const WINDOW: bool> {
    number: usize,
    bit: Sizes,
    capacity: usize,
    /// What the small queue should hold: a tenth of the whole.
    share: usize,
    full: bool,
    small: Ring,
    main: Ring,
    /// The first place of the small queue that is in the window.
    unripe: usize,
    ghosts: Ghosts,
}

#[derive(Debug, Clone, Copy, Default)]
struct Node {
    held: Sizes,
    /// Of the entries, those in the main queue.
    main: Sizes,
    /// Hits, a number of two digits.
    low: Sizes,
    high: Sizes,
    /// Of the entries in the small queue, those behind the window in which hits don't count.
    ripe: Sizes,
    fingerprint: u32,
}

/// What is kept of keys in two queues.
#[derive(Debug)]
struct Queued {
    nodes: Vec<Node>,
    /// By key and size, the key's mark as a ghost, or 0.
    marks: Vec<u32>,
    sizes: usize,
}

/// Tells which ghosts of one size the policy's own `Ghosts` would find: those that aren't too old, nor driven out of their bucket.
#[derive(Debug)]
struct Ghosts {
    limit: u32,
    now: u32,
    /// What ever came to each bucket, modulo 256.
    came: Vec<u8>,
}

/// A bucket's comings are kept with a ghost modulo this. That so many more come in a ghost's time, where four do on average, doesn't happen.
const COUNTS: u32 = 32;

impl Ghosts {
    fn new(limit: usize) -> Self {
        Ghosts { limit: limit as u32, now: 0, came: vec![0; buckets_for(limit)] }
    }

    /// The mark of a key that becomes a ghost now: the time and what came to its bucket.
    #[inline]
    fn remember(&mut self, fingerprint: u32) -> u32 {
        if self.limit == 0 {
            return 0;
        }
        let bucket = bucket_of(fingerprint, self.came.len());
        self.came[bucket] = self.came[bucket].wrapping_add(1);
        self.now += 1;
        self.now * COUNTS + u32::from(self.came[bucket]) % COUNTS
    }

    /// Whether the ghost with that mark is still one.
    #[inline]
    fn knows(&self, mark: u32, fingerprint: u32) -> bool {
        let since = |came: u8| u32::from(came).wrapping_sub(mark) % COUNTS;
        self.now - mark / COUNTS < self.limit && since(self.came[bucket_of(fingerprint, self.came.len())]) < WAYS as u32
    }
}

impl<const PROMOTE_AT: u8, const WINDOW: bool> SmallAndMain<PROMOTE_AT, WINDOW> {
    fn evict(&mut self, keys: &mut Queued) {
        let bit = self.bit;
        if self.main.len() <= self.capacity - self.share {
            while self.small.len() > 0 {
                let id = self.small.pop();
                let node = &mut keys.nodes[id as usize];
                let promoted = if PROMOTE_AT == 1 { node.low } else { node.high } & bit != 0;
                (node.low, node.high, node.ripe) = (node.low & !bit, node.high & !bit, node.ripe & !bit);
                if !promoted {
                    node.held ^= bit;
                    keys.marks[id as usize * keys.sizes + self.number] = self.ghosts.remember(node.fingerprint);
                    return;
                }
                node.main |= bit;
                self.main.push(id);
            }
        }
        loop {
            let id = self.main.pop();
            let node = &mut keys.nodes[id as usize];
            if (node.low | node.high) & bit == 0 {
                node.held ^= bit;
                node.main ^= bit;
                return;
            }
            // One less: the higher digit falls where the lower is 0.
            node.high &= !bit | node.low;
            node.low ^= bit;
            self.main.push(id);
        }
    }

    /// Makes the window begin where it should.
    fn ripen(&mut self, keys: &mut Queued) {
        let begin = self.small.back.saturating_sub(self.share.div_ceil(2)).max(self.small.front);
        let was = self.unripe.max(self.small.front);
        for place in was.min(begin)..was.max(begin) {
            keys.nodes[self.small.at(place) as usize].ripe ^= self.bit;
        }
        self.unripe = begin;
    }
}

impl<const PROMOTE_AT: u8, const WINDOW: bool> Cache for SmallAndMain<PROMOTE_AT, WINDOW> {
    type Keys = Queued;

    fn keys(fingerprints: &[u64], sizes: usize) -> Queued {
        let nodes = fingerprints.iter().map(|&it| Node { fingerprint: short(it), ..Node::default() }).collect();
        Queued { nodes, marks: vec![0; fingerprints.len() * sizes], sizes }
    }

    fn new(capacity: usize, number: usize) -> Self {
        let [small, main] = [Ring::new(capacity), Ring::new(capacity)];
        SmallAndMain {
            number,
            bit: 1 << number,
            capacity,
            share: 0,
            full: false,
            small,
            main,
            unripe: 0,
            ghosts: Ghosts::new(capacity * 9 / 10),
        }
    }

    #[inline(always)]
    fn hit(keys: &mut Queued, id: u32) -> Sizes {
        let node = &mut keys.nodes[id as usize];
        let hit = if WINDOW { node.held & (node.main | node.ripe) } else { node.held };
        if PROMOTE_AT == 1 {
            node.low |= hit;
        } else {
            // One more, up to 3.
            let carry = node.low & hit;
            node.low = (node.low & !hit) | (hit & (!node.low | node.high));
            node.high |= carry;
        }
        node.held
    }

    #[inline]
    fn store(&mut self, keys: &mut Queued, id: u32) {
        if self.full {
            self.evict(keys);
        }
        let node = &mut keys.nodes[id as usize];
        let mark = &mut keys.marks[id as usize * keys.sizes + self.number];
        let returns = *mark != 0 && self.ghosts.knows(std::mem::take(mark), node.fingerprint);
        let settles = !self.full && self.small.len() > self.share;
        node.held |= self.bit;
        if returns || settles {
            node.main |= self.bit;
            self.main.push(id);
        } else {
            self.small.push(id);
        }
        if !self.full {
            let entries = self.small.len() + self.main.len();
            (self.share, self.full) = (entries / 10, entries == self.capacity);
        }
        if WINDOW {
            self.ripen(keys);
        }
    }
}
