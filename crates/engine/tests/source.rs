//! Models on disk: what bitsandbytes packed, what is damaged, what is refused by name.

mod common;

use common::{golden_config, tokens, weight, write_model, write_raw, write_safetensors};
use nibble_engine::arch::{Config, permuted_row};
use nibble_engine::source::Source;
use nibble_engine::{Error, Model, Options};
use serde_json::{Value, json};
use std::path::Path;

type Raw = Vec<(String, &'static str, Vec<usize>, Vec<u8>)>;

fn bytes(x: &[f32]) -> Vec<u8> {
    x.iter().flat_map(|x| x.to_le_bytes()).collect()
}

/// The tensors of a safetensors file, for tests that damage them.
fn read_raw(file: &[u8]) -> Raw {
    let n = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
    let header: Value = serde_json::from_slice(&file[8..8 + n]).unwrap();
    let entry = |(name, v): (&String, &Value)| {
        let at = |i: usize| v["data_offsets"][i].as_u64().unwrap() as usize + 8 + n;
        let shape = v["shape"].as_array().unwrap().iter().map(|x| x.as_u64().unwrap() as usize).collect();
        let dtype = if v["dtype"] == "U8" { "U8" } else { "F32" };
        (name.clone(), dtype, shape, file[at(0)..at(1)].to_vec())
    };
    header.as_object().unwrap().iter().map(entry).collect()
}

/// The configuration whose feed-forward matrices golden/nf4.py made.
fn nf4_config() -> Value {
    let mut c = golden_config("window");
    let quantization = json!({"quant_method": "bitsandbytes", "load_in_4bit": true, "load_in_8bit": false, "bnb_4bit_quant_type": "nf4"});
    for (key, value) in [("hidden_size", json!(64)), ("intermediate_size", json!(264)), ("num_hidden_layers", json!(1))] {
        c[key] = value;
    }
    c["quantization_config"] = quantization;
    c
}

/// The NF4 model: bitsandbytes' matrices, the rest from the formula.
fn nf4_tensors() -> Raw {
    let mut all = read_raw(include_bytes!("golden/nf4.safetensors"));
    for t in Config::from_json("", &nf4_config()).unwrap().tensors() {
        if !all.iter().any(|(name, ..)| *name == t.hf[0]) {
            let n = t.shape.iter().product();
            all.push((t.hf[0].clone(), "F32", t.shape, bytes(&weight(&t.hf[0], n))));
        }
    }
    all
}

fn write(folder: &Path, config: &Value, tensors: &Raw) {
    std::fs::write(folder.join("config.json"), config.to_string()).unwrap();
    write_raw(&folder.join("model.safetensors"), tensors);
}

fn hash(bytes: &[u8]) -> String {
    let h = bytes.iter().fold(0xcbf2_9ce4_8422_2325u64, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3));
    format!("{h:016x}")
}

#[test]
fn nf4_values_are_bitsandbytes_own() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &nf4_config(), &nf4_tensors());
    let source = Source::open(folder.path()).unwrap();
    let golden: Value = serde_json::from_str(include_str!("golden/nf4.json")).unwrap();
    for (name, canonical) in [("up", "ffn_up"), ("gate", "ffn_gate"), ("down", "ffn_down")] {
        let expected = &golden[format!("model.layers.0.mlp.{name}_proj.weight")];
        let tensor = source.get(&format!("blk.0.{canonical}.weight")).unwrap();
        assert_eq!(source.type_name(tensor), "NF4");
        let (rows, cols) = (tensor.rows(), tensor.cols());
        let mut out = vec![0.0; rows * cols];
        source.read_rows(tensor, 0..rows, &mut out);
        let first: Vec<f64> = out[..8].iter().map(|&x| x.into()).collect();
        assert_eq!(json!(first), expected["first"], "{name}");
        assert_eq!(hash(&bytes(&out)), expected["hash"].as_str().unwrap(), "{name}");
        // A range that begins within a block.
        let mut part = vec![0.0; 2 * cols];
        source.read_rows(tensor, 3..5, &mut part);
        assert_eq!(part, out[3 * cols..5 * cols]);
    }
    // It runs, too.
    let model = Model::open(folder.path(), Options { context: Some(8), threads: Some(1), ..Options::default() }).unwrap();
    assert!(model.session().unwrap().feed(&tokens(8, 64)).unwrap().iter().all(|x| x.is_finite()));
}

