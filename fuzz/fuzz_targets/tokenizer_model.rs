//! Any bytes as a SentencePiece tokenizer.model: no panic, and a vocabulary that is accepted can encode and decode.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nibble_engine::text::{Tokenizer, Vocab};

fuzz_target!(|file: &[u8]| {
    let Ok(vocab) = Vocab::from_sentencepiece("tokenizer.model", file) else { return };
    let tokenizer = Tokenizer::new(vocab);
    let ids = tokenizer.encode_special("Once upon a time, 12345 aab\u{e9}\u{1f600}\n\n  <s>");
    let _ = tokenizer.decode(&ids);
});
