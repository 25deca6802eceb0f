//! What an entry on disk is worth: its access stamp, and the judge who holds the stamps of a sample against each other.
//!
//! `lru` and `lfu` go by the stamp alone. `adaptive` judges with the weights of the memory policy of that name
//! ([`crate::policy::Adaptive`]), learnt in the same way: hits are counted by kind, also those on entries that left and came back, and
//! the samples that are drawn for eviction tell how many entries of each kind there were to be hit. What all processes count is added
//! up in the directory: so eight workers learn together, and one that was started anew knows what was learnt before it. Before anything
//! is learnt, the policy's prior judges, by recency and frequency. `learned` has a model of its own (`learner.rs`).

mod learner;

use crate::policy::{AGES, CLASSES, KEEP, Lessons, Moment, Stamp, Weights};
use learner::Learner;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};

/// Uses that are counted one by one; above, one in 2, 4, 8, ... for each [`STEP`] of the count, by chance.
const COUNTED: u8 = 128;
const STEP: u8 = 8;

/// The bit of [`Access::gaps`] that says that they are known: stamps of older versions lack it.
const GAPS_KNOWN: u16 = 1 << 10;

/// Words that the lessons of all processes take.
pub const LESSONS: usize = 2 * CLASSES * AGES;

/// The access stamp of an index slot.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Access {
    /// The number of the request that used it last, modulo 2^32.
    pub last: u32,
    /// Uses after the first, above 128 in octaves of eight steps.
    pub uses: u8,
    /// Smoothed logarithm of the requests between accesses, in half octaves.
    pub gap: u8,
    /// The octaves of the last gap and of the one before, 5 bits each, and a bit that says that they are known.
    pub gaps: u16,
    /// How dear it is to load again.
    pub cost: f32,
    /// Bytes.
    pub length: u32,
    /// Milliseconds since 1970; `u64::MAX` for never.
    pub deadline_ms: u64,
}

impl Access {
    /// An entry that came with the request `tick`.
    pub fn new(tick: u32, length: u32, cost: f32, deadline_ms: u64) -> Self {
        Access { last: tick, uses: 0, gap: 0, gaps: GAPS_KNOWN, cost, length, deadline_ms }
    }

    /// The request `tick` used the entry.
    pub fn touch(&mut self, tick: u32) {
        let uses = match self.uses {
            u8::MAX => u8::MAX,
            uses if uses < COUNTED => uses + 1,
            uses => uses + u8::from(tick.wrapping_mul(0x9E37_79B1) >> (31 - (uses - COUNTED) / STEP) == 0),
        };
        let mut stamp = self.stamp(tick);
        stamp.touch(tick);
        let (before, octave) = (u16::from(self.gaps()[0]), self.age(tick).max(1).ilog2() as u16);
        self.gaps = GAPS_KNOWN | before << 5 | octave;
        (self.last, self.uses, self.gap) = (tick, uses, stamp.gap);
    }

    /// The octaves of the last gap and of the one before; the smoothed one twice if they aren't known.
    fn gaps(&self) -> [u8; 2] {
        let known = self.gaps & GAPS_KNOWN != 0;
        if known { [(self.gaps & 31) as u8, (self.gaps >> 5 & 31) as u8] } else { [(self.gap / 2).min(31); 2] }
    }

    /// As two words of the index: last and cost; uses, gap and gaps, with 32 bits of the second left free.
    pub fn to_words(self) -> [u64; 2] {
        let used = u64::from(self.uses) | u64::from(self.gap) << 8 | u64::from(self.gaps) << 16;
        [u64::from(self.last) | u64::from(self.cost.to_bits()) << 32, used]
    }

    /// What [`Access::to_words`] made; the free bits may be anything, and any word is a stamp.
    pub fn from_words([first, second]: [u64; 2], length: u32, deadline_ms: u64) -> Self {
        let cost = f32::from_bits((first >> 32) as u32);
        // A damaged stamp must not make an entry stay for ever.
        let cost = if cost.is_finite() && cost >= 0.0 { cost } else { 1.0 };
        let (uses, gap, gaps) = (second as u8, (second >> 8) as u8, (second >> 16) as u16);
        Access { last: first as u32, uses, gap, gaps, cost, length, deadline_ms }
    }

