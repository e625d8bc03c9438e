//! Synthetic checkpoints: the same bytes on any number of threads, well-formed files.

use nibble_compress::synth::{Shape, write};
use serde_json::Value;
use std::fs;

#[test]
fn same_seed_same_bytes() {
    let shape = Shape::by_name("tiny").unwrap();
    let (a, b, c) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    write(a.path(), &shape, 1, 1).unwrap();
    write(b.path(), &shape, 1, 3).unwrap();
    write(c.path(), &shape, 2, 2).unwrap();
    for file in ["model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json"] {
        assert!(fs::read(a.path().join(file)).unwrap() == fs::read(b.path().join(file)).unwrap(), "{file}");
    }
    assert!(fs::read(a.path().join("model.safetensors")).unwrap() != fs::read(c.path().join("model.safetensors")).unwrap());
}

#[test]
fn weights_are_spread_as_trained_ones() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &Shape::by_name("tiny").unwrap(), 1, 2).unwrap();
    let file = fs::read(dir.path().join("model.safetensors")).unwrap();
    let header = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
    let json: Value = serde_json::from_slice(&file[8..8 + header]).unwrap();
    let offsets = &json["model.embed_tokens.weight"]["data_offsets"];
    let range = 8 + header + offsets[0].as_u64().unwrap() as usize..8 + header + offsets[1].as_u64().unwrap() as usize;
    let x: Vec<f64> = file[range].chunks(2).map(|b| f32::from_bits((u16::from_le_bytes([b[0], b[1]]) as u32) << 16) as f64).collect();
    assert_eq!(x.len(), 1024 * 256);
    let mean = x.iter().sum::<f64>() / x.len() as f64;
    let deviation = (x.iter().map(|v| v * v).sum::<f64>() / x.len() as f64).sqrt();
    assert!(mean.abs() < 2e-4 && (deviation - 0.02).abs() < 4e-4, "mean {mean}, deviation {deviation}");
}

#[test]
fn merges_make_their_pieces() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &Shape::by_name("tiny").unwrap(), 1, 2).unwrap();
    let json: Value = serde_json::from_slice(&fs::read(dir.path().join("tokenizer.json")).unwrap()).unwrap();
    let vocab = json["model"]["vocab"].as_object().unwrap();
    let merges = json["model"]["merges"].as_array().unwrap();
    assert_eq!((vocab.len(), merges.len()), (1024 - 16, 1024 - 16 - 256));
    for (i, merge) in merges.iter().enumerate() {
        let (a, b) = (merge[0].as_str().unwrap(), merge[1].as_str().unwrap());
        assert!(vocab.contains_key(a) && vocab.contains_key(b));
        assert_eq!(vocab[&format!("{a}{b}")], 256 + i);
    }
}
