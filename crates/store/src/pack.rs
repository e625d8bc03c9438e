//! A model as one file to hand on: a ZIP archive with the GGUF file, a Modelfile, checksums, and a README that says how to run it.
//!
//! ```text
//! README.md      how to run it, with nibble and with others
//! Modelfile      FROM ./NAME.gguf, and what else belongs to the model
//! NAME.gguf      stored, not compressed: weights do not shrink (of a split model, all parts)
//! SHA256SUMS     of all of these, for `sha256sum -c`
//! ```
//!
//! The same model gives the same bytes: no times are in it. Whoever has no nibble unpacks it with any program and finds files that llama.cpp and Ollama
//! take as they are.

use std::fs::{self, File};
use std::io::{Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use nibble_container::whole::AtomicFile;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use crate::blobs::{Telling, check_space, copy};
use crate::create::gguf_parts;
use crate::manifest::Media;
use crate::pull::choose::sanitized;
use crate::{Details, Digest, Entry, Error, Listener, Modelfile, Result, Store, Work};

/// A file of 4 GiB and more needs ZIP64 fields; from this size on it gets them.
const LARGE: u64 = 0xffff_0000;

/// The checksums' file.
pub(crate) const SUMS: &str = "SHA256SUMS";
/// The Modelfile's name.
pub(crate) const MODELFILE: &str = "Modelfile";
const README: &str = "README.md";

/// What is to be packed.
#[derive(Debug, Clone)]
pub struct Packing {
    /// The model's name for people.
    pub title: String,
    /// Its Modelfile, whose FROM and ADAPTER name files of the archive.
    pub modelfile: Modelfile,
    /// The files and their names in the archive; with the digest that the bytes must have, where that is known.
    files: Vec<(PathBuf, String, Option<Digest>)>,
    details: Details,
}

impl Packing {
    /// A model of the store.
    pub fn of_entry(store: &Store, entry: &Entry) -> Packing {
        let stem = sanitized(&format!("{}-{}", entry.name.model(), entry.details.quantization_level));
        let mut modelfile = Modelfile::of(entry);
        let mut files = vec![];
        for layer in entry.manifest.of(Media::Model) {
            let name = layer.title.clone().unwrap_or_else(|| format!("{stem}.gguf"));
            files.push((store.blob_path(&layer.digest), name, Some(layer.digest)));
        }
        modelfile.from = files.first().map(|(_, name, _)| format!("./{name}")).unwrap_or_default();
        modelfile.adapters.clear();
        for (number, layer) in (1..).zip(entry.manifest.of(Media::Adapter)) {
            let name = format!("adapter-{number}.gguf");
            modelfile.adapters.push(format!("./{name}"));
            files.push((store.blob_path(&layer.digest), name, Some(layer.digest)));
        }
        Packing { title: entry.name.to_string(), modelfile, files, details: entry.details.clone() }
    }

    /// A GGUF file; of a split one, any part gives all.
    pub fn of_gguf(path: &Path) -> Result<Packing> {
        let details = Details::of_gguf(path)?;
        let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let parts = gguf_parts(path)?;
        let single = parts.len() == 1;
        // The parts of a split model must keep their names; one alone may need another to be a plain one.
        let named = |path: PathBuf| {
            let own = name(&path);
            let own = if single { format!("{}.gguf", sanitized(own.strip_suffix(".gguf").unwrap_or(&own))) } else { own };
            (path, own, None)
        };
        let files: Vec<(PathBuf, String, Option<Digest>)> = parts.into_iter().map(named).collect();
        let from = files.first().map(|(_, name, _)| format!("./{name}")).unwrap_or_default();
        let modelfile = Modelfile { from, ..Modelfile::default() };
        Ok(Packing { title: name(path), modelfile, files, details })
    }

    /// Writes the archive. It appears when it is whole. Gives its bytes.
    pub fn write(&self, out: &Path, listener: Listener, cancel: &AtomicBool) -> Result<u64> {
        let mut total = 0;
        for (path, _, _) in &self.files {
            total += fs::metadata(path).map_err(Error::io(path, "open"))?.len();
        }
        check_space(out, total)?;
        let mut zip = ZipWriter::new(AtomicFile::create(out)?);
        let mut sums = String::new();
        let failed = |error: zip::result::ZipError| archive_error(out, error);
        for (name, text) in [(README, self.readme()), (MODELFILE, self.modelfile.to_string())] {
            zip.start_file(name, options(0, CompressionMethod::Deflated)).map_err(failed)?;
            zip.write_all(text.as_bytes()).map_err(Error::io(out, "write"))?;
            sums.push_str(&line(&Digest::of(text.as_bytes()), name));
        }
        for (path, name, expected) in &self.files {
            let digest = self.add(&mut zip, out, path, name, listener, cancel)?;
            if let Some(expected) = expected.filter(|expected| *expected != digest) {
                return Err(Error::Mismatch { what: path.display().to_string(), expected, found: digest });
            }
            sums.push_str(&line(&digest, name));
        }
        zip.start_file(SUMS, options(0, CompressionMethod::Deflated)).map_err(failed)?;
        zip.write_all(sums.as_bytes()).map_err(Error::io(out, "write"))?;
        let mut file = zip.finish().map_err(failed)?;
        let bytes = file.stream_position().map_err(Error::io(out, "write"))?;
        file.commit()?;
        Ok(bytes)
    }

    fn add<W: Write + Seek>(
        &self,
        zip: &mut ZipWriter<W>,
        out: &Path,
        path: &Path,
        name: &str,
        listener: Listener,
        cancel: &AtomicBool,
    ) -> Result<Digest> {
        let mut file = File::open(path).map_err(Error::io(path, "open"))?;
        let total = file.metadata().map_err(Error::io(path, "read"))?.len();
        zip.start_file(name, options(total, CompressionMethod::Stored)).map_err(|error| archive_error(out, error))?;
        let mut telling = Telling { work: Work::Pack, file: name, digest: None, total, listener, cancel };
        let (digest, size) = copy(&mut file, zip, (path, out), &mut telling)?;
        match size == total {
            true => Ok(digest),
            false => Err(Error::Length { what: path.display().to_string(), expected: total, found: size }),
        }
    }

    /// What a person who gets the archive reads first.
    fn readme(&self) -> String {
        let file = self.files.first().map(|(_, name, _)| name.as_str()).unwrap_or_default();
        let Details { family, parameter_size, quantization_level, .. } = &self.details;
        let license = match self.modelfile.licenses.is_empty() {
            true => String::new(),
            false => "\nThe licence is in the Modelfile.\n".to_string(),
        };
        format!(
            "# {}\n\n\
             A language model in GGUF: {family}, {parameter_size} parameters, {quantization_level}.\n{license}\n\
             ## With nibble\n\n\
             Put the archive into the store and chat (the archive need not be unpacked before):\n\n    \
             nibble unpack THIS.zip my-model\n    nibble run my-model\n\n\
             Or unpack it with any program, and use the file as it is:\n\n    \
             nibble run {file}\n\n\
             ## With others\n\n    \
             ollama create my-model -f Modelfile\n    llama-cli -m {file}\n\n\
             ## Checksums\n\n    sha256sum -c {SUMS}\n",
            self.title
        )
    }
}

/// A line as `sha256sum` writes it.
fn line(digest: &Digest, name: &str) -> String {
    format!("{}  {name}\n", digest.hex())
}

fn options(size: u64, method: CompressionMethod) -> SimpleFileOptions {
    SimpleFileOptions::default().compression_method(method).large_file(size >= LARGE).unix_permissions(0o644)
}

/// A fault of the archive itself, or of the disk below it.
pub(crate) fn archive_error(path: &Path, error: zip::result::ZipError) -> Error {
    match error {
        zip::result::ZipError::Io(error) => Error::io(path, "use the archive")(error),
        // The list of entries is at the end; what was not copied whole has none.
        zip::result::ZipError::InvalidArchive(why) if why.contains("EOCD") => Error::Archive {
            path: path.to_path_buf(),
            message: "the end of the archive is missing: it is cut short, or no ZIP archive".into(),
        },
        error => Error::Archive { path: path.to_path_buf(), message: error.to_string() },
    }
}