    /// Requests since the last use. Another process may have used it with a later request than `tick`.
    fn age(&self, tick: u32) -> u32 {
        (tick.wrapping_sub(self.last) as i32).max(0) as u32
    }

    fn stamp(&self, tick: u32) -> Stamp {
        let last = tick.wrapping_sub(self.age(tick));
        Stamp { uses: self.uses, gap: self.gap, ..Stamp::new(last, self.length.into(), self.cost, self.deadline_ms) }
    }
}

/// Says which of the entries on disk are worth least.
#[derive(Debug)]
pub struct Judge(Rule);

#[derive(Debug)]
enum Rule {
    Lru,
    Lfu,
    Adaptive(Box<Learnt>),
    Learned(Box<Learner>),
}

impl Judge {
    /// The names that [`Judge::named`] takes: the policies that score an entry by itself.
    pub const NAMES: [&str; 4] = ["lru", "lfu", "adaptive", "learned"];

    /// The judge of that name.
    pub fn named(name: &str) -> Option<Judge> {
        match name {
            "lru" => Some(Judge(Rule::Lru)),
            "lfu" => Some(Judge(Rule::Lfu)),
            "adaptive" => Some(Judge(Rule::Adaptive(Box::default()))),
            "learned" => Some(Judge(Rule::Learned(Box::default()))),
            _ => None,
        }
    }

    /// What an entry is worth at the request `tick`. The least goes first; what has expired is worth less than anything.
    pub fn worth(&self, access: &Access, tick: u32, now_ms: u64) -> f32 {
        if access.deadline_ms <= now_ms {
            return f32::NEG_INFINITY;
        }
        let age = access.age(tick);
        match &self.0 {
            Rule::Lru => -(age as f32),
            // Among equals the one unused for longest.
            Rule::Lfu => f32::from(access.uses) - age as f32 / u32::MAX as f32,
            Rule::Adaptive(learnt) => learnt.worth(access, age, tick, now_ms),
            Rule::Learned(learner) => learner.worth(access, age, tick, now_ms),
        }
    }

    /// Learns from a request of this process that found something or stores it: `before` is the stamp that the entry had, or had when it
    /// left; a newcomer has none. Waits for nobody.
    pub fn request(&self, before: Option<&Access>, tick: u32) {
        match &self.0 {
            Rule::Adaptive(learnt) => learnt.request(before, tick),
            Rule::Learned(learner) => learner.request(before, tick),
            _ => {}
        }
    }

    /// Learns from a sample of all entries, and from one of those that left, each of which stands for `ghosts_each` of them.
    pub fn sampled(&self, sample: &[Access], ghosts: impl Iterator<Item = Access>, ghosts_each: u64, seen: &Seen) {
        match &self.0 {
            Rule::Adaptive(learnt) => learnt.sampled(sample, ghosts, ghosts_each, seen),
            Rule::Learned(learner) => learner.sampled(sample, ghosts, ghosts_each, seen),
            _ => {}
        }
    }
}

/// When a sample was drawn, and from what.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// The number of the latest request.
    pub tick: u32,
    /// How many entries there are.
    pub entries: u64,
    /// [`LESSONS`] words that all processes share.
    pub lessons: &'a [AtomicU32],
}

/// Requests of an epoch of one process: twice as many each time up to half a turnover, within bounds.
const FIRST_EPOCH: u32 = 128;
const EPOCHS: (u64, u64) = (4096, 1 << 20);

/// `adaptive`: weights, and what is being counted for the next.
#[derive(Debug)]
struct Learnt {
    weights: RwLock<Weights>,
    counted: Mutex<Counted>,
    entries: AtomicU64,
    pace: Pace,
}

/// What this process counted in the epoch that goes on.
#[derive(Debug)]
struct Counted {
    lessons: Lessons,
    /// Requests since a sample was drawn, and since the epoch began.
    requests: (u32, u32),
    epoch: u32,
    /// Whether anything had to leave yet: as long as there is room nothing depends on it.
    full: bool,
}

impl Default for Learnt {
    fn default() -> Self {
        Learnt {
            weights: RwLock::new(weights_of(&Lessons::default(), 1)),
            counted: Mutex::new(Counted { lessons: Lessons::default(), requests: (0, 0), epoch: FIRST_EPOCH, full: false }),
            entries: AtomicU64::default(),
            pace: Pace::default(),
        }
    }
}

