//! One writer at a time: a mutex among the threads of a process, and a lock on a file among processes.
//!
//! The kernel lets go of a file's lock when its holder dies, however it dies.

use super::error::{Error, Result};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use std::fs::File;
use std::ops::{Deref, DerefMut};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

/// Guards `T` in this process, and the directory among all.
pub struct Lock<T> {
    path: PathBuf,
    file: File,
    /// Device and number of the file.
    identity: (u64, u64),
    state: Mutex<T>,
}

/// The lock is held.
pub struct Held<'a, T> {
    file: &'a File,
    state: MutexGuard<'a, T>,
}

fn open(path: &Path) -> Result<File> {
    let mut options = File::options();
    options.read(true).write(true).create(true).truncate(false).open(path).map_err(Error::io("can't open", path))
}

impl<T> Lock<T> {
    /// The lock on that file, which is made if there is none.
    pub fn new(path: PathBuf, state: T) -> Result<Self> {
        let file = open(&path)?;
        Lock::on(file, path, state)
    }

    /// The same where nothing is changed: nobody takes it.
    pub fn to_read(path: PathBuf, state: T) -> Result<Self> {
        let file = File::open(&path).map_err(Error::io("can't open", &path))?;
        Lock::on(file, path, state)
    }

    fn on(file: File, path: PathBuf, state: T) -> Result<Self> {
        let identity = file.metadata().map(|found| (found.dev(), found.ino())).map_err(Error::io("can't open", &path))?;
        Ok(Lock { file, identity, path, state: Mutex::new(state) })
    }

    /// Whether the file is still what others find under its name.
    pub fn is_there(&self) -> bool {
        std::fs::metadata(&self.path).is_ok_and(|found| (found.dev(), found.ino()) == self.identity)
    }

    /// Takes the lock; `None` if it is taken and `wait` isn't asked for.
    pub fn take(&self, wait: bool) -> Result<Option<Held<'_, T>>> {
        let state = match self.state.try_lock() {
            Ok(state) => state,
            // Whoever panicked left the mark that calls for a repair.
            Err(TryLockError::Poisoned(state)) => state.into_inner(),
            Err(TryLockError::WouldBlock) if wait => self.state.lock().unwrap_or_else(PoisonError::into_inner),
            Err(TryLockError::WouldBlock) => return Ok(None),
        };
        let operation = if wait { FlockOperation::LockExclusive } else { FlockOperation::NonBlockingLockExclusive };
        loop {
            match flock(&self.file, operation) {
                Ok(()) => return Ok(Some(Held { file: &self.file, state })),
                Err(Errno::INTR) => {}
                Err(Errno::WOULDBLOCK) if !wait => return Ok(None),
                Err(errno) => return Err(Error::io("can't lock", &self.path)(errno.into())),
            }
        }
    }

    /// In the child of a fork: lets go of the parent's open file, and with it of the parent's lock. The mutex may be held by a thread that
    /// the child doesn't have; so this lock is not to be used any more.
    pub fn abandon(&self) -> Result<()> {
        let own = open(&self.path)?;
        // SAFETY: the number stays open and owned by `self.file`: only what it refers to is exchanged.
        let mut number = std::mem::ManuallyDrop::new(unsafe {
            <std::os::fd::OwnedFd as std::os::fd::FromRawFd>::from_raw_fd(std::os::fd::AsRawFd::as_raw_fd(&self.file))
        });
        rustix::io::dup2(&own, &mut number).map_err(|errno| Error::io("can't reopen", &self.path)(errno.into()))
    }
}

impl<T> Deref for Held<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.state
    }
}

impl<T> DerefMut for Held<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.state
    }
}

impl<T> Drop for Held<'_, T> {
    fn drop(&mut self) {
        // Before the mutex, which is let go as a field. Should it fail, closing the file still ends the lock.
        let _ = flock(self.file, FlockOperation::Unlock);
    }
}

/// The name of the network file system that a directory is on.
pub fn remote(_path: &Path) -> Option<&'static str> {
    #[cfg(target_os = "linux")]
    return match rustix::fs::statfs(_path).ok()?.f_type as u32 {
        0x6969 => Some("NFS"),
        0x517B | 0xFE53_4D42 | 0xFF53_4D42 => Some("SMB"),
        0x0102_1997 => Some("9p"),
        0x00C3_6400 => Some("Ceph"),
        0x5346_414F | 0x6B41_4653 => Some("AFS"),
        0x7375_7245 => Some("Coda"),
        0x0BD0_0BD0 => Some("Lustre"),
        _ => None,
    };
    #[cfg(not(target_os = "linux"))]
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_holds_it_at_a_time_in_a_process_and_among_open_files() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        let (one, other) = (Lock::new(path.clone(), 1).unwrap(), Lock::new(path, 2).unwrap());
        let held = one.take(false).unwrap().unwrap();
        assert!(one.take(false).unwrap().is_none());
        assert!(other.take(false).unwrap().is_none());
        drop(held);
        assert!(other.take(false).unwrap().is_some());
        assert!(one.take(true).unwrap().is_some());
    }

    #[test]
    fn a_file_that_was_removed_or_exchanged_is_not_there() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        let lock = Lock::new(path.clone(), ()).unwrap();
        assert!(lock.is_there());
        std::fs::remove_file(&path).unwrap();
        assert!(!lock.is_there());
        let other = Lock::new(path, ()).unwrap();
        assert!(!lock.is_there() && other.is_there());
    }

    #[test]
    fn a_lock_among_threads_counts_right() {
        let directory = tempfile::tempdir().unwrap();
        let lock = Lock::new(directory.path().join("lock"), 0).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..250).for_each(|_| *lock.take(true).unwrap().unwrap() += 1));
            }
        });
        assert_eq!(*lock.take(true).unwrap().unwrap(), 1000);
    }
}
