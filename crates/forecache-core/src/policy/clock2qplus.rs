//! Clock2Q+: S3-FIFO's queues, with a window in which a newcomer's hits don't count.
//!
//! Source: Zhai et al., "Clock2Q+: A Simple and Efficient Replacement Algorithm for Metadata Cache in VMware vSAN"
//! (arXiv:2511.21958, 2025). Idea: what is asked for again right after it came is often one piece of work in several requests, and
//! says nothing of the future. So a hit on one of the newer half of the small queue (the correlation window) is no hit. A single
//! hit after that earns a place in the main queue, which is a CLOCK of one bit an entry. Shares and ghosts are S3-FIFO's.
//! Cost: 32 bytes an entry and 17 a ghost (nine ghosts to ten entries); a hit writes one byte, or none.
//! Not to use where bursts of requests for new keys do tell their worth, nor for loops a little larger than the cache.
//!
//! The window is measured in weight that came to the small queue since; where all weigh one that is the paper's count.

use super::s3fifo::SmallAndMain;
use super::{Cause, Change, Inspect, Meta, Policy, Slot, Standing};
use crate::list::grow;

/// See the head of this file.
#[derive(Debug, Default)]
pub struct Clock2QPlus {
    queues: SmallAndMain<1, 1>,
    /// What came to the small queue so far, and had come, itself included, when an entry did. Modulo 2^64.
    came: u64,
    came_at: Vec<u64>,
    /// Twice the window.
    small_share: u64,
}

impl Policy for Clock2QPlus {
    fn on_insert(&mut self, slot: Slot, fingerprint: u64, meta: &Meta) {
        self.queues.on_insert(slot, fingerprint, meta);
        self.small_share = self.queues.small_share();
        grow(&mut self.came_at, slot, 0);
        if self.queues.is_small(slot) {
            self.came = self.came.wrapping_add(meta.weight);
            self.came_at[slot as usize] = self.came;
        }
    }

    #[inline(always)]
    fn on_hit(&mut self, slot: Slot) {
        let since = self.came.wrapping_sub(self.came_at[slot as usize]);
        if since >= self.small_share.div_ceil(2) || !self.queues.is_small(slot) {
            self.queues.on_hit(slot);
        }
    }

    fn on_remove(&mut self, slot: Slot, cause: Cause) {
        self.queues.on_remove(slot, cause);
    }

    fn victim(&mut self, newcomer: Option<u64>) -> Option<Slot> {
        self.queues.victim(newcomer)
    }

    fn configure(&mut self, change: Change) {
        self.queues.configure(change);
    }
}

impl Inspect for Clock2QPlus {
    fn candidates(&self, n: usize) -> Vec<Slot> {
        self.queues.candidates(n)
    }

    fn hits(&self, slot: Slot) -> u64 {
        self.queues.hits(slot)
    }

    fn standing(&self, slot: Slot) -> Standing {
        self.queues.standing(slot)
    }

    fn words(&self, standing: &Standing) -> String {
        self.queues.words(standing)
    }

    fn allocated(&self) -> usize {
        self.queues.allocated() + self.came_at.capacity() * 8
    }
}