impl Learnt {
    fn worth(&self, access: &Access, age: u32, tick: u32, now_ms: u64) -> f32 {
        let entries = self.entries.load(Relaxed).max(1);
        let turnover = self.pace.milliseconds(entries, tick, now_ms);
        let moment = Moment { tick, now: now_ms, turnover };
        let worth = self.weights.read().unwrap_or_else(PoisonError::into_inner).worth(&access.stamp(tick), &moment);
        // Entries of one class are worth the same, but for a thousandth that the longer unused one has less.
        let old = age as f32 / (age as f32 + entries as f32);
        worth.min(f32::MAX) * (1.0 - old / 1024.0)
    }

    fn counted(&self) -> Option<MutexGuard<'_, Counted>> {
        self.counted.try_lock().ok()
    }

    fn request(&self, before: Option<&Access>, tick: u32) {
        let Some(mut counted) = self.counted().filter(|counted| counted.full) else { return };
        counted.requests.0 += 1;
        if let Some(before) = before {
            let kind = self.weights.read().unwrap_or_else(PoisonError::into_inner).kind(&before.stamp(tick), tick);
            counted.lessons.hit(kind);
        }
    }

    fn sampled(&self, sample: &[Access], ghosts: impl Iterator<Item = Access>, ghosts_each: u64, seen: &Seen) {
        let Some(mut counted) = self.counted() else { return };
        let (before, elapsed) = (self.entries.load(Relaxed), counted.requests.0);
        let begins = !std::mem::replace(&mut counted.full, true);
        if begins || seen.entries.abs_diff(before) > before / 16 {
            self.reweigh(seen);
        }
        // So many turnovers times so many entries: their number cancels out for those that are there.
        let weights = self.weights.read().unwrap_or_else(PoisonError::into_inner);
        let there = elapsed as f32 / sample.len().max(1) as f32;
        for access in sample {
            counted.lessons.wait(weights.kind(&access.stamp(seen.tick), seen.tick), there);
        }
        let left = elapsed as f32 * ghosts_each as f32 / seen.entries.max(1) as f32;
        for access in ghosts {
            counted.lessons.wait(weights.kind(&access.stamp(seen.tick), seen.tick), left);
        }
        drop(weights);
        counted.requests = (0, counted.requests.1 + elapsed);
        if counted.requests.1 >= counted.epoch {
            add(seen.lessons, &std::mem::take(&mut counted.lessons));
            self.reweigh(seen);
            counted.requests.1 = 0;
            let (least, most) = EPOCHS;
            counted.epoch = (counted.epoch * 2).min((seen.entries / 2).clamp(least, most) as u32);
        }
    }

    /// Makes weights of what all processes have learnt.
    fn reweigh(&self, seen: &Seen) {
        let mut all = Lessons::default();
        all.counts_mut().zip(seen.lessons).for_each(|(count, word)| *count = counted(word));
        *self.weights.write().unwrap_or_else(PoisonError::into_inner) = weights_of(&all, seen.entries);
        self.entries.store(seen.entries.max(1), Relaxed);
    }
}

fn weights_of(lessons: &Lessons, entries: u64) -> Weights {
    let mut weights = Weights::default();
    lessons.weigh(&mut weights);
    weights.rescale(entries as usize);
    weights
}

/// A count that processes share. A damaged one is none.
fn counted(word: &AtomicU32) -> f32 {
    let count = f32::from_bits(word.load(Relaxed));
    if (0.0..1e12).contains(&count) { count } else { 0.0 }
}

/// Adds what was counted in an epoch, and fades all. What two processes add at the same moment may be lost.
fn add(lessons: &[AtomicU32], new: &Lessons) {
    for (word, count) in lessons.iter().zip(new.counts()) {
        word.store(((counted(word) + count) * KEEP).to_bits(), Relaxed);
    }
}

/// How fast requests come, from two of them: the request's number and the milliseconds, both modulo 2^32, in one word.
#[derive(Debug, Default)]
struct Pace {
    newer: AtomicU64,
    older: AtomicU64,
}

