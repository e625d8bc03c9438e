//! A base file as it grows.
//!
//! It has a name of its own, `FILE.part`, until it is complete. That name stays the same: an interrupted run finds it again, cuts off what came after its last whole chunk, and
//! goes on.

use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use nibble_engine::logits::Row;

use super::{Codec, Head};
use crate::quality::Fault;

/// A file that is being written.
pub struct Writer {
    codec: &'static Codec,
    head: Head,
    path: PathBuf,
    part: PathBuf,
    file: File,
    /// Rows of the chunk that is not complete, where chunks have their length in front.
    chunk: Vec<u8>,
    written: u64,
}

impl Writer {
    /// Begins a file, or goes on with one of which so many bytes are written. Without them, what there is of it is begun anew.
    pub fn create(path: &Path, codec: &'static Codec, head: Head, written: Option<u64>) -> Result<Writer, Fault> {
        let part = part(path);
        let io = |error| Fault::Io { path: part.clone(), error };
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&part).map_err(io)?;
        let there = file.metadata().map_err(io)?.len();
        let bytes = (codec.head)(&head);
        let written = match written.filter(|&n| n <= there && n >= bytes.len() as u64) {
            Some(n) => {
                file.set_len(n).map_err(io)?;
                n
            }
            None => {
                file.set_len(0).map_err(io)?;
                file.write_all(&bytes).map_err(io)?;
                bytes.len() as u64
            }
        };
        file.seek(SeekFrom::Start(written)).map_err(io)?;
        Ok(Writer { codec, head, path: path.to_path_buf(), part, file, chunk: vec![], written })
    }

    /// Whether so many bytes of such a file are there to go on with.
    pub fn can_go_on(path: &Path, written: u64) -> bool {
        std::fs::metadata(part(path)).is_ok_and(|found| found.is_file() && found.len() >= written)
    }

    /// A row as the file keeps it: what may be done on many threads.
    pub fn encode(&self, logits: &[f32], row: &Row, next: u32, out: &mut Vec<u8>) {
        (self.codec.encode)(&self.head, logits, row, next, out);
    }

    /// Adds rows, encoded and in order.
    pub fn rows(&mut self, rows: &[Vec<u8>]) -> Result<(), Fault> {
        for row in rows {
            match self.codec.framed {
                true => self.chunk.extend(row),
                false => self.put(row)?,
            }
        }
        Ok(())
    }

    /// The chunk is complete. Returns the file's length, which is on the disk.
    pub fn end_chunk(&mut self) -> Result<u64, Fault> {
        if self.codec.framed {
            let chunk = std::mem::take(&mut self.chunk);
            self.put(&(chunk.len() as u64).to_le_bytes())?;
            self.put(&chunk)?;
        }
        Ok(self.written)
    }

    /// Makes what is written safe from a loss of power.
    pub fn sync(&mut self) -> Result<(), Fault> {
        self.file.sync_data().map_err(Fault::io(&self.part))
    }

    /// All chunks are there: the file takes its name.
    pub fn finish(mut self) -> Result<(), Fault> {
        self.sync()?;
        std::fs::rename(&self.part, &self.path).map_err(Fault::io(&self.path))
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        self.file.write_all(bytes).map_err(Fault::io(&self.part))?;
        self.written += bytes.len() as u64;
        Ok(())
    }
}

/// The name of a file that is not complete.
fn part(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(".part");
    path.with_file_name(name)
}
