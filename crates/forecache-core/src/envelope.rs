//! The stored form of a value below memory: one versioned, length-prefixed, checked record for every tier.
//!
//! ```text
//! u32 length of all that follows · u8 version · u8 codec · u8 compression · fields · varint 0 · payload · u64 check
//! ```
//!
//! Numbers are little endian. A field is its number as a varint, its length, and its bytes; one that holds its usual value is left
//! out. A field of an even number may be skipped by a reader who doesn't know it; one of an odd number may not: the record is as
//! good as absent. The check is the XXH3 of all before it, seeded by namespace and key, so that a record that strayed to another
//! key is known as such. It finds accidents; against forgers there are signatures.

use crate::compress::{Algorithm, Compression};
use crate::number::{push, take};
use std::borrow::Cow;
use std::hash::Hasher;
use std::mem::MaybeUninit;
use twox_hash::XxHash3_64;

/// The version that is written, and the latest that is read.
pub const VERSION: u8 = 1;
/// A time that never comes.
pub const NEVER: u64 = u64::MAX;

const LENGTH: usize = 4;
const CHECK: usize = 8;
/// Length, version, codec, compression, the end of no fields, check.
const SHORTEST: usize = LENGTH + 3 + 1 + CHECK;

const END: u64 = 0;
const RAW: u64 = 1;
const HARD: u64 = 3;
const GENERATION: u64 = 5;
const EPOCH: u64 = 7;
const WRITTEN: u64 = 2;
const SOFT: u64 = 4;
const NUMBER: u64 = 6;
const IDLE: u64 = 8;
const TAG: u64 = 10;
const OWNER: u64 = 12;
const COST: u64 = 14;
const FLAGS: u64 = 16;
const IMMUTABLE: u64 = 1;
const PINNED: u64 = 2;

/// What is stored beside a value.
#[derive(Debug, Clone, PartialEq)]
pub struct Fields<'a> {
    /// When it was written: milliseconds since 1970, as all times here.
    pub written: u64,
    /// From when on it should be loaded anew; [`NEVER`] for never.
    pub soft: u64,
    /// From when on it must not be used; [`NEVER`] for never.
    pub hard: u64,
    /// Milliseconds it may stay without an access; [`NEVER`] for ever.
    pub time_to_idle: u64,
    /// Counts what was stored under this key.
    pub version: u64,
    /// The owner, if any.
    pub owner: &'a str,
    /// How often the owner had been emptied.
    pub generation: u64,
    /// How often the namespace had been emptied.
    pub epoch: u64,
    /// Tags by which it can be invalidated.
    pub tags: Vec<&'a str>,
    /// How dear it is to load again.
    pub cost: f32,
    /// Refuses to be overwritten.
    pub immutable: bool,
    /// Is never evicted for space.
    pub pinned: bool,
}

impl Default for Fields<'_> {
    fn default() -> Self {
        Fields {
            written: 0,
            soft: NEVER,
            hard: NEVER,
            time_to_idle: NEVER,
            version: 0,
            owner: "",
            generation: 0,
            epoch: 0,
            tags: Vec::new(),
            cost: 1.0,
            immutable: false,
            pinned: false,
        }
    }
}

/// A record taken apart, its check found right.
#[derive(Debug, Clone, PartialEq)]
pub struct Envelope<'a> {
    /// The number of the codec that made the payload.
    pub codec: u8,
    /// How the payload is compressed.
    pub algorithm: Algorithm,
    /// What is stored beside it.
    pub fields: Fields<'a>,
    /// Bytes of the payload when it isn't compressed.
    pub length: usize,
    /// The payload as stored.
    pub packed: &'a [u8],
}

/// Why a record can't be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unreadable {
    /// Damaged, cut off, or of another key.
    Corrupt,
    /// Made by a newer forecache.
    Newer,
}

/// The XXH3 of bytes, by the widest instructions that the machine has.
fn sum(bytes: &[u8], seed: u64) -> u64 {
    XxHash3_64::oneshot_with_seed(seed, bytes)
}

/// What a key's records are bound to.
pub fn binding(namespace: &str, key: &str) -> u64 {
    sum(key.as_bytes(), sum(namespace.as_bytes(), 0))
}

/// The record of a payload. `None` if it would be longer than 4 GiB.
pub fn seal(codec: u8, compression: &Compression, fields: &Fields, payload: &[u8], binding: u64) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    seal_onto(&mut out, codec, compression, fields, payload, binding)?;
    Some(out)
}

