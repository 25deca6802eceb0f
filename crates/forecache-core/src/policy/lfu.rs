//! LFU, least frequently used: the entry with the fewest hits since it came leaves, the longest unused among equals.
//!
//! Source: the constant-time form of Shah, Mitra and Matani, "An O(1) algorithm for implementing the LFU cache eviction scheme"
//! (2010). Idea: entries with the same count share a list; the lists hang together in the order of their counts; a hit moves the
//! entry to the next list, which is made if it isn't there. The victim is the front of the first list.
//! Cost: 12 bytes an entry and 24 a count in use; a hit whose count nobody has yet may allocate, which no other policy's does.
//! Not to use where interest moves on: counts never fade, so yesterday's favourites stay for ever (`s3fifo` forgets).

use super::standing::hits;
use super::{Cause, Change, Inspect, Meta, Policy, Slot, Standing};
use crate::list::{Links, List, NONE, grow};

/// All entries with one count.
#[derive(Debug, Clone, Copy)]
struct Rank {
    count: u64,
    entries: List,
    lower: u32,
    higher: u32,
}

/// See the head of this file.
#[derive(Debug)]
pub struct Lfu {
    links: Links,
    rank_of: Vec<u32>,
    ranks: Vec<Rank>,
    unused: Vec<u32>,
    lowest: u32,
}

impl Default for Lfu {
    fn default() -> Self {
        Lfu { links: Links::default(), rank_of: Vec::new(), ranks: Vec::new(), unused: Vec::new(), lowest: NONE }
    }
}

impl Lfu {
    /// The rank of `count` right above `lower` (`NONE`: the lowest of all), made if it isn't there.
    fn rank_above(&mut self, lower: u32, count: u64) -> u32 {
        let higher = if lower == NONE { self.lowest } else { self.ranks[lower as usize].higher };
        if higher != NONE && self.ranks[higher as usize].count == count {
            return higher;
        }
        let rank = Rank { count, entries: List::default(), lower, higher };
        let index = match self.unused.pop() {
            Some(index) => {
                self.ranks[index as usize] = rank;
                index
            }
            None => {
                self.ranks.push(rank);
                self.ranks.len() as u32 - 1
            }
        };
        self.join(lower, index);
        self.join(index, higher);
        index
    }

    /// Makes two ranks neighbours.
    fn join(&mut self, lower: u32, higher: u32) {
        match lower {
            NONE => self.lowest = higher,
            _ => self.ranks[lower as usize].higher = higher,
        }
        if higher != NONE {
            self.ranks[higher as usize].lower = lower;
        }
    }

    fn drop_if_empty(&mut self, index: u32) {
        let rank = self.ranks[index as usize];
        if rank.entries.is_empty() {
            self.join(rank.lower, rank.higher);
            self.unused.push(index);
        }
    }

    fn place(&mut self, slot: Slot, rank: u32) {
        self.links.push_back(&mut self.ranks[rank as usize].entries, slot);
        self.rank_of[slot as usize] = rank;
    }
}

impl Policy for Lfu {
    fn on_insert(&mut self, slot: Slot, _fingerprint: u64, _meta: &Meta) {
        grow(&mut self.rank_of, slot, NONE);
        let rank = self.rank_above(NONE, 0);
        self.place(slot, rank);
    }

    // Out of line, so that the hits of other policies stay small enough to be inlined.
    #[inline(never)]
    fn on_hit(&mut self, slot: Slot) {
        let old = self.rank_of[slot as usize];
        let new = self.rank_above(old, self.ranks[old as usize].count + 1);
        self.links.unlink(&mut self.ranks[old as usize].entries, slot);
        self.place(slot, new);
        self.drop_if_empty(old);
    }

    fn on_remove(&mut self, slot: Slot, _cause: Cause) {
        let rank = self.rank_of[slot as usize];
        self.links.unlink(&mut self.ranks[rank as usize].entries, slot);
        self.drop_if_empty(rank);
    }

    fn victim(&mut self, _newcomer: Option<u64>) -> Option<Slot> {
        self.ranks.get(self.lowest as usize)?.entries.front()
    }

    fn configure(&mut self, _change: Change) {}
}

impl Inspect for Lfu {
    fn candidates(&self, n: usize) -> Vec<Slot> {
        let mut rank = self.lowest;
        std::iter::from_fn(|| {
            let this = self.ranks.get(rank as usize)?;
            rank = this.higher;
            Some(this)
        })
        .flat_map(|rank| self.links.iter(&rank.entries))
        .take(n)
        .collect()
    }

    fn hits(&self, slot: Slot) -> u64 {
        self.ranks[self.rank_of[slot as usize] as usize].count
    }

    fn words(&self, standing: &Standing) -> String {
        format!("least frequently used: {} since it came", hits(standing.uses))
    }

    fn allocated(&self) -> usize {
        self.links.allocated()
            + self.rank_of.capacity() * 4
            + self.ranks.capacity() * size_of::<Rank>()
            + self.unused.capacity() * 4
    }
}
