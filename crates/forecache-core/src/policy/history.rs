//! What a policy remembers of entries that left.

/// Places in a bucket, which fills one cache line.
pub const WAYS: usize = 7;
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

/// The 32 bits of a fingerprint that are kept.
pub fn short(fingerprint: u64) -> u32 {
    ((fingerprint >> 32) as u32).max(EMPTY + 1)
}

/// Buckets with room for `limit` ghosts and a sixteenth more.
pub fn buckets_for(limit: usize) -> usize {
    (limit + limit / 16).div_ceil(LOAD)
}

/// The number of a fingerprint's bucket.
#[inline]
pub fn bucket_of(fingerprint: u32, buckets: usize) -> usize {
    let spread = u64::from(fingerprint).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
    ((spread * buckets as u64) >> 32) as usize
}

/// Fingerprints and when each came, in a time of the owner's, who knows their ages: `None` for those that are outdated. They are
/// removed by nobody, but overwritten.
#[derive(Debug, Default)]
pub struct Times {
    buckets: Vec<Bucket>,
}

impl Times {
    /// How many there is room for.
    pub fn room(&self) -> usize {
        self.buckets.len() * LOAD
    }

    /// Removes a fingerprint if it is in and not outdated; the time when it came.
    #[inline]
    pub fn take(&mut self, fingerprint: u32, age: impl Fn(u32) -> Option<u32>) -> Option<u32> {
        let bucket = self.bucket(fingerprint)?;
        let there = |&way: &usize| bucket.fingerprints[way] == fingerprint && age(bucket.times[way]).is_some();
        let way = (0..WAYS).find(there)?;
        bucket.fingerprints[way] = EMPTY;
        Some(bucket.times[way])
    }

    #[inline]
    fn bucket(&mut self, fingerprint: u32) -> Option<&mut Bucket> {
        let index = bucket_of(fingerprint, self.buckets.len());
        self.buckets.get_mut(index)
    }

    /// Puts a fingerprint in the place of the one that came first to its bucket.
    #[inline]
    pub fn put(&mut self, fingerprint: u32, time: u32) {
        let Some(bucket) = self.bucket(fingerprint) else { return };
        let way = bucket.oldest as usize % WAYS;
        bucket.fingerprints[way] = fingerprint;
        bucket.times[way] = time;
        bucket.oldest = (way as u32 + 1) % WAYS as u32;
    }

    /// The same where those that came first aren't the first to be outdated: it goes to a place that is free or has the greatest age.
    #[inline]
    pub fn put_over_oldest(&mut self, fingerprint: u32, time: u32, age: impl Fn(u32) -> Option<u32>) {
        let Some(bucket) = self.bucket(fingerprint) else { return };
        let age_of = |way: usize| if bucket.fingerprints[way] == EMPTY { None } else { age(bucket.times[way]) };
        if age_of(bucket.oldest as usize % WAYS).is_some() {
            let oldest = (0..WAYS).max_by_key(|&way| age_of(way).unwrap_or(u32::MAX));
            bucket.oldest = oldest.unwrap_or(0) as u32;
        }
        self.put(fingerprint, time);
    }

    /// Sees to it that there is room for `limit`, and not for many times as many.
    #[inline]
    pub fn fit(&mut self, limit: usize, age: impl Fn(u32) -> Option<u32>) {
        let most = self.room();
        if limit > most || limit < most / 4 {
            self.resize(limit, age);
        }
    }

    /// Makes room for `limit` and a sixteenth more, and keeps those that aren't outdated.
    #[cold]
    pub fn resize(&mut self, limit: usize, age: impl Fn(u32) -> Option<u32>) {
        let old = std::mem::replace(&mut self.buckets, vec![Bucket::default(); buckets_for(limit)]);
        let places = old.iter().flat_map(|bucket| bucket.fingerprints.into_iter().zip(bucket.times));
        let mut alive: Vec<_> = places.filter(|&(fingerprint, time)| fingerprint != EMPTY && age(time).is_some()).collect();
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

/// The latest entries that left, known by 32 bits of their fingerprint, about 17 bytes a ghost.
///
/// A ghost is found and a new one put down in one cache line each; nothing is done to forget the old ones, which are told by their
/// age, as the S3-FIFO paper proposes for its ghost queue. One look-up in 2^32 / ghosts takes a stranger for a
/// ghost, which costs at most one entry a better place than it deserves.
#[derive(Debug, Default)]
pub struct Ghosts {
    times: Times,
    limit: u32,
    now: u32,
}

impl Ghosts {
    /// Remembers `fingerprint` as the latest of at most `limit` ghosts.
    #[inline]
    pub fn remember(&mut self, fingerprint: u32, limit: usize) {
        self.limit = u32::try_from(limit).unwrap_or(u32::MAX);
        self.times.fit(limit, age(self.now, self.limit));
        self.now = self.now.wrapping_add(1);
        if limit > 0 {
            self.times.put(fingerprint, self.now);
        }
    }

    /// Whether `fingerprint` is a ghost; it is none any more.
    #[inline]
    pub fn forget(&mut self, fingerprint: u32) -> bool {
        self.times.take(fingerprint, age(self.now, self.limit)).is_some()
    }

    /// Bytes allocated.
    pub fn allocated(&self) -> usize {
        self.times.allocated()
    }
}

/// How many came since, if fewer than `limit`.
#[inline]
fn age(now: u32, limit: u32) -> impl Fn(u32) -> Option<u32> {
    move |time| Some(now.wrapping_sub(time)).filter(|&age| age < limit)
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
    fn a_fingerprint_has_the_time_that_was_put_until_it_is_taken() {
        let mut times = Times::default();
        let age = |time: u32| Some(100 - time);
        assert_eq!(times.take(5, age), None);
        for (fingerprint, time, room) in [(5, 70, 4), (6, 90, 40)] {
            times.fit(room, age);
            times.put(fingerprint, time);
        }
        assert_eq!((times.take(5, age), times.take(6, age)), (Some(70), Some(90)));
        assert_eq!(times.take(5, age), None);
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
