//! The SHA-256 of a file's bytes: the name of a blob.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest as _, Sha256};

use crate::{Error, Result};

/// A SHA-256. It is written `sha256:` and 64 hexadecimal digits; as the name of a file `sha256-` and the same digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// Of some bytes.
    pub fn of(bytes: &[u8]) -> Digest {
        let mut hasher = Hasher::default();
        hasher.update(bytes);
        hasher.finish()
    }

    /// `sha256-…`, the name of its file in `blobs/`.
    pub fn file_name(&self) -> String {
        format!("sha256-{}", self.hex())
    }

    /// The 64 digits alone.
    pub fn hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The first twelve digits, as lists show it.
    pub fn short(&self) -> String {
        self.hex()[..12].to_string()
    }

    /// From 64 hexadecimal digits, upper or lower case, without a prefix.
    pub fn from_hex(text: &str) -> Option<Digest> {
        let digits = text.as_bytes();
        if digits.len() != 64 {
            return None;
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks(2)) {
            let digit = |c: u8| (c as char).to_digit(16);
            *byte = (digit(pair[0])? * 16 + digit(pair[1])?) as u8;
        }
        Some(Digest(bytes))
    }

    /// The digest that is the name of a file in `blobs/`.
    pub(crate) fn from_file_name(name: &str) -> Option<Digest> {
        // Only the spelling that we write: two names for one blob would be two blobs.
        Digest::from_hex(name.strip_prefix("sha256-")?).filter(|digest| digest.file_name() == name)
    }
}

impl FromStr for Digest {
    type Err = Error;

    /// Takes `sha256:…` and `sha256-…`.
    fn from_str(text: &str) -> Result<Digest> {
        let digits = text.strip_prefix("sha256:").or_else(|| text.strip_prefix("sha256-"));
        digits.and_then(Digest::from_hex).ok_or_else(|| Error::Digest { text: crate::error::shorten(text) })
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Takes bytes as they come.
#[derive(Clone, Default)]
pub(crate) struct Hasher(Sha256);

impl Hasher {
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(crate) fn finish(self) -> Digest {
        Digest(self.0.finalize().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_the_published_vector() {
        // FIPS 180-2, B.1.
        let text = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(Digest::of(b"abc").to_string(), text);
        assert_eq!(text.parse::<Digest>().unwrap(), Digest::of(b"abc"));
        assert_eq!(Digest::from_file_name(&Digest::of(b"abc").file_name()), Some(Digest::of(b"abc")));
        assert_eq!(Digest::of(b"abc").short(), "ba7816bf8f01");
    }

    #[test]
    fn what_is_no_digest_is_refused() {
        let upper = format!("sha256-{}", "A".repeat(64));
        assert!(upper.parse::<Digest>().is_ok() && Digest::from_file_name(&upper).is_none());
        for text in ["", "sha256:", "sha256:abc", "md5:ba78", &format!("sha256:{}", "g".repeat(64)), &format!("sha256:{}é", "a".repeat(62))]
        {
            assert!(text.parse::<Digest>().is_err(), "{text}");
        }
    }
}
