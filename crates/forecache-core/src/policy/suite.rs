//! What every policy must do, whatever its idea. A policy that is added to the list of names is tested here with no more ado.

use super::{AnyPolicy, Cause, Change, Meta, Policy, Slot};
use proptest::prelude::*;
use std::collections::BTreeMap;

#[derive(Debug, Clone)]
enum Step {
    Insert { key: u8, weight: u64 },
    Hit { nth: usize },
    Weigh { nth: usize, weight: u64 },
    Cost { nth: usize, cost: f32, weight: u64 },
    Expire { nth: usize, deadline: u64 },
    Remove { nth: usize, cause: Cause },
    Evict,
}

fn step() -> impl Strategy<Value = Step> {
    let cause = prop::sample::select(vec![Cause::Explicit, Cause::Expired, Cause::Invalidated]);
    prop_oneof![
        4 => (any::<u8>(), 1u64..100).prop_map(|(key, weight)| Step::Insert { key, weight }),
        4 => any::<usize>().prop_map(|nth| Step::Hit { nth }),
        1 => (any::<usize>(), 1u64..100).prop_map(|(nth, weight)| Step::Weigh { nth, weight }),
        1 => (any::<usize>(), 0f32..1000.0, 1u64..100).prop_map(|(nth, cost, weight)| Step::Cost { nth, cost, weight }),
        1 => (any::<usize>(), any::<u64>()).prop_map(|(nth, deadline)| Step::Expire { nth, deadline }),
        1 => (any::<usize>(), cause).prop_map(|(nth, cause)| Step::Remove { nth, cause }),
        2 => Just(Step::Evict),
    ]
}

fn fingerprint_of(key: u8) -> u64 {
    crate::fingerprint::fingerprint(&[key], 1)
}

/// Drives a policy as a store would: slots are reused, a key has one slot.
struct Driver {
    policy: AnyPolicy,
    slot_of: BTreeMap<u8, Slot>,
    free: Vec<Slot>,
    slots: Slot,
}

impl Driver {
    fn new(name: &str) -> Self {
        Driver { policy: AnyPolicy::named(name).unwrap(), slot_of: BTreeMap::new(), free: Vec::new(), slots: 0 }
    }

    fn nth(&self, nth: usize) -> Option<(u8, Slot)> {
        let at = nth.checked_rem(self.slot_of.len())?;
        self.slot_of.iter().nth(at).map(|(&key, &slot)| (key, slot))
    }

    fn remove(&mut self, key: u8, cause: Cause) {
        let slot = self.slot_of.remove(&key).unwrap();
        self.policy.on_remove(slot, cause);
        self.free.push(slot);
    }

    fn insert(&mut self, key: u8, weight: u64) {
        if self.slot_of.contains_key(&key) {
            return;
        }
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots += 1;
            self.slots - 1
        });
        self.policy.on_insert(slot, fingerprint_of(key), &Meta::of_weight(weight));
        self.slot_of.insert(key, slot);
    }

    /// Evicts one entry, and says whose.
    fn evict(&mut self, newcomer: Option<u8>) -> Option<u8> {
        let victim = self.policy.victim(newcomer.map(fingerprint_of))?;
        let key = self.slot_of.iter().find(|&(_, &slot)| slot == victim).map(|(&key, _)| key);
        let key = key.expect("a victim is an entry that is there");
        self.remove(key, Cause::Size);
        Some(key)
    }

    fn take(&mut self, step: &Step) -> Option<u8> {
        match *step {
            Step::Insert { key, weight } => self.insert(key, weight),
            Step::Hit { nth } => self.nth(nth).into_iter().for_each(|(_, slot)| self.policy.on_hit(slot)),
            Step::Weigh { nth, weight } => {
                self.nth(nth).into_iter().for_each(|(_, slot)| self.policy.configure(Change::Weight(slot, weight)));
            }
            Step::Cost { nth, cost, weight } => {
                self.nth(nth).into_iter().for_each(|(_, slot)| self.policy.configure(Change::Cost(slot, cost, weight)));
            }
            Step::Expire { nth, deadline } => {
                self.nth(nth).into_iter().for_each(|(_, slot)| self.policy.configure(Change::Deadline(slot, deadline)));
            }
            Step::Remove { nth, cause } => self.nth(nth).into_iter().for_each(|(key, _)| self.remove(key, cause)),
            Step::Evict => return self.evict(None),
        }
        None
    }
}

