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
/// A key's mark, last access, and uses with gap.
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

    /// Whether a key is known; if it is, `access`, that of a newcomer, becomes what it was when it left or was refused, used once more.
    pub fn recall(words: &[AtomicU32], fingerprint: u64, access: &mut Access) -> bool {
        let Some((_, ways)) = bucket(words, fingerprint) else { return false };
        let Some(way) = ways.chunks_exact(WORDS).find(|way| way[0].load(Relaxed) == mark(fingerprint)) else { return false };
        let (tick, used) = (access.last, way[2].load(Relaxed));
        (access.last, access.uses, access.gap) = (way[1].load(Relaxed), used as u8, (used >> 8) as u8);
        access.touch(tick);
        true
    }

    /// Notes a key that is refused or leaves.
    pub fn remember(words: &[AtomicU32], fingerprint: u64, access: &Access) {
        let Some((count, ways)) = bucket(words, fingerprint) else { return };
        let known = ways.chunks_exact(WORDS).find(|way| way[0].load(Relaxed) == mark(fingerprint));
        let way = known.unwrap_or_else(|| {
            let oldest = count.fetch_add(1, Relaxed) as usize % WAYS;
            &ways[oldest * WORDS..(oldest + 1) * WORDS]
        });
        let values = [mark(fingerprint), access.last, u32::from(access.uses) | u32::from(access.gap) << 8];
        way.iter().zip(values).for_each(|(word, value)| word.store(value, Relaxed));
    }

    /// Whether a key is known; notes it if not.
    pub fn seen(words: &[AtomicU32], fingerprint: u64) -> bool {
        let mut access = Access::new(0, 1, 1.0, u64::MAX);
        let known = Doorkeeper::recall(words, fingerprint, &mut access);
        if !known {
            Doorkeeper::remember(words, fingerprint, &access);
        }
        known
    }
}

fn bucket(words: &[AtomicU32], fingerprint: u64) -> Option<(&AtomicU32, &[AtomicU32])> {
    let buckets = words.len() / BUCKET;
    let index = ((u128::from(fingerprint) * buckets as u128) >> 64) as usize;
    words.get(index * BUCKET..(index + 1) * BUCKET)?.split_first()
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
        assert!((0..100_000).all(|number| !Doorkeeper::seen(&words, key(number))));
        let known = |numbers: std::ops::Range<u64>| {
            numbers.filter(|&number| Doorkeeper::recall(&words, key(number), &mut newcomer(0))).count()
        };
        assert!(known(92_000..100_000) > 7_200, "{}", known(92_000..100_000));
        assert!(known(0..40_000) < 400, "{}", known(0..40_000));
    }

    #[test]
    fn who_comes_back_is_who_left_used_once_more() {
        let words = table(Doorkeeper::words(100));
        let mut gone = newcomer(1000);
        gone.touch(1064);
        Doorkeeper::remember(&words, key(1), &gone);
        let mut back = newcomer(1128);
        assert!(Doorkeeper::recall(&words, key(1), &mut back));
        gone.touch(1128);
        assert_eq!(back, gone);
        assert!(!Doorkeeper::recall(&words, key(2), &mut back));
    }

    #[test]
    fn a_table_too_small_for_a_bucket_knows_nobody() {
        for words in [0, 15] {
            let words = table(words);
            assert_eq!([Doorkeeper::seen(&words, 5), Doorkeeper::seen(&words, 5)], [false, false]);
        }
    }

    proptest! {
        #[test]
        fn whatever_the_table_holds_a_key_that_was_just_noted_is_known(
            junk in prop::collection::vec(any::<u32>(), 0..100), key: u64, uses: u8, gap: u8
        ) {
            let words: Vec<AtomicU32> = junk.into_iter().map(AtomicU32::new).collect();
            Doorkeeper::remember(&words, key, &Access { uses, gap, ..newcomer(7) });
            let mut back = newcomer(8);
            prop_assert_eq!(Doorkeeper::recall(&words, key, &mut back), words.len() >= BUCKET);
            prop_assert!(words.len() < BUCKET || back.last == 8 && back.uses >= uses);
        }
    }
}
