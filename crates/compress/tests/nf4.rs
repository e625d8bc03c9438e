//! NF4 directories against bitsandbytes through transformers (tests/golden/nf4.py).

mod common;

use common::{bnb, crc32, quantize, tiny};
use nibble_compress::{Error, Options};
use nibble_container::Checkpoint;
use nibble_engine::source::Source;
use serde_json::{Value, json};
use std::fs;

#[test]
fn tensors_and_states_are_bitsandbytes() {
    let golden: Value = serde_json::from_str(include_str!("golden/nf4.json")).unwrap();
    for (key, double_quant) in [("double", true), ("plain", false)] {
        let golden = &golden[key];
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("nf4");
        let report = quantize(&tiny(), "nf4", Options { double_quant, ..Options::default() }, &out).unwrap();
        assert_eq!(fs::metadata(out.join("model.safetensors")).unwrap().len(), report.file_bytes);
        let file = Checkpoint::open(&out).unwrap();
        let get = |name: &str| file.get(name).unwrap_or_else(|| panic!("{name}")).bytes;
        let weights = golden["weights"].as_object().unwrap();
        for (name, row) in weights {
            let part = |part: &str| json!(crc32(get(&format!("{name}{part}"))));
            assert_eq!(part(""), row[0], "{name}");
            assert_eq!(part(".absmax"), row[1], "{name}.absmax");
            assert_eq!(part(".quant_map"), golden["maps"][0]);
            let state = std::str::from_utf8(get(&format!("{name}.quant_state.bitsandbytes__nf4"))).unwrap();
            if double_quant {
                assert_eq!(part(".nested_absmax"), row[2], "{name}.nested_absmax");
                assert_eq!(part(".nested_quant_map"), golden["maps"][1]);
                assert!(state.ends_with(&format!("\"nested_offset\": {}}}", row[3].as_str().unwrap())), "{name}: {state}, {}", row[3]);
            }
            let state: Value = serde_json::from_str(state).unwrap();
            for (key, value) in golden["state"].as_object().unwrap() {
                assert!(["shape", "nested_offset"].contains(&key.as_str()) || state[key] == *value, "{name}: {key}");
            }
        }
        // 42 matrices with their parts; the embedding and the norms as they were.
        let parts = if double_quant { 6 } else { 4 };
        assert_eq!(file.len(), weights.len() * parts + 1 + 13);
        let before = Checkpoint::open(tiny()).unwrap();
        for view in before.tensors().filter(|v| !weights.contains_key(v.name)) {
            assert!(get(view.name) == view.bytes, "{}", view.name);
        }
        let config: Value = serde_json::from_slice(&fs::read(out.join("config.json")).unwrap()).unwrap();
        assert_eq!(config["quantization_config"], golden["quantization_config"]);
        assert_eq!(config["hidden_size"], 256);
        for name in ["tokenizer.json", "tokenizer_config.json", "generation_config.json"] {
            assert!(fs::read(out.join(name)).unwrap() == fs::read(tiny().join(name)).unwrap(), "{name}");
        }
    }
}

/// What we wrote, read back, is within half a code's distance of the weights, the scale's own rounding counted; and it becomes GGUF.
#[test]
fn ours_is_read_back() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("nf4");
    quantize(&tiny(), "nf4", Options::default(), &out).unwrap();
    let (before, after) = (Source::open(&tiny()).unwrap(), Source::open(&out).unwrap());
    for tensor in before.tensors() {
        let again = after.get(&tensor.spec.gguf).unwrap();
        let (mut a, mut b) = (vec![0.0; tensor.rows() * tensor.cols()], vec![0.0; tensor.rows() * tensor.cols()]);
        before.read_rows(tensor, 0..tensor.rows(), &mut a);
        after.read_rows(again, 0..tensor.rows(), &mut b);
        let scales: Vec<f32> = a.chunks(64).map(|block| block.iter().fold(0f32, |m, v| m.max(v.abs()))).collect();
        let mean = scales.iter().sum::<f32>() / scales.len() as f32;
        // A scale's distance from the mean is kept in eight bits of the largest such distance among 256 blocks: half the widest gap between those
        // codes is 0.9 / 64 / 2. Rows may be stored in another order than they are read in: the largest of the tensor is at least as large.
        let moved = scales.iter().fold(0f32, |m, s| m.max((s - mean).abs())) * (0.9 / 128.0 + 1e-4);
        for (i, (a, b)) in a.chunks(64).zip(b.chunks(64)).enumerate() {
            // Half the widest gap between codes of weights is 0.152; the last bits are bfloat16's, 2^-9 of the value.
            let bound = (scales[i] + moved) * 0.152 + moved + scales[i] / 256.0;
            assert!(a.iter().zip(b).all(|(a, b)| (a - b).abs() <= bound), "{} block {i}", tensor.spec.gguf);
        }
    }
    quantize(&out, "q4_k_m", Options::default(), &dir.path().join("out.gguf")).unwrap();
}

#[test]
fn other_sources_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("nf4");
    let gguf = dir.path().join("model.gguf");
    quantize(&tiny(), "bf16", Options::default(), &gguf).unwrap();
    assert!(matches!(quantize(&gguf, "nf4", Options::default(), &out), Err(Error::WrongSource { found: "this is a GGUF file", .. })));
    assert!(matches!(quantize(&bnb(), "nf4", Options::default(), &out), Err(Error::WrongSource { found: "these are NF4 already", .. })));
    fs::create_dir(&out).unwrap();
    fs::write(out.join("keep.txt"), "mine").unwrap();
    assert!(quantize(&tiny(), "nf4", Options::default(), &out).is_err());
    assert_eq!(fs::read_dir(&out).unwrap().count(), 1);
}
