//! Our own format, `.fctrace`: checked, compressed, and read wholly or not at all.
//!
//! ```text
//! header   "FCTRACE" 1A · u16 version · u32 length · facts · u32 check
//! block    'B' · u32 number · u32 records · u32 length · u32 packed length · u32 check · packed by zstd · u32 check
//! trailer  'E' · u32 blocks · u64 records · u64 accesses · u32 check
//! ```
//!
//! Numbers are little endian; the facts and all inside a block are varints ([`crate::number`]). Each check is the CRC-32 of what
//! lies between it and the check before. Blocks hold columns: time, key, pages, size, operation, time to live, owner,
//! whether more of the same request follows, and cost (since version 2, as the bits of an `f32`); times and keys as steps from the record before, and a column whose values all agree
//! as one value. A record of several pages stands for one access a page, in order, each of `size` bytes and all of one request.
//! Keys are numbers, or texts, which like owners are told once and numbered from then on.
//!
//! Reading takes time and memory in proportion to the file's size, at most 16 KiB a byte, even of a file made to take more: a block of
//! n packed bytes unpacks to at most 64 n bytes and stands for at most 64 n accesses, where a delete counts as one. A writer pads a
//! block that is more regular than that by a frame that zstd skips.

use super::block::Told;
use super::bounds::{EXPANSION, FACTS, LARGEST, RECORDS, allowed, charge};
use super::input::Input;
use super::intake::Intake;
use super::{ALL_KEYS, Facts, Key, Operation, Place, Row, Trace, TraceError};
use crate::number::{push, push_text, take, take_text};
use std::path::Path;

/// What the names of such files end with.
pub const SUFFIX: &str = ".fctrace";
/// The version that is written, and the latest that is read.
pub const VERSION: u16 = 2;

pub(super) const MAGIC: &[u8; 8] = b"FCTRACE\x1A";
pub(super) const BLOCK: u8 = b'B';
pub(super) const END: u8 = b'E';
/// Bytes of the header before its facts, of a block's head behind its letter, and of the trailer behind its.
const HEAD: usize = 14;
const BLOCK_HEAD: usize = 16;
const TRAILER: usize = 20;
const CHECK: usize = 4;
const OPAQUE: u64 = 1;
const TEXTS: u64 = 2;
const HASHED: u64 = 4;

/// Whether a file that begins like this is ours, if perhaps damaged.
pub(super) fn is_ours(begin: &[u8]) -> bool {
    begin.iter().zip(MAGIC).filter(|(one, other)| one == other).count() > MAGIC.len() / 2
}

/// The header of a new file.
pub(super) fn header(facts: &Facts, texts: bool) -> Vec<u8> {
    let mut body = Vec::new();
    push(&mut body, facts.page_size.into());
    push(&mut body, facts.device_size);
    let flags = [(facts.opaque, OPAQUE), (texts, TEXTS), (facts.hashed, HASHED)];
    push(&mut body, flags.into_iter().filter(|(holds, _)| *holds).map(|(_, flag)| flag).sum());
    push_text(&mut body, &facts.description);
    push(&mut body, facts.sampled.into());
    let mut out = MAGIC.to_vec();
    out.extend(VERSION.to_le_bytes());
    out.extend((body.len() as u32).to_le_bytes());
    out.extend(body);
    let check = crc32fast::hash(&out);
    out.extend(check.to_le_bytes());
    out
}

