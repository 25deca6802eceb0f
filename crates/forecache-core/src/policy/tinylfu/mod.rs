//! W-TinyLFU whose window sizes itself: a newcomer passes through a window and stays if it is asked for more often than what it
//! would displace.
//!
//! Sources: Einziger, Friedman and Manes, "TinyLFU: A Highly Efficient Cache Admission Policy" (ACM ToS 2017); Einziger, Eytan,
//! Friedman and Manes, "Adaptive Software Cache Management" (Middleware 2018). Idea: newcomers wait in a window, an LRU list.
//! What falls out of the window is held against the next victim of the main space, and the one that was asked for less often,
//! by a sketch that fades, leaves. The main space is a segmented LRU: a hit in its probation moves an entry to its protected
//! part, four fifths of it. The larger the window, the more recency counts; at its largest it is nearly `lru`.
//! Cost: 32 to 40 bytes an entry (8 to 16 of them the sketch's), 17 a ghost (one ghost to an entry) and 4 KB a cache; a hit doesn't
//! touch the sketch.
//! Not to use where favourites change within one turnover of the cache: `lru` is better there, though this follows it to within a
//! few per cent.
//!
//! Where this differs from the papers:
//!
//! - The window climbs by evidence, where the papers try a size out for many turnovers of the cache and compare hit ratios. What an
//!   entry's room is worth shows on either side: in requests for what just fell out of the window, which make it larger by one
//!   entry, and in hits in the probation, whose entries are the next to leave the main space; these make it smaller.
//! - An LRU cache of the same size is counted along (see [`Shadow`]), so it is known of each hit whether LRU would have missed, and
//!   of each miss whether it would have hit. While there are more of the latter lately, each makes the window larger: whatever the
//!   evidence above says, the worst is then nearly `lru`.
//! - An entry counts its own requests while it is there, and they go to the sketch when it leaves: that is more exact, and spares
//!   hits a cache line.
//! - The window's share is one of what is there, by weight, not of a capacity, as in `s3fifo`. The LRU cache counts entries.

mod shadow;
mod sketch;

use super::history::{Times, short};
use super::standing::hits;
use super::{Cause, Change, Inspect, Meta, Policy, Slot, Standing};
use crate::list::{Links, List, grow};
use shadow::{Shadow, Time};
use sketch::{MOST, Sketch};

/// The window's share of the weight in the beginning, and the least and the most it may have. It never has all: what is left
/// shows when there is something to gain in the main space.
const START: f64 = 0.3;
const LEAST: f64 = 0.01;
const LARGEST: f64 = 0.98;
/// What just fell out of the window: a tenth of what falls out in the time that the cache turns over once, in intervals of
/// [`Shadow`], of which that time has 64. Long enough to have hits, and short enough that a little more room would have held it.
const NEAR: u16 = 6;
const NEAR_SHARE: f64 = NEAR as f64 / 64.0;
/// How many entries larger the window gets with each miss of what LRU would have hit, while those prevail.
const RETREAT: f64 = 2.0;
/// Counts are halved once in so many requests for each entry, as in the papers.
const SAMPLE: usize = 10;

const WINDOW: u8 = 0;
const PROBATION: u8 = 1;
const PROTECTED: u8 = 2;

#[derive(Debug, Default)]
struct Region {
    order: List,
    weight: u64,
}

/// All of an entry but its place in its region, in one piece of 16 bytes.
#[derive(Debug, Clone, Copy, Default)]
struct Node {
    weight: u64,
    fingerprint: u32,
    used: Time,
    /// Requests up to `MOST` in the lower four bits, as of `epoch`, and the region above.
    state: u8,
    epoch: u8,
}

impl Node {
    #[inline]
    fn region(self) -> u8 {
        self.state >> 4
    }

    /// Requests, halved once for each epoch since the last.
    #[inline]
    fn count(self, epoch: u8) -> u8 {
        (self.state & MOST).checked_shr(epoch.wrapping_sub(self.epoch).into()).unwrap_or(0)
    }
}

/// See the head of this file.
#[derive(Debug)]
pub struct TinyLfu {
    links: Links,
    nodes: Vec<Node>,
    regions: [Region; 3],
    entries: usize,
    /// Whether anything had to leave yet.
    full: bool,
    sketch: Sketch,
    /// How often counts were halved, and how many requests are left until it is done again.
    epoch: u8,
    left: usize,
    /// What left lately, with the time of its last use and that at which it left the window.
    ghosts: Times,
    shadow: Shadow,
    /// Hits that LRU would have missed less misses that it would have hit, fading over as many as there are entries.
    lead: f64,
    /// The share of the whole weight that the window should have.
    share: f64,
}

