//! Counters of changes that processes share, one a stripe of keys: so that one load tells whether another process changed a key.
//!
//! What a process remembers of a key it remembers together with the stripe's *epoch*, a number of its own that moves when
//! others moved the shared counter. Its own changes move the counter, not the epoch: they don't make it forget what it knows.

use super::mapped::prefetch;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// How many stripes there are.
pub const STRIPES: usize = 1 << 16;
/// Epochs run from 1 to this and begin anew: 0 is none.
const EPOCHS: u64 = u32::MAX as u64;

/// The counters themselves: [`STRIPES`] of them, mapped from a file, or plain memory.
pub trait Words: Send + Sync {
    /// All of them.
    fn words(&self) -> &[AtomicU32];

    /// Whether others see what is stored there.
    fn writable(&self) -> bool {
        true
    }
}

impl Words for Vec<AtomicU32> {
    fn words(&self) -> &[AtomicU32] {
        self
    }
}

/// A process's view of the shared counters.
pub struct Counters {
    shared: Arc<dyn Words>,
    /// By stripe: the shared counter that was seen last (high half) and the epoch less one (low half).
    seen: Box<[AtomicU64]>,
}

impl Counters {
    /// A view of `shared`.
    pub fn new(shared: Arc<dyn Words>) -> Self {
        assert_eq!(shared.words().len(), STRIPES, "there is a counter for each stripe");
        Counters { shared, seen: (0..STRIPES).map(|_| AtomicU64::new(0)).collect() }
    }

    /// Counters in plain memory.
    pub fn private() -> Self {
        Counters::new(Arc::new((0..STRIPES).map(|_| AtomicU32::new(0)).collect::<Vec<_>>()))
    }

    /// Another view of the same counters, as another process has it.
    pub fn fresh(&self) -> Self {
        Counters::new(self.shared.clone())
    }

    /// Where a key counts.
    pub fn stripe(&self, namespace: &str, key: &str) -> u16 {
        xxh3_64_with_seed(key.as_bytes(), xxh3_64(namespace.as_bytes())) as u16
    }

    /// A number, never 0, that is another than before if others changed a key of the stripe meanwhile.
    #[inline]
    pub fn epoch(&self, stripe: u16) -> u32 {
        let shared = self.shared.words()[usize::from(stripe)].load(Ordering::Acquire);
        let seen = self.seen[usize::from(stripe)].load(Ordering::Acquire);
        if counter(seen) == shared { epoch(seen) } else { self.catch_up(stripe) }
    }

    /// The epoch will be asked for.
    pub fn prefetch(&self, stripe: u16) {
        prefetch(&self.shared.words()[usize::from(stripe)]);
        prefetch(&self.seen[usize::from(stripe)]);
    }

    #[cold]
    fn catch_up(&self, stripe: u16) -> u32 {
        let shared = &self.shared.words()[usize::from(stripe)];
        self.update(stripe, |seen| {
            let now = shared.load(Ordering::Acquire);
            if counter(seen) == now { seen } else { moved(seen, now) }
        })
    }

    /// This process changed a key of the stripe, and the change can be seen.
    pub fn bump(&self, stripe: u16) {
        if !self.shared.writable() {
            return;
        }
        let old = self.shared.words()[usize::from(stripe)].fetch_add(1, Ordering::AcqRel);
        let new = old.wrapping_add(1);
        self.update(stripe, |seen| match counter(seen) {
            known if known == old => (u64::from(new) << 32) | (seen & EPOCHS),
            // Another thread of this process saw the new counter first and took the change for a foreign one.
            known if known == new => seen,
            _ => moved(seen, new),
        });
    }

    /// This process changed keys of all stripes.
    pub fn bump_all(&self) {
        (0..=u16::MAX).for_each(|stripe| self.bump(stripe));
    }

    /// Someone who died may have changed any key: to all, this process included, that is a foreign change.
    pub fn disturb(&self) {
        self.shared.words().iter().for_each(|word| _ = word.fetch_add(1, Ordering::AcqRel));
    }

    fn update(&self, stripe: u16, change: impl Fn(u64) -> u64) -> u32 {
        let seen = &self.seen[usize::from(stripe)];
        let mut old = seen.load(Ordering::Acquire);
        loop {
            let new = change(old);
            match seen.compare_exchange_weak(old, new, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return epoch(new),
                Err(changed) => old = changed,
            }
        }
    }
}

fn counter(seen: u64) -> u32 {
    (seen >> 32) as u32
}

fn epoch(seen: u64) -> u32 {
    (seen & EPOCHS) as u32 + 1
}

/// The next epoch, with this counter.
fn moved(seen: u64, counter: u32) -> u64 {
    (u64::from(counter) << 32) | (((seen & EPOCHS) + 1) % EPOCHS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_changes_keep_the_epoch_and_foreign_ones_move_it() {
        let ours = Counters::private();
        let theirs = ours.fresh();
        let stripe = ours.stripe("n", "k");
        assert_eq!(stripe, theirs.stripe("n", "k"));
        let before = ours.epoch(stripe);
        ours.bump(stripe);
        assert_eq!(ours.epoch(stripe), before);
        theirs.bump(stripe);
        assert_ne!(ours.epoch(stripe), before);
    }

    #[test]
    fn a_foreign_change_before_one_of_our_own_is_noticed() {
        let ours = Counters::private();
        let theirs = ours.fresh();
        let before = ours.epoch(9);
        theirs.bump(9);
        ours.bump(9);
        let after = ours.epoch(9);
        assert_ne!(after, before);
        assert_eq!(ours.epoch(9), after);
    }

    #[test]
    fn a_disturbance_is_foreign_to_all() {
        let ours = Counters::private();
        let theirs = ours.fresh();
        let before = [ours.epoch(7), theirs.epoch(7)];
        ours.disturb();
        assert!(ours.epoch(7) != before[0] && theirs.epoch(7) != before[1]);
    }

    #[test]
    fn stripes_are_apart() {
        let ours = Counters::private();
        let before = ours.epoch(1);
        ours.fresh().bump(2);
        assert_eq!(ours.epoch(1), before);
    }

    #[test]
    fn an_epoch_is_never_0_and_never_that_of_before() {
        let ours = Counters::private();
        let theirs = ours.fresh();
        ours.seen[3].store(EPOCHS - 4, Ordering::Relaxed);
        let mut last = ours.epoch(3);
        for _ in 0..10 {
            theirs.bump(3);
            let epoch = ours.epoch(3);
            assert!(epoch != 0 && epoch != last);
            last = epoch;
        }
    }

    #[test]
    fn no_foreign_change_is_lost_among_threads() {
        let ours = Counters::private();
        let theirs = ours.fresh();
        std::thread::scope(|scope| {
            scope.spawn(|| (0..20_000).for_each(|_| ours.bump(5)));
            let mut last = ours.epoch(5);
            for _ in 0..20_000 {
                theirs.bump(5);
                let epoch = ours.epoch(5);
                assert_ne!(epoch, last);
                last = epoch;
            }
        });
    }
}
