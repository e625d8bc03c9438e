//! A made-up byte-level BPE tokenizer of any size, in Llama 3's layout: pieces that follow from their merges, then special tokens.

use serde_json::{Map, Value, json};

/// Llama 3's way of cutting text before the merges.
const SPLIT: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// Special tokens of a vocabulary: 256 as in Llama 3, fewer in small ones.
fn specials(vocab: usize) -> usize {
    if vocab >= 4096 { 256 } else { 16 }
}

/// First special token, and the one that ends a text.
pub(super) fn ends(vocab: usize) -> (usize, usize) {
    let first = vocab - specials(vocab);
    (first, first + 1)
}

fn special_name(i: usize) -> String {
    match i {
        0 => "<|begin_of_text|>".to_owned(),
        1 => "<|end_of_text|>".to_owned(),
        6 => "<|start_header_id|>".to_owned(),
        7 => "<|end_header_id|>".to_owned(),
        9 => "<|eot_id|>".to_owned(),
        _ => format!("<|reserved_special_token_{i}|>"),
    }
}

/// The 256 characters that stand for bytes: printable ones for themselves, the others from U+0100 on.
fn byte_characters() -> Vec<char> {
    let mut next = 0x100;
    (0u8..=255)
        .map(|b| match b {
            b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF => b as char,
            _ => {
                next += 1;
                char::from_u32(next - 1).expect("U+0100 to U+0143 are characters")
            }
        })
        .collect()
}

/// tokenizer.json: bytes, then pieces of two, three and four small letters, each merged from the piece before it and a letter.
pub(super) fn json(vocab: usize) -> Value {
    let wanted = vocab - specials(vocab);
    let mut pieces: Vec<String> = byte_characters().into_iter().map(String::from).collect();
    let mut merges = Vec::new();
    let mut stems: Vec<String> = ('a'..='z').map(String::from).collect();
    while pieces.len() < wanted {
        let mut longer = Vec::new();
        for stem in &stems {
            for letter in 'a'..='z' {
                if pieces.len() < wanted {
                    merges.push(json!([stem, letter]));
                    longer.push(format!("{stem}{letter}"));
                    pieces.push(format!("{stem}{letter}"));
                }
            }
        }
        stems = longer;
    }
    pieces.truncate(wanted);
    let table: Map<String, Value> = pieces.into_iter().enumerate().map(|(id, piece)| (piece, json!(id))).collect();
    let added: Vec<Value> = (0..specials(vocab))
        .map(|i| {
            json!({"id": wanted + i, "content": special_name(i), "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true})
        })
        .collect();
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added, "normalizer": null,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": SPLIT}, "behavior": "Isolated", "invert": false},
            {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false}]},
        "post_processor": {"type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": special_name(0), "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {special_name(0): {"id": special_name(0), "ids": [wanted], "tokens": [special_name(0)]}}},
        "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null, "end_of_word_suffix": null,
            "fuse_unk": false, "byte_fallback": false, "ignore_merges": true, "vocab": table, "merges": merges},
    })
}

/// tokenizer_config.json.
pub(super) fn config() -> Value {
    json!({"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": special_name(0), "eos_token": special_name(1), "model_max_length": 131_072,
        "clean_up_tokenization_spaces": false})
}
