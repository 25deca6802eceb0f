//! Reads oracleGeneral, the binary format of libCacheSim's public traces.
//!
//! Rows of 24 bytes, little endian, packed: `u32` time (seconds), `u64` object id, `u32` size in bytes, `i64` the place of the
//! object's next request (-1 or the largest number for none). There is no header, so what can be checked is little: that rows are
//! whole, and that each names a place after its own.

use super::input::Input;
use super::intake::{Flaw, Intake, Wrong};
use super::{Key, Place, Row, Trace, TraceError};
use std::path::Path;

const ROW: usize = 24;
const ROWS: usize = 4096;
const SECOND: u64 = 1_000_000_000;
/// No trace is that long: a text taken for a trace would name such places.
const FARTHEST: i64 = 1 << 48;

/// Reads all of `input`.
pub(super) fn read(path: &Path, mut input: Input, mut intake: Intake) -> Result<Trace, TraceError> {
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
            let time = u64::from(u32::from_le_bytes(field(row, 0))) * SECOND;
            let size = u64::from(u32::from_le_bytes(field(row, 12)));
            let key = Key::Number(u64::from_le_bytes(field(row, 4)));
            intake.push(Place::Byte(byte), false, Ok(Row::get(time, key, size)))?;
        }
        if !rest.is_empty() {
            let message =
                format!("the last row has {} of its {ROW} bytes: the file is truncated or no oracleGeneral trace", rest.len());
            let byte = begin + (filled - rest.len()) as u64;
            intake.push(Place::Byte(byte), false, Err(Wrong { flaw: Flaw::Length, message }))?;
        }
        if filled < buffer.len() {
            break;
        }
    }
    if input.at == 0 {
        return Err(TraceError::at(path, 0, "the file is empty; expected rows of 24 bytes"));
    }
    intake.finish()
}

fn field<const N: usize>(row: &[u8], at: usize) -> [u8; N] {
    row[at..at + N].try_into().expect("the field lies inside the row")
}
