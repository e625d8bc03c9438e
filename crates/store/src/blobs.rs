//! Bytes that become blobs: written beside, hashed on the way, synced, and only then given their name.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use nibble_container::LARGE_PAGE;
use nibble_container::whole::free_space;

use crate::digest::Hasher;
use crate::lock::Lock;
use crate::staging::Staging;
use crate::{Digest, Error, Listener, Progress, Result, Store, Work};

/// Bytes that are read, hashed and written at a time: as much as the system keeps in one large page, when it is written at once.
const CHUNK: usize = LARGE_PAGE;

/// A file that is whole and on the disk, but has not its place yet.
#[derive(Debug)]
pub(crate) struct Ready {
    pub(crate) path: PathBuf,
    pub(crate) digest: Digest,
    pub(crate) size: u64,
}

/// What is told about while bytes go by.
pub(crate) struct Telling<'a, 'b> {
    pub(crate) work: Work,
    pub(crate) file: &'a str,
    pub(crate) digest: Option<Digest>,
    pub(crate) total: u64,
    pub(crate) listener: Listener<'b>,
    pub(crate) cancel: &'a AtomicBool,
}

impl Telling<'_, '_> {
    pub(crate) fn tell(&mut self, completed: u64) -> Result<()> {
        if self.cancel.load(Ordering::Relaxed) {
            return Err(Error::Cancelled);
        }
        let (work, file, digest) = (self.work, self.file.to_string(), self.digest);
        (self.listener)(Progress::Bytes { work, file, digest, completed, total: self.total.max(completed) });
        Ok(())
    }
}

/// Hashes a file; tells after every few megabytes.
pub(crate) fn hash(path: &Path, telling: &mut Telling) -> Result<(Digest, u64)> {
    let mut file = File::open(path).map_err(Error::io(path, "open"))?;
    let (mut hasher, mut buffer, mut done) = (Hasher::default(), vec![0; CHUNK], 0u64);
    loop {
        let n = read(&mut file, &mut buffer).map_err(Error::io(path, "read"))?;
        if n == 0 {
            return Ok((hasher.finish(), done));
        }
        hasher.update(&buffer[..n]);
        done += n as u64;
        if done.is_multiple_of(8 * CHUNK as u64) || n < buffer.len() {
            telling.tell(done)?;
        }
    }
}

fn read(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut n = 0;
    while n < buffer.len() {
        match from.read(&mut buffer[n..]) {
            Ok(0) => break,
            Ok(more) => n += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(n)
}

/// Copies bytes into a writer and hashes them on the way.
pub(crate) fn copy(
    from: &mut impl Read,
    to: &mut impl Write,
    (from_path, to_path): (&Path, &Path),
    telling: &mut Telling,
) -> Result<(Digest, u64)> {
    let (mut hasher, mut buffer, mut done) = (Hasher::default(), vec![0; CHUNK], 0u64);
    loop {
        let n = read(from, &mut buffer).map_err(Error::io(from_path, "read"))?;
        if n == 0 {
            return Ok((hasher.finish(), done));
        }
        hasher.update(&buffer[..n]);
        to.write_all(&buffer[..n]).map_err(|error| full(error, to_path, telling.total.saturating_sub(done)))?;
        done += n as u64;
        if done.is_multiple_of(8 * CHUNK as u64) || n < buffer.len() {
            telling.tell(done)?;
        }
    }
}

/// An error of writing; on a full disk it says how much there is still to write.
pub(crate) fn full(error: io::Error, path: &Path, need: u64) -> Error {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            Error::Space { path: path.to_path_buf(), need: need.max(1), free: free_space(path).unwrap_or(0).min(need.saturating_sub(1)) }
        }
        _ => Error::io(path, "write")(error),
    }
}

/// Refuses what the disk of `path` has no room for.
pub(crate) fn check_space(path: &Path, need: u64) -> Result<()> {
    match free_space(path) {
        Some(free) if free < need => Err(Error::Space { path: path.to_path_buf(), need, free }),
        _ => Ok(()),
    }
}

/// Bytes that a file takes on the disk: of one with holes, fewer than it is long.
pub(crate) fn allocated(path: &Path) -> u64 {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        fs::metadata(path).map_or(0, |found| found.blocks().saturating_mul(512))
    }
    #[cfg(not(unix))]
    {
        let _ = path;
        0
    }
}

/// Makes a change of names in a directory last. Some file systems cannot sync a directory, and say so; the change has happened all the same.
pub(crate) fn sync_directory(path: &Path) {
    if cfg!(unix) {
        let _ = File::open(path).and_then(|directory| directory.sync_all());
    }
}

