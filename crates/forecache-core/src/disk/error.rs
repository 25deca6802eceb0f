//! What can go wrong with a directory: what was tried, where, and why it failed.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// See the head of this file.
#[derive(Debug)]
pub enum Error {
    /// The system refused something.
    Io {
        /// What was tried.
        doing: &'static str,
        /// Where.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The directory is somebody else's.
    Foreign {
        /// Where.
        path: PathBuf,
        /// A file in it that isn't ours.
        found: String,
    },
    /// The directory isn't one of ours.
    None(PathBuf),
    /// The directory was removed, or another one was put in its place.
    Gone(PathBuf),
    /// The directory can be read here, and not be written to.
    ReadOnly {
        /// Where.
        path: PathBuf,
        /// Why it can't.
        why: String,
    },
    /// Made by a newer forecache.
    Newer {
        /// Where.
        path: PathBuf,
        /// The number of its format.
        format: u64,
    },
    /// On a file system that other hosts see as well, whose locks and mappings can't be relied on.
    Remote {
        /// Where.
        path: PathBuf,
        /// The kind of file system.
        kind: &'static str,
    },
    /// Too small a capacity, in bytes.
    Capacity(u64),
    /// Not the name of a policy that scores an entry by itself.
    Policy(String),
    /// There is no room for another namespace.
    Namespaces(PathBuf),
    /// A record of so many bytes; at most so many can be stored.
    Large(u64, u64),
}

/// What most functions here return.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// Whether there is no space left on the device, or for the user.
    pub fn is_full(&self) -> bool {
        matches!(self, Error::Io { source, .. } if matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded))
    }

    /// Whether whoever tried may not write there.
    pub fn is_forbidden(&self) -> bool {
        let kinds = [io::ErrorKind::PermissionDenied, io::ErrorKind::ReadOnlyFilesystem];
        matches!(self, Error::Io { source, .. } if kinds.contains(&source.kind()))
    }

    /// Says what was tried and where.
    pub fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
        move |source| Error::Io { doing, path: path.into(), source }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Io { doing, path, source } => write!(f, "{doing} {}: {source}", path.display()),
            Error::Foreign { path, found } => {
                write!(f, "{} holds other files ({found}); give a directory that is empty, or doesn't exist", path.display())
            }
            Error::None(path) => write!(f, "{} is not the directory of a disk tier", path.display()),
            Error::Gone(path) => write!(f, "{} was removed, or another directory put in its place", path.display()),
            Error::ReadOnly { path, why } => write!(f, "{} can be read here, and not be written to: {why}", path.display()),
            Error::Newer { path, format } => {
                let known = super::shared::FORMAT;
                write!(f, "{} has format {format}, of a newer forecache; this one reads format {known}", path.display())
            }
            Error::Remote { path, kind } => {
                write!(f, "{} is on {kind}, a network file system; the disk tier needs a local one", path.display())
            }
            Error::Capacity(given) => {
                write!(f, "capacity: got {given}; allowed: at least {} bytes (8 MiB)", super::LEAST_CAPACITY)
            }
            Error::Policy(given) => {
                write!(f, "policy: got {given:?}; allowed on disk: {}", super::judge::Judge::NAMES.join(", "))
            }
            Error::Namespaces(path) => {
                write!(f, "{} holds {} namespaces already, which is the most", path.display(), super::shared::NAMESPACES - 1)
            }
            Error::Large(length, most) => write!(f, "a record of {length} bytes; at most {most} can be stored"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}
