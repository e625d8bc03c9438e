//! What a reference model says of every scored token, kept in a file, so that many models are compared with it and it runs once.
//!
//! Two formats, one table: [`CODECS`]. llama-perplexity's (`llama.rs`) keeps every log-probability in 16 bits; the compact one keeps the likeliest and the
//! weight of the rest. Both begin with eight bytes of their own, keep the text's tokens, and then a row a scored position, chunk after chunk; all
//! numbers are little endian. Only chunks are kept, no sliding windows.

mod compact;
mod join;
mod llama;
mod write;

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nibble_container::Map;
use nibble_engine::logits::Row;
use nibble_engine::state::Sum;

use super::Fault;

pub use join::join;
pub use write::Writer;

/// A file's head, and where its chunks are.
type Layout = (Head, Vec<Range<usize>>);
/// The rows of a chunk.
type Slices<'a> = Vec<&'a [u8]>;

/// A format of base files.
#[derive(Debug)]
pub struct Codec {
    /// `llama`, `compact`.
    pub name: &'static str,
    /// A file's first bytes.
    magic: &'static [u8; 8],
    /// A file's head, from its first byte to the first chunk.
    head: fn(&Head) -> Vec<u8>,
    /// Reads a file's head and says where its chunks are. Pure: no bytes make it panic.
    parse: fn(&[u8]) -> Result<Layout, BaseFault>,
    /// The rows of a chunk, all checked.
    rows: for<'a> fn(&Head, &'a [u8]) -> Result<Slices<'a>, BaseFault>,
    /// A row of logits, and the token that comes next, as the file keeps them.
    encode: fn(&Head, &[f32], &Row, u32, &mut Vec<u8>),
    /// A row against another model's logits and the token that comes next.
    versus: fn(&[u8], &[f32], &Row, u32) -> Versus,
    /// Chunks have their length in front, as a u64.
    framed: bool,
    /// Divergences have an error, because not all tokens are kept.
    drawn: bool,
}

/// Every format.
pub static CODECS: &[&Codec] = &[&llama::CODEC, &compact::CODEC];

/// What llama-perplexity reads and writes.
pub static LLAMA: &Codec = &llama::CODEC;
/// At least 20 times smaller, for vocabularies of 4,096 and more.
pub static COMPACT: &Codec = &compact::CODEC;

/// What a file says of itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Head {
    /// Tokens of a chunk.
    pub context: usize,
    /// Tokens of the vocabulary.
    pub vocab: usize,
    /// The text's tokens, `context` for each chunk.
    pub tokens: Vec<u32>,
    /// Compact: at most so many entries a row,
    pub most: usize,
    /// and no more once the tokens that are left are together no likelier than this.
    pub rest: f32,
}

impl Head {
    /// With the compact format's usual limits: a 36th of the vocabulary, which makes a row 20 times smaller even at its longest, and a rest of one in 100,000.
    pub fn new(context: usize, vocab: usize, tokens: Vec<u32>) -> Head {
        Head { context, vocab, tokens, most: (vocab / 36).clamp(1, usize::from(u16::MAX)), rest: 1e-5 }
    }

    /// Chunks.
    pub fn chunks(&self) -> usize {
        self.tokens.len() / self.context
    }

    /// Scored positions of a chunk.
    pub fn scored(&self) -> usize {
        self.context - 1 - self.context / 2
    }
}

/// One position of a model beside the reference.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Versus {
    /// What the reference gives the token that comes next: -log p.
    pub nll_base: f64,
    /// KL(reference || model), in nats.
    pub kl: f64,
    /// Its standard error where the file keeps not all of the reference, else 0.
    pub error: f64,
    /// Both think the same token the likeliest.
    pub same_top: bool,
}

/// Why bytes are no base file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BaseFault {
    /// Another kind of file.
    #[error("not a file of log-probabilities: it begins with {found:02x?}, expected \"_logits_\" or \"nibbleKB\"")]
    Magic {
        /// Its first bytes, eight at most.
        found: Vec<u8>,
    },
    /// Written by another version of this program.
    #[error("its version is {found}, this program reads version {expected}")]
    Version {
        /// Its version.
        found: u32,
        /// Ours.
        expected: u32,
    },
    /// A number in the head that cannot be.
    #[error("{what} is {found}, which cannot be")]
    Number {
        /// Which.
        what: &'static str,
        /// Its value.
        found: i64,
    },
    /// The end comes too early: an interrupted run.
    #[error("it ends early: {found} bytes, expected {expected}; {chunks} of its {of} chunks are whole")]
    Truncated {
        /// Bytes that there are.
        found: u64,
        /// Bytes that its head calls for; of a compact base, that there must be at least.
        expected: u64,
        /// Chunks that are whole.
        chunks: usize,
        /// All that its head tells of.
        of: usize,
    },
    /// Something stands after the end.
    #[error("{0} bytes stand after its end")]
    Trailing(u64),
    /// A token that the vocabulary does not have.
    #[error("token {id} at {at} is not below the vocabulary's size, {vocab}")]
    Token {
        /// The token.
        id: u32,
        /// Its place in the text.
        at: usize,
        /// The vocabulary's size.
        vocab: usize,
    },
    /// A row whose bytes make no row.
    #[error("row {row} of a chunk: {what}")]
    Row {
        /// Which.
        row: usize,
        /// What is wrong with it.
        what: &'static str,
    },
}

/// An opened file.
pub struct Base {
    path: PathBuf,
    map: Arc<Map>,
    codec: &'static Codec,
    head: Head,
    chunks: Vec<Range<usize>>,
}

