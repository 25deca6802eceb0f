//! Two miniatures beside a cache, one under its own policy and one under another that is tried: which would do better?
//!
//! Source: Waldspurger, Saemundsson, Ahmad and Park, "Cache modeling and optimization using miniature simulations" (ATC 2017). A share of the
//! keys is chosen by hash, and a store whose budget is that share of the real one's sees all that is asked of these keys. The policy in
//! force is compared in miniature too: what few keys do differs from what all do, but it differs alike in both.
//!
//! What is seen is what the real cache was asked: a read that missed there and hit in a miniature isn't followed by a set in the
//! miniature's world, and one that hit there and missed here is. So with all keys chosen the first miniature does what the
//! cache does, to the last hit. Weights, costs, times and deletes count; owners' priorities, pins and tags don't, but that what they remove is
//! removed here too.
//!
//! Cost: a read of a key that wasn't chosen costs nothing, a miss or a write of one a hash and a comparison. A chosen one costs as much as
//! in two more caches, of [`MOST`] entries at most.

use crate::expiry::{Clock, NEVER};
use crate::index::Hashed;
use crate::list::Slot;
use crate::policy::{AnyPolicy, Cause};
use crate::store::{Budget, Key, Lookup, New, Options, Removed, Store};
use std::collections::HashMap;

/// Entries of a miniature. If there are more, half of the keys are let go.
pub const MOST: usize = 4096;
/// Keys fall into so many parts; how much these differ tells how much is luck.
const PARTS: usize = 64;
/// Spreads fingerprints anew: what policies make of them has to be independent of who is chosen (Knuth's golden ratio).
const SPREAD: u64 = 0x9E37_79B9_7F4A_7C15;

/// A key: its fingerprint is all that is known of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Print(u64);

impl Key for Print {
    type Index = Hashed;

    #[inline]
    fn hash(&self) -> u64 {
        self.0
    }
}

type Mini = Store<Print, ()>;
type Gone = Vec<Removed<Print, ()>>;

/// What was said of a chosen key when it was stored.
#[derive(Debug, Clone, Copy)]
struct Said {
    fingerprint: u64,
    weight: u64,
    cost: f32,
    time_to_live: u64,
    time_to_idle: u64,
    group: u16,
}

/// Reads of some of the chosen keys.
#[derive(Debug, Clone, Copy, Default)]
struct Part {
    reads: u64,
    hits: [u64; 2],
}

/// What the miniatures have seen since keys were let go the last time. The first is under the policy in force.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Comparison {
    /// Reads of chosen keys.
    pub reads: u64,
    /// Those that hit.
    pub hits: [u64; 2],
    /// The standard error of the difference of the hit ratios, by how much parts of the keys differ; 0 before the first read.
    pub error: f64,
    /// The share of the keys that are chosen.
    pub share: f64,
    /// Entries held.
    pub entries: [usize; 2],
}

/// See the head of this file.
#[derive(Debug)]
pub struct Shadow {
    minis: [Mini; 2],
    gone: Gone,
    /// The real cache's.
    budget: Budget,
    /// Of 2^so many keys one is chosen.
    shift: u32,
    /// By the real cache's slot.
    held: HashMap<Slot, Said>,
    /// Keys that the real cache missed; a bit for each miniature that didn't: the set that follows isn't one there.
    awaited: HashMap<u64, u8>,
    parts: [Part; PARTS],
}

impl Shadow {
    /// Two empty miniatures of a cache with this budget and clock, under these policies.
    pub fn new(policies: [AnyPolicy; 2], budget: Budget, clock: &Clock) -> Self {
        let shift = budget.max_entries.map_or(0, |most| most.div_ceil(MOST).next_power_of_two().ilog2());
        let small = scaled(budget, shift);
        let mini = |policy| Store::new(policy, small, clock.clone(), crate::groups::Groups::new([]));
        Shadow {
            minis: policies.map(mini),
            gone: Vec::new(),
            budget,
            shift,
            held: HashMap::new(),
            awaited: HashMap::new(),
            parts: [Part::default(); PARTS],
        }
    }

