//! When entries expire: a clock and a hierarchical timer wheel.
//!
//! Source: Varghese and Lauck, "Hashed and hierarchical timing wheels" (SOSP 1987), in the form of Caffeine's `TimerWheel`:
//! scheduling and cancelling are O(1), and an entry is moved at most once a level on its way down. The wheel only says which
//! entries are due for removal; whether an entry may still be read is decided by its deadline on every access.

use crate::list::{Links, List, NONE, Slot, grow};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A deadline that never comes.
pub const NEVER: u64 = u64::MAX;

/// Where a store takes the time from, in nanoseconds since any fixed moment.
#[derive(Debug, Clone, Default)]
pub enum Clock {
    /// The system's coarse monotonic clock: a few nanoseconds to read, a resolution of 1 to 4 ms on Linux.
    #[default]
    Coarse,
    /// Set by hand: for tests and for the simulator.
    Manual(Arc<AtomicU64>),
}

impl Clock {
    /// Nanoseconds.
    #[inline]
    pub fn now(&self) -> u64 {
        match self {
            Clock::Coarse => coarse(),
            Clock::Manual(time) => time.load(Ordering::Relaxed),
        }
    }
}

#[cfg(target_os = "linux")]
#[inline]
fn coarse() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::MonotonicCoarse);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

#[cfg(not(target_os = "linux"))]
fn coarse() -> u64 {
    static START: std::sync::LazyLock<std::time::Instant> = std::sync::LazyLock::new(std::time::Instant::now);
    START.elapsed().as_nanos() as u64
}

/// Milliseconds since 1970, by a clock as coarse as [`Clock::Coarse`].
#[inline]
pub fn wall_time() -> u64 {
    #[cfg(target_os = "linux")]
    let since = rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse).try_into();
    #[cfg(not(target_os = "linux"))]
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since: std::time::Duration| since.as_millis() as u64)
}

const LEVELS: usize = 5;
/// Buckets a level, as a power of two.
const BITS: u32 = 6;
/// Nanoseconds of the finest tick, as a power of two: 67 ms. Expired entries take room at most so much longer.
const TICK: u32 = 26;
const BUCKETS: usize = 1 << BITS;
const NO_BUCKET: u16 = u16::MAX;

/// Slots by the time of their deadline: 10 bytes for each slot up to the highest that was ever scheduled.
#[derive(Debug)]
pub struct Wheel {
    links: Links,
    bucket_of: Vec<u16>,
    buckets: [List; LEVELS * BUCKETS],
    scheduled: usize,
    now: u64,
}

impl Default for Wheel {
    fn default() -> Self {
        Wheel {
            links: Links::default(),
            bucket_of: Vec::new(),
            buckets: [List::default(); LEVELS * BUCKETS],
            scheduled: 0,
            now: 0,
        }
    }
}

fn shift(level: usize) -> u32 {
    TICK + BITS * level as u32
}

impl Wheel {
    /// Has `slot` come up at `deadline`; an earlier schedule is forgotten. [`NEVER`] only cancels.
    pub fn schedule(&mut self, slot: Slot, deadline: u64, now: u64) {
        self.cancel(slot);
        if self.scheduled == 0 {
            self.now = now;
        }
        if deadline != NEVER {
            self.place(slot, deadline);
        }
    }

    fn place(&mut self, slot: Slot, deadline: u64) {
        let remaining = deadline.saturating_sub(self.now);
        let level = (0..LEVELS - 1).find(|&level| remaining < 1 << shift(level + 1)).unwrap_or(LEVELS - 1);
        // What lies beyond the last level (2.3 years) comes up too early and is scheduled again then.
        // What lies before now, since the clock was set back, comes up next.
        let time = deadline.min(self.now.saturating_add(1 << shift(LEVELS)) - 1).max(self.now);
        let bucket = level * BUCKETS + ((time >> shift(level)) as usize & (BUCKETS - 1));
        grow(&mut self.bucket_of, slot, NO_BUCKET);
        self.bucket_of[slot as usize] = bucket as u16;
        self.links.push_back(&mut self.buckets[bucket], slot);
        self.scheduled += 1;
    }

    /// Forgets `slot`, if it is scheduled.
    #[inline]
    pub fn cancel(&mut self, slot: Slot) {
        if self.scheduled > 0 {
            self.unschedule(slot);
        }
    }