/// Appends the record of a payload. `None` if it would be longer than 4 GiB: what was appended is of no use then.
pub fn seal_onto(
    out: &mut Vec<u8>,
    codec: u8,
    compression: &Compression,
    fields: &Fields,
    payload: &[u8],
    binding: u64,
) -> Option<()> {
    let packed = compression.pack(payload);
    let body = packed.as_deref().unwrap_or(payload);
    let start = out.len();
    out.reserve(body.len() + SHORTEST + 48);
    let algorithm = if packed.is_some() { compression.algorithm } else { Algorithm::None };
    push_head(out, (codec, algorithm), fields, payload.len(), body.len())?;
    out.extend_from_slice(body);
    let check = sum(&out[start..], binding);
    out.extend(check.to_le_bytes());
    Some(())
}

/// A record in pieces, which are no copy of a payload that isn't compressed.
pub struct Pieces<'a> {
    /// What comes before the payload.
    pub head: Vec<u8>,
    /// The payload as it is stored.
    pub body: Cow<'a, [u8]>,
    /// What comes behind it.
    pub check: [u8; CHECK],
}

/// The record that [`seal`] gives, in pieces. `None` if it would be longer than 4 GiB.
pub fn seal_pieces<'a>(
    codec: u8,
    compression: &Compression,
    fields: &Fields,
    payload: &'a [u8],
    binding: u64,
) -> Option<Pieces<'a>> {
    let (body, algorithm) = match compression.pack(payload) {
        Some(packed) => (Cow::Owned(packed), compression.algorithm),
        None => (Cow::Borrowed(payload), Algorithm::None),
    };
    let mut head = Vec::with_capacity(SHORTEST + 48);
    push_head(&mut head, (codec, algorithm), fields, payload.len(), body.len())?;
    let mut check = XxHash3_64::with_seed(binding);
    check.write(&head);
    check.write(&body);
    let check = check.finish().to_le_bytes();
    Some(Pieces { head, body, check })
}

/// Appends what comes before a payload of `length` bytes that takes `stored`.
fn push_head(
    out: &mut Vec<u8>,
    (codec, algorithm): (u8, Algorithm),
    fields: &Fields,
    length: usize,
    stored: usize,
) -> Option<()> {
    let start = out.len();
    out.extend([0; LENGTH]);
    out.extend([VERSION, codec, algorithm as u8]);
    if algorithm != Algorithm::None {
        push_number(out, RAW, length as u64);
    }
    push_fields(out, fields);
    push(out, END);
    let all = u32::try_from(out.len() - start - LENGTH + stored + CHECK).ok()?;
    out[start..start + LENGTH].copy_from_slice(&all.to_le_bytes());
    Some(())
}

fn push_fields(out: &mut Vec<u8>, fields: &Fields) {
    let Fields { written, soft, hard, time_to_idle, version, owner, generation, epoch, tags, cost, immutable, pinned } = fields;
    let flags = if *immutable { IMMUTABLE } else { 0 } | if *pinned { PINNED } else { 0 };
    let numbers = [
        (WRITTEN, *written, 0),
        (SOFT, *soft, NEVER),
        (HARD, *hard, NEVER),
        (IDLE, *time_to_idle, NEVER),
        (NUMBER, *version, 0),
        (GENERATION, *generation, 0),
        (EPOCH, *epoch, 0),
        (COST, cost.to_bits().into(), 1f32.to_bits().into()),
        (FLAGS, flags, 0),
    ];
    numbers.into_iter().filter(|(_, value, usual)| value != usual).for_each(|(field, value, _)| push_number(out, field, value));
    if !owner.is_empty() {
        push_bytes(out, OWNER, owner.as_bytes());
    }
    tags.iter().for_each(|tag| push_bytes(out, TAG, tag.as_bytes()));
}

fn push_bytes(out: &mut Vec<u8>, field: u64, bytes: &[u8]) {
    push(out, field);
    push(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn push_number(out: &mut Vec<u8>, field: u64, number: u64) {
    let bytes = number.to_le_bytes();
    push_bytes(out, field, &bytes[..8 - number.leading_zeros() as usize / 8]);
}

/// Takes a record apart. Nothing is copied and nothing unpacked.
pub fn open(record: &[u8], binding: u64) -> Result<Envelope<'_>, Unreadable> {
    check(record, binding)?;
    parse(record)
}

/// Whether a record is whole and belongs where it is read.
pub fn check(record: &[u8], binding: u64) -> Result<(), Unreadable> {
    if record.len() < SHORTEST {
        return Err(Unreadable::Corrupt);
    }
    let (body, check) = record.split_last_chunk::<CHECK>().ok_or(Unreadable::Corrupt)?;
    let length = body.first_chunk::<LENGTH>().ok_or(Unreadable::Corrupt)?;
    let whole = u32::from_le_bytes(*length) as usize == record.len() - LENGTH;
    if whole && u64::from_le_bytes(*check) == sum(body, binding) { Ok(()) } else { Err(Unreadable::Corrupt) }
}

/// Takes a record apart that was found right by [`check`].
pub fn parse(record: &[u8]) -> Result<Envelope<'_>, Unreadable> {
    let (codec, algorithm, mut rest) = begin(record)?;
    let (fields, length) = read_fields(&mut rest)?;
    Ok(Envelope { codec, algorithm, fields, length: length.unwrap_or(rest.len()), packed: rest })
}

