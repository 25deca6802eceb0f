//! Belady's MIN: what an eviction policy could reach that knew the future.
//!
//! Source: Belady, "A study of replacement algorithms for a virtual-storage computer" (IBM Systems Journal 1966). Idea: the entry
//! whose next access is farthest away leaves. Every miss is stored, as the policies do. Exact where every entry weighs the same;
//! for entries of different sizes the problem is NP-hard, so there is no such number for a budget in bytes.
//! A deleted key is as good as never asked for again, and so is one that is filled anew before. Where a trace has fills and looks,
//! misses differ in what they cost the cache, and this comes near to the optimum only. Times to live are not heeded: then no
//! policy can do better than this, but perhaps none can do as well.

use crate::accuracy::Eviction;
use crate::simulate::Tally;
use crate::trace::{Operation, Trace, TraceError};
use std::collections::BinaryHeap;
use std::time::Instant;

/// No further access.
const NEVER: u32 = u32::MAX;

/// Replays `trace` through a cache of `most` entries. Takes 8 bytes a row beside the trace.
pub fn belady(trace: &Trace, most: usize) -> Tally {
    replay(trace, most, |_, _| {})
}

/// The same, and what was evicted, in order.
pub fn watch(trace: &Trace, most: usize) -> (Tally, Vec<Eviction>) {
    let mut evictions = Vec::new();
    let tally = replay(trace, most, |row, id| evictions.push(Eviction { row: row as u32, id, held: most as u32 }));
    (tally, evictions)
}

fn replay(trace: &Trace, most: usize, mut evicted: impl FnMut(usize, u32)) -> Tally {
    let begin = Instant::now();
    let next = next_accesses(trace);
    let mut cache = Optimal { next_of: vec![None; trace.unique()], used: 0, future: BinaryHeap::new(), unwanted: Vec::new() };
    let mut tally = Tally::of_accesses(trace, false).expect("sizes are no weights here");
    for (row, &id) in trace.ids.iter().enumerate() {
        let hit = cache.next_of[id as usize].is_some();
        let operation = trace.operations.at(row);
        if operation == Operation::Delete {
            cache.used -= usize::from(hit);
            cache.next_of[id as usize] = None;
            continue;
        }
        if hit {
            cache.put(id, next[row]);
            continue;
        }
        if operation.counts() {
            tally.misses += 1;
            tally.missed_bytes = tally.missed_bytes.saturating_add(trace.sizes.at(row));
        }
        if most == 0 || operation == Operation::Look {
            continue;
        }
        if cache.used == most {
            cache.evict(trace).into_iter().for_each(|id| evicted(row, id));
        }
        cache.used += 1;
        cache.put(id, next[row]);
    }
    // The fewest misses aren't the most whole requests: of requests of several accesses the optimum is unknown.
    if trace.continues.same() == Some(false) {
        (tally.requests, tally.whole_requests) = (tally.accesses, tally.accesses - tally.misses);
    }
    tally.took = begin.elapsed();
    tally
}

/// For each row the number of the next row that asks for the same key, [`NEVER`] if a delete, a fill or nothing comes first.
fn next_accesses(trace: &Trace) -> Vec<u32> {
    let mut coming = vec![NEVER; trace.unique()];
    let mut next = vec![NEVER; trace.len()];
    for (row, &id) in trace.ids.iter().enumerate().rev() {
        next[row] = coming[id as usize];
        coming[id as usize] = if trace.operations.at(row).counts() { row as u32 } else { NEVER };
    }
    next
}

struct Optimal {
    /// The next access of each key that is in.
    next_of: Vec<Option<u32>>,
    used: usize,
    /// Next accesses, the farthest first. Those that are past stay, and are never reached: what is in comes later.
    future: BinaryHeap<u32>,
    /// Keys that were in and not to be asked for again, and perhaps are so still.
    unwanted: Vec<u32>,
}

impl Optimal {
    fn put(&mut self, id: u32, next: u32) {
        self.next_of[id as usize] = Some(next);
        match next {
            NEVER => self.unwanted.push(id),
            _ => self.future.push(next),
        }
    }

    /// The key that leaves.
    fn evict(&mut self, trace: &Trace) -> Option<u32> {
        while let Some(id) = self.unwanted.pop() {
            if self.next_of[id as usize] == Some(NEVER) {
                return self.remove(id);
            }
        }
        while let Some(row) = self.future.pop() {
            let id = trace.ids[row as usize];
            if self.next_of[id as usize] == Some(row) {
                return self.remove(id);
            }
        }
        None
    }

    fn remove(&mut self, id: u32) -> Option<u32> {
        self.next_of[id as usize] = None;
        self.used -= 1;
        Some(id)
    }
}