impl Default for TinyLfu {
    fn default() -> Self {
        TinyLfu {
            links: Links::default(),
            nodes: Vec::new(),
            regions: Default::default(),
            entries: 0,
            full: false,
            sketch: Sketch::default(),
            epoch: 0,
            left: SAMPLE,
            ghosts: Times::default(),
            shadow: Shadow::default(),
            lead: 0.0,
            share: START,
        }
    }
}

impl TinyLfu {
    fn push(&mut self, slot: Slot, region: u8) {
        let node = &mut self.nodes[slot as usize];
        node.state = node.state & MOST | region << 4;
        let region = &mut self.regions[region as usize];
        self.links.push_back(&mut region.order, slot);
        region.weight += node.weight;
    }

    fn unlink(&mut self, slot: Slot) {
        let node = self.nodes[slot as usize];
        let region = &mut self.regions[node.region() as usize];
        self.links.unlink(&mut region.order, slot);
        region.weight -= node.weight;
    }

    fn transfer(&mut self, slot: Slot, region: u8) {
        self.unlink(slot);
        self.push(slot, region);
    }

    fn front(&self, region: u8) -> Option<Slot> {
        self.regions[region as usize].order.front()
    }

    fn weight(&self) -> u64 {
        self.regions.iter().map(|region| region.weight).sum()
    }

    /// What the window should weigh.
    fn aim(&self) -> f64 {
        self.share * self.weight() as f64
    }

    /// Makes the window larger by so many entries of the average weight.
    fn climb(&mut self, entries: f64) {
        self.share = (self.share + entries / self.entries as f64).clamp(LEAST, LARGEST);
    }

    fn judge(&mut self, difference: f64) {
        self.lead += difference - self.lead / self.entries as f64;
    }

    /// A request came: after enough of them all counts are halved, those in nodes when they are looked at.
    #[inline]
    fn tick(&mut self) {
        self.left -= 1;
        if self.left == 0 {
            self.halve();
        }
    }

    #[cold]
    fn halve(&mut self) {
        self.left = SAMPLE * self.entries.max(1);
        self.epoch = self.epoch.wrapping_add(1);
        self.sketch.halve();
    }

    /// A miss: what would it have been with a larger window, or in an LRU cache?
    fn learn(&mut self, fingerprint: u32) {
        if let Some(ghost) = self.ghosts.take(fingerprint, Some) {
            let (left, used) = ((ghost >> 16) as Time, ghost as Time);
            if self.shadow.age(left) <= NEAR {
                self.climb(1.0);
            }
            if self.shadow.touch(used) {
                self.judge(-1.0);
                if self.lead < 0.0 {
                    self.climb(RETREAT);
                }
                return;
            }
        }
        self.shadow.miss(if self.full { self.entries } else { usize::MAX });
    }

    /// A hit on what LRU would have evicted.
    #[inline(never)]
    fn gain(&mut self) {
        self.shadow.miss(self.entries);
        self.judge(1.0);
    }

    /// A hit in the probation, whose entries are the next to leave if the main space gets smaller. They are more or fewer than
    /// those that just fell out of the window; a hit says so much more or less of what one entry is worth.
    #[inline(never)]
    fn protect(&mut self, slot: Slot) {
        let probation = self.regions[PROBATION as usize].weight.max(1) as f64;
        self.climb(-NEAR_SHARE * self.weight() as f64 / probation);
        self.transfer(slot, PROTECTED);
        while self.regions[PROTECTED as usize].weight / 4 > self.regions[PROBATION as usize].weight {
            let Some(front) = self.front(PROTECTED) else { break };
            self.transfer(front, PROBATION);
        }
    }
}

