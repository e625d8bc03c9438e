//! A session on disk: tokens with their keys and values, so that a long prompt is read once and not each time.
//!
//! All numbers are little endian.
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 8 | `nibbleKV` |
//! | 8 | 4 | version, 1 |
//! | 12 | 4 | layers |
//! | 16 | 8 | type of the cache, `f16`, filled up with zeros |
//! | 24 | 8 | [`fingerprint`] of the model |
//! | 32 | 8 | tokens, n |
//! | 40 | 8 | bytes of a layer, all n positions |
//! | 48 | 4 n | the tokens, filled up with zeros to a multiple of 8 |
//! | | | for each layer its keys and values (`LayerCache::copy_out`), filled up with zeros to a multiple of 8 |
//! | end - 8 | 8 | [`Sum`] of all before |
//!
//! Keys and values fit only the weights that made them, adapters included, in their order of rows and with their cache's type, so another model's are refused. They say nothing
//! about threads or instruction sets, since results do not depend on those, nor about the context's length: the first positions of a longer state are a
//! state too, and only those that a prompt begins with are taken in.
//!
//! The sum finds damage, not malice: who can write the file can write any keys. They are numbers, and wrong ones give wrong text, nothing worse.

use crate::arch::Meta;
use crate::arch::limit;
use crate::source::Kind;
use crate::{Error, Model, Session};
use nibble_container::Map;
use nibble_container::whole::AtomicFile;
use std::io::Write;
use std::path::Path;

const MAGIC: [u8; 8] = *b"nibbleKV";
/// A change of the layout, or of what a key or value is for the same weights, is a new version.
const VERSION: u32 = 1;
const HEADER: usize = 48;
const SUM: usize = 8;

/// Why bytes are no state, or not one for this session.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StateFault {
    /// Another kind of file.
    #[error("this is no saved state: it begins with {found:02x?}, expected \"nibbleKV\"")]
    Magic {
        /// At most the first eight bytes.
        found: Vec<u8>,
    },
    /// Written by another version of this program.
    #[error("the saved state has version {found}, this program reads version {expected}")]
    Version {
        /// Its version.
        found: u32,
        /// Ours.
        expected: u32,
    },
    /// The end comes too early, or something stands after it.
    #[error("the saved state has {found} bytes, expected {expected}")]
    Length {
        /// Bytes that there are.
        found: u64,
        /// Bytes that its header calls for; at least a header's.
        expected: u64,
    },
    /// A count that no model could have.
    #[error("the number of {what} is {found}; at most {most} are possible")]
    Count {
        /// The things.
        what: &'static str,
        /// Their number.
        found: u64,
        /// The limit.
        most: u64,
    },
    /// The bytes are not those that were written.
    #[error("the saved state is damaged: its sum is {found:016x}, expected {expected:016x}")]
    Sum {
        /// The sum of the bytes.
        found: u64,
        /// The sum that stands at the end.
        expected: u64,
    },
    /// Another model's.
    #[error(
        "the saved state was made with another model, another file of it, or other adapters: fingerprint {found:016x}, this one's is {expected:016x}"
    )]
    Model {
        /// Of the model that made it.
        found: u64,
        /// Of the session's model.
        expected: u64,
    },
    /// Another type of cache.
    #[error("the saved state has a cache of type {found:?}, this session one of type {expected:?}")]
    KvType {
        /// Its type.
        found: String,
        /// The session's.
        expected: String,
    },
    /// The right fingerprint with wrong counts: nothing that this program writes.
    #[error("the saved state has {found}, this model {expected}")]
    Shape {
        /// Its layers and their bytes.
        found: String,
        /// The session's.
        expected: String,
    },
    /// A token that the model does not have.
    #[error("token {id} of the saved state is not below the vocabulary's size, {vocab}")]
    Token {
        /// The token.
        id: u32,
        /// The vocabulary's size.
        vocab: usize,
    },
}

/// A running sum over 64-bit words. Each step is a bijection of the sum and of the word, so any change within one word changes the result; of other changes
/// one in 2^64 goes unseen. A few bytes a nanosecond.
#[derive(Debug, Clone)]
pub struct Sum(u64);

impl Sum {
    /// Of nothing.
    pub fn new() -> Sum {
        Sum(0x6a09_e667_f3bc_c908)
    }

