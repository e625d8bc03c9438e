//! A place in the store for files that are being made, whose owner's death can be seen.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::lock::Lock;
use crate::{Error, Result, Store};

/// A directory of our own below `staging/`. It goes with its content when this is dropped; after a sudden death whoever finds it unlocked removes it.
#[derive(Debug)]
pub(crate) struct Staging {
    path: PathBuf,
    lock: Option<Lock>,
}

impl Staging {
    pub(crate) fn new(store: &Store) -> Result<Staging> {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let parent = store.make("staging")?;
        // Where nobody is at work, what the dead have left goes first.
        if let Some(_alone) = Lock::try_exclusive(&store.lock_path()?)? {
            bury(store);
        }
        // Whoever looks for the dead has the store's lock alone: he cannot come between our lock's file and our lock.
        let _store = Lock::shared(&store.lock_path()?)?;
        loop {
            let name = format!("{}-{}", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed));
            let path = parent.join(&name);
            let lock = parent.join(format!("{name}.lock"));
            let Some(lock) = Lock::try_exclusive(&lock)? else { continue };
            match fs::create_dir(&path) {
                Ok(()) => return Ok(Staging { path, lock: Some(lock) }),
                // Of an earlier process with our number, or of another machine's on a shared disk.
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(Error::io(&path, "create")(error)),
            }
        }
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
        if let Some(lock) = self.lock.take() {
            lock.remove();
        }
    }
}

/// Removes what the dead have left. The caller holds the store's lock alone. Gives the bytes that are free now.
pub(crate) fn bury(store: &Store) -> u64 {
    let mut freed = 0;
    let parent = store.root().join("staging");
    let Ok(list) = fs::read_dir(&parent) else { return 0 };
    let names: std::collections::BTreeSet<String> = list
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .map(|name| name.strip_suffix(".lock").map(str::to_string).unwrap_or(name))
        .collect();
    for name in names {
        let Ok(Some(lock)) = Lock::try_exclusive(&parent.join(format!("{name}.lock"))) else { continue };
        let path = parent.join(&name);
        freed += bytes_below(&path);
        let _ = fs::remove_dir_all(&path);
        lock.remove();
    }
    freed
}

/// Bytes of all files below a directory.
pub(crate) fn bytes_below(path: &Path) -> u64 {
    let Ok(list) = fs::read_dir(path) else { return 0 };
    let of = |entry: fs::DirEntry| match entry.file_type() {
        Ok(kind) if kind.is_dir() => bytes_below(&entry.path()),
        Ok(kind) if kind.is_file() => entry.metadata().map_or(0, |found| found.len()),
        _ => 0,
    };
    list.flatten().map(of).sum()
}