    /// Whether a key is one of those that are looked at.
    #[inline]
    pub fn chooses(&self, fingerprint: u64) -> bool {
        fingerprint.wrapping_mul(SPREAD) <= u64::MAX >> self.shift
    }

    /// The real cache has read what is in `slot`. False if that isn't looked at any more.
    pub fn hit(&mut self, slot: Slot) -> bool {
        let Some(&said) = self.held.get(&slot) else { return false };
        for (at, found) in self.read(said.fingerprint).into_iter().enumerate() {
            if !found {
                self.store(at, &said);
            }
        }
        self.shrink();
        true
    }

    /// The real cache has read a key and found nothing.
    pub fn miss(&mut self, fingerprint: u64) {
        if !self.chooses(fingerprint) {
            return;
        }
        let [one, other] = self.read(fingerprint).map(u8::from);
        if self.awaited.len() >= MOST {
            self.awaited.clear(); // nobody stores them
        }
        match one | other << 1 {
            0 => _ = self.awaited.remove(&fingerprint),
            bits => _ = self.awaited.insert(fingerprint, bits),
        }
    }

    /// The real cache is told to store this, and may refuse to. Says whether the key is looked at.
    #[inline]
    pub fn set(&mut self, fingerprint: u64, weight: u64, options: &Options) -> bool {
        let chosen = self.chooses(fingerprint);
        if chosen {
            self.stored(&said(fingerprint, weight, options));
        }
        chosen
    }

    /// The real cache has stored in `slot` what it was told last.
    pub fn hold(&mut self, slot: Slot, fingerprint: u64, weight: u64, options: &Options) {
        if self.chooses(fingerprint) {
            self.held.insert(slot, said(fingerprint, weight, options));
        }
    }

    /// The real cache has given what is in `slot` another value.
    pub fn rewrite(&mut self, slot: Slot, weight: u64) {
        if let Some(held) = self.held.get_mut(&slot) {
            held.weight = weight;
            let said = *held;
            self.stored(&said);
        }
    }

    /// What was in `slot` left the real cache. What any cache would have lost, the miniatures lose too.
    pub fn removed(&mut self, slot: Slot, cause: Cause) {
        if let Some(said) = self.held.remove(&slot) {
            if matches!(cause, Cause::Explicit | Cause::Invalidated) {
                self.delete(said.fingerprint);
            }
        }
    }

    /// A key is deleted, whether the real cache has it or not.
    pub fn delete(&mut self, fingerprint: u64) {
        self.awaited.remove(&fingerprint);
        for mini in &mut self.minis {
            mini.remove(&lookup(fingerprint), &mut self.gone);
        }
        self.gone.clear();
    }

    /// All keys are.
    pub fn clear(&mut self) {
        self.minis.iter_mut().for_each(|mini| _ = mini.clear(&mut self.gone));
        self.gone.clear();
        (self.held, self.awaited) = Default::default();
    }

    /// The real cache has another budget.
    pub fn resize(&mut self, budget: Budget) {
        self.budget = budget;
        let Budget { capacity, max_entries } = scaled(budget, self.shift);
        self.minis.iter_mut().for_each(|mini| mini.resize(capacity, max_entries, &mut self.gone));
        self.gone.clear();
    }

    /// What was seen.
    pub fn compare(&self) -> Comparison {
        let sum = |count: fn(&Part) -> u64| self.parts.iter().map(count).sum::<u64>();
        let (reads, hits) = (sum(|part| part.reads), [sum(|part| part.hits[0]), sum(|part| part.hits[1])]);
        Comparison {
            reads,
            hits,
            error: self.error(reads as f64, hits[1] as f64 - hits[0] as f64),
            share: (-f64::from(self.shift)).exp2(),
            entries: [self.minis[0].len(), self.minis[1].len()],
        }
    }

    /// That of a ratio of sums over parts that were drawn by chance (Cochran, "Sampling techniques", 1977, section 2.11).
    fn error(&self, reads: f64, gain: f64) -> f64 {
        if reads == 0.0 {
            return 0.0;
        }
        let ratio = gain / reads;
        let off = |part: &Part| part.hits[1] as f64 - part.hits[0] as f64 - ratio * part.reads as f64;
        let squares: f64 = self.parts.iter().map(|part| off(part).powi(2)).sum();
        (squares * PARTS as f64 / (PARTS - 1) as f64).sqrt() / reads
    }

