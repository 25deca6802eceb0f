//! Reads tables of text, of which a line of names or the user says what the columns hold, and the tables that Twitter and Meta published.

use super::bounds::most_pages;
use super::columns::{
    COST, COUNT, Columns, KEY, KEY_SIZE, OFFSET, OP, OWNER, Places, REQUEST, SHARD, SIZE, TIME, TTL, calls_a_key,
};
use super::input::Input;
use super::intake::{Flaw, Intake, Wrong};
use super::{Builder, Format, Key, Operation, Place, Row, Trace, TraceError, is_cost};
use crate::expiry::NEVER;
use csv::ByteRecord;
use std::io::{self, Read};
use std::path::Path;

/// The numbers are SCSI's, as in block traces of virtual machines.
const VERBS: [(Operation, &[&str]); 5] = [
    (Operation::Get, &["get", "read", "r", "gets", "hit", "miss", "load", "get_lease", "getchunkdata", "28", "88"]),
    (
        Operation::Set,
        &[
            "set",
            "write",
            "w",
            "put",
            "add",
            "replace",
            "cas",
            "update",
            "append",
            "prepend",
            "incr",
            "decr",
            "set_lease",
            "putchunk",
            "2a",
            "8a",
        ],
    ),
    (Operation::Delete, &["delete", "del", "d", "remove", "trim", "discard", "evict", "invalidate"]),
    (Operation::Fill, &["fill"]),
    (Operation::Look, &["look", "peek"]),
];

const SECOND: u64 = 1_000_000_000;
/// Bytes of the pieces by which Meta's block store caches.
const PIECE: u64 = 128 << 10;
/// Above it a time is of milliseconds: as seconds it would be the year 5138.
const MILLISECONDS: u64 = 100_000_000_000;

const TWITTER: [&str; 7] = ["timestamp", "key", "key_size", "value_size", "client_id", "op", "ttl"];
const LIBCACHESIM: [&str; 4] = ["time", "obj_id", "size", "next_access_vtime"];

/// What the columns of a published table hold, whose names are known.
fn known(format: Format) -> Option<&'static [(usize, &'static str)]> {
    match format {
        Format::Twitter => Some(&[
            (TIME, "timestamp"),
            (KEY, "key"),
            (KEY_SIZE, "key_size"),
            (SIZE, "value_size"),
            (OWNER, "client_id"),
            (OP, "op"),
            (TTL, "ttl"),
        ]),
        // Of four years, each with more columns than the one before.
        Format::MetaKv => Some(&[
            (KEY, "key"),
            (OP, "op"),
            (COUNT, "op_count"),
            (KEY_SIZE, "key_size"),
            (SIZE, "size"),
            (TIME, "op_time"),
            (TTL, "ttl"),
            (OWNER, "usecase"),
        ]),
        Format::MetaCdn => Some(&[(KEY, "cacheKey"), (SIZE, "objectSize"), (TIME, "timestamp"), (TTL, "TTL")]),
        Format::MetaBlock => Some(&[
            (KEY, "block_id"),
            (OFFSET, "io_offset"),
            (SIZE, "io_size"),
            (SHARD, "rs_shard_id"),
            (TIME, "op_time"),
            (OP, "op_name"),
            (COUNT, "op_count"),
            (OWNER, "user_name"),
        ]),
        _ => None,
    }
}

/// Whether those are the names of a table that Meta published.
pub(super) fn named_as(format: Format, names: &[&str]) -> bool {
    let told = if format == Format::MetaCdn { 2 } else { 3 };
    known(format).is_some_and(|known| known[..told].iter().all(|(_, name)| names.contains(name)))
}

/// Whether those are the cells of a row that Twitter published.
pub(super) fn is_twitter(cells: &[&str]) -> bool {
    let numbers = |places: &[usize]| places.iter().all(|&place| cells[place].parse::<u64>().is_ok());
    cells.len() == TWITTER.len() && numbers(&[0, 2, 3, 6]) && verbed(cells[5]).is_some()
}

