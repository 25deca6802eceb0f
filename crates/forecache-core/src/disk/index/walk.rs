//! Walks over the index: repairing it, and meeting all that it holds in parts.

use super::{FIRST, Found, Head, Index, Slot, TRIES, WORDS};
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

impl Index {
    /// Calls for each entry.
    pub fn each(&self, mut body: impl FnMut(&Slot)) {
        for position in 0..self.slots {
            if let Found::Entry(slot) = self.load(position) {
                body(&slot);
            }
            self.rest(position);
        }
    }

    /// Makes the table right whatever was done to it: all that `keep` says stays, can be found, and is there once. Gives how
    /// many didn't stay. The caller holds the lock.
    pub fn repair(&self, mut keep: impl FnMut(&Slot) -> bool) -> u64 {
        self.head(Head::Shifts).store(self.shifts() | 1, Release);
        let (mut filled, mut lost) = (0, 0);
        for position in 0..self.slots {
            match self.load(position) {
                Found::Nothing => {}
                Found::Entry(slot) if keep(&slot) => filled += 1,
                _ => {
                    self.at(position)[0].store(0, Release);
                    lost += 1;
                }
            }
            self.rest(position);
        }
        self.head(Head::Filled).store(filled, Relaxed);
        // What can't be found is put in again, into a hole that it was cut off by; that leaves a hole in turn.
        let mut again = true;
        while again {
            again = false;
            for position in 0..self.slots {
                if let Found::Entry(slot) = self.load(position) {
                    if self.probe(slot.fingerprint) != Ok(position) {
                        self.at(position)[0].store(0, Release);
                        self.head(Head::Filled).store(self.filled().saturating_sub(1), Relaxed);
                        // Of two, the later stays.
                        let (_, other) = self.get(slot.fingerprint);
                        if !matches!(other, Found::Entry(other) if other.version >= slot.version) {
                            self.put(&slot);
                        }
                        again = true;
                    }
                }
                self.rest(position);
            }
        }
        self.head(Head::Shifts).store(self.shifts().wrapping_add(1), Release);
        lost
    }

    /// After a walk over a whole megabyte: gives back the memory that it took.
    pub fn rest(&self, position: u64) {
        const STRIDE: u64 = 1 << 14;
        if position % STRIDE == STRIDE - 1 {
            let to = FIRST + (position as usize + 1) * WORDS;
            self.map.release(to - STRIDE as usize * WORDS, to);
        }
    }

    /// The entries at or after the home of `from`, whose fingerprints are below the boundary that is also given: `None` at the end.
    /// About `most` of them.
    pub fn range(&self, from: u64, most: usize) -> (Vec<(u64, Slot)>, Option<u64>) {
        let start = self.home(from);
        let (mut taken, mut end) = (Vec::new(), None);
        for _ in 0..TRIES {
            let before = self.shifts();
            taken.clear();
            let mut position = start;
            while position < self.slots && taken.len() < most {
                self.take(position, &mut taken);
                position += 1;
            }
            let mut rest = self.slots - (position - start);
            end = (position < self.slots).then(|| self.begin_of(position));
            // Those that belong before the end may have been pushed past it, and around.
            position %= self.slots;
            while rest > 0 && self.at(position)[0].load(Acquire) != 0 {
                self.take(position, &mut taken);
                (position, rest) = (self.after(position), rest - 1);
            }
            taken.retain(|(_, slot)| slot.fingerprint >= from && end.is_none_or(|end| slot.fingerprint < end));
            if before % 2 == 0 && before == self.shifts() {
                break;
            }
        }
        (taken, end)
    }

    fn take(&self, position: u64, taken: &mut Vec<(u64, Slot)>) {
        if let Found::Entry(slot) = self.load(position) {
            taken.push((position, slot));
        }
    }

    /// The least fingerprint whose home is that position.
    fn begin_of(&self, position: u64) -> u64 {
        ((u128::from(position) << 64).div_ceil(u128::from(self.slots))) as u64
    }
}
