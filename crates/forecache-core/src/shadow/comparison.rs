//! What two miniatures of a cache have seen, and how much of the difference is luck.

/// Keys fall into so many parts; how much these differ tells how much is luck.
const PARTS: usize = 64;

/// What the miniatures have seen since keys were let go the last time. The first is under the policy in force.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Comparison {
    /// Reads of chosen keys.
    pub reads: u64,
    /// Those that hit.
    pub hits: [u64; 2],
    /// The standard error of the difference of the hit ratios, by how much parts of the keys differ; 0 before the first read.
    pub error: f64,
    /// The share of the keys that are chosen.
    pub share: f64,
    /// Entries held.
    pub entries: [usize; 2],
}

/// Reads of some of the chosen keys.
#[derive(Debug, Clone, Copy, Default)]
struct Part {
    reads: u64,
    hits: [u64; 2],
}

/// Reads of all chosen keys, by parts.
#[derive(Debug)]
pub(super) struct Parts([Part; PARTS]);

impl Default for Parts {
    fn default() -> Self {
        Parts([Part::default(); PARTS])
    }
}

impl Parts {
    /// Notes a read of a key of this hash, and in which miniatures it hit.
    pub fn note(&mut self, hash: u64, found: [bool; 2]) {
        let part = &mut self.0[hash as usize % PARTS];
        part.reads += 1;
        found.iter().zip(&mut part.hits).for_each(|(&found, hits)| *hits += u64::from(found));
    }

    /// What was seen of this share of the keys by miniatures that hold so many entries.
    pub fn compare(&self, share: f64, entries: [usize; 2]) -> Comparison {
        let sum = |count: fn(&Part) -> u64| self.0.iter().map(count).sum::<u64>();
        let (reads, hits) = (sum(|part| part.reads), [sum(|part| part.hits[0]), sum(|part| part.hits[1])]);
        Comparison { reads, hits, error: self.error(reads as f64, hits[1] as f64 - hits[0] as f64), share, entries }
    }

    /// That of a ratio of sums over parts that were drawn by chance (Cochran, "Sampling techniques", 1977, section 2.11).
    fn error(&self, reads: f64, gain: f64) -> f64 {
        if reads == 0.0 {
            return 0.0;
        }
        let ratio = gain / reads;
        let off = |part: &Part| part.hits[1] as f64 - part.hits[0] as f64 - ratio * part.reads as f64;
        let squares: f64 = self.0.iter().map(|part| off(part).powi(2)).sum();
        (squares * PARTS as f64 / (PARTS - 1) as f64).sqrt() / reads
    }
}
