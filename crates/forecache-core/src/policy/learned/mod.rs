//! Learned: of a few entries the one leaves that is worth least by what became of entries like it.
//!
//! Sources and idea: see `learn/mod.rs`. In short: (1) how often and at which gaps an entry was used gives its class; (2) how often entries of a
//! class were asked for at an age, those that had left included, corrects what other traffic teaches; (3) the worth is the best ratio of
//! expected hits to time that lies ahead, times cost for weight; (4) the victim is the worst of the next entries that are looked at, of the
//! worst that were seen before and of the latest newcomer.
//!
//! Counted are only keys whose fingerprint says so, about five hundred, so that the work stays the same however large the cache. Conclusions
//! are drawn in epochs.
//!
//! Cost: 28 bytes an entry and 9 a ghost (seven ghosts to one entry), some hundred KB a cache; a hit writes 8 bytes, an eviction reads
//! some twenty-five entries, and the worths are built anew, in some hundred microseconds, once in 8192 requests or more.
//! Not to use where evictions must be cheap (`s3fifo`, `sieve`).

mod counting;
mod kept;
mod residents;
mod sampling;
#[cfg(test)]
mod tests;
mod worth;

pub use kept::{Report, learned};

use super::history::short;
use super::standing::{percent, requests};
use super::{Cause, Change, Inspect, Meta, Policy, Slot, Standing};
use crate::learn::features::{History, MOST_USES, Scale};
use crate::learn::ghosts::Ghosts;
use crate::learn::judge::Judge;
use crate::learn::model::Model;
use crate::learn::prior::Prior;
use crate::learn::sampling::Pool;
use crate::list::{NONE, grow};
use counting::NONE_COUNTED;
use std::sync::Arc;
use std::time::Duration;
use worth::{LOOSE, NEVER, deadline};

/// What could be otherwise. The hits change little around any of these.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Entries looked at for a victim.
    pub candidates: usize,
    /// Ghosts to an entry.
    pub ghosts: usize,
    /// Entries that are counted, at most.
    pub counted: usize,
    /// Requests of the first epoch, each later one being twice as long, and of the last, unless half the capacity is more.
    pub epochs: (u32, u32),
    /// What is seen counts for this much less with each epoch.
    pub fades: f32,
    /// The power of the weight that a worth is divided by.
    pub size: f32,
    /// Whether it learns. Else it goes by what it began with.
    pub online: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Settings { candidates: 24, ghosts: 7, counted: 512, epochs: (256, 8192), fades: 0.05, size: 1.0, online: true }
    }
}

/// How many times the room of its victim a newcomer may take unasked.
const SEVERAL: f32 = 4.0;
/// How often, in requests, something is looked after however few entries come.
const REST: u32 = 1 << 20;

#[derive(Debug, Clone, Copy)]
struct Resident {
    slot: Slot,
    fingerprint: u32,
    /// Cost for weight.
    density: f32,
    deadline: u32,
}

const _: () = assert!(size_of::<Resident>() + size_of::<History>() == 24);

/// See the head of this file.
#[derive(Debug)]
pub struct Learned {
    settings: Settings,
    model: Box<Model>,
    /// Those that are counted come first.
    residents: Vec<Resident>,
    /// How each was used, apart from the rest: all that a worth needs where entries are alike.
    histories: Vec<History>,
    /// Whether all weigh and cost 1.
    even: bool,
    /// Whether, besides, none expires.
    alike: bool,
    counted: usize,
    /// Where in `residents` a slot is.
    places: Vec<u32>,
    /// Of the keys that are counted, and of the others.
    ghosts: [Ghosts; 2],
    /// Of 2^so many keys one is counted.
    share: u32,
    now: u32,
    epoch: u32,
    begin: u32,
    /// What the entries may weigh.
    capacity: u64,
    /// How many came, and their weights.
    came: (u64, u64),
    /// By slot, once one was other than 1.
    costs: Vec<f32>,
    full: bool,
    /// Nanoseconds by the store's clock, and at the begin of this epoch.
    clock: (u64, u64),
    /// What a request takes.
    pace: f32,
    /// Where to look next for a victim.
    hand: usize,
    pool: Pool,
    newcomer: Slot,
    judge: Judge,
    /// Conclusions drawn so far.
    updates: u64,
    /// The time that epochs took at their ends.
    spent: Duration,
}

impl Default for Learned {
    fn default() -> Self {
        Learned::with_prior(Arc::new(Prior::shipped()))
    }
}

