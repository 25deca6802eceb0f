//! A slot of the index: what is known of an entry before its record is read, in eight words.

/// An expiry that never comes.
pub const NEVER: u64 = (1 << 48) - 1;
/// The class of records that have a file of their own.
pub const LARGE: u8 = 127;
/// Words of a slot.
pub const WORDS: usize = 8;

const NUMBER_BITS: u32 = 40;
/// Lies above a slot's namespace.
const IMMUTABLE: u16 = 1 << 15;
const SEED: u64 = u64::from_le_bytes(*b"fc-index");
const MULTIPLIER: u64 = 0x9E37_79B9_7F4A_7C15;

/// Where a record lies, and what has to be known of it before it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The size class, or [`LARGE`].
    pub class: u8,
    /// The place in the class's file, or the number of the file.
    pub number: u64,
    /// Never evicted for space.
    pub pinned: bool,
    /// The lower bits of the namespace's epoch.
    pub epoch: u16,
}

impl Place {
    /// The numbers there can be.
    pub const NUMBERS: u64 = 1 << NUMBER_BITS;

    fn to_word(self) -> u64 {
        let Place { class, number, pinned, epoch } = self;
        number | u64::from(class) << NUMBER_BITS | u64::from(pinned) << 47 | u64::from(epoch) << 48
    }

    fn from_word(word: u64) -> Self {
        let (class, pinned) = ((word >> NUMBER_BITS) as u8 & 127, word >> 47 & 1 == 1);
        Place { class, number: word % Place::NUMBERS, pinned, epoch: (word >> 48) as u16 }
    }
}

/// An entry of the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    /// The hash of namespace, epoch and key; not 0.
    pub fingerprint: u64,
    /// Where the record lies.
    pub place: Place,
    /// The version that the record has.
    pub version: u64,
    /// Milliseconds since 1970, at most [`NEVER`].
    pub expiry: u64,
    /// Whose it is: a number of 15 bits.
    pub namespace: u16,
    /// Refuses to be overwritten.
    pub immutable: bool,
    /// A Bloom filter of owner and tags.
    pub labels: u32,
    /// Bytes of the record.
    pub length: u32,
    /// The access stamp.
    pub access: [u64; 2],
}

impl Slot {
    /// The word of that expiry, and of all that lies above it.
    pub(super) fn times(&self, expiry: u64) -> u64 {
        let above = self.namespace | if self.immutable { IMMUTABLE } else { 0 };
        expiry.min(NEVER) | u64::from(above) << 48
    }

    /// As it lies in the table: the fingerprint, what is checked, the access stamp, the check.
    pub(super) fn to_words(self) -> [u64; WORDS] {
        let sizes = u64::from(self.labels) | u64::from(self.length) << 32;
        let words = [self.fingerprint, self.place.to_word(), self.version, self.times(self.expiry), sizes];
        [words[0], words[1], words[2], words[3], words[4], self.access[0], self.access[1], check(words)]
    }

    /// `None` if it is half written, or damaged.
    #[inline]
    pub(super) fn from_words(words: [u64; WORDS]) -> Option<Self> {
        let [fingerprint, place, version, times, sizes, one, other, found] = words;
        let above = (times >> 48) as u16;
        (found == check([fingerprint, place, version, times, sizes])).then(|| Slot {
            fingerprint,
            place: Place::from_word(place),
            version,
            expiry: times & NEVER,
            namespace: above & !IMMUTABLE,
            immutable: above & IMMUTABLE != 0,
            labels: sizes as u32,
            length: (sizes >> 32) as u32,
            access: [one, other],
        })
    }
}

fn check(words: [u64; 5]) -> u64 {
    // The expiry, which readers put off without a lock, is left out: the record itself says when it must not be used any more.
    let [fingerprint, place, version, times, sizes] = words;
    [fingerprint, place, version, times >> 48, sizes].into_iter().fold(SEED, |hash, word| {
        let mixed = (hash ^ word).wrapping_mul(MULTIPLIER);
        mixed ^ mixed >> 29
    })
}
