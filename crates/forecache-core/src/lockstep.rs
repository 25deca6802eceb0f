//! Replays a trace through caches of many sizes at once, for policies that only note a hit: SIEVE and those of S3-FIFO's queues.
//!
//! Idea: what such a policy keeps of an entry, which queue it is in and whether it was hit, is a bit or a few. A key has one word for
//! each of these bits, with one bit for each size, so a hit is counted for all sizes by a few instructions; only a miss is worked on
//! size by size. Nothing leaves but by eviction, so queues are rings of keys, which are read and written in order, and SIEVE's is two:
//! what the hand has passed, and what is before it.
//! Cost: 20 bytes a key, and for each size 4 to 8 an entry and 17 a ghost.

use crate::groups::Groups;
use crate::policy::{Ghosts, short};
use crate::simulate::{Known, Limit, Tally};
use crate::trace::{Operation, Trace, TraceError};
use std::time::Instant;

/// One bit a size.
type Sizes = u32;

/// Most sizes of one replay.
pub const MOST: usize = Sizes::BITS as usize;

/// Whether [`replay`] knows the policy, and counts what the simulator counts.
pub fn is_exact(trace: &Trace, policy: &str, limits: &[Limit]) -> bool {
    let deletes = match trace.operations.same() {
        Some(same) => same == Operation::Delete,
        None => (0..trace.len()).any(|row| trace.operations.at(row) == Operation::Delete),
    };
    let entries = |limit: &Limit| matches!(limit, Limit::Entries(1..));
    matches!(policy, "sieve" | "s3fifo" | "clock2q+")
        && !deletes
        && limits.iter().all(entries)
        && crate::bare::is_exact(trace, false)
}

/// Replays `trace` through an empty cache of each limit. See [`is_exact`].
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

/// What the caches keep of a key.
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
}

/// A cache of one size.
trait Cache {
    fn new(capacity: usize, bit: Sizes) -> Self;
    /// Counts a hit in the sizes that hold the key.
    fn hit(node: &mut Node);
    /// Stores a key, and evicts if there is no room.
    fn store(&mut self, nodes: &mut [Node], id: u32, known: &Known);
}

