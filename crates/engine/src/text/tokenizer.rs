//! Encoding and decoding with a vocabulary.

use super::bpe::{self, NONE, Ranks, Symbol};
use super::nfc::nfc;
use super::pieces::Pieces;
use super::special::{Recognise, Specials};
use super::{Algorithm, Prefix, Prompt, TokenType, Vocab};
use std::borrow::Cow;
use std::ops::Range;

/// SentencePiece's space.
const SPACE: char = '▁';

/// A vocabulary with the indices that make it quick.
#[derive(Clone, Debug)]
pub struct Tokenizer {
    vocab: Vocab,
    pieces: Pieces,
    specials: Specials,
    ranks: Ranks,
    /// The token of each byte alone: a character of the byte alphabet, or `<0x0A>`.
    bytes: [u32; 256],
    /// There are pieces that only serve to reach others.
    unused: bool,
    ends: Vec<u32>,
}

impl Tokenizer {
    /// Indexes a vocabulary.
    pub fn new(vocab: Vocab) -> Tokenizer {
        let byte_level = matches!(vocab.algorithm, Algorithm::ByteLevel { .. });
        let pieces = Pieces::new(&vocab.tokens, &vocab.types, |kind| match kind {
            TokenType::Normal | TokenType::UserDefined | TokenType::Unused => true,
            // Byte-level vocabularies hold their special tokens among the others.
            _ => byte_level,
        });
        let mut bytes = [NONE; 256];
        if byte_level {
            for b in 0..=255u8 {
                let mut buffer = [0; 4];
                let text = byte_char(b).encode_utf8(&mut buffer);
                bytes[b as usize] = pieces.get(&vocab.tokens, text.as_bytes()).unwrap_or(NONE);
            }
        } else {
            for (id, (text, _)) in vocab.tokens.iter().zip(&vocab.types).enumerate().filter(|(_, (_, kind))| **kind == TokenType::Byte) {
                if let Some(b) = byte_token(text) {
                    bytes[b as usize] = id as u32;
                }
            }
        }
        let unused = vocab.tokens.iter().zip(&vocab.types).any(|(text, kind)| *kind == TokenType::Unused && !text.starts_with("[PAD"));
        let (specials, ranks, ends) = (Specials::new(&vocab), Ranks::new(&vocab.merges), vocab.ends());
        Tokenizer { vocab, pieces, specials, ranks, bytes, unused, ends }
    }

    /// The vocabulary.
    pub fn vocab(&self) -> &Vocab {
        &self.vocab
    }

    /// Every token at which generation ends, ascending.
    pub fn ends(&self) -> &[u32] {
        &self.ends
    }

    /// Whether generation ends at this token.
    pub fn is_end(&self, id: u32) -> bool {
        self.ends.binary_search(&id).is_ok()
    }

    /// Tokens of a plain text: control tokens in it are text, and neither BOS nor EOS is added.
    pub fn encode(&self, text: &str) -> Vec<u32> {
        let mut out = Vec::with_capacity(text.len() / 3 + 4);
        self.run(text, Recognise::UserDefined, &[], &mut out);
        out
    }

    /// Tokens of a text in which special tokens count. Neither BOS nor EOS is added.
    pub fn encode_special(&self, text: &str) -> Vec<u32> {
        let mut out = Vec::with_capacity(text.len() / 3 + 4);
        self.run(text, Recognise::All, &[], &mut out);
        out
    }

    /// Tokens of a prompt: special tokens count but where the prompt is literal. With `ends` BOS and EOS are added as the vocabulary says; a chat
    /// template writes its own, so rendered conversations go without.
    pub fn encode_prompt(&self, prompt: &Prompt, ends: bool) -> Vec<u32> {
        let mut out = Vec::with_capacity(prompt.text.len() / 3 + 4);
        if ends && self.vocab.adds_bos() {
            out.extend(self.vocab.ids.bos);
        }
        self.run(&prompt.text, Recognise::All, &prompt.literal, &mut out);
        if ends && self.vocab.adds_eos() {
            out.extend(self.vocab.ids.eos);
        }
        out
    }

    /// Where control tokens stand in a text, as byte ranges.
    pub fn control_spans(&self, text: &str) -> Vec<Range<usize>> {
        let mut spans = Vec::new();
        let mut from = 0;
        while let Some(found) = self.specials.next(&self.vocab, text, from, Recognise::All, &[]) {
            from = found.range.end;
            if self.vocab.types[found.id as usize] != TokenType::UserDefined {
                spans.push(found.range);
            }
        }
        spans
    }