/// [`Fields::version`] of a record that was found right by [`check`]; no more of it is looked at.
pub fn version(record: &[u8]) -> Result<u64, Unreadable> {
    let (_, _, mut rest) = begin(record)?;
    while let Some((field, bytes)) = read_field(&mut rest)? {
        if field == NUMBER {
            return number(bytes);
        }
    }
    Ok(Fields::default().version)
}

/// Codec, compression, and what follows them.
fn begin(record: &[u8]) -> Result<(u8, Algorithm, &[u8]), Unreadable> {
    let (body, _) = record.split_last_chunk::<CHECK>().ok_or(Unreadable::Corrupt)?;
    let rest = body.get(LENGTH..).ok_or(Unreadable::Corrupt)?;
    let (&[version, codec, algorithm], rest) = rest.split_first_chunk::<3>().ok_or(Unreadable::Corrupt)?;
    let algorithm = Algorithm::numbered(algorithm).filter(|_| version == VERSION).ok_or(Unreadable::Newer)?;
    Ok((codec, algorithm, rest))
}

/// The next field and its bytes; `None` at their end.
fn read_field<'a>(rest: &mut &'a [u8]) -> Result<Option<(u64, &'a [u8])>, Unreadable> {
    let field = take(rest).ok_or(Unreadable::Corrupt)?;
    if field == END {
        return Ok(None);
    }
    let size = take(rest).and_then(|size| usize::try_from(size).ok()).ok_or(Unreadable::Corrupt)?;
    let (bytes, behind) = rest.split_at_checked(size).ok_or(Unreadable::Corrupt)?;
    *rest = behind;
    Ok(Some((field, bytes)))
}

fn read_fields<'a>(rest: &mut &'a [u8]) -> Result<(Fields<'a>, Option<usize>), Unreadable> {
    let (mut fields, mut length) = (Fields::default(), None);
    while let Some((field, bytes)) = read_field(rest)? {
        match field {
            RAW => length = usize::try_from(number(bytes)?).ok(),
            WRITTEN => fields.written = number(bytes)?,
            SOFT => fields.soft = number(bytes)?,
            HARD => fields.hard = number(bytes)?,
            IDLE => fields.time_to_idle = number(bytes)?,
            NUMBER => fields.version = number(bytes)?,
            GENERATION => fields.generation = number(bytes)?,
            EPOCH => fields.epoch = number(bytes)?,
            COST => fields.cost = cost(number(bytes)?)?,
            FLAGS => {
                let flags = number(bytes)?;
                (fields.immutable, fields.pinned) = (flags & IMMUTABLE != 0, flags & PINNED != 0);
            }
            OWNER => fields.owner = text(bytes)?,
            TAG => fields.tags.push(text(bytes)?),
            unknown if unknown % 2 == 1 => return Err(Unreadable::Newer),
            _ => {}
        }
    }
    Ok((fields, length))
}

fn number(bytes: &[u8]) -> Result<u64, Unreadable> {
    let mut all = [0; 8];
    all.get_mut(..bytes.len()).ok_or(Unreadable::Corrupt)?.copy_from_slice(bytes);
    Ok(u64::from_le_bytes(all))
}

/// A cost is a number, and not below 0: what isn't would be worth nothing that can be compared.
fn cost(bits: u64) -> Result<f32, Unreadable> {
    let cost = f32::from_bits(u32::try_from(bits).map_err(|_| Unreadable::Corrupt)?);
    if cost.is_finite() && cost >= 0.0 { Ok(cost) } else { Err(Unreadable::Corrupt) }
}

fn text(bytes: &[u8]) -> Result<&str, Unreadable> {
    std::str::from_utf8(bytes).map_err(|_| Unreadable::Corrupt)
}

