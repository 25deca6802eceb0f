//! Compression of stored values: which algorithms there are, and when a compressed form is kept.

use lz4::liblz4::LZ4_decompress_safe;
use std::io::{Read, Write};
use std::mem::MaybeUninit;

/// How a stored payload is compressed. The numbers are stored: they never change their meaning.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Algorithm {
    /// As it is.
    #[default]
    None = 0,
    /// LZ4 blocks: the fastest. It has no levels here.
    Lz4 = 1,
    /// Zstandard, levels 1 to 19: the smallest for its time.
    Zstd = 2,
    /// Snappy blocks. It has no levels.
    Snappy = 3,
    /// DEFLATE in a gzip wrapping, levels 1 to 9.
    Gzip = 4,
}

impl Algorithm {
    /// All of them, in the order of their numbers.
    pub const ALL: [Algorithm; 5] = [Algorithm::None, Algorithm::Lz4, Algorithm::Zstd, Algorithm::Snappy, Algorithm::Gzip];

    /// The name that users write.
    pub fn name(self) -> &'static str {
        match self {
            Algorithm::None => "none",
            Algorithm::Lz4 => "lz4",
            Algorithm::Zstd => "zstd",
            Algorithm::Snappy => "snappy",
            Algorithm::Gzip => "gzip",
        }
    }

    /// The algorithm of that name.
    pub fn named(name: &str) -> Option<Self> {
        Algorithm::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }

    /// The algorithm of that number.
    pub fn numbered(number: u8) -> Option<Self> {
        Algorithm::ALL.get(usize::from(number)).copied()
    }

    /// The levels that may be asked for, and the one that is used if none is; `None` if it has none.
    pub fn levels(self) -> Option<(std::ops::RangeInclusive<i32>, i32)> {
        match self {
            Algorithm::Zstd => Some((1..=19, 3)),
            Algorithm::Gzip => Some((1..=9, 6)),
            _ => None,
        }
    }

    fn pack(self, level: i32, bytes: &[u8]) -> Option<Vec<u8>> {
        match self {
            Algorithm::None => None,
            Algorithm::Lz4 => lz4::block::compress(bytes, None, false).ok(),
            Algorithm::Zstd => zstd::bulk::compress(bytes, level).ok(),
            Algorithm::Snappy => snap::raw::Encoder::new().compress_vec(bytes).ok(),
            Algorithm::Gzip => {
                let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(level as u32));
                writer.write_all(bytes).ok()?;
                writer.finish().ok()
            }
        }
    }

    /// The `length` bytes that `packed` was made of; `None` if it wasn't.
    pub fn unpack(self, packed: &[u8], length: usize) -> Option<Vec<u8>> {
        let bytes = match self {
            Algorithm::None => Some(packed.to_vec()),
            // A block never gets more than so many times longer: a length that was made up takes no memory.
            Algorithm::Lz4 if length / 255 <= packed.len() => {
                let mut bytes = Vec::with_capacity(length);
                self.unpack_into(packed, &mut bytes.spare_capacity_mut()[..length])?;
                // SAFETY: so many were filled.
                unsafe { bytes.set_len(length) };
                Some(bytes)
            }
            Algorithm::Lz4 => None,
            Algorithm::Zstd => zstd::bulk::decompress(packed, length).ok(),
            Algorithm::Snappy if snap::raw::decompress_len(packed).ok()? == length => {
                snap::raw::Decoder::new().decompress_vec(packed).ok()
            }
            Algorithm::Snappy => None,
            Algorithm::Gzip => {
                let mut bytes = Vec::new();
                // One byte more than there should be tells a longer one, and no more is unpacked than that.
                flate2::read::GzDecoder::new(packed).take(length as u64 + 1).read_to_end(&mut bytes).ok()?;
                Some(bytes)
            }
        }?;
        (bytes.len() == length).then_some(bytes)
    }

    /// Fills all of `bytes` with what `packed` was made of; `None` if that has another length, or it wasn't made of anything.
    pub fn unpack_into(self, packed: &[u8], bytes: &mut [MaybeUninit<u8>]) -> Option<()> {
        match self {
            Algorithm::None => fill(bytes, packed),
            Algorithm::Lz4 => {
                let (from, to) = (i32::try_from(packed.len()).ok()?, i32::try_from(bytes.len()).ok()?);
                // SAFETY: whatever they are, it reads no more than `from` bytes, writes no more than `to`, and says how many it wrote.
                let unpacked = unsafe { LZ4_decompress_safe(packed.as_ptr().cast(), bytes.as_mut_ptr().cast(), from, to) };
                (unpacked == to).then_some(())
            }
            _ => fill(bytes, &self.unpack(packed, bytes.len())?),
        }
    }
}

