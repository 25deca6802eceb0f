//! The store against a model: a map that may forget, and never lies.

use forecache_core::expiry::{Clock, NEVER};
use forecache_core::groups::{Class, Groups};
use forecache_core::index::Hashed;
use forecache_core::policy::{AnyPolicy, Cause};
use forecache_core::store::{Budget, Key, Lookup, New, Options, Outcome, Removed, Store};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Number(u32);

impl Key for Number {
    type Index = Hashed;

    fn hash(&self) -> u64 {
        // Few hashes for many keys: collisions must not matter.
        u64::from(self.0 % 7)
    }
}

fn new(key: u32, weight: u64) -> New<Number, u64> {
    New { key: Number(key), fingerprint: key.into(), value: key.into(), weight }
}

fn lookup(namespace: u32, key: u32) -> Lookup<impl Fn(&Number) -> bool> {
    Lookup { namespace, hash: Number(key).hash(), equal: move |other: &Number| other.0 == key }
}

#[derive(Debug, Clone)]
enum Step {
    Set {
        key: u32,
        namespace: u32,
        weight: u64,
        ttl: Option<u64>,
        tti: Option<u64>,
        owner: u32,
        group: u16,
        immutable: bool,
        pinned: bool,
        tag: bool,
    },
    Get {
        key: u32,
        namespace: u32,
    },
    Swap {
        key: u32,
        namespace: u32,
        weight: u64,
    },
    Remove {
        key: u32,
        namespace: u32,
    },
    Touch {
        key: u32,
        namespace: u32,
        ttl: u64,
    },
    Pin {
        key: u32,
        namespace: u32,
        pinned: bool,
    },
    Pass {
        time: u64,
    },
    Resize {
        capacity: u64,
    },
    ClearOwner {
        owner: u32,
    },
    Invalidate,
    Clear,
}

fn step() -> impl Strategy<Value = Step> {
    let place = || (0u32..30, 0u32..2);
    let time = || 1u64..20_000_000_000;
    let set = (
        (place(), 1u64..40, prop::option::weighted(0.3, time()), prop::option::weighted(0.3, time())),
        (0u32..3, 0u16..3, prop::bool::weighted(0.05), prop::bool::weighted(0.1), prop::bool::weighted(0.2)),
    );
    prop_oneof![
        12 => set.prop_map(|(((key, namespace), weight, ttl, tti), (owner, group, immutable, pinned, tag))| {
            Step::Set { key, namespace, weight, ttl, tti, owner, group, immutable, pinned, tag }
        }),
        12 => place().prop_map(|(key, namespace)| Step::Get { key, namespace }),
        2 => (place(), 1u64..40).prop_map(|((key, namespace), weight)| Step::Swap { key, namespace, weight }),
        2 => place().prop_map(|(key, namespace)| Step::Remove { key, namespace }),
        2 => (place(), time()).prop_map(|((key, namespace), ttl)| Step::Touch { key, namespace, ttl }),
        2 => (place(), any::<bool>()).prop_map(|((key, namespace), pinned)| Step::Pin { key, namespace, pinned }),
        3 => time().prop_map(|time| Step::Pass { time }),
        1 => (20u64..200).prop_map(|capacity| Step::Resize { capacity }),
        1 => (0u32..3).prop_map(|owner| Step::ClearOwner { owner }),
        1 => Just(Step::Invalidate),
        1 => Just(Step::Clear),
    ]
}

/// What is known of a key whose value was not seen to leave.
#[derive(Debug, Clone)]
struct Known {
    value: u64,
    weight: u64,
    hard: u64,
    tti: u64,
    idle: u64,
    owner: u32,
    immutable: bool,
    pinned: bool,
    tag: bool,
}

impl Known {
    fn deadline(&self) -> u64 {
        self.hard.min(self.idle)
    }
}

struct Check {
    store: Store<Number, u64>,
    time: Arc<AtomicU64>,
    model: BTreeMap<(u32, u32), Known>,
    capacity: u64,
    max_entries: Option<usize>,
    next: u64,
}

impl Check {
    fn new(policy: &str, max_entries: Option<usize>) -> Self {
        let time = Arc::new(AtomicU64::new(0));
        let groups = Groups::new([("a*", Class::default()), ("b*", Class::default())]);
        let budget = Budget { capacity: 100, max_entries };
        let mut store = Store::new(AnyPolicy::named(policy).unwrap(), budget, Clock::Manual(time.clone()), groups);
        for (owner, number) in [("one", 1), ("two", 2)] {
            assert_eq!(store.owners.number(0, owner), number);
        }
        Check { store, time, model: BTreeMap::new(), capacity: 100, max_entries, next: 0 }
    }

