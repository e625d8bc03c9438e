//! Special tokens in text: the leftmost one, the longest of those that begin there.

use super::pieces::Pieces;
use super::{Added, TokenType, Vocab};
use std::ops::Range;

/// Which tokens count as special.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Recognise {
    /// Only user-defined ones: the text is a person's.
    UserDefined,
    /// Control tokens too.
    All,
}

/// A special token found in a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// The bytes that it covers, white space that it takes included.
    pub range: Range<usize>,
    pub id: u32,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Specials {
    pieces: Pieces,
    /// Lengths of the tokens that begin with each byte, longest first.
    lengths: Vec<Vec<u32>>,
    added: Vec<Added>,
}

impl Specials {
    pub fn new(vocab: &Vocab) -> Specials {
        let special = |t: TokenType| matches!(t, TokenType::Control | TokenType::UserDefined | TokenType::Unknown);
        let mut lengths = vec![Vec::new(); 256];
        for (text, _) in vocab.tokens.iter().zip(&vocab.types).filter(|(text, kind)| special(**kind) && !text.is_empty()) {
            let of: &mut Vec<u32> = &mut lengths[text.as_bytes()[0] as usize];
            let length = text.len() as u32;
            if let Err(at) = of.binary_search_by(|l| length.cmp(l)) {
                of.insert(at, length);
            }
        }
        Specials { pieces: Pieces::new(&vocab.tokens, &vocab.types, special), lengths, added: vocab.added.clone() }
    }

    /// The first special token of `text` at or after `from` that overlaps none of `literal` (user-defined ones may).
    pub fn next(&self, vocab: &Vocab, text: &str, from: usize, recognise: Recognise, literal: &[Range<usize>]) -> Option<Found> {
        let bytes = text.as_bytes();
        for at in from..bytes.len() {
            for &length in &self.lengths[bytes[at] as usize] {
                let end = at + length as usize;
                let Some(id) = bytes.get(at..end).and_then(|piece| self.pieces.get(&vocab.tokens, piece)) else { continue };
                let control = vocab.types[id as usize] != TokenType::UserDefined;
                if control && (recognise == Recognise::UserDefined || overlaps(literal, &(at..end))) {
                    continue;
                }
                if let Some(found) = self.flagged(text, from, at..end, id) {
                    return Some(found);
                }
            }
        }
        None
    }

    /// Applies the flags of an added token.
    fn flagged(&self, text: &str, from: usize, mut range: Range<usize>, id: u32) -> Option<Found> {
        if let Some(flags) = self.added.iter().find(|a| a.id == id) {
            let word = |c: char| c.is_alphanumeric() || c == '_';
            if flags.single_word
                && (text[..range.start].chars().next_back().is_some_and(word) || text[range.end..].chars().next().is_some_and(word))
            {
                return None;
            }
            if flags.lstrip {
                range.start = from + text[from..range.start].trim_end().len();
            }
            if flags.rstrip {
                range.end = text.len() - text[range.end..].trim_start().len();
            }
        }
        Some(Found { range, id })
    }
}

fn overlaps(literal: &[Range<usize>], range: &Range<usize>) -> bool {
    let at = literal.partition_point(|l| l.end <= range.start);
    literal.get(at).is_some_and(|l| l.start < range.end)
}
