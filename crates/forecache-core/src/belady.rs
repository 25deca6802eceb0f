//! Belady's MIN: what an eviction policy could reach that knew the future.
//!
//! Source: Belady, "A study of replacement algorithms for a virtual-storage computer" (IBM Systems Journal 1966). Idea: the entry
//! whose next access is farthest away leaves. Every miss is stored, as the policies do. Exact where every entry weighs the same;
//! for entries of different sizes the problem is NP-hard, so there is no such number for a budget in bytes.
//! A deleted key is as good as never asked for again, and so is one that is filled anew before. Where a trace has fills and looks,
//! misses differ in what they cost the cache, and this comes near to the optimum only. Times to live are not heeded: then no
//! policy can do better than this, but perhaps none can do as well.

use crate::simulate::Tally;
use crate::trace::{Operation, Trace};
use std::collections::BinaryHeap;
use std::time::Instant;

/// No further access.
const NEVER: u32 = u32::MAX;

/// Replays `trace` through a cache of `most` entries. Takes 8 bytes a row beside the trace.
pub fn belady(trace: &Trace, most: usize) -> Tally {
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
            cache.evict(trace);
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

    fn evict(&mut self, trace: &Trace) {
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
    }

    fn remove(&mut self, id: u32) {
        self.next_of[id as usize] = None;
        self.used -= 1;
    }
}