/// Nanoseconds of one unit of a column, by the end of its name; seconds if it doesn't say.
fn unit(name: &str) -> u64 {
    match name.rsplit_once('_').map(|(_, unit)| unit.to_ascii_lowercase()).as_deref() {
        Some("ms") => SECOND / 1_000,
        Some("us") => SECOND / 1_000_000,
        Some("ns") => 1,
        _ => SECOND,
    }
}

/// A time written as a decimal number, in nanoseconds; what is finer is cut off.
fn parse_time(text: &str, unit: u64) -> Option<u64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() && fraction.is_empty() || !digits(whole) || !digits(fraction) {
        return None;
    }
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let places = fraction.len().min(9) as u32;
    let part: u64 = if places == 0 { 0 } else { fraction[..places as usize].parse().ok()? };
    whole.checked_mul(unit)?.checked_add(part * unit / 10u64.pow(places))
}

/// Bytes of a line, at most: a quote that is never closed must not be read into memory to the end of the file.
const LONGEST: usize = 1 << 22;

/// Lets so many bytes through.
struct Bounded<R> {
    inner: R,
    left: usize,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 {
            return Err(io::Error::other(format!("a line of more than {LONGEST} bytes; is a quote not closed?")));
        }
        let count = self.inner.read(buffer)?;
        self.left = self.left.saturating_sub(count);
        Ok(count)
    }
}

/// Reads all of `input`.
pub(super) fn read(
    path: &Path,
    mut input: Input,
    mut intake: Intake,
    format: Format,
    columns: &Columns,
) -> Result<Trace, TraceError> {
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .delimiter(delimiter(format, input.begin()?))
        .quoting(format != Format::Twitter)
        .trim(csv::Trim::All)
        .from_reader(Bounded { inner: input.into_reader(), left: LONGEST });
    let mut next_line = |record: &mut ByteRecord| {
        let line = reader.position().line();
        let more = reader.read_byte_record(record).map_err(|error| match error.kind() {
            // Such an error doesn't know where it is: in the line that begins here.
            csv::ErrorKind::Io(_) => TraceError { place: Place::Line(line), ..broken(path, &error) },
            _ => broken(path, &error),
        });
        reader.get_mut().left = LONGEST;
        more
    };
    let (mut record, mut next) = (ByteRecord::new(), ByteRecord::new());
    let mut more = next_line(&mut record)?;
    let (names, is_heading) = names(&record, format, columns);
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let here = |line, message| TraceError { path: path.into(), place: Place::Line(line), message };
    let places = columns.places(&names, known(format)).map_err(|message| here(1, message))?;
    if is_heading || more && (Line { record: &record, places: &places, names: &names }).is_heading() {
        more = next_line(&mut record)?;
    }
    let mut units = [TIME, TTL].map(|field| places[field].map_or(SECOND, |place| unit(names[place])));
    let first = Line { record: &record, places: &places, names: &names }.cell(TIME).and_then(|time| time.parse().ok());
    if format == Format::MetaCdn && first.is_some_and(|time: u64| time >= MILLISECONDS) {
        units[0] = SECOND / 1_000;
    }
    let mut number = 0;
    while more {
        more = next_line(&mut next)?;
        let line = Line { record: &record, places: &places, names: &names };
        let request = line.cell(REQUEST).filter(|request| !request.is_empty());
        let following = Line { record: &next, ..line }.cell(REQUEST);
        let grouped = request.is_some();
        let continues = more && grouped && following == request;
        let place = Place::Line(record.position().map_or(0, csv::Position::line));
        match line.row(number, units, &intake.builder) {
            Ok((row, times)) => line.push(&mut intake, place, (continues, grouped), row, times)?,
            Err(wrong) => intake.push(place, continues, Err(wrong))?,
        }
        number += 1;
        std::mem::swap(&mut record, &mut next);
    }
    intake.finish()
}

fn delimiter(format: Format, begin: &[u8]) -> u8 {
    let line = begin.split(|&byte| byte == b'\n').next().unwrap_or_default();
    match format {
        Format::Tsv => b'\t',
        Format::LibCacheSim if line.contains(&b'\t') && !line.contains(&b',') => b'\t',
        _ => b',',
    }
}

