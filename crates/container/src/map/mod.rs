//! Read-only memory mappings of files: the only place that makes them.
//!
//! # What happens when a mapped file becomes shorter
//!
//! A mapping is as long as the file was when it was made. If another program then cuts the file short, the pages past its new end are gone,
//! and the system answers a read of them with the signal SIGBUS, whose default is to end the process without a word. No check beforehand can
//! prevent it, because the file may shrink between the check and the read. So the first mapping installs a handler for that signal (Linux
//! and Android, any CPU). It looks the address up in a table of live mappings. If it lies in one, the handler writes to standard error which file
//! became shorter, removes the partial outputs of this process, and ends it with the code [`SHRUNK_EXIT_CODE`]. Any other address goes to the
//! handler that was there before. On other systems there is no handler; [`Map::check`] tells afterwards whether the length still is what it was.
//!
//! Ending the process, rather than an error, is deliberate: bytes that the program has already read may have changed under its hands, and a
//! read in the middle of a kernel has nobody to return an error to. A disk that fails gives the same signal, and the message says so.
//!
//! A file that is overwritten in place, with its length kept, cannot be noticed at all. The writers of this program never do that to a file
//! (see [`crate::whole`]), and they refuse an output that is one of the inputs.

#[cfg(any(target_os = "linux", target_os = "android"))]
mod shrink;

use std::fs::File;
use std::ops::{Deref, Range};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::{Fault, Result};

/// The exit code after a mapped file became shorter: `EX_IOERR` of sysexits.h.
pub const SHRUNK_EXIT_CODE: i32 = 74;

/// The bytes of a file, mapped for reading. It is shared, not copied, and stays as long as anyone holds it.
pub struct Map {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    _watch: shrink::Watch,
    bytes: memmap2::Mmap,
    path: PathBuf,
    file: File,
}

impl Map {
    /// Maps a regular file. Links are followed.
    pub fn open(path: impl AsRef<Path>) -> Result<Arc<Map>> {
        let path = path.as_ref();
        let io = |doing| move |error: std::io::Error| Fault::io(doing, &error).at(path);
        // To open a pipe would wait for its writer, so the question comes first.
        if !std::fs::metadata(path).map_err(io("open"))?.is_file() {
            return Err(Fault::NotAFile.at(path));
        }
        let file = File::open(path).map_err(io("open"))?;
        // SAFETY: the mapping is private to this value and read-only. That the file may change meanwhile is the hazard that the text above is
        // about: a shorter file ends the process by the handler, and other bytes are other bytes; every parser takes arbitrary ones.
        let bytes = unsafe { memmap2::Mmap::map(&file) }.map_err(io("map"))?;
        // A file that comes from the disk then comes in pages of 2 MiB where the system can make them (ext4 on a plain Linux, not only where huge pages for files were
        // built in), and two threads read those a fifth faster than pages of 4 KiB: a token is such a reading. One that is in memory already stays as it is.
        #[cfg(any(target_os = "linux", target_os = "android"))]
        // SAFETY: the mapping's own address and length; the advice changes no byte, and a system that does not know it says so.
        let _ = unsafe { libc::madvise(bytes.as_ptr().cast_mut().cast(), bytes.len(), libc::MADV_HUGEPAGE) };
        Ok(Arc::new(Map {
            #[cfg(any(target_os = "linux", target_os = "android"))]
            _watch: shrink::Watch::new(&bytes, path),
            bytes,
            path: path.to_path_buf(),
            file,
        }))
    }

    /// The path it was opened by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the file still has the length that it had when it was mapped.
    pub fn check(&self) -> Result<()> {
        let found = self.file.metadata().map_err(|error| Fault::io("read", &error).at(&self.path))?.len();
        match found < self.bytes.len() as u64 {
            true => Err(Fault::Shrunk { expected: self.bytes.len() as u64, found }.at(&self.path)),
            false => Ok(()),
        }
    }

    /// Tells the system that these bytes are not needed for now. They stay readable; the next read brings them back from the file.
    pub fn release(&self, range: Range<usize>) {
        const PAGE: usize = 1 << 16;
        // Only whole pages, of the largest base size in use, so that neighbours stay.
        let start = range.start.next_multiple_of(PAGE);
        let end = range.end.min(self.bytes.len()) / PAGE * PAGE;
        if start < end {
            #[cfg(unix)]
            // SAFETY: the mapping is of a file, shared and never written, so pages that are dropped come back with the file's bytes.
            let _ = unsafe { self.bytes.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, start, end - start) };
        }
    }
}

impl Deref for Map {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl std::fmt::Debug for Map {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "Map({:?}, {} bytes)", self.path, self.bytes.len())
    }
}
