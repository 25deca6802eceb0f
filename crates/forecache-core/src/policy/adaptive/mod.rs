//! Adaptive: of a few random entries the one leaves that is worth least, by a score that the traffic teaches.
//!
//! Sources: sampled eviction: Psounis and Prabhakar, "A randomized web-cache replacement scheme" (INFOCOM 2001), whose keeping of
//! runners-up Redis does too. Worth as hits expected for the room and time taken, learnt from hits and ages: Beckmann, Chen and
//! Cidon, "LHD: improving cache hit rate by maximizing hit density" (NSDI 2018); the same without learning: Blankstein, Sen and
//! Freedman, "Hyperbolic caching" (ATC 2017). Size and cost: Cherkasova's Greedy-Dual-Size-Frequency (1998). Idea:
//! 1. Each entry has a stamp: last access, uses, smoothed gap between accesses, cost for weight, deadline (`score.rs`).
//! 2. Hits are counted by age, frequency and gap, also those that came too late, by ghosts; random samples tell how many entries
//!    there were to be hit. So a rate of hits is known for each kind of entry, and falls back on recency where little was seen (`lessons.rs`).
//! 3. The worth is the best ratio of hits to time that lies ahead (Gittins' index), so an entry of a loop whose turn
//!    comes soon is kept, though it is the one unused for longest; times cost for weight, less if it expires soon.
//! 4. The victim is the worst of 12 random entries, of the runners-up of the last time, and of the latest newcomer: newcomers of less
//!    worth than all others, as in a loop, make room for each other.
//! 5. All lengths are relative to the number of entries, which is all that the policy knows of the capacity.
//!
//! Cost: 36 bytes an entry and 11 a ghost (two ghosts to one entry), 14 KB a cache; a hit writes a stamp and a counter, an
//! eviction reads some twenty entries, and the weights are built anew, in some fifty microseconds, once in 4096 requests or more.
//! Not to use where evictions must be cheap, nor where it must be told from the order of requests alone what leaves
//! (`lru` or `s3fifo`).

pub(super) mod lessons;
mod past;
pub(super) mod score;
#[cfg(test)]
mod tests;

use super::history::short;
use super::{Cause, Change, Inspect, Meta, Policy, Slot, Standing};
use crate::list::{NONE, grow};
use lessons::Lessons;
use past::Past;
use score::{Moment, Stamp, Weights};

/// Random entries looked at for a victim. Of 12 the worst is, on average, among the worst 8 % of all; runners-up make it better.
const CANDIDATES: usize = 12;
/// The next worst, looked at again the next time.
const RUNNERS_UP: usize = 4;
/// Random entries counted at each insert, for the lessons.
const COUNTED: usize = 2;
/// Ghosts to an entry.
const GHOSTS: usize = 2;
/// Requests of an epoch: twice as many each time up to half a turnover, within bounds.
const FIRST_EPOCH: u32 = 128;
const EPOCHS: (u32, u32) = (4096, 1 << 20);

#[derive(Debug, Clone, Copy)]
struct Resident {
    stamp: Stamp,
    slot: Slot,
    fingerprint: u32,
}

/// See the head of this file.
#[derive(Debug)]
pub struct Adaptive {
    residents: Vec<Resident>,
    /// Where in `residents` a slot is.
    places: Vec<u32>,
    past: Past,
    weights: Box<Weights>,
    lessons: Box<Lessons>,
    moment: Moment,
    /// The moments when the epoch began and the one before, to tell how fast requests come.
    epochs: [Moment; 2],
    epoch: u32,
    /// Entries that there were when it began.
    scale: usize,
    /// The request up to which entries were counted.
    counted: u32,
    /// Whether anything had to leave yet.
    full: bool,
    random: u64,
    runners_up: [Slot; RUNNERS_UP],
    newcomer: Slot,
}

impl Default for Adaptive {
    fn default() -> Self {
        let (mut weights, mut lessons) = (Box::<Weights>::default(), Box::<Lessons>::default());
        lessons.conclude(&mut weights);
        Adaptive {
            residents: Vec::new(),
            places: Vec::new(),
            past: Past::default(),
            weights,
            lessons,
            moment: Moment::default(),
            epochs: [Moment::default(); 2],
            epoch: FIRST_EPOCH,
            scale: 0,
            counted: 0,
            full: false,
            random: 0x9E37_79B9_7F4A_7C15,
            runners_up: [NONE; RUNNERS_UP],
            newcomer: NONE,
        }
    }
}

/// The worst entries seen, the very worst first.
struct Worst([(f32, u32, Slot); 1 + RUNNERS_UP]);

