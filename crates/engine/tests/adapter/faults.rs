//! Adapters that are wrong: every fault names file, field or tensor, and no bytes make a reader panic.

use super::common::{Tensors, emulated, tiny, uniform, write_gguf, write_raw};
use super::{header, tiny_gguf, write_peft};
use nibble_container::gguf::{Metadata, Value as GgufValue};
use nibble_engine::source::Source;
use nibble_engine::{Adapter, Error, Lora};
use nibble_kernels::format;
use proptest::prelude::*;
use serde_json::{Value, json};

fn floats(name: &str, shape: [usize; 2]) -> (String, Vec<u64>, u32, Vec<u8>) {
    let bytes = uniform(name, shape[0] * shape[1]).iter().flat_map(|x| x.to_le_bytes()).collect();
    (name.to_string(), shape.map(|n| n as u64).to_vec(), 0, bytes)
}

#[test]
fn every_fault_of_a_gguf_names_its_field_or_tensor() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lora.gguf");
    let source = Source::open(&tiny()).unwrap();
    let (q, n) = ("blk.1.attn_q.weight", 4);
    let good = || vec![floats(&format!("{q}.lora_a"), [n, 256]), floats(&format!("{q}.lora_b"), [256, n])];
    let open = |metadata: &Metadata, tensors: &Tensors, scale| {
        write_gguf(&path, metadata, tensors);
        Adapter::open(&Lora { path: path.clone(), scale }, &source)
    };
    let adapter = open(&header(), &good(), 1.0).unwrap();
    assert_eq!(adapter.changes().collect::<Vec<_>>(), [(q, 4)]);
    // As llama.cpp: norms are left alone, and without an alpha the scale is in the file.
    let norm = ("blk.0.attn_norm.weight".to_string(), vec![256], 0, vec![0; 1024]);
    assert_eq!(open(&header(), &[good(), vec![norm.clone()]].concat(), 1.0).unwrap().ignored(), [norm.0]);
    let mut bare = header();
    bare.remove("adapter.lora.alpha");
    open(&bare, &good(), 1.0).unwrap();
    let refused = |metadata: &Metadata, tensors: &Tensors, scale, wanted: &str| {
        let error = open(metadata, tensors, scale).unwrap_err();
        assert!(matches!(error, Error::Adapter { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains("lora.gguf: ") && text.contains(wanted), "{wanted}: {text}");
    };
    let with = |key: &str, value: Option<GgufValue>| {
        let mut metadata = header();
        match value {
            Some(value) => metadata.set(key, value),
            None => drop(metadata.remove(key)),
        }
        metadata
    };
    for (key, value, wanted) in [
        ("general.type", None, "general.type: found nothing, expected \"adapter\""),
        ("general.type", Some(GgufValue::from("model")), "general.type: found \"model\""),
        ("general.architecture", Some(GgufValue::from("gemma2")), "general.architecture: found \"gemma2\", expected \"llama\""),
        ("adapter.type", Some(GgufValue::from("control_vector")), "adapter.type: found \"control_vector\""),
        ("adapter.lora.alpha", Some(GgufValue::from("four")), "adapter.lora.alpha: found \"four\""),
        ("adapter.lora.alpha", Some(GgufValue::F32(f32::NAN)), "adapter.lora.alpha: found NaN"),
        ("adapter.alora.invocation_tokens", Some(GgufValue::U32(7)), "adapter.alora.invocation_tokens: found 7"),
    ] {
        refused(&with(key, value), &good(), 1.0, wanted);
    }
    refused(&header(), &good(), f32::INFINITY, "scale: found inf");
    refused(&with("adapter.lora.alpha", Some(GgufValue::F32(1e38))), &good(), 1e30, "attn_q.weight: found a scale of inf");
    refused(&header(), &vec![], 1.0, "tensors: found no lora_a and lora_b");
    let edit = |change: &dyn Fn(&mut Tensors)| {
        let mut tensors = good();
        change(&mut tensors);
        tensors
    };
    let (a, b) = (format!("{q}.lora_a"), format!("{q}.lora_b"));
    type Change<'a> = &'a dyn Fn(&mut Tensors);
    let cases: [(Change, String); 9] = [
        (&|t| drop(t.remove(1)), format!("{q}: found no lora_b")),
        (&|t| drop(t.remove(0)), format!("{q}: found no lora_a")),
        (&|t| t[0].0 = "blk.1.attn_q.weight".into(), format!("{q}: found a tensor of another kind")),
        (
            &|t| t.iter_mut().for_each(|t| t.0 = t.0.replace("blk.1", "blk.6")),
            "blk.6.attn_q.weight: found a matrix that the model does not".into(),
        ),
        (
            &|t| t.iter_mut().for_each(|t| t.0 = t.0.replace("attn_q", "attn_norm")),
            "blk.1.attn_norm.weight: found a matrix that the".into(),
        ),
        (&|t| t[0] = floats(&a, [4, 128]), format!("{a}: found shape [4, 128], expected [rank, 256]")),
        (&|t| t[1] = floats(&b, [128, 4]), format!("{b}: found shape [128, 4], expected [256, 4]")),
        (&|t| t[1] = floats(&b, [256, 5]), format!("{b}: found shape [256, 5], expected [256, 4]")),
        (&|t| (t[0].1, t[0].3) = (vec![1024], vec![0; 4096]), format!("{a}: found shape [1024], expected a matrix")),
    ];
    for (change, wanted) in cases {
        refused(&header(), &edit(change), 1.0, &wanted);
    }
    // A model, a state, or nothing at all in place of an adapter.
    let model = tiny_gguf(folder.path(), &format::F32);
    let error = Adapter::open(&Lora::new(&model), &source).unwrap_err().to_string();
    assert!(error.contains("general.type: found nothing") && error.lines().count() == 2, "{error}");
    let error = Adapter::open(&Lora::new(tiny().join("model.safetensors")), &source).unwrap_err().to_string();
    assert!(error.contains("format: found safetensors"), "{error}");
    assert!(matches!(Adapter::open(&Lora::new(folder.path().join("none")), &source), Err(Error::Container(_))));
}

#[test]
fn every_fault_of_a_directory_names_its_field_or_tensor() {
    let folder = tempfile::tempdir().unwrap();
    let source = Source::open(&tiny()).unwrap();
    let good = json!({"peft_type": "LORA", "r": 4, "lora_alpha": 8, "bias": "none", "use_dora": false, "modules_to_save": null});
    let module = "model.layers.1.self_attn.q_proj";
    let names = |module: &str| [(format!("{module}.lora_A.weight"), vec![4, 256]), (format!("{module}.lora_B.weight"), vec![256, 4])];
    let full = format!("base_model.model.{module}");
    let open = |config: &Value, tensors: &[(String, Vec<usize>)]| {
        let path = write_peft(&folder.path().join("lora"), config, tensors.to_vec());
        Adapter::open(&Lora::new(path), &source)
    };
    assert_eq!(open(&good, &names(&full)).unwrap().changes().collect::<Vec<_>>(), [("blk.1.attn_q.weight", 4)]);
    // Its files name the directory too, and a copy of the model's own weights is no change.
    for file in ["adapter_config.json", "adapter_model.safetensors"] {
        Adapter::open(&Lora::new(folder.path().join("lora").join(file)), &source).unwrap();
    }
    let copy = (format!("{full}.base_layer.weight"), vec![256, 256]);
    assert!(open(&good, &[&names(&full)[..], &[copy]].concat()).unwrap().ignored().is_empty());
    let refused = |config: &Value, tensors: &[(String, Vec<usize>)], wanted: &str| {
        let text = open(config, tensors).unwrap_err().to_string();
        assert!(text.contains("lora: ") && text.contains(wanted), "{wanted}: {text}");
    };
    for (key, value, wanted) in [
        ("peft_type", json!("IA3"), "peft_type: found \"IA3\", expected \"LORA\""),
        ("peft_type", json!(null), "peft_type: found nothing"),
        ("r", json!(0), "r: found 0"),
        ("r", json!("8"), "r: found \"8\""),
        ("r", json!(6), "q_proj.lora_A.weight: found rank 4, expected 6"),
        ("lora_alpha", json!(null), "lora_alpha: found nothing"),
        ("lora_alpha", json!([1]), "lora_alpha: found [1]"),
        ("bias", json!("lora_only"), "bias: found \"lora_only\", expected \"none\""),
        ("use_dora", json!(true), "use_dora: found true"),
        ("lora_bias", json!(true), "lora_bias: found true"),
        ("modules_to_save", json!(["lm_head"]), "modules_to_save: found [\"lm_head\"]"),
        ("layer_replication", json!([[0, 4], [2, 5]]), "layer_replication: "),
        ("trainable_token_indices", json!([1, 2]), "trainable_token_indices: "),
        ("target_parameters", json!(["experts"]), "target_parameters: "),
        ("alora_invocation_tokens", json!([1]), "alora_invocation_tokens: "),
        ("init_lora_weights", json!("pissa_niter_16"), "init_lora_weights: found \"pissa_niter_16\""),
        ("rank_pattern", json!([1]), "rank_pattern: found [1]"),
        ("rank_pattern", json!({"q_proj": 0}), "rank_pattern.q_proj: found 0"),
        ("rank_pattern", json!({".*q_proj": 4}), "rank_pattern..*q_proj: found a regular expression"),
        ("rank_pattern", json!({"q_proj": 8}), "q_proj.lora_A.weight: found rank 4, expected 8"),
        ("alpha_pattern", json!({"q_proj": "x"}), "alpha_pattern.q_proj: found \"x\""),
        ("alpha_pattern", json!({"q_proj": 0}), "alpha_pattern.q_proj: found 0"),
        ("use_rslora", json!(1), "use_rslora: found 1"),
    ] {
        let mut config = good.clone();
        config[key] = value;
        refused(&config, &names(&full), wanted);
    }
    // A pattern is the end of a name from a dot on: it is not this module's.
    let mut config = good.clone();
    (config["rank_pattern"], config["alpha_pattern"]) = (json!({"proj": 8, "^layers.1.self_attn.q_proj": 4}), json!({}));
    open(&config, &names(&full)).unwrap();
    refused(
        &good,
        &names("base_model.model.model.layers.9.self_attn.q_proj"),
        "model.layers.9.self_attn.q_proj: found a matrix that the model",
    );
    refused(&good, &names(&full)[..1], &format!("{module}: found no lora_b"));
    refused(&good, &[(format!("{full}.weight"), vec![256, 256])], &format!("{full}.weight: found a tensor of another kind"));
    refused(&good, &[names(&full), names(module)].concat(), "the same as ");
    // Without elements there is nothing to turn round, however many rows there are said to be.
    let embedding = ["A", "B"].map(|side| format!("base_model.model.model.embed_tokens.lora_embedding_{side}"));
    let empty = [(embedding[0].clone(), vec![1 << 40, 0]), (embedding[1].clone(), vec![256, 0])];
    refused(&good, &empty, "lora_embedding_A: found shape [1099511627776, 0]");
    let mut turned = names(&full);
    turned[0].1 = vec![256, 4];
    refused(&good, &turned, "lora_A.weight: found shape [256, 4], expected [rank, 256]");
    // Types that are none of ours, and files that are none.
    let path = folder.path().join("lora");
    write_raw(&path.join("adapter_model.safetensors"), &[(names(&full)[0].0.clone(), "I64", vec![4, 256], vec![0; 8192])]);
    let text = Adapter::open(&Lora::new(&path), &source).unwrap_err().to_string();
    assert!(text.contains("found no lora_b"), "{text}");
    std::fs::remove_file(path.join("adapter_model.safetensors")).unwrap();
    let text = Adapter::open(&Lora::new(&path), &source).unwrap_err().to_string();
    assert!(text.contains("adapter_model.safetensors"), "{text}");
    std::fs::write(path.join("adapter_config.json"), "{").unwrap();
    assert!(matches!(Adapter::open(&Lora::new(&path), &source), Err(Error::Json { .. })));
    let text = Adapter::open(&Lora::new(tiny()), &source).unwrap_err().to_string();
    assert!(text.contains("adapter_config.json"), "{text}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if emulated() { 8 } else { 200 }))]

    /// Any byte of a small adapter changed, the header's above all: a fault, or an adapter whose shapes are the model's.
    #[test]
    fn no_bytes_make_the_readers_panic(at in 0usize..1200, value: u8, layout in 0..2, cut in 0usize..4000) {
        let folder = tempfile::tempdir().unwrap();
        let source = Source::open(&tiny()).unwrap();
        let (path, file) = if layout == 0 {
            let file = folder.path().join("lora.gguf");
            let tensors = [("token_embd.weight", [4096, 1], [256, 1]), ("blk.1.attn_q.weight", [1, 256], [256, 1])];
            let pair = |(name, a, b): (&str, _, _)| [floats(&format!("{name}.lora_a"), a), floats(&format!("{name}.lora_b"), b)];
            write_gguf(&file, &header(), &tensors.into_iter().flat_map(pair).collect());
            (file.clone(), file)
        } else {
            let config = json!({"peft_type": "LORA", "r": 1, "lora_alpha": 8});
            let tensors = [("embed_tokens.lora_embedding_A", vec![1, 4096]), ("embed_tokens.lora_embedding_B", vec![256, 1]),
                ("layers.1.self_attn.q_proj.lora_A.weight", vec![1, 256]), ("layers.1.self_attn.q_proj.lora_B.weight", vec![256, 1])];
            let path = write_peft(&folder.path().join("lora"), &config, tensors.map(|(name, shape)| (format!("base_model.model.model.{name}"), shape)));
            (path.clone(), path.join("adapter_model.safetensors"))
        };
        let mut bytes = std::fs::read(&file).unwrap();
        let (len, kept) = (bytes.len(), bytes.len() - cut.saturating_sub(2000));
        bytes[at % len] = value;
        bytes.truncate(kept);
        std::fs::write(&file, bytes).unwrap();
        if let Ok(adapter) = Adapter::open(&Lora::new(path), &source) {
            prop_assert!(adapter.changes().all(|(name, rank)| rank == 1 && ["token_embd.weight", "blk.1.attn_q.weight"].contains(&name)));
        }
    }
}
