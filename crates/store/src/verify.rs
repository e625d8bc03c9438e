//! Whether what is in the store is what its names say, and what is left over.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use crate::blobs::{Telling, hash};
use crate::lock::Lock;
use crate::manifest::Layer;
use crate::{Digest, Error, Listener, Name, Progress, Result, Store, Work, pull, staging};

/// What is wrong with a blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Damage {
    /// A model is made of it, and it is not there.
    Missing,
    /// It has another length than the manifest says.
    Length {
        /// By the manifest.
        expected: u64,
        /// By the file.
        found: u64,
    },
    /// Its bytes are not those of its name.
    Content {
        /// The SHA-256 that they have.
        found: Digest,
    },
}

/// What [`Store::verify`] found.
#[derive(Debug, Default)]
pub struct Verified {
    /// Models whose manifest and blobs are as they should be.
    pub models: Vec<Name>,
    /// Blobs that were read, and their bytes.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Blobs that are not as they should be, with the models that are made of them.
    pub damaged: Vec<(Digest, Damage, Vec<Name>)>,
    /// Manifests that cannot be read.
    pub faults: Vec<Error>,
    /// Bytes of what dead processes had left half made, removed by now.
    pub buried: u64,
    /// Whole blobs that no model is made of, and their bytes.
    pub unused: Vec<(Digest, u64)>,
    /// Downloads that were broken off and can be resumed: file and bytes that are there.
    pub partial: Vec<(PathBuf, u64)>,
    /// Whether damaged and unused blobs and broken downloads were removed.
    pub repaired: bool,
}

impl Verified {
    /// Whether every model is whole.
    pub fn is_sound(&self) -> bool {
        self.damaged.is_empty() && self.faults.is_empty()
    }
}

impl Store {
    /// Hashes every blob and compares what is there with what the manifests say. What dead processes left half made is removed. With `repair`
    /// so are damaged blobs (pulling the model again then fetches just them), blobs that no model is made of, and downloads that were broken off.
    pub fn verify(&self, repair: bool, listener: Listener, cancel: &AtomicBool) -> Result<Verified> {
        let mut verified = Verified { repaired: repair, ..Verified::default() };
        if !self.root().exists() {
            return Ok(verified);
        }
        {
            let _store = Lock::exclusive(&self.lock_path()?)?;
            verified.buried = staging::bury(self);
        }
        let mut owners: BTreeMap<Digest, (u64, Vec<Name>)> = BTreeMap::new();
        let mut models: Vec<(Name, Vec<Layer>)> = vec![];
        for name in self.names()? {
            match self.manifest(&name) {
                Ok((manifest, _)) => {
                    let layers: Vec<Layer> = manifest.all().cloned().collect();
                    for layer in &layers {
                        owners.entry(layer.digest).or_insert_with(|| (layer.size, vec![])).1.push(name.clone());
                    }
                    models.push((name, layers));
                }
                Err(Error::NotFound { .. }) => {}
                Err(error) => verified.faults.push(error),
            }
        }
        let there = self.blobs()?;
        let total = there.values().sum();
        let mut bad = BTreeSet::new();
        for (digest, (expected, names)) in &owners {
            let damage = match there.get(digest) {
                None => Damage::Missing,
                Some(found) if found != expected => Damage::Length { expected: *expected, found: *found },
                Some(_) => continue,
            };
            // It may have been removed, with its model, since the manifests were read.
            if names.iter().any(|name| self.manifest(name).is_ok()) {
                verified.damaged.push((*digest, damage, names.clone()));
                bad.insert(*digest);
            }
        }
        for (digest, size) in &there {
            if bad.contains(digest) {
                continue;
            }
            let before = verified.bytes;
            let name = digest.file_name();
            let mut shift = |progress: Progress| match progress {
                Progress::Bytes { work, file, digest, completed, .. } => {
                    listener(Progress::Bytes { work, file, digest, completed: (before + completed).min(total), total });
                }
                other => listener(other),
            };
            let mut telling =
                Telling { work: Work::Verify, file: &name, digest: Some(*digest), total: *size, listener: &mut shift, cancel };
            match hash(&self.blob_path(digest), &mut telling) {
                Ok((found, _)) if found == *digest => {}
                Ok((found, _)) => {
                    let names = owners.get(digest).map_or_else(Vec::new, |(_, names)| names.clone());
                    verified.damaged.push((*digest, Damage::Content { found }, names));
                    bad.insert(*digest);
                }
                Err(Error::Io { error, .. }) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            }
            verified.blobs += 1;
            verified.bytes += size;
        }
        let sound = |layers: &[Layer]| layers.iter().all(|layer| !bad.contains(&layer.digest));
        verified.models = models.into_iter().filter(|(_, layers)| sound(layers)).map(|(name, _)| name).collect();
        verified.unused = there.into_iter().filter(|(digest, _)| !owners.contains_key(digest) && !bad.contains(digest)).collect();
        verified.partial = pull::partial(self);
        if repair {
            self.repair(&verified, &bad)?;
        }
        Ok(verified)
    }

    /// Blobs and their bytes.
    fn blobs(&self) -> Result<BTreeMap<Digest, u64>> {
        let folder = self.root().join("blobs");
        let list = match fs::read_dir(&folder) {
            Ok(list) => list,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
            Err(error) => return Err(Error::io(&folder, "read")(error)),
        };
        let blob = |entry: fs::DirEntry| {
            let digest = Digest::from_file_name(entry.file_name().to_str()?)?;
            let found = fs::metadata(entry.path()).ok().filter(|found| found.is_file())?;
            Some((digest, found.len()))
        };
        Ok(list.flatten().filter_map(blob).collect())
    }

    fn repair(&self, verified: &Verified, bad: &BTreeSet<Digest>) -> Result<()> {
        let _store = Lock::exclusive(&self.lock_path()?)?;
        for digest in bad {
            let _ = fs::remove_file(self.blob_path(digest));
        }
        // Where a manifest cannot be read nobody knows what it needs.
        if verified.faults.is_empty() {
            let used = self.used()?;
            for (digest, _) in verified.unused.iter().filter(|(digest, _)| !used.contains(digest)) {
                let path = self.blob_path(digest);
                fs::remove_file(&path).map_err(Error::io(&path, "remove"))?;
            }
        }
        pull::remove_partial(self);
        Ok(())
    }
}