#[test]
fn queries_and_keys_are_permuted_for_gguf_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    write_model(folder.path(), &golden_config("biases"));
    let source = Source::open(folder.path()).unwrap();
    for tensor in source.tensors() {
        let (rows, cols) = (tensor.rows(), tensor.cols());
        let (mut out, mut stored) = (vec![0.0; rows * cols], vec![0.0; rows * cols]);
        source.read_rows(tensor, 0..rows, &mut out);
        source.read_stored(tensor, 0..rows, &mut stored);
        assert_eq!(stored, weight(&tensor.stored, rows * cols), "{}", tensor.stored);
        let heads = if tensor.stored.contains("q_proj") { Some(6) } else { tensor.stored.contains("k_proj").then_some(2) };
        for r in 0..rows {
            let from = heads.map_or(r, |h| permuted_row(r, rows, h));
            assert_eq!(out[r * cols..][..cols], stored[from * cols..][..cols], "{} row {r}", tensor.stored);
        }
        assert_eq!(source.stored_bytes(tensor), (rows * cols * 4) as u64);
    }
}

fn faults(folder: &Path) -> Vec<String> {
    match Source::open(folder).map(|_| ()) {
        Err(Error::Tensors { faults, .. }) => faults.iter().map(|f| f.to_string()).collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_fault_of_the_tensors_is_reported_and_named() {
    let folder = tempfile::tempdir().unwrap();
    let config = golden_config("window");
    let whole: Vec<_> = Config::from_json("", &config)
        .unwrap()
        .tensors()
        .into_iter()
        .map(|t| (t.hf[0].clone(), t.shape.clone(), vec![0.5; t.shape.iter().product()]))
        .collect();
    std::fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
    let mut damaged = whole.clone();
    damaged.retain(|t| !t.0.contains("layers.1.mlp.up_proj"));
    damaged.iter_mut().filter(|t| t.0.contains("layers.0.self_attn.k_proj")).for_each(|t| t.1.swap(0, 1));
    damaged.iter_mut().filter(|t| t.0 == "model.norm.weight").for_each(|t| {
        t.1 = vec![31];
        t.2.pop();
    });
    write_safetensors(&folder.path().join("model.safetensors"), &damaged);
    let found = faults(folder.path());
    assert_eq!(found.len(), 3, "{found:?}");
    for (tensor, part) in [("model.layers.1.mlp.up_proj.weight", "no such tensor"), ("model.norm.weight", "[31]"), ("k_proj", "[32, 16]")] {
        assert!(found.iter().any(|f| f.contains(tensor) && f.contains(part)), "{tensor}: {found:?}");
    }
    let mut odd: Raw = whole.iter().map(|(n, s, x)| (n.clone(), "F32", s.clone(), bytes(x))).collect();
    odd.iter_mut().filter(|t| t.0 == "lm_head.weight").for_each(|t| t.1 = "I32");
    write_raw(&folder.path().join("model.safetensors"), &odd);
    assert!(faults(folder.path())[0].starts_with("lm_head.weight: found type I32"), "{:?}", faults(folder.path()));
}

#[test]
fn damaged_nf4_parts_are_named() {
    let up = "model.layers.0.mlp.up_proj.weight";
    let state = format!("{up}.quant_state.bitsandbytes__nf4");
    let edit = |name: String, change: &dyn Fn(&mut Vec<u8>)| {
        let folder = tempfile::tempdir().unwrap();
        let mut all = nf4_tensors();
        let t = all.iter_mut().find(|t| t.0 == name).unwrap();
        change(&mut t.3);
        t.2 = vec![t.3.len() / if t.1 == "F32" { 4 } else { 1 }];
        write(folder.path(), &nf4_config(), &all);
        faults(folder.path()).join("\n")
    };
    let replace =
        |from: &str, to: &str| edit(state.clone(), &|b| *b = String::from_utf8(b.clone()).unwrap().replace(from, to).into_bytes());
    for (found, parts) in [
        (replace("\"nf4\"", "\"fp4\""), [&*state, "quant_type"]),
        (replace("\"blocksize\": 64", "\"blocksize\": 128"), [&state, "blocksize 128"]),
        (replace("[264, 64]", "[64, 264]"), [&state, "[264, 64]"]),
        (replace("bfloat16", "int8"), [&state, "int8"]),
        (replace("nested_offset", "nested"), [&state, "nested_offset"]),
        (replace("{", "("), [&state, "JSON"]),
        (edit(up.into(), &|b| b.truncate(100)), [up, "100 bytes"]),
        (edit(format!("{up}.absmax"), &|b| b.truncate(100)), ["absmax", "100 scales"]),
        (edit(format!("{up}.nested_absmax"), &|b| b.truncate(4)), ["nested_absmax", "[1]"]),
        (edit(format!("{up}.nested_quant_map"), &|b| b[..4].copy_from_slice(&f32::NAN.to_le_bytes())), ["nested_quant_map", "NaN"]),
        (edit(format!("{up}.quant_map"), &|b| b[3] = 0x3f), ["quant_map", "NF4 table"]),
    ] {
        assert!(parts.iter().all(|p| found.contains(p)), "{parts:?}: {found}");
    }
    let folder = tempfile::tempdir().unwrap();
    let mut all = nf4_tensors();
    all.iter_mut().filter(|t| t.0 == state).for_each(|t| t.0 = t.0.replace("nf4", "fp4"));
    write(folder.path(), &nf4_config(), &all);
    assert!(faults(folder.path())[0].contains("FP4"), "{:?}", faults(folder.path()));
}

#[test]
fn other_quantizations_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    for (quantization, part) in [
        (json!({"quant_method": "gptq", "bits": 4}), "gptq"),
        (json!({"quant_method": "awq"}), "awq"),
        (json!({"quant_method": "bitsandbytes", "load_in_8bit": true, "bnb_4bit_quant_type": "fp4"}), "int8"),
        (json!({"quant_method": "bitsandbytes", "load_in_4bit": true, "bnb_4bit_quant_type": "fp4"}), "fp4"),
        (json!({"quant_method": "bitsandbytes", "load_in_4bit": true}), "fp4"),
        (json!({"load_in_4bit": true, "bnb_4bit_quant_type": "nf4", "bnb_4bit_quant_storage": "bfloat16"}), "bfloat16"),
        (json!({}), "quant_method"),
    ] {
        let mut config = nf4_config();
        config["quantization_config"] = quantization;
        write(folder.path(), &config, &nf4_tensors());
        let error = Source::open(folder.path()).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains("quantization_config") && error.contains(part), "{error}");
    }
}

#[test]
fn a_folder_without_a_configuration_and_a_broken_one_are_named() {
    let folder = tempfile::tempdir().unwrap();
    write_model(folder.path(), &golden_config("window"));
    std::fs::write(folder.path().join("config.json"), "{").unwrap();
    let error = Source::open(folder.path()).map(|_| ()).unwrap_err();
    assert!(matches!(&error, Error::Json { path, .. } if path.ends_with("config.json")), "{error}");
    std::fs::remove_file(folder.path().join("config.json")).unwrap();
    let error = Source::open(folder.path()).map(|_| ()).unwrap_err();
    assert!(matches!(&error, Error::Io { path, .. } if path.ends_with("config.json")), "{error}");
}
