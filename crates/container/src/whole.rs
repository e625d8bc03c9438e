//! Files and directories that appear whole or not at all.
//!
//! What is being written has a name of its own beside its target: `model.gguf.partial-4711-0`. When it is complete, it is synced to the disk and
//! renamed, and the directory is synced. If the writer is dropped before that, what there is of it is removed. The registry of unfinished outputs
//! serves the ways out on which nothing is dropped: [`abandon_all`] for Ctrl-C, and the handler of [`crate::Map`] for a file that
//! shrinks. It is an array of atomics and takes no lock, so that both can use it at any moment.

use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

use crate::pieces::Pieces;
use crate::{Fault, Result};

/// Paths of unfinished outputs, as C strings; null where a slot is free. The strings are never freed: a signal handler may be reading them.
static UNFINISHED: [AtomicPtr<libc::c_char>; 256] = [const { AtomicPtr::new(std::ptr::null_mut()) }; 256];

/// A file that takes its name when it is complete.
#[derive(Debug)]
pub struct AtomicFile {
    out: Option<Pieces<File>>,
    temporary: Temporary,
    path: PathBuf,
}

impl AtomicFile {
    /// Begins a file that will be at `path`. An existing file stays as it is until [`commit`](Self::commit).
    pub fn create(path: impl AsRef<Path>) -> Result<AtomicFile> {
        let path = path.as_ref();
        let refuse = |fault: Fault| fault.at(path);
        if path.exists() && !path.is_file() {
            return Err(refuse(Fault::NotAFile));
        }
        let (file, temporary) =
            Temporary::beside(path, |name| OpenOptions::new().write(true).create_new(true).open(name)).map_err(refuse)?;
        Ok(AtomicFile { out: Some(Pieces::new(file)), temporary, path: path.to_path_buf() })
    }

    /// The path that the file will have.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes what is left to the disk and gives the file its name. On a fault nothing is left of it.
    pub fn commit(mut self) -> Result<()> {
        let fault = |doing| move |error: io::Error| Fault::io(doing, &error);
        let finish = |this: &mut Self| {
            let out = this.out.take().expect("taken only here");
            let file = out.into_inner().map_err(fault("write"))?;
            file.sync_all().map_err(fault("write"))?;
            fs::rename(&this.temporary.path, &this.path).map_err(fault("rename the finished file"))?;
            this.temporary.forget();
            sync_directory(&this.path)
        };
        finish(&mut self).map_err(|fault| fault.at(&self.path))
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.as_mut().expect("there until commit").write(bytes)
    }
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.as_mut().expect("there until commit").write_all(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.out.as_mut().expect("there until commit").flush()
    }
}

impl io::Seek for AtomicFile {
    fn seek(&mut self, to: io::SeekFrom) -> io::Result<u64> {
        self.out.as_mut().expect("there until commit").seek(to)
    }
}

/// A directory that takes its name when it is complete.
#[derive(Debug)]
pub struct AtomicDir {
    /// Files first: they are removed before the directory.
    files: Vec<Temporary>,
    temporary: Temporary,
    path: PathBuf,
}

impl AtomicDir {
    /// Begins a directory that will be at `path`. There must be nothing there, or an empty directory.
    pub fn create(path: impl AsRef<Path>) -> Result<AtomicDir> {
        let path = path.as_ref();
        let refuse = |fault: Fault| fault.at(path);
        if fs::symlink_metadata(path).is_ok() {
            let empty = fs::read_dir(path).map_err(|error| refuse(Fault::io("read", &error)))?.next().is_none();
            if !empty {
                return Err(refuse(Fault::NotEmpty));
            }
        }
        let ((), temporary) = Temporary::beside(path, |name| fs::create_dir(name)).map_err(refuse)?;
        Ok(AtomicDir { files: Vec::new(), temporary, path: path.to_path_buf() })
    }

    /// The path that the directory will have.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The directory as long as it is unfinished. Files that are put there by other means than [`file`](Self::file) are part of it too.
    pub fn unfinished(&self) -> &Path {
        &self.temporary.path
    }

    /// A new file in it, by a plain name.
    pub fn file(&mut self, name: &str) -> Result<File> {
        let path = self.temporary.path.join(name);
        let file = OpenOptions::new().write(true).create_new(true).open(&path);
        let file = file.map_err(|error| Fault::io("create", &error).at(self.path.join(name)))?;
        self.files.push(Temporary::register(path));
        Ok(file)
    }

    /// Copies a file into it under a plain name.
    pub fn copy(&mut self, from: &Path, name: &str) -> Result<()> {
        let mut source = File::open(from).map_err(|error| Fault::io("open", &error).at(from))?;
        let mut file = self.file(name)?;
        io::copy(&mut source, &mut file).map_err(|error| Fault::io("write", &error).at(self.path.join(name)))?;
        Ok(())
    }

    /// Writes everything to the disk and gives the directory its name. On a fault nothing is left of it.
    pub fn commit(mut self) -> Result<()> {
        let fault = |doing| move |error: io::Error| Fault::io(doing, &error);
        let finish = |this: &mut Self| {
            for entry in fs::read_dir(&this.temporary.path).map_err(fault("read"))? {
                let sync = |path: &Path| File::open(path)?.sync_all();
                sync(&entry.map_err(fault("read"))?.path()).map_err(fault("write"))?;
            }
            sync_directory(&this.temporary.path.join("."))?;
            fs::rename(&this.temporary.path, &this.path).map_err(fault("rename the finished directory"))?;
            this.files.iter_mut().for_each(Temporary::forget);
            this.temporary.forget();
            sync_directory(&this.path)
        };
        finish(&mut self).map_err(|fault| fault.at(&self.path))
    }
}