proptest! {
    #[test]
    fn victims_are_entries_and_there_is_one_as_long_as_there_are_entries(steps in prop::collection::vec(step(), 1..400)) {
        for name in AnyPolicy::NAMES {
            let mut driver = Driver::new(name);
            for step in &steps {
                let empty = driver.slot_of.is_empty();
                let evicted = driver.take(step);
                prop_assert!(!matches!(step, Step::Evict) || evicted.is_none() == empty, "{}", name);
            }
            let left = driver.slot_of.len();
            let drained = std::iter::from_fn(|| driver.evict(None)).count();
            prop_assert_eq!(drained, left, "{}", name);
        }
    }

    #[test]
    fn the_same_steps_have_the_same_victims(steps in prop::collection::vec(step(), 1..200)) {
        for name in AnyPolicy::NAMES {
            let (mut left, mut right) = (Driver::new(name), Driver::new(name));
            for step in &steps {
                prop_assert_eq!(left.take(step), right.take(step), "{}", name);
            }
        }
    }

    #[test]
    fn candidates_are_distinct_entries(steps in prop::collection::vec(step(), 1..200), n in 0usize..300) {
        for name in AnyPolicy::NAMES {
            let mut driver = Driver::new(name);
            steps.iter().for_each(|step| _ = driver.take(step));
            let mut candidates = driver.policy.inspect().candidates(n);
            prop_assert_eq!(candidates.len(), n.min(driver.slot_of.len()), "{}", name);
            candidates.sort_unstable();
            candidates.dedup();
            prop_assert_eq!(candidates.len(), n.min(driver.slot_of.len()), "{}", name);
            prop_assert!(candidates.iter().all(|slot| driver.slot_of.values().any(|other| other == slot)), "{}", name);
        }
    }
}

#[test]
fn names_and_policies_agree() {
    for name in AnyPolicy::NAMES {
        assert_eq!(AnyPolicy::named(name).unwrap().name(), *name);
    }
    assert!(AnyPolicy::named("fifo2").is_none());
}

/// Requests keys, one letter each, of a cache of `capacity` entries; returns the keys that left, in order.
fn evicted(policy: &str, capacity: usize, requests: &str) -> String {
    let mut driver = Driver::new(policy);
    let mut gone = String::new();
    for key in requests.bytes() {
        match driver.slot_of.get(&key).copied() {
            Some(slot) => driver.policy.on_hit(slot),
            None => {
                if driver.slot_of.len() == capacity {
                    gone.extend(driver.evict(Some(key)).map(char::from));
                }
                driver.insert(key, 1);
            }
        }
    }
    gone
}

#[test]
fn lru_evicts_what_was_used_longest_ago() {
    assert_eq!(evicted("lru", 3, "abcade"), "bc");
    assert_eq!(evicted("lru", 3, "abcabcd"), "a");
}

#[test]
fn lfu_evicts_the_least_hit_and_among_equals_the_longest_unused() {
    assert_eq!(evicted("lfu", 3, "aabbcde"), "cd");
    assert_eq!(evicted("lfu", 3, "abcabcde"), "ad");
    assert_eq!(evicted("lfu", 2, "aaabcbd"), "bcb");
}

#[test]
fn s3fifo_lets_one_hit_wonders_pass_and_keeps_what_was_hit_twice() {
    // While there is room a goes to the small queue and b to j to the main one. a is hit twice, so it moves there when its turn
    // comes, and b leaves in its place; from then on each newcomer waits for the next.
    assert_eq!(evicted("s3fifo", 10, "abcdefghijaak"), "b");
    assert_eq!(evicted("s3fifo", 10, "abcdefghijaaklmnopq"), "bklmnop");
}

#[test]
fn s3fifo_takes_a_ghost_straight_to_the_main_queue() {
    // k leaves second, comes back as a ghost, and takes the place of b among those that stay.
    assert_eq!(evicted("s3fifo", 10, "abcdefghijklkmnopq"), "aklbmnop");
}

#[test]
fn sieve_keeps_its_hand_where_it_is_and_entries_in_their_places() {
    // The hand clears a, takes b and stays at c: the next victims are c and then d, the newcomer, for a is behind the hand.
    assert_eq!(evicted("sieve", 3, "abcade"), "bc");
    assert_eq!(evicted("sieve", 3, "abcadef"), "bcd");
    // All hit: the hand clears all, comes round to a, and goes on to b.
    assert_eq!(evicted("sieve", 3, "abcabcde"), "ab");
    // After its front, e, left, the hand is at the oldest again, which is a; hit once more, a is passed once more.
    assert_eq!(evicted("sieve", 3, "abcadefagh"), "bcdef");
}

#[test]
fn arc_keeps_what_was_asked_for_twice_from_a_scan() {
    // a and b move to T2. With p at 0, T1 gives the victim as long as it has any, and B1 stays as small as T1 lets it.
    assert_eq!(evicted("arc", 4, "ababcdefgh"), "cdef");
}

#[test]
fn arc_gives_recency_a_larger_share_when_its_ghosts_return() {
    // T2 is ab, T1 cd. e evicts c to B1. c comes back: p becomes 1; T1, which is de, has more, so d leaves, and c joins T2. T1 is e,
    // which is p: for f the victim is a, T2's oldest, where p at 0 would have taken e.
    assert_eq!(evicted("arc", 4, "ababcdecf"), "cda");
}

#[test]
fn arc_takes_the_share_back_when_ghosts_of_frequency_return() {
    // As before up to f, with a in B2. a comes back and p is 0 again, so e leaves instead of the front of T2, and then f.
    assert_eq!(evicted("arc", 4, "ababcdecfag"), "cdaef");
}