impl Worst {
    /// Among equals the one unused for longest is worse.
    #[inline]
    fn see(&mut self, worth: f32, age: u32, slot: Slot) {
        let worse = |other: &(f32, u32, Slot)| worth < other.0 || worth == other.0 && age > other.1;
        if !worse(&self.0[RUNNERS_UP]) || self.0.iter().any(|other| other.2 == slot) {
            return;
        }
        let mut at = RUNNERS_UP;
        while at > 0 && worse(&self.0[at - 1]) {
            self.0[at] = self.0[at - 1];
            at -= 1;
        }
        self.0[at] = (worth, age, slot);
    }
}

impl Adaptive {
    #[inline]
    fn draw(&mut self) -> u32 {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 32) as u32
    }

    /// A random entry; there must be one.
    #[inline]
    fn any(&mut self) -> Resident {
        let at = (u64::from(self.draw()) * self.residents.len() as u64) >> 32;
        self.residents[at as usize]
    }

    #[inline]
    fn of_slot(&mut self, slot: Slot) -> &mut Resident {
        &mut self.residents[self.places[slot as usize] as usize]
    }

    #[inline]
    fn consider(&self, worst: &mut Worst, resident: &Resident, moment: &Moment) {
        let age = moment.tick.wrapping_sub(resident.stamp.last);
        // Whatever the costs that users give: any entry is worse than none.
        worst.see(self.weights.worth(&resident.stamp, moment).min(f32::MAX), age, resident.slot);
    }

    /// Now, with what a turnover takes.
    fn moment(&self) -> Moment {
        let begin = self.epochs[1];
        let requests = self.moment.tick.wrapping_sub(begin.tick).max(1);
        let nanoseconds = (self.moment.now - begin.now) as f32 / requests as f32;
        Moment { turnover: nanoseconds * self.residents.len() as f32, ..self.moment }
    }

    /// Counts a sample of the entries and of the ghosts for all that were there since the last time.
    fn count(&mut self) {
        if !self.full || self.residents.is_empty() {
            return;
        }
        let elapsed = self.moment.tick.wrapping_sub(self.counted) as f32;
        self.counted = self.moment.tick;
        // So many turnovers times so many entries: their number cancels out for those that are there.
        for _ in 0..COUNTED {
            let stamp = self.any().stamp;
            let kind = self.weights.kind(&stamp, self.moment.tick);
            self.lessons.wait(kind, elapsed / COUNTED as f32);
        }
        let random = self.draw();
        let stands_for = elapsed * self.past.buckets() as f32 / self.residents.len() as f32;
        for stamp in self.past.sample(random) {
            self.lessons.wait(self.weights.kind(&stamp, self.moment.tick), stands_for);
        }
        // A cache that was made much smaller turns over faster: ages are another share of a turnover at once.
        let shrunk = self.residents.len() < self.scale / 2;
        if shrunk || self.moment.tick.wrapping_sub(self.epochs[0].tick) >= self.epoch {
            self.begin_epoch();
        }
    }

    /// Begins to learn. As long as there was room nothing depended on it, and the length of a turnover was still growing.
    #[cold]
    fn begin(&mut self) {
        self.full = true;
        self.counted = self.moment.tick;
        *self.lessons = Lessons::default();
        self.begin_epoch();
    }

    #[cold]
    fn begin_epoch(&mut self) {
        let entries = self.residents.len();
        self.weights.rescale(entries);
        self.scale = entries;
        self.lessons.conclude(&mut self.weights);
        self.epochs = [self.moment, self.epochs[0]];
        let (least, most) = EPOCHS;
        self.epoch = (self.epoch * 2).min(((entries / 2).min(most as usize) as u32).max(least));
    }
}

impl Policy for Adaptive {
    fn on_insert(&mut self, slot: Slot, fingerprint: u64, meta: &Meta) {
        self.moment.tick = self.moment.tick.wrapping_add(1);
        if self.moment.now == 0 {
            // Until now nothing expired, and time stood still for the policy.
            self.epochs = self.epochs.map(|epoch| Moment { now: meta.now, ..epoch });
        }
        self.moment.now = self.moment.now.max(meta.now);
        self.count();
        let fingerprint = short(fingerprint);
        let deadline = if meta.time_to_live == u64::MAX { u64::MAX } else { meta.now.saturating_add(meta.time_to_live) };
        let mut stamp = Stamp::new(self.moment.tick, meta.weight, meta.cost, deadline);
        if self.past.recall(fingerprint, &mut stamp) {
            self.lessons.hit(self.weights.kind(&stamp, self.moment.tick));
            stamp.touch(self.moment.tick);
        }
        grow(&mut self.places, slot, NONE);
        self.places[slot as usize] = self.residents.len() as u32;
        if self.residents.len() == self.residents.capacity() {
            self.residents.reserve_exact((self.residents.len() / 16).max(16));
        }
        self.residents.push(Resident { stamp, slot, fingerprint });
        self.newcomer = slot;
    }