    fn now(&self) -> u64 {
        self.time.load(Ordering::Relaxed)
    }

    /// Each entry leaves once, with its own value, for a reason that held.
    fn account(&mut self, gone: Vec<Removed<Number, u64>>, incoming: u64) {
        let now = self.now();
        // The dead make room before anyone who lives.
        let alive = |known: &&Known| known.hard > 0;
        let pressed = self.model.values().filter(alive).map(|known| known.weight).sum::<u64>() + incoming > self.capacity
            || self.max_entries.is_some_and(|most| self.model.values().filter(alive).count() >= most);
        for Removed { value, cause, .. } in gone {
            let place = self.model.iter().find(|(_, known)| known.value == value).map(|(&place, _)| place);
            let known = self.model.remove(&place.expect("what leaves was there")).unwrap();
            assert!(cause != Cause::Expired || known.deadline() <= now, "{cause:?} too early");
            assert!(cause != Cause::Size || !known.pinned, "a pinned entry was evicted");
            assert!(cause != Cause::Size || pressed, "an entry was evicted without need");
        }
    }

    fn live(&self, place: (u32, u32)) -> Option<&Known> {
        self.model.get(&place).filter(|known| known.deadline() > self.now())
    }

    fn take(&mut self, step: Step) {
        let (mut gone, now) = (Vec::new(), self.now());
        match step {
            Step::Set { key, namespace, weight, ttl, tti, owner, group, immutable, pinned, tag } => {
                self.next += 1;
                let value = self.next;
                let tags = if tag { vec!["t".into()] } else { vec![] };
                let (time_to_live, time_to_idle) = (ttl.unwrap_or(NEVER), tti.unwrap_or(NEVER));
                let options =
                    Options { time_to_live, time_to_idle, owner, group, immutable, pinned, tags: &tags, ..Options::default() };
                let before = self.live((namespace, key)).cloned();
                let outcome = self.store.set(
                    &lookup(namespace, key),
                    New { key: Number(key), fingerprint: value, value, weight },
                    &options,
                    &mut gone,
                );
                let stays = outcome == Outcome::Immutable;
                assert_eq!(stays, before.as_ref().is_some_and(|known| known.immutable));
                self.account(gone, weight);
                if outcome == Outcome::Stored {
                    assert!(!self.model.contains_key(&(namespace, key)), "the old value was reported gone");
                    let (hard, idle) = (now.saturating_add(time_to_live), now.saturating_add(time_to_idle));
                    let pinned = pinned || before.is_some_and(|known| known.pinned);
                    let known = Known { value, weight, hard, tti: time_to_idle, idle, owner, immutable, pinned, tag };
                    self.model.insert((namespace, key), known);
                }
                return self.check();
            }
            Step::Get { key, namespace } => {
                let found = self.store.get(&lookup(namespace, key), &mut gone).copied();
                assert_eq!(found, self.live((namespace, key)).map(|known| known.value));
                if found.is_some() {
                    let known = self.model.get_mut(&(namespace, key)).unwrap();
                    known.idle = now.saturating_add(known.tti);
                }
            }
            Step::Swap { key, namespace, weight } => {
                self.next += 1;
                let (value, current) = (self.next, self.live((namespace, key)).map(|known| known.value));
                let new = New { key: Number(key), fingerprint: key.into(), value, weight };
                let swapped = self.store.swap(&lookup(namespace, key), |&there| Some(there) == current, new, &mut gone);
                assert_eq!(swapped.is_err(), current.is_none());
                let old = self.model.get(&(namespace, key)).cloned();
                self.account(gone, weight);
                if let (Ok(Outcome::Stored), Some(old)) = (swapped, old) {
                    let idle = now.saturating_add(old.tti);
                    self.model.insert((namespace, key), Known { value, weight, idle, ..old });
                }
                return self.check();
            }
            Step::Remove { key, namespace } => {
                let expected = self.live((namespace, key)).map(|known| known.value);
                let removed = self.store.remove(&lookup(namespace, key), &mut gone);
                assert_eq!(removed.as_ref().map(|removed| removed.value), expected);
                gone.extend(removed);
            }
            Step::Touch { key, namespace, ttl } => {
                let there = self.live((namespace, key)).is_some();
                assert_eq!(self.store.touch(&lookup(namespace, key), Some(ttl), None, &mut gone), there);
                if let Some(known) = self.model.get_mut(&(namespace, key)).filter(|_| there) {
                    (known.hard, known.idle) = (now + ttl, now.saturating_add(known.tti));
                }
            }
            Step::Pin { key, namespace, pinned } => {
                let there = self.live((namespace, key)).is_some();
                assert_eq!(self.store.pin(&lookup(namespace, key), u64::from(key), pinned, &mut gone), there);
                if let Some(known) = self.model.get_mut(&(namespace, key)).filter(|_| there) {
                    known.pinned = pinned;
                }
            }
            Step::Pass { time } => drop(self.time.fetch_add(time, Ordering::Relaxed)),
            Step::Resize { capacity } => {
                self.capacity = capacity;
                self.store.resize(capacity, self.max_entries, &mut gone);
            }
            Step::ClearOwner { owner } => {
                self.store.clear_owner(owner);
                // They are reported as they are found; until then nobody may see them.
                let all: Vec<_> = self.model.iter().filter(|(_, known)| known.owner == owner).map(|(&place, _)| place).collect();
                for (namespace, key) in all {
                    assert_eq!(self.store.peek(&lookup(namespace, key)), None);
                    let known = self.model.get_mut(&(namespace, key)).unwrap();
                    (known.hard, known.tag, known.immutable) = (0, false, false);
                }
            }
            Step::Invalidate => {
                let tagged = self.model.values().filter(|known| known.tag && known.deadline() > now).count();
                assert_eq!(self.store.tagged("t"), tagged);
                assert_eq!(self.store.invalidate_tag("t", &mut gone), tagged);
            }
            Step::Clear => {
                self.store.clear(&mut gone);
                assert!(self.store.is_empty());
            }
        }
        self.account(gone, 0);
        self.check();
    }

