//! Whose entries leave, by priorities and budgets.

use super::*;
use crate::owners::Claim;
use proptest::prelude::*;
use std::collections::BTreeMap;

const CAPACITY: u64 = 100;

/// What a store does with rooms, and nothing else: entries weigh 1, and a slot is never used again.
struct Store {
    rooms: Rooms,
    owners: Owners,
    held: BTreeMap<Slot, u32>,
    next: Slot,
}

impl Store {
    fn new(policy: &str) -> Self {
        let claim = |priority, budget| Claim { priority, budget };
        let claims =
            [("low*", claim(-1, None)), ("high", claim(3, None)), ("tenant*", claim(0, Some(20))), ("poor*", claim(3, Some(5)))];
        let policy = AnyPolicy::named(policy).unwrap();
        Store { rooms: Rooms::new(policy), owners: Owners::new(claims), held: BTreeMap::new(), next: 0 }
    }

    fn meta(&mut self, owner: &str) -> Meta {
        let owner = self.owners.number(0, owner);
        Meta { owner, room: self.owners.room_of(owner), ..Meta::of_weight(1) }
    }

    /// Whether it was taken.
    fn set(&mut self, owner: &str) -> bool {
        let (slot, meta) = (self.next, self.meta(owner));
        let fingerprint = crate::fingerprint::fingerprint(&slot.to_le_bytes(), 1);
        self.next += 1;
        if self.held.len() as u64 == CAPACITY {
            let victim = self.rooms.victim(Some((fingerprint, &meta)), &self.owners).unwrap();
            if !self.rooms.admit(fingerprint, &meta, victim, &self.owners) {
                return false;
            }
            self.remove(victim, Cause::Size);
        }
        self.rooms.on_insert(slot, fingerprint, &meta);
        self.owners.add(meta.owner, 1);
        self.held.insert(slot, meta.owner);
        true
    }

    fn remove(&mut self, slot: Slot, cause: Cause) {
        let owner = self.held.remove(&slot).expect("rooms name slots that are held");
        self.rooms.on_remove(slot, cause);
        self.owners.subtract(owner, self.owners.generation(owner), 1);
    }

    fn fill(&mut self, owner: &str, times: usize) {
        (0..times).for_each(|_| assert!(self.set(owner)));
    }

    fn has(&mut self, owner: &str) -> usize {
        let owner = self.owners.number(0, owner);
        self.held.values().filter(|&&held| held == owner).count()
    }
}

#[test]
fn the_lowest_priority_leaves_first_and_comes_in_only_where_there_is_room() {
    let mut store = Store::new("lru");
    store.fill("low", 60);
    store.fill("anybody", 40);
    store.fill("high", 50);
    assert_eq!((store.has("low"), store.has("anybody"), store.has("high")), (10, 40, 50));
    store.fill("high", 60);
    assert_eq!((store.has("low"), store.has("anybody"), store.has("high")), (0, 0, 100));
    assert!(!store.set("low") && !store.set("anybody") && store.set("high"));
}

#[test]
fn who_is_over_its_budget_gives_before_all_others_whatever_its_priority() {
    let mut store = Store::new("lru");
    store.fill("poor", 50);
    store.fill("low", 50);
    assert_eq!(store.has("poor"), 50, "there was room");
    store.fill("anybody", 60);
    assert_eq!((store.has("poor"), store.has("low"), store.has("anybody")), (5, 35, 60));
}

#[test]
fn who_is_at_its_budget_gives_of_its_own_for_what_it_brings() {
    let mut store = Store::new("lru");
    store.fill("anybody", 90);
    store.fill("tenant-1", 50);
    assert_eq!((store.has("tenant-1"), store.has("anybody")), (20, 80));
    assert!(store.held.keys().any(|&slot| slot == store.next - 1), "the newest stays");
}

#[test]
fn of_those_within_their_budgets_whoever_used_most_of_it_gives() {
    let mut store = Store::new("lru");
    for tenant in 0..6 {
        store.fill(&format!("tenant-{tenant}"), 10 + tenant * 2);
    }
    store.fill("tenant-9", 20);
    let has: Vec<_> = (0..6).map(|tenant| store.has(&format!("tenant-{tenant}"))).collect();
    assert_eq!(has.iter().sum::<usize>() + store.has("tenant-9"), CAPACITY as usize);
    assert!(has.iter().all(|&has| has <= 16) && has[0] == 10, "{has:?}");
}

#[test]
fn a_thousand_owners_with_budgets_take_little_room_and_share_what_is_learned() {
    let rooms = |many: u32| {
        let mut rooms = Rooms::new(AnyPolicy::named("learned").unwrap());
        rooms.configure(Change::Capacity(10_000));
        for slot in 0..10_000 {
            let meta = Meta { room: (slot % many) as u16, ..Meta::of_weight(1) };
            rooms.on_insert(slot, crate::fingerprint::fingerprint(&slot.to_le_bytes(), 1), &meta);
        }
        rooms
    };
    let (one, many) = (rooms(1), rooms(1000));
    let more = many.allocated() - one.allocated();
    assert!(more <= 10_000 * 32 + 1000 * 100, "{more} bytes");
    assert_eq!(many.policies().count(), 1);
}

#[test]
fn entries_that_were_there_before_there_were_rooms_are_in_room_0() {
    let mut store = Store::new("learned");
    store.fill("anybody", 60);
    store.fill("high", 70);
    assert_eq!((store.has("anybody"), store.has("high")), (30, 70));
}

proptest! {
    /// Whatever is done under whatever policy, victims are held, none is named twice, and the order names each once.
    #[test]
    fn rooms_name_what_is_held(
        policy in prop::sample::select(AnyPolicy::NAMES),
        steps in prop::collection::vec((0u8..6, 0usize..6, any::<prop::sample::Index>()), 1..400),
    ) {
        let mut store = Store::new(policy);
        let names = ["", "low-1", "high", "tenant-1", "tenant-2", "poor"];
        for (step, name, which) in steps {
            match step {
                0..=3 => { store.set(names[name]); }
                _ if store.held.is_empty() => {}
                4 => { let slot = *which.get(&store.held.keys().copied().collect::<Vec<_>>()); store.rooms.on_hit(slot) }
                _ => { let slot = *which.get(&store.held.keys().copied().collect::<Vec<_>>()); store.remove(slot, Cause::Explicit) }
            }
            let mut order = store.rooms.candidates(usize::MAX, &store.owners);
            order.sort_unstable();
            let known: Vec<_> = order.iter().copied().filter(|slot| store.held.contains_key(slot)).collect();
            prop_assert_eq!(&known, &order);
            order.dedup();
            prop_assert_eq!(known, order);
        }
        while let Some(victim) = store.rooms.victim(None, &store.owners) {
            store.remove(victim, Cause::Size);
        }
        prop_assert!(store.held.is_empty());
    }
}
