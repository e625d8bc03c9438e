//! Vocabulary from the metadata of a GGUF file.

use super::{Algorithm, Merge, Prefix, SpecialIds, TextError, TokenType, Vocab, pieces::Pieces, pretokenize};
use std::borrow::Cow;

/// A metadata value, as far as vocabularies use them.
#[derive(Clone, Debug, PartialEq)]
pub enum Meta<'a> {
    /// A truth value.
    Bool(bool),
    /// An unsigned 32-bit integer (the file may hold any integer that fits).
    U32(u32),
    /// A string.
    Str(Cow<'a, str>),
    /// An array of strings.
    Strs(Vec<Cow<'a, str>>),
    /// An array of 32-bit integers.
    I32s(Vec<i32>),
    /// An array of 32-bit floats.
    F32s(Vec<f32>),
}

impl Meta<'_> {
    /// The kind, for messages.
    fn kind(&self) -> &'static str {
        match self {
            Meta::Bool(_) => "a truth value",
            Meta::U32(_) => "an integer",
            Meta::Str(_) => "a string",
            Meta::Strs(_) => "an array of strings",
            Meta::I32s(_) => "an array of integers",
            Meta::F32s(_) => "an array of floats",
        }
    }
}

/// Something with metadata by key.
pub trait Metadata {
    /// The value of a key; `None` where there is none, or one of another kind than [`Meta`] knows.
    fn meta(&self, key: &str) -> Option<Meta<'_>>;
}

impl Metadata for Vec<(String, Meta<'_>)> {
    fn meta(&self, key: &str) -> Option<Meta<'_>> {
        self.iter().find(|(k, _)| k == key).map(|(_, v)| v.clone())
    }
}

struct Reader<'a> {
    file: &'a str,
    metadata: &'a dyn Metadata,
}

impl<'a> Reader<'a> {
    fn wrong(&self, key: &str, found: impl Into<String>, expected: impl Into<String>) -> TextError {
        TextError::Field {
            file: self.file.to_string(),
            field: format!("tokenizer.ggml.{key}"),
            found: found.into(),
            expected: expected.into(),
        }
    }

    fn get(&self, key: &str) -> Option<Meta<'a>> {
        self.metadata.meta(&format!("tokenizer.ggml.{key}"))
    }

    fn string(&self, key: &str) -> Result<Option<Cow<'a, str>>, TextError> {
        match self.get(key) {
            None => Ok(None),
            Some(Meta::Str(s)) => Ok(Some(s)),
            Some(other) => Err(self.wrong(key, other.kind(), "a string")),
        }
    }

    fn strings(&self, key: &str) -> Result<Option<Vec<Cow<'a, str>>>, TextError> {
        match self.get(key) {
            None => Ok(None),
            Some(Meta::Strs(s)) => Ok(Some(s)),
            Some(other) => Err(self.wrong(key, other.kind(), "an array of strings")),
        }
    }

    fn flag(&self, key: &str) -> Result<Option<bool>, TextError> {
        match self.get(key) {
            None => Ok(None),
            Some(Meta::Bool(b)) => Ok(Some(b)),
            Some(other) => Err(self.wrong(key, other.kind(), "a truth value")),
        }
    }

    /// An id. Some writers put 4294967295 for "none", and llama.cpp ignores ids past the vocabulary: so does this.
    fn id(&self, key: &str, n: usize) -> Result<Option<u32>, TextError> {
        match self.get(key) {
            None => Ok(None),
            Some(Meta::U32(id)) => Ok(Some(id).filter(|id| (*id as usize) < n)),
            Some(other) => Err(self.wrong(key, other.kind(), "an integer")),
        }
    }
}

impl Vocab {
    /// Reads the vocabulary of a GGUF file. `file` names it in errors.
    pub fn from_gguf(file: &str, metadata: &dyn Metadata) -> Result<Vocab, TextError> {
        let read = Reader { file, metadata };
        let model = read.string("model")?.ok_or_else(|| read.wrong("model", "missing", "gpt2 or llama"))?;
        let tokens = read.strings("tokens")?.ok_or_else(|| read.wrong("tokens", "missing", "an array of strings"))?;
        let n = tokens.len();
        let types = match read.get("token_type") {
            None => None,
            Some(Meta::I32s(types)) => Some(types),
            Some(other) => return Err(read.wrong("token_type", other.kind(), "an array of integers")),
        };
        let types: Vec<TokenType> = match types {
            None => vec![TokenType::Normal; n],
            Some(types) => types.iter().map(|t| TokenType::from_number(i64::from(*t))).collect(),
        };
        let ids = SpecialIds {
            bos: read.id("bos_token_id", n)?,
            eos: read.id("eos_token_id", n)?,
            eot: read.id("eot_token_id", n)?,
            eom: read.id("eom_token_id", n)?,
            unk: read.id("unknown_token_id", n)?,
            sep: read.id("seperator_token_id", n)?,
            pad: read.id("padding_token_id", n)?,
            mask: read.id("mask_token_id", n)?,
        };
        let tokens: Vec<String> = tokens.into_iter().map(Cow::into_owned).collect();
        let chat_template = match metadata.meta("tokenizer.chat_template") {
            Some(Meta::Str(s)) => Some(s.into_owned()),
            _ => None,
        };
        let vocab = Vocab {
            algorithm: Algorithm::SentencePiece { prefix: Prefix::EACH, collapse: false, split: false, quiet_user_defined: false },
            tokens,
            types,
            scores: Vec::new(),
            scores_from_merges: false,
            merges: Vec::new(),
            added: Vec::new(),
            ids,
            more_ends: Vec::new(),
            add_bos: read.flag("add_bos_token")?,
            add_eos: read.flag("add_eos_token")?,
            add_space_prefix: read.flag("add_space_prefix")?,
            chat_template,
        };
        // The tables below index by token: lengths must agree first.
        let vocab = vocab.check(file)?;
        match model.as_ref() {
            "gpt2" => byte_level(&read, vocab),
            "llama" => sentence_piece(&read, vocab),
            other => Err(TextError::Kind { file: file.to_string(), kind: other.to_string() }),
        }
    }
}

