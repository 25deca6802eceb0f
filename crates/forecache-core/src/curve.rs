//! The misses of LRU at any number of sizes, in one pass.
//!
//! Source: Mattson, Gecsei, Slutz and Traiger, "Evaluation techniques for storage hierarchies" (IBM Systems Journal 1970): what a smaller
//! LRU cache holds, a larger one holds too. Idea: an LRU cache holds the keys whose last access is no longer ago than some row, its
//! horizon. An access hits where the key's last access isn't behind the horizon; where it misses and the cache is full, the horizon
//! moves up to the next row that is still some key's last, which a bitmap tells. The usual stack distances need a search tree: they tell
//! all sizes apart, and here a few are asked for.
//! Cost: 4 bytes a key (12 by bytes) and a bit a row; a few instructions an access and for each size that it misses.

use crate::bare;
use crate::simulate::{Limit, Tally};
use crate::trace::{Operation, Trace, TraceError};
use std::time::Instant;

/// Not accessed yet, or deleted since. Rows are counted from 1 here.
const ABSENT: u32 = 0;

/// Whether [`lru`] counts what the simulator counts. Entries that expire, and looks, which renew an entry that is there but
/// store none, leave caches of different sizes in different orders; so do, by bytes, sizes that differ between accesses to one key.
/// The curve is near then, but not exact.
pub fn is_exact(trace: &Trace, by_bytes: bool) -> bool {
    let looks = match trace.operations.same() {
        Some(same) => same == Operation::Look,
        None => (0..trace.len()).any(|row| trace.operations.at(row) == Operation::Look),
    };
    bare::is_exact(trace, by_bytes) && !looks
}

/// A cache of one size.
#[derive(Debug)]
struct Cache {
    capacity: u64,
    /// Entries, or bytes.
    used: u64,
    /// What was last accessed before this row isn't in.
    horizon: u32,
    misses: u64,
    missed_bytes: u64,
}

/// The rows that are some key's last access.
#[derive(Debug)]
struct Last {
    marks: Vec<u64>,
}

impl Last {
    #[inline]
    fn flip(&mut self, row: u32) {
        self.marks[row as usize / 64] ^= 1 << (row % 64);
    }

    /// The first of them from `row` on. There is one.
    #[inline]
    fn from(&self, row: u32) -> u32 {
        let mut word = row as usize / 64;
        let mut marks = self.marks[word] & (u64::MAX << (row % 64));
        while marks == 0 {
            word += 1;
            marks = self.marks[word];
        }
        word as u32 * 64 + marks.trailing_zeros()
    }
}

/// Replays `trace` through an LRU cache of each size: of each limit, which are all of one kind. See [`is_exact`]. Bounded by bytes, an
/// access of size 0 is an error.
pub fn lru(trace: &Trace, limits: &[Limit]) -> Result<Vec<Tally>, TraceError> {
    let begin = Instant::now();
    let by_bytes = limits.iter().any(|limit| matches!(limit, Limit::Bytes(_)));
    let total = Tally::of_accesses(trace, by_bytes)?;
    let mut order: Vec<usize> = (0..limits.len()).collect();
    order.sort_by_key(|&number| limits[number].amount());
    let cache = |&number: &usize| Cache { capacity: limits[number].amount(), used: 0, horizon: 1, misses: 0, missed_bytes: 0 };
    let mut caches: Vec<Cache> = order.iter().map(cache).collect();
    match by_bytes {
        true => run::<true>(trace, &mut caches),
        false => run::<false>(trace, &mut caches),
    }
    let mut tallies = vec![total; limits.len()];
    for (number, cache) in order.into_iter().zip(caches) {
        let tally = &mut tallies[number];
        (tally.misses, tally.missed_bytes, tally.took) = (cache.misses, cache.missed_bytes, begin.elapsed());
        (tally.requests, tally.whole_requests) = (tally.accesses, tally.accesses - tally.misses);
    }
    Ok(tallies)
}

/// All rows. `caches` begin with the least.
fn run<const BY_BYTES: bool>(trace: &Trace, caches: &mut [Cache]) {
    let mut last_of = vec![ABSENT; trace.unique()];
    let mut last = Last { marks: vec![0; trace.len() / 64 + 1] };
    let mut weights = vec![1; if BY_BYTES { trace.unique() } else { 0 }];
    for (at, &id) in trace.ids.iter().enumerate() {
        let (row, operation, size) = (at as u32 + 1, trace.operations.at(at), trace.sizes.at(at));
        let before = std::mem::replace(&mut last_of[id as usize], if operation == Operation::Delete { ABSENT } else { row });
        if before != ABSENT {
            last.flip(before);
        }
        if operation == Operation::Delete {
            let weight = if BY_BYTES { weights[id as usize] } else { 1 };
            for cache in caches.iter_mut().filter(|cache| before >= cache.horizon && weight <= cache.capacity) {
                cache.used -= weight;
            }
            continue;
        }
        if before == ABSENT && operation == Operation::Look {
            // In no cache, and in none afterwards.
            last_of[id as usize] = ABSENT;
            for cache in caches.iter_mut() {
                cache.misses += 1;
                cache.missed_bytes = cache.missed_bytes.saturating_add(size);
            }
            continue;
        }
        last.flip(row);
        let (old, weight) = match BY_BYTES {
            true if before == ABSENT || matches!(operation, Operation::Set | Operation::Fill) => (weights[id as usize], size),
            true => (weights[id as usize], weights[id as usize]),
            false => (1, 1),
        };
        if BY_BYTES {
            weights[id as usize] = weight;
        }
        for cache in caches.iter_mut() {
            // An entry larger than the whole cache is refused.
            let hit = before >= cache.horizon && old <= cache.capacity;
            if hit && !BY_BYTES {
                break;
            }
            if !hit && operation.counts() {
                cache.misses += 1;
                cache.missed_bytes = cache.missed_bytes.saturating_add(size);
            }
            cache.used -= if hit { old } else { 0 };
            let more = if weight > cache.capacity { 0 } else { weight };
            while cache.used > cache.capacity - more {
                let out = last.from(cache.horizon);
                let gone = if BY_BYTES { weights[trace.ids[out as usize - 1] as usize] } else { 1 };
                cache.used -= if gone > cache.capacity { 0 } else { gone };
                cache.horizon = out + 1;
            }
            cache.used += more;
        }
    }
}
