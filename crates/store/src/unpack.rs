//! An archive that [`crate::Packing`] wrote, or one like it, back into the store.
//!
//! Nothing of the archive gets a name of its own choosing: files go to a staging directory under plain names, each is hashed on the way and compared with
//! SHA256SUMS, and the model gets its name when all are right. FROM and ADAPTER may name files of the archive only.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use zip::ZipArchive;

use crate::blobs::{Ready, Telling, check_space};
use crate::create::Made;
use crate::manifest::Media;
use crate::pack::{MODELFILE, SUMS, archive_error};
use crate::pull::choose;
use crate::staging::Staging;
use crate::store::is_plain_file_name;
use crate::{Digest, Entry, Error, Listener, Modelfile, Name, Result, Store, Work};

/// The most files of an archive.
const MAX_FILES: usize = 1000;
/// The longest Modelfile or list of checksums, in bytes.
const MAX_TEXT: u64 = 4 << 20;

/// An archive that is being looked at.
struct Opened<'a> {
    path: &'a Path,
    zip: ZipArchive<File>,
    /// Number and bytes by name.
    files: BTreeMap<String, (usize, u64)>,
}

impl Store {
    /// Takes a packed model in.
    pub fn unpack(&self, archive: &Path, name: &Name, listener: Listener, cancel: &AtomicBool) -> Result<Entry> {
        let mut opened = Opened::open(archive)?;
        let sums = opened.sums()?;
        let modelfile = opened.modelfile(&sums)?;
        let models = opened.models(&modelfile)?;
        let adapters = opened.adapters(&modelfile)?;
        let wanted: Vec<&String> = models.iter().chain(&adapters).collect();
        let staging = Staging::new(self)?;
        check_space(&staging.path().join("x"), wanted.iter().map(|name| opened.files[*name].1).fold(0, u64::saturating_add))?;
        // What is listed and not needed (the README) is compared too: an archive that is damaged anywhere is damaged.
        for (name, expected) in sums.iter().filter(|(name, _)| !wanted.contains(name)) {
            opened.compare(name, *expected)?;
        }
        let split = models.len() > 1;
        let mut layers = vec![];
        for (media, names) in [(Media::Model, &models), (Media::Adapter, &adapters)] {
            for file in names {
                let Some(expected) = sums.get(file) else { return Err(opened.fault(format!("{SUMS} says nothing of {file}"))) };
                let ready = opened.extract(self, &staging, file, *expected, listener, cancel)?;
                layers.push(Made::new(media, ready, (split && media == Media::Model).then(|| file.clone())));
            }
        }
        self.dress(&staging, name, &modelfile, layers, listener)
    }
}

impl<'a> Opened<'a> {
    fn open(path: &'a Path) -> Result<Opened<'a>> {
        let fault = |message: String| Error::Archive { path: path.to_path_buf(), message };
        let file = File::open(path).map_err(Error::io(path, "open"))?;
        let mut zip = ZipArchive::new(file).map_err(|error| archive_error(path, error))?;
        if zip.len() > MAX_FILES {
            return Err(fault(format!("{} files; at most {MAX_FILES} are expected", zip.len())));
        }
        let mut files = BTreeMap::new();
        for number in 0..zip.len() {
            let entry = zip.by_index_raw(number).map_err(|error| archive_error(path, error))?;
            let name = entry.name().map_err(|error| archive_error(path, error))?.into_owned();
            let shown = crate::error::shorten(&name);
            if entry.is_dir() || entry.is_symlink() || !is_plain_file_name(&name) {
                return Err(fault(format!("{shown:?} is no plain file: an archive of nibble has no folders and no links")));
            }
            if entry.encrypted() {
                return Err(fault(format!("{shown:?} is encrypted")));
            }
            if files.insert(name, (number, entry.size())).is_some() {
                return Err(fault(format!("{shown:?} is there twice")));
            }
        }
        Ok(Opened { path, zip, files })
    }

    fn fault(&self, message: String) -> Error {
        Error::Archive { path: self.path.to_path_buf(), message }
    }

    /// A file that is a text.
    fn text(&mut self, name: &str) -> Result<Option<String>> {
        let Some(&(number, _)) = self.files.get(name) else { return Ok(None) };
        let path = self.path;
        let mut bytes = vec![];
        let entry = self.zip.by_index(number).map_err(|error| archive_error(path, error))?;
        entry.take(MAX_TEXT + 1).read_to_end(&mut bytes).map_err(|error| damage(path, name, &error))?;
        if bytes.len() as u64 > MAX_TEXT {
            return Err(self.fault(format!("{name} is longer than {MAX_TEXT} bytes")));
        }
        String::from_utf8(bytes).map(Some).map_err(|_| self.fault(format!("{name} is not UTF-8")))
    }

    /// The checksums by name.
    fn sums(&mut self) -> Result<BTreeMap<String, Digest>> {
        let Some(text) = self.text(SUMS)? else {
            return Err(self.fault(format!("no {SUMS} in it: this is no archive of nibble pack, or a part of it is missing")));
        };
        let mut sums = BTreeMap::new();
        for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty()) {
            // Two blanks, or a blank and a star.
            let parsed =
                line.split_once(' ').and_then(|(digest, name)| Some((Digest::from_hex(digest)?, name.trim_start_matches([' ', '*']))));
            let Some((digest, name)) = parsed else {
                return Err(self.fault(format!("{SUMS} line {number}: expected a SHA-256 and a name")));
            };
            if !self.files.contains_key(name) {
                return Err(self.fault(format!("{SUMS} names {:?}, which is not in the archive", crate::error::shorten(name))));
            }
            sums.insert(name.to_string(), digest);
        }
        Ok(sums)
    }

