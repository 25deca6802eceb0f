//! Tests of the policy `logistic`.

use super::features::DAY;
use super::watching::WATCHED;
use super::*;
use std::collections::BTreeMap;

const HOUR: u64 = DAY / 24;

fn fingerprint(key: u32) -> u64 {
    crate::fingerprint::fingerprint(&key.to_le_bytes(), 3)
}

fn holding(metas: &[Meta]) -> Logistic {
    let mut policy = Logistic::default();
    metas.iter().zip(0..).for_each(|(meta, slot)| policy.on_insert(slot, fingerprint(slot), meta));
    policy
}

#[test]
fn before_anything_is_learned_it_evicts_what_was_used_longest_ago_unless_it_was_used_more() {
    let mut policy = holding(&[Meta::of_weight(1); 40]);
    assert_eq!(policy.candidates(2), [0, 1]);
    (0..100).for_each(|_| policy.on_hit(0));
    assert_eq!(policy.candidates(1), [1]);
    assert!(policy.victim(None).is_some_and(|victim| victim != 0));
}

#[test]
fn every_feature_that_is_told_is_seen() {
    let plain = Meta { now: 6 * HOUR, ..Meta::of_weight(100) };
    let of = |meta: Meta| holding(&[plain, meta]).features(&holding(&[plain, meta]).residents[1]);
    let usual = of(plain);
    let other = [
        (3, Meta { weight: 1000, ..plain }),
        (7, Meta { tier: 2, ..plain }),
        (8, Meta { compression: 4.0, ..plain }),
        (9, Meta { references: 8, ..plain }),
    ];
    for (feature, meta) in other {
        let changed = of(meta);
        let differ: Vec<_> = (0..usual.len()).filter(|&at| usual[at] != changed[at]).collect();
        assert_eq!(differ, [feature]);
    }
    assert!((usual[5] - 1.0).abs() < 1e-3 && usual[6].abs() < 1e-3, "six hours are a quarter of a day: {usual:?}");
    let mut policy = holding(&[plain; 2]);
    (0..9).for_each(|_| policy.on_hit(0));
    let used = policy.features(&policy.residents[0]);
    assert!(used[2] > usual[2] && policy.features(&policy.residents[1])[1] > used[1]);
}

#[test]
fn what_is_asked_for_soon_after_it_left_teaches_that_it_should_have_stayed() {
    // Large entries come back, small ones don't, whatever is decided about them.
    let (large, small) = (Meta::of_weight(1000), Meta::of_weight(10));
    let mut policy = Logistic::default();
    let (mut slot_of, mut key_of) = (BTreeMap::new(), BTreeMap::new());
    let mut free: Vec<Slot> = (0..60).collect();
    for turn in 0..20_000u32 {
        let (key, meta) = if turn % 2 == 0 { (turn / 2 % 40, &large) } else { (1000 + turn, &small) };
        if let Some(&slot) = slot_of.get(&key) {
            policy.on_hit(slot);
            continue;
        }
        let slot = free.pop().unwrap_or_else(|| {
            let victim = policy.victim(None).unwrap();
            policy.on_remove(victim, Cause::Size);
            slot_of.remove(&key_of.remove(&victim).unwrap());
            victim
        });
        policy.on_insert(slot, fingerprint(key), meta);
        slot_of.insert(key, slot);
        key_of.insert(slot, key);
    }
    let kept = slot_of.keys().filter(|&&key| key < 1000).count();
    assert!(kept > 35, "{kept} of 40 large ones in 60 places: {:?}", policy.model);
    assert!(policy.watched.len() <= 2 * WATCHED as usize && policy.waiting.len() <= policy.watched.len());
}
