//! What a file of our own format may ask of its reader: time and memory in proportion to its size, whoever wrote it.
//!
//! A block unpacks to at most [`EXPANSION`] times its packed bytes, and its records stand for at most [`EXPANSION`] accesses a packed
//! byte; a delete counts as one, because it finds only pages that are there. Honest blocks stay far below (a recorded disk has 1 to
//! 4 accesses a byte). One that is so regular that it would not is padded by its writer, so what can be written can be read.
//! In memory an access takes at most some 200 bytes, so a file takes at most 16 KiB for each of its bytes, beside a few MiB for any.

use super::Operation;

/// Records in a block, except the last.
pub const RECORDS: usize = 1 << 16;
/// Bytes of a block, packed or not: above what a writer makes.
pub const LARGEST: usize = 1 << 25;
/// Accesses, and unpacked bytes, for each packed byte of a block.
pub const EXPANSION: u64 = 64;
/// Accesses at which a block ends, so that none has to be padded to more than a MiB or so.
pub const ACCESSES: u64 = 1 << 26;
/// Bytes of the longest key or owner.
pub const NAME: usize = 1 << 20;
/// Bytes of new names at which a block ends.
pub const NAMES: usize = 1 << 24;
/// Bytes of facts; a description is some lines.
pub const FACTS: usize = 1 << 20;
/// Accesses in a trace: rows are numbered by 32 bits.
pub const ROWS: u64 = u32::MAX as u64 - 1;

/// What begins a frame that zstd skips.
const SKIPPED: u32 = 0x184D_2A50;
const FRAME: usize = 8;

/// Pages that one record may cover: 4 GiB of pages of 4 KiB, and all of a disk that is trimmed at once.
pub fn most_pages(operation: Operation) -> u64 {
    match operation {
        Operation::Delete => 1 << 32,
        _ => 1 << 20,
    }
}

/// What a record counts towards the accesses of its block.
pub fn charge(operation: Operation, pages: u64) -> u64 {
    if operation == Operation::Delete { 1 } else { pages }
}

/// What a block of so many packed bytes may unpack to and stand for.
pub fn allowed(packed: usize) -> u64 {
    EXPANSION * packed as u64
}

/// Lengthens a packed block until it may unpack to, or stand for, so much.
pub fn pad(packed: &mut Vec<u8>, wanted: u64) {
    if allowed(packed.len()) < wanted {
        let length = wanted.div_ceil(EXPANSION) as usize;
        let zeros = length.saturating_sub(packed.len() + FRAME);
        packed.extend(SKIPPED.to_le_bytes());
        packed.extend((zeros as u32).to_le_bytes());
        packed.resize(packed.len() + zeros, 0);
    }
}
