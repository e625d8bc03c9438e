//! Vocabulary of a checkpoint directory: whichever tokenizer files there are, with the roles of tokens from the files beside them.
//!
//! | file | gives |
//! |---|---|
//! | tokenizer.json | everything but roles; preferred |
//! | tokenizer.model | SentencePiece; beside a tokenizer.json only its scores are taken, which GGUF wants |
//! | vocab.json, merges.txt | byte-level BPE; the class in tokenizer_config.json names the pre-tokenizer |
//! | added_tokens.json, tokenizer_config.json | added tokens, roles, chat template |
//! | special_tokens_map.json | roles that tokenizer_config.json does not give |
//! | config.json | roles that none of them gives; the number of rows of the embedding |
//! | generation_config.json | more end tokens |
//! | chat_template.jinja, chat_template.json | chat template |

use super::{Added, Algorithm, TextError, TokenType, Vocab};
use crate::source::{Kind, Source};
use serde_json::Value;
use std::path::Path;

impl Vocab {
    /// Reads the vocabulary of an opened model: from its GGUF, or from the files beside its weights.
    pub fn of(source: &Source) -> Result<Vocab, TextError> {
        match (source.kind(), source.checkpoint().metadata()) {
            (Kind::HuggingFace(files), _) => Vocab::open(&files.folder),
            (Kind::Gguf, Some(metadata)) => Vocab::from_gguf(&source.path().display().to_string(), metadata),
            (Kind::Gguf, None) => Err(TextError::None { path: source.path().to_path_buf() }),
        }
    }

    /// Reads the tokenizer of a checkpoint directory.
    pub fn open(dir: &Path) -> Result<Vocab, TextError> {
        let config = json(dir, "tokenizer_config.json")?;
        let model_config = json(dir, "config.json")?;
        let mut vocab = match read(dir, "tokenizer.json")? {
            Some(text) => {
                let mut vocab = Vocab::from_tokenizer_json(&name(dir, "tokenizer.json"), &text)?;
                if matches!(vocab.algorithm, Algorithm::SentencePiece { .. }) {
                    take_scores(&mut vocab, dir)?;
                }
                vocab
            }
            None => without_json(dir, &config, &model_config)?,
        };
        roles(&mut vocab, &config, &json(dir, "special_tokens_map.json")?, &model_config);
        let generation = json(dir, "generation_config.json")?;
        vocab.more_ends = [&generation["eos_token_id"], &model_config["eos_token_id"]].into_iter().flat_map(id_list).collect();
        vocab.add_space_prefix = vocab.add_space_prefix.or(config["add_prefix_space"].as_bool());
        vocab.chat_template = chat_template(dir, &config)?;
        if let Some(rows) = model_config["vocab_size"].as_u64().filter(|rows| *rows < 1 << 24) {
            vocab.pad_to(rows as usize);
        }
        vocab.check(&dir.display().to_string())
    }
}

fn name(dir: &Path, file: &str) -> String {
    dir.join(file).display().to_string()
}

fn read_bytes(dir: &Path, file: &str) -> Result<Option<Vec<u8>>, TextError> {
    let path = dir.join(file);
    match std::fs::read(&path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(TextError::Io { path, error }),
    }
}

fn read(dir: &Path, file: &str) -> Result<Option<String>, TextError> {
    let invalid = |_| TextError::Io { path: dir.join(file), error: std::io::Error::new(std::io::ErrorKind::InvalidData, "not UTF-8") };
    read_bytes(dir, file)?.map(|bytes| String::from_utf8(bytes).map_err(invalid)).transpose()
}

/// A JSON file; `Null` where there is none.
fn json(dir: &Path, file: &str) -> Result<Value, TextError> {
    match read(dir, file)? {
        None => Ok(Value::Null),
        Some(text) => serde_json::from_str(&text).map_err(|error| TextError::Json { file: name(dir, file), error }),
    }
}

/// Scores for the pieces of a tokenizer.json from the tokenizer.model beside it, where the two agree on them.
fn take_scores(vocab: &mut Vocab, dir: &Path) -> Result<(), TextError> {
    let Some(bytes) = read_bytes(dir, "tokenizer.model")? else { return Ok(()) };
    // A file that cannot be read is no loss: all that is needed stands in tokenizer.json.
    let Ok(model) = Vocab::from_sentencepiece(&name(dir, "tokenizer.model"), &bytes) else { return Ok(()) };
    if model.len() <= vocab.len() && model.tokens == vocab.tokens[..model.len()] {
        vocab.scores = model.scores;
        vocab.scores.resize(vocab.tokens.len(), -1000.0);
        vocab.scores_from_merges = false;
    }
    Ok(())
}