impl Base {
    /// Opens a file of either format. Reads its head only.
    pub fn open(path: &Path) -> Result<Base, Fault> {
        let map = Map::open(path)?;
        let at = |fault| Fault::Base { path: path.to_path_buf(), fault };
        let (codec, head, chunks) = parse(&map).map_err(at)?;
        Ok(Base { path: path.to_path_buf(), map, codec, head, chunks })
    }

    /// Where it was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its format.
    pub fn codec(&self) -> &'static Codec {
        self.codec
    }

    /// What it says of itself.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// Its bytes.
    pub fn len(&self) -> usize {
        self.map.len()
    }

    /// Never: a file has a head.
    pub fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// The rows of a chunk.
    pub fn chunk(&self, i: usize) -> Result<Rows<'_>, Fault> {
        let rows = (self.codec.rows)(&self.head, &self.map[self.chunks[i].clone()]);
        let rows = rows.map_err(|fault| Fault::Base { path: self.path.clone(), fault })?;
        Ok(Rows { codec: self.codec, rows })
    }

    /// Tells the system that a chunk is not needed any more: a file may be larger than the memory.
    pub fn release(&self, i: usize) {
        self.map.release(self.chunks[i].clone());
    }

    /// A number that two files share only if they say the same: over the head, and the beginning of each chunk.
    pub fn fingerprint(&self) -> u64 {
        let mut sum = Sum::new();
        sum.bytes(&self.map[..self.chunks[0].start]);
        for chunk in &self.chunks {
            sum.bytes(&self.map[chunk.start..chunk.end.min(chunk.start + 256)]);
        }
        sum.value()
    }

    /// The same in hexadecimal, as runs keep it.
    pub fn name(&self) -> String {
        format!("{:016x}", self.fingerprint())
    }

    /// Whether a file begins as a base file does: what else is wrong with it is said when it is opened.
    pub fn is_one(path: &Path) -> bool {
        let mut magic = [0; 8];
        let read = std::fs::File::open(path).and_then(|mut file| std::io::Read::read_exact(&mut file, &mut magic));
        read.is_ok() && CODECS.iter().any(|codec| *codec.magic == magic)
    }
}

/// The rows of a chunk.
pub struct Rows<'a> {
    codec: &'static Codec,
    rows: Vec<&'a [u8]>,
}

impl Rows<'_> {
    /// Whether divergences have an error, because not all tokens are kept.
    pub fn has_error(&self) -> bool {
        self.codec.drawn
    }

    /// Row `i` beside a model's logits and the token that comes next.
    pub fn versus(&self, i: usize, logits: &[f32], row: &Row, next: u32) -> Versus {
        (self.codec.versus)(self.rows[i], logits, row, next)
    }
}

type Parsed = (&'static Codec, Head, Vec<Range<usize>>);

/// Reads the head of a file of any format. Pure: no bytes make it panic, and it allocates no more than a small multiple of them.
pub fn parse(bytes: &[u8]) -> Result<Parsed, BaseFault> {
    let magic = &bytes[..bytes.len().min(8)];
    let codec = CODECS.iter().find(|codec| codec.magic == magic).ok_or_else(|| BaseFault::Magic { found: magic.to_vec() })?;
    let (head, chunks) = (codec.parse)(bytes)?;
    Ok((codec, head, chunks))
}

/// Limits of what is believed: no model has more.
const MOST_CONTEXT: u32 = 1 << 24;
const MOST_VOCAB: u32 = 1 << 24;

/// The little-endian number at `at`, which must be there.
fn number(bytes: &[u8], at: usize) -> u32 {
    bytes[at..at + 4].try_into().map(u32::from_le_bytes).expect("four bytes")
}

fn float(bytes: &[u8], at: usize) -> f32 {
    f32::from_bits(number(bytes, at))
}

fn half_word(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

/// Context, vocabulary and number of chunks at three places of a head, and that there are bytes for `head` and all tokens after it.
fn counts(bytes: &[u8], at: [usize; 3], head: usize) -> Result<(usize, usize, usize), BaseFault> {
    let truncated = |expected: u64, of| BaseFault::Truncated { found: bytes.len() as u64, expected, chunks: 0, of };
    if bytes.len() < head {
        return Err(truncated(head as u64, 0));
    }
    let [context, vocab, chunks] = at.map(|at| number(bytes, at));
    for (what, found, least, most) in [
        ("its context", context, super::windows::LEAST as u32, MOST_CONTEXT),
        ("its vocabulary", vocab, 1, MOST_VOCAB),
        ("its number of chunks", chunks, 1, i32::MAX as u32),
    ] {
        if !(least..=most).contains(&found) {
            return Err(BaseFault::Number { what, found: i64::from(found as i32) });
        }
    }
    let tokens = u64::from(context) * u64::from(chunks);
    let expected = head as u64 + 4 * tokens;
    if (bytes.len() as u64) < expected {
        return Err(truncated(expected, chunks as usize));
    }
    Ok((context as usize, vocab as usize, chunks as usize))
}

/// The tokens at `at`, each below `vocab`.
fn tokens(bytes: &[u8], at: usize, count: usize, vocab: usize) -> Result<Vec<u32>, BaseFault> {
    let tokens: Vec<u32> = bytes[at..at + 4 * count].as_chunks().0.iter().map(|b| u32::from_le_bytes(*b)).collect();
    match tokens.iter().position(|&id| id as usize >= vocab) {
        Some(at) => Err(BaseFault::Token { id: tokens[at], at, vocab }),
        None => Ok(tokens),
    }
}

#[cfg(test)]
mod tests;
