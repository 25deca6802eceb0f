//! Learned: of a few entries the one leaves that is worth least by what became of entries like it.
//!
//! Sources and idea: see `learn/mod.rs`. In short: (1) how often and at which gaps an entry was used gives its class; (2) how often entries of a
//! class were asked for at an age, those that had left included, corrects what other traffic teaches; (3) the worth is the best ratio of
//! expected hits to time that lies ahead, times cost for weight; (4) the victim is the worst of some random entries, of the
//! runners-up of the last time and of the latest newcomer.
//!
//! Counted are only keys whose fingerprint says so, about a thousand, so that the work stays the same however large the cache. Conclusions
//! are drawn in epochs.
//!
//! Cost: 28 bytes an entry and 9 a ghost (eight ghosts to one entry), some hundred KB a cache; a hit writes 8 bytes, an eviction reads
//! some forty entries, and the worths are built anew, in some hundred microseconds, once in 8192 requests or more.
//! Not to use where evictions must be cheap (`s3fifo`, `sieve`).

use super::history::short;
use super::{Cause, Change, Inspect, Meta, Policy, Slot};
use crate::learn::features::{History, Scale};
use crate::learn::ghosts::{Ghost, Ghosts};
use crate::learn::model::Model;
use crate::learn::prior::Prior;
use crate::learn::sampling::{RUNNERS_UP, Random, Worst};
use crate::list::{NONE, grow};
use std::sync::Arc;

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
}

impl Default for Settings {
    fn default() -> Self {
        Settings { candidates: 48, ghosts: 7, counted: 1024, epochs: (256, 8192), fades: 0.05, size: 1.0 }
    }
}

