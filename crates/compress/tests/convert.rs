//! Conversions to GGUF against llama.cpp's converter (tests/golden/convert_tiny.py), and what a run must never do.

mod common;

use common::{bnb, crc32, quantize, quantize_watched, tiny};
use nibble_compress::calibrate::Texts;
use nibble_compress::method::Method;
use nibble_compress::recipe::{RECIPES, Recipe, Target};
use nibble_compress::{Error, Options, plan, size};
use nibble_container::Checkpoint;
use nibble_container::gguf::{Array, Value};
use nibble_engine::source::Source;
use serde_json::{Value as Json, json};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::{fs, thread};

fn golden() -> Json {
    serde_json::from_str(include_str!("golden/convert_tiny.json")).unwrap()
}

/// A metadata value as convert_tiny.py writes it.
fn described(value: &Value) -> Json {
    let list = |kind: &str, items: Json| {
        let count = items.as_array().unwrap().len();
        let value = if count > 8 { json!(format!("crc {} of {count}", crc32(items.to_string().as_bytes()))) } else { items };
        json!([format!("ARRAY/{kind}"), value])
    };
    match value {
        Value::U32(n) => json!(["UINT32", n]),
        Value::F32(x) => json!(["FLOAT32", *x as f64]),
        Value::Bool(b) => json!(["BOOL", b]),
        Value::String(s) => json!(["STRING", s]),
        Value::Array(Array::String(v)) => list("STRING", json!(v)),
        Value::Array(Array::I32(v)) => list("INT32", json!(v)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_size_can_be_told_from_the_shape_alone() {
    let source = Source::open(&tiny()).unwrap();
    for recipe in RECIPES.iter().filter(|r| r.target == Target::Gguf) {
        assert_eq!(size(source.config(), recipe), plan(&source, recipe, Options::default()).unwrap().bytes_out(), "{}", recipe.name);
    }
}

#[test]
fn float_conversions_are_the_converters() {
    let dir = tempfile::tempdir().unwrap();
    // The general name comes from the folder's: the golden one was called "tiny".
    for (kind, golden) in golden().as_object().unwrap().iter().filter(|(k, _)| *k != "names") {
        let path = dir.path().join("out.gguf");
        quantize(&tiny(), kind, Options::default(), &path).unwrap();
        let file = Checkpoint::open(&path).unwrap();
        let keys: Vec<(&str, Json)> = file.metadata().unwrap().iter().map(|(k, v)| (k, described(v))).collect();
        let expected = golden["keys"].as_object().unwrap();
        for (key, value) in &keys {
            assert_eq!(expected.get(*key), Some(value), "{kind}: {key}");
        }
        assert_eq!(keys.len(), expected.len(), "{kind}: {:?}", expected.keys());
        let tensors = golden["tensors"].as_object().unwrap();
        assert_eq!(file.len(), tensors.len());
        for view in file.tensors() {
            let row = &tensors[view.name];
            assert_eq!(view.dtype.to_string().to_uppercase(), row[0].as_str().unwrap(), "{kind}: {}", view.name);
            assert_eq!(json!(view.shape), row[1], "{kind}: {}", view.name);
            assert_eq!(json!(crc32(view.bytes)), row[2], "{kind}: bytes of {}", view.name);
        }
    }
}

#[test]
fn every_recipe_writes_what_it_planned() {
    let dir = tempfile::tempdir().unwrap();
    let source = Source::open(&tiny()).unwrap();
    for recipe in RECIPES.iter().filter(|r| r.target == Target::Gguf) {
        let plan = plan(&source, recipe, Options::default()).unwrap();
        let path = dir.path().join("out.gguf");
        let (mut last, mut calls) = (0, 0);
        let mut progress = |p: nibble_compress::Progress<'_>| {
            assert!(p.done > last && p.done <= p.total, "{} of {}", p.done, p.total);
            (last, calls) = (p.done, calls + 1);
        };
        let report = quantize_watched(&tiny(), recipe.name, Options::default(), &path, &mut progress, &AtomicBool::new(false)).unwrap();
        assert!(calls > 10 && last == plan.bytes_out());
        assert_eq!((report.tensor_bytes, report.weights), (plan.bytes_out(), plan.weights()));
        assert_eq!(fs::metadata(&path).unwrap().len(), report.file_bytes);
        let file = Checkpoint::open(&path).unwrap();
        assert_eq!(file.metadata().unwrap().get::<u32>("general.file_type").unwrap(), recipe.file_type.unwrap());
        for (view, step) in file.tensors().zip(&plan.steps) {
            assert_eq!((view.name, view.dtype.to_string().to_uppercase()), (step.name.as_str(), step.to.name.to_owned()));
            assert_eq!(view.bytes.len() as u64, step.bytes_out);
        }
    }
}

#[test]
fn threads_do_not_change_a_byte() {
    let dir = tempfile::tempdir().unwrap();
    let source = Source::open(&tiny()).unwrap();
    let plan = plan(&source, Recipe::by_name("q4_k_m").unwrap(), Options::default()).unwrap();
    let mut digests = Vec::new();
    for threads in [1, 2, 5] {
        let path = dir.path().join("out.gguf");
        let control = nibble_compress::Control { threads, progress: &mut |_| {}, cancel: &AtomicBool::new(false) };
        nibble_compress::run(&source, &plan, &path, control).unwrap();
        digests.push(crc32(&fs::read(&path).unwrap()));
    }
    assert!(digests.windows(2).all(|pair| pair[0] == pair[1]));
}

/// By way of a BF16 file the weights are the same, so the quantized tensors must be: only the metadata differ by nothing either.
#[test]
fn from_gguf_is_as_from_the_directory() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    quantize(&tiny(), "bf16", Options::default(), &at("bf16.gguf")).unwrap();
    for recipe in ["q4_k_m", "q8_0", "iq4_xs"] {
        quantize(&tiny(), recipe, Options::default(), &at("a.gguf")).unwrap();
        quantize(&at("bf16.gguf"), recipe, Options::default(), &at("b.gguf")).unwrap();
        assert!(fs::read(at("a.gguf")).unwrap() == fs::read(at("b.gguf")).unwrap(), "{recipe}");
    }
}

#[test]
fn quantizing_again_is_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    quantize(&tiny(), "q8_0", Options::default(), &at("q8.gguf")).unwrap();
    let refused = quantize(&at("q8.gguf"), "q4_k_m", Options::default(), &at("q4.gguf")).unwrap_err();
    assert!(matches!(&refused, Error::Requantize { found: "Q8_0", .. }), "{refused}");
    assert!(refused.to_string().contains("--allow-requantize"));
    assert!(matches!(quantize(&at("q8.gguf"), "f16", Options::default(), &at("f16.gguf")), Err(Error::Requantize { .. })));
    // The same format again is a copy.
    quantize(&at("q8.gguf"), "q8_0", Options::default(), &at("copy.gguf")).unwrap();
    assert!(fs::read(at("q8.gguf")).unwrap() == fs::read(at("copy.gguf")).unwrap());
    quantize(&at("q8.gguf"), "q4_k_m", Options { allow_requantize: true, ..Options::default() }, &at("q4.gguf")).unwrap();
}