    /// The Modelfile; without one, one that names the GGUF file.
    fn modelfile(&mut self, sums: &BTreeMap<String, Digest>) -> Result<Modelfile> {
        if let Some(text) = self.text(MODELFILE)? {
            if let Some(expected) = sums.get(MODELFILE).filter(|expected| **expected != Digest::of(text.as_bytes())) {
                let found = Digest::of(text.as_bytes());
                return Err(Error::Mismatch { what: format!("{}: {MODELFILE}", self.path.display()), expected: *expected, found });
            }
            return Modelfile::parse(&text);
        }
        let first = |name: &&String| name.ends_with(".gguf") && choose::part(name).is_none_or(|part| part.no == 1);
        let found: Vec<&String> = self.files.keys().filter(first).collect();
        match found[..] {
            [one] => Ok(Modelfile { from: one.clone(), ..Modelfile::default() }),
            _ => Err(self.fault(format!("no {MODELFILE}, and {} GGUF models in it", found.len()))),
        }
    }

    /// A file of the archive that the Modelfile names.
    fn named(&self, text: &str) -> Result<String> {
        let name = text.strip_prefix("./").unwrap_or(text);
        match self.files.contains_key(name) {
            true => Ok(name.to_string()),
            false => Err(self.fault(format!("the Modelfile names {:?}, which is not in the archive", crate::error::shorten(text)))),
        }
    }

    /// The model's file, or all parts of it in order.
    fn models(&self, modelfile: &Modelfile) -> Result<Vec<String>> {
        let first = self.named(&modelfile.from)?;
        let Some(part) = choose::part(&first) else { return Ok(vec![first]) };
        let all: BTreeSet<u64> = (1..=part.count.min(MAX_FILES as u64 + 1)).collect();
        all.into_iter().map(|no| self.named(&nibble_container::gguf::part_name(part.stem, no, part.count))).collect()
    }

    fn adapters(&self, modelfile: &Modelfile) -> Result<Vec<String>> {
        modelfile.adapters.iter().map(|text| self.named(text)).collect()
    }

    /// Reads a file that is not needed, for its checksum.
    fn compare(&mut self, name: &str, expected: Digest) -> Result<()> {
        let (number, size) = self.files[name];
        let path = self.path;
        let entry = self.zip.by_index(number).map_err(|error| archive_error(path, error))?;
        let mut hasher = crate::digest::Hasher::default();
        let mut limited = entry.take(size + 1);
        let mut buffer = vec![0; 64 << 10];
        loop {
            match limited.read(&mut buffer).map_err(|error| damage(path, name, &error))? {
                0 => break,
                n => hasher.update(&buffer[..n]),
            }
        }
        drop(limited);
        self.right(name, expected, hasher.finish())
    }

    fn right(&self, name: &str, expected: Digest, found: Digest) -> Result<()> {
        match expected == found {
            true => Ok(()),
            false => Err(Error::Mismatch { what: format!("{}: {name}", self.path.display()), expected, found }),
        }
    }

    /// A file of weights into the staging directory.
    fn extract(
        &mut self,
        store: &Store,
        staging: &Staging,
        name: &str,
        expected: Digest,
        listener: Listener,
        cancel: &AtomicBool,
    ) -> Result<Ready> {
        let (number, total) = self.files[name];
        let path = self.path;
        let entry = self.zip.by_index(number).map_err(|error| archive_error(path, error))?;
        let telling = Telling { work: Work::Pack, file: name, digest: Some(expected), total, listener, cancel };
        // No more than it says that it has: an archive must not fill the disk.
        let ready = store.stage(staging, &mut entry.take(total.saturating_add(1)), &path.join(name), telling)?;
        if ready.size != total {
            let _ = fs::remove_file(&ready.path);
            return Err(Error::Length { what: format!("{}: {name}", path.display()), expected: total, found: ready.size });
        }
        self.right(name, expected, ready.digest)?;
        Ok(ready)
    }
}

/// Damage that shows while a file of the archive is read.
fn damage(path: &Path, name: &str, error: &std::io::Error) -> Error {
    Error::Archive { path: path.to_path_buf(), message: format!("{name}: {error}") }
}
