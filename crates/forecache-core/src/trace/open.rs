//! Opens a trace, whatever its format.

use super::input::Input;
use super::intake::{Intake, Requests};
use super::{Columns, Format, Trace, TraceError, file, oracle, table, text, unpacked_name};
use std::path::{Path, PathBuf};

/// How a file is to be read.
#[derive(Debug, Clone, Default)]
pub struct Reading {
    /// Its format; found by how it begins and by its name if it isn't said.
    pub format: Option<Format>,
    /// What a table's columns hold.
    pub columns: Option<Columns>,
    /// Counts and skips rows that can't be used.
    pub lenient: bool,
    /// Says which rows are one request: a file of one byte a row (1 for the last of a request), a folder that holds such a file called
    /// like the trace up to its first dot, or a table's column.
    pub group_requests: Option<PathBuf>,
    /// Bytes of memory that its rows may take; any if it isn't said.
    pub memory: Option<u64>,
}

impl Trace {
    /// Reads the file at `path`, whatever its format, wholly or not at all.
    pub fn open(path: &Path, columns: Option<&Columns>) -> Result<Trace, TraceError> {
        Self::open_as(path, &Reading { columns: columns.cloned(), ..Reading::default() })
    }

    /// Reads the file at `path` as it is said.
    pub fn open_as(path: &Path, reading: &Reading) -> Result<Trace, TraceError> {
        let mut input = Input::open(path)?;
        let name = unpacked_name(path);
        let mut columns = reading.columns.clone();
        let format = match reading.format {
            Some(format) => format,
            None => Format::guess(path, input.begin()?, &name, columns.as_ref())?,
        };
        if columns.is_some() && !format.is_table() {
            return Err(TraceError::whole(path, "is no table, so it has no columns to name"));
        }
        let file = match &reading.group_requests {
            Some(given) if given.is_dir() => Some(in_folder(path, given)?),
            Some(given) if given.exists() => Some(given.clone()),
            Some(given) if format.is_table() => {
                let column = given.to_string_lossy();
                columns.get_or_insert_default().set("request", &column).map_err(|message| TraceError::whole(path, message))?;
                None
            }
            Some(given) => {
                return Err(TraceError::whole(given, "is no file; expected one of one byte a row (1 for the last of a request)"));
            }
            None => None,
        };
        let requests = file.as_deref().map(Requests::open).transpose()?;
        let intake = Intake::new(path, reading.lenient, requests, reading.memory.unwrap_or(u64::MAX));
        match format {
            Format::Fctrace => file::read(path, input, intake),
            Format::Oracle => oracle::read(path, input, intake),
            Format::Arc => text::read_arc(path, input, intake),
            Format::Lirs => text::read_lirs(path, input, intake),
            table => table::read(path, input, intake, table, &columns.unwrap_or_default()),
        }
    }
}

/// The file in `folder` that belongs to the trace at `path`.
fn in_folder(path: &Path, folder: &Path) -> Result<PathBuf, TraceError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let name = name.split('.').next().unwrap_or_default();
    let names = [".zst", ".gz", ""].map(|suffix| format!("{name}{suffix}"));
    let found = names.iter().map(|name| folder.join(name)).find(|file| file.is_file());
    found.ok_or_else(|| {
        TraceError::whole(folder, format!("has no file for the trace {name}; expected one of {}", names.join(", ")))
    })
}
