//! Vocabulary from tokenizer.json, the file of the `tokenizers` library.

use super::pretokenize::{self, Step};
use super::tokenizer::byte_token;
use super::{Added, Algorithm, PreTokenizer, Prefix, TextError, TokenType, Vocab, read_gguf};
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use std::borrow::Cow;

#[derive(Deserialize)]
struct File<'a> {
    #[serde(default)]
    added_tokens: Vec<AddedToken>,
    normalizer: Option<Value>,
    pre_tokenizer: Option<Value>,
    post_processor: Option<Value>,
    #[serde(borrow)]
    model: Model<'a>,
}

#[derive(Deserialize)]
struct AddedToken {
    id: u32,
    content: String,
    #[serde(default)]
    single_word: bool,
    #[serde(default)]
    lstrip: bool,
    #[serde(default)]
    rstrip: bool,
    #[serde(default)]
    special: bool,
}

#[derive(Deserialize)]
struct Model<'a> {
    #[serde(rename = "type")]
    kind: Option<String>,
    #[serde(borrow, default)]
    vocab: Pairs<'a>,
    #[serde(borrow, default)]
    merges: Merges<'a>,
    unk_token: Option<String>,
    continuing_subword_prefix: Option<String>,
    end_of_word_suffix: Option<String>,
    #[serde(default)]
    byte_fallback: bool,
    #[serde(default)]
    ignore_merges: bool,
}

#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// The vocabulary: text to id. Unigram's list is passed over, to be refused by name.
#[derive(Default)]
struct Pairs<'a>(Vec<(Cow<'a, str>, u32)>);

impl<'de: 'a, 'a> Deserialize<'de> for Pairs<'a> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct V;
        impl<'de> Visitor<'de> for V {
            type Value = Pairs<'de>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a map from token to id")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut out = Vec::new();
                while let Some((text, id)) = map.next_entry::<Text<'de>, u32>()? {
                    out.push((text.0, id));
                }
                Ok(Pairs(out))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                while seq.next_element::<serde::de::IgnoredAny>()?.is_some() {}
                Ok(Pairs(Vec::new()))
            }
        }
        d.deserialize_any(V)
    }
}

/// A merge: `"a b"`, or `["a", "b"]` since transformers 4.45.
enum MergeText<'a> {
    Line(Cow<'a, str>),
    Pair(Cow<'a, str>, Cow<'a, str>),
}

impl<'de: 'a, 'a> Deserialize<'de> for MergeText<'a> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct V;
        impl<'de> Visitor<'de> for V {
            type Value = MergeText<'de>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a merge: \"left right\" or [left, right]")
            }
            fn visit_borrowed_str<E>(self, s: &'de str) -> Result<Self::Value, E> {
                Ok(MergeText::Line(Cow::Borrowed(s)))
            }
            fn visit_str<E>(self, s: &str) -> Result<Self::Value, E> {
                Ok(MergeText::Line(Cow::Owned(s.to_string())))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let wrong = |n| serde::de::Error::invalid_length(n, &"two tokens");
                let left = seq.next_element::<Text<'de>>()?.ok_or_else(|| wrong(0))?;
                let right = seq.next_element::<Text<'de>>()?.ok_or_else(|| wrong(1))?;
                if seq.next_element::<serde::de::IgnoredAny>()?.is_some() {
                    return Err(wrong(3));
                }
                Ok(MergeText::Pair(left.0, right.0))
            }
        }
        d.deserialize_any(V)
    }
}

#[derive(Default, Deserialize)]
struct Merges<'a>(#[serde(borrow)] Vec<MergeText<'a>>);

/// More ids than this in one file are taken for a broken one, so that one wrong id cannot ask for gigabytes.
const MAX_TOKENS: u32 = 4_000_000;