/// The columns' names, and whether the first line holds them. Where no line does, they are known, or numbered from 1.
fn names(first: &ByteRecord, format: Format, columns: &Columns) -> (Vec<String>, bool) {
    let text =
        |cell: &[u8]| String::from_utf8_lossy(cell).trim_start_matches('\u{feff}').trim_start_matches(['#', ' ']).to_string();
    let numbered = (1..=first.len()).map(|number| number.to_string());
    if columns.are_numbers() {
        return (numbered.collect(), false);
    }
    match format {
        Format::Twitter => (TWITTER.map(String::from).into(), false),
        Format::LibCacheSim if first.iter().any(is_number) => {
            let known = LIBCACHESIM.into_iter().map(String::from);
            (known.take(first.len()).chain(numbered.skip(LIBCACHESIM.len())).collect(), false)
        }
        _ => (first.iter().map(text).collect(), true),
    }
}

fn is_number(cell: &[u8]) -> bool {
    std::str::from_utf8(cell).is_ok_and(|cell| cell.parse::<f64>().is_ok())
}

/// One line, and where to find what in it.
#[derive(Clone, Copy)]
struct Line<'a> {
    record: &'a ByteRecord,
    places: &'a Places,
    names: &'a [&'a str],
}

impl<'a> Line<'a> {
    fn cell(&self, field: usize) -> Option<&'a str> {
        std::str::from_utf8(self.record.get(self.places[field]?)?).ok()
    }

    /// Whether it names columns, where none was expected to.
    fn is_heading(&self) -> bool {
        match self.places[SIZE].or(self.places[TIME]) {
            Some(_) => !self.record.iter().any(is_number),
            None => self.cell(KEY).is_some_and(calls_a_key),
        }
    }

    /// What is wrong with a cell.
    fn wrong(&self, field: usize, expected: &str) -> Wrong {
        let name = self.places[field].map_or("", |place| self.names[place]);
        Wrong::cell(format!("{name} is {:?}; expected {expected}", self.cell(field).unwrap_or_default()))
    }

    /// A whole number; `default` if there is no such column.
    fn number(&self, field: usize, default: u64, expected: &str) -> Result<u64, Wrong> {
        self.cell(field).map_or(Ok(default), |cell| cell.parse().map_err(|_| self.wrong(field, expected)))
    }

    /// The line's access, and how often it stands for it.
    fn row(&self, number: u64, units: [u64; 2], so_far: &Builder) -> Result<(Row<'a>, u64), Wrong> {
        if self.record.len() != self.names.len() {
            let (cells, columns) = (self.record.len(), self.names.len());
            let message = format!("{cells} cells where there are {columns} columns: the file is truncated or corrupt");
            return Err(Wrong { flaw: Flaw::Length, message });
        }
        if let Some(place) = self.record.iter().position(|cell| std::str::from_utf8(cell).is_err()) {
            return Err(Wrong::cell(format!("{} is no UTF-8 text", self.names[place])));
        }
        let key = self.cell(KEY).filter(|key| !key.is_empty());
        let key = key.ok_or_else(|| Wrong { flaw: Flaw::Key, ..self.wrong(KEY, "a key") })?;
        let time = match self.cell(TIME) {
            None => number.saturating_mul(SECOND),
            Some(text) => {
                parse_time(text, units[0]).ok_or_else(|| self.wrong(TIME, "a time, not negative, as a decimal number"))?
            }
        };
        // Recordings of memcached and Redis write 0 for "for ever", others -1.
        let time_to_live = match self.cell(TTL) {
            None | Some("" | "0" | "-1") => NEVER,
            Some(text) => parse_time(text, units[1]).ok_or_else(|| self.wrong(TTL, "a time to live as a decimal number"))?,
        };
        let operation = match self.cell(OP) {
            None => Operation::Get,
            Some(verb) => verbed(verb).ok_or_else(|| {
                let all: Vec<&str> = VERBS.iter().flat_map(|(_, verbs)| verbs.iter().copied()).collect();
                self.wrong(OP, &format!("one of {}", all.join(", ")))
            })?,
        };
        let key = Key::parse(key);
        let value = self.number(SIZE, 1, "bytes as a whole number")?;
        let size = match self.number(KEY_SIZE, 0, "bytes as a whole number")? {
            // A get that found nothing knows no size: it is what the key's value has been.
            key_size if self.places[KEY_SIZE].is_some() && value == 0 && operation == Operation::Get => {
                so_far.size_of(key).max(key_size)
            }
            key_size => value.saturating_add(key_size),
        };
        let cost = match self.cell(COST) {
            None | Some("") => 1.0,
            Some(text) => {
                text.parse().ok().filter(|&cost| is_cost(cost)).ok_or_else(|| self.wrong(COST, "a number of at least 0"))?
            }
        };
        let most = most_pages(Operation::Get);
        let expected = format!("how often it happened, 1 to {most}");
        let times = self.number(COUNT, 1, &expected)?;
        if !(1..=most).contains(&times) {
            return Err(self.wrong(COUNT, &expected));
        }
        let owner = self.cell(OWNER).unwrap_or_default();
        Ok((Row { time, key, size, operation, time_to_live, owner, continues: false, cost }, times))
    }

    /// Hands on what the line stands for; `continues` and `grouped` say whether the next line is of its request, and whether it names
    /// one.
    fn push(
        &self,
        intake: &mut Intake,
        place: Place,
        (continues, grouped): (bool, bool),
        row: Row,
        times: u64,
    ) -> Result<(), TraceError> {
        if self.places[OFFSET].is_some() {
            return match self.pieces(&row, times) {
                Ok((first, last)) => (0..times).try_for_each(|_| self.push_pieces(intake, place, row, (first, last))),
                Err(wrong) => intake.push(place, continues, Err(wrong)),
            };
        }
        // Who deletes a key again deletes nothing.
        let times = if row.operation == Operation::Delete { 1 } else { times };
        (1..=times).try_for_each(|time| intake.push(place, if time < times { grouped } else { continues }, Ok(row)))
    }

    /// The first and the last piece of a block that are read, `times` times.
    fn pieces(&self, row: &Row, times: u64) -> Result<(u64, u64), Wrong> {
        let offset = self.number(OFFSET, 0, "bytes as a whole number")?;
        let last = offset.saturating_add(row.size.saturating_sub(1)) / PIECE;
        let (pieces, most) = (last - offset / PIECE + 1, most_pages(Operation::Get) / times);
        if row.size == 0 {
            return Err(Wrong { flaw: Flaw::Size, ..self.wrong(SIZE, "at least 1 byte") });
        }
        if pieces > most {
            return Err(self.wrong(SIZE, &format!("at most {most} pieces of {PIECE} bytes")));
        }
        Ok((offset / PIECE, last))
    }

    fn push_pieces(&self, intake: &mut Intake, place: Place, row: Row, (first, last): (u64, u64)) -> Result<(), TraceError> {
        let (block, shard) = (row.key.text(), self.cell(SHARD).unwrap_or_default());
        (first..=last).try_for_each(|piece| {
            let key = format!("{block}:{shard}:{piece}");
            intake.push(place, piece < last, Ok(Row { key: Key::Text(&key), size: PIECE, ..row }))
        })
    }
}

/// The operation of that name; what follows a full stop only says how.
fn verbed(verb: &str) -> Option<Operation> {
    let verb = verb.split('.').next().unwrap_or_default();
    VERBS.iter().find(|(_, verbs)| verbs.iter().any(|known| known.eq_ignore_ascii_case(verb))).map(|(operation, _)| *operation)
}

/// The error of the CSV reader, which knows the line.
pub(super) fn broken(path: &Path, error: &csv::Error) -> TraceError {
    let place = error.position().map_or(Place::Whole, |position| Place::Line(position.line()));
    let message = match error.kind() {
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            format!("{len} cells where the first line names {expected_len} columns: the file is truncated or corrupt")
        }
        csv::ErrorKind::Utf8 { .. } => "is no UTF-8 text".into(),
        csv::ErrorKind::Io(error) => format!("can't be read on, so the file is truncated or corrupt: {error}"),
        _ => error.to_string(),
    };
    TraceError { path: path.into(), place, message }
}
