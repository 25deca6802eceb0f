//! Fingerprints: what policies know keys by.

/// The seeded 64-bit hash of a key's text (XXH3, whose values are the same on every machine and in every version, unlike
/// Python's own hash, which differs per process).
#[inline]
pub fn fingerprint(key: &[u8], seed: u64) -> u64 {
    xxhash_rust::xxh3::xxh3_64_with_seed(key, seed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_are_the_published_xxh3() {
        assert_eq!(fingerprint(b"", 0), 0x2D06_8005_38D3_94C2);
        assert_ne!(fingerprint(b"user:1", 1), fingerprint(b"user:1", 2));
    }
}
