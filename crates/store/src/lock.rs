//! Locks between processes. The system gives them back when their holder dies, however it dies.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// A lock that is held until this is dropped.
#[derive(Debug)]
pub(crate) struct Lock {
    file: File,
    path: PathBuf,
}

#[derive(Clone, Copy, PartialEq)]
enum How {
    Shared,
    Exclusive,
    TryExclusive,
}

impl Lock {
    /// Several may hold it together. Waits.
    pub(crate) fn shared(path: &Path) -> Result<Lock> {
        Lock::take(path, How::Shared).map(|lock| lock.expect("waits until it has it"))
    }

    /// One alone holds it. Waits.
    pub(crate) fn exclusive(path: &Path) -> Result<Lock> {
        Lock::take(path, How::Exclusive).map(|lock| lock.expect("waits until it has it"))
    }

    /// One alone holds it; `None` where somebody has it already.
    pub(crate) fn try_exclusive(path: &Path) -> Result<Option<Lock>> {
        Lock::take(path, How::TryExclusive)
    }

    fn take(path: &Path, how: How) -> Result<Option<Lock>> {
        loop {
            let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
            let file = file.map_err(Error::io(path, "open the lock"))?;
            if !hold(&file, how).map_err(Error::io(path, "lock"))? {
                return Ok(None);
            }
            // Whoever held it before may have removed the file; then this lock is on nothing, and another may hold the new file's.
            if is_still(&file, path) {
                return Ok(Some(Lock { file, path: path.to_path_buf() }));
            }
        }
    }

    /// Lets go, and removes the file. Only for exclusive locks.
    pub(crate) fn remove(self) {
        // Elsewhere a file that somebody waits at cannot be removed safely.
        if cfg!(unix) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        release(&self.file);
    }
}

/// `false` where another has it and we do not wait. A file system without locks is one where nobody else can hold one.
#[cfg(unix)]
fn hold(file: &File, how: How) -> io::Result<bool> {
    use rustix::fs::{FlockOperation, flock};
    use rustix::io::Errno;
    let operation = match how {
        How::Shared => FlockOperation::LockShared,
        How::Exclusive => FlockOperation::LockExclusive,
        How::TryExclusive => FlockOperation::NonBlockingLockExclusive,
    };
    loop {
        match flock(file, operation) {
            Ok(()) | Err(Errno::NOSYS | Errno::NOTSUP | Errno::NOLCK) => return Ok(true),
            Err(Errno::INTR) => {}
            Err(Errno::WOULDBLOCK) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(unix)]
fn release(file: &File) {
    let _ = rustix::fs::flock(file, rustix::fs::FlockOperation::Unlock);
}

#[cfg(unix)]
fn is_still(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    matches!((file.metadata(), fs::metadata(path)), (Ok(a), Ok(b)) if (a.dev(), a.ino()) == (b.dev(), b.ino()))
}

#[cfg(not(unix))]
fn hold(file: &File, how: How) -> io::Result<bool> {
    let unsupported = |error: &io::Error| error.kind() == io::ErrorKind::Unsupported;
    let done = match how {
        How::Shared => file.lock_shared(),
        How::Exclusive => file.lock(),
        How::TryExclusive => match file.try_lock() {
            Ok(()) => Ok(()),
            Err(fs::TryLockError::WouldBlock) => return Ok(false),
            Err(fs::TryLockError::Error(error)) => Err(error),
        },
    };
    match done {
        Err(error) if !unsupported(&error) => Err(error),
        _ => Ok(true),
    }
}

#[cfg(not(unix))]
fn release(file: &File) {
    let _ = file.unlock();
}

#[cfg(not(unix))]
fn is_still(_: &File, _: &Path) -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_alone_or_several_together() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let (a, b) = (Lock::shared(&path).unwrap(), Lock::shared(&path).unwrap());
        assert!(Lock::try_exclusive(&path).unwrap().is_none());
        drop((a, b));
        let one = Lock::exclusive(&path).unwrap();
        assert!(Lock::try_exclusive(&path).unwrap().is_none());
        one.remove();
        assert!(Lock::try_exclusive(&path).unwrap().is_some());
    }

    #[test]
    fn a_lock_whose_file_was_removed_meanwhile_is_taken_on_the_new_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let count = std::sync::Mutex::new(0);
        // Each removes the file that the others wait at; no two may ever be inside together.
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let lock = Lock::exclusive(&path).unwrap();
                        *count.try_lock().expect("nobody else is inside") += 1;
                        lock.remove();
                    }
                });
            }
        });
        assert_eq!(*count.lock().unwrap(), 400);
    }
}
