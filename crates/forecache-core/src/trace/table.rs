//! Reads tables of text: CSV (or TSV, by its name) with a line of column names.

use super::input::Input;
use super::{Builder, Facts, Key, Operation, Place, Row, Trace, TraceError, unpacked_name};
use crate::expiry::NEVER;
use csv::StringRecord;
use std::path::Path;

/// What a column can be read as, and the names by which it is found if the user names none. The word that stands first is the one
/// that users write.
const FIELDS: [(&str, &[&str]); 7] = [
    ("key", &["key", "id", "obj_id", "object_id", "object", "obj", "key_id"]),
    ("size", &["size", "bytes", "obj_size", "object_size", "value_size", "length"]),
    ("time", &["time", "ts", "timestamp", "time_s", "time_ms", "time_us", "time_ns", "clock_time"]),
    ("op", &["op", "operation", "verb", "method"]),
    ("ttl", &["ttl", "ttl_s", "ttl_ms", "ttl_us", "ttl_ns", "time_to_live"]),
    ("owner", &["owner", "tenant", "user", "client", "client_id"]),
    ("request", &["request", "request_id", "req_id"]),
];
const KEY: usize = 0;
const SIZE: usize = 1;
const TIME: usize = 2;
const OP: usize = 3;
const TTL: usize = 4;
const OWNER: usize = 5;
const REQUEST: usize = 6;

const VERBS: [(Operation, &[&str]); 3] = [
    (Operation::Get, &["get", "read", "r", "gets", "hit", "miss", "load"]),
    (Operation::Set, &["set", "write", "w", "put", "add", "replace", "cas", "update"]),
    (Operation::Delete, &["delete", "del", "d", "remove", "trim", "discard", "evict", "invalidate"]),
];

const SECOND: u64 = 1_000_000_000;

/// Which column holds what: `key=id,size=bytes`. What isn't named is found by its usual names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Columns {
    names: [Option<String>; FIELDS.len()],
}

impl Columns {
    /// The fields that can be given.
    pub fn fields() -> impl Iterator<Item = &'static str> {
        FIELDS.iter().map(|(field, _)| *field)
    }

    /// Has `field` read from the column called `name`. Says what is wrong if there is no such field.
    pub fn set(&mut self, field: &str, name: &str) -> Result<(), String> {
        let Some(number) = FIELDS.iter().position(|(known, _)| *known == field) else {
            let allowed: Vec<&str> = Self::fields().collect();
            let nearest = nearest(field, &allowed);
            return Err(format!("{field:?} is no field of a trace (nearest: {nearest}); expected one of {}", allowed.join(", ")));
        };
        self.names[number] = Some(name.trim().into());
        Ok(())
    }

    /// Reads `field=column,…`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut columns = Columns::default();
        for part in text.split(',').filter(|part| !part.trim().is_empty()) {
            let (field, name) =
                part.split_once('=').ok_or_else(|| format!("{part:?} is not field=column, as in key=id,size=bytes"))?;
            columns.set(field.trim(), name)?;
        }
        Ok(columns)
    }

    /// The place of each field's column among those that there are.
    fn places(&self, there: &[&str]) -> Result<[Option<usize>; FIELDS.len()], String> {
        let mut places = [None; FIELDS.len()];
        for (number, (field, usual)) in FIELDS.iter().enumerate() {
            places[number] = match &self.names[number] {
                Some(name) => match there.iter().position(|column| column == name) {
                    Some(place) => Some(place),
                    None => {
                        return Err(format!("there is no column {name:?} for {field}; nearest: {}", nearest(name, there)));
                    }
                },
                None => usual.iter().find_map(|name| there.iter().position(|column| column.eq_ignore_ascii_case(name))),
            };
        }
        if places[KEY].is_none() {
            let message = format!("no column is known for the key; name it, as in key=id. There are: {}", there.join(", "));
            return Err(message);
        }
        if places[TTL].is_some() && places[TIME].is_none() {
            return Err("there are times to live, but no column of times to count them from; name it, as in time=ts".into());
        }
        Ok(places)
    }
}

