//! The doorkeeper of a full directory: which keys were refused or left lately, and how they had been used.
//!
//! A key that is written once and never asked for again would cost a write and drive something out; so a key passes only when it is known.
//! And who comes back is judged by what it was before: without that, samples judged by `adaptive` miss one point more than the policy
//! itself does in memory (`examples/sampled.rs`). The table is shared by all processes and lives in a mapped file; it is a memory, not a
//! record: any words are a valid table, and what two processes note at once may be lost.

use super::judge::Access;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// Words of a bucket, which fills a cache line: a count of the keys noted in it, and the latest of them.
const BUCKET: usize = 16;
/// A key's mark, last access, and uses with gaps.
const WORDS: usize = 3;
const WAYS: usize = (BUCKET - 1) / WORDS;

/// See the head of this file.
#[derive(Debug)]
pub struct Doorkeeper;

impl Doorkeeper {
    /// Words for a table of so many keys.
    pub fn words(keys: usize) -> usize {
        keys.div_ceil(WAYS) * BUCKET
    }

    /// What a key was like when it left or was refused, if it is known, as the stamp of the newcomer that it is now. It is forgotten.
    pub fn recall(words: &[AtomicU32], fingerprint: u64, newcomer: &Access) -> Option<Access> {
        let (_, ways) = bucket(words, home(words, fingerprint))?;
        let way = ways.chunks_exact(WORDS).find(|way| way[0].load(Relaxed) == mark(fingerprint))?;
        way[0].store(0, Relaxed);
        Some(stamp(way, newcomer))
    }

    /// The keys of the bucket that a random number chooses, each of which stands for as many as there are buckets.
    pub fn sample(words: &[AtomicU32], random: u32) -> impl Iterator<Item = Access> + '_ {
        let ways = bucket(words, ((u64::from(random) * buckets(words) as u64) >> 32) as usize).map(|(_, ways)| ways);
        let known = ways.into_iter().flat_map(|ways| ways.chunks_exact(WORDS)).filter(|way| way[0].load(Relaxed) != 0);
        known.map(|way| stamp(way, &Access::new(0, 1, 1.0, u64::MAX)))
    }

    /// Notes a key that is refused or leaves.
    pub fn remember(words: &[AtomicU32], fingerprint: u64, access: &Access) {
        let Some((count, ways)) = bucket(words, home(words, fingerprint)) else { return };
        let known = ways.chunks_exact(WORDS).find(|way| way[0].load(Relaxed) == mark(fingerprint));
        let way = known.unwrap_or_else(|| {
            let oldest = count.fetch_add(1, Relaxed) as usize % WAYS;
            &ways[oldest * WORDS..(oldest + 1) * WORDS]
        });
        let values =
            [mark(fingerprint), access.last, u32::from(access.uses) | u32::from(access.gap) << 8 | u32::from(access.gaps) << 16];
        way.iter().zip(values).for_each(|(word, value)| word.store(value, Relaxed));
    }
}

/// How many buckets a table has.
pub fn buckets(words: &[AtomicU32]) -> usize {
    words.len() / BUCKET
}

fn stamp(way: &[AtomicU32], newcomer: &Access) -> Access {
    let used = way[2].load(Relaxed);
    Access { last: way[1].load(Relaxed), uses: used as u8, gap: (used >> 8) as u8, gaps: (used >> 16) as u16, ..*newcomer }
}

/// The count and the places of a bucket.
fn bucket(words: &[AtomicU32], index: usize) -> Option<(&AtomicU32, &[AtomicU32])> {
    words.get(index * BUCKET..(index + 1) * BUCKET)?.split_first()
}

/// Where a key is noted.
fn home(words: &[AtomicU32], fingerprint: u64) -> usize {
    ((u128::from(fingerprint) * buckets(words) as u128) >> 64) as usize
}

/// An empty place is 0. The upper bits have chosen the bucket.
fn mark(fingerprint: u64) -> u32 {
    (fingerprint as u32).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fingerprint::fingerprint;
    use proptest::prelude::*;

    fn table(words: usize) -> Vec<AtomicU32> {
        (0..words).map(|_| AtomicU32::new(0)).collect()
    }

    fn key(number: u64) -> u64 {
        fingerprint(&number.to_le_bytes(), 7)
    }

    fn newcomer(tick: u32) -> Access {
        Access::new(tick, 1, 1.0, u64::MAX)
    }

    #[test]
    fn it_knows_the_latest_keys_and_no_others() {
        let words = table(Doorkeeper::words(16_000));
        (0..100_000).for_each(|number| Doorkeeper::remember(&words, key(number), &newcomer(number as u32)));
        let draws = (0..buckets(&words) as u64).map(|nth| ((nth << 32) / buckets(&words) as u64) as u32 + 1);
        let all = draws.map(|random| Doorkeeper::sample(&words, random).count()).sum::<usize>();
        assert!((15_000..=17_000).contains(&all), "{all}");
        let known = |numbers: std::ops::Range<u64>| {
            numbers.filter(|&number| Doorkeeper::recall(&words, key(number), &newcomer(0)).is_some()).count()
        };
        let [latest, oldest] = [92_000..100_000, 0..40_000].map(known);
        assert!(latest > 7_200 && oldest < 400, "{latest} of 8000 and {oldest} of 40000");
    }

    #[test]
    fn who_comes_back_is_who_left_and_comes_back_once() {
        let words = table(Doorkeeper::words(100));
        let mut gone = newcomer(1000);
        gone.touch(1064);
        Doorkeeper::remember(&words, key(1), &gone);
        assert_eq!(Doorkeeper::recall(&words, key(2), &newcomer(1128)), None);
        assert_eq!(Doorkeeper::recall(&words, key(1), &newcomer(1128)), Some(gone));
        assert_eq!(Doorkeeper::recall(&words, key(1), &newcomer(1128)), None);
    }

    proptest! {
        #[test]
        fn whatever_the_table_holds_a_key_that_was_just_noted_is_known(
            junk in prop::collection::vec(any::<u32>(), 0..100), key: u64, uses: u8, gap: u8
        ) {
            let words: Vec<AtomicU32> = junk.into_iter().map(AtomicU32::new).collect();
            let noted = Access { uses, gap, ..newcomer(7) };
            Doorkeeper::remember(&words, key, &noted);
            prop_assert_eq!(Doorkeeper::recall(&words, key, &newcomer(8)), (words.len() >= BUCKET).then_some(noted));
        }
    }
}
