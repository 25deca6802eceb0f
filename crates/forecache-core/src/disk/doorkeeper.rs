//! The doorkeeper of a full directory: which keys were asked for lately.
//!
//! A key that is written once and never asked for again would cost a write and drive something out; so a key passes only when it comes for
//! the second time. The table is shared by all processes and lives in a mapped file; it is a memory, not a record: any words are a valid
//! table, and what two processes note at once may be lost.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// Words of a bucket, which fills a cache line: a count of the keys noted in it, and the latest of them.
const BUCKET: usize = 16;
const WAYS: usize = BUCKET - 1;

/// See the head of this file.
#[derive(Debug)]
pub struct Doorkeeper;

impl Doorkeeper {
    /// Whether a key was noted among about the last `words.len()` others; notes it if not. One stranger in 280 million is taken for
    /// one who was.
    pub fn seen(words: &[AtomicU32], fingerprint: u64) -> bool {
        let buckets = words.len() / BUCKET;
        let index = ((u128::from(fingerprint) * buckets as u128) >> 64) as usize;
        let Some((count, ways)) = words.get(index * BUCKET..(index + 1) * BUCKET).and_then(<[_]>::split_first) else {
            return false;
        };
        // An empty place is 0. The upper bits have chosen the bucket.
        let mark = (fingerprint as u32).max(1);
        if ways.iter().any(|way| way.load(Relaxed) == mark) {
            return true;
        }
        let oldest = count.fetch_add(1, Relaxed) as usize % WAYS;
        ways[oldest].store(mark, Relaxed);
        false
    }
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

    #[test]
    fn it_knows_the_latest_keys_and_no_others() {
        let words = table(16_384);
        assert!((0..100_000).all(|number| !Doorkeeper::seen(&words, key(number))));
        let known = |numbers: std::ops::Range<u64>| numbers.filter(|&number| Doorkeeper::seen(&words, key(number))).count();
        assert!(known(92_000..100_000) > 7_800);
        assert_eq!(known(0..60_000), 0);
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
        fn whatever_the_table_holds_a_key_that_was_just_noted_is_known(junk in prop::collection::vec(any::<u32>(), 0..100), key: u64) {
            let words: Vec<AtomicU32> = junk.into_iter().map(AtomicU32::new).collect();
            Doorkeeper::seen(&words, key);
            prop_assert_eq!(Doorkeeper::seen(&words, key), words.len() >= BUCKET);
        }
    }
}