fn run<C: Cache>(trace: &Trace, known: &Known, limits: &[Limit], total: Tally) -> Vec<Tally> {
    let begin = Instant::now();
    let new = |(number, limit): (usize, &Limit)| (C::new((limit.amount() as usize).min(trace.unique()), 1 << number), total);
    let mut caches: Vec<(C, Tally)> = limits.iter().enumerate().map(new).collect();
    let all = Sizes::MAX >> (MOST - limits.len());
    let mut nodes = vec![Node::default(); trace.unique()];
    for (row, &id) in trace.ids.iter().enumerate() {
        let node = &mut nodes[id as usize];
        C::hit(node);
        let mut missing = all & !node.held;
        if missing == 0 {
            continue;
        }
        let (operation, size) = (trace.operations.at(row), trace.sizes.at(row));
        while missing != 0 {
            let (cache, tally) = &mut caches[missing.trailing_zeros() as usize];
            missing &= missing - 1;
            if operation.counts() {
                tally.misses += 1;
                tally.missed_bytes = tally.missed_bytes.saturating_add(size);
            }
            if operation != Operation::Look {
                cache.store(&mut nodes, id, known);
            }
        }
    }
    let done = |(_, mut tally): (C, Tally)| {
        (tally.requests, tally.whole_requests) = (tally.accesses, tally.accesses - tally.misses);
        tally.took = begin.elapsed();
        tally
    };
    caches.into_iter().map(done).collect()
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

/// See `policy/sieve.rs`. Oldest are those that the hand has passed, then those before it.
struct Sieve {
    bit: Sizes,
    capacity: usize,
    passed: Ring,
    ahead: Ring,
}

impl Cache for Sieve {
    fn new(capacity: usize, bit: Sizes) -> Self {
        Sieve { bit, capacity, passed: Ring::new(capacity), ahead: Ring::new(capacity) }
    }

    #[inline(always)]
    fn hit(node: &mut Node) {
        node.low |= node.held;
    }

    #[inline]
    fn store(&mut self, nodes: &mut [Node], id: u32, _known: &Known) {
        if self.passed.len() + self.ahead.len() == self.capacity {
            let mut found = false;
            while !found {
                let id = self.ahead.pop();
                let node = &mut nodes[id as usize];
                found = node.low & self.bit == 0;
                if found {
                    node.held ^= self.bit;
                } else {
                    node.low ^= self.bit;
                    self.passed.push(id);
                }
                if self.ahead.len() == 0 {
                    std::mem::swap(&mut self.passed, &mut self.ahead);
                }
            }
        }
        nodes[id as usize].held |= self.bit;
        self.ahead.push(id);
    }
}

/// See `policy/s3fifo.rs`, and with a window `policy/clock2qplus.rs`. `PROMOTE_AT` is 2, and hits are counted up to 3, or both are 1.
struct SmallAndMain<const PROMOTE_AT: u8, const WINDOW: bool> {
    bit: Sizes,
    capacity: usize,
    full: bool,
    small: Ring,
    main: Ring,
    /// The first place of the small queue that is in the window.
    unripe: usize,
    ghosts: Ghosts,
}

impl<const PROMOTE_AT: u8, const WINDOW: bool> SmallAndMain<PROMOTE_AT, WINDOW> {
    fn share(&self) -> usize {
        (self.small.len() + self.main.len()) / 10
    }

    /// Makes the window begin where it should.
    fn ripen(&mut self, nodes: &mut [Node]) {
        let begin = self.small.back.saturating_sub(self.share().div_ceil(2)).max(self.small.front);
        self.unripe = self.unripe.max(self.small.front);
        let changed = self.unripe.min(begin)..self.unripe.max(begin);
        for place in changed {
            nodes[self.small.at(place) as usize].ripe ^= self.bit;
        }
        self.unripe = begin;
    }

    fn evict(&mut self, nodes: &mut [Node], known: &Known) {
        let bit = self.bit;
        self.full = true;
        if self.main.len() <= self.capacity - self.share() {
            while self.small.len() > 0 {
                let id = self.small.pop();
                let node = &mut nodes[id as usize];
                node.ripe &= !bit;
                let promoted = if PROMOTE_AT == 2 { node.high } else { node.low } & bit != 0;
                (node.low, node.high) = (node.low & !bit, node.high & !bit);
                if !promoted {
                    node.held ^= bit;
                    self.ghosts.remember(short(known.fingerprints[id as usize]), self.capacity * 9 / 10);
                    return;
                }
                node.main |= bit;
                self.main.push(id);
            }
        }
        loop {
            let id = self.main.pop();
            let node = &mut nodes[id as usize];
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
}

impl<const PROMOTE_AT: u8, const WINDOW: bool> Cache for SmallAndMain<PROMOTE_AT, WINDOW> {
    fn new(capacity: usize, bit: Sizes) -> Self {
        let [small, main] = [Ring::new(capacity), Ring::new(capacity)];
        SmallAndMain { bit, capacity, full: false, small, main, unripe: 0, ghosts: Ghosts::default() }
    }

    #[inline(always)]
    fn hit(node: &mut Node) {
        let hit = if WINDOW { node.held & (node.main | node.ripe) } else { node.held };
        if PROMOTE_AT == 1 {
            node.low |= hit;
        } else {
            // One more, up to 3.
            let carry = node.low & hit;
            node.low = (node.low & !hit) | (hit & (!node.low | node.high));
            node.high |= carry;
        }
    }

    #[inline]
    fn store(&mut self, nodes: &mut [Node], id: u32, known: &Known) {
        if self.small.len() + self.main.len() == self.capacity {
            self.evict(nodes, known);
        }
        let returns = self.ghosts.forget(short(known.fingerprints[id as usize]));
        let settles = !self.full && self.small.len() > self.share();
        let node = &mut nodes[id as usize];
        node.held |= self.bit;
        if returns || settles {
            node.main |= self.bit;
            self.main.push(id);
        } else {
            self.small.push(id);
        }
        if WINDOW {
            self.ripen(nodes);
        }
    }
}
