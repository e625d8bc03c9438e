//! How far a download is, on the disk: which pieces of the file are whole.
//!
//! ```text
//! {"what":"https://huggingface.co/org/repo/m.gguf","size":2019377376,"piece":33554432,"etag":"…","sha256":"sha256:…"}
//! 0
//! 3
//! 1
//! ```
//!
//! A line is added when the piece's bytes are on the disk, and synced; a last line without its end is what a sudden death leaves, and is not believed.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::blobs::{full, sync_directory};
use crate::{Digest, Error, Result};

/// What the file is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Head {
    /// Where it is fetched, without a revision: what the same file is known by after it has changed.
    pub(crate) what: String,
    pub(crate) size: u64,
    /// Bytes of a piece; the last may be shorter.
    pub(crate) piece: u64,
    pub(crate) etag: Option<String>,
    pub(crate) sha256: Option<String>,
}

impl Head {
    pub(crate) fn pieces(&self) -> u64 {
        self.size.div_ceil(self.piece)
    }

    /// The bytes of a piece: first, and first that is not in it.
    pub(crate) fn range(&self, piece: u64) -> (u64, u64) {
        (piece * self.piece, (piece + 1).saturating_mul(self.piece).min(self.size))
    }

    /// Whether bytes fetched under `self` belong to what `now` describes.
    pub(crate) fn is_still(&self, now: &Head) -> bool {
        let differ = |a: &Option<String>, b: &Option<String>| matches!((a, b), (Some(a), Some(b)) if a != b);
        let known = self.etag.is_some() && now.etag.is_some() || self.sha256.is_some() && now.sha256.is_some();
        self.size == now.size && self.piece > 0 && known && !differ(&self.etag, &now.etag) && !differ(&self.sha256, &now.sha256)
    }
}

/// A journal that is open.
#[derive(Debug)]
pub(crate) struct Journal {
    pub(crate) head: Head,
    file: File,
    path: PathBuf,
    whole: Vec<bool>,
}

impl Journal {
    /// A new one, in place of what is there.
    pub(crate) fn create(path: &Path, head: Head) -> Result<Journal> {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(path).map_err(Error::io(path, "create"))?;
        let mut line = serde_json::to_vec(&head).expect("strings and numbers are JSON");
        line.push(b'\n');
        file.write_all(&line).and_then(|()| file.sync_all()).map_err(|error| full(error, path, line.len() as u64))?;
        sync_directory(path.parent().unwrap_or(Path::new(".")));
        let whole = vec![false; head.pieces() as usize];
        Ok(Journal { head, file, path: path.to_path_buf(), whole })
    }

    /// One that is there and makes sense.
    pub(crate) fn open(path: &Path) -> Option<Journal> {
        let bytes = fs::read(path).ok()?;
        let (head, whole, good) = parse(&bytes)?;
        let file = OpenOptions::new().append(true).open(path).ok()?;
        // What a sudden death has left of a last line must not join the next one.
        file.set_len(good).ok()?;
        Some(Journal { head, file, path: path.to_path_buf(), whole })
    }

    /// The pieces that are whole.
    pub(crate) fn whole(&self) -> &[bool] {
        &self.whole
    }

    /// Bytes of pieces that are whole.
    pub(crate) fn bytes(&self) -> u64 {
        (0..).zip(&self.whole).filter(|(_, whole)| **whole).map(|(piece, _)| self.head.range(piece)).map(|(first, end)| end - first).sum()
    }

    /// A piece's bytes are on the disk.
    pub(crate) fn add(&mut self, piece: u64) -> Result<()> {
        let line = format!("{piece}\n");
        self.file.write_all(line.as_bytes()).and_then(|()| self.file.sync_data()).map_err(|error| full(error, &self.path, 64))?;
        self.whole[piece as usize] = true;
        Ok(())
    }
}

/// Head, whole pieces, and the bytes up to which the text is good.
fn parse(bytes: &[u8]) -> Option<(Head, Vec<bool>, u64)> {
    let end = bytes.iter().position(|&c| c == b'\n')?;
    let head: Head = serde_json::from_slice(&bytes[..end]).ok()?;
    // No more pieces than a file of this size can have lines about them: a damaged head must not make us allocate.
    if head.piece == 0 || head.pieces() > 1 << 24 {
        return None;
    }
    let mut whole = vec![false; head.pieces() as usize];
    let mut good = end + 1;
    while let Some(length) = bytes[good..].iter().position(|&c| c == b'\n') {
        let number = std::str::from_utf8(&bytes[good..good + length]).ok().and_then(|text| text.parse::<usize>().ok());
        match number.and_then(|number| whole.get_mut(number)) {
            Some(piece) => *piece = true,
            None => break,
        }
        good += length + 1;
    }
    Some((head, whole, good as u64))
}

/// The head of a journal, for who looks through those that are there.
pub(crate) fn head(path: &Path) -> Option<(Head, u64)> {
    let (head, whole, _) = parse(&fs::read(path).ok()?)?;
    let bytes = (0..).zip(whole).filter(|(_, whole)| *whole).map(|(piece, _)| head.range(piece)).map(|(first, end)| end - first).sum();
    Some((head, bytes))
}

/// The digest of the head, if it has one that is.
pub(crate) fn digest(head: &Head) -> Option<Digest> {
    head.sha256.as_deref()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn some_head() -> Head {
        Head { what: "x".into(), size: 100, piece: 30, etag: Some("e".into()), sha256: None }
    }

    #[test]
    fn pieces_come_back_and_a_torn_line_does_not_count() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut journal = Journal::create(&path, some_head()).unwrap();
        journal.add(3).unwrap();
        journal.add(0).unwrap();
        assert_eq!(journal.bytes(), 40);
        fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"1").unwrap();
        let mut journal = Journal::open(&path).unwrap();
        assert_eq!((journal.whole(), journal.bytes()), (&[true, false, false, true][..], 40));
        journal.add(2).unwrap();
        assert_eq!(Journal::open(&path).unwrap().whole(), [true, false, true, true]);
        assert_eq!(head(&path).unwrap(), (some_head(), 70));
    }

    #[test]
    fn only_what_is_known_to_be_the_same_is_gone_on_with() {
        let head = some_head();
        let with = |etag: Option<&str>, sha256: Option<&str>, size| Head {
            etag: etag.map(Into::into),
            sha256: sha256.map(Into::into),
            size,
            ..head.clone()
        };
        assert!(head.is_still(&with(Some("e"), None, 100)));
        assert!(head.is_still(&with(Some("e"), Some("s"), 100)));
        assert!(!head.is_still(&with(Some("f"), None, 100)));
        assert!(!head.is_still(&with(Some("e"), None, 101)));
        assert!(!head.is_still(&with(None, None, 100)));
        assert!(with(None, Some("s"), 100).is_still(&with(None, Some("s"), 100)));
        assert!(!with(Some("e"), Some("s"), 100).is_still(&with(Some("f"), Some("s"), 100)));
    }

    proptest! {
        #[test]
        fn damaged_bytes_are_no_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..40), at in 0usize..120) {
            let mut text = serde_json::to_vec(&some_head()).unwrap();
            text.extend_from_slice(b"\n0\n2\n");
            text.truncate(at);
            text.append(&mut bytes);
            let _ = parse(&text);
        }
    }
}