    /// The bytes that a token stands for. Control tokens give none, ids that are not in the vocabulary neither.
    pub fn token_bytes(&self, id: u32) -> Cow<'_, [u8]> {
        let Some(text) = self.vocab.tokens.get(id as usize) else { return Cow::Borrowed(&[]) };
        match (self.vocab.types[id as usize], &self.vocab.algorithm) {
            (TokenType::Control | TokenType::Unused, _) => Cow::Borrowed(&[]),
            (TokenType::Unknown, _) => Cow::Borrowed(" \u{2047} ".as_bytes()),
            (TokenType::UserDefined, Algorithm::ByteLevel { .. }) => Cow::Borrowed(text.as_bytes()),
            (_, Algorithm::ByteLevel { .. }) => match text.chars().map(char_byte).collect::<Option<Vec<u8>>>() {
                Some(bytes) => Cow::Owned(bytes),
                None => Cow::Borrowed(text.as_bytes()),
            },
            (TokenType::Byte, _) => match byte_token(text) {
                Some(b) => Cow::Owned(vec![b]),
                None => Cow::Borrowed(text.as_bytes()),
            },
            (_, Algorithm::SentencePiece { .. }) if text.contains(SPACE) => Cow::Owned(text.replace(SPACE, " ").into_bytes()),
            _ => Cow::Borrowed(text.as_bytes()),
        }
    }

    /// The text of some tokens from the beginning of a sequence: control tokens are left out, the space that SentencePiece put before the text
    /// goes, and bytes that are no UTF-8 become U+FFFD.
    pub fn decode(&self, ids: &[u32]) -> String {
        String::from_utf8_lossy(&self.decode_bytes(ids)).into_owned()
    }

    /// As [`Tokenizer::decode`], as bytes.
    pub fn decode_bytes(&self, ids: &[u32]) -> Vec<u8> {
        let mut out = Vec::new();
        for &id in ids {
            out.extend_from_slice(&self.token_bytes(id));
        }
        if let Algorithm::SentencePiece { prefix: Prefix { first: true, .. }, .. } = self.vocab.algorithm
            && out.first() == Some(&b' ')
        {
            out.remove(0);
        }
        out
    }

    /// Encodes the text between special tokens, and them.
    fn run(&self, text: &str, recognise: Recognise, literal: &[Range<usize>], out: &mut Vec<u32>) {
        let mut begins = true;
        let mut from = 0;
        loop {
            let found = self.specials.next(&self.vocab, text, from, recognise, literal);
            let to = found.as_ref().map_or(text.len(), |f| f.range.start);
            if from < to {
                self.gap(&text[from..to], begins, from == 0, out);
                begins = false;
            }
            let Some(found) = found else { break };
            out.push(found.id);
            begins |= self.begins_after(found.id);
            from = found.range.end;
        }
    }

    /// Whether what follows this special token is treated as the beginning of a text.
    fn begins_after(&self, id: u32) -> bool {
        match self.vocab.algorithm {
            Algorithm::SentencePiece { quiet_user_defined: true, .. } => self.vocab.types[id as usize] != TokenType::UserDefined,
            _ => true,
        }
    }

    /// Encodes text without special tokens.
    fn gap(&self, text: &str, begins: bool, first: bool, out: &mut Vec<u32>) {
        match self.vocab.algorithm {
            Algorithm::ByteLevel { pre, ignore_merges } => {
                let text = if pre.nfc { nfc(text) } else { Cow::Borrowed(text) };
                let mut work = Work::default();
                (pre.cut)(&text, &mut |word| self.word(word, ignore_merges, &mut work, out));
            }
            Algorithm::SentencePiece { prefix, collapse, split, .. } => {
                let text = escape(text, prefix, collapse, begins && if first { prefix.first } else { prefix.after_special });
                let mut symbols = Vec::new();
                if split {
                    let mut from = 0;
                    for (at, _) in text.match_indices(SPACE).filter(|(at, _)| *at > 0) {
                        self.sentence(&text[from..at], &mut symbols, out);
                        from = at;
                    }
                    self.sentence(&text[from..], &mut symbols, out);
                } else {
                    self.sentence(&text, &mut symbols, out);
                }
            }
        }
    }

    /// One word of byte-level BPE.
    fn word(&self, word: &str, ignore_merges: bool, work: &mut Work, out: &mut Vec<u32>) {
        if let [b] = word.as_bytes() {
            return out.extend(Some(self.bytes[*b as usize]).filter(|id| *id != NONE));
        }
        if ignore_merges {
            work.text.clear();
            work.text.extend(word.bytes().map(byte_char));
            if let Some(id) = self.pieces.get(&self.vocab.tokens, work.text.as_bytes()) {
                return out.push(id);
            }
        }
        work.symbols.clear();
        let known = word.bytes().map(|b| self.bytes[b as usize]).filter(|id| *id != NONE);
        work.symbols.extend(known.enumerate().map(|(i, id)| Symbol::new(i, i + 1, id)));
        bpe::merge(&mut work.symbols, |a, b| self.ranks.get(a.id, b.id));
        out.extend(work.symbols.iter().map(|s| s.id));
    }

    /// One text of SentencePiece BPE, escaped already.
    fn sentence(&self, text: &str, symbols: &mut Vec<Symbol>, out: &mut Vec<u32>) {
        let tokens = &self.vocab.tokens;
        let find = |a: u32, b: u32| self.pieces.get(tokens, &text.as_bytes()[a as usize..b as usize]);
        symbols.clear();
        symbols.extend(text.char_indices().map(|(i, c)| {
            let end = i + c.len_utf8();
            Symbol::new(i, end, find(i as u32, end as u32).unwrap_or(NONE))
        }));
        if !self.vocab.merges.is_empty() {
            bpe::merge(symbols, |a, b| self.ranks.get(a.id, b.id));
        } else {
            bpe::merge(symbols, |a, b| {
                let id = find(a.start, b.end)?;
                Some(bpe::Candidate { key: bpe::score_key(self.vocab.scores.get(id as usize).copied().unwrap_or(0.0)), id })
            });
        }
        let mut unknown = false;
        for s in symbols.iter() {
            let piece = &text[s.start as usize..s.end as usize];
            if s.id != NONE && !(self.unused && self.vocab.types[s.id as usize] == TokenType::Unused) {
                out.push(s.id);
                unknown = false;
            } else if s.id != NONE {
                self.resolve(piece, out);
                unknown = false;
            } else if piece.bytes().all(|b| self.bytes[b as usize] != NONE) {
                out.extend(piece.bytes().map(|b| self.bytes[b as usize]));
                unknown = false;
            } else if !unknown {
                // A run of what no piece covers is one unknown token.
                out.extend(self.vocab.ids.unk);
                unknown = true;
            }
        }
    }

    /// Takes an unused piece apart again: into the two that have the best scores, as the merge that made it did.
    fn resolve(&self, piece: &str, out: &mut Vec<u32>) {
        let find = |text: &str| self.pieces.get(&self.vocab.tokens, text.as_bytes());
        let id = find(piece);
        if let Some(id) = id.filter(|id| self.vocab.types[*id as usize] != TokenType::Unused) {
            return out.push(id);
        }
        let mut symbols: Vec<Symbol> = piece.char_indices().map(|(i, c)| Symbol::new(i, i + c.len_utf8(), NONE)).collect();
        if symbols.len() < 2 {
            return out.extend(id);
        }
        bpe::merge(&mut symbols, |a, b| {
            let text = &piece[a.start as usize..b.end as usize];
            let id = find(text).filter(|_| text.len() < piece.len())?;
            Some(bpe::Candidate { key: bpe::score_key(self.vocab.scores.get(id as usize).copied().unwrap_or(0.0)), id })
        });
        for s in symbols {
            self.resolve(&piece[s.start as usize..s.end as usize], out);
        }
    }
}

