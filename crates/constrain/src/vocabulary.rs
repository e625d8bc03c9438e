//! The trie of a model's tokens as bytes, which every grammar is walked along.

use crate::{Constraint, Error, Grammar};
use llguidance::ParserFactory;
use llguidance::toktrie::{TokEnv, TokRxInfo, TokTrie, TokenId, TokenizerEnv};
use nibble_engine::text::{Algorithm, TokenType, Tokenizer};
use std::fmt;
use std::sync::Arc;

/// Nodes that toktrie can number (22 bits for the size of a subtree).
const MOST_NODES: usize = 1 << 22;
/// Bytes of a token that toktrie can nest (10 bits for how many parents end at once), the root not counted.
const LONGEST: usize = 1000;

/// A model's vocabulary, made ready for grammars: once a model, about half a second for 128,000 tokens. Cloning is cheap, and answers of several threads may share it.
#[derive(Clone)]
pub struct Vocabulary {
    factory: Arc<ParserFactory>,
    /// The tokens of control by their texts: what a grammar means by them it has to name.
    marks: Arc<[(String, u32)]>,
}

impl fmt::Debug for Vocabulary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vocabulary").field("tokens", &self.len()).finish_non_exhaustive()
    }
}

impl Vocabulary {
    /// Lays the tokens out. Control tokens are left out, so a grammar can never spell one, only name it ([`Grammar::calls`] does); those that end an answer are allowed where the grammar may end.
    ///
    /// Fails where the vocabulary has no token that ends an answer: the model could not say that it is done.
    pub fn new(tokenizer: &Tokenizer) -> Result<Vocabulary, Error> {
        let fault = |reason: &str| Error::Vocabulary { reason: reason.to_string() };
        let vocab = tokenizer.vocab();
        let (Some(&end), ends) = (tokenizer.ends().first(), tokenizer.ends()) else { return Err(fault("it has no end token")) };
        let spelt = |id: usize| match vocab.types[id] {
            TokenType::Normal | TokenType::UserDefined | TokenType::Byte => {
                let bytes = tokenizer.token_bytes(id as u32);
                // An end token spelt like text would end the answer within it.
                if bytes.len() > LONGEST || tokenizer.is_end(id as u32) { Vec::new() } else { bytes.into_owned() }
            }
            TokenType::Unknown | TokenType::Control | TokenType::Unused => Vec::new(),
        };
        let words: Vec<Vec<u8>> = (0..vocab.len()).map(spelt).collect();
        if words.iter().all(Vec::is_empty) {
            return Err(fault("none of its tokens is text"));
        }
        if nodes(&words) >= MOST_NODES {
            return Err(fault("it is too large"));
        }
        let trie = TokTrie::from(&TokRxInfo::new(vocab.len() as u32, end), &words).with_eos_tokens(ends);
        // Only byte-level vocabularies encode a part of a text as they encode it within the whole: SentencePiece puts a blank before it.
        let canonical = matches!(vocab.algorithm, Algorithm::ByteLevel { pre, .. } if !pre.nfc);
        let env: TokEnv = Arc::new(Env { trie, tokenizer: canonical.then(|| Arc::new(tokenizer.clone())) });
        let mut factory = ParserFactory::new_simple(&env).map_err(|e| fault(&e.to_string()))?;
        factory.quiet();
        factory.limits_mut().verbose_errors = false;
        let control = |id: &usize| vocab.types[*id] == TokenType::Control && !vocab.tokens[*id].is_empty();
        let marks = (0..vocab.len()).filter(control).map(|id| (vocab.tokens[id].clone(), id as u32)).collect();
        Ok(Vocabulary { factory: Arc::new(factory), marks })
    }

    /// Number of tokens.
    pub fn len(&self) -> usize {
        self.factory.tok_env().tok_trie().vocab_size()
    }

    /// It never is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Joins a grammar to the vocabulary: the beginning of an answer, to be cloned for each.
    pub fn compile(&self, grammar: &Grammar) -> Result<Constraint, Error> {
        Constraint::new(&self.factory, grammar, &self.marks)
    }
}

/// Nodes of the trie of these words.
fn nodes(words: &[Vec<u8>]) -> usize {
    let mut sorted: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
    sorted.sort_unstable();
    let common = |a: &[u8], b: &[u8]| a.iter().zip(b).take_while(|(a, b)| a == b).count();
    let first = sorted.first().map_or(0, |w| w.len());
    1 + first + sorted.windows(2).map(|w| w[1].len() - common(w[0], w[1])).sum::<usize>()
}

/// What llguidance knows of a tokenizer.
struct Env {
    trie: TokTrie,
    /// Where parts of a text are encoded as in the whole: who encodes them.
    tokenizer: Option<Arc<Tokenizer>>,
}

impl TokenizerEnv for Env {
    fn tok_trie(&self) -> &TokTrie {
        &self.trie
    }

    fn tokenize_bytes(&self, bytes: &[u8]) -> Vec<TokenId> {
        let text = std::str::from_utf8(bytes).ok();
        let ids = self.tokenizer.as_ref().zip(text).map(|(tokenizer, text)| tokenizer.encode(text));
        // Some vocabularies lack tokens for some bytes, and their encoding loses them: then the longest tokens will do.
        match ids {
            Some(ids) if self.trie.decode_raw(&ids) == bytes => ids,
            _ => self.trie.greedy_tokenize(bytes),
        }
    }

    fn tokenize_is_canonical(&self) -> bool {
        self.tokenizer.is_some()
    }
}