impl Policy for TinyLfu {
    fn on_insert(&mut self, slot: Slot, fingerprint: u64, meta: &Meta) {
        let fingerprint = short(fingerprint);
        grow(&mut self.nodes, slot, Node::default());
        self.entries += 1;
        if !self.full {
            self.left += SAMPLE;
        }
        self.tick();
        self.learn(fingerprint);
        self.sketch.fit(self.entries);
        let state = (self.sketch.estimate(fingerprint) + 1).min(MOST);
        self.nodes[slot as usize] = Node { weight: meta.weight, fingerprint, used: self.shadow.now(), state, epoch: self.epoch };
        self.push(slot, WINDOW);
        // Both spaces fill in their shares, so that the first eviction hasn't to move all that there is.
        while !self.full && self.regions[WINDOW as usize].weight as f64 > self.aim() {
            let Some(front) = self.front(WINDOW) else { break };
            self.transfer(front, PROBATION);
        }
    }

    #[inline(always)]
    fn on_hit(&mut self, slot: Slot) {
        self.tick();
        if !self.shadow.touch(self.nodes[slot as usize].used) {
            self.gain();
        }
        let node = &mut self.nodes[slot as usize];
        let region = node.region();
        node.state = (node.count(self.epoch) + 1).min(MOST) | region << 4;
        (node.epoch, node.used) = (self.epoch, self.shadow.now());
        if region == PROBATION {
            self.protect(slot);
        } else {
            self.links.move_to_back(&mut self.regions[region as usize].order, slot);
        }
    }

    fn on_remove(&mut self, slot: Slot, cause: Cause) {
        self.unlink(slot);
        let node = self.nodes[slot as usize];
        self.sketch.raise(node.fingerprint, node.count(self.epoch));
        if cause != Cause::Size {
            self.shadow.drop(node.used);
        } else if self.shadow.holds(node.used) {
            let now = self.shadow.now();
            let left = if node.region() == WINDOW { now } else { now.wrapping_sub(NEAR + 1) };
            let [time, now] = [left, now].map(|high| u32::from(high) << 16 | u32::from(node.used));
            self.ghosts.fit(self.entries, |time| Some(now.wrapping_sub(time)));
            self.ghosts.put(node.fingerprint, time);
        }
        self.entries -= 1;
    }

    fn victim(&mut self, _newcomer: Option<u64>) -> Option<Slot> {
        self.full = self.entries > 0;
        // A cache that was made smaller has fewer requests to the next halving.
        self.left = self.left.min(SAMPLE * self.entries.max(1));
        let aim = self.aim();
        loop {
            let Some(main) = self.front(PROBATION).or_else(|| self.front(PROTECTED)) else { return self.front(WINDOW) };
            let Some(candidate) = self.front(WINDOW) else { return Some(main) };
            let (window, [falls, stays]) =
                (self.regions[WINDOW as usize].weight, [candidate, main].map(|slot| self.nodes[slot as usize]));
            if (window as f64) < aim {
                return Some(main);
            }
            // The newcomer will take its place in the window. If the window is too large even without it, the main space has
            // room.
            let room = (window - falls.weight) as f64 >= aim;
            if !room && falls.count(self.epoch) <= stays.count(self.epoch) {
                return Some(candidate);
            }
            self.transfer(candidate, PROBATION);
            if !room {
                return Some(main);
            }
        }
    }

    fn configure(&mut self, change: Change) {
        let Change::Weight(slot, weight) = change else { return };
        let node = &mut self.nodes[slot as usize];
        let region = &mut self.regions[node.region() as usize];
        region.weight = region.weight - node.weight + weight;
        node.weight = weight;
    }
}

impl Inspect for TinyLfu {
    /// The window's front, then the probation's and the protected part's: what would leave if each candidate lost.
    fn candidates(&self, n: usize) -> Vec<Slot> {
        self.regions.iter().flat_map(|region| self.links.iter(&region.order)).take(n).collect()
    }

    fn hits(&self, slot: Slot) -> u64 {
        u64::from(self.nodes[slot as usize].count(self.epoch)).saturating_sub(1)
    }

    fn standing(&self, slot: Slot) -> Standing {
        Standing::queued(self.nodes[slot as usize].region().into(), self.hits(slot))
    }

    fn words(&self, standing: &Standing) -> String {
        let region = ["the window of newcomers", "the main space, on probation", "the main space, protected"];
        format!("in {}: {} counted lately", region[usize::from(standing.class).min(2)], hits(standing.uses))
    }

    fn allocated(&self) -> usize {
        self.links.allocated()
            + self.nodes.capacity() * size_of::<Node>()
            + self.sketch.allocated()
            + self.ghosts.allocated()
            + self.shadow.allocated()
    }
}