    fn unschedule(&mut self, slot: Slot) {
        if let Some(bucket) = self.bucket_of.get(slot as usize).copied().filter(|&bucket| bucket != NO_BUCKET) {
            self.links.unlink(&mut self.buckets[bucket as usize], slot);
            self.bucket_of[slot as usize] = NO_BUCKET;
            self.scheduled -= 1;
        }
    }

    /// Whether anything is scheduled.
    #[inline]
    pub fn is_used(&self) -> bool {
        self.scheduled > 0
    }

    /// Whether [`Wheel::advance`] may have something to do at `now`.
    #[inline]
    pub fn is_behind(&self, now: u64) -> bool {
        self.scheduled > 0 && now >> TICK > self.now >> TICK
    }

    /// Moves on to `now` and takes out all that is due, to the nanosecond. `deadline` tells a slot's deadline of today, which may be later
    /// than the one it was scheduled with (time to idle moves on with every hit, without a word to the wheel): such a slot is scheduled again.
    pub fn advance(&mut self, now: u64, deadline: impl Fn(Slot) -> u64, due: &mut Vec<Slot>) {
        let after = now.max(self.now);
        let before = std::mem::replace(&mut self.now, after);
        for level in 0..LEVELS {
            let (from, to) = (before >> shift(level), after >> shift(level));
            // Of the finest ticks, the one that has begun is looked through, too.
            if level > 0 && from == to {
                break;
            }
            for tick in from..=to.min(from + BUCKETS as u64 - 1) {
                let bucket = &mut self.buckets[level * BUCKETS + (tick as usize & (BUCKETS - 1))];
                let mut list = std::mem::take(bucket);
                while let Some(slot) = list.front() {
                    self.links.unlink(&mut list, slot);
                    self.bucket_of[slot as usize] = NO_BUCKET;
                    self.scheduled -= 1;
                    match deadline(slot) {
                        NEVER => {}
                        time if time <= now => due.push(slot),
                        time => self.place(slot, time),
                    }
                }
            }
        }
    }

    /// Bytes allocated.
    pub fn allocated(&self) -> usize {
        self.links.allocated() + self.bucket_of.capacity() * 2
    }
}

const _: () = assert!(LEVELS * BUCKETS < NO_BUCKET as usize && NONE == u32::MAX);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    #[test]
    fn a_coarse_clock_follows_the_fine_one() {
        let (coarse, fine) = (Clock::Coarse.now(), std::time::Instant::now());
        while fine.elapsed().as_millis() < 50 {
            std::hint::spin_loop();
        }
        let passed = Clock::Coarse.now() - coarse;
        assert!((30_000_000..200_000_000).contains(&passed), "{passed} ns");
    }

    #[test]
    fn a_clock_that_was_set_back_delays_nothing() {
        let (mut wheel, mut due) = (Wheel::default(), Vec::new());
        wheel.schedule(0, 1 << 50, 0);
        wheel.advance(1 << 40, |_| 1 << 50, &mut due);
        wheel.schedule(1, 1 << 30, 1 << 29);
        wheel.advance((1 << 30) - 1, |slot| [1 << 50, 1 << 30][slot as usize], &mut due);
        assert_eq!(due, []);
        wheel.advance(1 << 30, |slot| [1 << 50, 1 << 30][slot as usize], &mut due);
        assert_eq!(due, [1]);
    }

    proptest! {
        #[test]
        fn nothing_comes_up_early_and_all_that_is_due_comes_up(
            steps in prop::collection::vec((0u32..50, 0u64..1 << 45, prop::option::of(0u64..1 << 44)), 1..200),
        ) {
            let (mut wheel, mut model, mut now) = (Wheel::default(), BTreeMap::new(), 0);
            for (slot, delay, pause) in steps {
                match pause {
                    None => {
                        wheel.schedule(slot, now + delay, now);
                        model.insert(slot, now + delay);
                    }
                    Some(pause) => {
                        now += pause;
                        let mut due = Vec::new();
                        wheel.advance(now, |slot| model[&slot], &mut due);
                        for slot in due {
                            prop_assert!(model.remove(&slot).unwrap() <= now);
                        }
                        prop_assert!(model.values().all(|&deadline| deadline > now), "{:?} at {}", model, now);
                        prop_assert_eq!(wheel.scheduled, model.len());
                    }
                }
            }
        }
    }
}
