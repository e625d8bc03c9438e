//! A cursor over bytes that cannot be trusted: each read is checked, and each fault says where.

use crate::Fault;

/// Reads little-endian values from the front of a slice and remembers the offset.
#[derive(Clone)]
pub(crate) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

macro_rules! number {
    ($($name:ident: $type:ty),*) => {$(
        pub(crate) fn $name(&mut self, what: &'static str) -> Result<$type, Fault> {
            Ok(<$type>::from_le_bytes(self.array(what)?))
        }
    )*};
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Cursor { bytes, at: 0 }
    }

    /// Bytes from the start of the slice.
    pub(crate) fn offset(&self) -> u64 {
        self.at as u64
    }

    pub(crate) fn left(&self) -> u64 {
        (self.bytes.len() - self.at) as u64
    }

    /// The next `len` bytes, which are said to be `what`.
    pub(crate) fn take(&mut self, len: u64, what: &'static str) -> Result<&'a [u8], Fault> {
        if len > self.left() {
            return Err(Fault::Truncated { what, offset: self.offset(), expected: len, found: self.left() });
        }
        let start = self.at;
        self.at += len as usize;
        Ok(&self.bytes[start..self.at])
    }

    pub(crate) fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], Fault> {
        let bytes = self.take(N as u64, what)?;
        Ok(bytes.try_into().expect("take returns as many bytes as were asked for"))
    }

    number!(u8: u8, i8: i8, u16: u16, i16: i16, u32: u32, i32: i32, u64: u64, i64: i64, f32: f32, f64: f64);

    /// A count of things that take at least `least` bytes each. It is refused where the file cannot hold so many, so that the caller may
    /// reserve memory for it.
    pub(crate) fn count(&mut self, what: &'static str, least: u64, limit: u64) -> Result<u64, Fault> {
        let offset = self.offset();
        let found = self.u64(what)?;
        let limit = limit.min(self.left() / least);
        if found > limit {
            return Err(Fault::TooMany { what, offset, found, limit });
        }
        Ok(found)
    }

    /// A string with its length in front, as GGUF writes it.
    pub(crate) fn string(&mut self, what: &'static str, limit: u64) -> Result<&'a str, Fault> {
        let offset = self.offset();
        let len = self.u64(what)?;
        if len > limit {
            return Err(Fault::TooLong { what, offset, found: len, limit });
        }
        let start = self.offset();
        let bytes = self.take(len, what)?;
        std::str::from_utf8(bytes).map_err(|e| Fault::NotUtf8 { what, offset: start + e.valid_up_to() as u64 })
    }
}

/// `value` rounded up to a multiple of `to`, a power of two.
pub(crate) fn align(value: u64, to: u64) -> Option<u64> {
    value.checked_next_multiple_of(to)
}
