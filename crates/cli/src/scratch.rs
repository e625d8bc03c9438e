//! A temporary directory that goes when the program does, by whichever way it ends.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use anyhow::{Context, Result};

/// The directories that are still there.
static LIVE: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// A directory of our own below the system's temporary one.
pub struct Scratch(PathBuf);

impl Scratch {
    /// Makes it. The name has the process's number, and `create_dir` refuses one that is there already.
    pub fn new(name: &str) -> Result<Scratch> {
        let base = std::env::temp_dir();
        let path = base.join(format!("{name}-{}-{:08x}", std::process::id(), nibble_engine::sampler::random_seed()));
        std::fs::create_dir(&path).with_context(|| path.display().to_string())?;
        LIVE.lock().unwrap_or_else(|p| p.into_inner()).push(path.clone());
        Ok(Scratch(path))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
        LIVE.lock().unwrap_or_else(|p| p.into_inner()).retain(|p| *p != self.0);
    }
}

/// Removes all of them: for an end by a signal, which runs no destructors.
pub fn abandon_all() {
    for path in LIVE.lock().unwrap_or_else(|p| p.into_inner()).drain(..) {
        // The main thread may be putting a file there at this moment, for which the directory cannot go yet.
        for _ in 0..10 {
            if std::fs::remove_dir_all(&path).is_ok() || !path.exists() {
                break;
            }
        }
    }
}
