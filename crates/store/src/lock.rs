//! Locks between processes. The system gives them back when their holder dies, however it dies.

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};

use nibble_container::lock::{self, Held, How};

use crate::{Error, Result};

/// A lock that is held until this is dropped.
#[derive(Debug)]
pub(crate) struct Lock {
    file: File,
    path: PathBuf,
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
            // A file system without locks is one where nobody else can hold one.
            if lock::hold(&file, how).map_err(Error::io(path, "lock"))? == Held::Taken {
                return Ok(None);
            }
            // Whoever held it before may have removed the file; then this lock is on nothing, and another may hold the new file's.
            if lock::is_still(&file, path) {
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
        lock::release(&self.file);
    }
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