    /// Reads a key in both, and counts.
    fn read(&mut self, fingerprint: u64) -> [bool; 2] {
        let Shadow { minis, gone, parts, .. } = self;
        let part = &mut parts[fingerprint.wrapping_mul(SPREAD) as usize % PARTS];
        part.reads += 1;
        let found = minis.each_mut().map(|mini| mini.get(&lookup(fingerprint), gone).is_some());
        gone.clear();
        found.iter().zip(&mut part.hits).for_each(|(&found, hits)| *hits += u64::from(found));
        found
    }

    fn stored(&mut self, said: &Said) {
        let there = self.awaited.remove(&said.fingerprint).unwrap_or(0);
        for at in 0..2 {
            if there & 1 << at == 0 {
                self.store(at, said);
            }
        }
        self.shrink();
    }

    fn store(&mut self, at: usize, said: &Said) {
        let mini = &mut self.minis[at];
        mini.groups.reach(said.group);
        let options = Options {
            time_to_live: said.time_to_live,
            time_to_idle: said.time_to_idle,
            group: said.group,
            cost: said.cost,
            ..Options::default()
        };
        let new = New { key: Print(said.fingerprint), fingerprint: said.fingerprint, value: (), weight: said.weight };
        mini.set(&lookup(said.fingerprint), new, &options, &mut self.gone);
        self.gone.clear();
    }

    /// Lets half of the keys go while there are too many, and counts from there on.
    fn shrink(&mut self) {
        while self.minis.iter().any(|mini| mini.len() > MOST) {
            self.halve();
        }
    }

    #[cold]
    fn halve(&mut self) {
        self.shift += 1;
        let last = u64::MAX >> self.shift;
        let chosen = |fingerprint: u64| fingerprint.wrapping_mul(SPREAD) <= last;
        for mini in &mut self.minis {
            let mut out = Vec::new();
            mini.scan(0, usize::MAX, |key, ()| out.extend((!chosen(key.0)).then_some(key.0)));
            out.into_iter().for_each(|fingerprint| _ = mini.remove(&lookup(fingerprint), &mut self.gone));
            mini.expire(&mut self.gone);
        }
        self.held.retain(|_, said| chosen(said.fingerprint));
        self.awaited.retain(|&fingerprint, _| chosen(fingerprint));
        self.parts = [Part::default(); PARTS];
        self.resize(self.budget);
    }

    /// Bytes allocated.
    pub fn allocated(&self) -> usize {
        self.minis.iter().map(Store::allocated).sum::<usize>()
            + self.held.capacity() * size_of::<(Slot, Said)>()
            + self.awaited.capacity() * size_of::<(u64, u8)>()
    }
}

fn said(fingerprint: u64, weight: u64, options: &Options) -> Said {
    let &Options { cost, time_to_live, time_to_idle, group, .. } = options;
    Said { fingerprint, weight, cost, time_to_live, time_to_idle, group }
}

fn lookup(fingerprint: u64) -> Lookup<impl Fn(&Print) -> bool> {
    Lookup { namespace: 0, hash: fingerprint, equal: move |other: &Print| other.0 == fingerprint }
}

