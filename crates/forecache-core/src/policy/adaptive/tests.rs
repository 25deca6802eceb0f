//! Which of two entries leaves, drawn as the order of candidates, and what traffic of known shape teaches.

use super::*;
use crate::policy::AnyPolicy;
use crate::simulate::{Limit, simulate};
use crate::trace::{Builder, Facts, Key, Row, Trace};
use std::path::Path;

const SECOND: u64 = 1_000_000_000;

fn fingerprint(key: u32) -> u64 {
    crate::fingerprint::fingerprint(&key.to_le_bytes(), 3)
}

/// A policy with an entry for each of these, in slots from 0.
fn holding(metas: &[Meta]) -> Adaptive {
    let mut policy = Adaptive::default();
    metas.iter().zip(0..).for_each(|(meta, slot)| policy.on_insert(slot, fingerprint(slot), meta));
    policy
}

fn plain(entries: usize) -> Adaptive {
    holding(&vec![Meta::of_weight(1); entries])
}

/// At this second, living so many more.
fn living(now: u64, seconds: u64) -> Meta {
    Meta { now: now * SECOND, time_to_live: seconds * SECOND, ..Meta::of_weight(1) }
}

fn first(policy: &mut Adaptive) -> Slot {
    let victim = policy.victim(None).unwrap();
    assert_eq!(policy.candidates(1), [victim], "few entries are all looked at");
    victim
}

#[test]
fn of_entries_used_once_the_oldest_leaves() {
    let mut policy = plain(4);
    assert_eq!(policy.candidates(4), [0, 1, 2, 3]);
    assert_eq!(first(&mut policy), 0);
}

#[test]
fn of_entries_used_as_often_the_one_unused_for_longest_leaves() {
    let mut policy = plain(3);
    [1, 0, 2].into_iter().for_each(|slot| policy.on_hit(slot));
    assert_eq!(first(&mut policy), 1);
}

#[test]
fn of_two_entries_the_one_used_more_often_stays_though_it_was_used_earlier() {
    let mut policy = plain(4);
    [0, 0, 0, 1, 2, 3].into_iter().for_each(|slot| policy.on_hit(slot));
    assert_eq!(first(&mut policy), 1);
}

#[test]
fn of_two_sizes_the_larger_leaves_and_of_two_costs_the_cheaper() {
    assert_eq!(first(&mut holding(&[10, 90, 10].map(Meta::of_weight))), 1);
    assert_eq!(first(&mut holding(&[5.0, 1.0, 5.0].map(|cost| Meta { cost, ..Meta::of_weight(1) }))), 1);
    let mut grown = plain(3);
    grown.configure(Change::Weight(2, 50));
    assert_eq!(first(&mut grown), 2);
}

#[test]
fn whatever_the_cost_there_is_a_victim() {
    for cost in [0.0, -1.0, f32::MAX, f32::INFINITY, f32::NAN] {
        assert!(holding(&[Meta { cost, ..Meta::of_weight(1) }; 3]).victim(None).is_some(), "{cost}");
    }
}

#[test]
fn of_two_times_to_live_the_shorter_leaves() {
    // A request a second: three entries turn over in three seconds.
    assert_eq!(first(&mut holding(&[living(1, 900), living(2, 2), living(3, 900)])), 1);
    // Beside a turnover all live for ever, and the oldest leaves.
    let mut long = [living(2, 80_000); 13];
    long[0] = living(1, 90_000);
    assert_eq!(holding(&long).candidates(1), [0]);
}

#[test]
fn what_has_expired_leaves_first_however_often_it_was_used() {
    let mut policy = holding(&[living(1, 100), living(1, 5)]);
    (0..9).for_each(|_| policy.on_hit(1));
    policy.on_insert(2, fingerprint(2), &living(7, 100));
    assert_eq!(first(&mut policy), 1);
}

#[test]
fn a_deadline_can_be_moved_and_one_that_a_hit_may_have_put_off_is_not_believed() {
    let mut policy = holding(&[living(1, 100), living(2, 100), living(3, 100)]);
    policy.configure(Change::Deadline(2, 4 * SECOND));
    assert_eq!(first(&mut policy), 2);
    policy.on_hit(2);
    assert_eq!(first(&mut policy), 0);
}

