//! How often keys were asked for lately: a count-min sketch, 8 bytes an entry that the cache holds.

/// The most that a counter counts.
pub const MOST: u8 = 15;
/// Rows; a key has one counter in each.
const ROWS: usize = 4;
/// Entries of the cache for each block: 16 counters an entry, a usual number for requests of ten times as many keys between two
/// halvings.
const ENTRIES: usize = 8;

/// Four rows of 32 counters of four bits, two words a row. All of a key's counters are in one block, which fills one cache
/// line.
#[derive(Debug, Clone, Copy, Default)]
#[repr(align(64))]
struct Block([u64; 2 * ROWS]);

/// Counts by 32 bits of a key's fingerprint. What it says is never too little, but for halvings; strangers that share all of a
/// key's counters can make it too much.
#[derive(Debug, Default)]
pub struct Sketch {
    /// As many as a power of two, so that the block of a key is told by its lower bits.
    blocks: Vec<Block>,
}

/// Where a key's counters are: for each row, the word in the block and the first bit in it.
#[inline]
fn places(fingerprint: u32) -> [(usize, u32); ROWS] {
    let spread = u64::from(fingerprint).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 44;
    std::array::from_fn(|row| {
        let place = (spread >> (5 * row)) as u32;
        (2 * row + (place as usize >> 4 & 1), (place & 15) * 4)
    })
}

impl Sketch {
    /// Makes it large enough for a cache of so many entries.
    #[inline]
    pub fn fit(&mut self, entries: usize) {
        if entries > self.blocks.len() * ENTRIES {
            self.double();
        }
    }

    /// Twice as many blocks, each half a copy of all: a key finds what it had, whether its next bit is set or not.
    #[cold]
    fn double(&mut self) {
        if self.blocks.is_empty() {
            self.blocks.push(Block::default());
        } else {
            self.blocks.reserve_exact(self.blocks.len());
            self.blocks.extend_from_within(..);
        }
    }

    #[inline]
    fn index(&self, fingerprint: u32) -> usize {
        fingerprint as usize & self.blocks.len().wrapping_sub(1)
    }

    /// How often the key was asked for, at most.
    #[inline]
    pub fn estimate(&self, fingerprint: u32) -> u8 {
        let Some(Block(words)) = self.blocks.get(self.index(fingerprint)) else { return 0 };
        let counts = places(fingerprint).map(|(word, bit)| (words[word] >> bit) as u8 & MOST);
        counts.into_iter().fold(MOST, u8::min)
    }

    /// Makes the estimate at least `count`, which is at most `MOST`.
    #[inline]
    pub fn raise(&mut self, fingerprint: u32, count: u8) {
        let index = self.index(fingerprint);
        let Some(Block(words)) = self.blocks.get_mut(index) else { return };
        for (word, bit) in places(fingerprint) {
            let old = (words[word] >> bit) as u8 & MOST;
            words[word] += u64::from(count.saturating_sub(old)) << bit;
        }
    }

    /// Halves all counts.
    pub fn halve(&mut self) {
        for word in self.blocks.iter_mut().flat_map(|Block(words)| words) {
            *word = *word >> 1 & (u64::MAX / u64::from(MOST) * u64::from(MOST / 2));
        }
    }

    /// Bytes allocated.
    pub fn allocated(&self) -> usize {
        self.blocks.capacity() * size_of::<Block>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    fn fingerprint(number: u16) -> u32 {
        crate::policy::history::short(crate::fingerprint::fingerprint(&number.to_le_bytes(), 7))
    }

    proptest! {
        #[test]
        fn estimates_are_never_too_little(
            counts in prop::collection::vec((0u16..2000, 0..=MOST), 1..600), entries in 1usize..300, halvings in 0u32..4, doublings in 0u32..4
        ) {
            let mut sketch = Sketch::default();
            (1..=entries).for_each(|entries| sketch.fit(entries));
            let mut most: HashMap<u16, u8> = HashMap::new();
            for (key, count) in counts {
                sketch.raise(fingerprint(key), count);
                let known = most.entry(key).or_default();
                *known = count.max(*known);
            }
            let before: Vec<_> = most.keys().map(|&key| sketch.estimate(fingerprint(key))).collect();
            (0..doublings).for_each(|_| sketch.double());
            (0..halvings).for_each(|_| sketch.halve());
            for ((&key, &count), before) in most.iter().zip(before) {
                prop_assert!(before >= count);
                prop_assert_eq!(sketch.estimate(fingerprint(key)), before >> halvings);
            }
        }
    }

    #[test]
    fn nine_in_ten_estimates_are_exact_with_twice_as_many_keys_as_entries() {
        let mut sketch = Sketch::default();
        (1..=1_000).for_each(|entries| sketch.fit(entries));
        let count = |key: u16| if key % 10 == 0 { 9 } else { 1 };
        (0..2_000).for_each(|key| sketch.raise(fingerprint(key), count(key)));
        let exact = (0..2_000).filter(|&key| sketch.estimate(fingerprint(key)) == count(key)).count();
        assert!(exact >= 1_800, "{exact} of 2000");
        let strangers = (2_000..4_000).filter(|&key| sketch.estimate(fingerprint(key)) > 0).count();
        assert!(strangers <= 200, "{strangers} of 2000 strangers");
        assert!(sketch.allocated() <= 16 * 1_000, "{} bytes", sketch.allocated());
    }

    #[test]
    fn an_empty_sketch_knows_nothing() {
        let mut sketch = Sketch::default();
        sketch.raise(7, 3);
        assert_eq!(sketch.estimate(7), 0);
    }
}