impl Pace {
    /// Milliseconds that as many requests take as there are entries.
    fn milliseconds(&self, entries: u64, tick: u32, now_ms: u64) -> f32 {
        let (newer, now) = (self.newer.load(Relaxed), now_ms << 32 | u64::from(tick));
        if newer == 0 || u64::from(tick.wrapping_sub(newer as u32)) > entries {
            self.older.store(if newer == 0 { now } else { newer }, Relaxed);
            self.newer.store(now, Relaxed);
        }
        let older = self.older.load(Relaxed);
        let requests = tick.wrapping_sub(older as u32).max(1);
        let milliseconds = ((now >> 32) as u32).wrapping_sub((older >> 32) as u32);
        milliseconds as f32 / requests as f32 * entries as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn used(last: u32, uses: u8) -> Access {
        Access { uses, ..Access::new(last, 100, 1.0, u64::MAX) }
    }

    fn judge(name: &str) -> Judge {
        Judge::named(name).unwrap()
    }

    fn lessons() -> Vec<AtomicU32> {
        (0..LESSONS).map(|_| AtomicU32::new(0)).collect()
    }

    #[test]
    fn the_least_recent_the_least_frequent_and_what_has_expired_go_first() {
        let order =
            |name: &str, left: &Access, right: &Access| judge(name).worth(left, 1000, 50) < judge(name).worth(right, 1000, 50);
        assert!(order("lru", &used(10, 9), &used(11, 0)));
        assert!(order("lfu", &used(900, 1), &used(10, 2)));
        assert!(order("lfu", &used(10, 2), &used(900, 2)));
        for name in ["adaptive", "learned"] {
            assert!(order(name, &used(10, 0), &used(900, 0)));
            assert!(order(name, &used(900, 0), &used(900, 3)));
        }
        for name in Judge::NAMES {
            assert!(order(name, &Access { deadline_ms: 50, ..used(999, 9) }, &used(0, 0)));
            assert!(Judge::named(name).is_some());
        }
        assert!(Judge::named("arc").is_none());
    }

    #[test]
    fn what_expires_soon_is_worth_less_to_adaptive() {
        let judge = judge("adaptive");
        judge.sampled(&[], std::iter::empty(), 0, &Seen { tick: 0, entries: 1000, lessons: &lessons() });
        let worth = |deadline_ms| judge.worth(&Access { deadline_ms, ..used(900, 1) }, 2000, 2_000_000);
        // A thousand requests, which is a turnover, take half a minute.
        judge.worth(&used(900, 1), 1000, 1_970_000);
        assert!(worth(2_001_000) < worth(2_300_000) / 5.0);
        assert!(worth(2_300_000) < worth(u64::MAX));
    }

    #[test]
    fn what_expires_before_its_turn_is_worth_less_to_learned() {
        let judge = judge("learned");
        hits_in_a_ring(&judge, &lessons(), 200, 300, 60);
        let mut access = Access::new(0, 1, 1.0, u64::MAX);
        (1..=61).for_each(|round| access.touch(round * 300));
        // A request takes a second, and the next of the ring that asks for it comes after 200.
        judge.worth(&access, 18_400, 400_000);
        let worth = |seconds: u64| judge.worth(&Access { deadline_ms: 400_000 + seconds * 1000, ..access }, 18_400, 400_000);
        assert!(worth(50) < worth(1000) / 5.0, "{} and {}", worth(50), worth(1000));
        assert!(worth(1000) <= judge.worth(&access, 18_400, 400_000) * 1.001);
    }

    #[test]
    fn the_last_two_gaps_are_known_by_their_octaves() {
        let mut access = Access::new(0, 1, 1.0, u64::MAX);
        [3, 103, 1_000_103].into_iter().for_each(|tick| access.touch(tick));
        assert_eq!(access.gaps(), [19, 6]);
        let [first, second] = access.to_words();
        let mut older = Access::from_words([first, second & 0xFFFF], 1, u64::MAX);
        let smoothed = access.gap / 2;
        assert_eq!(older.gaps(), [smoothed; 2], "a version that knows no others has written it");
        older.touch(1_000_203);
        assert_eq!(older.gaps(), [6, smoothed]);
    }

    #[test]
    fn an_entry_that_another_process_used_just_now_is_new() {
        for name in Judge::NAMES {
            let [ahead, now] = [1003, 1000].map(|last| judge(name).worth(&used(last, 1), 1000, 0));
            assert_eq!(ahead, now, "{name}");
        }
    }

    #[test]
    fn uses_are_counted_far_beyond_what_a_byte_holds() {
        let counts = [100, 1_000, 10_000, 100_000].map(|times| {
            let mut access = Access::new(0, 1, 1.0, u64::MAX);
            (1..=times).for_each(|tick| access.touch(tick));
            access.uses
        });
        assert_eq!(counts[0], 100);
        assert!(counts.is_sorted_by(|fewer, more| fewer < more) && counts[3] < u8::MAX, "{counts:?}");
    }

    /// Hits of a full cache of `capacity` keys that are asked for in a ring of `ring`, the worst of 16 leaving.
    fn hits_in_a_ring(judge: &Judge, lessons: &[AtomicU32], capacity: usize, ring: u32, rounds: u32) -> u32 {
        let mut held: Vec<(u32, Access)> = Vec::new();
        let (mut hits, mut random) = (0, 1u64);
        for tick in 0..ring * rounds {
            let number = tick % ring;
            if let Some((_, access)) = held.iter_mut().find(|(other, _)| *other == number) {
                judge.request(Some(access), tick);
                access.touch(tick);
                hits += 1;
                continue;
            }
            judge.request(None, tick);
            if held.len() == capacity {
                let sample: [usize; 16] = std::array::from_fn(|_| {
                    random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    ((random >> 33) % capacity as u64) as usize
                });
                let seen = Seen { tick, entries: held.len() as u64, lessons };
                judge.sampled(&sample.map(|at| held[at].1), std::iter::empty(), 0, &seen);
                let worth = |at: &usize| judge.worth(&held[*at].1, tick, 0);
                let victim = sample.into_iter().min_by(|left, right| worth(left).total_cmp(&worth(right))).unwrap();
                held.swap_remove(victim);
            }
            held.push((number, Access::new(tick, 1, 1.0, u64::MAX)));
        }
        hits
    }

    #[test]
    fn a_ring_in_which_recency_hits_nothing_is_learnt() {
        let [lru, others @ ..] =
            ["lru", "adaptive", "learned"].map(|name| hits_in_a_ring(&judge(name), &lessons(), 200, 300, 60));
        assert!(lru < 1_000 && others.iter().all(|&hits| hits > 6_000), "{lru} and {others:?} of 18000");
    }

    #[test]
    fn a_judge_begins_with_what_others_learnt() {
        let lessons = lessons();
        let first = hits_in_a_ring(&judge("adaptive"), &lessons, 200, 300, 8);
        hits_in_a_ring(&judge("adaptive"), &lessons, 200, 300, 60);
        let later = hits_in_a_ring(&judge("adaptive"), &lessons, 200, 300, 8);
        assert!(later > first + 100, "{first} and then {later} of 2400");
    }

    #[test]
    fn damaged_lessons_teach_nothing() {
        let lessons = lessons();
        let words = [f32::NAN, f32::INFINITY, -1.0, f32::MAX].map(f32::to_bits);
        lessons.iter().zip(words.iter().cycle()).for_each(|(lesson, &word)| lesson.store(word, Relaxed));
        let (damaged, usual) = (judge("adaptive"), judge("adaptive"));
        for (judge, lessons) in [(&damaged, lessons), (&usual, self::lessons())] {
            judge.sampled(&[], std::iter::empty(), 0, &Seen { tick: 0, entries: 1000, lessons: &lessons });
        }
        assert_eq!(damaged.worth(&used(5, 1), 2000, 0), usual.worth(&used(5, 1), 2000, 0));
    }

    proptest! {
        #[test]
        fn stamps_survive_the_words_and_any_words_are_a_stamp(words: [u64; 2], length: u32, deadline_ms: u64, tick: u32, now_ms: u64) {
            let mut access = Access::from_words(words, length, deadline_ms);
            prop_assert_eq!(Access::from_words(access.to_words(), length, deadline_ms), access);
            for name in Judge::NAMES {
                let worth = judge(name).worth(&access, tick, now_ms);
                prop_assert!(!worth.is_nan() && worth < f32::INFINITY);
                prop_assert_eq!(worth == f32::NEG_INFINITY, deadline_ms <= now_ms);
            }
            access.touch(tick);
            prop_assert_eq!(access.last, tick);
        }
    }
}
