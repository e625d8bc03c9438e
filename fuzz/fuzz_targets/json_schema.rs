//! Any JSON as a schema, alone and as a function's: no panic, no endless time, and what ends under it is JSON. The first eight bytes throw the dice.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nibble_constrain::{Function, Grammar, Thought, Vocabulary};
use nibble_engine::text::{TOOL_STYLES, Tokenizer, Vocab};
use serde_json::Value;
use std::path::Path;
use std::sync::LazyLock;

static TINY: LazyLock<(Tokenizer, Vocabulary)> = LazyLock::new(|| {
    let tokenizer = Tokenizer::new(Vocab::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/tiny")).unwrap());
    let vocabulary = Vocabulary::new(&tokenizer).unwrap();
    (tokenizer, vocabulary)
});

/// Says up to 40 tokens that the grammar allows; whether it ended, and the text.
fn walk(grammar: &Grammar, mut dice: u64) -> Option<(bool, Vec<u8>)> {
    let mut constraint = TINY.1.compile(grammar).ok()?;
    let mut said = Vec::new();
    for _ in 0..40 {
        if constraint.is_finished() {
            return Some((true, said));
        }
        let words = constraint.allowed().ok()?.to_vec();
        let count: u32 = words.iter().map(|word| word.count_ones()).sum();
        assert!(count > 0, "nothing is allowed after {:?}", String::from_utf8_lossy(&said));
        dice = dice.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        let nth = ((dice >> 33) % u64::from(count)) as usize;
        let token = (0..words.len() as u32 * 32).filter(|t| words[*t as usize / 32] >> (t % 32) & 1 == 1).nth(nth).unwrap();
        constraint.accept(token).ok()?;
        if TINY.0.is_end(token) {
            return Some((true, said));
        }
        said.extend_from_slice(&TINY.0.token_bytes(token));
    }
    Some((false, said))
}

fuzz_target!(|input: &[u8]| {
    let Some((seed, rest)) = input.split_first_chunk::<8>() else { return };
    let Ok(schema) = serde_json::from_slice::<Value>(rest) else { return };
    let dice = u64::from_le_bytes(*seed);
    if let Ok(grammar) = Grammar::json_schema(&schema)
        && let Some((true, said)) = walk(&grammar, dice)
    {
        let text = String::from_utf8(said).unwrap();
        if let Err(error) = serde_json::from_str::<Value>(&text) {
            // A number too large for 64-bit floats is JSON all the same, and so is a text with half of a surrogate pair.
            let words = error.to_string();
            assert!(
                words.contains("out of range") || words.contains("surrogate") || words.contains("hex escape"),
                "{schema}: {text}: {error}"
            );
        }
    }
    if let Ok(function) = Function::new("f", &schema) {
        let style = &TOOL_STYLES[dice as usize % TOOL_STYLES.len()];
        let thought = [Thought::None, Thought::Possible, Thought::Opened][(dice >> 8) as usize % 3];
        let _ = walk(&Grammar::calls(style, vec![function], dice & 1 == 0).after(thought), dice);
    }
});
