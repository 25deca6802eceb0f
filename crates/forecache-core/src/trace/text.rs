//! Reads the plain text of two papers' traces: blocks by number, without times or sizes.
//!
//! ARC (Megiddo, Modha 2003), mostly `.lis`: `first-block blocks ignored request` a line, one request of so many blocks.
//! LIRS (Jiang, Zhang 2002), mostly `.trc`: a block a line; a line of `*` parts phases.

use super::bounds::most_pages;
use super::input::{Input, broken};
use super::intake::{Flaw, Intake, Wrong};
use super::{Key, Operation, Place, Row, Trace, TraceError};
use std::io::{BufRead, Read};
use std::path::Path;

const SECOND: u64 = 1_000_000_000;
/// Bytes of a line; four numbers take less than 100.
const LONGEST: u64 = 4096;

/// Reads ARC's text. Requests are a second apart.
pub(super) fn read_arc(path: &Path, input: Input, mut intake: Intake) -> Result<Trace, TraceError> {
    each_line(path, input, |line, number, place| {
        let row = |block| Row::get(number * SECOND, Key::Number(block), 1);
        match arc(line) {
            Ok((first, last)) => (first..=last).try_for_each(|block| intake.push(place, block < last, Ok(row(block)))),
            Err(wrong) => intake.push(place, false, Err(wrong)),
        }
    })?;
    intake.finish()
}

/// Reads LIRS's text. Lines are a second apart.
pub(super) fn read_lirs(path: &Path, input: Input, mut intake: Intake) -> Result<Trace, TraceError> {
    each_line(path, input, |line, number, place| {
        if line == "*" {
            return Ok(());
        }
        let block = line.parse().map_err(|_| Wrong::cell(format!("{line:?} is no block; expected a whole number, or *")));
        intake.push(place, false, block.map(|block| Row::get(number * SECOND, Key::Number(block), 1)))
    })?;
    intake.finish()
}

/// The first and the last block of a request.
fn arc(line: &str) -> Result<(u64, u64), Wrong> {
    let cells: Vec<&str> = line.split_ascii_whitespace().collect();
    if cells.len() != 4 {
        let message = format!("{} numbers; expected 4: first block, number of blocks, 0, number of the request", cells.len());
        return Err(Wrong { flaw: Flaw::Length, message });
    }
    let number = |cell: &str| cell.parse().map_err(|_| Wrong::cell(format!("{cell:?} is no whole number")));
    let (first, blocks) = (number(cells[0])?, number(cells[1])?);
    let most = most_pages(Operation::Get);
    if !(1..=most).contains(&blocks) {
        return Err(Wrong::cell(format!("a request of {blocks} blocks; expected 1 to {most}")));
    }
    let last =
        first.checked_add(blocks - 1).ok_or_else(|| Wrong::cell("the request reaches beyond the largest block, 2^64 - 1"))?;
    Ok((first, last))
}

/// Hands on each line that isn't empty, with how many there were before, and where it is.
fn each_line(
    path: &Path,
    input: Input,
    mut each: impl FnMut(&str, u64, Place) -> Result<(), TraceError>,
) -> Result<(), TraceError> {
    let mut reader = input.into_reader();
    let (mut line, mut begin, mut number) = (Vec::new(), 0, 0);
    for place in (1..).map(Place::Line) {
        line.clear();
        let length = reader.by_ref().take(LONGEST).read_until(b'\n', &mut line).map_err(|error| broken(path, begin, &error))?;
        if length as u64 == LONGEST {
            return Err(TraceError {
                path: path.into(),
                place,
                message: format!("{LONGEST} bytes or more; expected a few numbers"),
            });
        }
        if length == 0 {
            return Ok(());
        }
        begin += length as u64;
        let text = String::from_utf8_lossy(&line);
        // Some editors put a mark before the first line.
        let text = text.trim_start_matches('\u{feff}').trim();
        if !text.is_empty() {
            each(text, number, place)?;
            number += 1;
        }
    }
    Ok(())
}
