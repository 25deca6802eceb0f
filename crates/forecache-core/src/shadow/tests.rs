//! Tests of shadows, driven by a cache as Python drives it.

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