/// Residents that one eviction compares. The best of so many is among the greatest 3 % with a probability of 98 %, however many there
/// are.
const SAMPLE: usize = 128;

/// Not in the cache.
const OUT: u32 = u32::MAX;

#[derive(Debug, Clone, Copy)]
struct Resident {
    id: u32,
    next: u32,
    size: u64,
}

struct BySize {
    residents: Vec<Resident>,
    /// Where in `residents` each key is, or [`OUT`].
    place_of: Vec<u32>,
    used: u64,
    random: u64,
}

/// Replays `trace` through a cache of `capacity` bytes that evicts by size and next access, as said above: a heuristic. The same
/// trace gives the same result. An access of size 0 is an error, as in [`crate::simulate::simulate`].
pub fn belady_by_size(trace: &Trace, capacity: u64) -> Result<Tally, TraceError> {
    let begin = Instant::now();
    let mut tally = Tally::of_accesses(trace, true)?;
    let next = next_accesses(trace);
    let mut cache = BySize { residents: Vec::new(), place_of: vec![OUT; trace.unique()], used: 0, random: 0 };
    for (row, &id) in trace.ids.iter().enumerate() {
        let old = cache.remove(id);
        let operation = trace.operations.at(row);
        if operation == Operation::Delete {
            continue;
        }
        // A read leaves what is there as it is; a recorded look doesn't even know its size.
        let size = match old {
            Some(resident) if matches!(operation, Operation::Get | Operation::Look) => resident.size,
            _ => trace.sizes.at(row),
        };
        if old.is_none() && operation.counts() {
            tally.misses += 1;
            tally.missed_bytes = tally.missed_bytes.saturating_add(size);
        }
        if old.is_none() && operation == Operation::Look {
            continue;
        }
        if next[row] != NEVER && size <= capacity {
            cache.make_room(capacity - size, row);
            cache.insert(Resident { id, next: next[row], size });
        }
    }
    tally.took = begin.elapsed();
    Ok(tally)
}

impl BySize {
    fn insert(&mut self, resident: Resident) {
        self.place_of[resident.id as usize] = self.residents.len() as u32;
        self.used += resident.size;
        self.residents.push(resident);
    }

    fn remove(&mut self, id: u32) -> Option<Resident> {
        let place = std::mem::replace(&mut self.place_of[id as usize], OUT) as usize;
        if place == OUT as usize {
            return None;
        }
        let resident = self.residents.swap_remove(place);
        if let Some(moved) = self.residents.get(place) {
            self.place_of[moved.id as usize] = place as u32;
        }
        self.used -= resident.size;
        Some(resident)
    }

    /// Evicts until no more than `most` bytes are used.
    fn make_room(&mut self, most: u64, now: usize) {
        while self.used > most {
            let score = |resident: &Resident| u128::from(resident.size) * u128::from(resident.next - now as u32);
            let worst = if self.residents.len() <= SAMPLE {
                self.residents.iter().max_by_key(|resident| score(resident)).map(|resident| resident.id)
            } else {
                let sample = (0..SAMPLE).map(|_| self.residents[draw(&mut self.random, self.residents.len())]);
                sample.max_by_key(score).map(|resident| resident.id)
            };
            match worst {
                Some(id) => self.remove(id),
                None => return,
            };
        }
    }
}

/// A number below `end` of the sequence that SplitMix64 gives (Steele, Lea and Flood, OOPSLA 2014).
fn draw(state: &mut u64, end: usize) -> usize {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^= mixed >> 31;
    ((u128::from(mixed) * end as u128) >> 64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::{Builder, Facts, Key, Row};
    use std::path::Path;

    /// One letter an access: a weighs 1, b 2 and so on.
    fn by_size(letters: &str, capacity: u64) -> u64 {
        let mut builder = Builder::new(Path::new("letters"), Facts::default());
        for (time, letter) in letters.bytes().enumerate() {
            builder.push(&Row::get(time as u64, Key::Number(letter.into()), u64::from(letter - b'a' + 1)));
        }
        belady_by_size(&builder.finish(), capacity).unwrap().misses
    }

    #[test]
    fn by_size_the_large_and_the_late_leave_and_what_does_not_return_is_not_stored() {
        // c is asked for first but weighs as much as a and b together.
        assert_eq!(by_size("abcab", 3), 3);
        // d doesn't return, and c doesn't fit.
        assert_eq!(by_size("abdab", 3), 3);
        assert_eq!(by_size("cacac", 2), 4);
        // When b comes, a (1 byte, 4 rows on) and c (3 bytes, 1 row on) are in: a leaves.
        assert_eq!(by_size("acbcba", 5), 4);
    }
}
