//! Blobs under the names of files, for who looks for a directory: a checkpoint, the parts of a split model or an adapter that came file by file.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use crate::staging::Staging;
use crate::store::is_plain_file_name;
use crate::{Digest, Error, Result, Store, pull};

/// A directory of links to blobs. It goes when this does.
#[derive(Debug)]
pub struct Bundle {
    path: PathBuf,
    _staging: Staging,
}

impl Store {
    /// A directory called `name` with a link for each file's name and blob.
    ///
    /// # Errors
    /// When a name is none of a file alone, or a blob is not there.
    pub fn bundle<'a>(&self, name: &str, files: impl IntoIterator<Item = (&'a str, Digest)>) -> Result<Bundle> {
        let plain = |name: &str| match is_plain_file_name(name) {
            true => Ok(()),
            false => Err(Error::Modelfile { line: 1, message: format!("{name:?} is not the name of a file") }),
        };
        plain(name)?;
        let staging = Staging::new(self)?;
        let path = staging.path().join(name);
        std::fs::create_dir(&path).map_err(Error::io(&path, "create"))?;
        let mut names = HashSet::new();
        for (name, digest) in files {
            plain(name)?;
            if !names.insert(name) {
                return Err(Error::Modelfile { line: 1, message: format!("two files are called {name:?}") });
            }
            if !self.has_blob(&digest) {
                return Err(Error::NoBlob { digest, of: None });
            }
            pull::link(&self.blob_path(&digest), &path.join(name))?;
        }
        Ok(Bundle { path, _staging: staging })
    }
}

impl Bundle {
    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }
}
