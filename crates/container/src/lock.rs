//! Locks of files and directories between processes. The system gives them back when their holder dies, however it dies, and it tells so also where the
//! processes cannot see each other: in containers, and on shared disks whose file system has locks. Numbers of processes tell nothing there, and are
//! given anew after a restart.

use std::fs::{self, File};
use std::io;
use std::path::Path;

/// How a lock is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// Several may hold it together. Waits.
    Shared,
    /// One alone holds it. Waits.
    Exclusive,
    /// One alone holds it. Does not wait.
    TryExclusive,
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Held {
    /// It is ours, until the file is closed or [`release`] is called.
    Ours,
    /// Another has it, and we do not wait.
    Taken,
    /// The file system has no locks.
    Unknown,
}

/// Takes the lock of an open file or directory.
#[cfg(unix)]
pub fn hold(file: &File, how: How) -> io::Result<Held> {
    use rustix::fs::{FlockOperation, flock};
    use rustix::io::Errno;
    let operation = match how {
        How::Shared => FlockOperation::LockShared,
        How::Exclusive => FlockOperation::LockExclusive,
        How::TryExclusive => FlockOperation::NonBlockingLockExclusive,
    };
    loop {
        match flock(file, operation) {
            Ok(()) => return Ok(Held::Ours),
            Err(Errno::NOSYS | Errno::NOTSUP | Errno::NOLCK) => return Ok(Held::Unknown),
            Err(Errno::INTR) => {}
            Err(Errno::WOULDBLOCK) => return Ok(Held::Taken),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Lets go of a lock.
#[cfg(unix)]
pub fn release(file: &File) {
    let _ = rustix::fs::flock(file, rustix::fs::FlockOperation::Unlock);
}

/// Whether a path still leads to an open file: whoever held the lock before may have removed the file, and then the lock is on nothing.
#[cfg(unix)]
pub fn is_still(file: &File, path: &Path) -> bool {
    matches!((file.metadata(), fs::metadata(path)), (Ok(a), Ok(b)) if identity(&a) == identity(&b))
}

/// What tells one file from every other, whatever the path to it.
#[cfg(unix)]
pub(crate) fn identity(found: &fs::Metadata) -> (u64, u64) {
    use std::os::unix::fs::MetadataExt;
    (found.dev(), found.ino())
}

/// Takes the lock of an open file.
#[cfg(not(unix))]
pub fn hold(file: &File, how: How) -> io::Result<Held> {
    let done = match how {
        How::Shared => file.lock_shared(),
        How::Exclusive => file.lock(),
        How::TryExclusive => match file.try_lock() {
            Ok(()) => Ok(()),
            Err(fs::TryLockError::WouldBlock) => return Ok(Held::Taken),
            Err(fs::TryLockError::Error(error)) => Err(error),
        },
    };
    match done {
        Ok(()) => Ok(Held::Ours),
        Err(error) if error.kind() == io::ErrorKind::Unsupported => Ok(Held::Unknown),
        Err(error) => Err(error),
    }
}

/// Lets go of a lock.
#[cfg(not(unix))]
pub fn release(file: &File) {
    let _ = file.unlock();
}

/// Whether a path still leads to an open file; elsewhere an open file is not removed.
#[cfg(not(unix))]
pub fn is_still(_: &File, _: &Path) -> bool {
    true
}