fn without_json(dir: &Path, config: &Value, model_config: &Value) -> Result<Vocab, TextError> {
    let mut vocab = if let Some(bytes) = read_bytes(dir, "tokenizer.model")? {
        Vocab::from_sentencepiece(&name(dir, "tokenizer.model"), &bytes)?
    } else if let (Some(pieces), Some(merges)) = (read(dir, "vocab.json")?, read(dir, "merges.txt")?) {
        let class = config["tokenizer_class"].as_str().or(model_config["model_type"].as_str()).unwrap_or("(no tokenizer_class)");
        let pre = match class.trim_end_matches("Fast") {
            "Qwen2Tokenizer" | "qwen2" | "qwen3" => "qwen2",
            "GPT2Tokenizer" | "gpt2" => "gpt-2",
            other => other,
        };
        Vocab::from_vocab_and_merges(&name(dir, "vocab.json"), &pieces, &merges, pre)?
    } else {
        return Err(TextError::None { path: dir.to_path_buf() });
    };
    let added = json(dir, "added_tokens.json")?;
    for (text, id) in added.as_object().into_iter().flatten() {
        if let Some(id) = id.as_u64() {
            add(&mut vocab, id, text, TokenType::UserDefined);
        }
    }
    for (id, token) in config["added_tokens_decoder"].as_object().into_iter().flatten() {
        if let (Ok(id), Some(text)) = (id.parse(), token["content"].as_str()) {
            let control = token["special"] == true || (text.starts_with("<|") && text.ends_with("|>"));
            add(&mut vocab, id, text, if control { TokenType::Control } else { TokenType::UserDefined });
            let flag = |name: &str| token[name] == true;
            if flag("lstrip") || flag("rstrip") || flag("single_word") {
                vocab.added.push(Added { id: id as u32, lstrip: flag("lstrip"), rstrip: flag("rstrip"), single_word: flag("single_word") });
            }
        }
    }
    Ok(vocab)
}

/// Puts an added token in its place. Ids far past the table are left out: nothing could have been trained on them.
fn add(vocab: &mut Vocab, id: u64, text: &str, kind: TokenType) {
    if id < vocab.len() as u64 + 0x1_0000 {
        vocab.pad_to(id as usize + 1);
        vocab.tokens[id as usize] = text.to_string();
        let keep = vocab.types[id as usize] == TokenType::Unknown;
        vocab.types[id as usize] = if keep { TokenType::Unknown } else { kind };
        if let Some(score) = vocab.scores.get_mut(id as usize) {
            *score = -1000.0;
        }
    }
}

fn roles(vocab: &mut Vocab, config: &Value, map: &Value, model_config: &Value) {
    let text = |value: &Value| value.as_str().or(value["content"].as_str()).map(str::to_string);
    let role = |name: &str, found: Option<u32>, vocab: &Vocab| {
        let key = format!("{name}_token");
        let named = text(&config[&key]).or_else(|| text(&map[&key])).and_then(|t| vocab.find(&t));
        let id = model_config[format!("{name}_token_id")]
            .as_u64()
            .and_then(|id| u32::try_from(id).ok())
            .filter(|id| (*id as usize) < vocab.len());
        named.or(found).or(id)
    };
    let old = vocab.ids;
    vocab.ids.bos = role("bos", old.bos, vocab);
    vocab.ids.eos = role("eos", old.eos, vocab);
    vocab.ids.unk = role("unk", old.unk, vocab);
    vocab.ids.sep = role("sep", old.sep, vocab);
    vocab.ids.pad = role("pad", old.pad, vocab);
    vocab.ids.mask = role("mask", old.mask, vocab);
    vocab.add_bos = vocab.add_bos.or(config["add_bos_token"].as_bool());
    vocab.add_eos = vocab.add_eos.or(config["add_eos_token"].as_bool());
}

/// One id or a list of them.
fn id_list(value: &Value) -> Vec<u32> {
    let one = |v: &Value| v.as_u64().and_then(|id| u32::try_from(id).ok());
    value.as_array().map_or_else(|| one(value).into_iter().collect(), |list| list.iter().filter_map(one).collect())
}

fn chat_template(dir: &Path, config: &Value) -> Result<Option<String>, TextError> {
    if let Some(text) = read(dir, "chat_template.jinja")? {
        return Ok(Some(text));
    }
    let beside = json(dir, "chat_template.json")?;
    let found = [&config["chat_template"], &beside["chat_template"]].into_iter().find_map(|value| match value {
        Value::String(text) => Some(text.clone()),
        // Several, by name: the one called "default", else the first.
        Value::Array(list) => {
            let default = list.iter().find(|t| t["name"] == "default").or(list.first());
            default.and_then(|t| t["template"].as_str()).map(str::to_string)
        }
        _ => None,
    });
    Ok(found)
}