/// Reads all of `input`.
pub(super) fn read(path: &Path, input: Input, mut intake: Intake) -> Result<Trace, TraceError> {
    if input.packed {
        let message = "is packed by gzip or zstd as a whole; expected the trace itself, whose blocks are packed: unpack it first";
        return Err(TraceError::at(path, 0, message));
    }
    let mut reader = Reader { path, input, check: crc32fast::Hasher::new() };
    let (version, facts, texts) = reader.header()?;
    *intake.builder.facts_mut() = facts;
    intake.foreign = false;
    let mut told = Told::of_version(version);
    let (mut blocks, mut records, mut accesses) = (0u32, 0u64, 0u64);
    loop {
        let begin = reader.input.at;
        let at = |message: String| TraceError::at(path, begin, message);
        match reader.bytes(1, "a block or the trailer")?[0] {
            BLOCK => {}
            END => {
                reader.trailer(begin, blocks, records, accesses)?;
                return intake.finish();
            }
            other => return Err(at(format!("byte {other:#04x} where a block or the trailer begins: the file is corrupt"))),
        }
        let (count, packed, raw) = reader.block(begin, blocks)?;
        let (mut asked, most, mut refused) = (0, allowed(packed), None);
        told.read(&raw, count, texts, |row, pages| {
            asked += charge(row.operation, pages);
            if asked > most {
                let found = format!("its first records stand for {asked} accesses");
                return Err(format!("{found}; expected at most {most}, {EXPANSION} for each of its {packed} packed bytes"));
            }
            accesses = accesses.saturating_add(pages);
            expand(&mut intake, Place::Byte(begin), row, pages).map_err(|error| {
                refused = Some(error);
                String::new()
            })
        })
        .map_err(|wrong| refused.unwrap_or_else(|| at(format!("block {blocks} is corrupt: {wrong}"))))?;
        (blocks, records) = (blocks + 1, records + count as u64);
    }
}

/// One access a page; a delete of several, one a page that is there.
fn expand(intake: &mut Intake, place: Place, first: Row, pages: u64) -> Result<(), TraceError> {
    let Key::Number(number) = first.key else {
        return intake.push(place, first.continues, Ok(first));
    };
    let last = number + (pages - 1);
    let push = |intake: &mut Intake, page| {
        let row = Row { key: Key::Number(page), ..first };
        intake.push(place, first.continues || page < last, Ok(row))
    };
    if first.operation == Operation::Delete && pages > 1 {
        intake.builder.present(number..=last).into_iter().try_for_each(|number| push(intake, number))?;
        intake.builder.close(first.continues);
        return Ok(());
    }
    (number..=last).try_for_each(|number| push(intake, number))
}

struct Reader<'a> {
    path: &'a Path,
    input: Input<'a>,
    /// Over all bytes since the last check.
    check: crc32fast::Hasher,
}

