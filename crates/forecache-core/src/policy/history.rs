//! What a policy remembers of entries that left.

/// Places in a bucket, which fills one cache line.
const WAYS: usize = 8;
/// Ghosts a bucket has on average. The number in a bucket varies (as a Poisson variable): at 4.8 one ghost in fifty finds its
/// bucket full and drives out the oldest there before its turn.
const LOAD: f64 = 4.8;
/// A place that nobody has. No fingerprint has this value.
const EMPTY: u32 = 0;

#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
struct Bucket {
    fingerprints: [u32; WAYS],
    /// When each came, counted in ghosts modulo 2^32.
    times: [u32; WAYS],
}

const EMPTY_BUCKET: Bucket = Bucket { fingerprints: [EMPTY; WAYS], times: [0; WAYS] };

/// The latest entries that left, known by 32 bits of their fingerprint, about 14 bytes a ghost.
///
/// A ghost is found and a new one put down in one cache line each; nothing is done to forget the old ones, which are told by their
/// age (the table that the S3-FIFO paper describes in its section 4). One look-up in 2^29 takes a stranger for a ghost, which
/// costs at most one entry a better place than it deserves.
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
        let most = self.buckets.len() as f64 * LOAD;
        if limit as f64 > most || (limit as f64) < most / 4.0 {
            self.resize(limit);
        }
        self.now = self.now.wrapping_add(1);
        if limit > 0 {
            self.put(fingerprint, self.now);
        }
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

    /// Puts a ghost in an empty place of its bucket, or else in the oldest one's.
    #[inline]
    fn put(&mut self, fingerprint: u32, time: u32) {
        let now = self.now;
        let Some(bucket) = self.bucket(fingerprint) else { return };
        let age = |&way: &usize| match bucket.fingerprints[way] {
            EMPTY => u32::MAX,
            _ => now.wrapping_sub(bucket.times[way]),
        };
        let way = (0..WAYS).max_by_key(age).unwrap_or(0);
        bucket.fingerprints[way] = fingerprint;
        bucket.times[way] = time;
    }

    /// Makes room for `limit` ghosts and a sixteenth more, and keeps those that there are.
    #[cold]
    fn resize(&mut self, limit: usize) {
        let buckets = ((limit + limit / 16) as f64 / LOAD).ceil() as usize;
        let old = std::mem::replace(&mut self.buckets, vec![EMPTY_BUCKET; buckets]);
        for (fingerprint, time) in Self::alive(&old, self.now, self.limit) {
            self.put(fingerprint, time);
        }
    }

    fn alive(buckets: &[Bucket], now: u32, limit: u32) -> impl Iterator<Item = (u32, u32)> + '_ {
        let places = buckets.iter().flat_map(|bucket| bucket.fingerprints.into_iter().zip(bucket.times));
        places.filter(move |&(fingerprint, time)| fingerprint != EMPTY && now.wrapping_sub(time) < limit)
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
    fn nearly_all_of_the_latest_are_ghosts_however_their_number_changes() {
        let mut ghosts = Ghosts::default();
        let fingerprint = |number: u32| short(crate::fingerprint::fingerprint(&number.to_le_bytes(), 7));
        let mut remembered = 0..;
        for (limit, rounds) in [(5_000, 20_000), (20_000, 60_000), (1_000, 3_000)] {
            let last = remembered.by_ref().take(rounds).inspect(|&number| ghosts.remember(fingerprint(number), limit)).last().unwrap();
            let latest = last + 1 - limit as u32..=last;
            let found = latest.filter(|&number| ghosts.forget(fingerprint(number))).count();
            assert!(found * 100 >= limit * 97, "{found} of {limit}");
            let older = (0..=last - limit as u32).filter(|&number| ghosts.forget(fingerprint(number))).count();
            assert_eq!(older, 0);
            assert!(ghosts.allocated() <= limit * 16, "{} bytes for {limit} ghosts", ghosts.allocated());
        }
    }
}