impl Store {
    /// Where a blob is, or would be.
    pub fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.root().join("blobs").join(digest.file_name())
    }

    /// Whether a blob is there.
    pub fn has_blob(&self, digest: &Digest) -> bool {
        self.blob_path(digest).is_file()
    }

    /// Takes a blob in. With a digest that the bytes should have, others are refused; a blob that is there already is not read again.
    pub fn put_blob(&self, mut reader: impl Read, expected: Option<Digest>, cancel: &AtomicBool) -> Result<Digest> {
        let staging = Staging::new(self)?;
        let what = expected.map_or_else(|| "blob".to_string(), |digest| digest.to_string());
        let mut listener = |_: Progress| {};
        let telling = Telling { work: Work::Copy, file: &what, digest: expected, total: 0, listener: &mut listener, cancel };
        let ready = self.stage(&staging, &mut reader, Path::new(&what), telling)?;
        if let Some(expected) = expected.filter(|expected| *expected != ready.digest) {
            return Err(Error::Mismatch { what, expected, found: ready.digest });
        }
        let _store = Lock::shared(&self.lock_path()?)?;
        self.place(&ready)?;
        Ok(ready.digest)
    }

    /// Writes bytes into a staging directory.
    pub(crate) fn stage(&self, staging: &Staging, from: &mut impl Read, from_path: &Path, mut telling: Telling) -> Result<Ready> {
        let path = staging.path().join(format!("blob-{}", unique()));
        check_space(&path, telling.total)?;
        let mut file = OpenOptions::new().write(true).create_new(true).open(&path).map_err(Error::io(&path, "create"))?;
        let (digest, size) = copy(from, &mut file, (from_path, &path), &mut telling)?;
        file.sync_all().map_err(|error| full(error, &path, 1))?;
        Ok(Ready { path, digest, size })
    }

    /// The same for a few bytes.
    pub(crate) fn stage_bytes(&self, staging: &Staging, bytes: &[u8]) -> Result<Ready> {
        let (mut listener, cancel) = (|_: Progress| {}, AtomicBool::new(false));
        let total = bytes.len() as u64;
        let telling = Telling { work: Work::Copy, file: "", digest: None, total, listener: &mut listener, cancel: &cancel };
        self.stage(staging, &mut &bytes[..], Path::new("memory"), telling)
    }

    /// The same for a file: shared with it where the file system can (a reflink), else copied. With `link` the file itself gets a second name.
    pub(crate) fn stage_file(&self, staging: &Staging, from: &Path, link: bool, listener: Listener, cancel: &AtomicBool) -> Result<Ready> {
        let name = from.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut file = File::open(from).map_err(Error::io(from, "open"))?;
        let found = file.metadata().map_err(Error::io(from, "read"))?;
        if !found.is_file() {
            return Err(nibble_container::Fault::NotAFile.at(from).into());
        }
        let path = staging.path().join(format!("blob-{}", unique()));
        let shared = match link {
            true => {
                let real = fs::canonicalize(from).map_err(Error::io(from, "open"))?;
                fs::hard_link(&real, &path).map_err(Error::io(from, "link into the store"))?;
                true
            }
            false => reflink(&file, &path),
        };
        let mut telling = Telling { work: Work::Copy, file: &name, digest: None, total: found.len(), listener, cancel };
        if !shared {
            return self.stage(staging, &mut file, from, telling);
        }
        telling.work = Work::Verify;
        File::open(&path).and_then(|file| file.sync_all()).map_err(Error::io(&path, "write"))?;
        let (digest, size) = hash(&path, &mut telling)?;
        Ok(Ready { path, digest, size })
    }

    /// Gives a blob its name. The caller holds the store's lock, shared, until a manifest names the blob.
    pub(crate) fn place(&self, ready: &Ready) -> Result<()> {
        let blobs = self.make("blobs")?;
        let path = self.blob_path(&ready.digest);
        if fs::metadata(&path).is_ok_and(|found| found.is_file() && found.len() == ready.size) {
            let _ = fs::remove_file(&ready.path);
            return Ok(());
        }
        fs::rename(&ready.path, &path).map_err(Error::io(&path, "name the finished file"))?;
        sync_directory(&blobs);
        Ok(())
    }
}

/// A number that no other file of this process has.
pub(crate) fn unique() -> u64 {
    static COUNTER: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    COUNTER.fetch_add(1, Ordering::Relaxed)
}

/// Makes `to` a file that shares its bytes with `from` until either is changed. `false` where that cannot be; then there is no `to`.
fn reflink(from: &File, to: &Path) -> bool {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        let Ok(file) = OpenOptions::new().write(true).create_new(true).open(to) else { return false };
        if rustix::fs::ioctl_ficlone(&file, from).is_ok() {
            return true;
        }
        let _ = fs::remove_file(to);
    }
    let _ = (from, to);
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A disk with room for so many bytes.
    struct Disk(usize);

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            match self.0 {
                0 => Err(io::ErrorKind::StorageFull.into()),
                room => {
                    let n = bytes.len().min(room);
                    self.0 -= n;
                    Ok(n)
                }
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_disk_that_fills_up_on_the_way_is_said_with_what_is_missing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("blob");
        let bytes = vec![1; 3 * CHUNK];
        let (mut listener, cancel) = (|_: Progress| {}, AtomicBool::new(false));
        let total = bytes.len() as u64;
        let mut telling = Telling { work: Work::Copy, file: "x", digest: None, total, listener: &mut listener, cancel: &cancel };
        let error = copy(&mut &bytes[..], &mut Disk(CHUNK + 5), (Path::new("x"), &path), &mut telling).unwrap_err();
        assert!(matches!(error, Error::Space { need, .. } if need == 2 * CHUNK as u64), "{error}");
        assert!(error.is_full_disk() && error.to_string().contains("the disk is full: 4.00 MiB needed"), "{error}");
        telling.tell(0).unwrap();
        cancel.store(true, Ordering::Relaxed);
        assert!(matches!(telling.tell(0), Err(Error::Cancelled)));
    }
}
