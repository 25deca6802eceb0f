//! ARC, adaptive replacement cache: recency and frequency share the cache, and the misses say who should have had more.
//!
//! Source: Megiddo and Modha, "ARC: A Self-Tuning, Low Overhead Replacement Cache" (FAST 2003). Idea: entries asked for once since
//! they came are in the LRU list T1, those asked for again in T2. What is evicted from either is remembered in its ghost list B1
//! or B2. A miss that finds its key in B1 would have been a hit if T1 were larger, so the share `p` that T1 should have grows; one
//! in B2 shrinks it; the key goes to T2 in both cases. The victim is the front of T1 if that has more than its share, else of T2.
//! Cost: 24 bytes an entry, and 21 to 33 a ghost (at most as many as entries); a hit relinks one entry, as LRU's does.
//! Not to use where frequency matters over longer spans than twice the cache (ghosts go no further back: `lfu` does), nor for
//! loops a little larger than the cache, which find everything gone as with `lru`.
//!
//! Sizes are weights, and a ghost moves `p` by as many times what it weighed as the paper's moves it by one page; where all weigh
//! one it is the paper's rule. The capacity is what the entries weighed together when one last had to leave. Ghosts are trimmed
//! after an insertion instead of before the eviction, to the same lists.

use super::ghost_lists::GhostLists;
use super::history::short;
use super::{Cause, Change, Inspect, Meta, Policy, Slot, Standing};
use crate::list::{Links, List, grow};

/// The lists: asked for once (T1, B1), or again (T2, B2).
const ONCE: usize = 0;
const AGAIN: usize = 1;

#[derive(Debug, Clone, Copy, Default)]
struct Node {
    weight: u64,
    fingerprint: u32,
    again: bool,
}

impl Node {
    fn list(self) -> usize {
        usize::from(self.again)
    }
}

/// See the head of this file.
#[derive(Debug, Default)]
pub struct Arc {
    links: Links,
    nodes: Vec<Node>,
    /// T1 and T2.
    lists: [List; 2],
    weights: [u64; 2],
    /// B1 and B2.
    ghosts: GhostLists,
    /// What T1 should weigh: p.
    target: f64,
    capacity: u64,
    /// Whom room was made for, and the ghost list that it was in. It is looked for once, so that `target` moves once.
    newcomer: Option<(u32, Option<usize>)>,
}

impl Arc {
    fn total(&self) -> u64 {
        self.weights[ONCE] + self.weights[AGAIN]
    }

    fn push(&mut self, slot: Slot, list: usize) {
        self.nodes[slot as usize].again = list == AGAIN;
        self.links.push_back(&mut self.lists[list], slot);
        self.weights[list] += self.nodes[slot as usize].weight;
    }

    #[inline(always)]
    fn unlink(&mut self, slot: Slot) -> Node {
        let node = self.nodes[slot as usize];
        self.links.unlink(&mut self.lists[node.list()], slot);
        self.weights[node.list()] -= node.weight;
        node
    }

    /// The ghost list that a newcomer was in, if any. It leaves the list and moves the target.
    fn recall(&mut self, fingerprint: u32) -> Option<usize> {
        let weights = [ONCE, AGAIN].map(|list| self.ghosts.weight(list) as f64);
        let (list, weight) = self.ghosts.take(fingerprint)?;
        let step = weight as f64 * (weights[1 - list] / weights[list].max(1.0)).max(1.0);
        let target = if list == ONCE { self.target + step } else { self.target - step };
        self.target = target.clamp(0.0, self.capacity.max(self.total()) as f64);
        Some(list)
    }

