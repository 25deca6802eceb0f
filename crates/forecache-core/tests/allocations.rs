//! A hit allocates nothing. Its own test binary, because the counting allocator is the whole program's.

use forecache_core::expiry::Clock;
use forecache_core::groups::Groups;
use forecache_core::index::Hashed;
use forecache_core::policy::AnyPolicy;
use forecache_core::store::{Budget, Key, Lookup, New, Options, Store};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

struct Counting;

thread_local! {
    static CALLS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call is passed on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        CALLS.set(CALLS.get() + 1);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        CALLS.set(CALLS.get() + 1);
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

struct Number(u64);

impl Key for Number {
    type Index = Hashed;

    fn hash(&self) -> u64 {
        self.0.wrapping_mul(0x9E37_79B9_7F4A_7C15)
    }
}

fn lookup(key: u64) -> Lookup<impl Fn(&Number) -> bool> {
    Lookup { namespace: 0, hash: Number(key).hash(), equal: move |other: &Number| other.0 == key }
}

#[test]
fn a_hit_allocates_nothing() {
    for name in AnyPolicy::NAMES {
        let policy = AnyPolicy::named(name).unwrap();
        let budget = Budget { capacity: 1 << 40, max_entries: None };
        let mut store = Store::new(policy, budget, Clock::Coarse, Groups::new([]));
        let mut gone = Vec::new();
        let options = Options { time_to_live: 60_000_000_000, time_to_idle: 30_000_000_000, ..Options::default() };
        for key in 0..1000 {
            store.set(&lookup(key), New { key: Number(key), fingerprint: key, value: key, weight: 1 }, &options, &mut gone);
        }
        // The least and the most hit, and what lies between: `lfu` makes a list for a count that is new.
        (0..10).for_each(|_| assert!(store.get(&lookup(0), &mut gone).is_some()));
        let before = CALLS.get();
        let hits = (0..1000).filter(|&key| store.get(&lookup(key), &mut gone).is_some()).count();
        let calls = CALLS.get() - before;
        assert_eq!(hits, 1000);
        assert!(calls <= if *name == "lfu" { 2 } else { 0 }, "{name}: {calls} calls of the allocator");
    }
}