#[test]
fn arc_still_knows_the_latest_ghosts_after_the_oldest_were_forgotten() {
    // T2 is ab. Of c to h, which left T1 one by one, B1 has room for g and h. h comes back: p is 1, i leaves, and for k the front of
    // T2, since T1 is j alone.
    assert_eq!(evicted("arc", 4, "ababcdefghijhk"), "cdefghia");
}

#[test]
fn arc_has_no_ghost_of_what_leaves_a_cache_without_hits() {
    // T1 is the whole cache, so what it evicts isn't remembered: a comes back as a stranger, and leaves after three others.
    assert_eq!(evicted("arc", 3, "abcdaefg"), "abcda");
}

#[test]
fn clock2q_plus_counts_no_hit_on_what_just_came() {
    // Of twenty entries two wait in the small queue, a and k, and the window is one newcomer long. u is hit at once, so it leaves in its
    // turn; hit when v came after it, it moves to the main queue, whose oldest, b, then makes room.
    let fill = "abcdefghijklmnopqrst";
    assert_eq!(evicted("clock2q+", 20, &format!("{fill}uuvwxyz")), "akuvwx");
    assert_eq!(evicted("clock2q+", 20, &format!("{fill}uvuwxyz")), "akvbwx");
}

#[test]
fn tinylfu_lets_newcomers_pass_that_were_not_asked_for_more_often_than_what_is_there() {
    // The window holds h, i and j; then a is hit, and b is next in the main space. What falls out of the window was asked for
    // once, like b.
    assert_eq!(evicted("tinylfu", 10, "abcdefghijaaklmnop"), "hijklm");
}

#[test]
fn tinylfu_gives_what_was_hit_in_the_window_a_place_in_the_main_space() {
    assert_eq!(evicted("tinylfu", 10, "abcdefghijhhklmn"), "ijak");
}

#[test]
fn tinylfu_counts_the_requests_of_what_left_and_comes_back() {
    // h comes back so late that it says nothing of the window's size. It was asked for twice, a once.
    assert_eq!(evicted("tinylfu", 10, "abcdefghijklmnopqrsthuvwx"), "hijklmnopqrstau");
}

#[test]
fn tinylfu_makes_the_window_larger_where_lru_would_have_hit() {
    // The window grows from 3 to somewhat more than 6 when h is asked for right after it fell out: until it holds them, all
    // leave from the main space.
    assert_eq!(evicted("tinylfu", 10, "abcdefghijkhlmnop"), "hiabcdj");
}

/// A cache that only its policy knows, asked for numbers.
struct Cache {
    policy: AnyPolicy,
    slot_of: BTreeMap<u64, Slot>,
    key_of: BTreeMap<Slot, u64>,
    free: Vec<Slot>,
}

impl Cache {
    fn new(name: &str) -> Self {
        let policy = AnyPolicy::named(name).unwrap();
        Cache { policy, slot_of: BTreeMap::new(), key_of: BTreeMap::new(), free: (0..6000).collect() }
    }

    /// Hits of `requests` with room for `capacity` entries, however many there are.
    fn hits(&mut self, capacity: usize, requests: impl Iterator<Item = u64>) -> usize {
        requests.filter(|&key| self.asked(capacity, key)).count()
    }

    fn asked(&mut self, capacity: usize, key: u64) -> bool {
        if let Some(&slot) = self.slot_of.get(&key) {
            self.policy.on_hit(slot);
            return true;
        }
        let fingerprint = crate::fingerprint::fingerprint(&key.to_le_bytes(), 1);
        while self.slot_of.len() >= capacity {
            let victim = self.policy.victim(Some(fingerprint)).unwrap();
            self.policy.on_remove(victim, Cause::Size);
            self.slot_of.remove(&self.key_of.remove(&victim).unwrap());
            self.free.push(victim);
        }
        let slot = self.free.pop().unwrap();
        self.policy.on_insert(slot, fingerprint, &Meta::of_weight(1));
        self.slot_of.insert(key, slot);
        self.key_of.insert(slot, key);
        false
    }
}

/// Numbers from `first` on, small ones far oftener than large ones.
fn skewed(first: u64, count: u64) -> impl Iterator<Item = u64> {
    (0..count).map(move |turn| {
        let random = crate::fingerprint::fingerprint(&turn.to_le_bytes(), first);
        first + (8000f64.powf(random as f64 / u64::MAX as f64) as u64)
    })
}

#[test]
fn a_cache_that_was_made_smaller_soon_does_as_well_as_a_new_one() {
    // Not lfu, which never forgets what it counted.
    for name in AnyPolicy::NAMES.iter().filter(|&&name| name != "lfu") {
        let mut shrunk = Cache::new(name);
        shrunk.hits(5000, skewed(0, 60_000));
        let shrunk = shrunk.hits(200, skewed(100_000, 20_000));
        let new = Cache::new(name).hits(200, skewed(100_000, 20_000));
        assert!(shrunk * 10 >= new * 9, "{name}: {shrunk} hits, and {new} of a new one");
    }
}
