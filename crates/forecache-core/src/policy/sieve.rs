//! SIEVE: one queue, one bit an entry, and a hand that stays where it is.
//!
//! Source: Zhang, Yang, Yue, Vigfusson and Rashmi, "SIEVE is Simpler than LRU: an Efficient Turn-Key Eviction Algorithm for Web
//! Caches" (NSDI 2024). Idea: a hit sets the entry's bit and moves nothing. The hand goes from the oldest entry to the newest,
//! clears the bits that it meets, and the first entry without one leaves. Unlike CLOCK's, entries that it passed keep their places,
//! so newcomers gather on its far side: those that aren't asked for leave soon, and those that were sifted stay.
//! Cost: 9 bytes an entry; a hit writes one byte. Weights need no heed: only the order counts.
//! Not to use where scans pass through, as on disks: an entry of the scan that is hit once stays for a whole round of the hand
//! (`arc` and `s3fifo` are better there).

use super::standing::hits;
use super::{Cause, Change, Inspect, Meta, Policy, Slot, Standing};
use crate::list::{Links, List, grow};

/// See the head of this file.
#[derive(Debug, Default)]
pub struct Sieve {
    links: Links,
    /// The oldest in front.
    order: List,
    visited: Vec<bool>,
    /// Where the search goes on; `None` for the oldest entry.
    hand: Option<Slot>,
}

impl Policy for Sieve {
    fn on_insert(&mut self, slot: Slot, _fingerprint: u64, _meta: &Meta) {
        grow(&mut self.visited, slot, false);
        self.visited[slot as usize] = false;
        self.links.push_back(&mut self.order, slot);
    }

    #[inline(always)]
    fn on_hit(&mut self, slot: Slot) {
        self.visited[slot as usize] = true;
    }

    fn on_remove(&mut self, slot: Slot, _cause: Cause) {
        if self.hand == Some(slot) {
            self.hand = self.links.after(slot);
        }
        self.links.unlink(&mut self.order, slot);
    }

    fn victim(&mut self, _newcomer: Option<u64>) -> Option<Slot> {
        let mut hand = self.hand.or(self.order.front())?;
        while std::mem::take(&mut self.visited[hand as usize]) {
            hand = self.links.after(hand).or(self.order.front())?;
        }
        self.hand = Some(hand);
        self.hand
    }

    fn configure(&mut self, _change: Change) {}
}

impl Inspect for Sieve {
    /// One round of the hand takes those without a bit, the next the others.
    fn candidates(&self, n: usize) -> Vec<Slot> {
        let slots: Vec<Slot> = self.links.iter(&self.order).collect();
        let at = slots.iter().position(|&slot| self.hand == Some(slot)).unwrap_or(0);
        let round = || slots[at..].iter().chain(&slots[..at]).copied();
        let visited = |slot: &Slot| self.visited[*slot as usize];
        round().filter(|slot| !visited(slot)).chain(round().filter(visited)).take(n).collect()
    }

    fn hits(&self, slot: Slot) -> u64 {
        self.visited[slot as usize].into()
    }

    fn words(&self, standing: &Standing) -> String {
        format!("{} since the hand last passed", hits(standing.uses))
    }

    fn allocated(&self) -> usize {
        self.links.allocated() + self.visited.capacity()
    }
}