#[test]
fn the_input_is_not_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.gguf");
    quantize(&tiny(), "bf16", Options::default(), &path).unwrap();
    let before = fs::read(&path).unwrap();
    let link = dir.path().join("link.gguf");
    fs::hard_link(&path, &link).unwrap();
    for out in [&path, &link] {
        assert!(matches!(quantize(&path, "q8_0", Options::default(), out), Err(Error::SameFile { .. })));
    }
    assert!(fs::read(&path).unwrap() == before);
}

#[test]
fn a_stopped_run_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    for recipe in ["q4_k_m", "nf4"] {
        let cancel = AtomicBool::new(false);
        let mut progress = |p: nibble_compress::Progress<'_>| cancel.store(p.done > p.total / 2, Ordering::Relaxed);
        let stopped = quantize_watched(&tiny(), recipe, Options::default(), &dir.path().join("out"), &mut progress, &cancel);
        assert!(matches!(stopped, Err(Error::Cancelled)), "{stopped:?}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}

/// Copies tiny with its tensors renamed or changed by `edit`, which sees (header, data).
fn edited(dir: &Path, edit: impl FnOnce(&mut Json, &mut Vec<u8>)) {
    for entry in fs::read_dir(tiny()).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, dir.join(path.file_name().unwrap())).unwrap();
    }
    let file = fs::read(tiny().join("model.safetensors")).unwrap();
    let end = 8 + u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
    let (mut header, mut data) = (serde_json::from_slice(&file[8..end]).unwrap(), file[end..].to_vec());
    edit(&mut header, &mut data);
    let header = header.to_string();
    fs::write(dir.join("model.safetensors"), [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &data].concat()).unwrap();
}

