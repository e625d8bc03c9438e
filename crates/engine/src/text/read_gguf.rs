//! Vocabulary from the metadata of a GGUF file.

use super::{Algorithm, Merge, Prefix, SpecialIds, TextError, TokenType, Vocab, pieces::Pieces, pretokenize};
use nibble_container::gguf::{FromValue, Metadata, Value};

struct Reader<'a> {
    file: &'a str,
    metadata: &'a Metadata,
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

    /// The value of a key; a value of another type is a fault.
    fn get<T: FromValue<'a>>(&self, key: &str) -> Result<Option<T>, TextError> {
        let Some(value) = self.metadata.value(&format!("tokenizer.ggml.{key}")) else { return Ok(None) };
        T::from_value(value).map(Some).ok_or_else(|| self.wrong(key, value.describe(), T::EXPECTED))
    }

    fn need<T: FromValue<'a>>(&self, key: &str) -> Result<T, TextError> {
        self.get(key)?.ok_or_else(|| self.wrong(key, "missing", T::EXPECTED))
    }

    /// An id. Some writers put 4294967295 for "none", and llama.cpp ignores ids past the vocabulary: so does this.
    fn id(&self, key: &str, n: usize) -> Result<Option<u32>, TextError> {
        Ok(self.get::<u32>(key)?.filter(|id| (*id as usize) < n))
    }
}

impl Vocab {
    /// Reads the vocabulary of a GGUF file. `file` names it in errors.
    pub fn from_gguf(file: &str, metadata: &Metadata) -> Result<Vocab, TextError> {
        let read = Reader { file, metadata };
        let model: &str = read.need("model")?;
        let tokens: &[String] = read.need("tokens")?;
        let n = tokens.len();
        let types: Vec<TokenType> = match read.get::<Vec<i64>>("token_type")? {
            None => vec![TokenType::Normal; n],
            Some(types) => types.into_iter().map(TokenType::from_number).collect(),
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
        let chat_template = match metadata.value("tokenizer.chat_template") {
            Some(Value::String(template)) => Some(template.clone()),
            _ => None,
        };
        let algorithm = Algorithm::SentencePiece { prefix: Prefix::EACH, collapse: false, split: false, quiet_user_defined: false };
        let vocab = Vocab {
            ids,
            add_bos: read.get("add_bos_token")?,
            add_eos: read.get("add_eos_token")?,
            add_space_prefix: read.get("add_space_prefix")?,
            chat_template,
            ..Vocab::new(algorithm, tokens.to_vec(), types)
        };
        // The tables below index by token: lengths must agree first.
        let vocab = vocab.check(file)?;
        match model {
            "gpt2" => byte_level(&read, vocab),
            "llama" => sentence_piece(&read, vocab),
            other => Err(TextError::Kind { file: file.to_string(), kind: other.to_string() }),
        }
    }
}

fn byte_level(read: &Reader<'_>, mut vocab: Vocab) -> Result<Vocab, TextError> {
    let unknown = |found: String| TextError::PreTokenizer { file: read.file.to_string(), found, known: pretokenize::names() };
    let pre: &str = read.get("pre")?.ok_or_else(|| unknown("(tokenizer.ggml.pre is missing; convert the model again)".to_string()))?;
    let pre = pretokenize::by_name(pre).ok_or_else(|| unknown(format!("{pre:?}")))?;
    let merges: &[String] = read.need("merges")?;
    vocab.merges =
        parse_merges(&vocab, merges).map_err(|(i, what)| read.wrong(&format!("merges[{i}]"), what, "two tokens that join to a third"))?;
    vocab.algorithm = Algorithm::ByteLevel { pre, ignore_merges: pre.ignore_merges };
    vocab.check(read.file)
}

fn sentence_piece(read: &Reader<'_>, mut vocab: Vocab) -> Result<Vocab, TextError> {
    vocab.scores = match read.get::<&[f32]>("scores") {
        Ok(Some(scores)) => scores.to_vec(),
        // Some writers have whole numbers.
        other => match read.get::<Vec<i32>>("scores") {
            Ok(Some(scores)) => scores.into_iter().map(|s| s as f32).collect(),
            _ => return Err(other.err().unwrap_or_else(|| read.wrong("scores", "missing", "an array of f32"))),
        },
    };
    // Written by this program where the scores were only ever a likeness of merges by rank.
    if let Some(merges) = read.get::<&[String]>("merges")? {
        vocab.merges = parse_merges(&vocab, merges)
            .map_err(|(i, what)| read.wrong(&format!("merges[{i}]"), what, "two tokens that join to a third"))?;
        vocab.scores_from_merges = !vocab.merges.is_empty();
    }
    let n = vocab.len();
    let default = |id: u32, kind: TokenType| Some(id).filter(|id| vocab.types.get(*id as usize) == Some(&kind));
    vocab.ids.bos = vocab.ids.bos.or(default(1, TokenType::Control));
    vocab.ids.eos = vocab.ids.eos.or(default(2, TokenType::Control));
    vocab.ids.unk = vocab.ids.unk.or(default(0, TokenType::Unknown)).filter(|id| (*id as usize) < n);
    let prefix = if vocab.add_space_prefix == Some(false) { Prefix::NONE } else { Prefix::EACH };
    let collapse = read.get("remove_extra_whitespaces")?.unwrap_or(false);
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