/// A budget for one of 2^`shift` keys.
fn scaled(budget: Budget, shift: u32) -> Budget {
    let capacity = if budget.capacity == NEVER { NEVER } else { (budget.capacity >> shift).max(1) };
    Budget { capacity, max_entries: budget.max_entries.map(|most| (most >> shift).max(1)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fingerprint::fingerprint;
    use crate::groups::Groups;
    use proptest::prelude::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    const SECOND: u64 = 1_000_000_000;

    fn named(name: &str) -> AnyPolicy {
        AnyPolicy::named(name).unwrap()
    }

    fn entries(most: usize) -> Budget {
        Budget { capacity: NEVER, max_entries: Some(most) }
    }

    /// A cache with a shadow, as Python's drives it.
    struct Scene {
        store: Mini,
        gone: Gone,
        clock: Arc<AtomicU64>,
    }

    impl Scene {
        fn new(policies: [&str; 2], budget: Budget) -> Self {
            let time = Arc::new(AtomicU64::new(0));
            let clock = Clock::Manual(time.clone());
            let mut store = Store::new(named(policies[0]), budget, clock, Groups::new([]));
            store.shade(named(policies[1]));
            Scene { store, gone: Vec::new(), clock: time }
        }

        fn print(key: u64) -> u64 {
            fingerprint(&key.to_le_bytes(), 5)
        }

        fn get(&mut self, key: u64) -> bool {
            let print = Self::print(key);
            let found = self.store.get(&lookup(print), &mut self.gone).is_some();
            if !found {
                self.store.shadow.as_mut().unwrap().miss(print);
            }
            found
        }

        fn set(&mut self, key: u64, weight: u64, options: &Options) {
            let print = Self::print(key);
            let new = New { key: Print(print), fingerprint: print, value: (), weight };
            self.store.set(&lookup(print), new, options, &mut self.gone);
        }

        fn delete(&mut self, key: u64) {
            let print = Self::print(key);
            if self.store.remove(&lookup(print), &mut self.gone).is_none() {
                self.store.shadow.as_mut().unwrap().delete(print);
            }
        }

        fn load(&mut self, key: u64) -> bool {
            let found = self.get(key);
            if !found {
                self.set(key, 1, &Options::default());
            }
            found
        }

        fn told(&self) -> Comparison {
            self.store.shadow.as_ref().unwrap().compare()
        }
    }

    /// A loop a little longer than the cache, in which LRU never hits, and keys that come once.
    fn looping(length: u64) -> impl Iterator<Item = u64> {
        (0..60 * length).map(move |turn| if turn % 10 == 9 { 1_000_000 + turn } else { turn % length })
    }

    /// Misses of a cache of its own.
    fn alone(policy: &str, budget: Budget, keys: impl Iterator<Item = u64>) -> u64 {
        let mut store = Mini::new(named(policy), budget, Clock::Manual(Arc::default()), Groups::new([]));
        let mut gone = Vec::new();
        for print in keys.map(Scene::print) {
            if store.get(&lookup(print), &mut gone).is_none() {
                let new = New { key: Print(print), fingerprint: print, value: (), weight: 1 };
                store.set(&lookup(print), new, &Options::default(), &mut gone);
            }
        }
        store.counters.misses
    }

    #[test]
    fn of_a_small_cache_both_do_what_a_cache_under_their_policy_does() {
        for policies in [["lru", "learned"], ["learned", "lru"], ["s3fifo", "sieve"]] {
            let mut scene = Scene::new(policies, entries(90));
            looping(120).for_each(|key| _ = scene.load(key));
            let told = scene.told();
            assert_eq!((told.share, told.hits[0]), (1.0, scene.store.counters.hits));
            assert_eq!(told.reads - told.hits[1], alone(policies[1], entries(90), looping(120)), "{policies:?}");
        }
    }

    #[test]
    fn of_a_large_cache_some_keys_tell_which_policy_is_better() {
        let mut scene = Scene::new(["lru", "learned"], entries(10_000));
        looping(13_000).for_each(|key| _ = scene.load(key));
        let told = scene.told();
        let gain = (told.hits[1] as f64 - told.hits[0] as f64) / told.reads as f64;
        assert!(told.share == 0.25 && told.entries.iter().all(|&entries| entries <= MOST), "{told:?}");
        let seen = looping(13_000).count() as f64;
        let real = (scene.store.counters.misses - alone("learned", entries(10_000), looping(13_000))) as f64 / seen;
        assert!(gain > 3.0 * told.error && (gain - real).abs() < 0.1, "{gain} {real} {told:?}");
    }

    #[test]
    fn under_the_same_policy_nothing_differs() {
        let mut scene = Scene::new(["learned", "learned"], entries(300));
        looping(400).for_each(|key| _ = scene.load(key));
        assert_eq!((scene.told().hits[0], scene.told().error), (scene.told().hits[1], 0.0));
    }

    #[test]
    fn where_weights_are_bounded_keys_are_let_go_until_the_rest_is_a_miniature() {
        let mut scene = Scene::new(["lru", "sieve"], Budget { capacity: 500_000, max_entries: None });
        for key in 0..60_000u64 {
            if !scene.get(key % 55_000) {
                scene.set(key % 55_000, 10, &Options::default());
            }
        }
        let told = scene.told();
        assert_eq!(told.share, 0.0625);
        assert!(told.entries.iter().all(|&entries| (2500..=MOST).contains(&entries)), "{told:?}");
        let shadow = scene.store.shadow.as_ref().unwrap();
        assert!(shadow.minis.iter().all(|mini| mini.weight() <= 500_000 / 16));
        assert!(shadow.held.len() <= MOST, "{}", shadow.held.len());
    }

    #[test]
    fn what_expires_or_is_deleted_is_gone_from_both() {
        let mut scene = Scene::new(["lru", "learned"], entries(9));
        let timed = Options { time_to_live: SECOND, ..Options::default() };
        scene.set(1, 1, &timed);
        scene.set(2, 1, &Options::default());
        scene.set(3, 1, &Options::default());
        scene.delete(2);
        scene.clock.store(2 * SECOND, Ordering::Relaxed);
        assert_eq!([1, 2, 3].map(|key| scene.get(key)), [false, false, true]);
        assert_eq!((scene.told().reads, scene.told().hits), (3, [1, 1]));
        scene.store.clear(&mut scene.gone);
        assert!(!scene.get(3));
        assert_eq!((scene.told().reads, scene.told().hits), (4, [1, 1]));
    }

    #[test]
    fn what_only_a_miniature_has_is_deleted_there() {
        let mut scene = Scene::new(["sieve", "lru"], entries(2));
        // SIEVE keeps what was read, LRU what came last.
        "aabc".bytes().for_each(|key| _ = scene.load(key.into()));
        let lone = "abc".bytes().map(u64::from).find(|&key| {
            let lookup = lookup(Scene::print(key));
            scene.store.peek(&lookup).is_none() && scene.store.shadow.as_ref().unwrap().minis[1].peek(&lookup).is_some()
        });
        let lone = lone.expect("the two keep different keys");
        scene.delete(lone);
        assert!(scene.store.shadow.as_ref().unwrap().minis[1].peek(&lookup(Scene::print(lone))).is_none());
    }

    #[test]
    fn a_smaller_budget_is_smaller_in_miniature_too() {
        let mut scene = Scene::new(["lru", "lru"], entries(100));
        (0..100).for_each(|key| _ = scene.load(key));
        scene.store.resize(NEVER, Some(10), &mut scene.gone);
        assert_eq!(scene.told().entries, [10, 10]);
    }

    proptest! {
        #[test]
        fn with_all_keys_chosen_the_first_does_what_the_cache_does(
            steps in prop::collection::vec((0u64..40, 0u8..10, 1u64..9), 1..400),
            policy in prop::sample::select(&["lru", "learned", "sieve", "arc", "tinylfu"][..]),
            by_weight: bool,
        ) {
            let budget = if by_weight { Budget { capacity: 60, max_entries: None } } else { entries(12) };
            let mut scene = Scene::new([policy, "lru"], budget);
            for (key, verb, weight) in steps {
                scene.clock.fetch_add(SECOND / 4, Ordering::Relaxed);
                let plain = Options::default();
                let times = Options { time_to_live: weight * SECOND, time_to_idle: SECOND, cost: weight as f32, ..Options::default() };
                match verb {
                    0 => scene.delete(key),
                    1 => scene.set(key, weight, &times),
                    2 => scene.set(key, weight, &plain),
                    _ => if !scene.get(key) {
                        scene.set(key, weight, if verb == 3 { &times } else { &plain });
                    }
                }
                let shadow = scene.store.shadow.as_ref().unwrap();
                prop_assert_eq!(scene.told().hits[0], scene.store.counters.hits);
                prop_assert_eq!(shadow.minis[0].weight(), scene.store.weight());
            }
        }
    }
}