/// Copies all of `from` to all of `to`; `None` if they aren't of one length.
pub fn fill(to: &mut [MaybeUninit<u8>], from: &[u8]) -> Option<()> {
    (to.len() == from.len()).then(|| to.iter_mut().zip(from).for_each(|(to, from)| _ = to.write(*from)))
}

/// What to compress, and when it pays.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Compression {
    /// How.
    pub algorithm: Algorithm,
    /// One of [`Algorithm::levels`]; any number where there are none.
    pub level: i32,
    /// Bytes below which nothing is tried.
    pub min_size: usize,
    /// The compressed form is kept if it is so many times smaller at least.
    pub min_ratio: f64,
}

impl Default for Compression {
    fn default() -> Self {
        Compression::new(Algorithm::None)
    }
}

impl Compression {
    /// The usual bounds: from 1 KiB on, and only if a sixth is saved.
    pub fn new(algorithm: Algorithm) -> Self {
        Compression { algorithm, level: algorithm.levels().map_or(0, |(_, usual)| usual), min_size: 1024, min_ratio: 1.2 }
    }

    /// The compressed form; `None` if it doesn't pay.
    pub fn pack(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        if bytes.len() < self.min_size.max(1) {
            return None;
        }
        let packed = self.algorithm.pack(self.level, bytes)?;
        (packed.len() as f64 * self.min_ratio <= bytes.len() as f64).then_some(packed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_and_numbers_agree() {
        for (number, algorithm) in Algorithm::ALL.into_iter().enumerate() {
            assert_eq!(algorithm as usize, number);
            assert_eq!(Algorithm::numbered(number as u8), Some(algorithm));
            assert_eq!(Algorithm::named(algorithm.name()), Some(algorithm));
        }
        assert_eq!((Algorithm::numbered(5), Algorithm::named("lzma")), (None, None));
    }

    #[test]
    fn what_is_small_or_does_not_shrink_stays_as_it_is() {
        let noise: Vec<u8> =
            (0u32..500).flat_map(|n| crate::fingerprint::fingerprint(&n.to_le_bytes(), 1).to_le_bytes()).collect();
        for algorithm in Algorithm::ALL {
            let compression = Compression::new(algorithm);
            assert_eq!(compression.pack(&[7; 1023]), None);
            assert_eq!(compression.pack(&noise), None);
            assert_eq!(compression.pack(&[7; 1024]).is_some(), algorithm != Algorithm::None);
        }
    }

    proptest! {
        #[test]
        fn what_was_packed_comes_back_and_is_never_longer_than_said(
            words in prop::collection::vec(0u8..6, 1..4000), number in 1u8..5, other in 0usize..8000, flip in any::<(prop::sample::Index, u8)>(),
        ) {
            let algorithm = Algorithm::numbered(number).unwrap();
            let packed = algorithm.pack(Compression::new(algorithm).level, &words).unwrap();
            prop_assert_eq!(algorithm.unpack(&packed, words.len()), Some(words.clone()));
            if other != words.len() {
                prop_assert_eq!(algorithm.unpack(&packed, other), None);
            }
            let mut damaged = packed.clone();
            damaged[flip.0.index(packed.len())] ^= flip.1;
            prop_assert!(algorithm.unpack(&damaged, words.len()).is_none_or(|bytes| bytes.len() == words.len()));
        }
    }
}
