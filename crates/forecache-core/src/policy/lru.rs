//! LRU, least recently used: the entry whose last access is longest ago leaves.
//!
//! Source: the page replacement of Denning, "The Working Set Model for Program Behavior" (CACM 1968), in its usual form as a
//! list. Idea: what was used lately will be used again. A hit moves the entry to the back of one list; the victim is the front.
//! Cost: 8 bytes an entry, a few writes a hit. Not to use where scans or one-hit wonders pass through: each pushes out
//! something that was in use (`s3fifo` resists them).

use super::{Cause, Change, Inspect, Meta, Policy, Slot, Standing};
use crate::list::{Links, List};

/// See the head of this file.
#[derive(Debug, Default)]
pub struct Lru {
    links: Links,
    order: List,
}

impl Policy for Lru {
    fn on_insert(&mut self, slot: Slot, _fingerprint: u64, _meta: &Meta) {
        self.links.push_back(&mut self.order, slot);
    }

    #[inline(always)]
    fn on_hit(&mut self, slot: Slot) {
        self.links.move_to_back(&mut self.order, slot);
    }

    fn on_remove(&mut self, slot: Slot, _cause: Cause) {
        self.links.unlink(&mut self.order, slot);
    }

    fn victim(&mut self, _newcomer: Option<u64>) -> Option<Slot> {
        self.order.front()
    }

    fn configure(&mut self, _change: Change) {}
}

impl Inspect for Lru {
    fn candidates(&self, n: usize) -> Vec<Slot> {
        self.links.iter(&self.order).take(n).collect()
    }

    fn words(&self, _standing: &Standing) -> String {
        "least recently used".into()
    }

    fn allocated(&self) -> usize {
        self.links.allocated()
    }
}
