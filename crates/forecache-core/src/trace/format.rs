//! Which format a file has, by what the user says, by how it begins, or by its name.

use super::columns::nearest;
use super::table::{is_twitter, named_as};
use super::{Columns, TraceError, file};
use std::path::Path;

/// A format that can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// Our own.
    Fctrace,
    /// libCacheSim's binary one.
    Oracle,
    /// A table with commas, usually with a line of column names.
    Csv,
    /// The same with tabs.
    Tsv,
    /// A table as libCacheSim reads and prints it: time, object and size, with or without a line of names.
    LibCacheSim,
    /// The text of the ARC paper's traces: first block, number of blocks, 0, number of the request.
    Arc,
    /// The text of the LIRS paper's traces: a block a line.
    Lirs,
    /// The public traces of Twitter's cache clusters.
    Twitter,
    /// Meta's public traces of a key-value cache.
    MetaKv,
    /// Those of a content delivery network.
    MetaCdn,
    /// Those of a block store.
    MetaBlock,
}

impl Format {
    /// All formats, by the names that users write.
    pub const NAMES: [(&str, Format); 11] = [
        ("fctrace", Format::Fctrace),
        ("oracle", Format::Oracle),
        ("csv", Format::Csv),
        ("tsv", Format::Tsv),
        ("libcachesim", Format::LibCacheSim),
        ("arc", Format::Arc),
        ("lirs", Format::Lirs),
        ("twitter", Format::Twitter),
        ("meta-kv", Format::MetaKv),
        ("meta-cdn", Format::MetaCdn),
        ("meta-block", Format::MetaBlock),
    ];

    /// The format of that name. Says which there are if there is none.
    pub fn named(name: &str) -> Result<Self, String> {
        let found = Self::NAMES.iter().find(|(known, _)| *known == name);
        found.map(|&(_, format)| format).ok_or_else(|| {
            let all = Self::NAMES.map(|(known, _)| known);
            format!("{name:?} is no format of a trace (nearest: {}); expected one of {}", nearest(name, &all), all.join(", "))
        })
    }

    /// Whether it is a table, whose columns can be named.
    pub fn is_table(self) -> bool {
        !matches!(self, Format::Fctrace | Format::Oracle | Format::Arc | Format::Lirs)
    }

    /// The format of a file that begins so, and whose name, without the suffix of a packing and in small letters, is `name`.
    pub(super) fn guess(path: &Path, begin: &[u8], name: &str, columns: Option<&Columns>) -> Result<Self, TraceError> {
        if file::is_ours(begin) || name.ends_with(file::SUFFIX) {
            return Ok(Format::Fctrace);
        }
        let text = text(begin);
        let line = text.and_then(|text| text.lines().find(|line| !line.trim().is_empty())).unwrap_or_default();
        let suffix = name.rsplit_once('.').map_or("", |(_, suffix)| suffix);
        match suffix {
            _ if columns.is_some() => Ok(if suffix == "tsv" { Format::Tsv } else { Format::Csv }),
            "tsv" => Ok(Format::Tsv),
            "lis" => Ok(Format::Arc),
            "lirs" | "trc" => Ok(Format::Lirs),
            "csv" => Ok(known_table(line).unwrap_or(Format::Csv)),
            _ if text.is_none() || line.is_empty() => Ok(Format::Oracle),
            _ => by_line(line).ok_or_else(|| {
                let all = Self::NAMES.map(|(known, _)| known).join(", ");
                TraceError::at(path, 0, format!("is a text of no format that is known; name its format: one of {all}"))
            }),
        }
    }
}

/// The begin of a file as a text, if it is one; a letter of several bytes may be cut off at the end.
fn text(begin: &[u8]) -> Option<&str> {
    let text = match std::str::from_utf8(begin) {
        Ok(text) => text,
        Err(error) if error.error_len().is_none() => std::str::from_utf8(&begin[..error.valid_up_to()]).ok()?,
        Err(_) => return None,
    };
    let is_text = |letter: char| !letter.is_control() || letter.is_ascii_whitespace();
    text.chars().all(is_text).then_some(text)
}

/// The published table that a line is the first of.
fn known_table(line: &str) -> Option<Format> {
    let cells: Vec<&str> = line.split(',').map(str::trim).collect();
    if is_twitter(&cells) {
        return Some(Format::Twitter);
    }
    [Format::MetaKv, Format::MetaCdn, Format::MetaBlock].into_iter().find(|&format| named_as(format, &cells))
}

fn by_line(line: &str) -> Option<Format> {
    let numbers = |line: &str| line.split_ascii_whitespace().all(|number| number.parse::<u64>().is_ok());
    match line.split_ascii_whitespace().count() {
        4 if numbers(line) => Some(Format::Arc),
        1 if numbers(line) || line.trim() == "*" => Some(Format::Lirs),
        _ if line.contains(',') => Some(known_table(line).unwrap_or(Format::Csv)),
        _ if line.contains('\t') => Some(Format::Tsv),
        _ => None,
    }
}
