//! How keys were used that left: eight bytes each, in a table of cache lines.
//!
//! A fingerprint of 32 bits chooses a line by its upper bits, and what is left of it is kept, so that the table can be
//! built anew at another size. A full line forgets the key that was used longest ago, those
//! that were used but once much sooner. The last use is kept in 24 bits, in a
//! unit that grows with the cache; what is older than they can tell is swept out a part at a time.

use super::features::{History, Scale};
use crate::prefetch::prefetch;

const WAYS: usize = 8;
/// A table of fewer than 256 lines knows less than 32 bits of a fingerprint, and forgets some keys when it grows.
const FEWEST: usize = 32;
/// A key that was used more than once is remembered 2^so many times as long: there is more to know of it.
const LONGER: u32 = 3;
const LAST_BITS: u32 = 24;
const LAST: u32 = (1 << LAST_BITS) - 1;
/// Parts of the table that are swept one after the other.
const PARTS: usize = 64;

#[derive(Debug, Clone, Copy, Default)]
#[repr(align(64))]
struct Line([u64; WAYS]);

/// A key that left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ghost {
    /// How it was used.
    pub history: History,
    /// Whether it is watched: it was evicted, and would be a hit if it were there.
    pub watched: bool,
}

/// See the head of this file.
#[derive(Debug, Default)]
pub struct Ghosts {
    lines: Vec<Line>,
    /// The unit of the last use, as a power of 2.
    unit: u32,
    /// The part that is swept next, and when the last was.
    part: usize,
    swept: u32,
}

impl Ghosts {
    /// How many there is room for.
    pub fn room(&self) -> usize {
        self.lines.len() * WAYS
    }

    /// Sees to it that there is room for `limit` ghosts, and not for many times as many, in a cache of this scale.
    pub fn fit(&mut self, limit: usize, scale: &Scale, now: u32) {
        let wanted = if limit == 0 { 0 } else { limit.div_ceil(WAYS).max(FEWEST) };
        let unit = (scale.octave as u32).saturating_sub(16).min(u32::BITS - LAST_BITS);
        if unit != self.unit || wanted > self.lines.len() || wanted < self.lines.len() / 4 {
            self.rebuild(if wanted == FEWEST { wanted } else { wanted + wanted / 16 }, unit, now);
        }
    }

    #[cold]
    fn rebuild(&mut self, lines: usize, unit: u32, now: u32) {
        let mut all: Vec<_> = self.iter(now).collect();
        all.sort_unstable_by_key(|(_, ghost)| std::cmp::Reverse(now.wrapping_sub(ghost.history.last)));
        *self = Ghosts { lines: vec![Line::default(); lines], unit, part: 0, swept: now >> unit };
        for (fingerprint, ghost) in all {
            self.put(fingerprint, ghost, now);
        }
    }

    /// All that are there, with their fingerprints.
    pub fn iter(&self, now: u32) -> impl Iterator<Item = (u32, Ghost)> + '_ {
        let lines = self.lines.len() as u64;
        let places = self.lines.iter().zip(0u64..).flat_map(|(line, index)| line.0.into_iter().map(move |place| (index, place)));
        places.filter(|&(_, place)| place != 0).map(move |(index, place)| {
            let fingerprint = ((index << 32) | (tag(place) << 8)).div_ceil(lines);
            (fingerprint as u32, self.unpack(place, now))
        })
    }

    /// A key that is a ghost.
    pub fn get(&self, fingerprint: u32, now: u32) -> Option<Ghost> {
        let (index, tag) = self.place(fingerprint)?;
        let place = self.lines[index].0.iter().find(|place| **place >> 40 == tag && **place != 0)?;
        Some(self.unpack(*place, now))
    }

    /// Has the processor fetch what a look at this key needs.
    #[inline]
    pub fn prefetch(&self, fingerprint: u32) {
        if let Some((index, _)) = self.place(fingerprint) {
            prefetch(&self.lines[index]);
        }
    }

    /// Removes a key that is a ghost.
    #[inline]
    pub fn take(&mut self, fingerprint: u32, now: u32) -> Option<Ghost> {
        let (index, tag) = self.place(fingerprint)?;
        let place = self.lines[index].0.iter_mut().find(|place| **place >> 40 == tag && **place != 0)?;
        let place = std::mem::take(place);
        Some(self.unpack(place, now))
    }

    /// Remembers a key that isn't a ghost. Returns the one that is forgotten for it.
    #[inline]
    pub fn put(&mut self, fingerprint: u32, ghost: Ghost, now: u32) -> Option<Ghost> {
        let Some((index, tag)) = self.place(fingerprint) else { return Some(ghost) };
        let packed = self.pack(tag, &ghost);
        let time = now >> self.unit;
        let age = |place: u64| match place {
            0 => u32::MAX,
            _ => (time.wrapping_sub(last(place)) & LAST) >> if uses(place) > 0 { LONGER } else { 0 },
        };
        let line = &mut self.lines[index].0;
        let (mut oldest, mut most) = (0, age(line[0]));
        for (way, &place) in line.iter().enumerate().skip(1) {
            let age = age(place);
            if age > most {
                (oldest, most) = (way, age);
            }
        }
        let forgotten = std::mem::replace(&mut line[oldest], packed);
        (forgotten != 0).then(|| self.unpack(forgotten, now))
    }

    /// Forgets what is so old that its time will soon mean another one, in as many parts of the table as are due.
    pub fn sweep(&mut self, now: u32) {
        let time = now >> self.unit;
        let length = self.lines.len().div_ceil(PARTS);
        for _ in 0..PARTS {
            if time.wrapping_sub(self.swept) & LAST < LAST / 4 / PARTS as u32 {
                return;
            }
            self.swept = self.swept.wrapping_add(LAST / 4 / PARTS as u32);
            for place in self.lines.iter_mut().skip(self.part * length).take(length).flat_map(|line| &mut line.0) {
                if time.wrapping_sub(last(*place)) & LAST > LAST / 2 {
                    *place = 0;
                }
            }
            self.part = (self.part + 1) % PARTS;
        }
        self.swept = time;
    }

    #[inline]
    fn place(&self, fingerprint: u32) -> Option<(usize, u64)> {
        let product = u64::from(fingerprint) * self.lines.len() as u64;
        (!self.lines.is_empty()).then_some(((product >> 32) as usize, product >> 8 & 0xFF_FFFF))
    }

    /// From the highest bits: 24 of the fingerprint, 24 of the last use, 7 uses, 7 the gaps, whether it is watched, and 1.
    fn pack(&self, tag: u64, ghost: &Ghost) -> u64 {
        let History { last, uses, gaps, .. } = ghost.history;
        let last = u64::from(last >> self.unit & LAST);
        tag << 40 | last << 16 | u64::from(uses) << 9 | u64::from(gaps) << 2 | u64::from(ghost.watched) << 1 | 1
    }

    /// Without its class.
    fn unpack(&self, place: u64, now: u32) -> Ghost {
        let age = (now >> self.unit).wrapping_sub(last(place)) & LAST;
        let (uses, gaps) = (uses(place), (place >> 2 & 127) as u8);
        let history = History { last: now.wrapping_sub(age << self.unit), class: 0, uses, gaps };
        Ghost { history, watched: place & 2 != 0 }
    }

    /// Bytes allocated.
    pub fn allocated(&self) -> usize {
        self.lines.capacity() * size_of::<Line>()
    }
}