fn byte_level(read: &Reader<'_>, mut vocab: Vocab) -> Result<Vocab, TextError> {
    let unknown = |found: String| TextError::PreTokenizer { file: read.file.to_string(), found, known: pretokenize::names() };
    let pre = read.string("pre")?.ok_or_else(|| unknown("(tokenizer.ggml.pre is missing; convert the model again)".to_string()))?;
    let pre = pretokenize::by_name(&pre).ok_or_else(|| unknown(format!("{pre:?}")))?;
    let merges = read.strings("merges")?.ok_or_else(|| read.wrong("merges", "missing", "an array of strings"))?;
    vocab.merges =
        parse_merges(&vocab, &merges).map_err(|(i, what)| read.wrong(&format!("merges[{i}]"), what, "two tokens that join to a third"))?;
    vocab.algorithm = Algorithm::ByteLevel { pre, ignore_merges: pre.ignore_merges };
    vocab.check(read.file)
}

fn sentence_piece(read: &Reader<'_>, mut vocab: Vocab) -> Result<Vocab, TextError> {
    vocab.scores = match read.get("scores") {
        None => return Err(read.wrong("scores", "missing", "an array of floats")),
        Some(Meta::F32s(scores)) => scores,
        Some(Meta::I32s(scores)) => scores.into_iter().map(|s| s as f32).collect(),
        Some(other) => return Err(read.wrong("scores", other.kind(), "an array of floats")),
    };
    // Written by this program where the scores were only ever a likeness of merges by rank.
    if let Some(merges) = read.strings("merges")? {
        vocab.merges = parse_merges(&vocab, &merges)
            .map_err(|(i, what)| read.wrong(&format!("merges[{i}]"), what, "two tokens that join to a third"))?;
        vocab.scores_from_merges = !vocab.merges.is_empty();
    }
    let n = vocab.len();
    let default = |id: u32, kind: TokenType| Some(id).filter(|id| vocab.types.get(*id as usize) == Some(&kind));
    vocab.ids.bos = vocab.ids.bos.or(default(1, TokenType::Control));
    vocab.ids.eos = vocab.ids.eos.or(default(2, TokenType::Control));
    vocab.ids.unk = vocab.ids.unk.or(default(0, TokenType::Unknown)).filter(|id| (*id as usize) < n);
    let prefix = if vocab.add_space_prefix == Some(false) { Prefix::NONE } else { Prefix::EACH };
    let collapse = read.flag("remove_extra_whitespaces")?.unwrap_or(false);
    vocab.algorithm = Algorithm::SentencePiece { prefix, collapse, split: false, quiet_user_defined: false };
    vocab.check(read.file)
}

/// Merges from lines of two tokens with a space between. The fault names its line.
pub(super) fn parse_merges(vocab: &Vocab, merges: &[impl AsRef<str>]) -> Result<Vec<Merge>, (usize, String)> {
    let pairs = merges.iter().map(|line| {
        let line = line.as_ref();
        // The first token may itself be a space.
        let at = line.bytes().skip(1).position(|b| b == b' ').map(|i| i + 1);
        at.map(|i| (&line[..i], &line[i + 1..])).ok_or(line)
    });
    find_merges(vocab, pairs)
}

/// Merges from pairs of texts; `Err` in a pair is a line without a space.
pub(super) fn find_merges<'a>(
    vocab: &Vocab,
    pairs: impl Iterator<Item = Result<(&'a str, &'a str), &'a str>>,
) -> Result<Vec<Merge>, (usize, String)> {
    let pieces = Pieces::new(&vocab.tokens, &vocab.types, |_| true);
    let mut joined = String::new();
    let find = |text: &str| pieces.get(&vocab.tokens, text.as_bytes()).ok_or_else(|| format!("{text:?} is not in the vocabulary"));
    pairs
        .enumerate()
        .map(|(i, pair)| {
            let merge = |(left, right): (&str, &str)| {
                joined.clear();
                joined.push_str(left);
                joined.push_str(right);
                Ok(Merge { left: find(left)?, right: find(right)?, result: find(&joined)? })
            };
            pair.map_err(|line| format!("{line:?}")).and_then(merge).map_err(|what| (i, what))
        })
        .collect()
}
