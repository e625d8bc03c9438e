//! Configurations: both spellings, defaults, real files, and damaged ones, each of whose faults must be named.

mod common;

use common::shared;
use nibble_engine::Error;
use nibble_engine::arch::fields::Scalar;
use nibble_engine::arch::rope::RopeScaling;
use nibble_engine::arch::{Config, Meta, permuted_row};
use serde_json::{Value, json};
use std::collections::HashMap;

/// The smallest configuration that is whole.
fn plain() -> Value {
    json!({
        "architectures": ["LlamaForCausalLM"], "hidden_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 100,
        "num_hidden_layers": 2, "intermediate_size": 96, "max_position_embeddings": 128, "rms_norm_eps": 1e-5
    })
}

fn with(changes: Value) -> Value {
    let mut v = plain();
    for (k, x) in changes.as_object().unwrap() {
        v[k] = x.clone();
    }
    v
}

fn read(v: &Value) -> Result<Config, Error> {
    Config::from_json("config.json", v)
}

fn faults(v: &Value) -> Vec<String> {
    match read(v) {
        Err(Error::Config { faults, .. }) => faults.iter().map(|f| f.to_string()).collect(),
        Err(other) => panic!("{other}"),
        Ok(_) => Vec::new(),
    }
}

#[test]
fn absent_fields_take_transformers_defaults() {
    let c = read(&plain()).unwrap();
    assert_eq!((c.head_dim, c.rope.theta, c.rope.scaling), (16, 10000.0, RopeScaling::None));
    assert!(!c.tied && !c.biases.qkv && !c.biases.ffn && c.window.is_none() && c.eos.is_empty() && !c.rope.interleaved);
    let v = with(json!({"num_key_value_heads": null, "head_dim": null, "rope_scaling": null, "eos_token_id": null, "hidden_act": null}));
    let c = read(&v).unwrap();
    assert_eq!((c.kv_heads, c.head_dim), (4, 16));
}

#[test]
fn old_and_new_spellings_agree() {
    let scaling = json!({"factor": 32.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0, "original_max_position_embeddings": 8192,
        "rope_type": "llama3"});
    let mut typed = scaling.clone();
    typed.as_object_mut().unwrap().remove("rope_type");
    typed["type"] = "llama3".into();
    let mut parameters = scaling.clone();
    parameters["rope_theta"] = 500000.0.into();
    let expected = RopeScaling::Llama3 { factor: 32.0, low: 1.0, high: 4.0, original_context: 8192.0 };
    for v in [
        json!({"rope_scaling": scaling, "rope_theta": 500000.0, "torch_dtype": "bfloat16"}),
        json!({"rope_scaling": typed, "rope_theta": 500000, "torch_dtype": "bfloat16"}),
        json!({"rope_parameters": parameters, "dtype": "bfloat16"}),
    ] {
        let c = read(&with(v)).unwrap();
        assert_eq!((c.rope.theta, c.rope.scaling, c.dtype.as_deref()), (500000.0, expected, Some("bfloat16")));
    }
    for (eos, ids) in [(json!(2), vec![2]), (json!([2, 7, 2]), vec![2, 7]), (json!(null), vec![]), (json!(-1), vec![])] {
        assert_eq!(read(&with(json!({"eos_token_id": eos}))).unwrap().eos, ids);
    }
}

#[test]
fn mistral_has_a_window_and_llama_has_not() {
    let mistral = |x: Value| read(&with(json!({"architectures": ["MistralForCausalLM"], "sliding_window": x}))).unwrap().window;
    assert_eq!(mistral(json!(32)), Some(32));
    assert_eq!(mistral(json!(null)), None);
    assert_eq!(read(&with(json!({"architectures": ["MistralForCausalLM"]}))).unwrap().window, Some(4096));
    assert_eq!(read(&with(json!({"sliding_window": 32}))).unwrap().window, None);
    let mut v = plain();
    v.as_object_mut().unwrap().remove("architectures");
    v["model_type"] = "mistral".into();
    assert_eq!(read(&v).unwrap().arch.hf, ["MistralForCausalLM"]);
}

