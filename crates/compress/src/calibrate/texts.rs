//! A calibration text as chunks of tokens, cut as llama-imatrix cuts it.

use crate::Error;
use nibble_engine::source::Source;
use nibble_engine::text::{Tokenizer, Vocab};

/// The text that ships with the program: stories, invented articles, letters, dialogues, lists, code, twelve languages. `make_text.py` writes it.
pub const OWN: &str = include_str!("text.txt");

/// What the text that ships is called in files.
pub const OWN_NAME: &str = "nibble-calibration";

/// Tokens of a chunk where nothing else is asked for.
pub const CONTEXT: usize = 512;

/// Chunks of tokens, each a context of its own.
pub struct Texts {
    /// What the text is called in files.
    pub name: String,
    /// Token ids, every chunk as long.
    pub chunks: Vec<Vec<u32>>,
}

impl Texts {
    /// Cuts a text into chunks of `context` tokens; what is left over at the end is not used. Where the vocabulary begins its sequences with a BOS, the
    /// text does, and the first token of every chunk is replaced by one: so does llama-imatrix. At most `most` chunks.
    pub fn new(source: &Source, name: &str, text: &str, context: usize, most: usize) -> Result<Texts, Error> {
        let vocab = Vocab::of(source)?;
        let bos = vocab.ids.bos.filter(|_| vocab.adds_bos());
        let tokenizer = Tokenizer::new(vocab);
        let mut ids: Vec<u32> = bos.into_iter().collect();
        ids.extend(tokenizer.encode(text));
        let context = context.min(source.config().context).max(1);
        let mut chunks: Vec<Vec<u32>> = ids.chunks_exact(context).take(most).map(<[u32]>::to_vec).collect();
        if chunks.is_empty() {
            return Err(Error::ShortText { name: name.to_owned(), tokens: ids.len(), context });
        }
        if let Some(bos) = bos {
            chunks.iter_mut().for_each(|chunk| chunk[0] = bos);
        }
        Ok(Texts { name: name.to_owned(), chunks })
    }

    /// Tokens of a chunk.
    pub fn context(&self) -> usize {
        self.chunks.first().map_or(0, Vec::len)
    }

    /// All tokens.
    pub fn tokens(&self) -> usize {
        self.chunks.iter().map(Vec::len).sum()
    }
}
