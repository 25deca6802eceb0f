//! Tests of what the policy does as a whole.

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
    let mut dearer = holding(&[10; 3].map(Meta::of_weight));
    [0, 2].into_iter().for_each(|slot| dearer.configure(Change::Cost(slot, 5.0, 10)));
    assert_eq!(dearer.victim(None), Some(1));
}

#[test]
fn what_would_take_the_room_of_several_is_refused_until_it_is_asked_for_often() {
    let mut policy = holding(&[10; 100].map(Meta::of_weight));
    (0..1000).for_each(|turn| policy.on_hit(turn % 100));
    let (heavy, key) = (Meta::of_weight(400), fingerprint(1000));
    let victim = policy.victim(Some(key)).unwrap();
    assert!(policy.admit(fingerprint(1001), &Meta::of_weight(40), victim));
    assert!(policy.admit(fingerprint(1001), &Meta { cost: 1000.0, ..heavy }, victim));
    let turn = (0..100).find(|_| {
        (0..100).for_each(|slot| policy.on_hit(slot));
        let victim = policy.victim(Some(key)).unwrap();
        (0..20).any(|_| policy.admit(key, &heavy, victim))
    });
    assert!(turn.is_some());
    assert!(!policy.admit(fingerprint(1001), &heavy, victim));
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

/// Asks a cache for keys below `bound`, and says which were there.
pub(super) fn play(policy: &mut Learned, capacity: u32, bound: u32, keys: impl Iterator<Item = u32>) -> Vec<bool> {
    policy.configure(Change::Capacity(capacity.into()));
    let (mut slot_of, mut key_of) = (vec![NONE; bound as usize], vec![NONE; capacity as usize]);
    let mut free: Vec<_> = (0..capacity).collect();
    let mut ask = |key: u32| {
        if slot_of[key as usize] != NONE {
            policy.on_hit(slot_of[key as usize]);
            return true;
        }
        let slot = free.pop().unwrap_or_else(|| {
            let victim = policy.victim(Some(fingerprint(key))).unwrap();
            policy.on_remove(victim, Cause::Size);
            slot_of[key_of[victim as usize] as usize] = NONE;
            victim
        });
        policy.on_insert(slot, fingerprint(key), &Meta::of_weight(1));
        (slot_of[key as usize], key_of[slot as usize]) = (slot, key);
        false
    };
    keys.map(&mut ask).collect()
}

pub(super) fn count(hits: &[bool]) -> usize {
    hits.iter().filter(|&&hit| hit).count()
}

#[test]
fn a_loop_longer_than_the_cache_is_kept_in_part() {
    let (capacity, length) = (400u32, 500u32);
    let hits = play(&mut Learned::default(), capacity, length, (0..20 * length).map(|turn| turn % length));
    let late = count(&hits[10 * length as usize..]);
    // LRU has none.
    assert!(late > 10 * length as usize / 2, "{late} hits of {}", 10 * length);
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

/// Asks for keys as a store bounded by entries would; says how many were hits.
fn hits_of(policy: &mut Learned, capacity: u32, keys: impl Iterator<Item = u32>) -> u32 {
    policy.configure(Change::Capacity(capacity.into()));
    let (mut slot_of, mut key_of) = (std::collections::HashMap::new(), Vec::new());
    let mut hits = 0;
    for key in keys {
        if let Some(&slot) = slot_of.get(&key) {
            policy.on_hit(slot);
            hits += 1;
            continue;
        }
        let slot = if key_of.len() < capacity as usize {
            key_of.push(key);
            key_of.len() as Slot - 1
        } else {
            let victim = policy.victim(Some(fingerprint(key))).unwrap();
            policy.on_remove(victim, Cause::Size);
            slot_of.remove(&std::mem::replace(&mut key_of[victim as usize], key));
            victim
        };
        policy.on_insert(slot, fingerprint(key), &Meta::of_weight(1));
        slot_of.insert(key, slot);
    }
    hits
}

#[test]
fn what_was_learned_outlives_the_entries() {
    let rounds = |rounds| (0..rounds).flat_map(|_| 0..240);
    let fresh = || Learned::with_prior(Arc::new(Prior::none()));
    let mut taught = fresh();
    hits_of(&mut taught, 200, rounds(50));
    let begins = hits_of(&mut fresh(), 200, rounds(2));
    let goes_on = hits_of(&mut taught.emptied(), 200, rounds(2));
    let again = hits_of(&mut taught.fresh(), 200, rounds(2));
    assert!(goes_on > begins + 20, "{goes_on} hits and {begins}");
    assert_eq!(again, begins);
}

#[test]
fn an_entry_takes_at_most_a_hundred_bytes_with_all_ghosts() {
    let mut policy = Learned::default();
    hits_of(&mut policy, 100_000, 0..150_000);
    assert!(policy.ghosts.iter().map(Ghosts::room).sum::<usize>() >= 700_000);
    assert!(policy.allocated() <= 100 * 100_000, "{} bytes", policy.allocated());
}

#[test]
fn an_entry_is_evicted_though_all_that_were_kept_for_it_have_left() {
    let mut policy = holding(&[Meta::of_weight(1); 1000]);
    policy.victim(None).unwrap();
    for _ in 0..999 {
        let slot = policy.victim(None).unwrap();
        policy.on_remove(slot, Cause::Explicit);
    }
    let last = policy.victim(None).unwrap();
    policy.on_remove(last, Cause::Explicit);
    assert_eq!(policy.victim(None), None);
}

#[test]
fn the_only_one_that_is_left_of_those_that_were_kept_is_evicted() {
    let ends = |slot: u32| if slot < 128 { SECOND } else { 60 * SECOND };
    let metas: Vec<_> = (0..200).map(|slot| Meta { now: SECOND, time_to_live: ends(slot), ..Meta::of_weight(1) }).collect();
    let mut policy = holding(&metas);
    policy.on_insert(200, fingerprint(200), &Meta { now: 30 * SECOND, ..Meta::of_weight(1) });
    // Seven of them are kept then, and one is found beside them.
    (0..4).for_each(|_| assert!(policy.victim(None).unwrap() < 128));
    (0..128).for_each(|slot| policy.on_remove(slot, Cause::Expired));
    assert!(policy.victim(None).unwrap() >= 128);
}

#[test]
fn whatever_an_entry_is_said_to_cost_it_is_worth_a_number() {
    for cost in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, -1.0, -0.0, 0.0] {
        for weight in [1, 10, 1 << 50] {
            let mut policy = holding(&[Meta { cost, ..Meta::of_weight(weight) }; 100]);
            policy.on_insert(100, fingerprint(100), &Meta { cost, now: SECOND, time_to_live: SECOND, ..Meta::of_weight(weight) });
            for left in (1..=101).rev() {
                assert!((0..left).all(|place| policy.worth(place).is_finite() && policy.worth(place).is_sign_positive()));
                let victim = policy.victim(Some(fingerprint(left as u32))).unwrap();
                policy.admit(fingerprint(1000), &Meta { cost, ..Meta::of_weight(weight) }, victim);
                policy.on_remove(victim, Cause::Size);
            }
        }
    }
}

#[test]
fn evictions_are_judged_on_when_the_entries_are_gone() {
    let mut policy = Learned::default();
    play(&mut policy, 500, 100_000, 0..60_000);
    let mut emptied = policy.emptied();
    let judged = |policy: &Learned| policy.judge.verdict().judged;
    let before = judged(&emptied);
    play(&mut emptied, 500, 100_000, 60_000..70_000);
    assert!(judged(&emptied) > before + 1000, "{} and then {}", before, judged(&emptied));
}