impl Vocab {
    /// Reads a tokenizer.json. Roles of tokens and the chat template are in other files: see [`Vocab::open`].
    pub fn from_tokenizer_json(file: &str, text: &str) -> Result<Vocab, TextError> {
        let json: File<'_> = serde_json::from_str(text).map_err(|error| TextError::Json { file: file.to_string(), error })?;
        let read = Read { file };
        let model = &json.model;
        match model.kind.as_deref() {
            // The oldest files do not say, and only BPE has merges.
            None if !model.merges.0.is_empty() => {}
            Some("BPE") => {}
            kind => return Err(TextError::Kind { file: file.to_string(), kind: kind.unwrap_or("(none)").to_string() }),
        }
        for (name, value) in
            [("continuing_subword_prefix", &model.continuing_subword_prefix), ("end_of_word_suffix", &model.end_of_word_suffix)]
        {
            if let Some(value) = value.as_ref().filter(|v| !v.is_empty()) {
                return Err(read.wrong(&format!("model.{name}"), format!("{value:?}"), "none"));
            }
        }
        let (tokens, mut types) = read.table(&json)?;
        let algorithm = read.algorithm(&json)?;
        let sentence_piece = matches!(algorithm, Algorithm::SentencePiece { .. });
        if sentence_piece {
            for (text, kind) in tokens.iter().zip(&mut types) {
                if *kind == TokenType::Normal && byte_token(text).is_some() {
                    *kind = TokenType::Byte;
                }
            }
        }
        let mut vocab = Vocab::new(algorithm, tokens, types);
        let flags = json.added_tokens.iter().filter(|a| a.lstrip || a.rstrip || a.single_word);
        vocab.added = flags.map(|a| Added { id: a.id, lstrip: a.lstrip, rstrip: a.rstrip, single_word: a.single_word }).collect();
        let pairs = json.model.merges.0.iter().map(|m| match m {
            MergeText::Pair(a, b) => Ok((a.as_ref(), b.as_ref())),
            MergeText::Line(line) => line.split_once(' ').ok_or(line.as_ref()),
        });
        vocab.merges = read_gguf::find_merges(&vocab, pairs)
            .map_err(|(i, what)| read.wrong(&format!("model.merges[{i}]"), what, "two tokens of the vocabulary that join to a third"))?;
        if sentence_piece {
            vocab.scores = scores(&vocab);
            vocab.scores_from_merges = true;
            vocab.ids.unk = model.unk_token.as_deref().and_then(|t| vocab.find(t));
        }
        read.post_processor(&json, &mut vocab);
        vocab.check(file)
    }
}

struct Read<'a> {
    file: &'a str,
}

impl Read<'_> {
    fn wrong(&self, field: &str, found: impl Into<String>, expected: impl Into<String>) -> TextError {
        TextError::Field { file: self.file.to_string(), field: field.to_string(), found: found.into(), expected: expected.into() }
    }

    /// Tokens by id, gaps filled.
    fn table(&self, json: &File<'_>) -> Result<(Vec<String>, Vec<TokenType>), TextError> {
        let ids = json.model.vocab.0.iter().map(|(_, id)| *id).chain(json.added_tokens.iter().map(|a| a.id));
        let n = match ids.max() {
            Some(max) if max < MAX_TOKENS => max as usize + 1,
            Some(max) => return Err(self.wrong("model.vocab", format!("the id {max}"), format!("ids below {MAX_TOKENS}"))),
            None => return Err(self.wrong("model.vocab", "no tokens", "at least one")),
        };
        let mut tokens = vec![None; n];
        for (text, id) in &json.model.vocab.0 {
            if let Some(other) = tokens[*id as usize].replace(text.to_string()) {
                return Err(self.wrong("model.vocab", format!("both {other:?} and {text:?} have the id {id}"), "one token for each id"));
            }
        }
        let mut types = vec![TokenType::Normal; n];
        for added in &json.added_tokens {
            tokens[added.id as usize] = Some(added.content.clone());
            let control = added.special || looks_special(&added.content);
            types[added.id as usize] = if control { TokenType::Control } else { TokenType::UserDefined };
        }
        let fill = |(i, text): (usize, Option<String>)| {
            text.unwrap_or_else(|| {
                types[i] = TokenType::Unused;
                format!("[PAD{i}]")
            })
        };
        Ok((tokens.into_iter().enumerate().map(fill).collect(), types))
    }

    fn algorithm(&self, json: &File<'_>) -> Result<Algorithm, TextError> {
        let (mut nfc, mut prefix, mut replace) = (false, Prefix::NONE, false);
        for step in flat(json.normalizer.as_ref(), "normalizers") {
            match (kind(step), step) {
                ("NFC", _) => nfc = true,
                ("Prepend", step) if step["prepend"] == "▁" => prefix = Prefix::EACH,
                ("Replace", step) if step["pattern"]["String"] == " " && step["content"] == "▁" => replace = true,
                _ => return Err(self.wrong("normalizer", step.to_string(), "NFC, or Prepend and Replace with ▁")),
            }
        }
        let mut steps = Vec::new();
        let mut metaspace = None;
        for step in flat(json.pre_tokenizer.as_ref(), "pretokenizers") {
            let unknown = || TextError::PreTokenizer { file: self.file.to_string(), found: step.to_string(), known: pretokenize::names() };
            match kind(step) {
                "Split" => steps.push(Step::Split(split_pattern(step).ok_or_else(unknown)?)),
                "Digits" if step["individual_digits"] == true => steps.push(Step::Digits),
                "ByteLevel" if step["add_prefix_space"] == true => return Err(unknown()),
                "ByteLevel" if step["use_regex"] == false => steps.push(Step::Bytes),
                "ByteLevel" => steps.push(Step::Gpt2),
                "Metaspace" if step["replacement"] == "▁" => metaspace = Some(step),
                _ => return Err(unknown()),
            }
        }
        if let Some(step) = metaspace.filter(|_| steps.is_empty()) {
            let scheme = step["prepend_scheme"].as_str().unwrap_or(if step["add_prefix_space"] == false { "never" } else { "always" });
            let prefix = Prefix { first: scheme != "never", after_special: scheme == "always", unless_there: true };
            let split = step["split"] != false;
            return Ok(Algorithm::SentencePiece { prefix, collapse: false, split, quiet_user_defined: false });
        }
        if steps.is_empty() && (replace || json.model.byte_fallback) {
            if !replace {
                return Err(self.wrong("normalizer", "nothing that makes spaces ▁", "Replace, or the pre-tokenizer Metaspace"));
            }
            return Ok(Algorithm::SentencePiece { prefix, collapse: false, split: false, quiet_user_defined: false });
        }
        let row = pretokenize::by_steps(&steps, nfc).ok_or_else(|| TextError::PreTokenizer {
            file: self.file.to_string(),
            found: format!("{steps:?}{}", if nfc { " with NFC" } else { "" }),
            known: pretokenize::names(),
        })?;
        Ok(Algorithm::ByteLevel { pre: whole_words(row, json.model.ignore_merges), ignore_merges: json.model.ignore_merges })
    }

    /// Whether BOS and EOS are added, and which they are, from the template that the library applies.
    fn post_processor(&self, json: &File<'_>, vocab: &mut Vocab) {
        for step in flat(json.post_processor.as_ref(), "processors") {
            match kind(step) {
                "ByteLevel" => {
                    vocab.add_bos.get_or_insert(false);
                    vocab.add_eos.get_or_insert(false);
                }
                "TemplateProcessing" => {
                    let single = step["single"].as_array().map_or(&[][..], |s| s.as_slice());
                    let token = |piece: Option<&Value>| piece.and_then(|p| p["SpecialToken"]["id"].as_str()).and_then(|t| vocab.find(t));
                    if single.len() > 1 {
                        let (first, last) = (token(single.first()), token(single.last()));
                        if let Some(bos) = first {
                            (vocab.ids.bos, vocab.add_bos) = (Some(bos), Some(true));
                        }
                        if let Some(eos) = last {
                            (vocab.ids.eos, vocab.add_eos) = (Some(eos), Some(true));
                        }
                    }
                }
                _ => {}
            }
        }
    }
}