    /// T1 and B1 are at most as large as the cache, and all four lists twice; nor are there more ghosts than ever were entries.
    fn trim(&mut self) {
        // No sum can overflow: what is in weighs no more than the capacity, and what ghosts weigh is counted in 32 bits.
        while self.ghosts.weight(ONCE) > self.capacity - self.weights[ONCE] && self.ghosts.drop_oldest(ONCE) {}
        let room = self.capacity.saturating_mul(2) - self.total();
        while self.ghosts.weight(ONCE) + self.ghosts.weight(AGAIN) > room || self.ghosts.len() > self.nodes.len() {
            let _ = self.ghosts.drop_oldest(AGAIN) || self.ghosts.drop_oldest(ONCE);
        }
    }
}

impl Policy for Arc {
    fn on_insert(&mut self, slot: Slot, fingerprint: u64, meta: &Meta) {
        let fingerprint = short(fingerprint);
        let origin = match self.newcomer.take() {
            Some((expected, origin)) if expected == fingerprint => origin,
            _ => self.recall(fingerprint),
        };
        grow(&mut self.nodes, slot, Node::default());
        self.nodes[slot as usize] = Node { weight: meta.weight, fingerprint, again: false };
        self.push(slot, if origin.is_some() { AGAIN } else { ONCE });
        self.capacity = self.capacity.max(self.total());
        self.trim();
    }

    #[inline(always)]
    fn on_hit(&mut self, slot: Slot) {
        let node = &mut self.nodes[slot as usize];
        if node.again {
            self.links.move_to_back(&mut self.lists[AGAIN], slot);
        } else {
            self.unlink(slot);
            self.push(slot, AGAIN);
        }
    }

    fn on_remove(&mut self, slot: Slot, cause: Cause) {
        let node = self.unlink(slot);
        if cause == Cause::Size {
            self.ghosts.push(node.list(), node.fingerprint, node.weight, self.nodes.len());
        }
    }

    fn victim(&mut self, newcomer: Option<u64>) -> Option<Slot> {
        self.capacity = self.total();
        // A cache that was made smaller.
        self.target = self.target.min(self.capacity as f64);
        let newcomer = newcomer.map(short);
        if let Some(fingerprint) = newcomer.filter(|&other| self.newcomer.is_none_or(|(known, _)| known != other)) {
            self.newcomer = Some((fingerprint, self.recall(fingerprint)));
        }
        let returns = newcomer.is_some() && self.newcomer.is_some_and(|(_, origin)| origin == Some(AGAIN));
        let once = self.weights[ONCE] as f64;
        let first = if once > self.target || (returns && once == self.target) { ONCE } else { AGAIN };
        self.lists[first].front().or(self.lists[1 - first].front())
    }

    fn configure(&mut self, change: Change) {
        let Change::Weight(slot, weight) = change else { return };
        let node = &mut self.nodes[slot as usize];
        let list = &mut self.weights[usize::from(node.again)];
        *list = *list - node.weight + weight;
        node.weight = weight;
    }
}

impl Inspect for Arc {
    /// What would leave if newcomers took the room of none that is listed: T1 down to its target, then T2, then the rest of T1.
    fn candidates(&self, n: usize) -> Vec<Slot> {
        let mut left = self.weights[ONCE] as f64;
        let once: Vec<Slot> = self.links.iter(&self.lists[ONCE]).collect();
        let beyond = once.iter().take_while(|&&slot| {
            let beyond = left > self.target;
            left -= self.nodes[slot as usize].weight as f64;
            beyond
        });
        let beyond = beyond.count();
        let again = self.links.iter(&self.lists[AGAIN]);
        once[..beyond].iter().copied().chain(again).chain(once[beyond..].iter().copied()).take(n).collect()
    }

    fn hits(&self, slot: Slot) -> u64 {
        self.nodes[slot as usize].again.into()
    }

    fn words(&self, standing: &Standing) -> String {
        let times = if standing.uses == 0 { "once" } else { "more than once" };
        format!("asked for {times}, and of those the least recently used")
    }

    fn allocated(&self) -> usize {
        self.links.allocated() + self.nodes.capacity() * size_of::<Node>() + self.ghosts.allocated()
    }
}
