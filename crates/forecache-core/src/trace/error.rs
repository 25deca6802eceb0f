//! What is wrong with a trace, and where.

use std::fmt;
use std::path::{Path, PathBuf};

/// Where in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Nowhere in particular.
    Whole,
    /// Bytes from its begin (of what it unpacks to, if it is compressed as a whole).
    Byte(u64),
    /// A line, from 1.
    Line(u64),
    /// An access, from 0.
    Row(u64),
}

/// A trace that can't be used. Nothing of it is given to anybody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceError {
    /// The file.
    pub path: PathBuf,
    /// Where in it.
    pub place: Place,
    /// What is there and what was expected.
    pub message: String,
}

impl TraceError {
    /// About the file as a whole.
    pub fn whole(path: &Path, message: impl Into<String>) -> Self {
        TraceError { path: path.into(), place: Place::Whole, message: message.into() }
    }

    /// At a byte.
    pub fn at(path: &Path, byte: u64, message: impl Into<String>) -> Self {
        TraceError { path: path.into(), place: Place::Byte(byte), message: message.into() }
    }
}

impl fmt::Display for TraceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match self.place {
            Place::Whole => write!(f, "{path}: {}", self.message),
            Place::Byte(byte) => write!(f, "{path}, byte {byte}: {}", self.message),
            Place::Line(line) => write!(f, "{path}, line {line}: {}", self.message),
            Place::Row(row) => write!(f, "{path}, row {row}: {}", self.message),
        }
    }
}

impl std::error::Error for TraceError {}