    /// Adds a word.
    pub fn word(&mut self, word: u64) {
        self.0 = (self.0 ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(31);
    }

    /// Adds whole words, and what is left as one filled up with zeros.
    pub fn bytes(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks();
        words.iter().for_each(|w| self.word(u64::from_le_bytes(*w)));
        if !rest.is_empty() {
            let mut last = [0; 8];
            last[..rest.len()].copy_from_slice(rest);
            self.word(u64::from_le_bytes(last));
        }
    }

    /// The sum.
    pub fn value(&self) -> u64 {
        self.0
    }
}

impl Default for Sum {
    fn default() -> Sum {
        Sum::new()
    }
}

/// A parsed state; the keys and values stay where they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State<'a> {
    /// The fingerprint of its model.
    pub model: u64,
    /// The type of its cache.
    pub kv: String,
    /// Its tokens.
    pub tokens: Vec<u32>,
    /// Keys and values, one slice a layer, all of one length.
    pub layers: Vec<&'a [u8]>,
}

impl<'a> State<'a> {
    /// Reads the bytes of a file. Pure: no bytes make it panic, and it allocates no more than a small multiple of them.
    pub fn parse(bytes: &'a [u8]) -> Result<State<'a>, StateFault> {
        let found = &bytes[..bytes.len().min(MAGIC.len())];
        if found != MAGIC {
            return Err(StateFault::Magic { found: found.to_vec() });
        }
        let length = |expected: u64| StateFault::Length { found: bytes.len() as u64, expected };
        let header = bytes.get(..HEADER).filter(|_| bytes.len() >= HEADER + SUM).ok_or_else(|| length((HEADER + SUM) as u64))?;
        let half = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let word = |at: usize| u64::from(half(at)) | u64::from(half(at + 4)) << 32;
        let (version, layers) = (half(8), half(12));
        if version != VERSION {
            return Err(StateFault::Version { found: version, expected: VERSION });
        }
        let count = |what, found: u64, most: usize| match found <= most as u64 {
            true => Ok(found as usize),
            false => Err(StateFault::Count { what, found, most: most as u64 }),
        };
        let layers = count("layers", u64::from(layers), limit::LAYERS)?;
        let tokens = count("tokens", word(32), limit::CONTEXT)?;
        let layer = count("bytes of a layer", word(40), MOST_BYTES)?;
        // None of these sums and products can pass 2^64: 2^12 layers of at most 2^48 bytes.
        let (token_bytes, layer_bytes) = ((4 * tokens as u64).next_multiple_of(8), (layer as u64).next_multiple_of(8));
        let expected = HEADER as u64 + token_bytes + layers as u64 * layer_bytes + SUM as u64;
        if bytes.len() as u64 != expected {
            return Err(length(expected));
        }
        let (body, sum) = bytes.split_at(bytes.len() - SUM);
        let expected = u64::from_le_bytes(sum.try_into().expect("split off with this length"));
        let mut own = Sum::new();
        own.bytes(body);
        if own.value() != expected {
            return Err(StateFault::Sum { found: own.value(), expected });
        }
        let (ids, data) = body[HEADER..].split_at(token_bytes as usize);
        let kv = header[16..24].split(|b| *b == 0).next().unwrap_or_default();
        Ok(State {
            model: word(24),
            kv: String::from_utf8_lossy(kv).into_owned(),
            tokens: ids.as_chunks().0[..tokens].iter().map(|b| u32::from_le_bytes(*b)).collect(),
            layers: (0..layers).map(|i| &data[i * layer_bytes as usize..][..layer]).collect(),
        })
    }
}

/// The most bytes of a layer that are believed. They bound products, not memory: the file has to hold them.
const MOST_BYTES: usize = 1 << 48;

/// A number that two models share only if they give the same keys and values: over the configuration, every tensor's name, shape and type, and two rows
/// of each, and all of its adapters. It does not read the whole model, so weights that differ nowhere else are not told apart.
pub fn fingerprint(model: &Model) -> u64 {
    let (source, config) = (model.source(), model.config());
    let mut sum = Sum::new();
    let text = |sum: &mut Sum, text: &str| {
        sum.word(text.len() as u64);
        sum.bytes(text.as_bytes());
    };
    // Rows are in another order in GGUF, and angles are computed as each kind's own programs do.
    sum.word(u64::from(matches!(source.kind(), Kind::Gguf)));
    for (name, value) in config.metadata() {
        text(&mut sum, &name);
        match value {
            Meta::U32(x) => sum.word(u64::from(x)),
            Meta::F32(x) => sum.word(u64::from(x.to_bits())),
            Meta::Text(x) => text(&mut sum, &x),
        }
    }
    config.rope.factors().iter().flatten().for_each(|x| sum.word(u64::from(x.to_bits())));
    for tensor in source.tensors() {
        text(&mut sum, &tensor.spec.gguf);
        text(&mut sum, source.type_name(tensor));
        tensor.spec.shape.iter().for_each(|&n| sum.word(n as u64));
        let mut row = vec![0.0; tensor.cols()];
        for at in [0, tensor.rows() / 2] {
            source.read_stored(tensor, at..at + 1, &mut row);
            row.iter().for_each(|x| sum.word(u64::from(x.to_bits())));
        }
    }
    // Small beside the model, so all of it.
    for delta in model.deltas() {
        text(&mut sum, &delta.tensor);
        sum.word(u64::from(delta.scale.to_bits()));
        for factor in [&delta.a, &delta.b] {
            text(&mut sum, factor.chosen.format().name);
            [factor.rows, factor.cols].iter().for_each(|&n| sum.word(n as u64));
            sum.bytes(factor.bytes());
        }
    }
    sum.value()
}

/// Writes what a session holds to a file, which appears whole or not at all.
pub fn save(session: &Session, path: &Path) -> Result<(), Error> {
    let (model, tokens) = (session.model(), session.tokens());
    let n = tokens.len();
    let layer = session.caches().first().map_or(0, |cache| cache.bytes_of(n));
    let mut kv = [0; 8];
    let name = model.options().kv.name();
    kv[..name.len()].copy_from_slice(name.as_bytes());
    let mut head = Vec::with_capacity(HEADER + 4 * n);
    head.extend(MAGIC);
    head.extend(VERSION.to_le_bytes());
    head.extend((session.caches().len() as u32).to_le_bytes());
    head.extend(kv);
    [fingerprint(model), n as u64, layer as u64].iter().for_each(|x| head.extend(x.to_le_bytes()));
    head.extend(tokens.iter().flat_map(|t| t.to_le_bytes()));

    let mut file = AtomicFile::create(path)?;
    let mut sum = Sum::new();
    let mut put = |part: &mut Vec<u8>| {
        part.resize(part.len().next_multiple_of(8), 0);
        sum.bytes(part);
        file.write_all(part).map_err(|error| Error::Io { path: path.into(), error })
    };
    put(&mut head)?;
    let mut part = Vec::with_capacity(layer + 8);
    for cache in session.caches() {
        part.clear();
        cache.copy_out(n, &mut part);
        put(&mut part)?;
    }
    let sum = sum.value().to_le_bytes();
    file.write_all(&sum).map_err(|error| Error::Io { path: path.into(), error })?;
    Ok(file.commit()?)
}

/// Replaces what a session holds by the beginning of a state: as much of it as `prompt` begins with too, or without a prompt as much as the context holds.
pub fn restore(session: &mut Session, state: &State, prompt: Option<&[u32]>) -> Result<(), StateFault> {
    let (model, saved) = (session.model(), state.tokens.len());
    let expected = fingerprint(model);
    if state.model != expected {
        return Err(StateFault::Model { found: state.model, expected });
    }
    let kv = model.options().kv.name();
    if state.kv != kv {
        return Err(StateFault::KvType { found: state.kv.clone(), expected: kv });
    }
    let shape = |layers: usize, bytes: usize| format!("{layers} layers of {bytes} bytes");
    let expected = (session.caches().len(), session.caches().first().map_or(0, |cache| cache.bytes_of(saved)));
    let found = (state.layers.len(), state.layers.first().map_or(0, |layer| layer.len()));
    if found != expected {
        return Err(StateFault::Shape { found: shape(found.0, found.1), expected: shape(expected.0, expected.1) });
    }
    let vocab = model.config().vocab;
    if let Some(&id) = state.tokens.iter().find(|&&id| id as usize >= vocab) {
        return Err(StateFault::Token { id, vocab });
    }
    let common = |prompt: &[u32]| state.tokens.iter().zip(prompt).take_while(|(a, b)| a == b).count();
    let n = prompt.map_or(saved, common).min(session.context());
    session.replace(&state.tokens[..n], |i, cache| match n {
        0 => {}
        _ => cache.copy_in(saved, n, state.layers[i]),
    });
    Ok(())
}

/// [`restore`] from a file. Returns all tokens of the file.
pub fn load(session: &mut Session, path: &Path, prompt: Option<&[u32]>) -> Result<Vec<u32>, Error> {
    let refuse = |fault| Error::State { path: path.into(), fault };
    let map = Map::open(path)?;
    let state = State::parse(&map).map_err(refuse)?;
    restore(session, &state, prompt).map_err(refuse)?;
    Ok(state.tokens)
}
