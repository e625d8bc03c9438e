//! Vocabulary from vocab.json and merges.txt, the files of GPT-2's own tokenizer.

use super::{Algorithm, TextError, TokenType, Vocab, pretokenize, read_gguf};
use std::collections::BTreeMap;

impl Vocab {
    /// Reads the two files; `pre` names the pre-tokenizer, which neither of them tells. Line ends may be CRLF.
    pub fn from_vocab_and_merges(file: &str, vocab: &str, merges: &str, pre: &str) -> Result<Vocab, TextError> {
        let row = pretokenize::by_name(pre).ok_or_else(|| TextError::PreTokenizer {
            file: file.to_string(),
            found: format!("{pre:?}"),
            known: pretokenize::names(),
        })?;
        let by_text: BTreeMap<String, u32> =
            serde_json::from_str(vocab).map_err(|error| TextError::Json { file: file.to_string(), error })?;
        let wrong = |field: String, found: String, expected: &str| TextError::Field {
            file: file.to_string(),
            field,
            found,
            expected: expected.to_string(),
        };
        let n = by_text.values().max().map_or(0, |max| *max as usize + 1);
        if n > by_text.len() + 4096 {
            return Err(wrong("vocabulary".into(), format!("the id {} among {} tokens", n - 1, by_text.len()), "ids without large gaps"));
        }
        let mut tokens = vec![String::new(); n];
        for (text, id) in by_text {
            if !tokens[id as usize].is_empty() {
                return Err(wrong("vocabulary".into(), format!("two tokens with the id {id}"), "one token for each id"));
            }
            tokens[id as usize] = text;
        }
        let mut types = vec![TokenType::Normal; n];
        for (i, text) in tokens.iter_mut().enumerate().filter(|(_, text)| text.is_empty()) {
            *text = format!("[PAD{i}]");
            types[i] = TokenType::Unused;
        }
        let algorithm = Algorithm::ByteLevel { pre: row, ignore_merges: row.ignore_merges };
        let mut out = Vocab::new(algorithm, tokens, types);
        // `str::lines` takes CRLF too. The first line may be a version.
        let lines: Vec<&str> = merges.lines().filter(|l| !l.is_empty() && !l.starts_with("#version")).collect();
        out.merges = read_gguf::parse_merges(&out, &lines)
            .map_err(|(i, what)| wrong(format!("merge {}", i + 1), what, "two tokens of the vocabulary that join to a third"))?;
        out.check(file)
    }
}