    fn check(&mut self) {
        let pinned: u64 = self.model.values().filter(|known| known.pinned).map(|known| known.weight).sum();
        assert!(self.store.weight() <= self.capacity.max(pinned), "over budget");
        let pins = self.model.values().filter(|known| known.pinned).count();
        assert!(self.max_entries.is_none_or(|most| self.model.len() <= most.max(pins)), "too many entries");
        let weight: u64 = self.model.values().map(|known| known.weight).sum();
        assert_eq!(self.store.weight(), weight);
        assert_eq!(self.store.owners.iter().map(|owner| owner.entries).sum::<usize>(), self.store.len());
        assert_eq!(self.store.groups.iter().map(|group| group.weight).sum::<u64>(), weight);
        let mut seen = Vec::new();
        self.store.scan(0, usize::MAX, |_, &value| seen.push(value));
        let mut live: Vec<u64> =
            self.model.values().filter(|known| known.deadline() > self.now()).map(|known| known.value).collect();
        seen.sort_unstable();
        live.sort_unstable();
        assert_eq!(seen, live);
    }
}

proptest! {
    // `PROPTEST_CASES` asks for more.
    #![proptest_config({
        let default = ProptestConfig::default();
        ProptestConfig { cases: default.cases.max(400), failure_persistence: None, ..default }
    })]
    #[test]
    fn a_store_is_a_map_that_may_forget(
        steps in prop::collection::vec(step(), 1..150),
        policy in prop::sample::select(AnyPolicy::NAMES),
        max_entries in prop::option::of(1usize..12),
    ) {
        let mut check = Check::new(policy, max_entries);
        steps.into_iter().for_each(|step| check.take(step));
    }
}

#[test]
fn a_value_heavier_than_the_store_is_refused_and_nothing_is_evicted_for_it() {
    let mut check = Check::new("lru", None);
    let mut gone = Vec::new();
    for key in 0..10 {
        check.store.set(&lookup(0, key), new(key, 10), &Options::default(), &mut gone);
    }
    assert_eq!(check.store.set(&lookup(0, 99), new(99, 101), &Options::default(), &mut gone), Outcome::Refused);
    assert_eq!((check.store.len(), check.store.counters.refused, gone.len()), (10, 1, 0));
    // The same for a key that is there: its old value must not be served any more.
    assert_eq!(check.store.set(&lookup(0, 3), new(3, 101), &Options::default(), &mut gone), Outcome::Refused);
    assert_eq!((check.store.len(), gone[0].cause), (9, Cause::Replaced));
}

