//! S3-FIFO: three queues, no reordering on a hit.
//!
//! Source: Yang, Zhang, Qiu, Yue and Rashmi, "FIFO queues are all you need for cache eviction" (SOSP 2023). Idea: most new
//! entries are asked for once. A newcomer waits in a small queue, a tenth of the whole; asked for twice or more there, it moves
//! to the main queue, otherwise it leaves and only its ghost stays. A key that comes back as a ghost goes straight to the main
//! queue. There an entry that was hit gets another round (at most three in a row) before it leaves.
//! Cost: 24 bytes an entry and 17 a ghost (nine ghosts to ten entries); a hit writes one byte.
//! Not to use for loops a little larger than the cache, nor where what was just asked for once comes back soon but not within a
//! tenth of the cache's turnover (`lru` is better there).
//!
//! The shares follow what the queues hold now, not the configured capacity: so a cache bounded by entries and by bytes at once
//! is balanced whichever bound holds, and a change of capacity needs no word. Once the cache is full both are the same.

use super::history::{Ghosts, short};
use super::standing::hits;
use super::{Cause, Change, Inspect, Meta, Policy, Slot, Standing};
use crate::list::{Links, List, grow};

/// See the head of this file.
pub type S3Fifo = SmallAndMain<2, 3>;

#[derive(Debug, Default)]
struct Queue {
    order: List,
    weight: u64,
    entries: usize,
}

/// All of an entry but its place in the queue, in one piece: an eviction needs the whole of it.
#[derive(Debug, Clone, Copy, Default)]
struct Node {
    weight: u64,
    fingerprint: u32,
    hits: u8,
    main: bool,
}

/// The two queues and the ghosts. `PROMOTE_AT` hits in the small queue earn a place in the main one; a counter counts `MOST`.
#[derive(Debug, Default)]
pub struct SmallAndMain<const PROMOTE_AT: u8, const MOST: u8> {
    links: Links,
    nodes: Vec<Node>,
    small: Queue,
    main: Queue,
    ghosts: Ghosts,
    /// Whether anything had to leave yet.
    full: bool,
}

impl<const PROMOTE_AT: u8, const MOST: u8> SmallAndMain<PROMOTE_AT, MOST> {
    /// Whether the entry is in the small queue.
    pub fn is_small(&self, slot: Slot) -> bool {
        !self.nodes[slot as usize].main
    }

    /// What the small queue should weigh: a tenth of the whole.
    pub fn small_share(&self) -> u64 {
        (self.small.weight + self.main.weight) / 10
    }

    fn push(&mut self, slot: Slot, main: bool) {
        let node = &mut self.nodes[slot as usize];
        (node.hits, node.main) = (0, main);
        let queue = if main { &mut self.main } else { &mut self.small };
        self.links.push_back(&mut queue.order, slot);
        queue.weight += node.weight;
        queue.entries += 1;
    }

    fn unlink(&mut self, slot: Slot) {
        let queue = if self.nodes[slot as usize].main { &mut self.main } else { &mut self.small };
        self.links.unlink(&mut queue.order, slot);
        queue.weight -= self.nodes[slot as usize].weight;
        queue.entries -= 1;
    }

    /// The first of the small queue that nobody asked for often enough; those before it move to the main queue.
    fn victim_of_small(&mut self) -> Option<Slot> {
        while let Some(slot) = self.small.order.front() {
            if self.nodes[slot as usize].hits < PROMOTE_AT {
                return Some(slot);
            }
            self.unlink(slot);
            self.push(slot, true);
        }
        None
    }

    /// The first of the main queue without a hit since its last round; those before it go round again.
    fn victim_of_main(&mut self) -> Option<Slot> {
        loop {
            let slot = self.main.order.front()?;
            let state = &mut self.nodes[slot as usize];
            if state.hits == 0 {
                return Some(slot);
            }
            state.hits -= 1;
            self.links.move_to_back(&mut self.main.order, slot);
        }
    }
}

impl<const PROMOTE_AT: u8, const MOST: u8> Policy for SmallAndMain<PROMOTE_AT, MOST> {
    fn on_insert(&mut self, slot: Slot, fingerprint: u64, meta: &Meta) {
        let fingerprint = short(fingerprint);
        grow(&mut self.nodes, slot, Node::default());
        self.nodes[slot as usize] = Node { weight: meta.weight, fingerprint, ..Node::default() };
        let returns = self.ghosts.forget(fingerprint);
        // Until the cache is full nobody is in the way of others: newcomers fill both queues in their shares. If they all waited in
        // the small one, the first round of evictions would throw out nine tenths of them, whatever they are worth.
        let settles = !self.full && self.small.weight > self.small_share();
        self.push(slot, returns || settles);
    }

    #[inline(always)]
    fn on_hit(&mut self, slot: Slot) {
        let hits = &mut self.nodes[slot as usize].hits;
        *hits = (*hits + 1).min(MOST);
    }

    fn on_remove(&mut self, slot: Slot, cause: Cause) {
        let entries = self.small.entries + self.main.entries;
        self.unlink(slot);
        if cause == Cause::Size && !self.nodes[slot as usize].main {
            self.ghosts.remember(self.nodes[slot as usize].fingerprint, entries * 9 / 10);
        }
    }

    fn victim(&mut self, _newcomer: Option<u64>) -> Option<Slot> {
        self.full = true;
        let total = self.small.weight + self.main.weight;
        if self.main.weight > total - self.small_share() || self.small.order.is_empty() {
            self.victim_of_main()
        } else {
            self.victim_of_small().or_else(|| self.victim_of_main())
        }
    }

    fn configure(&mut self, change: Change) {
        let Change::Weight(slot, weight) = change else { return };
        let queue = if self.nodes[slot as usize].main { &mut self.main } else { &mut self.small };
        queue.weight = queue.weight - self.nodes[slot as usize].weight + weight;
        self.nodes[slot as usize].weight = weight;
    }
}

impl<const PROMOTE_AT: u8, const MOST: u8> Inspect for SmallAndMain<PROMOTE_AT, MOST> {
    /// The small queue's front, then the main queue's: what would leave if no entry had been hit.
    fn candidates(&self, n: usize) -> Vec<Slot> {
        self.links.iter(&self.small.order).chain(self.links.iter(&self.main.order)).take(n).collect()
    }

    fn hits(&self, slot: Slot) -> u64 {
        self.nodes[slot as usize].hits.into()
    }

    fn standing(&self, slot: Slot) -> Standing {
        Standing::queued((!self.is_small(slot)).into(), self.hits(slot))
    }

    fn words(&self, standing: &Standing) -> String {
        let hits = hits(standing.uses);
        if standing.class == 0 { format!("a newcomer: {hits} since it came") } else { format!("{hits} left from its last round") }
    }

    fn allocated(&self) -> usize {
        self.links.allocated() + self.nodes.capacity() * size_of::<Node>() + self.ghosts.allocated()
    }
}
