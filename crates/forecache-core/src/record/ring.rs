//! A ring of words with one writer and one reader, who never lock.

use std::sync::atomic::{AtomicU64, Ordering};

/// Words: 8 MiB, which a loop of nothing but hits fills in some 70 ms.
pub const WORDS: usize = 1 << 20;

/// A counter in a cache line of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Counter(AtomicU64);

/// See the head of this file. Both ends count words from the begin on, and each keeps its own count.
#[derive(Debug)]
pub struct Ring {
    words: Box<[AtomicU64]>,
    /// Words written and read.
    written: Counter,
    read: Counter,
}

impl Default for Ring {
    fn default() -> Self {
        let words = (0..WORDS).map(|_| AtomicU64::new(0)).collect();
        Ring { words, written: Counter::default(), read: Counter::default() }
    }
}

impl Ring {
    /// Puts word number `at` in its place. It isn't shown to the reader yet.
    #[inline(always)]
    pub fn put(&self, at: u64, word: u64) {
        self.words[at as usize % WORDS].store(word, Ordering::Relaxed);
    }

    /// Shows the reader all words before number `end`.
    #[inline(always)]
    pub fn show(&self, end: u64) {
        self.written.0.store(end, Ordering::Release);
    }

    /// How many words may be written before the reader has to go on.
    pub fn room_until(&self) -> u64 {
        self.read.0.load(Ordering::Acquire) + WORDS as u64
    }

    /// How many words there are to be read from the begin on.
    pub fn written(&self) -> u64 {
        self.written.0.load(Ordering::Acquire)
    }

    /// Word number `at`, which was shown and not given back.
    #[inline(always)]
    pub fn word(&self, at: u64) -> u64 {
        self.words[at as usize % WORDS].load(Ordering::Relaxed)
    }

    /// Gives back the places of all words before number `end`.
    pub fn give_back(&self, end: u64) {
        self.read.0.store(end, Ordering::Release);
    }
}
