//! Logistic: of a few random entries the one leaves that a logistic model gives the least chance to be asked for within a turnover.
//!
//! Source: the usual online learner of caches that learn, as the linear baseline of Song, Berger, Li and Lloyd, "Learning relaxed
//! Belady for content distribution network caching" (LRB, NSDI 2020), over eight features: recency, frequency, size, access pattern (how
//! far into its usual gap an entry is), hour of the day of its last use, tier, compression ratio and reference count. Idea:
//! 1. Of entries that are there, and of those that leave, a sample is watched. Asked for within as many requests as there are
//!    entries, there or not, it teaches 1, else 0 (`learn/logistic.rs`). So what is learned is what happened, not what was decided.
//! 2. The victim is the worst of 27 random entries, of the runners-up of the last time, and of the latest newcomer.
//!
//! What a store doesn't know is constant there: the tier is 0 in memory, compression ratio and references are 1 where
//! entries aren't compressed or shared, and there is no hour as long as nothing expires, for then nobody looks at the clock.
//!
//! Cost: 28 bytes an entry and 9 a ghost (two to an entry), some 80 KB a cache. Not to use but for comparison: a weighted sum
//! can't tell a loop from a scan (`learned` can).

mod features;
#[cfg(test)]
mod tests;
mod watching;

use super::history::short;
use super::standing::{percent, requests};
use super::{Cause, Change, Inspect, Meta, Policy, Slot, Standing};
use crate::learn::drawing::{RUNNERS_UP, Random, Worst};
use crate::learn::features::{History, MOST_USES, Scale};
use crate::learn::ghosts::{Ghost, Ghosts};
use crate::learn::logistic::{Expert, Features};
use crate::list::{NONE, grow};
use hashbrown::HashMap;
use std::collections::VecDeque;
use watching::Watched;
use xxhash_rust::xxh3::Xxh3DefaultBuilder;

/// Random entries looked at for a victim.
const CANDIDATES: usize = 27;
/// Ghosts to an entry.
const GHOSTS: usize = 2;
/// What is believed at first: recency first, then frequency.
const BEGIN: Features = [0.0, -4.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0];
/// How often, in requests, no age may have become so great that it looks small again.
const REST: u32 = 1 << 20;

#[derive(Debug, Clone, Copy)]
struct Resident {
    slot: Slot,
    fingerprint: u32,
    history: History,
    /// The logarithm of the weight.
    size: f32,
    tier: u8,
    /// Compression ratio in quarters of an octave, and references in octaves.
    compression: u8,
    references: u8,
    /// Whether it is among those that are watched.
    watched: bool,
}

/// See the head of this file.
#[derive(Debug)]
pub struct Logistic {
    model: Box<Expert>,
    residents: Vec<Resident>,
    /// Where in `residents` a slot is.
    places: Vec<u32>,
    ghosts: Ghosts,
    scale: Scale,
    now: u32,
    /// Those that are watched, the longest first, and when that began, for those that weren't asked for yet.
    watched: VecDeque<Watched>,
    waiting: HashMap<u32, u32, Xxh3DefaultBuilder>,
    /// When an entry was last chosen to be watched of those that are there, and of those that leave.
    chosen: [u32; 2],
    /// The sum of the logarithms of all weights.
    sizes: f64,
    /// Nanoseconds by the store's clock, and the request and time when it first told one.
    clock: u64,
    first: Option<(u32, u64)>,
    random: Random,
    runners_up: [Slot; RUNNERS_UP],
    newcomer: Slot,
}

impl Default for Logistic {
    fn default() -> Self {
        Logistic {
            model: Box::new(Expert::new(BEGIN)),
            residents: Vec::new(),
            places: Vec::new(),
            ghosts: Ghosts::default(),
            scale: Scale::of(0),
            now: 0,
            watched: VecDeque::new(),
            waiting: HashMap::default(),
            chosen: [0; 2],
            sizes: 0.0,
            clock: 0,
            first: None,
            random: Random::default(),
            runners_up: [NONE; RUNNERS_UP],
            newcomer: NONE,
        }
    }
}

fn size_of_weight(weight: u64) -> f32 {
    (weight.max(1) as f32).log2()
}

impl Logistic {
    /// Turnovers as requests: entries that are there.
    fn turnover(&self) -> u32 {
        self.residents.len().clamp(1, 1 << 30) as u32
    }

    #[inline]
    fn request(&mut self) {
        const MOST: u32 = 1 << 31;
        self.now = self.now.wrapping_add(1);
        if self.now % REST == 0 {
            for Resident { history, .. } in &mut self.residents {
                history.last = self.now.wrapping_sub(self.now.wrapping_sub(history.last).min(MOST));
            }
            self.ghosts.sweep(self.now);
        }
    }
}