#[test]
fn tensors_without_a_place_are_named() {
    let dir = tempfile::tempdir().unwrap();
    edited(dir.path(), |header, data| {
        for name in ["model.layers.0.mystery.weight", "model.layers.0.self_attn.rotary_emb.inv_freq", "lm_head.weight"] {
            header[name] = json!({"dtype": "F32", "shape": [1], "data_offsets": [data.len(), data.len() + 4]});
            data.extend([0; 4]);
        }
    });
    let source = Source::open(dir.path()).unwrap();
    let Err(Error::Unknown { names, .. }) = plan(&source, Recipe::by_name("q8_0").unwrap(), Options::default()) else { panic!() };
    assert_eq!(names, ["model.layers.0.mystery.weight"]);
    edited(dir.path(), |header, data| {
        header["model.layers.0.self_attn.rotary_emb.inv_freq"] =
            json!({"dtype": "F32", "shape": [1], "data_offsets": [data.len(), data.len() + 4]});
        data.extend([0; 4]);
    });
    let source = Source::open(dir.path()).unwrap();
    let plan = plan(&source, Recipe::by_name("q8_0").unwrap(), Options::default()).unwrap();
    assert_eq!(plan.skipped.len(), 1);
}

#[test]
fn a_weight_that_is_no_number_is_named() {
    let dir = tempfile::tempdir().unwrap();
    edited(dir.path(), |header, data| {
        let at = header["model.layers.3.mlp.up_proj.weight"]["data_offsets"][0].as_u64().unwrap() as usize;
        let element = 5 * 256 + 17;
        data[at + 2 * element..at + 2 * element + 2].copy_from_slice(&0x7FC0u16.to_le_bytes());
    });
    let out = dir.path().join("out.gguf");
    let Err(Error::NotFinite { tensor, row, .. }) = quantize(dir.path(), "q4_0", Options::default(), &out) else { panic!() };
    assert_eq!((tensor.as_str(), row), ("blk.3.ffn_up.weight", 5));
    assert!(!out.exists());
    // A method that runs the model meets it in what later matrices are fed.
    let texts = Texts::new(&Source::open(dir.path()).unwrap(), "text", &"A short text. ".repeat(40), 64, 1).unwrap();
    let options = Options { method: Method::by_name("gptq").unwrap(), texts: Some(Arc::new(texts)), ..Options::default() };
    for recipe in ["q4_0", "nf4"] {
        let found = quantize(dir.path(), recipe, options.clone(), &out).unwrap_err();
        assert!(matches!(&found, Error::Moments { .. } | Error::NotFinite { .. }), "{found}");
        assert!(!out.exists());
    }
}

/// What llama.cpp refuses: a checkpoint that bitsandbytes wrote, made into GGUF.
#[test]
fn nf4_checkpoints_become_gguf() {
    let golden: Json = serde_json::from_str(include_str!("golden/nf4.json")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out.gguf");
    quantize(&bnb(), "f32", Options::default(), &path).unwrap();
    let (file, source) = (Checkpoint::open(&path).unwrap(), Source::open(&bnb()).unwrap());
    let mut compared = 0;
    for tensor in source.tensors() {
        // Rows of queries and keys move; the others must be bitsandbytes' values as they are.
        if let (Some(crc), None) = (golden["fixture"].get(&tensor.stored), tensor.spec.permute) {
            assert_eq!(crc32(file.get(&tensor.spec.gguf).unwrap().bytes) as u64, crc.as_u64().unwrap(), "{}", tensor.stored);
            compared += 1;
        }
    }
    assert_eq!(compared, 5);
    for recipe in ["q4_k_m", "q8_0"] {
        quantize(&bnb(), recipe, Options::default(), &path).unwrap();
    }
}

/// Two runs in one process must not disturb each other's partial files.
#[test]
fn runs_side_by_side() {
    let dir = tempfile::tempdir().unwrap();
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| quantize(&tiny(), "q8_0", Options::default(), &dir.path().join("same.gguf")).unwrap());
        }
    });
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}
