//! A vocabulary as plain data: what every reader makes, what the tokenizer indexes, what the GGUF writer writes.

use super::{PreTokenizer, TextError};

/// What a token is. The numbers are those of `tokenizer.ggml.token_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum TokenType {
    /// An ordinary piece.
    Normal = 1,
    /// Stands for text that no piece covers.
    Unknown = 2,
    /// Never comes from plain text: begin, end, roles of a chat.
    Control = 3,
    /// Recognised in any text, before the merges.
    UserDefined = 4,
    /// Fills the table.
    Unused = 5,
    /// One byte, written `<0x0A>`.
    Byte = 6,
}

impl TokenType {
    /// From the number in a file; unknown numbers count as normal pieces, as 0 ("undefined") does.
    pub fn from_number(n: i64) -> TokenType {
        match n {
            2 => TokenType::Unknown,
            3 => TokenType::Control,
            4 => TokenType::UserDefined,
            5 => TokenType::Unused,
            6 => TokenType::Byte,
            _ => TokenType::Normal,
        }
    }
}

/// One merge of BPE: `left` then `right` become `result`. Its rank is its place in [`Vocab::merges`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Merge {
    /// Token id.
    pub left: u32,
    /// Token id.
    pub right: u32,
    /// Token id.
    pub result: u32,
}

/// How a SentencePiece vocabulary treats the beginning of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix {
    /// A space before the text.
    pub first: bool,
    /// A space after each special token too.
    pub after_special: bool,
    /// None where the text begins with one already.
    pub unless_there: bool,
}

impl Prefix {
    /// As llama.cpp and the first Llama tokenizers: always.
    pub const EACH: Prefix = Prefix { first: true, after_special: true, unless_there: false };
    /// Never.
    pub const NONE: Prefix = Prefix { first: false, after_special: false, unless_there: false };
}

/// The way from text to pieces.
#[derive(Clone, Copy, Debug)]
pub enum Algorithm {
    /// GPT-2's: bytes written as printable characters, words cut by a pre-tokenizer, merges by rank.
    ByteLevel {
        /// How text is cut into words.
        pre: &'static PreTokenizer,
        /// A word that is itself a token needs no merges (Llama 3).
        ignore_merges: bool,
    },
    /// SentencePiece BPE: spaces written as `▁`, merges by score (or by rank where there are [`Vocab::merges`]), bytes where no piece fits.
    SentencePiece {
        /// Spaces at the beginning.
        prefix: Prefix,
        /// Runs of spaces become one, and those at the ends go.
        collapse: bool,
        /// Words are cut before each `▁`, so that no piece crosses one.
        split: bool,
        /// Pieces of the type user-defined do not begin a new text (tokenizer.model read by SentencePiece itself).
        quiet_user_defined: bool,
    },
}

/// A token that was added after training, with the flags of tokenizer.json that change how it is found in text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Added {
    /// The token.
    pub id: u32,
    /// Takes the white space before it.
    pub lstrip: bool,
    /// Takes the white space after it.
    pub rstrip: bool,
    /// Only where it stands alone as a word.
    pub single_word: bool,
}

/// The tokens with a role.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpecialIds {
    /// Begin of sequence.
    pub bos: Option<u32>,
    /// End of sequence.
    pub eos: Option<u32>,
    /// End of turn.
    pub eot: Option<u32>,
    /// End of message (before a tool's answer).
    pub eom: Option<u32>,
    /// Unknown.
    pub unk: Option<u32>,
    /// Separator.
    pub sep: Option<u32>,
    /// Padding.
    pub pad: Option<u32>,
    /// Mask.
    pub mask: Option<u32>,
}

/// A vocabulary. Every vector by token is as long as `tokens`, but `scores`, which is empty where there are none.
#[derive(Clone, Debug)]
pub struct Vocab {
    /// The way from text to pieces.
    pub algorithm: Algorithm,
    /// Each token as its file writes it (`Ġthe`, `▁the`, `<0x0A>`).
    pub tokens: Vec<String>,
    /// What each is.
    pub types: Vec<TokenType>,
    /// SentencePiece's scores; higher merges first.
    pub scores: Vec<f32>,
    /// The scores were made here from ranks of merges.
    pub scores_from_merges: bool,
    /// Merges, best first. Empty for SentencePiece with scores.
    pub merges: Vec<Merge>,
    /// Flags of added tokens; tokens without flags are absent.
    pub added: Vec<Added>,
    /// Tokens with a role.
    pub ids: SpecialIds,
    /// End tokens declared beyond `ids` (the list of generation_config.json).
    pub more_ends: Vec<u32>,
    /// A sequence begins with `ids.bos`. `None`: the file does not say.
    pub add_bos: Option<bool>,
    /// A sequence ends with `ids.eos`.
    pub add_eos: Option<bool>,
    /// Said by tokenizer_config.json; only carried to GGUF.
    pub add_space_prefix: Option<bool>,
    /// The chat template.
    pub chat_template: Option<String>,
}