impl Reader<'_> {
    fn at(&self, byte: u64, message: impl Into<String>) -> TraceError {
        TraceError::at(self.path, byte, message)
    }

    fn bytes(&mut self, count: usize, what: &str) -> Result<Vec<u8>, TraceError> {
        let mut bytes = vec![0; count];
        self.input.exactly(&mut bytes, what)?;
        self.check.update(&bytes);
        Ok(bytes)
    }

    /// Reads a check, which must be that of the bytes since the check before.
    fn checked(&mut self, from: u64, what: &str) -> Result<(), TraceError> {
        let computed = std::mem::take(&mut self.check).finalize();
        let mut stored = [0; CHECK];
        self.input.exactly(&mut stored, what)?;
        let stored = u32::from_le_bytes(stored);
        if stored != computed {
            return Err(self.at(from, format!("{what} is corrupt: its check is {stored:08x}, expected {computed:08x}")));
        }
        Ok(())
    }

    fn header(&mut self) -> Result<(u16, Facts, bool), TraceError> {
        let head = self.bytes(HEAD, "the header")?;
        let mut rest = head.as_slice();
        if !rest.starts_with(MAGIC) {
            return Err(self.at(0, "does not begin as a forecache trace does"));
        }
        rest = &rest[MAGIC.len()..];
        let version = u16::from_le_bytes(number(&mut rest));
        if version > VERSION {
            let message =
                format!("version {version} of the format, and this forecache reads up to {VERSION}: use a newer forecache");
            return Err(self.at(MAGIC.len() as u64, message));
        }
        let length = u32::from_le_bytes(number(&mut rest)) as usize;
        if length > FACTS || version == 0 {
            return Err(self.at(0, format!("the header is corrupt: version {version}, {length} bytes of facts")));
        }
        let facts = self.bytes(length, "the header")?;
        self.checked(0, "the header")?;
        let (facts, texts) =
            read_facts(&facts, version).ok_or_else(|| self.at(HEAD as u64, "the header's facts can't be read"))?;
        Ok((version, facts, texts))
    }

    /// A block's number of records, how many bytes it has packed, and all that it unpacks to.
    fn block(&mut self, begin: u64, blocks: u32) -> Result<(usize, usize, Vec<u8>), TraceError> {
        let what = format!("block {blocks}");
        let head = self.bytes(BLOCK_HEAD, &what)?;
        self.checked(begin, &what)?;
        let mut rest = head.as_slice();
        let [place, records, length, packed] = [(); 4].map(|()| u32::from_le_bytes(number(&mut rest)));
        if place != blocks {
            return Err(
                self.at(begin, format!("block {place} where block {blocks} should be: blocks are missing or out of order"))
            );
        }
        if records as usize > RECORDS || length as usize > LARGEST || packed as usize > LARGEST {
            let found = format!("{what} has {records} records, {length} bytes, packed {packed}");
            return Err(self.at(begin, format!("{found}; expected at most {RECORDS} records and {LARGEST} bytes")));
        }
        let most = allowed(packed as usize);
        if u64::from(length) > most {
            let found = format!("{what} unpacks to {length} bytes");
            let message = format!("{found}; expected at most {most}, {EXPANSION} for each of its {packed} packed bytes");
            return Err(self.at(begin, message));
        }
        let packed = self.bytes(packed as usize, &what)?;
        self.checked(begin, &what)?;
        match zstd::bulk::decompress(&packed, length as usize) {
            Ok(raw) if raw.len() == length as usize => Ok((records as usize, packed.len(), raw)),
            Ok(raw) => Err(self.at(begin, format!("{what} is corrupt: {} bytes, expected {length}", raw.len()))),
            Err(error) => Err(self.at(begin, format!("{what} can't be unpacked: {error}"))),
        }
    }

    fn trailer(&mut self, begin: u64, blocks: u32, records: u64, accesses: u64) -> Result<(), TraceError> {
        let sums = self.bytes(TRAILER, "the trailer")?;
        self.checked(begin, "the trailer")?;
        let mut rest = sums.as_slice();
        let told =
            (u32::from_le_bytes(number(&mut rest)), u64::from_le_bytes(number(&mut rest)), u64::from_le_bytes(number(&mut rest)));
        if told != (blocks, records, accesses) {
            let message = format!(
                "the trailer counts {told:?} blocks, records and accesses, the file has {:?}",
                (blocks, records, accesses)
            );
            return Err(self.at(begin, message));
        }
        let end = self.input.at;
        if self.input.fill(&mut [0])? > 0 {
            return Err(self.at(end, "the file goes on behind its trailer"));
        }
        Ok(())
    }
}

/// Takes a number of fixed length from bytes that are known to hold it.
fn number<const N: usize>(bytes: &mut &[u8]) -> [u8; N] {
    let (first, rest) = bytes.split_first_chunk().expect("the caller read enough");
    *bytes = rest;
    *first
}

fn read_facts(mut bytes: &[u8], version: u16) -> Option<(Facts, bool)> {
    let page_size = take(&mut bytes)?.try_into().ok()?;
    let device_size = take(&mut bytes)?;
    let flags = take(&mut bytes)?;
    let description = take_text(&mut bytes)?.into();
    // Version 1 knew neither hashed nor sampled keys, nor fills and looks.
    let sampled = if version < 2 { ALL_KEYS } else { take(&mut bytes)?.try_into().ok()? };
    let known = flags & !(OPAQUE | TEXTS | HASHED) == 0 && bytes.is_empty() && (1..=ALL_KEYS).contains(&sampled);
    let (opaque, hashed) = (flags & OPAQUE != 0, flags & HASHED != 0);
    known.then_some((Facts { page_size, device_size, opaque, hashed, sampled, description }, flags & TEXTS != 0))
}
