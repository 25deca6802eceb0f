//! Hashes keys with a secret, so that a recording can be shared: the hashes tell which accesses are of the same key, and nothing else.
//!
//! SipHash-2-4 (Aumasson, Bernstein 2012) is a pseudorandom function: without its 128-bit key nobody can hash guessed names and compare.
//! A plain hash, seeded or not, would not do: names of real keys are few enough to try them all.

use siphasher::{sip, sip128};

/// What a hash was made with. It is worth keeping only where several traces have to agree on their keys.
#[derive(Clone)]
pub struct Secret(sip::SipHasher24);

impl Secret {
    /// A secret that nobody knows, from the system's own randomness.
    ///
    /// # Panics
    ///
    /// If the system has no randomness to give.
    pub fn random() -> Self {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).expect("the system gives random bytes");
        Secret(sip::SipHasher24::new_with_key(&bytes))
    }

    /// The secret that those bytes stand for: the same in every process. It is as hard to guess as they are, up to 128 bits.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let key = sip128::SipHasher24::new().hash(bytes).as_bytes();
        Secret(sip::SipHasher24::new_with_key(&key))
    }

    /// The hash of a key's text.
    pub fn hash(&self, text: &[u8]) -> u64 {
        self.0.hash(text)
    }

    /// What a trace of hashes names an owner: it may be called like a key, and mustn't be known by it. Nobody stays nobody.
    pub fn hashed_owner(&self, name: &str) -> String {
        if name.is_empty() { String::new() } else { self.hash(&[b"owner\0", name.as_bytes()].concat()).to_string() }
    }
}

/// Shows nothing: logs are read by others.
impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_the_published_siphash_2_4() {
        let key: Vec<u8> = (0..16).collect();
        let secret = Secret(sip::SipHasher24::new_with_key(&key.try_into().unwrap()));
        let text: Vec<u8> = (0..15).collect();
        assert_eq!(secret.hash(&text), 0xA129_CA61_49BE_45E5);
    }

    #[test]
    fn equal_secrets_agree_and_others_do_not() {
        let of = |bytes: &[u8]| Secret::from_bytes(bytes).hash(b"user:1");
        assert_eq!(of(b"the same words"), of(b"the same words"));
        assert_ne!(of(b"the same words"), of(b"other words"));
        assert_ne!(Secret::random().hash(b"user:1"), Secret::random().hash(b"user:1"));
        assert!(!format!("{:?}", Secret::from_bytes(b"abc")).contains("abc"));
    }
}