#[test]
fn an_entry_that_outgrows_its_place_is_stored_all_the_same() {
    for policy in AnyPolicy::NAMES {
        let mut check = Check::new(policy, None);
        let mut gone = Vec::new();
        for key in 0..10 {
            check.store.set(&lookup(0, key), new(key, 10), &Options::default(), &mut gone);
        }
        for key in 0..10 {
            let there = check.store.peek(&lookup(0, key)).is_some();
            assert_eq!(check.store.set(&lookup(0, key), new(key, 11), &Options::default(), &mut gone), Outcome::Stored);
            assert!(check.store.peek(&lookup(0, key)).is_some(), "{policy}: {key}, there before: {there}");
        }
        assert!(check.store.weight() <= 100);
    }
}

#[test]
fn the_dead_leave_before_the_living() {
    let mut check = Check::new("s3fifo", None);
    let mut gone = Vec::new();
    for key in 0..100 {
        let options = Options { owner: 1 + key % 2, pinned: key == 0, ..Options::default() };
        check.store.set(&lookup(0, key), new(key, 1), &options, &mut gone);
    }
    check.store.clear_owner(1);
    check.store.resize(50, None, &mut gone);
    assert_eq!((check.store.len(), check.store.weight()), (50, 50));
    assert!(gone.iter().all(|removed| removed.cause == Cause::Explicit));
}

#[test]
fn emptying_an_owner_frees_its_room_within_a_few_writes() {
    let mut check = Check::new("s3fifo", None);
    let mut gone = Vec::new();
    for key in 0..90 {
        let options = Options { owner: 1 + key % 2, ..Options::default() };
        check.store.set(&lookup(0, key), new(key, 1), &options, &mut gone);
    }
    assert_eq!(check.store.clear_owner(1), 45);
    assert_eq!((check.store.len(), check.store.weight()), (45, 90));
    for key in 0..6 {
        check.store.set(&lookup(1, key), new(key, 1), &Options { owner: 2, ..Options::default() }, &mut gone);
    }
    assert_eq!((check.store.len(), check.store.weight(), gone.len()), (51, 51, 45));
    assert!(gone.iter().all(|removed| removed.cause == Cause::Explicit && removed.value % 2 == 0));
}

#[test]
fn what_an_entry_costs_is_known_again_when_it_is_no_longer_pinned() {
    let budget = Budget { capacity: u64::MAX, max_entries: Some(3) };
    let mut store: Store<Number, u64> =
        Store::new(AnyPolicy::named("learned").unwrap(), budget, Clock::Manual(Arc::default()), Groups::new([]));
    let mut gone = Vec::new();
    for (key, cost) in [(0, 5.0), (1, 9.0), (2, 5.0)] {
        store.set(&lookup(0, key), new(key, 1), &Options { cost, ..Options::default() }, &mut gone);
    }
    store.pin(&lookup(0, 1), 1, true, &mut gone);
    store.pin(&lookup(0, 1), 1, false, &mut gone);
    store.set(&lookup(0, 3), new(3, 1), &Options { cost: 7.0, ..Options::default() }, &mut gone);
    store.set(&lookup(0, 4), new(4, 1), &Options { cost: 7.0, ..Options::default() }, &mut gone);
    let left: Vec<_> = gone.iter().map(|removed| removed.key.0).collect();
    assert!(!left.contains(&1) && left.len() == 2, "{left:?}");
}

#[test]
fn an_overwrite_with_another_cost_counts_for_what_leaves_next() {
    let budget = Budget { capacity: u64::MAX, max_entries: Some(3) };
    for policy in ["learned", "adaptive"] {
        let mut store: Store<Number, u64> =
            Store::new(AnyPolicy::named(policy).unwrap(), budget, Clock::Manual(Arc::default()), Groups::new([]));
        let mut gone = Vec::new();
        for (key, cost) in [(0, 1e6), (1, 1.0), (2, 1e6), (0, 1.0), (1, 1e6), (2, 1e6), (3, 1e6)] {
            store.set(&lookup(0, key), new(key, 1), &Options { cost, ..Options::default() }, &mut gone);
        }
        let left: Vec<_> = gone.iter().filter(|gone| gone.cause == Cause::Size).map(|removed| removed.key.0).collect();
        assert_eq!(left, [0], "{policy}");
    }
}