#[test]
fn damaged_configurations_name_every_fault() {
    for (change, field, part) in [
        (json!({"architectures": ["MambaForCausalLM"]}), "architectures", "MambaForCausalLM"),
        (json!({"architectures": 3}), "architectures", "3"),
        (json!({"hidden_size": 0}), "hidden_size", "0"),
        (json!({"hidden_size": -5}), "hidden_size", "-5"),
        (json!({"hidden_size": 1e30}), "hidden_size", "1000000"),
        (json!({"hidden_size": "64"}), "hidden_size", "\"64\""),
        (json!({"hidden_size": 66}), "num_attention_heads", "4"),
        (json!({"num_attention_heads": 0}), "num_attention_heads", "0"),
        (json!({"num_key_value_heads": 3}), "heads", "4 query heads over 3"),
        (json!({"num_key_value_heads": 0}), "num_key_value_heads", "0"),
        (json!({"num_hidden_layers": 100000}), "num_hidden_layers", "100000"),
        (json!({"vocab_size": 18446744073709551615u64}), "vocab_size", "18446744073709551615"),
        (json!({"head_dim": 15}), "head_dim", "15"),
        (json!({"intermediate_size": null}), "intermediate_size", "nothing"),
        (json!({"rms_norm_eps": 0}), "rms_norm_eps", "0"),
        (json!({"rms_norm_eps": "tiny"}), "rms_norm_eps", "tiny"),
        (json!({"rope_theta": -1.0}), "rope_theta", "-1"),
        (json!({"rope_scaling": {"type": "yarn", "factor": 4.0}}), "rope_scaling.type", "yarn"),
        (json!({"rope_scaling": {"rope_type": "dynamic", "factor": 4.0}}), "rope_scaling.rope_type", "dynamic"),
        (json!({"rope_parameters": {"rope_type": "longrope"}}), "rope_parameters.rope_type", "longrope"),
        (json!({"rope_scaling": {"rope_type": "linear"}}), "rope_scaling.factor", "nothing"),
        (json!({"rope_scaling": 4}), "rope_scaling", "4"),
        (json!({"partial_rotary_factor": 0.5}), "partial_rotary_factor", "0.5"),
        (json!({"hidden_act": "gelu"}), "hidden_act", "gelu"),
        (json!({"tie_word_embeddings": "yes"}), "tie_word_embeddings", "yes"),
        (json!({"eos_token_id": 100}), "eos_token_id", "100"),
        (json!({"eos_token_id": [1, "x"]}), "eos_token_id", "\"x\""),
        (json!({"attention_bias": 1}), "attention_bias", "1"),
    ] {
        let found = faults(&with(change.clone()));
        assert!(found.iter().any(|f| f.starts_with(&format!("{field}: ")) && f.contains(part)), "{change}: {found:?}");
    }
    let many = faults(&with(json!({"hidden_size": 0, "vocab_size": 0, "rope_theta": 0, "hidden_act": "relu"})));
    assert_eq!(many.len(), 4, "{many:?}");
    for v in [json!(null), json!([]), json!(7), json!({}), json!({"architectures": []})] {
        assert!(!faults(&v).is_empty(), "{v}");
    }
}

#[test]
fn llama3_factors_stretch_the_slow_and_keep_the_fast() {
    let v = with(json!({"hidden_size": 512, "rope_theta": 500000.0, "rope_scaling": {"factor": 32.0, "high_freq_factor": 4.0,
        "low_freq_factor": 1.0, "original_max_position_embeddings": 8192, "rope_type": "llama3"}}));
    let rope = read(&v).unwrap().rope;
    let factors = rope.factors().unwrap();
    assert_eq!((factors.len(), factors[0], factors[63]), (64, 1.0, 32.0));
    // By hand, pair 32: frequency 500000^-0.5, wavelength 4442.88; smooth = (8192 / 4442.88 - 1) / 3.
    assert!((factors[32] - 1.0 / ((1.0 - 0.281_288) / 32.0 + 0.281_288)).abs() < 1e-4, "{}", factors[32]);
    let (scaled, stored) = (rope.frequencies(None), rope.frequencies(Some(&factors)));
    assert_eq!(scaled, stored);
    assert_eq!(scaled[0], 1.0);
}

