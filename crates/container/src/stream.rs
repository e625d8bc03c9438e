//! What the writers of both kinds share: tensors declared at the start, their data given later, in order and in pieces of any size.

use std::collections::HashSet;
use std::io::Write;

use crate::{Dtype, Fault};

/// A tensor that is to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Declared {
    /// Its name.
    pub name: String,
    /// Its dimensions, outermost first.
    pub shape: Vec<u64>,
    /// Its type.
    pub dtype: Dtype,
}

impl Declared {
    /// A tensor of this name, shape (outermost first) and type.
    pub fn new(name: impl Into<String>, shape: &[u64], dtype: Dtype) -> Declared {
        Declared { name: name.into(), shape: shape.to_vec(), dtype }
    }
}

/// The first name that stands twice.
pub(crate) fn repeated(tensors: &[Declared]) -> Option<&str> {
    let mut names = HashSet::with_capacity(tensors.len());
    tensors.iter().map(|tensor| tensor.name.as_str()).find(|name| !names.insert(*name))
}

/// The data part of a file that is being written.
pub(crate) struct Stream<W: Write> {
    out: W,
    /// Name and bytes of each tensor, in the order of the file.
    tensors: Vec<(String, u64)>,
    alignment: u64,
    /// The tensor that is being written, and how much of it is.
    at: usize,
    done: u64,
}

impl<W: Write> Stream<W> {
    /// Writes the header at once. It ends where the data begins.
    pub(crate) fn start(mut out: W, header: &[u8], tensors: Vec<(String, u64)>, alignment: u64) -> Result<Self, Fault> {
        write(&mut out, header)?;
        Ok(Stream { out, tensors, alignment, at: 0, done: 0 })
    }

    pub(crate) fn next(&self) -> Option<&str> {
        self.tensors.get(self.at).map(|tensor| tensor.0.as_str())
    }

    /// The next piece of the current tensor. It may end the tensor, but not reach into the one after it.
    pub(crate) fn piece(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.skip_empty()?;
        let (tensor, left) = match self.tensors.get(self.at) {
            Some((name, len)) => (name.as_str(), len - self.done),
            None => ("", 0),
        };
        if bytes.len() as u64 > left {
            return Err(Fault::Excess { tensor: tensor.to_string(), expected: left, found: bytes.len() as u64 });
        }
        write(&mut self.out, bytes)?;
        self.done += bytes.len() as u64;
        if bytes.len() as u64 == left { self.close() } else { Ok(()) }
    }

    /// All of the tensor that comes next.
    pub(crate) fn whole(&mut self, name: &str, bytes: &[u8]) -> Result<(), Fault> {
        let Some((expected, len)) = self.tensors.get(self.at) else {
            return Err(Fault::Excess { tensor: String::new(), expected: 0, found: bytes.len() as u64 });
        };
        if self.done > 0 {
            return Err(Fault::Unfinished { tensor: expected.clone(), lacking: len - self.done });
        }
        if expected != name {
            return Err(Fault::Order { expected: expected.clone(), found: name.to_string() });
        }
        if *len != bytes.len() as u64 {
            return Err(Fault::Size { tensor: expected.clone(), expected: *len, found: bytes.len() as u64 });
        }
        if bytes.is_empty() { self.close() } else { self.piece(bytes) }
    }

    /// The sink, once every tensor is complete.
    pub(crate) fn finish(mut self) -> Result<W, Fault> {
        self.skip_empty()?;
        if let Some((tensor, len)) = self.tensors.get(self.at) {
            return Err(Fault::Unfinished { tensor: tensor.clone(), lacking: len - self.done });
        }
        self.out.flush().map_err(|e| Fault::io("write", &e))?;
        Ok(self.out)
    }

    fn skip_empty(&mut self) -> Result<(), Fault> {
        while self.tensors.get(self.at).is_some_and(|tensor| tensor.1 == 0) {
            self.close()?;
        }
        Ok(())
    }

    /// Pads the tensor that is complete, and goes to the next.
    fn close(&mut self) -> Result<(), Fault> {
        let mut padding = self.tensors[self.at].1.next_multiple_of(self.alignment) - self.tensors[self.at].1;
        const ZEROS: [u8; 4096] = [0; 4096];
        while padding > 0 {
            let len = padding.min(ZEROS.len() as u64);
            write(&mut self.out, &ZEROS[..len as usize])?;
            padding -= len;
        }
        self.at += 1;
        self.done = 0;
        Ok(())
    }
}

fn write(out: &mut impl Write, bytes: &[u8]) -> Result<(), Fault> {
    out.write_all(bytes).map_err(|e| Fault::io("write", &e))
}
