//! Which keys an LRU cache of the same size would hold: what another policy's hits and misses are judged by.

/// Intervals that the LRU cache's turnover is cut into. Which of the keys last used in the oldest interval it still holds is
/// not known, so about one key in so many is misjudged.
const PARTS: u32 = 64;
/// Intervals that are told apart at most. While a cache grows they get longer, so that older ones are shorter and more than
/// `PARTS`; this is enough for a hundred million entries, and with more the newest interval just gets longer.
const MOST: u16 = 1024;

/// When a key was last used: the number of the interval, modulo 2^16.
pub type Time = u16;

/// Counts keys by the interval in which they were last used; no key is stored here. The LRU cache holds those of the newest
/// intervals. Intervals are measured in its misses: an entry of it that is not used leaves after at most as many misses as it
/// has entries, so about `PARTS` intervals are alive.
#[derive(Debug)]
pub struct Shadow {
    counts: Box<[u32; MOST as usize]>,
    total: usize,
    oldest: Time,
    now: Time,
    /// Misses until the next interval begins.
    left: usize,
}

impl Default for Shadow {
    fn default() -> Self {
        Shadow { counts: Box::new([0; MOST as usize]), total: 0, oldest: 0, now: 0, left: 1 }
    }
}

impl Shadow {
    /// The current interval: the time of what was used last.
    #[inline]
    pub fn now(&self) -> Time {
        self.now
    }

    /// How many intervals ago that was.
    #[inline]
    pub fn age(&self, time: Time) -> u16 {
        self.now.wrapping_sub(time)
    }

    #[inline]
    fn count(&mut self, time: Time) -> &mut u32 {
        &mut self.counts[usize::from(time % MOST)]
    }

    /// A key last used at `time` is used now, if the LRU cache holds it; returns whether it does.
    #[inline(always)]
    pub fn touch(&mut self, time: Time) -> bool {
        // If it was used in this interval already, this changes nothing: a branch that said so would be hard to predict.
        let held = self.holds(time);
        if held {
            *self.count(time) -= 1;
            *self.count(self.now) += 1;
        }
        held
    }

    /// A key that was last used at `time` is deleted. Whether the LRU cache had held it.
    #[inline]
    pub fn drop(&mut self, time: Time) -> bool {
        let held = self.holds(time);
        if held {
            *self.count(time) -= 1;
            self.total -= 1;
        }
        held
    }

    /// Whether the LRU cache holds a key last used at `time`.
    #[inline]
    pub fn holds(&self, time: Time) -> bool {
        self.age(time) <= self.age(self.oldest) && self.counts[usize::from(time % MOST)] > 0
    }

    /// The LRU cache takes a key in, and holds at most `capacity` then.
    pub fn miss(&mut self, capacity: usize) {
        self.left -= 1;
        if self.left == 0 {
            self.left = (self.total / PARTS as usize).max(1);
            if self.age(self.oldest) < MOST - 1 {
                self.now = self.now.wrapping_add(1);
            }
        }
        *self.count(self.now) += 1;
        self.total += 1;
        while self.total > capacity.max(1) {
            self.skip_empty();
            *self.count(self.oldest) -= 1;
            self.total -= 1;
        }
        self.skip_empty();
    }

    /// Bytes allocated.
    pub fn allocated(&self) -> usize {
        size_of_val(&*self.counts)
    }

    fn skip_empty(&mut self) {
        while self.oldest != self.now && *self.count(self.oldest) == 0 {
            self.oldest = self.oldest.wrapping_add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    /// Uses keys in a cache of `capacity` keys by turns drawn from a fixed sequence; returns how many uses an LRU cache would
    /// have hit, and how many of all were judged differently.
    fn judged(capacity: usize, keys: u64, uses: usize) -> (usize, usize) {
        let (mut shadow, mut times, mut order) = (Shadow::default(), HashMap::new(), Vec::new());
        let (mut hits, mut wrong, mut state) = (0, 0, 1u64);
        for _ in 0..uses {
            state = state.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(1);
            // Squared, so that some keys are much more often used than others.
            let draw = (state >> 33) as f64 / f64::from(1u32 << 31);
            let key = (draw * draw * keys as f64) as u64;
            let place = order.iter().position(|&other| other == key);
            let held = match times.get(&key) {
                Some(&time) => shadow.touch(time),
                None => false,
            };
            if !held {
                shadow.miss(capacity);
            }
            times.insert(key, shadow.now());
            place.map(|place| order.remove(place));
            order.push(key);
            if order.len() > capacity {
                order.remove(0);
            }
            hits += usize::from(place.is_some());
            wrong += usize::from(held != place.is_some());
        }
        (hits, wrong)
    }

    #[test]
    fn it_says_what_an_lru_cache_would_hold_but_for_a_few_in_a_hundred() {
        for (capacity, keys) in [(50, 200), (300, 1_000), (300, 400)] {
            let (hits, wrong) = judged(capacity, keys, 20_000);
            assert!(hits > 5_000, "{hits}");
            assert!(wrong * 100 < 20_000 * 2, "{wrong} of 20000 at {capacity} of {keys}");
        }
    }

    #[test]
    fn a_deleted_key_makes_room() {
        let mut shadow = Shadow::default();
        let times: Vec<_> = (0..3)
            .map(|_| {
                shadow.miss(3);
                shadow.now()
            })
            .collect();
        assert!(shadow.drop(times[0]));
        shadow.miss(3);
        assert!(shadow.holds(times[1]));
        shadow.miss(3);
        assert!(!shadow.holds(times[1]));
        assert!(!shadow.drop(times[0]));
    }
}
