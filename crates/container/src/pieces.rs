//! Writing in pieces that the system can keep in large pages.
//!
//! A file that was just written is read from the pages that the writing left in memory, and how large those are is decided by each `write`: Linux (ext4 since
//! 6.16, XFS since 5.18) makes a page of 2 MiB of one that covers it whole, and 512 of 4 KiB of anything less. A model is mapped and read from end to end for
//! every token, so small pages cost every token a walk through the page tables for each of them, under a hypervisor two. Hence pieces of 2 MiB at multiples of
//! 2 MiB, whatever the sizes in which the bytes come. Measured on Linux 6.18 (ext4, a virtual machine): of a file of 400 MiB written in pieces of 1 MiB
//! nothing is mapped in large pages afterwards, of one in pieces of 2 MiB all.

use std::io::{self, Seek, SeekFrom, Write};

/// Bytes that one write must cover, from a multiple of them on, to be kept in a large page: its size on x86-64, and on AArch64 with pages of 4 KiB.
pub const LARGE_PAGE: usize = 2 << 20;

/// A writer that gives whole pieces to another. Nothing is written when it is dropped: see [`into_inner`](Self::into_inner).
#[derive(Debug)]
pub(crate) struct Pieces<W> {
    out: W,
    /// What has not been written yet: less than a piece, up to the end of one.
    waiting: Vec<u8>,
    /// Where it belongs.
    at: u64,
}

impl<W: Write + Seek> Pieces<W> {
    /// Begins at the place 0 of `out`, where that must be.
    pub fn new(out: W) -> Self {
        Pieces { out, waiting: Vec::new(), at: 0 }
    }

    /// Writes what waits, and gives back the writer.
    pub fn into_inner(mut self) -> io::Result<W> {
        self.flush()?;
        Ok(self.out)
    }

    /// Bytes up to the end of the piece in which the next one belongs.
    fn room(&self) -> usize {
        LARGE_PAGE - (self.at as usize % LARGE_PAGE + self.waiting.len()) % LARGE_PAGE
    }

    /// Writes what waits.
    fn pass_on(&mut self) -> io::Result<()> {
        // What a failed write has taken of it is not known, so nothing is tried again.
        let waiting = std::mem::take(&mut self.waiting);
        self.out.write_all(&waiting)?;
        self.at += waiting.len() as u64;
        // The memory is used again.
        self.waiting = waiting;
        self.waiting.clear();
        Ok(())
    }
}

impl<W: Write + Seek> Write for Pieces<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = self.room();
        if bytes.len() < room {
            self.waiting.extend_from_slice(bytes);
            return Ok(bytes.len());
        }
        if self.waiting.is_empty() {
            // As many pieces as there are, without a copy.
            let whole = room + (bytes.len() - room) / LARGE_PAGE * LARGE_PAGE;
            self.out.write_all(&bytes[..whole])?;
            self.at += whole as u64;
            return Ok(whole);
        }
        self.waiting.extend_from_slice(&bytes[..room]);
        self.pass_on()?;
        Ok(room)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.pass_on()?;
        self.out.flush()
    }
}

impl<W: Write + Seek> Seek for Pieces<W> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.pass_on()?;
        self.at = self.out.seek(to)?;
        Ok(self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Remembers where each write began and ended.
    #[derive(Default)]
    struct Seen {
        file: io::Cursor<Vec<u8>>,
        writes: Vec<(u64, u64)>,
    }

    impl Write for Seen {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let from = self.file.position();
            let n = self.file.write(bytes)?;
            if n > 0 {
                self.writes.push((from, from + n as u64));
            }
            Ok(n)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Seek for Seen {
        fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
            self.file.seek(to)
        }
    }

    fn numbered(from: usize, len: usize) -> Vec<u8> {
        (from..from + len).map(|i| (i % 251) as u8).collect()
    }

    #[test]
    fn whole_pieces_go_out_whatever_the_sizes_that_come_in() {
        let mut out = Pieces::new(Seen::default());
        let mut total = 0;
        for len in [1, LARGE_PAGE - 1, 7, 3 * LARGE_PAGE, LARGE_PAGE, 100_000, 2 * LARGE_PAGE - 100_007, 5] {
            out.write_all(&numbered(total, len)).unwrap();
            total += len;
        }
        let seen = out.into_inner().unwrap();
        assert!(seen.file.get_ref() == &numbered(0, total));
        let (last, before) = seen.writes.split_last().unwrap();
        assert_eq!(last.1, total as u64);
        for (from, to) in before {
            assert!(from % LARGE_PAGE as u64 == 0 && to % LARGE_PAGE as u64 == 0, "{from} to {to}");
        }
        assert_eq!(last.0 % LARGE_PAGE as u64, 0);
    }

    #[test]
    fn after_a_seek_pieces_end_where_they_would_have() {
        let mut out = Pieces::new(Seen::default());
        out.write_all(&numbered(0, 3 * LARGE_PAGE)).unwrap();
        out.write_all(b"end").unwrap();
        assert_eq!(out.seek(SeekFrom::Start(10)).unwrap(), 10);
        out.write_all(&vec![b'x'; LARGE_PAGE]).unwrap();
        out.flush().unwrap();
        let seen = out.into_inner().unwrap();
        let mut want = numbered(0, 3 * LARGE_PAGE);
        want[10..10 + LARGE_PAGE].fill(b'x');
        want.extend_from_slice(b"end");
        assert!(seen.file.get_ref() == &want);
        assert_eq!(seen.writes[2..], [(10, LARGE_PAGE as u64), (LARGE_PAGE as u64, LARGE_PAGE as u64 + 10)]);
    }

    #[test]
    fn a_writer_that_fails_is_said_and_not_asked_again_for_the_same_bytes() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        impl Seek for Full {
            fn seek(&mut self, _: SeekFrom) -> io::Result<u64> {
                Ok(0)
            }
        }
        let mut out = Pieces::new(Full);
        out.write_all(b"waits").unwrap();
        assert_eq!(out.flush().unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert!(out.waiting.is_empty());
    }
}