/// Texts of tokens that end a turn in the families that this program runs, control tokens by their training whatever the files say.
const END_TEXTS: &[&str] = &[
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|eom_id|>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<end_of_turn>",
    "<end_of_utterance>",
    "</s>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "<｜end▁of▁sentence｜>",
];

impl Vocab {
    /// Tokens and what each is, and nothing else said: no scores, merges, roles or template.
    pub(super) fn new(algorithm: Algorithm, tokens: Vec<String>, types: Vec<TokenType>) -> Vocab {
        Vocab {
            algorithm,
            tokens,
            types,
            scores: Vec::new(),
            scores_from_merges: false,
            merges: Vec::new(),
            added: Vec::new(),
            ids: SpecialIds::default(),
            more_ends: Vec::new(),
            add_bos: None,
            add_eos: None,
            add_space_prefix: None,
            chat_template: None,
        }
    }

    /// Number of tokens.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// No tokens.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// The text of a special token; empty where there is none.
    pub fn special_text(&self, id: Option<u32>) -> &str {
        id.and_then(|id| self.tokens.get(id as usize)).map_or("", String::as_str)
    }

    /// Whether a sequence begins with BOS: as the file says, else as the family does.
    pub fn adds_bos(&self) -> bool {
        self.ids.bos.is_some()
            && self.add_bos.unwrap_or(match self.algorithm {
                Algorithm::ByteLevel { pre, .. } => pre.add_bos,
                Algorithm::SentencePiece { .. } => true,
            })
    }

    /// Whether a sequence ends with EOS.
    pub fn adds_eos(&self) -> bool {
        self.ids.eos.is_some() && self.add_eos.unwrap_or(false)
    }

    /// The id of a token by its text. Linear; for set-up, not for encoding.
    pub fn find(&self, text: &str) -> Option<u32> {
        self.tokens.iter().position(|t| t == text).map(|i| i as u32)
    }

    /// Every token at which generation ends: EOS, EOT, EOM, the list of generation_config.json, and control tokens known by their text.
    /// Ascending, without repetition.
    pub fn ends(&self) -> Vec<u32> {
        let known = |id: &u32| (*id as usize) < self.tokens.len();
        let by_text = self
            .tokens
            .iter()
            .zip(&self.types)
            .enumerate()
            .filter(|(_, (text, kind))| **kind == TokenType::Control && END_TEXTS.contains(&text.as_str()))
            .map(|(i, _)| i as u32);
        let roles = [self.ids.eos, self.ids.eot, self.ids.eom].into_iter().flatten();
        let mut ends: Vec<u32> = roles.chain(self.more_ends.iter().copied()).chain(by_text).filter(known).collect();
        ends.sort_unstable();
        ends.dedup();
        ends
    }

    /// Ends by text alone: what a reader of a GGUF finds without being told.
    pub(super) fn is_end_text(text: &str) -> bool {
        END_TEXTS.contains(&text)
    }

    /// Fills the table to `n` tokens with unused `[PAD…]`, as the embedding matrix of some checkpoints is longer than their vocabulary.
    pub fn pad_to(&mut self, n: usize) {
        for i in self.tokens.len()..n {
            self.tokens.push(format!("[PAD{i}]"));
            self.types.push(TokenType::Unused);
            if !self.scores.is_empty() {
                self.scores.push(-10000.0);
            }
        }
    }

    /// Checks what every later step relies on.
    pub(super) fn check(self, file: &str) -> Result<Vocab, TextError> {
        let n = self.tokens.len();
        let fault = |field: &str, found: String, expected: String| TextError::Field {
            file: file.to_string(),
            field: field.to_string(),
            found,
            expected,
        };
        if n == 0 {
            return Err(fault("tokens", "none".into(), "at least one".into()));
        }
        if n > u32::MAX as usize / 2 {
            return Err(fault("tokens", format!("{n}"), "fewer".into()));
        }
        if self.types.len() != n {
            return Err(fault("token types", format!("{}", self.types.len()), format!("one for each of the {n} tokens")));
        }
        if !self.scores.is_empty() && self.scores.len() != n {
            return Err(fault("scores", format!("{}", self.scores.len()), format!("one for each of the {n} tokens")));
        }
        if let Some(i) = self.scores.iter().position(|s| s.is_nan()) {
            return Err(fault("scores", format!("not a number for token {i}"), "numbers".into()));
        }
        let ids = &self.ids;
        for (name, id) in [("bos", ids.bos), ("eos", ids.eos), ("eot", ids.eot), ("eom", ids.eom), ("unk", ids.unk), ("pad", ids.pad)] {
            if let Some(id) = id.filter(|id| *id as usize >= n) {
                return Err(fault(&format!("{name} token"), format!("{id}"), format!("an id below {n}")));
            }
        }
        Ok(self)
    }
}