#[test]
fn an_entry_that_comes_back_is_known() {
    let mut policy = plain(20);
    (0..5).for_each(|_| policy.on_hit(7));
    policy.on_remove(7, Cause::Size);
    policy.on_insert(7, fingerprint(7), &Meta::of_weight(1));
    assert_eq!(policy.residents[policy.places[7] as usize].stamp.uses, 6);
    policy.on_remove(7, Cause::Invalidated);
    policy.on_insert(7, fingerprint(7), &Meta::of_weight(1));
    assert_eq!(policy.residents[policy.places[7] as usize].stamp.uses, 0);
}

/// A cache of `capacity` entries under these requests.
fn cache(capacity: usize, requests: impl IntoIterator<Item = u32>) -> Adaptive {
    let mut policy = Adaptive::default();
    let mut slot_of = std::collections::HashMap::new();
    for key in requests {
        if let Some(&slot) = slot_of.get(&key) {
            policy.on_hit(slot);
            continue;
        }
        let mut slot = slot_of.len() as Slot;
        if slot_of.len() == capacity {
            slot = policy.victim(Some(fingerprint(key))).unwrap();
            slot_of.retain(|_, other| *other != slot);
            policy.on_remove(slot, Cause::Size);
        }
        policy.on_insert(slot, fingerprint(key), &Meta::of_weight(1));
        slot_of.insert(key, slot);
    }
    policy
}

#[test]
fn of_two_entries_used_as_often_the_one_that_is_due_stays() {
    // Each sixty-fourth request is for one of 8 keys in turn, a gap of 512 in a cache of 400. The others are for new keys, each
    // three times in a row and never again.
    let requests = (0..200_000u32).map(|at| if at % 64 == 0 { at / 64 % 8 } else { 100 + at / 3 });
    let policy = cache(400, requests);
    let tick = policy.moment.tick;
    let used = |gaps: u32, age: u32| {
        let mut stamp = Stamp::new(tick.wrapping_sub(age + 2 * gaps), 1, 1.0, u64::MAX);
        [age + gaps, age].into_iter().for_each(|ago| stamp.touch(tick.wrapping_sub(ago)));
        policy.weights.worth(&stamp, &policy.moment)
    };
    assert!(used(512, 300) > 10.0 * used(1, 300), "{} and {}", used(512, 300), used(1, 300));
    // The nearer its turn the more it is worth, though it is unused for longer.
    assert!(used(512, 400) > used(512, 100), "{} and {}", used(512, 400), used(512, 100));
}

/// Misses of a policy and of LRU.
fn misses(capacity: usize, requests: impl IntoIterator<Item = u32>) -> [u64; 2] {
    let mut builder = Builder::new(Path::new("keys"), Facts::default());
    requests.into_iter().for_each(|key| builder.push(&Row::get(0, Key::Number(key.into()), 1)));
    let trace: Trace = builder.finish();
    ["adaptive", "lru"].map(|name| simulate(&trace, AnyPolicy::named(name).unwrap(), Limit::Entries(capacity), 0).unwrap().misses)
}

#[test]
fn of_a_loop_a_little_larger_than_the_cache_most_stays() {
    let [adaptive, lru] = misses(100, (0..12_000).map(|at| at % 120));
    assert_eq!(lru, 12_000);
    assert!(adaptive < 4_000, "{adaptive}");
}

#[test]
fn a_scan_does_not_flush_what_is_in_use() {
    // 80 keys in turn; every fifth request is for a key that never comes again.
    let [adaptive, lru] = misses(90, (0..20_000).map(|at| if at % 5 == 0 { 1_000 + at } else { (at - at / 5) % 80 }));
    assert!(adaptive * 2 < lru, "{adaptive} beside {lru}");
}

#[test]
fn where_recency_is_all_it_is_as_good_as_lru() {
    // Each key is asked for some times within the next fifty requests or so, and then never again.
    let mut random = Adaptive::default();
    let requests: Vec<u32> = (0..20_000).map(|at| at / 5 + random.draw() % 10).collect();
    for capacity in [5, 12, 50] {
        let [adaptive, lru] = misses(capacity, requests.iter().copied());
        assert!(adaptive * 100 <= lru * 105, "{adaptive} beside {lru} at {capacity}");
    }
}

#[test]
fn favourites_that_change_all_at_once_are_learnt_anew() {
    // Every five thousand requests other keys are in favour: of 500 the lower the more, as the square of a random share.
    let mut random = Adaptive::default();
    let mut share = || random.draw() as f64 / 2f64.powi(32);
    let requests: Vec<u32> = (0..60_000).map(|at| at / 5_000 * 1_000 + (500.0 * share() * share()) as u32).collect();
    let [adaptive, lru] = misses(100, requests);
    assert!(adaptive < lru, "{adaptive} beside {lru}");
}