impl Learned {
    /// One that begins with this prior.
    pub fn with(prior: Arc<Prior>, settings: Settings) -> Self {
        Learned {
            model: Box::new(Model::new(prior, Scale::of(0))),
            residents: Vec::new(),
            histories: Vec::new(),
            even: true,
            alike: true,
            counted: 0,
            places: Vec::new(),
            ghosts: Default::default(),
            share: if settings.online { 0 } else { NONE_COUNTED },
            now: 0,
            epoch: settings.epochs.0,
            begin: 0,
            capacity: u64::MAX,
            came: (0, 0),
            costs: Vec::new(),
            full: false,
            clock: (0, 0),
            pace: 0.0,
            pool: Pool::default(),
            newcomer: NONE,
            hand: 0,
            judge: Judge::default(),
            updates: 0,
            spent: Duration::ZERO,
            settings,
        }
    }

    /// An empty one with the same model, which is about entries of any keys. Ghosts are of those that were there.
    pub fn emptied(&self) -> Self {
        let Learned { ref model, ref judge, now, came, epoch, share, clock, pace, updates, spent, .. } = *self;
        let (model, judge, clock) = (model.clone(), judge.clone(), (clock.0, clock.0));
        // Requests are numbered on: those that wait for their judgement have an end.
        Learned { model, judge, now, begin: now, came, epoch, share, clock, pace, updates, spent, ..self.fresh() }
    }

    /// The usual one with this prior.
    pub fn with_prior(prior: Arc<Prior>) -> Self {
        Learned::with(prior, Settings::default())
    }

    /// What it knows.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// An empty one with the same prior and settings.
    pub fn fresh(&self) -> Self {
        self.trying(self.model.prior().clone())
    }

    #[inline(always)]
    fn is_counted(&self, fingerprint: u32) -> bool {
        fingerprint & ((1 << self.share) - 1) == 0
    }

    /// How many entries there are once the cache is full, as far as that can be told.
    fn entries(&self) -> usize {
        if self.full || self.capacity == u64::MAX {
            return self.residents.len();
        }
        let weight = self.came.1 as f64 / self.came.0.max(1) as f64;
        (self.capacity as f64 / weight.max(1.0)).min((1 << 30) as f64) as usize
    }

    /// From the first eviction on it is known how many entries there are.
    fn note_full(&mut self) {
        if !self.full {
            self.full = true;
            self.rescale();
            self.fit_ghosts();
        }
    }

    /// Of all entries.
    pub(crate) fn slots(&self) -> impl Iterator<Item = Slot> {
        self.residents.iter().map(|resident| resident.slot)
    }

    #[inline(always)]
    fn request(&mut self) {
        self.now = self.now.wrapping_add(1);
        if self.now % REST == 0 {
            self.rest();
        }
    }

    /// A key comes that isn't there. Returns how it was used, this time included.
    fn arrive(&mut self, fingerprint: u32, meta: &Meta) -> History {
        self.request();
        self.clock.0 = self.clock.0.max(meta.now);
        if self.now.wrapping_sub(self.begin) >= self.epoch {
            self.end_epoch();
        }
        self.came = (self.came.0 + 1, self.came.1.saturating_add(meta.weight));
        self.recall(fingerprint)
    }

    fn note_cost(&mut self, slot: Slot, cost: f32) {
        if cost != 1.0 || !self.costs.is_empty() {
            grow(&mut self.costs, slot, 1.0);
            self.costs[slot as usize] = cost;
        }
    }

    fn set_density(&mut self, slot: Slot, density: f32) {
        self.residents[self.places[slot as usize] as usize].density = density;
        self.even &= density == 1.0;
        self.alike &= self.even;
    }

    fn newcomer(&self, slot: Slot, fingerprint: u32, meta: &Meta) -> Resident {
        let deadline = deadline(meta.now.saturating_add(meta.time_to_live));
        Resident { slot, fingerprint, density: self.density(meta.cost, meta.weight), deadline }
    }

    /// Once in a while, also if nothing comes: no age may become so great that it looks small again.
    #[cold]
    #[inline(never)]
    fn rest(&mut self) {
        const MOST: u32 = 1 << 31;
        for history in &mut self.histories {
            if self.now.wrapping_sub(history.last) > MOST {
                history.last = self.now.wrapping_sub(MOST);
            }
        }
        if self.now.wrapping_sub(self.begin) >= self.epoch {
            self.end_epoch();
        }
    }
}

impl Policy for Learned {
    fn on_insert(&mut self, slot: Slot, fingerprint: u64, meta: &Meta) {
        let fingerprint = short(fingerprint);
        let history = self.arrive(fingerprint, meta);
        self.note_cost(slot, meta.cost);
        let resident = self.newcomer(slot, fingerprint, meta);
        self.even &= resident.density == 1.0;
        self.alike &= self.even && resident.deadline == NEVER;
        self.place(resident, history);
        self.newcomer = slot;
    }

