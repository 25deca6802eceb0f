//! Reads oracleGeneral, the binary format of libCacheSim's public traces.
//!
//! Rows of 24 bytes, little endian, packed: `u32` time (seconds), `u64` object id, `u32` size in bytes, `i64` the place of the
//! object's next request (-1 or the largest number for none). There is no header, so what can be checked is little: that rows are
//! whole, and that each names a place after its own.

use super::input::Input;
use super::{Builder, Facts, Key, Row, Trace, TraceError};
use std::path::Path;

const ROW: usize = 24;
const ROWS: usize = 4096;
const SECOND: u64 = 1_000_000_000;
/// No trace is that long: a text taken for a trace would name such places.
const FARTHEST: i64 = 1 << 48;

/// Reads all of `input`.
pub(super) fn read(path: &Path, mut input: Input) -> Result<Trace, TraceError> {
    let mut builder = Builder::new(path, Facts::default());
    let mut buffer = vec![0; ROW * ROWS];
    loop {
        let begin = input.at;
        let filled = input.fill(&mut buffer)?;
        let rows = buffer[..filled].chunks_exact(ROW);
        let rest = rows.remainder();
        for (number, row) in rows.enumerate() {
            let byte = begin + (number * ROW) as u64;
            let next = i64::from_le_bytes(field(row, 16));
            let here = (byte / ROW as u64) as i64;
            if next != i64::MAX && next != -1 && !(here + 1..=FARTHEST).contains(&next) {
                let message = format!(
                    "row {here} says that its object is next asked for in row {next}; expected -1 or a later row. Is this an oracleGeneral trace?"
                );
                return Err(TraceError::at(path, byte, message));
            }
            if builder.is_full() {
                return Err(TraceError::at(path, byte, "more than 2^32 accesses; split the trace"));
            }
            let time = u64::from(u32::from_le_bytes(field(row, 0))) * SECOND;
            let size = u64::from(u32::from_le_bytes(field(row, 12)));
            builder.push(&Row::get(time, Key::Number(u64::from_le_bytes(field(row, 4))), size));
        }
        if !rest.is_empty() {
            let message =
                format!("the last row has {} of its {ROW} bytes: the file is truncated or no oracleGeneral trace", rest.len());
            return Err(TraceError::at(path, begin + (filled - rest.len()) as u64, message));
        }
        if filled < buffer.len() {
            break;
        }
    }
    if builder.is_empty() {
        return Err(TraceError::at(path, 0, "the file is empty; expected rows of 24 bytes"));
    }
    let opaque = builder.numbers().is_some_and(numbered_by_appearance);
    builder.facts_mut().opaque = opaque;
    Ok(builder.finish())
}

fn field<const N: usize>(row: &[u8], at: usize) -> [u8; N] {
    row[at..at + N].try_into().expect("the field lies inside the row")
}

/// Whether each new number is one more than the new number before.
fn numbered_by_appearance(numbers: &[u64]) -> bool {
    numbers.len() > 1 && numbers.windows(2).all(|pair| pair[1] == pair[0].wrapping_add(1))
}