impl Envelope<'_> {
    /// The payload as it was given to [`seal`].
    pub fn unpack(&self) -> Result<Vec<u8>, Unreadable> {
        self.algorithm.unpack(self.packed, self.length).ok_or(Unreadable::Corrupt)
    }

    /// The same, into `length` bytes that are there already, all of which are set then.
    pub fn unpack_into(&self, bytes: &mut [MaybeUninit<u8>]) -> Result<(), Unreadable> {
        self.algorithm.unpack_into(self.packed, bytes).ok_or(Unreadable::Corrupt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sealed(payload: &[u8]) -> Vec<u8> {
        let tags = vec!["users", "büro"];
        let fields = Fields { written: 1_700_000_000_000, hard: 1_700_000_060_000, owner: "acme", tags, ..Fields::default() };
        seal(3, &Compression { min_size: 8, ..Compression::new(Algorithm::Lz4) }, &fields, payload, binding("n", "k")).unwrap()
    }

    /// What was once written stays readable: these bytes never change. (How a compressor makes them may.)
    #[test]
    fn a_record_of_version_1_is_read() {
        let hex = |at: usize| u8::from_str_radix(&SNAPSHOT[at..at + 2], 16).unwrap();
        let record: Vec<u8> = (0..SNAPSHOT.len()).step_by(2).map(hex).collect();
        let envelope = open(&record, binding("n", "k")).unwrap();
        assert_eq!((envelope.codec, envelope.algorithm, envelope.length), (3, Algorithm::Lz4, 32));
        assert_eq!((envelope.fields.owner, envelope.fields.tags.as_slice()), ("acme", ["users", "büro"].as_slice()));
        assert_eq!(envelope.unpack().unwrap(), [b'a'; 32]);
    }

    const SNAPSHOT: &str = "3f00000001030101012002060068e5cf8b0103066052e6cf8b010c0461636d650a0575736572730a0562c3bc726f001f6101000660616161616161e54148acfc0a002f";

    #[test]
    fn every_flipped_bit_and_every_cut_is_found() {
        let record = sealed(b"some value or other");
        let bound = binding("n", "k");
        for bit in 0..record.len() * 8 {
            let mut damaged = record.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(open(&damaged, bound), Err(Unreadable::Corrupt));
        }
        for end in 0..record.len() {
            assert_eq!(open(&record[..end], bound), Err(Unreadable::Corrupt));
        }
    }

    #[test]
    fn a_cost_that_is_no_number_or_below_0_is_damage() {
        for cost in [f32::NAN, f32::INFINITY, -1.0] {
            let fields = Fields { cost, ..Fields::default() };
            let record = seal(3, &Compression::new(Algorithm::None), &fields, b"value", binding("n", "k")).unwrap();
            assert_eq!(open(&record, binding("n", "k")), Err(Unreadable::Corrupt));
        }
    }

    #[test]
    fn a_record_belongs_to_its_key_and_namespace() {
        let record = sealed(b"some value or other");
        assert!(open(&record, binding("n", "k")).is_ok());
        for (namespace, key) in [("n", "l"), ("m", "k"), ("", "nk"), ("nk", "")] {
            assert_eq!(open(&record, binding(namespace, key)), Err(Unreadable::Corrupt));
        }
    }

    /// A record with one field more, its length and check right.
    fn with_field(field: u64) -> Vec<u8> {
        let record = sealed(b"value");
        let (body, _) = record.split_at(record.len() - CHECK);
        let mut more = body[..LENGTH + 3].to_vec();
        push_bytes(&mut more, field, b"from the future");
        more.extend(&body[LENGTH + 3..]);
        let length = (more.len() - LENGTH + CHECK) as u32;
        more[..LENGTH].copy_from_slice(&length.to_le_bytes());
        let check = sum(&more, binding("n", "k"));
        more.extend(check.to_le_bytes());
        more
    }

    #[test]
    fn an_unknown_field_is_skipped_if_its_number_is_even() {
        assert!(open(&with_field(1000), binding("n", "k")).is_ok_and(|envelope| envelope.packed == b"value"));
        assert_eq!(open(&with_field(1001), binding("n", "k")), Err(Unreadable::Newer));
    }

    proptest! {
        #[test]
        fn what_was_sealed_comes_back(
            payload in prop::collection::vec(0u8..4, 0..3000), codec: u8, number in 0u8..5, times: [u64; 4], counts: [u64; 3],
            (owner, tags, cost) in (".{0,9}", prop::collection::vec(".{0,9}", 0..4), 0f32..100.0), immutable: bool, pinned: bool,
        ) {
            let [written, soft, hard, time_to_idle] = times;
            let [version, generation, epoch] = counts;
            let tags: Vec<&str> = tags.iter().map(String::as_str).collect();
            let fields = Fields { written, soft, hard, time_to_idle, version, owner: &owner, generation, epoch, tags, cost, immutable, pinned };
            let compression = Compression::new(Algorithm::numbered(number).unwrap());
            let record = seal(codec, &compression, &fields, &payload, 7).unwrap();
            let envelope = open(&record, 7).unwrap();
            prop_assert_eq!((envelope.codec, &envelope.fields, envelope.length), (codec, &fields, payload.len()));
            prop_assert_eq!(envelope.unpack().unwrap(), &payload[..]);
            let pieces = seal_pieces(codec, &compression, &fields, &payload, 7).unwrap();
            prop_assert_eq!([&pieces.head[..], &pieces.body, &pieces.check].concat(), record);
        }
    }
}
