//! What the model goes by: how an entry was used, as a class, and the age since then, as a bucket.
//!
//! Times are in requests. Gaps between requests are classed relative to the number of entries that the cache holds, so what was
//! learned at one size holds at others.

use super::ablation;

/// Age buckets: each age below 8, then four an octave.
pub const AGES: usize = 124;
/// Classes of frequency: hits since the key was first seen: 0, 1, 2, 3-4, 5-8, 9-16, 17-32, 33-80, more.
pub const FREQUENCIES: usize = 9;
/// Octaves of the last gap, relative to the capacity: less than 2^-7 of it, …, at least 2^4 times.
pub const GAPS: usize = 13;
/// Where a gap as long as the capacity falls.
const TURNOVER: i32 = 8;
/// The gap before the last: short, less than twice the capacity, long.
pub const BEFORES: usize = 3;
/// Frequency x gap: without a hit there is no gap.
pub const BASES: usize = 1 + (FREQUENCIES - 1) * GAPS;
/// Frequency x gap x the gap before: the latter is known from the second hit on.
pub const CLASSES: usize = 1 + GAPS + (FREQUENCIES - 2) * GAPS * BEFORES;
/// Classes that have no gap before the last.
const YOUNG: usize = 1 + GAPS;
/// Hits that are counted.
pub const MOST_USES: u8 = 127;

/// The class of frequency by uses.
const FREQUENCY_OF: [u8; MOST_USES as usize + 1] = {
    let mut table = [0; MOST_USES as usize + 1];
    let mut uses = 0;
    while uses < table.len() {
        table[uses] = match uses {
            0..=2 => uses as u8,
            3..=4 => 3,
            5..=8 => 4,
            9..=16 => 5,
            17..=32 => 6,
            33..=80 => 7,
            _ => 8,
        };
        uses += 1;
    }
    table
};

/// The bucket of an age.
#[inline(always)]
pub fn bucket(age: u32) -> usize {
    if age < 8 {
        return age as usize;
    }
    let octave = age.ilog2();
    (octave as usize - 1) * 4 + ((age >> (octave - 2)) & 3) as usize
}

/// The least age of each bucket, and past the last.
pub const LOW: [f32; AGES + 1] = {
    let mut table = [0.0; AGES + 1];
    let mut bucket = 0;
    while bucket <= AGES {
        table[bucket] =
            if bucket < 8 { bucket as f32 } else { ((4 + bucket % 4) as u64) as f32 * (1u64 << (bucket / 4 - 1)) as f32 };
        bucket += 1;
    }
    table
};

/// The size that lengths are relative to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scale {
    /// How many entries the cache holds.
    pub entries: u32,
    /// The octave that is in.
    pub octave: i32,
    /// Age buckets in use: up to a hundred turnovers; what is older falls in the last.
    pub ages: usize,
}

impl Scale {
    /// The scale of a cache of so many entries.
    pub fn of(entries: usize) -> Self {
        let entries = entries.clamp(4, 1 << 30) as u32;
        Scale { entries, octave: entries.ilog2() as i32, ages: bucket(entries.saturating_mul(100)) + 1 }
    }

    /// The bucket of an age, of those in use.
    #[inline(always)]
    pub fn bucket(&self, age: u32) -> usize {
        bucket(age).min(self.ages - 1)
    }

    /// The class of a gap in this octave.
    #[inline(always)]
    fn gap(&self, octave: u8) -> usize {
        (i32::from(octave) - self.octave + TURNOVER).clamp(0, GAPS as i32 - 1) as usize
    }

    /// The class of an entry that was used like this.
    #[inline(always)]
    pub fn class(&self, history: &History) -> u16 {
        let frequency = usize::from(FREQUENCY_OF[usize::from(history.uses & MOST_USES)]);
        let (frequency, gap, before) = ablation::known(frequency, self.gap(history.gap()), history.before());
        let class = match frequency {
            0 => 0,
            1 => 1 + gap,
            _ => YOUNG + ((frequency - 2) * GAPS + gap) * BEFORES + before,
        };
        class as u16
    }
}