#[test]
fn permutation_interleaves_the_halves_of_each_head() {
    let rows: Vec<usize> = (0..12).map(|r| permuted_row(r, 12, 2)).collect();
    assert_eq!(rows, [0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11]);
}

/// The metadata that an architecture writes gives the same configuration back.
#[test]
fn metadata_gives_the_configuration_back() {
    let json = with(json!({"architectures": ["MistralForCausalLM"], "head_dim": 32, "sliding_window": 64, "attention_bias": true,
        "rope_scaling": {"type": "linear", "factor": 2.0}}));
    let c = read(&json).unwrap();
    let mut kv: HashMap<String, Scalar> = c
        .metadata()
        .into_iter()
        .map(|(k, v)| {
            let v = match v {
                Meta::U32(n) => Scalar::Int(n.into()),
                Meta::F32(x) => Scalar::Float(x.into()),
                Meta::Text(s) => Scalar::Text(s),
            };
            (k, v)
        })
        .collect();
    kv.insert("general.architecture".into(), Scalar::Text("llama".into()));
    let names: Vec<String> = c.tensors().into_iter().map(|t| t.gguf).collect();
    let back = Config::from_gguf("x.gguf", &|k| kv.get(k).cloned(), &|t| names.iter().any(|n| n == t)).unwrap();
    assert_eq!(back.tensors().len(), c.tensors().len());
    assert_eq!((back.dim, back.head_dim, back.window, back.rope.scaling), (c.dim, 32, Some(64), c.rope.scaling));
    assert!(back.rope.interleaved);
    assert_eq!((back.eps, back.tied, back.context, back.vocab), (c.eps, c.tied, c.context, c.vocab));

    for (key, value, part) in [
        ("llama.block_count", Scalar::Int(0), "found 0"),
        ("llama.rope.scaling.type", Scalar::Text("yarn".into()), "yarn"),
        ("llama.attention.head_count_kv", Scalar::List(vec![Scalar::Int(2), Scalar::Int(1)]), "[2, 1]"),
        ("llama.attention.value_length", Scalar::Int(16), "found 16"),
        ("llama.expert_count", Scalar::Int(8), "mixtures"),
        ("llama.rope.dimension_count", Scalar::Int(16), "found 16"),
        ("general.architecture", Scalar::Text("mamba".into()), "mamba"),
        ("general.architecture", Scalar::Int(1), "found 1"),
    ] {
        let lookup = |k: &str| if k == key { Some(value.clone()) } else { kv.get(k).cloned() };
        let error = Config::from_gguf("x.gguf", &lookup, &|_| false).unwrap_err().to_string();
        assert!(error.contains(part) && error.contains("x.gguf"), "{error}");
    }
}

#[test]
fn real_configurations() {
    let Some(shared) = shared() else { return };
    let mut seen = 0;
    let mut folders = vec![shared.join("data/configs")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.ends_with("config.json") {
                let v: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
                let llama = v["architectures"][0] == "LlamaForCausalLM" || v["architectures"].is_null() && v["model_type"] == "llama";
                match read(&v) {
                    Ok(c) => assert!(llama && c.layers == v["num_hidden_layers"], "{}", path.display()),
                    Err(e) => assert!(!llama, "{}: {e}", path.display()),
                }
                seen += 1;
            }
        }
    }
    assert!(seen > 10, "{seen}");
    let v: Value = serde_json::from_slice(&std::fs::read(shared.join("data/configs/Llama-3.2-3B/config.json")).unwrap()).unwrap();
    let c = read(&v).unwrap();
    assert_eq!(
        (c.dim, c.layers, c.heads, c.kv_heads, c.head_dim, c.vocab, c.eos.as_slice()),
        (3072, 28, 24, 8, 128, 128256, &[128001][..])
    );
    let parameters: usize = c.tensors().iter().map(|t| t.shape.iter().product::<usize>()).sum();
    assert_eq!(parameters, 3_212_749_824);
}