/// Random entries that are drawn, at most.
const MOST_DRAWN: usize = 128;
/// A deadline in 2^26 ns, about a fifteenth of a second.
const TICK: u32 = 26;
const NEVER: u32 = u32::MAX >> 1;
/// Set if a deadline may have been put off by a hit.
const LOOSE: u32 = 1 << 31;
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
    /// Whether all weigh and cost 1 and none expires.
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
    random: Random,
    runners_up: [Slot; RUNNERS_UP],
    newcomer: Slot,
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
            alike: true,
            counted: 0,
            places: Vec::new(),
            ghosts: Default::default(),
            share: 0,
            now: 0,
            epoch: settings.epochs.0,
            begin: 0,
            capacity: u64::MAX,
            came: (0, 0),
            costs: Vec::new(),
            full: false,
            clock: (0, 0),
            pace: 0.0,
            random: Random::default(),
            runners_up: [NONE; RUNNERS_UP],
            newcomer: NONE,
            settings,
        }
    }

    /// The usual one with this prior.
    pub fn with_prior(prior: Arc<Prior>) -> Self {
        Learned::with(prior, Settings::default())
    }

    /// An empty one with the same prior and settings.
    pub fn fresh(&self) -> Self {
        Learned::with(self.model.prior().clone(), self.settings.clone())
    }

    /// An empty one with the same settings and this prior.
    pub fn trying(&self, prior: Arc<Prior>) -> Self {
        Learned::with(prior, self.settings.clone())
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

    /// A key of this history was watched up to now, in this epoch since it began.
    #[inline]
    fn watched(&mut self, history: &History) {
        let age = self.now.wrapping_sub(history.last);
        let from = age.saturating_sub(self.now.wrapping_sub(self.begin));
        let Model { outcomes, scale, .. } = &mut *self.model;
        outcomes.expose(history.class, from, age, scale);
    }

    /// A key that is counted was asked for.
    #[inline(never)]
    fn count(&mut self, history: &History) {
        self.watched(history);
        let Model { outcomes, scale, .. } = &mut *self.model;
        outcomes.hit(history.class, self.now.wrapping_sub(history.last), scale);
    }

    /// What was remembered of a key that comes, with this request counted.
    fn recall(&mut self, fingerprint: u32) -> History {
        let counted = self.is_counted(fingerprint);
        let Some(Ghost { mut history, watched }) = self.ghosts[usize::from(!counted)].take(fingerprint, self.now) else {
            return History::new(self.now);
        };
        history.class = self.model.scale.class(&history);
        if counted && watched {
            self.count(&history);
        }
        history.touch(self.now, &self.model.scale);
        history
    }

    fn remember(&mut self, fingerprint: u32, history: History, watched: bool) {
        let counted = self.is_counted(fingerprint);
        let forgotten = self.ghosts[usize::from(!counted)].put(fingerprint, Ghost { history, watched }, self.now);
        if let Some(Ghost { mut history, watched: true }) = forgotten.filter(|_| counted) {
            history.class = self.model.scale.class(&history);
            self.watched(&history);
        }
    }

    /// Puts an entry in its place: those that are counted come first.
    fn place(&mut self, resident: Resident, history: History) {
        grow(&mut self.places, resident.slot, NONE);
        if self.residents.len() == self.residents.capacity() {
            let more = (self.residents.len() / 16).max(16);
            self.residents.reserve_exact(more);
            self.histories.reserve_exact(more);
        }
        self.residents.push(resident);
        self.histories.push(history);
        let mut place = self.residents.len() - 1;
        if self.is_counted(resident.fingerprint) {
            self.swap(place, self.counted);
            self.places[self.residents[place].slot as usize] = place as u32;
            place = self.counted;
            self.counted += 1;
        }
        self.places[resident.slot as usize] = place as u32;
    }

    fn swap(&mut self, one: usize, other: usize) {
        self.residents.swap(one, other);
        self.histories.swap(one, other);
    }

    fn displace(&mut self, slot: Slot) -> (Resident, History) {
        let mut place = self.places[slot as usize] as usize;
        if place < self.counted {
            self.counted -= 1;
            self.swap(place, self.counted);
            self.places[self.residents[place].slot as usize] = place as u32;
            place = self.counted;
        }
        let gone = (self.residents.swap_remove(place), self.histories.swap_remove(place));
        if let Some(moved) = self.residents.get(place) {
            self.places[moved.slot as usize] = place as u32;
        }
        self.places[slot as usize] = NONE;
        gone
    }

    #[inline(always)]
    fn request(&mut self) {
        self.now = self.now.wrapping_add(1);
        if self.now % REST == 0 {
            self.rest();
        }
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

    #[cold]
    #[inline(never)]
    fn end_epoch(&mut self) {
        for at in 0..self.counted {
            let history = self.histories[at];
            self.watched(&history);
        }
        let ghosts = std::mem::take(&mut self.ghosts);
        for (_, Ghost { mut history, watched }) in ghosts[0].iter(self.now) {
            if watched {
                history.class = self.model.scale.class(&history);
                self.watched(&history);
            }
        }
        self.ghosts = ghosts;
        self.ghosts.iter_mut().for_each(|ghosts| ghosts.sweep(self.now));
        let longest = self.settings.epochs.1.max((self.entries() / 2) as u32);
        let fades = if self.epoch >= longest { self.settings.fades } else { self.settings.fades / 2.0 };
        self.model.learn(1.0 - fades);
        self.pace = (self.clock.0 - self.clock.1) as f32 / self.now.wrapping_sub(self.begin).max(1) as f32;
        (self.begin, self.clock.1) = (self.now, self.clock.0);
        self.epoch = (self.epoch * 2).min(longest);
        self.rescale();
    }

    /// Goes over to the number of entries that there are or will be, if it changed much.
    fn rescale(&mut self) {
        let scale = Scale::of(self.entries());
        let old = self.model.scale.entries;
        if scale.entries.abs_diff(old) <= old / 16 {
            return;
        }
        self.model.rescale(scale);
        let share = (self.entries() / self.settings.counted.max(1)).max(1).next_power_of_two().ilog2().min(16);
        let all = self.resort(share);
        self.fit_ghosts();
        for (fingerprint, ghost) in all {
            let counted = self.is_counted(fingerprint);
            self.ghosts[usize::from(!counted)].put(fingerprint, ghost, self.now);
        }
    }

    /// Room for as many ghosts as belong to the entries that are there: how many there will be is a guess until the cache is full, and
    /// nothing is evicted before.
    fn fit_ghosts(&mut self) {
        let (share, limit) = (self.share, self.residents.len() * self.settings.ghosts);
        // Half as many again where only some keys are counted: which of them come is chance.
        let counted = limit >> share;
        let limits = if share == 0 { [limit, 0] } else { [counted, limit - counted] };
        for (ghosts, limit) in self.ghosts.iter_mut().zip(limits) {
            ghosts.fit(limit, &self.model.scale, self.now);
        }
    }

    /// Classes at another scale, and others that are counted. Returns the ghosts, if they have to be sorted anew.
    fn resort(&mut self, share: u32) -> Vec<(u32, Ghost)> {
        for history in &mut self.histories {
            history.class = self.model.scale.class(history);
        }
        if share == self.share {
            return Vec::new();
        }
        self.share = share;
        self.counted = 0;
        for place in 0..self.residents.len() {
            if self.is_counted(self.residents[place].fingerprint) {
                self.swap(place, self.counted);
                self.counted += 1;
            }
        }
        for (resident, place) in self.residents.iter().zip(0..) {
            self.places[resident.slot as usize] = place;
        }
        let ghosts = std::mem::take(&mut self.ghosts);
        ghosts.iter().flat_map(|ghosts| ghosts.iter(self.now)).collect()
    }

    #[inline(always)]
    fn worth(&self, place: usize) -> f32 {
        let history = &self.histories[place];
        let age = self.now.wrapping_sub(history.last);
        let worth = self.model.worth(history.class, age);
        if self.alike { worth } else { self.worth_for_room(&self.residents[place], history.class, age, worth) }
    }

    #[inline(never)]
    fn worth_for_room(&self, resident: &Resident, class: u16, age: u32, worth: f32) -> f32 {
        if resident.deadline == NEVER {
            return worth * resident.density;
        }
        let deadline = u64::from(resident.deadline & !LOOSE) << TICK;
        if deadline <= self.clock.0 {
            return f32::NEG_INFINITY;
        }
        let horizon = (deadline - self.clock.0) as f32 / self.pace;
        self.model.worth_within(class, age, horizon) * resident.density
    }

    fn density(&self, slot: Slot, weight: u64) -> f32 {
        let cost = self.costs.get(slot as usize).copied().unwrap_or(1.0);
        if weight == 1 {
            return cost;
        }
        // Whatever the costs that users give: any entry is worth less than none.
        (cost / (weight.max(1) as f32).powf(self.settings.size)).min(1e30)
    }
}

/// The tick in which an entry expires.
fn deadline(time: u64) -> u32 {
    if time == u64::MAX { NEVER } else { (time >> TICK).min(u64::from(NEVER - 1)) as u32 }
}

impl Policy for Learned {
    fn on_insert(&mut self, slot: Slot, fingerprint: u64, meta: &Meta) {
        self.request();
        self.clock.0 = self.clock.0.max(meta.now);
        if self.now.wrapping_sub(self.begin) >= self.epoch {
            self.end_epoch();
        }
        let fingerprint = short(fingerprint);
        let history = self.recall(fingerprint);
        self.came = (self.came.0 + 1, self.came.1.saturating_add(meta.weight));
        let deadline = deadline(meta.now.saturating_add(meta.time_to_live));
        if meta.cost != 1.0 || !self.costs.is_empty() {
            grow(&mut self.costs, slot, 1.0);
            self.costs[slot as usize] = meta.cost;
        }
        let density = self.density(slot, meta.weight);
        self.alike &= density == 1.0 && deadline == NEVER;
        self.place(Resident { slot, fingerprint, density, deadline }, history);
        self.newcomer = slot;
    }

    #[inline(always)]
    fn on_hit(&mut self, slot: Slot) {
        self.request();
        let place = self.places[slot as usize] as usize;
        if place < self.counted {
            let history = self.histories[place];
            self.count(&history);
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

    fn victim(&mut self, _newcomer: Option<u64>) -> Option<Slot> {
        if !self.full {
            self.full = true;
            self.rescale();
            self.fit_ghosts();
        }
        let mut worst = Worst::default();
        if self.residents.len() <= self.settings.candidates {
            (0..self.residents.len()).for_each(|place| worst.see(self.worth(place), place as u32));
        } else {
            for slot in self.runners_up.into_iter().chain([self.newcomer]) {
                // A slot that was emptied since has no place, or another entry, which is as good as a random one.
                if let Some(&place) = self.places.get(slot as usize).filter(|&&place| place != NONE) {
                    worst.see(self.worth(place as usize), place);
                }
            }
            // All are drawn before any is looked at, so that the processor waits for memory once.
            let mut drawn = [0; MOST_DRAWN];
            let drawn = &mut drawn[..self.settings.candidates.saturating_sub(RUNNERS_UP + 1).min(MOST_DRAWN)];
            drawn.iter_mut().for_each(|place| *place = self.random.below(self.residents.len()));
            for &mut place in drawn {
                worst.see(self.worth(place), place as u32);
            }
        }
        let (victim, runners_up) = worst.split();
        let slot = |place: u32| self.residents.get(place as usize).map(|resident| resident.slot);
        self.runners_up = runners_up.map(|place| slot(place).unwrap_or(NONE));
        slot(victim)
    }

    fn configure(&mut self, change: Change) {
        match change {
            Change::Capacity(capacity) => {
                self.capacity = capacity;
                self.rescale();
            }
            Change::Weight(slot, weight) => {
                let place = self.places[slot as usize] as usize;
                let density = self.density(slot, weight);
                self.residents[place].density = density;
                self.alike &= density == 1.0;
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

    fn allocated(&self) -> usize {
        self.residents.capacity() * (size_of::<Resident>() + size_of::<History>())
            + (self.places.capacity() + self.costs.capacity()) * 4
            + self.ghosts.iter().map(Ghosts::allocated).sum::<usize>()
            + self.model.allocated()
            + size_of::<Model>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn fingerprint(key: u32) -> u64 {
        crate::fingerprint::fingerprint(&key.to_le_bytes(), 3)
    }

    fn holding(metas: &[Meta]) -> Learned {
        let mut policy = Learned::default();
        policy.configure(Change::Capacity(metas.iter().map(|meta| meta.weight).sum()));
        metas.iter().zip(0..).for_each(|(meta, slot)| policy.on_insert(slot, fingerprint(slot), meta));
        policy
    }

    #[test]
    fn of_two_sizes_the_larger_leaves_and_of_two_costs_the_cheaper() {
        assert_eq!(holding(&[10, 90, 10].map(Meta::of_weight)).victim(None), Some(1));
        let costs = [5.0, 1.0, 5.0].map(|cost| Meta { cost, ..Meta::of_weight(1) });
        assert_eq!(holding(&costs).victim(None), Some(1));
        let mut grown = holding(&[10; 3].map(Meta::of_weight));
        grown.configure(Change::Weight(2, 90));
        assert_eq!(grown.victim(None), Some(2));
    }

    #[test]
    fn what_has_expired_leaves_first() {
        let living = |seconds: u64| Meta { now: SECOND, time_to_live: seconds * SECOND, ..Meta::of_weight(1) };
        let mut policy = holding(&[living(60), living(1), living(60)]);
        policy.on_insert(3, fingerprint(3), &Meta { now: 30 * SECOND, ..Meta::of_weight(1) });
        assert_eq!(policy.victim(None), Some(1));
    }

    #[test]
    fn a_deadline_that_a_hit_may_put_off_is_forgotten_with_it() {
        let mut policy = holding(&[Meta { now: SECOND, ..Meta::of_weight(1) }; 3]);
        policy.configure(Change::Deadline(2, SECOND));
        assert_eq!(policy.victim(None), Some(2));
        policy.on_hit(2);
        assert_ne!(policy.victim(None), Some(2));
    }

    #[test]
    fn a_loop_longer_than_the_cache_is_kept_in_part() {
        let (capacity, length) = (400u32, 500u32);
        let mut policy = Learned::default();
        policy.configure(Change::Capacity(capacity.into()));
        let (mut slot_of, mut key_of) = (vec![NONE; length as usize], vec![NONE; capacity as usize]);
        let (mut free, mut late) = ((0..capacity).collect::<Vec<_>>(), 0);
        for turn in 0..20 * length {
            let key = turn % length;
            if slot_of[key as usize] != NONE {
                policy.on_hit(slot_of[key as usize]);
                late += u32::from(turn >= 10 * length);
                continue;
            }
            let slot = free.pop().unwrap_or_else(|| {
                let victim = policy.victim(Some(fingerprint(key))).unwrap();
                policy.on_remove(victim, Cause::Size);
                slot_of[key_of[victim as usize] as usize] = NONE;
                victim
            });
            policy.on_insert(slot, fingerprint(key), &Meta::of_weight(1));
            (slot_of[key as usize], key_of[slot as usize]) = (slot, key);
        }
        // LRU has none.
        assert!(late > 10 * length / 2, "{late} hits of {}", 10 * length);
    }

    #[test]
    fn ages_stay_right_when_the_count_of_requests_begins_anew() {
        let mut policy = holding(&[Meta::of_weight(1); 100]);
        policy.now = u32::MAX - 50;
        policy.begin = policy.now;
        (0..100).for_each(|slot| policy.on_hit(slot));
        let ages: Vec<u32> = policy.histories.iter().map(|history| policy.now.wrapping_sub(history.last)).collect();
        assert!(ages.iter().all(|&age| age < 100), "{ages:?}");
        policy.histories[0].last = policy.now.wrapping_add(1);
        policy.rest();
        assert_eq!(policy.now.wrapping_sub(policy.histories[0].last), 1 << 31);
    }
}