/// How an entry was used: all that is kept of one that left.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct History {
    /// The number of the request that used it last, modulo 2^32.
    pub last: u32,
    /// The class that this makes it, at the cache's scale.
    pub class: u16,
    /// Hits since it was first seen, those that came too late included; at most [`MOST_USES`].
    pub uses: u8,
    /// The octave of the requests between the last two uses, in 5 bits (0 if there was one only), and the class of the gap before, in 2.
    pub gaps: u8,
}

impl History {
    /// One that was never used before this request.
    pub fn new(now: u32) -> Self {
        History { last: now, ..History::default() }
    }

    fn gap(&self) -> u8 {
        self.gaps & 31
    }

    fn before(&self) -> usize {
        usize::from(self.gaps >> 5).min(BEFORES - 1)
    }

    /// It is used again.
    #[inline(always)]
    pub fn touch(&mut self, now: u32, scale: &Scale) {
        const BEFORE: [u8; GAPS] = [0, 0, 0, 0, 0, 1 << 5, 1 << 5, 1 << 5, 1 << 5, 2 << 5, 2 << 5, 2 << 5, 2 << 5];
        let gap = now.wrapping_sub(self.last).max(1).ilog2() as u8;
        self.gaps = BEFORE[scale.gap(self.gap())] | gap;
        self.uses = (self.uses + 1).min(MOST_USES);
        self.last = now;
        self.class = scale.class(self);
    }
}

/// What a class stands for: its frequency, gap and the gap before, each from 1 as far as known.
pub fn parts(class: usize) -> (usize, usize, usize) {
    match class {
        0 => (0, 0, 0),
        1..YOUNG => (1, class, 0),
        _ => {
            let (rest, before) = ((class - YOUNG) / BEFORES, (class - YOUNG) % BEFORES);
            (2 + rest / GAPS, 1 + rest % GAPS, 1 + before)
        }
    }
}

/// The class without the gap before.
pub fn base(class: usize) -> usize {
    if class < YOUNG { class } else { YOUNG + (class - YOUNG) / BEFORES }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn each_age_lies_in_its_bucket(age in any::<u32>()) {
            let bucket = bucket(age);
            // Half a step more, for large ages aren't exact in 32 bits.
            prop_assert!(LOW[bucket] <= age as f32 && age as f64 <= f64::from(LOW[bucket + 1]));
        }

        #[test]
        fn classes_are_numbered_without_gaps(uses in 0u8..=MOST_USES, gap in 0u8..32, before in 0u8..BEFORES as u8, entries in 1usize..1 << 40) {
            let scale = Scale::of(entries);
            let class = usize::from(scale.class(&History { last: 0, class: 0, uses, gaps: before << 5 | gap }));
            prop_assert!(class < CLASSES && base(class) < BASES);
            let (frequency, of_gap, of_before) = parts(class);
            prop_assert_eq!(frequency, usize::from(FREQUENCY_OF[usize::from(uses)]));
            prop_assert_eq!(of_gap, if uses == 0 { 0 } else { 1 + scale.gap(gap) });
            prop_assert_eq!(of_before, if uses < 2 { 0 } else { 1 + usize::from(before) });
        }
    }

    #[test]
    fn every_class_has_parts_of_its_own() {
        let mut all: Vec<_> = (0..CLASSES).map(parts).collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), CLASSES);
        assert_eq!((0..CLASSES).map(base).max(), Some(BASES - 1));
    }

    #[test]
    fn buckets_follow_each_other() {
        assert_eq!([0, 7, 8, 9, 10, 15, 16, 20, u32::MAX].map(bucket), [0, 7, 8, 8, 9, 11, 12, 13, AGES - 1]);
        assert!(LOW.windows(2).all(|pair| pair[0] < pair[1]));
        assert_eq!(LOW[AGES], (1u64 << 32) as f32);
    }
}