fn tag(place: u64) -> u64 {
    place >> 40
}

fn uses(place: u64) -> u8 {
    (place >> 9 & 127) as u8
}

fn last(place: u64) -> u32 {
    (place >> 16) as u32 & LAST
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ghost(last: u32, uses: u8) -> Ghost {
        Ghost { history: History { last, class: 0, uses, gaps: 77 }, watched: uses % 2 == 0 }
    }

    fn fingerprint(number: u32) -> u32 {
        crate::fingerprint::fingerprint(&number.to_le_bytes(), 7) as u32
    }

    proptest! {
        #[test]
        fn what_is_put_is_taken_as_it_was_and_once(numbers in prop::collection::btree_set(any::<u32>(), 1..100), now in any::<u32>()) {
            let mut ghosts = Ghosts::default();
            ghosts.fit(4096, &Scale::of(500), now);
            for (&number, age) in numbers.iter().zip(0..) {
                prop_assert_eq!(ghosts.put(fingerprint(number), ghost(now.wrapping_sub(age), 3), now), None);
            }
            // Built anew it still knows all.
            ghosts.fit(9000, &Scale::of(500), now);
            for (&number, age) in numbers.iter().zip(0..) {
                prop_assert_eq!(ghosts.take(fingerprint(number), now), Some(ghost(now.wrapping_sub(age), 3)));
                prop_assert_eq!(ghosts.take(fingerprint(number), now), None);
            }
            prop_assert_eq!(ghosts.iter(now).count(), 0);
        }

        #[test]
        fn whatever_the_size_and_scale_nothing_breaks(limit in 0usize..3000, entries in 1usize..1 << 31, now in any::<u32>(), number in any::<u32>()) {
            let mut ghosts = Ghosts::default();
            ghosts.fit(limit, &Scale::of(entries), now);
            ghosts.put(number, ghost(now, 1), now);
            prop_assert_eq!(ghosts.take(number, now).is_some(), limit > 0);
            ghosts.sweep(now.wrapping_add(number));
        }
    }

    #[test]
    fn a_full_table_keeps_what_was_used_more_than_once() {
        let mut ghosts = Ghosts::default();
        ghosts.fit(2048, &Scale::of(256), 0);
        let room = ghosts.room() as u32;
        (0..room / 2).for_each(|number| _ = ghosts.put(fingerprint(number), ghost(number, 1), number));
        (room / 2..2 * room).for_each(|number| _ = ghosts.put(fingerprint(number), ghost(number, 0), number));
        let kept = (0..room / 2).filter(|&number| ghosts.take(fingerprint(number), 2 * room).is_some()).count();
        assert!(kept as u32 > room / 4, "{kept} of {}", room / 2);
    }

    #[test]
    fn what_is_too_old_for_its_time_is_swept_out() {
        let mut ghosts = Ghosts::default();
        ghosts.fit(2048, &Scale::of(256), 0);
        ghosts.put(fingerprint(1), ghost(0, 1), 0);
        ghosts.sweep(LAST / 4);
        assert_eq!(ghosts.iter(LAST / 4).count(), 1);
        ghosts.sweep(LAST / 4 * 3);
        assert_eq!(ghosts.iter(LAST / 4 * 3).count(), 0);
    }
}