impl Policy for Logistic {
    fn on_insert(&mut self, slot: Slot, fingerprint: u64, meta: &Meta) {
        self.request();
        self.clock = self.clock.max(meta.now);
        if self.first.is_none() && meta.now > 0 {
            self.first = Some((self.now, meta.now));
        }
        let fingerprint = short(fingerprint);
        self.asked_for(fingerprint);
        let known = self.ghosts.take(fingerprint, self.now);
        let history = known.map_or(History::new(self.now), |Ghost { mut history, .. }| {
            history.touch(self.now, &self.scale);
            history
        });
        let size = size_of_weight(meta.weight);
        self.sizes += f64::from(size);
        let octaves = |ratio: f32| ratio.max(1.0).log2().min(63.0);
        let resident = Resident {
            slot,
            fingerprint,
            history,
            size,
            tier: meta.tier,
            compression: (octaves(meta.compression) * 4.0) as u8,
            references: octaves(meta.references as f32) as u8,
            watched: false,
        };
        grow(&mut self.places, slot, NONE);
        self.places[slot as usize] = self.residents.len() as u32;
        if self.residents.len() == self.residents.capacity() {
            self.residents.reserve_exact((self.residents.len() / 16).max(16));
        }
        self.residents.push(resident);
        self.newcomer = slot;
    }

    fn on_hit(&mut self, slot: Slot) {
        self.request();
        let resident = &mut self.residents[self.places[slot as usize] as usize];
        resident.history.touch(self.now, &self.scale);
        if std::mem::take(&mut resident.watched) {
            let fingerprint = resident.fingerprint;
            self.asked_for(fingerprint);
        }
    }

    fn on_remove(&mut self, slot: Slot, cause: Cause) {
        let place = std::mem::replace(&mut self.places[slot as usize], NONE) as usize;
        if cause == Cause::Size {
            let resident = self.residents[place];
            self.watch(&resident, 1);
        }
        let gone = self.residents.swap_remove(place);
        if let Some(moved) = self.residents.get(place) {
            self.places[moved.slot as usize] = place as u32;
        }
        self.sizes -= f64::from(gone.size);
        self.ghosts.put(gone.fingerprint, Ghost { history: gone.history, watched: false }, self.now);
    }

    fn victim(&mut self, _newcomer: Option<u64>) -> Option<Slot> {
        if self.residents.is_empty() {
            return None;
        }
        self.scale = Scale::of(self.residents.len());
        self.ghosts.fit(self.residents.len() * GHOSTS, &self.scale, self.now);
        self.conclude();
        let any = self.random.below(self.residents.len());
        let resident = self.residents[any];
        self.residents[any].watched |= self.watch(&resident, 0);
        let mut worst = Worst::default();
        if self.residents.len() <= CANDIDATES {
            (0..self.residents.len()).for_each(|place| worst.see(self.worth(&self.residents[place]), place as u32));
        } else {
            for slot in self.runners_up.into_iter().chain([self.newcomer]) {
                if let Some(&place) = self.places.get(slot as usize).filter(|&&place| place != NONE) {
                    worst.see(self.worth(&self.residents[place as usize]), place);
                }
            }
            for _ in 0..CANDIDATES {
                let place = self.random.below(self.residents.len());
                worst.see(self.worth(&self.residents[place]), place as u32);
            }
        }
        let (victim, runners_up) = worst.split();
        let slot = |place: u32| self.residents.get(place as usize).map(|resident| resident.slot);
        self.runners_up = runners_up.map(|place| slot(place).unwrap_or(NONE));
        slot(victim)
    }

    fn configure(&mut self, change: Change) {
        if let Change::Weight(slot, weight) = change {
            let resident = &mut self.residents[self.places[slot as usize] as usize];
            let size = size_of_weight(weight);
            self.sizes += f64::from(size) - f64::from(std::mem::replace(&mut resident.size, size));
        }
    }
}

impl Inspect for Logistic {
    /// By chance: the victim is among the first, which depends on the sample.
    fn candidates(&self, n: usize) -> Vec<Slot> {
        let rank = |resident: &Resident| (self.worth(resident), self.now.wrapping_sub(resident.history.last), resident.slot);
        let mut ranks: Vec<_> = self.residents.iter().map(rank).collect();
        ranks.sort_unstable_by(|left, right| left.0.total_cmp(&right.0).then(right.1.cmp(&left.1)));
        ranks.into_iter().map(|(_, _, slot)| slot).take(n).collect()
    }

    fn hits(&self, slot: Slot) -> u64 {
        self.residents[self.places[slot as usize] as usize].history.uses.into()
    }

    fn standing(&self, slot: Slot) -> Standing {
        let resident = &self.residents[self.places[slot as usize] as usize];
        let History { last, uses, .. } = resident.history;
        Standing { worth: self.model.chance(&self.features(resident)), age: self.now.wrapping_sub(last), class: 0, uses }
    }

    fn words(&self, standing: &Standing) -> String {
        let (used, chance) = (standing.used(MOST_USES), percent(standing.worth));
        format!("{used}; its features give it {chance} chance to be asked for within the next {}", requests(self.turnover()))
    }

    fn allocated(&self) -> usize {
        self.residents.capacity() * size_of::<Resident>()
            + self.places.capacity() * 4
            + self.ghosts.allocated()
            + self.watched.capacity() * size_of::<Watched>()
            + self.waiting.allocation_size()
            + size_of::<Expert>()
    }
}