/// A row of another name where whole words are not looked up first.
fn whole_words(row: &'static PreTokenizer, ignore_merges: bool) -> &'static PreTokenizer {
    if row.ignore_merges == ignore_merges {
        return row;
    }
    let same = |p: &&PreTokenizer| p.ignore_merges == ignore_merges && row.name == "llama-bpe" && p.name == "smaug-bpe";
    pretokenize::PRE_TOKENIZERS.iter().find(same).unwrap_or(row)
}

fn kind(step: &Value) -> &str {
    step["type"].as_str().unwrap_or("")
}

/// The steps of a component: its own, or those of a `Sequence`.
fn flat<'a>(value: Option<&'a Value>, list: &str) -> Vec<&'a Value> {
    match value {
        None | Some(Value::Null) => Vec::new(),
        Some(v) if kind(v) == "Sequence" => {
            v[list].as_array().map_or_else(Vec::new, |steps| steps.iter().flat_map(|s| flat(Some(s), list)).collect())
        }
        Some(v) => vec![v],
    }
}

/// The expression of a `Split` that keeps every match as a word: isolated, or the rest removed where the expression leaves no rest.
fn split_pattern(step: &Value) -> Option<&str> {
    let keeps = matches!((step["behavior"].as_str(), step["invert"] == true), (Some("Isolated"), false) | (Some("Removed"), true));
    step["pattern"]["Regex"].as_str().filter(|_| keeps)
}

/// Tokens that are control tokens whatever the flag says, as llama.cpp's converter has it.
fn looks_special(text: &str) -> bool {
    matches!(text, "<pad>" | "<mask>" | "<2mass>" | "[@BOS@]")
        || (text.starts_with("<|") && text.ends_with("|>"))
        || (text.starts_with("<｜") && text.ends_with("｜>"))
        || (text.starts_with("<unused") && text.ends_with('>'))
}

/// Scores that fall with the rank of the first merge that makes a piece; what no merge makes has the score of no use to a merge.
fn scores(vocab: &Vocab) -> Vec<f32> {
    let mut scores: Vec<f32> = vocab.types.iter().map(|t| if *t == TokenType::Normal { -1e6 } else { 0.0 }).collect();
    for (rank, merge) in vocab.merges.iter().enumerate().rev() {
        scores[merge.result as usize] = -(rank as f32);
    }
    scores
}