    #[inline(always)]
    fn on_hit(&mut self, slot: Slot) {
        self.request();
        let place = self.places[slot as usize] as usize;
        if place < self.counted {
            self.count_hit(place);
        }
        self.histories[place].touch(self.now, &self.model.scale);
        if !self.alike && self.residents[place].deadline & LOOSE != 0 {
            self.residents[place].deadline = NEVER;
        }
    }

    fn on_remove(&mut self, slot: Slot, cause: Cause) {
        let (gone, history) = self.displace(slot);
        let watched = cause == Cause::Size;
        if !watched && self.is_counted(gone.fingerprint) {
            self.watched(&history);
        }
        self.remember(gone.fingerprint, history, watched);
    }

    fn victim(&mut self, newcomer: Option<u64>) -> Option<Slot> {
        self.note_full();
        if self.residents.len() <= self.settings.candidates {
            let worst = (0..self.residents.len()).min_by(|&one, &other| self.worth(one).total_cmp(&self.worth(other)))?;
            return Some(self.residents[worst].slot);
        }
        if let Some(newcomer) = newcomer.map(short) {
            self.ghosts[usize::from(!self.is_counted(newcomer))].prefetch(newcomer);
        }
        loop {
            self.look_around();
            // All that were kept may have left meanwhile.
            if let Some(slot) = self.worst_kept() {
                return Some(slot);
            }
        }
    }

    /// Refused is what would take the room of several entries that are each worth more for theirs: they wouldn't come back when it is evicted
    /// in its turn. One that takes the room of a few is looked at when the next comes.
    fn admit(&mut self, fingerprint: u64, meta: &Meta, victim: Slot) -> bool {
        let place = self.places[victim as usize] as usize;
        let fingerprint = short(fingerprint);
        let newcomer = self.newcomer(NONE, fingerprint, meta);
        let several = newcomer.density * SEVERAL * self.cost(victim) < self.residents[place].density * meta.cost;
        if !several || self.worth_at_first(&newcomer) >= self.worth(place) {
            return true;
        }
        let history = self.arrive(fingerprint, meta);
        self.remember(fingerprint, history, true);
        false
    }

    fn configure(&mut self, change: Change) {
        match change {
            Change::Capacity(capacity) => {
                self.capacity = capacity;
                self.rescale();
            }
            Change::Weight(slot, weight) => self.set_density(slot, self.density(self.cost(slot), weight)),
            Change::Cost(slot, cost, weight) => {
                self.note_cost(slot, cost);
                self.set_density(slot, self.density(cost, weight));
            }
            Change::Deadline(slot, time) => {
                let place = self.places[slot as usize] as usize;
                self.alike &= time == u64::MAX;
                self.residents[place].deadline = deadline(time) | if time == u64::MAX { 0 } else { LOOSE };
            }
        }
    }
}

impl Inspect for Learned {
    /// By worth: the victim is among the first, which depends on the sample.
    fn candidates(&self, n: usize) -> Vec<Slot> {
        let rank = |place: usize| (self.worth(place), self.histories[place].last, self.residents[place].slot);
        let mut ranks: Vec<_> = (0..self.residents.len()).map(rank).collect();
        ranks.sort_unstable_by(|left, right| left.0.total_cmp(&right.0).then(right.1.cmp(&left.1)));
        ranks.into_iter().map(|(_, _, slot)| slot).take(n).collect()
    }

    fn hits(&self, slot: Slot) -> u64 {
        self.histories[self.places[slot as usize] as usize].uses.into()
    }

    fn standing(&self, slot: Slot) -> Standing {
        let place = self.places[slot as usize] as usize;
        let History { last, class, uses, .. } = self.histories[place];
        Standing { worth: self.worth(place), age: self.now.wrapping_sub(last), class, uses }
    }

    fn words(&self, standing: &Standing) -> String {
        let within = self.model.scale.entries;
        let chance = percent(self.model.chance_within(standing.class, standing.age, within));
        let used = standing.used(MOST_USES);
        format!("{used}; entries like it are asked for again with {chance} chance within the next {}", requests(within))
    }

    fn allocated(&self) -> usize {
        self.residents.capacity() * (size_of::<Resident>() + size_of::<History>())
            + (self.places.capacity() + self.costs.capacity()) * 4
            + self.ghosts.iter().map(Ghosts::allocated).sum::<usize>()
            + self.model.allocated()
            + size_of::<Model>()
            + self.judge.allocated()
    }
}
