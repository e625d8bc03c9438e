//! Text in which special tokens count, but for the parts that a person typed.

use std::ops::Range;

/// A text to encode, and in which of its parts special tokens are not to be recognised.
///
/// The parts are encoded as one text: a boundary between them is not a boundary between tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prompt {
    /// The whole text.
    pub text: String,
    /// Byte ranges of `text`, ascending and apart. No special token is found that overlaps one.
    pub literal: Vec<Range<usize>>,
}

impl Prompt {
    /// Nothing yet.
    pub fn new() -> Prompt {
        Prompt::default()
    }

    /// A text in which special tokens count.
    pub fn special(text: &str) -> Prompt {
        let mut prompt = Prompt::new();
        prompt.push_special(text);
        prompt
    }

    /// A text in which they do not.
    pub fn literal(text: &str) -> Prompt {
        let mut prompt = Prompt::new();
        prompt.push_literal(text);
        prompt
    }

    /// Appends text in which special tokens count.
    pub fn push_special(&mut self, text: &str) {
        self.text.push_str(text);
    }

    /// Appends text in which they do not.
    pub fn push_literal(&mut self, text: &str) {
        let start = self.text.len();
        self.text.push_str(text);
        if start < self.text.len() {
            self.literal.push(start..self.text.len());
        }
    }
}