/// The three of `all` that are most like `name`.
fn nearest(name: &str, all: &[&str]) -> String {
    let mut sorted = all.to_vec();
    sorted.sort_by_key(|other| strsim::damerau_levenshtein(&name.to_lowercase(), &other.to_lowercase()));
    sorted.truncate(3);
    sorted.join(", ")
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

/// Reads all of `input`.
pub(super) fn read(path: &Path, input: Input, columns: &Columns) -> Result<Trace, TraceError> {
    let tabs = unpacked_name(path).ends_with(".tsv");
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(if tabs { b'\t' } else { b',' })
        .trim(csv::Trim::All)
        .from_reader(input.into_reader());
    let names = reader.headers().map_err(|error| broken(path, &error))?.clone();
    let names: Vec<&str> = names.iter().map(|name| name.trim_start_matches('\u{feff}')).collect();
    let here = |line, message| TraceError { path: path.into(), place: Place::Line(line), message };
    let places = columns.places(&names).map_err(|message| here(1, message))?;
    let units = [TIME, TTL].map(|field| places[field].map_or(SECOND, |place| unit(names[place])));
    let mut builder = Builder::new(path, Facts::default());
    let (mut record, mut next) = (StringRecord::new(), StringRecord::new());
    let mut more = reader.read_record(&mut record).map_err(|error| broken(path, &error))?;
    let mut number = 0;
    while more {
        more = reader.read_record(&mut next).map_err(|error| broken(path, &error))?;
        let line = record.position().map_or(0, csv::Position::line);
        let table = Line { record: &record, places: &places, names: &names };
        let mut row = table.row(number, units).map_err(|message| here(line, message))?;
        let request = table.cell(REQUEST).filter(|request| !request.is_empty());
        row.continues = more && request.is_some_and(|request| places[REQUEST].and_then(|place| next.get(place)) == Some(request));
        if builder.is_full() {
            return Err(here(line, "more than 2^32 accesses; split the trace".into()));
        }
        builder.push(&row);
        number += 1;
        std::mem::swap(&mut record, &mut next);
    }
    Ok(builder.finish())
}

/// One line, and where to find what in it.
struct Line<'a> {
    record: &'a StringRecord,
    places: &'a [Option<usize>; FIELDS.len()],
    names: &'a [&'a str],
}

impl<'a> Line<'a> {
    fn cell(&self, field: usize) -> Option<&'a str> {
        self.record.get(self.places[field]?)
    }

    /// What is wrong with a cell.
    fn wrong(&self, field: usize, expected: &str) -> String {
        let name = self.places[field].map_or("", |place| self.names[place]);
        format!("{name} is {:?}; expected {expected}", self.cell(field).unwrap_or_default())
    }

    fn row(&self, number: u64, units: [u64; 2]) -> Result<Row<'a>, String> {
        let key = self.cell(KEY).filter(|key| !key.is_empty()).ok_or_else(|| self.wrong(KEY, "a key"))?;
        let size = self.cell(SIZE).map_or(Ok(1), str::parse).map_err(|_| self.wrong(SIZE, "bytes as a whole number"))?;
        let time = match self.cell(TIME) {
            None => number.saturating_mul(SECOND),
            Some(text) => {
                parse_time(text, units[0]).ok_or_else(|| self.wrong(TIME, "a time, not negative, as a decimal number"))?
            }
        };
        // Recordings of memcached and Redis write 0 for "for ever".
        let time_to_live = match self.cell(TTL) {
            None | Some("" | "0") => NEVER,
            Some(text) => parse_time(text, units[1]).ok_or_else(|| self.wrong(TTL, "a time to live as a decimal number"))?,
        };
        let operation = match self.cell(OP) {
            None => Operation::Get,
            Some(verb) => verbed(verb).ok_or_else(|| {
                let all: Vec<&str> = VERBS.iter().flat_map(|(_, verbs)| verbs.iter().copied()).collect();
                self.wrong(OP, &format!("one of {}", all.join(", ")))
            })?,
        };
        let owner = self.cell(OWNER).unwrap_or_default();
        Ok(Row { time, key: Key::parse(key), size, operation, time_to_live, owner, continues: false })
    }
}

fn verbed(verb: &str) -> Option<Operation> {
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
