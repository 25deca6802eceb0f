//! Turns the list of a block recorder into a trace of pages.
//!
//! The list is CSV, perhaps packed by gzip or zstd, with the columns `time_us,op,offset,length`: microseconds; `read`, `write` or
//! `trim`; the first byte on the device and how many. A trim becomes a delete of the pages; a request of no bytes touches none.

use super::bounds::most_pages;
use super::input::Input;
use super::table::broken;
use super::{Facts, Key, Operation, Place, Row, TraceError, create};
use crate::expiry::NEVER;
use std::path::Path;

const COLUMNS: [&str; 4] = ["time_us", "op", "offset", "length"];
const MICROSECOND: u64 = 1_000;

/// How much was imported.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Imported {
    /// Requests, each one record.
    pub requests: u64,
    /// The pages they cover: accesses.
    pub pages: u64,
}

/// Writes the requests listed in `source` as a trace at `target`. Pages are of `facts.page_size` bytes; a request beyond
/// `facts.device_size`, unless that is 0, is an error, and so is one of more pages than a record may cover.
pub fn import_blocks(source: &Path, target: &Path, facts: &Facts) -> Result<Imported, TraceError> {
    if facts.page_size == 0 {
        return Err(TraceError::whole(source, "the page size is 0; expected bytes of a page, as in 4096"));
    }
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(Input::open(source)?.into_reader());
    let wrong = |line: u64, message: String| TraceError { path: source.into(), place: Place::Line(line), message };
    let names = reader.headers().map_err(|error| broken(source, &error))?;
    if names.iter().ne(COLUMNS) {
        let given: Vec<&str> = names.iter().collect();
        return Err(wrong(1, format!("the columns are {}; expected {}", given.join(","), COLUMNS.join(","))));
    }
    create(target, facts, false, |writer| {
        let mut imported = Imported::default();
        for record in reader.records() {
            let record = record.map_err(|error| broken(source, &error))?;
            let line = record.position().map_or(0, csv::Position::line);
            let Some((row, pages)) = request(&record, facts).map_err(|message| wrong(line, message))? else {
                continue;
            };
            writer.push_pages(&row, pages).map_err(|error| wrong(line, format!("can't be written: {error}")))?;
            imported.requests += 1;
            imported.pages += pages;
        }
        Ok(imported)
    })
}

/// The access of a request's first page, and how many pages it covers. None if it covers no byte.
fn request(record: &csv::StringRecord, facts: &Facts) -> Result<Option<(Row<'static>, u64)>, String> {
    let number = |column: usize| {
        let text = &record[column];
        text.parse::<u64>().map_err(|_| format!("{} is {text:?}; expected a whole number", COLUMNS[column]))
    };
    let operation = match &record[1] {
        "read" => Operation::Get,
        "write" => Operation::Set,
        "trim" => Operation::Delete,
        other => return Err(format!("op is {other:?}; expected read, write or trim")),
    };
    let (time, offset, length) = (number(0)?, number(2)?, number(3)?);
    let time = time.checked_mul(MICROSECOND).ok_or("time_us is too large: it must fit 64 bits as nanoseconds")?;
    let device = if facts.device_size == 0 { u64::MAX } else { facts.device_size };
    let end = offset.checked_add(length).filter(|&end| end <= device);
    let end = end.ok_or_else(|| format!("{length} bytes at {offset} reach beyond the device of {device} bytes"))?;
    if length == 0 {
        return Ok(None);
    }
    let page = u64::from(facts.page_size);
    let first = offset / page;
    let row =
        Row { time, key: Key::Number(first), size: page, operation, time_to_live: NEVER, owner: "", continues: false, cost: 1.0 };
    let (pages, most) = ((end - 1) / page - first + 1, most_pages(operation));
    if pages > most {
        return Err(format!("a {} of {pages} pages of {page} bytes; expected at most {most}: split it", &record[1]));
    }
    Ok(Some((row, pages)))
}