    #[inline]
    fn on_hit(&mut self, slot: Slot) {
        let tick = self.moment.tick.wrapping_add(1);
        self.moment.tick = tick;
        let stamp = &mut self.residents[self.places[slot as usize] as usize].stamp;
        self.lessons.hit(self.weights.kind(stamp, tick));
        stamp.touch(tick);
    }

    fn on_remove(&mut self, slot: Slot, cause: Cause) {
        let entries = self.residents.len();
        let place = std::mem::replace(&mut self.places[slot as usize], NONE);
        let gone = self.residents.swap_remove(place as usize);
        if let Some(moved) = self.residents.get(place as usize) {
            self.places[moved.slot as usize] = place;
        }
        if cause == Cause::Size {
            self.past.remember(gone.fingerprint, &gone.stamp, entries * GHOSTS);
        }
    }

    fn victim(&mut self, _newcomer: Option<u64>) -> Option<Slot> {
        if !self.full {
            self.begin();
        }
        let moment = self.moment();
        let mut worst = Worst([(f32::INFINITY, 0, NONE); 1 + RUNNERS_UP]);
        if self.residents.len() <= CANDIDATES {
            self.residents.iter().for_each(|resident| self.consider(&mut worst, resident, &moment));
        } else {
            for &slot in self.runners_up.iter().chain([&self.newcomer]) {
                // A slot that was emptied since has no place, or another entry, which is as good as a random one.
                if let Some(&place) = self.places.get(slot as usize).filter(|&&place| place != NONE) {
                    self.consider(&mut worst, &self.residents[place as usize], &moment);
                }
            }
            // All are read before any is judged, so that the processor waits for memory once.
            let drawn: [Resident; CANDIDATES] = std::array::from_fn(|_| self.any());
            drawn.iter().for_each(|resident| self.consider(&mut worst, resident, &moment));
        }
        let [(_, _, victim), runners_up @ ..] = worst.0;
        self.runners_up = runners_up.map(|(_, _, slot)| slot);
        (victim != NONE).then_some(victim)
    }

    fn configure(&mut self, change: Change) {
        match change {
            Change::Weight(slot, weight) => self.of_slot(slot).stamp.weigh(weight),
            Change::Cost(slot, cost, weight) => {
                let stamp = &mut self.of_slot(slot).stamp;
                stamp.cost = cost;
                stamp.weigh(weight);
            }
            Change::Deadline(slot, deadline) => {
                let stamp = &mut self.of_slot(slot).stamp;
                // It may come from a time to idle, which the next hit puts off without a word.
                (stamp.deadline, stamp.loose) = (deadline, true);
            }
            Change::Capacity(_) => {}
        }
    }
}

impl Inspect for Adaptive {
    /// By worth: the victim is among the first, which depends on the sample.
    fn candidates(&self, n: usize) -> Vec<Slot> {
        let moment = self.moment();
        let age = |resident: &Resident| moment.tick.wrapping_sub(resident.stamp.last);
        let rank = |resident: &Resident| (self.weights.worth(&resident.stamp, &moment), age(resident), resident.slot);
        let mut ranks: Vec<_> = self.residents.iter().map(rank).collect();
        ranks.sort_unstable_by(|left, right| left.0.total_cmp(&right.0).then(right.1.cmp(&left.1)));
        ranks.into_iter().map(|(_, _, slot)| slot).take(n).collect()
    }

    fn hits(&self, slot: Slot) -> u64 {
        self.residents[self.places[slot as usize] as usize].stamp.uses.into()
    }

    fn standing(&self, slot: Slot) -> Standing {
        let (moment, stamp) = (self.moment(), &self.residents[self.places[slot as usize] as usize].stamp);
        let age = moment.tick.wrapping_sub(stamp.last);
        Standing { worth: self.weights.worth(stamp, &moment), age, class: stamp.gap.into(), uses: stamp.uses }
    }

    fn words(&self, standing: &Standing) -> String {
        format!("{}; worth {:.2e} hits a turnover for its size and cost", standing.used(255), standing.worth.max(0.0))
    }

    fn allocated(&self) -> usize {
        self.residents.capacity() * size_of::<Resident>()
            + self.places.capacity() * 4
            + self.past.allocated()
            + size_of::<Weights>()
            + size_of::<Lessons>()
    }
}
