//! A part of a blob as a request's body. What leaves is hashed on its way, and the last bytes leave only if all of them are the blob that they should be.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::Job;
use crate::digest::Hasher;
use crate::http::Sent;
use crate::manifest::Layer;
use crate::{Error, Progress, Result, Work};

/// How often progress is told.
const TELL: Duration = Duration::from_millis(100);

/// A blob on its way.
pub(super) struct Outgoing<'a> {
    job: &'a Job,
    layer: &'a Layer,
    path: PathBuf,
    file: File,
    /// What the blob is called for people.
    pub(super) label: String,
    hasher: Hasher,
    /// Bytes from the beginning that were hashed, and so the most that can be at the registry.
    hashed: u64,
    /// What is wrong with the blob. Then nothing more of it leaves.
    damage: Option<Error>,
    told: Option<Instant>,
    /// Bytes that the listener was told. Beginning anew takes nothing back.
    shown: u64,
}

impl<'a> Outgoing<'a> {
    pub(super) fn open(job: &'a Job, layer: &'a Layer, label: String) -> Result<Outgoing<'a>> {
        let path = job.store.blob_path(&layer.digest);
        let file = File::open(&path).map_err(|error| match error.kind() {
            // Removed since the manifest was read.
            io::ErrorKind::NotFound => Error::NoBlob { digest: layer.digest, of: Some(job.name.to_string()) },
            _ => Error::io(&path, "open")(error),
        })?;
        Ok(Outgoing { job, layer, path, file, label, hasher: Hasher::default(), hashed: 0, damage: None, told: None, shown: 0 })
    }

    /// Bytes that have ever left.
    pub(super) fn left(&self) -> u64 {
        self.hashed
    }

    /// What was found to be wrong with the blob.
    pub(super) fn damage(&mut self) -> Option<Error> {
        self.damage.take()
    }

    /// The bytes from `from` up to `end`.
    pub(super) fn part<'b>(&'b mut self, from: u64, end: u64) -> Part<'a, 'b> {
        Part { blob: self, from, at: from, end }
    }

    /// Tells how far it is; `completed` bytes are at the registry or on their way.
    pub(super) fn tell(&mut self, completed: u64) {
        let total = self.layer.size;
        self.shown = self.shown.max(completed);
        if self.shown < total && self.told.is_some_and(|told| told.elapsed() < TELL) {
            return;
        }
        self.told = Some(Instant::now());
        let (file, digest) = (self.label.clone(), Some(self.layer.digest));
        self.job.tell(Progress::Bytes { work: Work::Upload, file, digest, completed: self.shown, total });
    }

    /// Hashes what begins at `at`, as far as it was not.
    fn hash(&mut self, at: u64, bytes: &[u8]) {
        let end = at + bytes.len() as u64;
        if end > self.hashed {
            // A part begins where the registry stands, which is never beyond what has left.
            let new = (end - self.hashed).min(bytes.len() as u64) as usize;
            self.hasher.update(&bytes[bytes.len() - new..]);
            self.hashed = end;
        }
    }

    fn check_whole(&mut self) -> io::Result<()> {
        let found = std::mem::take(&mut self.hasher).finish();
        if found == self.layer.digest {
            // It may have to be sent again, which is checked by nothing but the registry then.
            return Ok(());
        }
        Err(self.refuse(Error::Mismatch { what: self.path.display().to_string(), expected: self.layer.digest, found }))
    }

    /// Keeps an error for who made the request, and ends the body.
    fn refuse(&mut self, error: Error) -> io::Error {
        let text = error.to_string();
        self.damage.get_or_insert(error);
        io::Error::other(text)
    }

    fn read(&mut self, at: u64, buffer: &mut [u8]) -> io::Result<usize> {
        if self.job.stopped() {
            return Err(io::Error::other("stopped"));
        }
        let n = match self.file.read(buffer) {
            Ok(n) => n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Err(error),
            Err(error) => {
                let error = Error::io(&self.path, "read")(error);
                return Err(self.refuse(error));
            }
        };
        if n == 0 {
            let (what, expected) = (self.path.display().to_string(), self.layer.size);
            return Err(self.refuse(Error::Length { what, expected, found: at }));
        }
        let before = self.hashed;
        self.hash(at, &buffer[..n]);
        if before < self.layer.size && self.hashed == self.layer.size {
            self.check_whole()?;
        }
        self.tell(at + n as u64);
        Ok(n)
    }
}

/// Some bytes of a blob.
pub(super) struct Part<'a, 'b> {
    blob: &'b mut Outgoing<'a>,
    from: u64,
    at: u64,
    end: u64,
}

impl Read for Part<'_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer.len().min(usize::try_from(self.end - self.at).unwrap_or(usize::MAX));
        if most == 0 {
            return Ok(0);
        }
        loop {
            match self.blob.read(self.at, &mut buffer[..most]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(n) => {
                    self.at += n as u64;
                    return Ok(n);
                }
                Err(error) => return Err(error),
            }
        }
    }
}

impl Sent for Part<'_, '_> {
    fn rewind(&mut self) -> io::Result<()> {
        self.at = self.from;
        self.blob.file.seek(SeekFrom::Start(self.from)).map(drop)
    }

    fn length(&self) -> u64 {
        self.end - self.from
    }
}
