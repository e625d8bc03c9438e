//! Vocabulary from tokenizer.model: a SentencePiece model, a protocol buffer.
//!
//! Of the message `ModelProto` these fields are read, all others passed over:
//!
//! | field | number | holds |
//! |---|---|---|
//! | pieces | 1, repeated | piece 1 string, score 2 float, type 3 enum (1 when absent) |
//! | trainer_spec | 2 | model_type 3 (1 unigram, 2 BPE, 3 word, 4 char), byte_fallback 35, ids: unk 40, bos 41, eos 42, pad 43 |
//! | normalizer_spec | 3 | precompiled_charsmap 2 bytes, add_dummy_prefix 3, remove_extra_whitespaces 4, escape_whitespaces 5 |

use super::{Algorithm, Prefix, SpecialIds, TextError, TokenType, Vocab};

/// A cursor over one message. Offsets are from the beginning of the file.
struct Message<'a> {
    file: &'a str,
    bytes: &'a [u8],
    at: usize,
    end: usize,
}

/// A field's value.
enum Wire<'a> {
    Varint(u64),
    Fixed32(u32),
    Bytes(Message<'a>),
    Other,
}

impl<'a> Message<'a> {
    fn fault(&self, what: impl Into<String>) -> TextError {
        TextError::Protobuf { file: self.file.to_string(), offset: self.at, what: what.into() }
    }

    fn varint(&mut self) -> Result<u64, TextError> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let b = *self.bytes[..self.end].get(self.at).ok_or_else(|| self.fault("the file ends within a number"))?;
            self.at += 1;
            value |= u64::from(b & 0x7f) << shift;
            if b < 0x80 {
                return Ok(value);
            }
        }
        Err(self.fault("a number longer than ten bytes; this is no SentencePiece model"))
    }

    fn take(&mut self, n: u64) -> Result<(usize, usize), TextError> {
        let left = (self.end - self.at) as u64;
        if n > left {
            return Err(self.fault(format!("a field of {n} bytes where {left} are left")));
        }
        let start = self.at;
        self.at += n as usize;
        Ok((start, self.at))
    }

    /// The next field: its number and value; `None` at the end.
    fn field(&mut self) -> Result<Option<(u64, Wire<'a>)>, TextError> {
        if self.at >= self.end {
            return Ok(None);
        }
        let tag = self.varint()?;
        let wire = match tag & 7 {
            0 => Wire::Varint(self.varint()?),
            1 => {
                self.take(8)?;
                Wire::Other
            }
            2 => {
                let n = self.varint()?;
                let (at, end) = self.take(n)?;
                Wire::Bytes(Message { file: self.file, bytes: self.bytes, at, end })
            }
            5 => {
                let (a, _) = self.take(4)?;
                let mut four = [0; 4];
                four.copy_from_slice(&self.bytes[a..a + 4]);
                Wire::Fixed32(u32::from_le_bytes(four))
            }
            other => return Err(self.fault(format!("the wire type {other}; this is no SentencePiece model"))),
        };
        Ok(Some((tag >> 3, wire)))
    }

    fn text(&self) -> Result<&'a str, TextError> {
        std::str::from_utf8(&self.bytes[self.at..self.end]).map_err(|e| self.fault(format!("a piece is not UTF-8 ({e})")))
    }
}

/// What the settings say; SentencePiece's defaults.
struct Settings {
    model_type: u64,
    unk: i64,
    bos: i64,
    eos: i64,
    pad: i64,
    dummy_prefix: bool,
    collapse: bool,
    escape: bool,
    charsmap: bool,
    suffix: bool,
}

