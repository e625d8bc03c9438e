//! Files and directories that appear whole or not at all.
//!
//! What is being written has a name of its own beside its target: `model.gguf.partial-4711-0`. When it is complete, it is synced to the disk and
//! renamed, and the directory is synced. If the writer is dropped before that, what there is of it is removed. The registry of unfinished outputs
//! serves the ways out on which nothing is dropped: [`abandon_all`] for Ctrl-C, and the handler of [`crate::Map`] for a file that
//! shrinks. It is an array of atomics and takes no lock, so that both can use it at any moment.
//!
//! A process that is killed can remove nothing. Whoever writes holds the lock of what he writes, and the system takes it back when he dies; so the next
//! one that writes to the same target sees what has no owner, and [`bury`] removes it. A shared disk that gives each machine locks of its own (some mounts of
//! NFS, FUSE without locks) cannot tell another machine's writer from a dead one: two machines must not write one target there, as they never should.

use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering};

use crate::lock::{self, Held, How};
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
            Temporary::beside(path, |name| OpenOptions::new().write(true).create_new(true).open(name), |file| file.try_clone().ok())
                .map_err(refuse)?;
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
        // Where a system does not open directories, they have no locks, and nobody removes what he cannot open.
        let make = |name: &Path| fs::create_dir(name).map(|()| File::open(name).ok());
        let (_, temporary) = Temporary::beside(path, make, |directory| directory.take()).map_err(refuse)?;
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

/// What stands between a target's name and the numbers of who writes it.
const PARTIAL: &str = ".partial-";

/// What [`bury`] has removed, of all targets of this process: bytes and outputs.
static BURIED: [AtomicU64; 2] = [const { AtomicU64::new(0) }; 2];

/// Removes what processes that are dead have left of outputs to `path`, so that its room is free. Every output to a path begins with this; call it before
/// the free space is looked at. Where the file system has no locks, nobody knows who is dead, and nothing is removed.
pub fn bury(path: &Path) {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let (Some(name), Ok(list)) = (path.file_name(), fs::read_dir(parent)) else { return };
    let start = [name.as_encoded_bytes(), PARTIAL.as_bytes()].concat();
    let number = |text: &[u8]| !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    for entry in list.flatten() {
        let (entry_name, path) = (entry.file_name(), entry.path());
        let numbers = entry_name.as_encoded_bytes().strip_prefix(&start[..]);
        let mut parts = numbers.unwrap_or_default().split(|byte| *byte == b'-');
        if !matches!((parts.next(), parts.next(), parts.next()), (Some(id), Some(no), None) if number(id) && number(no)) {
            continue;
        }
        // Files and directories, and no links to them: we make none.
        let Ok(kind) = entry.file_type() else { continue };
        if !kind.is_file() && !kind.is_dir() {
            continue;
        }
        // Some shared disks lock only what is open for writing.
        let Ok(file) = OpenOptions::new().read(true).write(kind.is_file()).open(&path) else { continue };
        if !matches!(lock::hold(&file, How::TryExclusive), Ok(Held::Ours)) || !lock::is_still(&file, &path) {
            continue;
        }
        let bytes = bytes(&path);
        remove(&path);
        if fs::symlink_metadata(&path).is_err() {
            BURIED[0].fetch_add(bytes, Ordering::Relaxed);
            BURIED[1].fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// How many outputs of dead processes this one has removed, and their bytes; since the last call.
pub fn buried() -> (u64, u64) {
    (BURIED[1].swap(0, Ordering::Relaxed), BURIED[0].swap(0, Ordering::Relaxed))
}

/// Bytes of a file, or of the files of an unfinished directory, which has no directories.
fn bytes(path: &Path) -> u64 {
    let of = |path: &Path| fs::symlink_metadata(path).map_or(0, |found| found.len());
    match fs::read_dir(path) {
        Ok(list) => list.flatten().map(|entry| of(&entry.path())).sum(),
        Err(_) => of(path),
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
        let id = |path: &Path| fs::metadata(path).map(|found| lock::identity(&found));
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
    /// Says that somebody is at work on it.
    lock: Option<File>,
}

impl Temporary {
    /// Makes something beside `path` under a name that is not taken. `open` gives the open file or directory of it, whose lock is held as long as this is.
    fn beside<T>(
        path: &Path,
        make: impl Fn(&Path) -> io::Result<T>,
        open: impl Fn(&mut T) -> Option<File>,
    ) -> std::result::Result<(T, Temporary), Fault> {
        static COUNTER: AtomicUsize = AtomicUsize::new(0);
        let Some(name) = path.file_name() else {
            return Err(Fault::io("create", &io::Error::new(io::ErrorKind::InvalidInput, "the path does not end in a name")));
        };
        bury(path);
        let mut lost_before = 0;
        loop {
            let mut own = name.to_os_string();
            own.push(format!("{PARTIAL}{}-{}", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed)));
            let own = path.with_file_name(own);
            let mut made = match make(&own) {
                Ok(made) => made,
                // Of a process with our number that cannot be seen from here.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(error) => return Err(Fault::io("create", &error)),
            };
            let lock = open(&mut made);
            // Another may have taken it for a leftover before it had its lock, and is about to remove it.
            let lost = |file: &File| matches!(lock::hold(file, How::TryExclusive), Ok(Held::Taken)) || !lock::is_still(file, &own);
            // Where files have no numbers that stay, it looks lost every time: then it is written without being known as somebody's.
            if lost_before < 8 && lock.as_ref().is_some_and(lost) {
                lost_before += 1;
                remove(&own);
                continue;
            }
            let mut temporary = Temporary::register(own);
            temporary.lock = lock;
            return Ok((made, temporary));
        }
    }

    fn register(path: PathBuf) -> Temporary {
        let slot = CString::new(path.as_os_str().as_encoded_bytes()).ok().and_then(|name| {
            let name = name.into_raw();
            let put = |slot: &&AtomicPtr<_>| slot.compare_exchange(std::ptr::null_mut(), name, Ordering::AcqRel, Ordering::Relaxed).is_ok();
            UNFINISHED.iter().find(put)
        });
        Temporary { path, slot, keep: false, lock: None }
    }

    /// It has become something that stays.
    fn forget(&mut self) {
        self.keep = true;
        self.lock = None;
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
