//! The stamps of entries that left, of which samples can be drawn.

use super::score::Stamp;

/// Places in a bucket, which fills one cache line.
const WAYS: usize = 6;
/// A place that nobody has. No fingerprint has this value.
const EMPTY: u32 = 0;

#[derive(Debug, Clone, Copy, Default)]
#[repr(align(64))]
struct Bucket {
    fingerprints: [u32; WAYS],
    lasts: [u32; WAYS],
    uses: [u8; WAYS],
    gaps: [u8; WAYS],
    /// The place where the next goes: the one filled longest ago.
    next: u8,
}

impl Bucket {
    fn stamp(&self, way: usize) -> Stamp {
        Stamp { uses: self.uses[way], gap: self.gaps[way], ..Stamp::new(self.lasts[way], 1, 1.0, u64::MAX) }
    }

    fn ways(&self) -> impl Iterator<Item = usize> {
        (0..WAYS).filter(|&way| self.fingerprints[way] != EMPTY)
    }
}

/// When and how often about the latest so many ghosts were used, known by 32 bits of their fingerprint: 11 bytes a ghost.
///
/// Unlike `Ghosts`, which knows only whether a key is one, this keeps no time of leaving: a bucket forgets the ghost that came to it
/// first, so some stay longer than others.
#[derive(Debug, Default)]
pub struct Past {
    buckets: Vec<Bucket>,
}

impl Past {
    /// Remembers how an entry was used that leaves, and room for about `limit` such.
    #[inline]
    pub fn remember(&mut self, fingerprint: u32, stamp: &Stamp, limit: usize) {
        let wanted = limit.div_ceil(WAYS);
        if wanted > self.buckets.len() || wanted < self.buckets.len() / 4 {
            self.resize(wanted + wanted / 16);
        }
        self.put(fingerprint, stamp);
    }

    /// Puts what is remembered of a key into `stamp`, and forgets it. False if there is nothing.
    #[inline]
    pub fn recall(&mut self, fingerprint: u32, stamp: &mut Stamp) -> bool {
        let index = self.index(fingerprint);
        let Some(bucket) = self.buckets.get_mut(index) else { return false };
        let Some(way) = bucket.ways().find(|&way| bucket.fingerprints[way] == fingerprint) else { return false };
        let Stamp { last, uses, gap, .. } = bucket.stamp(way);
        (stamp.last, stamp.uses, stamp.gap) = (last, uses, gap);
        bucket.fingerprints[way] = EMPTY;
        true
    }

    /// The ghosts of the bucket that a random number chooses, each of which stands for as many as there are buckets.
    pub fn sample(&self, random: u32) -> impl Iterator<Item = Stamp> + '_ {
        let index = (u64::from(random) * self.buckets.len() as u64) >> 32;
        self.buckets.get(index as usize).into_iter().flat_map(|bucket| bucket.ways().map(|way| bucket.stamp(way)))
    }

    /// How many buckets there are.
    pub fn buckets(&self) -> usize {
        self.buckets.len()
    }

    fn index(&self, fingerprint: u32) -> usize {
        let spread = u64::from(fingerprint).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
        ((spread * self.buckets.len() as u64) >> 32) as usize
    }

    fn put(&mut self, fingerprint: u32, stamp: &Stamp) {
        let index = self.index(fingerprint);
        let Some(bucket) = self.buckets.get_mut(index) else { return };
        let way = bucket.next as usize;
        bucket.fingerprints[way] = fingerprint;
        (bucket.lasts[way], bucket.uses[way], bucket.gaps[way]) = (stamp.last, stamp.uses, stamp.gap);
        bucket.next = ((way + 1) % WAYS) as u8;
    }

    #[cold]
    fn resize(&mut self, buckets: usize) {
        let old = std::mem::replace(&mut self.buckets, vec![Bucket::default(); buckets]);
        for turn in 0..WAYS {
            for bucket in &old {
                let way = (bucket.next as usize + turn) % WAYS;
                if bucket.fingerprints[way] != EMPTY {
                    self.put(bucket.fingerprints[way], &bucket.stamp(way));
                }
            }
        }
    }

    /// Bytes allocated.
    pub fn allocated(&self) -> usize {
        self.buckets.capacity() * size_of::<Bucket>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fingerprint(number: u32) -> u32 {
        crate::policy::history::short(crate::fingerprint::fingerprint(&number.to_le_bytes(), 7))
    }

    fn used(number: u32) -> Stamp {
        Stamp { uses: 3, gap: number as u8, ..Stamp::new(number, 1, 1.0, u64::MAX) }
    }

    #[test]
    fn what_left_lately_is_recalled_once_as_it_was() {
        let mut past = Past::default();
        (0..1000).for_each(|number| past.remember(fingerprint(number), &used(number), 600));
        let mut stamp = Stamp::new(2000, 5, 1.0, 9);
        assert!(past.recall(fingerprint(999), &mut stamp));
        assert_eq!((stamp.last, stamp.uses, stamp.gap), (999, 3, 999u32 as u8));
        assert_eq!((stamp.deadline, stamp.density), (9, 0.2));
        assert!(!past.recall(fingerprint(999), &mut stamp));
        assert!(!past.recall(fingerprint(5000), &mut stamp));
    }

    #[test]
    fn most_of_the_latest_are_there_however_their_number_changes() {
        let mut past = Past::default();
        let mut remembered = 0..;
        for (limit, rounds) in [(5_000, 20_000), (20_000, 60_000), (1_000, 9_000)] {
            let last =
                remembered.by_ref().take(rounds).inspect(|&n| past.remember(fingerprint(n), &used(n), limit)).last().unwrap();
            let latest = last + 1 - limit as u32 / 2..=last;
            let newest = latest.filter(|&n| past.recall(fingerprint(n), &mut used(n))).count();
            assert!(newest * 100 >= limit / 2 * 90, "{newest} of {}", limit / 2);
            assert!(past.allocated() <= limit * 13 * 4, "{} bytes for {limit} ghosts", past.allocated());
        }
    }

    #[test]
    fn samples_stand_for_all() {
        let mut past = Past::default();
        (0..6000).for_each(|number| past.remember(fingerprint(number), &used(number), 6000));
        let draws = (0..past.buckets() as u64).map(|nth| ((nth << 32) / past.buckets() as u64) as u32 + 1);
        let all: usize = draws.map(|random| past.sample(random).count()).sum();
        assert!((4500..=6000).contains(&all), "{all}");
    }
}