/// Removes every unfinished output of this process. Who still writes one gets an error when he wants to finish it.
pub fn abandon_all() {
    for slot in &UNFINISHED {
        let name = slot.load(Ordering::Acquire);
        if !name.is_null() {
            // SAFETY: the slots hold C strings that are never freed.
            let name = unsafe { std::ffi::CStr::from_ptr(name) };
            // SAFETY: bytes that were a path's when they were put there.
            let path = Path::new(unsafe { std::ffi::OsStr::from_encoded_bytes_unchecked(name.to_bytes()) });
            remove(path);
        }
    }
}

/// [`abandon_all`] for a signal handler: two rounds, files and then the directories that they leave empty.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) fn abandon_in_signal() {
    for remove in [libc::unlink, libc::rmdir] {
        for slot in &UNFINISHED {
            let name = slot.load(Ordering::Acquire);
            if !name.is_null() {
                // SAFETY: the slots hold C strings that are never freed; both functions may be called in a handler and take any path.
                unsafe { remove(name) };
            }
        }
    }
}

/// Whether two paths lead to one file, by whatever links. Paths that lead nowhere do not.
pub fn same_file(a: impl AsRef<Path>, b: impl AsRef<Path>) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let id = |path: &Path| fs::metadata(path).map(|found| (found.dev(), found.ino()));
        matches!((id(a.as_ref()), id(b.as_ref())), (Ok(a), Ok(b)) if a == b)
    }
    #[cfg(not(unix))]
    {
        matches!((fs::canonicalize(a), fs::canonicalize(b)), (Ok(a), Ok(b)) if a == b)
    }
}

/// Bytes that this process may still write on the disk of `path`, which need not exist yet; `None` where the system does not say.
pub fn free_space(path: impl AsRef<Path>) -> Option<u64> {
    #[cfg(unix)]
    {
        let parent = path.as_ref().parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let name = CString::new(parent.as_os_str().as_encoded_bytes()).ok()?;
        // SAFETY: the structure is plain data, for which zeros are a value; the call gets a C string and a pointer that are good for its time.
        let found = unsafe {
            let mut found: libc::statvfs = std::mem::zeroed();
            if libc::statvfs(name.as_ptr(), &mut found) != 0 {
                return None;
            }
            found
        };
        // The fields have other widths on other systems.
        #[allow(clippy::unnecessary_cast)]
        (found.f_bavail as u64).checked_mul(found.f_frsize as u64)
    }
    #[cfg(not(unix))]
    {
        let _ = path;
        None
    }
}

/// A file or directory that is removed when this is dropped, unless it is forgotten first.
#[derive(Debug)]
struct Temporary {
    path: PathBuf,
    slot: Option<&'static AtomicPtr<libc::c_char>>,
    keep: bool,
}

impl Temporary {
    /// Makes something beside `path` under a name that is not taken.
    fn beside<T>(path: &Path, make: impl Fn(&Path) -> io::Result<T>) -> std::result::Result<(T, Temporary), Fault> {
        static COUNTER: AtomicUsize = AtomicUsize::new(0);
        let Some(name) = path.file_name() else {
            return Err(Fault::io("create", &io::Error::new(io::ErrorKind::InvalidInput, "the path does not end in a name")));
        };
        loop {
            let mut own = name.to_os_string();
            own.push(format!(".partial-{}-{}", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed)));
            let own = path.with_file_name(own);
            match make(&own) {
                Ok(made) => return Ok((made, Temporary::register(own))),
                // A leftover of an earlier process that had the same number.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(Fault::io("create", &error)),
            }
        }
    }

    fn register(path: PathBuf) -> Temporary {
        let slot = CString::new(path.as_os_str().as_encoded_bytes()).ok().and_then(|name| {
            let name = name.into_raw();
            let put = |slot: &&AtomicPtr<_>| slot.compare_exchange(std::ptr::null_mut(), name, Ordering::AcqRel, Ordering::Relaxed).is_ok();
            UNFINISHED.iter().find(put)
        });
        Temporary { path, slot, keep: false }
    }

    /// It has become something that stays.
    fn forget(&mut self) {
        self.keep = true;
        if let Some(slot) = self.slot.take() {
            slot.store(std::ptr::null_mut(), Ordering::Release);
        }
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.keep {
            remove(&self.path);
            self.forget();
        }
    }
}

fn remove(path: &Path) {
    if fs::remove_file(path).is_err() {
        let _ = fs::remove_dir_all(path);
    }
}

/// Makes a change of names in the directory of `path` last.
fn sync_directory(path: &Path) -> std::result::Result<(), Fault> {
    #[cfg(unix)]
    {
        let parent = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        // Some file systems cannot sync a directory, and say so; the rename has happened all the same.
        let _ = File::open(parent).and_then(|directory| directory.sync_all());
    }
    let _ = path;
    Ok(())
}
