//! What every reader hands its rows to: takes those that are right, and refuses or counts the others.

use super::input::Input;
use super::{Builder, Facts, Key, Operation, Place, Row, Trace, TraceError};
use std::collections::BTreeMap;
use std::path::Path;

/// After so many rows it is seen whether they still fit.
const LOOK: usize = 1 << 16;
/// Keys may be long, so after so many bytes of them too.
const LOOK_BYTES: usize = 1 << 20;

/// What can be wrong with a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Flaw {
    /// Its time is before that of the row above.
    Time,
    /// It stores something of no bytes.
    Size,
    /// It names nothing.
    Key,
    /// A cell, or what stands for one, can't be read.
    Cell,
    /// It is cut off, or has more cells than there are columns.
    Length,
}

impl Flaw {
    /// What users read beside the number of rows that were skipped for it.
    pub fn reason(self) -> &'static str {
        match self {
            Flaw::Time => "time goes back",
            Flaw::Size => "size of 0",
            Flaw::Key => "no key",
            Flaw::Cell => "unreadable cell",
            Flaw::Length => "cells missing or left over",
        }
    }
}

/// A row that can't be used, and what would have been expected.
#[derive(Debug)]
pub(super) struct Wrong {
    pub flaw: Flaw,
    pub message: String,
}

impl Wrong {
    pub fn cell(message: impl Into<String>) -> Self {
        Wrong { flaw: Flaw::Cell, message: message.into() }
    }
}

/// See the head of this file.
pub(super) struct Intake<'a> {
    path: &'a Path,
    pub builder: Builder,
    /// Whether a row that is wrong is counted and left out.
    pub lenient: bool,
    /// Whether it is of another program's format. Of our own, facts are told, and sizes of 0 are wrong only where somebody weighs
    /// them: a recorder may not know better.
    pub foreign: bool,
    requests: Option<Requests<'a>>,
    /// Bytes that the trace may take.
    memory: u64,
    /// Bytes of keys since the last look at how much it takes.
    unlooked: usize,
    latest: u64,
    skipped: BTreeMap<Flaw, u64>,
}

impl<'a> Intake<'a> {
    pub fn new(path: &'a Path, lenient: bool, requests: Option<Requests<'a>>, memory: u64) -> Self {
        let builder = Builder::new(path, Facts::default());
        Intake { path, builder, lenient, foreign: true, requests, memory, unlooked: 0, latest: 0, skipped: BTreeMap::new() }
    }

    /// Takes the next row. `continues` says whether the row behind it is of the same request, unless another file says it.
    pub fn push(&mut self, place: Place, continues: bool, row: Result<Row, Wrong>) -> Result<(), TraceError> {
        let continues = match &mut self.requests {
            Some(requests) => !requests.ends()?,
            None => continues,
        };
        match row.and_then(|row| self.checked(row)) {
            Ok(row) => {
                self.unlooked += if let Key::Text(text) = row.key { text.len() } else { 0 };
                self.has_room().map_err(|message| TraceError { path: self.path.into(), place, message })?;
                self.latest = row.time;
                self.builder.push(&Row { continues, ..row });
                Ok(())
            }
            Err(wrong) if self.lenient => {
                *self.skipped.entry(wrong.flaw).or_default() += 1;
                self.builder.close(continues);
                Ok(())
            }
            Err(Wrong { message, .. }) => Err(TraceError { path: self.path.into(), place, message }),
        }
    }

    fn checked<'r>(&self, row: Row<'r>) -> Result<Row<'r>, Wrong> {
        if row.time < self.latest {
            let [time, latest] =
                [row.time, self.latest].map(|time| format!("{}.{:09}", time / 1_000_000_000, time % 1_000_000_000));
            let message =
                format!("its time, {time} s, is before that of the row above, {latest} s; expected times that don't go back");
            return Err(Wrong { flaw: Flaw::Time, message });
        }
        let stores = !matches!(row.operation, Operation::Delete | Operation::Look);
        if stores && row.size == 0 && (self.foreign || self.lenient) {
            return Err(Wrong { flaw: Flaw::Size, message: "its size is 0; expected at least 1 byte".into() });
        }
        Ok(row)
    }

    fn has_room(&mut self) -> Result<(), String> {
        let rows = self.builder.len();
        if self.builder.is_full() {
            return Err("more than 2^32 accesses; split the trace".into());
        }
        let looks = rows % LOOK == 0 || self.unlooked >= LOOK_BYTES;
        self.unlooked = if looks { 0 } else { self.unlooked };
        if looks && self.builder.held() > self.memory {
            let (held, memory) = (self.builder.held(), self.memory);
            return Err(format!(
                "the {rows} accesses above take {held} bytes of memory, and {memory} were free; split the trace"
            ));
        }
        Ok(())
    }

    /// The trace, if nothing is left over of the file that says which rows are one request.
    pub fn finish(mut self) -> Result<Trace, TraceError> {
        if let Some(requests) = &mut self.requests {
            requests.finish()?;
        }
        if self.foreign {
            let opaque = self.builder.numbers().is_some_and(numbered_by_appearance);
            self.builder.facts_mut().opaque = opaque;
        }
        let mut trace = self.builder.finish();
        trace.skipped = self.skipped;
        Ok(trace)
    }
}

/// Whether each new number is one more than the new number before.
fn numbered_by_appearance(numbers: &[u64]) -> bool {
    numbers.len() > 1 && numbers.windows(2).all(|pair| pair[1] == pair[0].wrapping_add(1))
}

/// One byte a row: 1 for the last of a request.
pub(super) struct Requests<'a> {
    path: &'a Path,
    input: Input<'a>,
}

impl<'a> Requests<'a> {
    pub fn open(path: &'a Path) -> Result<Self, TraceError> {
        Ok(Requests { path, input: Input::open(path)? })
    }

    /// Whether the next row is the last of its request.
    fn ends(&mut self) -> Result<bool, TraceError> {
        let (at, mut byte) = (self.input.at, [0]);
        if self.input.fill(&mut byte)? == 0 {
            return Err(TraceError::at(self.path, at, "ends here, but the trace goes on; expected one byte a row"));
        }
        match byte[0] {
            0 => Ok(false),
            1 => Ok(true),
            other => {
                Err(TraceError::at(self.path, at, format!("is {other:#04x}; expected 1 for the last row of a request, or 0")))
            }
        }
    }

    fn finish(&mut self) -> Result<(), TraceError> {
        let at = self.input.at;
        if self.input.fill(&mut [0])? == 0 {
            return Ok(());
        }
        Err(TraceError::at(self.path, at, format!("goes on, but the trace has {at} rows; expected one byte a row")))
    }
}
