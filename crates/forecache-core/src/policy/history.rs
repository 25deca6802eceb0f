//! What a policy remembers of entries that left.

/// Places in a bucket, which fills one cache line.
const WAYS: usize = 7;
/// Ghosts a bucket has at most, on average. The number in a bucket varies (as a Poisson variable): at 4 one ghost in fifty is driven
/// out before its turn.
const LOAD: usize = 4;
/// A place that nobody has. No fingerprint has this value.
const EMPTY: u32 = 0;

#[derive(Debug, Clone, Copy, Default)]
#[repr(align(64))]
struct Bucket {
    fingerprints: [u32; WAYS],
    /// When each came, counted in ghosts modulo 2^32.
    times: [u32; WAYS],
    /// The place of the oldest, where the next goes.
    oldest: u32,
}

/// The latest entries that left, known by 32 bits of their fingerprint, about 17 bytes a ghost.
///
/// A ghost is found and a new one put down in one cache line each; nothing is done to forget the old ones, which are told by their
/// age, as the S3-FIFO paper proposes for its ghost queue. One look-up in 2^32 / ghosts takes a stranger for a
/// ghost, which costs at most one entry a better place than it deserves.
#[derive(Debug, Default)]
pub struct Ghosts {
    buckets: Vec<Bucket>,
    limit: u32,
    now: u32,
}

/// The 32 bits of a fingerprint that are kept.
pub fn short(fingerprint: u64) -> u32 {
    ((fingerprint >> 32) as u32).max(EMPTY + 1)
}

impl Ghosts {
    /// Remembers `fingerprint` as the latest of at most `limit` ghosts.
    #[inline]
    pub fn remember(&mut self, fingerprint: u32, limit: usize) {
        self.limit = u32::try_from(limit).unwrap_or(u32::MAX);
        let most = self.buckets.len() * LOAD;
        if limit > most || limit < most / 4 {
            self.resize(limit);
        }
        self.now = self.now.wrapping_add(1);
        if limit > 0 {
            self.put(fingerprint, self.now);
        }
    }

    /// Remembers `fingerprint` with a time by a clock of the caller's, which shows `now`, in place of older ones where there
    /// are more than `places`.
    #[inline]
    pub fn note(&mut self, fingerprint: u32, time: u32, now: u32, places: usize) {
        (self.now, self.limit) = (now, u32::MAX);
        let most = self.buckets.len() * LOAD;
        if places > most || places < most / 4 {
            self.resize(places);
        }
        self.put(fingerprint, time);
    }

    /// The time that was noted with `fingerprint`, if it is there still; it isn't any more.
    #[inline]
    pub fn take(&mut self, fingerprint: u32) -> Option<u32> {
        let bucket = self.bucket(fingerprint)?;
        let way = (0..WAYS).find(|&way| bucket.fingerprints[way] == fingerprint)?;
        bucket.fingerprints[way] = EMPTY;
        Some(bucket.times[way])
    }

    /// Whether `fingerprint` is a ghost; it is none any more.
    #[inline]
    pub fn forget(&mut self, fingerprint: u32) -> bool {
        let (now, limit) = (self.now, self.limit);
        let Some(bucket) = self.bucket(fingerprint) else { return false };
        let there = |&way: &usize| bucket.fingerprints[way] == fingerprint && now.wrapping_sub(bucket.times[way]) < limit;
        let Some(way) = (0..WAYS).find(there) else { return false };
        bucket.fingerprints[way] = EMPTY;
        true
    }

    #[inline]
    fn bucket(&mut self, fingerprint: u32) -> Option<&mut Bucket> {
        let spread = u64::from(fingerprint).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
        let index = (spread * self.buckets.len() as u64) >> 32;
        self.buckets.get_mut(index as usize)
    }

    /// Puts a ghost in the place of the oldest in its bucket.
    #[inline]
    fn put(&mut self, fingerprint: u32, time: u32) {
        let Some(bucket) = self.bucket(fingerprint) else { return };
        let way = bucket.oldest as usize % WAYS;
        bucket.fingerprints[way] = fingerprint;
        bucket.times[way] = time;
        bucket.oldest = (way as u32 + 1) % WAYS as u32;
    }

    /// Makes room for `limit` ghosts and a sixteenth more, and keeps those that there are.
    #[cold]
    fn resize(&mut self, limit: usize) {
        let buckets = (limit + limit / 16).div_ceil(LOAD);
        let old = std::mem::replace(&mut self.buckets, vec![Bucket::default(); buckets]);
        let age = |time: u32| self.now.wrapping_sub(time);
        let places = old.iter().flat_map(|bucket| bucket.fingerprints.into_iter().zip(bucket.times));
        let mut alive: Vec<_> = places.filter(|&(fingerprint, time)| fingerprint != EMPTY && age(time) < self.limit).collect();
        alive.sort_unstable_by_key(|&(_, time)| std::cmp::Reverse(age(time)));
        for (fingerprint, time) in alive {
            self.put(fingerprint, time);
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
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_ghost_is_one_of_the_latest_and_only_once(steps in prop::collection::vec((any::<bool>(), 1u32..40), 1..600), limit in 0usize..20) {
            let mut ghosts = Ghosts::default();
            let mut latest: Vec<u32> = Vec::new();
            for (remember, fingerprint) in steps {
                if remember {
                    ghosts.forget(fingerprint);
                    ghosts.remember(fingerprint, limit);
                    latest.push(fingerprint);
                } else {
                    let known = latest[latest.len().saturating_sub(limit)..].contains(&fingerprint);
                    prop_assert!(!ghosts.forget(fingerprint) || known);
                    prop_assert!(!ghosts.forget(fingerprint));
                }
            }
        }
    }

    #[test]
    fn a_ghost_has_the_time_that_was_noted_until_it_is_taken() {
        let mut ghosts = Ghosts::default();
        assert_eq!(ghosts.take(5), None);
        ghosts.note(5, 70, 100, 4);
        ghosts.note(6, 90, 100, 40);
        assert_eq!((ghosts.take(5), ghosts.take(6)), (Some(70), Some(90)));
        assert_eq!(ghosts.take(5), None);
    }

    #[test]
    fn nearly_all_of_the_latest_are_ghosts_however_their_number_changes() {
        let mut ghosts = Ghosts::default();
        let fingerprint = |number: u32| short(crate::fingerprint::fingerprint(&number.to_le_bytes(), 7));
        let mut remembered = 0..;
        for (limit, rounds) in [(5_000, 20_000), (20_000, 60_000), (1_000, 3_000)] {
            let last =
                remembered.by_ref().take(rounds).inspect(|&number| ghosts.remember(fingerprint(number), limit)).last().unwrap();
            let latest = last + 1 - limit as u32..=last;
            let found = latest.filter(|&number| ghosts.forget(fingerprint(number))).count();
            assert!(found * 100 >= limit * 97, "{found} of {limit}");
            let older = (0..=last - limit as u32).filter(|&number| ghosts.forget(fingerprint(number))).count();
            assert_eq!(older, 0);
            assert!(ghosts.allocated() <= limit * 18, "{} bytes for {limit} ghosts", ghosts.allocated());
        }
    }
}
