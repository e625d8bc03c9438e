//! The store: finding models, naming them, taking names away.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use crate::blobs::{Ready, full, sync_directory, unique};
use crate::lock::Lock;
use crate::manifest::{self, Layer, Manifest, Media};
use crate::name::{DEFAULT_HOST, DEFAULT_NAMESPACE, DEFAULT_TAG, HUB_HOST};
use crate::staging::{self, Staging};
use crate::{Details, Digest, Entry, Error, Name, Parameters, Result, Summary};

/// The longest text blob (template, system, licence, parameters, messages) that is read, in bytes.
const MAX_TEXT: u64 = 4 << 20;

/// A store. Only what changes it makes its directories.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
}

/// What a list finds.
#[derive(Debug, Default)]
pub struct Listing {
    /// The models, the newest first.
    pub models: Vec<Summary>,
    /// Manifests that cannot be read.
    pub faults: Vec<Error>,
}

impl Store {
    /// The store below a directory, which need not exist yet.
    pub fn open(root: impl Into<PathBuf>) -> Result<Store> {
        let root = root.into();
        match fs::metadata(&root) {
            Ok(found) if !found.is_dir() => Err(Error::io(&root, "open the store")(io::ErrorKind::NotADirectory.into())),
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::io(&root, "open the store")(error)),
            _ => Ok(Store { root }),
        }
    }

    /// Its directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A directory of the store, made if it is not there.
    pub(crate) fn make(&self, name: &str) -> Result<PathBuf> {
        let path = self.root.join(name);
        fs::create_dir_all(&path).map_err(Error::io(&path, "create"))?;
        Ok(path)
    }

    /// The file whose lock is the store's.
    pub(crate) fn lock_path(&self) -> Result<PathBuf> {
        Ok(self.make("")?.join("lock"))
    }

    fn manifest_path(&self, name: &Name) -> PathBuf {
        self.root.join("manifests").join(name.path())
    }

    /// Every model, the newest first.
    pub fn list(&self) -> Result<Listing> {
        let mut listing = Listing::default();
        for name in self.names()? {
            match self.summary(&name) {
                Ok((summary, _)) => listing.models.push(summary),
                // Removed since the names were read.
                Err(Error::NotFound { .. }) => {}
                Err(error) => listing.faults.push(error),
            }
        }
        listing.models.sort_by(|a, b| b.modified.cmp(&a.modified).then_with(|| a.name.cmp(&b.name)));
        Ok(listing)
    }

    /// The names of all models, sorted. What is no name (`.DS_Store`) is passed over.
    pub fn names(&self) -> Result<Vec<Name>> {
        let mut level = vec![Vec::<String>::new()];
        for _ in 0..4 {
            let mut next = vec![];
            for parts in level {
                let path = parts.iter().fold(self.root.join("manifests"), |path, part| path.join(part));
                let list = match fs::read_dir(&path) {
                    Ok(list) => list,
                    // A file where a directory should be, or one that has gone meanwhile.
                    Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => continue,
                    Err(error) => return Err(Error::io(&path, "read")(error)),
                };
                for entry in list {
                    let entry = entry.map_err(Error::io(&path, "read"))?;
                    if let Ok(part) = entry.file_name().into_string() {
                        next.push(parts.iter().cloned().chain([part]).collect());
                    }
                }
            }
            level = next;
        }
        let name = |parts: Vec<String>| Name::new(&parts[0], &parts[1], &parts[2], &parts[3]).ok();
        let mut names: Vec<Name> = level.into_iter().filter_map(name).filter(|name| self.manifest_path(name).is_file()).collect();
        names.sort();
        Ok(names)
    }

    /// The manifest of this very name, and its bytes.
    pub(crate) fn manifest(&self, name: &Name) -> Result<(Manifest, Vec<u8>)> {
        let path = self.manifest_path(name);
        let bytes = match read_limited(&path, manifest::MAX_BYTES) {
            Err(Error::Io { error, .. }) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Err(Error::NotFound { name: name.clone() });
            }
            other => other?,
        };
        let parsed = Manifest::parse(&bytes).map_err(|message| Error::Manifest { path, message })?;
        Ok((parsed, bytes))
    }

    fn summary(&self, name: &Name) -> Result<(Summary, Manifest)> {
        let (manifest, bytes) = self.manifest(name)?;
        let path = self.manifest_path(name);
        let modified = fs::metadata(&path).and_then(|found| found.modified()).map_err(Error::io(&path, "read"))?;
        // A list goes on without it; who wants to run the model hears of what is missing.
        let config = manifest.config.as_ref().and_then(|layer| read_limited(&self.blob_path(&layer.digest), MAX_TEXT).ok());
        let details = config.and_then(|bytes| Details::of_config(&bytes)).unwrap_or_default();
        let summary = Summary { name: name.clone(), digest: Digest::of(&bytes), size: manifest.size(), modified, details };
        Ok((summary, manifest))
    }

    /// The name in the store that is meant by one that may leave things out: the name itself; the same in another case; without a tag the only one, or
    /// Q4_K_M; and `org/repo` for `hf.co/org/repo`.
    pub fn find(&self, name: &Name) -> Result<Name> {
        if self.manifest_path(name).is_file() {
            return Ok(name.clone());
        }
        let names = self.names()?;
        let mut wanted = vec![name.clone()];
        if name.host() == DEFAULT_HOST && name.namespace() != DEFAULT_NAMESPACE {
            wanted.push(Name::new(HUB_HOST, name.namespace(), name.model(), name.tag())?);
        }
        for wanted in &wanted {
            if let Some(found) = names.iter().find(|name| name.is_like(wanted)) {
                return Ok(found.clone());
            }
        }
        if name.tag() == DEFAULT_TAG {
            for wanted in &wanted {
                let like = |other: &&Name| wanted.with_tag(other.tag()).is_ok_and(|wanted| wanted.is_like(other));
                let found: Vec<&Name> = names.iter().filter(like).collect();
                let usual = found.iter().find(|name| name.tag().eq_ignore_ascii_case("q4_k_m"));
                match (&found[..], usual) {
                    ([], _) => {}
                    ([one], _) | (_, Some(one)) => return Ok((*one).clone()),
                    _ => {
                        let choices = found.iter().map(|name| name.to_string()).collect();
                        return Err(Error::Ambiguous { name: name.to_string(), choices });
                    }
                }
            }
        }
        Err(Error::NotFound { name: name.clone() })
    }

    /// The model that who has mistyped a name may have meant; see [`Name::near`].
    pub fn near(&self, wanted: &Name) -> Option<Name> {
        let names: Vec<String> = self.names().ok()?.iter().map(Name::to_string).collect();
        wanted.near(names.iter().map(String::as_str))?.parse().ok()
    }

    /// A model with all that belongs to it, by a name that may leave things out (see [`find`](Self::find)).
    pub fn resolve(&self, name: &Name) -> Result<Entry> {
        let name = self.find(name)?;
        let (summary, manifest) = self.summary(&name)?;
        for layer in manifest.all().filter(|layer| layer.media().is_some()) {
            self.check_blob(&name, layer)?;
        }
        let texts = |media| manifest.of(media).map(|layer| self.text(layer)).collect::<Result<Vec<String>>>();
        let json = |media| {
            let Some(layer) = manifest.of(media).next() else { return Ok(None) };
            let path = self.blob_path(&layer.digest);
            let value = serde_json::from_str::<serde_json::Value>(&self.text(layer)?);
            value.map(Some).map_err(|error| Error::Manifest { path, message: format!("{}: {error}", media.name()) })
        };
        let wrong = |media: Media, message: &str| Error::Manifest {
            path: self.manifest_path(&name),
            message: format!("{}: {message}", media.name()),
        };
        let parameters = match json(Media::Params)? {
            Some(value) => Parameters::from_json(value).ok_or_else(|| wrong(Media::Params, "not an object"))?,
            None => Parameters::default(),
        };
        let messages = match json(Media::Messages)? {
            Some(value) => serde_json::from_value(value).map_err(|error| wrong(Media::Messages, &error.to_string()))?,
            None => vec![],
        };
        let paths = |media| manifest.of(media).map(|layer| self.blob_path(&layer.digest)).collect::<Vec<PathBuf>>();
        let Some(first) = manifest.of(Media::Model).next() else {
            return Err(wrong(Media::Model, "the manifest has no such layer"));
        };
        Ok(Entry {
            model: self.model_path(&manifest)?,
            model_digest: first.digest,
            projector: paths(Media::Projector).pop(),
            adapters: paths(Media::Adapter),
            template: texts(Media::Template)?.pop(),
            system: texts(Media::System)?.pop(),
            parameters,
            messages,
            licenses: texts(Media::License)?,
            name,
            digest: summary.digest,
            size: summary.size,
            modified: summary.modified,
            details: summary.details,
            manifest,
        })
    }

    pub(crate) fn check_blob(&self, name: &Name, layer: &Layer) -> Result<()> {
        let path = self.blob_path(&layer.digest);
        match fs::metadata(&path) {
            Ok(found) if found.len() == layer.size => Ok(()),
            Ok(found) => Err(Error::Length { what: path.display().to_string(), expected: layer.size, found: found.len() }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(Error::NoBlob { digest: layer.digest, of: Some(name.to_string()) })
            }
            Err(error) => Err(Error::io(&path, "read")(error)),
        }
    }

    fn text(&self, layer: &Layer) -> Result<String> {
        let path = self.blob_path(&layer.digest);
        String::from_utf8(read_limited(&path, MAX_TEXT)?)
            .map_err(|error| Error::Manifest { path, message: format!("not UTF-8 at byte {}", error.utf8_error().valid_up_to()) })
    }

    /// The file to open. Parts of a split model find each other by their names, so they get links of those names.
    fn model_path(&self, manifest: &Manifest) -> Result<PathBuf> {
        let parts: Vec<&Layer> = manifest.of(Media::Model).collect();
        match parts[..] {
            [] => Ok(PathBuf::new()),
            [one] => Ok(self.blob_path(&one.digest)),
            [first, ..] => {
                let folder = self.parts_path(manifest);
                let path = folder.join(first.title.as_deref().unwrap_or_default());
                if parts.iter().any(|part| !part.title.as_deref().is_some_and(|title| folder.join(title).exists())) {
                    self.link_parts(&parts, &folder)?;
                }
                Ok(path)
            }
        }
    }

    /// The directory of a split model's links. Its name follows from the parts, so that models share it and nobody has to remember it.
    fn parts_path(&self, manifest: &Manifest) -> PathBuf {
        let mut text = String::new();
        for layer in manifest.of(Media::Model) {
            text.push_str(&format!("{} {}\n", layer.digest, layer.title.as_deref().unwrap_or_default()));
        }
        self.root.join("parts").join(Digest::of(text.as_bytes()).hex())
    }

    fn link_parts(&self, parts: &[&Layer], folder: &Path) -> Result<()> {
        fs::create_dir_all(folder).map_err(Error::io(folder, "create"))?;
        for part in parts {
            let title = part.title.as_deref().filter(|title| is_plain_file_name(title));
            let Some(title) = title else {
                let message = "a part of a split model has no file name".to_string();
                return Err(Error::Manifest { path: folder.to_path_buf(), message });
            };
            let link = folder.join(title);
            #[cfg(unix)]
            let made = std::os::unix::fs::symlink(Path::new("../../blobs").join(part.digest.file_name()), &link);
            #[cfg(not(unix))]
            let made = fs::hard_link(self.blob_path(&part.digest), &link);
            match made {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(Error::io(&link, "link")(error)),
                _ => {}
            }
        }
        Ok(())
    }

    /// Gives a model a second name. What had that name loses it.
    pub fn copy(&self, from: &Name, to: &Name) -> Result<Name> {
        let from = self.find(from)?;
        let staging = Staging::new(self)?;
        let store = Lock::shared(&self.lock_path()?)?;
        let (_, bytes) = self.manifest(&from)?;
        let before = self.manifest(to).ok().map(|(manifest, _)| manifest);
        self.write_manifest(&staging, to, &bytes)?;
        drop(store);
        self.drop_replaced(before)?;
        Ok(from)
    }

    /// Takes a name away, and with it the blobs that no other model is made of. Gives the bytes that are free now.
    pub fn remove(&self, name: &Name) -> Result<u64> {
        let name = self.find(name)?;
        let _store = Lock::exclusive(&self.lock_path()?)?;
        staging::bury(self);
        let manifest = match self.manifest(&name) {
            Ok((manifest, _)) => Some(manifest),
            // Of a manifest that cannot be read only the name can go.
            Err(Error::Manifest { .. }) => None,
            Err(error) => return Err(error),
        };
        let path = self.manifest_path(&name);
        fs::remove_file(&path).map_err(Error::io(&path, "remove"))?;
        for folder in path.ancestors().skip(1).take(3) {
            sync_directory(folder);
            if fs::remove_dir(folder).is_err() {
                break;
            }
        }
        match manifest {
            Some(manifest) => Ok(self.drop_unused(&manifest)),
            None => Ok(0),
        }
    }

    /// Removes the blobs of a manifest that has gone, as far as no other is made of them. The caller holds the store's lock alone.
    fn drop_unused(&self, gone: &Manifest) -> u64 {
        let Ok(used) = self.used() else { return 0 };
        let mut freed = 0;
        let unused: BTreeSet<Digest> = gone.all().map(|layer| layer.digest).filter(|digest| !used.contains(digest)).collect();
        for digest in &unused {
            let path = self.blob_path(digest);
            let size = fs::metadata(&path).map_or(0, |found| found.len());
            if fs::remove_file(&path).is_ok() {
                freed += size;
            }
        }
        if gone.of(Media::Model).any(|layer| unused.contains(&layer.digest)) {
            let _ = fs::remove_dir_all(self.parts_path(gone));
        }
        sync_directory(&self.root.join("blobs"));
        freed
    }

    /// The blobs that models are made of. An error where a manifest cannot be read, for then nobody knows.
    pub(crate) fn used(&self) -> Result<BTreeSet<Digest>> {
        let mut used = BTreeSet::new();
        for name in self.names()? {
            match self.manifest(&name) {
                Ok((manifest, _)) => used.extend(manifest.all().map(|layer| layer.digest)),
                Err(Error::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(used)
    }

    /// Names a model: its blobs get their places, then its manifest, whose bytes are given too. Blobs of it that are not in `ready` must be there.
    /// Those of the model that had the name before go, as far as no other is made of them.
    pub(crate) fn commit(&self, staging: &Staging, name: &Name, manifest: &Manifest, bytes: &[u8], ready: &[&Ready]) -> Result<()> {
        let store = Lock::shared(&self.lock_path()?)?;
        for ready in ready {
            self.place(ready)?;
        }
        for layer in manifest.all() {
            self.check_blob(name, layer)?;
        }
        self.model_path(manifest)?;
        let before = self.manifest(name).ok().map(|(manifest, _)| manifest);
        self.write_manifest(staging, name, bytes)?;
        drop(store);
        self.drop_replaced(before)
    }

    /// Removes what a replaced manifest alone was made of.
    fn drop_replaced(&self, before: Option<Manifest>) -> Result<()> {
        if let Some(before) = before {
            let _store = Lock::exclusive(&self.lock_path()?)?;
            self.drop_unused(&before);
        }
        Ok(())
    }

    /// Writes a manifest beside and moves it into its place. The caller holds the store's lock.
    fn write_manifest(&self, staging: &Staging, name: &Name, bytes: &[u8]) -> Result<()> {
        let path = self.manifest_path(name);
        let new = staging.path().join(format!("manifest-{}", unique()));
        let write = || {
            let mut file = File::create_new(&new)?;
            file.write_all(bytes)?;
            file.sync_all()
        };
        write().map_err(|error| full(error, &new, bytes.len() as u64))?;
        // `remove` may take an empty directory away while we fill it; not while we hold the lock, but programs without our locks may too.
        let folder = path.parent().expect("four parts");
        fs::create_dir_all(folder).map_err(Error::io(folder, "create"))?;
        fs::rename(&new, &path).map_err(Error::io(&path, "name the finished file"))?;
        for folder in path.ancestors().skip(1).take(4) {
            sync_directory(folder);
        }
        Ok(())
    }
}

/// Whether a name from a manifest or an archive is one of a file and not a path.
pub(crate) fn is_plain_file_name(name: &str) -> bool {
    let bad = |c: char| c.is_control() || matches!(c, '/' | '\\' | ':');
    !name.is_empty() && name.len() <= 255 && !name.starts_with('.') && !name.chars().any(bad)
}

/// The bytes of a file that must not be longer than `limit`.
pub(crate) fn read_limited(path: &Path, limit: u64) -> Result<Vec<u8>> {
    let file = File::open(path).map_err(Error::io(path, "open"))?;
    let mut bytes = vec![];
    file.take(limit + 1).read_to_end(&mut bytes).map_err(Error::io(path, "read"))?;
    match bytes.len() as u64 > limit {
        true => Err(Error::Manifest { path: path.to_path_buf(), message: format!("longer than {limit} bytes") }),
        false => Ok(bytes),
    }
}