impl Vocab {
    /// Reads a SentencePiece model of the type BPE.
    pub fn from_sentencepiece(file: &str, bytes: &[u8]) -> Result<Vocab, TextError> {
        if bytes.starts_with(b"IQ== ") {
            return Err(TextError::Kind { file: file.to_string(), kind: "tiktoken list (tokenizer.json is needed beside it)".to_string() });
        }
        let mut model = Message { file, bytes, at: 0, end: bytes.len() };
        let (mut tokens, mut types, mut scores) = (Vec::new(), Vec::new(), Vec::new());
        let mut set = Settings {
            model_type: 1,
            unk: 0,
            bos: 1,
            eos: 2,
            pad: -1,
            dummy_prefix: true,
            collapse: true,
            escape: true,
            charsmap: false,
            suffix: false,
        };
        while let Some((number, wire)) = model.field()? {
            match (number, wire) {
                (1, Wire::Bytes(piece)) => {
                    let (text, score, kind) = read_piece(piece)?;
                    tokens.push(text);
                    scores.push(score);
                    types.push(kind);
                }
                (2, Wire::Bytes(trainer)) => read_trainer(trainer, &mut set)?,
                (3, Wire::Bytes(normalizer)) => read_normalizer(normalizer, &mut set)?,
                _ => {}
            }
        }
        let kind = |kind: &str| TextError::Kind { file: file.to_string(), kind: kind.to_string() };
        match set.model_type {
            2 => {}
            1 => return Err(kind("SentencePiece unigram")),
            3 => return Err(kind("SentencePiece word")),
            4 => return Err(kind("SentencePiece char")),
            other => return Err(kind(&format!("SentencePiece type {other}"))),
        }
        for (found, name) in
            [(set.charsmap, "a normalization table"), (!set.escape, "unescaped white space"), (set.suffix, "white space as suffix")]
        {
            if found {
                return Err(kind(&format!("SentencePiece BPE with {name}")));
            }
        }
        let id = |id: i64, kind: TokenType| u32::try_from(id).ok().filter(|id| types.get(*id as usize) == Some(&kind));
        let ids = SpecialIds {
            bos: id(set.bos, TokenType::Control),
            eos: id(set.eos, TokenType::Control),
            unk: id(set.unk, TokenType::Unknown),
            pad: id(set.pad, TokenType::Control),
            ..SpecialIds::default()
        };
        let prefix = if set.dummy_prefix { Prefix::EACH } else { Prefix::NONE };
        let algorithm = Algorithm::SentencePiece { prefix, collapse: set.collapse, split: false, quiet_user_defined: true };
        let vocab = Vocab { scores, ids, ..Vocab::new(algorithm, tokens, types) };
        vocab.check(file)
    }
}

fn read_piece(mut piece: Message<'_>) -> Result<(String, f32, TokenType), TextError> {
    let (mut text, mut score, mut kind) = (String::new(), 0.0, TokenType::Normal);
    while let Some((number, wire)) = piece.field()? {
        match (number, wire) {
            (1, Wire::Bytes(bytes)) => text = bytes.text()?.to_string(),
            (2, Wire::Fixed32(bits)) => score = f32::from_bits(bits),
            (3, Wire::Varint(n)) => kind = TokenType::from_number(n as i64),
            _ => {}
        }
    }
    Ok((text, score, kind))
}

fn read_trainer(mut spec: Message<'_>, set: &mut Settings) -> Result<(), TextError> {
    while let Some((number, wire)) = spec.field()? {
        match (number, wire) {
            (3, Wire::Varint(n)) => set.model_type = n,
            (24, Wire::Varint(n)) => set.suffix = n != 0,
            // Negative ids are ten-byte two's complement.
            (40, Wire::Varint(n)) => set.unk = n as i64,
            (41, Wire::Varint(n)) => set.bos = n as i64,
            (42, Wire::Varint(n)) => set.eos = n as i64,
            (43, Wire::Varint(n)) => set.pad = n as i64,
            _ => {}
        }
    }
    Ok(())
}

fn read_normalizer(mut spec: Message<'_>, set: &mut Settings) -> Result<(), TextError> {
    while let Some((number, wire)) = spec.field()? {
        match (number, wire) {
            (2, Wire::Bytes(table)) => set.charsmap = table.at < table.end,
            (3, Wire::Varint(n)) => set.dummy_prefix = n != 0,
            (4, Wire::Varint(n)) => set.collapse = n != 0,
            (5, Wire::Varint(n)) => set.escape = n != 0,
            _ => {}
        }
    }
    Ok(())
}
