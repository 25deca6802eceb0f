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