/// Buffers of one call.
#[derive(Default)]
struct Work {
    text: String,
    symbols: Vec<Symbol>,
}

/// Spaces as `▁`, with one before the text where the vocabulary wants it. Collapsing works as SentencePiece does it: literal `▁` at the end go too.
fn escape(text: &str, prefix: Prefix, collapse: bool, begins: bool) -> String {
    let mut out = String::with_capacity(text.len() + text.len() / 2);
    let text = if collapse { text.trim_start_matches(' ') } else { text };
    if begins && !text.is_empty() && !(prefix.unless_there && text.starts_with([' ', SPACE])) {
        out.push(SPACE);
    }
    let mut last = '\0';
    for c in text.chars() {
        if !(collapse && c == ' ' && last == ' ') {
            out.push(if c == ' ' { SPACE } else { c });
        }
        last = c;
    }
    if collapse {
        out.truncate(out.trim_end_matches(SPACE).len());
    }
    out
}

/// GPT-2's printable character for a byte: itself for visible Latin-1, else the next free one from U+0100.
fn byte_char(b: u8) -> char {
    let code = match b {
        0..=0x20 => 0x100 + u32::from(b),
        0x7f..=0xa0 => 0x121 + u32::from(b - 0x7f),
        0xad => 0x143,
        _ => u32::from(b),
    };
    char::from_u32(code).unwrap_or('\0')
}

/// The byte for a character of GPT-2's alphabet.
fn char_byte(c: char) -> Option<u8> {
    let code = c as u32;
    match code {
        0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff => Some(code as u8),
        0x100..=0x120 => Some((code - 0x100) as u8),
        0x121..=0x142 => Some((code - 0x121 + 0x7f) as u8),
        0x143 => Some(0xad),
        _ => None,
    }
}

/// The byte of `<0x0A>`.
pub(super) fn byte_token(text: &str) -> Option<u8> {
    let hex = text.strip_prefix("<0x")?.strip_suffix('>')?;
    (hex.len() == 2 && hex.bytes().all(|b| b.is_ascii_hexdigit())).then(|| u8::from_str_radix(hex, 16).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_alphabet_is_a_bijection() {
        for b in 0..=255 {
            assert_eq!(char_byte(byte_char(b)), Some(b));
        }
        assert_eq!((byte_char(b' '), byte_char(b'\n'), byte_char(0xad), byte_char(0xa0)), ('Ġ', 'Ċ', 'Ń', 'ł'));
        assert_eq!((byte_token("<0x0A>"), byte_token("<0x+1>"), byte_token("<0xa>")), (Some(10), None, None));
    }
}
