//! Scales moved between tensors: what the model computes stays, whatever the layer is made of; what is written says so.

mod common;
#[path = "../../engine/tests/common/mod.rs"]
mod engine;

use common::{quantize, tiny};
use engine::{convert_with, golden_config, write_gguf, write_model};
use nibble_compress::calibrate::{Texts, texts};
use nibble_compress::fold::Knobs;
use nibble_compress::gptq;
use nibble_compress::method::{AWQ, GPTQ, Method, Needs, SMOOTHQUANT};
use nibble_compress::recipe::Recipe;
use nibble_compress::synth::{Shape, write};
use nibble_compress::{Options, plan};
use nibble_container::Checkpoint;
use nibble_engine::source::Source;
use nibble_engine::{KvType, Model, Options as Run};
use nibble_kernels::{Format, format};
use std::path::Path;
use std::sync::Arc;

/// A method with other exponents; with one pair only, it moves scales at every site, whether that helps or not.
fn always(knobs: Knobs, exponents: &'static [(f32, f32)]) -> &'static Method {
    with(None, Knobs { exponents, ..knobs })
}

fn with(feedback: Option<gptq::Knobs>, fold: Knobs) -> &'static Method {
    Box::leak(Box::new(Method { name: "always", about: "", needs: Needs::Texts, knobs: feedback, fold: Some(fold), allocates: false }))
}

/// Token ids without a tokenizer.
fn ids(vocab: usize, chunks: usize) -> Arc<Texts> {
    let chunk = |c: usize| (0..48).map(|i| ((i * i * 31 + i * 7 + c * 13 + 3) % vocab) as u32).collect();
    Arc::new(Texts { name: "ids".into(), chunks: (0..chunks).map(chunk).collect() })
}

/// Writes a model as a GGUF without a vocabulary, its vectors in `vectors`, the rest in F32. `change` may change a tensor's values: its name, its columns.
fn as_gguf(source: &Source, vectors: &'static Format, path: &Path, change: &dyn Fn(&str, usize, &mut [f32])) {
    let (metadata, tensors) = convert_with(source, &format::F32, vectors, change);
    write_gguf(path, &metadata, &tensors);
}

fn logits(path: &Path, ids: &[u32]) -> Vec<f32> {
    let run = Run { threads: Some(2), kv: KvType::F32, memory: Some(u64::MAX), context: Some(ids.len()), ..Run::default() };
    let model = Model::open(path, run).unwrap();
    let mut all = Vec::new();
    model.session().unwrap().feed_each(ids, &mut |_, logits| all.extend_from_slice(logits)).unwrap();
    all
}

/// The largest difference, as a part of the logits' root mean square.
fn difference(a: &[f32], b: &[f32]) -> f64 {
    let size = (a.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>() / a.len() as f64).sqrt();
    a.iter().zip(b).map(|(a, b)| f64::from((a - b).abs())).fold(0.0, f64::max) / size
}

/// Tensors that differ, by the part of a layer that they are.
fn moved(a: &Path, b: &Path) -> Vec<String> {
    let (a, b) = (Checkpoint::open(a).unwrap(), Checkpoint::open(b).unwrap());
    let mut parts: Vec<String> = Vec::new();
    for a in a.tensors() {
        let b = b.get(a.name).unwrap();
        assert_eq!((a.name, a.dtype, a.shape), (b.name, b.dtype, b.shape));
        if a.bytes != b.bytes {
            parts.push(a.name.strip_prefix("blk.").and_then(|rest| rest.split_once('.')).map_or(a.name, |(_, part)| part).to_owned());
        }
    }
    parts.sort();
    parts.dedup();
    parts
}

/// The property that all rests on. Quantized nothing, folded everything: the same logits but for the rounding of floats, whose sums take the sizes of the scales
/// in. A fold that is wrong at one site is off by the size of the logits themselves.
#[test]
fn a_folded_model_computes_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let mut models = vec![("tiny".to_owned(), tiny())];
    for name in ["window", "biases", "linear", "long"] {
        let folder = dir.path().join(name);
        std::fs::create_dir(&folder).unwrap();
        write_model(&folder, &golden_config(name));
        let gguf = dir.path().join(format!("{name}-source.gguf"));
        as_gguf(&Source::open(&folder).unwrap(), &format::F32, &gguf, &|_, _, _| {});
        models.push((name.to_owned(), gguf));
    }
    for (name, model) in models {
        let vocab = Source::open(&model).unwrap().config().vocab;
        let before = logits(&model, &ids(vocab, 1).chunks[0]);
        let plain = dir.path().join(format!("{name}.gguf"));
        quantize(&model, "f32", Options::default(), &plain).unwrap();
        let by_means = Knobs { exponents: &[(0.7, 0.0)], ..AWQ };
        for (feedback, knobs) in [(None, by_means), (Some(GPTQ), by_means), (None, Knobs { exponents: &[(0.5, 0.5)], ..SMOOTHQUANT })] {
            let out = dir.path().join(format!("{name}-{:?}.gguf", knobs.loudness));
            let options = Options { method: with(feedback, knobs), texts: Some(ids(vocab, 3)), ..Options::default() };
            quantize(&model, "f32", options, &out).unwrap();
            let parts = moved(&plain, &out);
            let biased = name == "biases";
            let mut wanted: Vec<&str> = vec!["attn_k.weight", "attn_norm.weight", "attn_output.weight", "attn_q.weight", "attn_v.weight"];
            wanted.extend(["ffn_down.weight", "ffn_gate.weight", "ffn_norm.weight", "ffn_up.weight"]);
            wanted.extend(["attn_v.bias", "ffn_up.bias"].iter().filter(|_| biased));
            wanted.sort();
            assert_eq!(parts, wanted, "{name}");
            let off = difference(&before, &logits(&out, &ids(vocab, 1).chunks[0]));
            assert!(off > 0.0 && off < 1e-4, "{name} {:?}: {off}", knobs.loudness);
        }
    }
}

/// In sixteen bits a norm that was divided is rounded, and its matrices make up for that: the model still computes the same.
#[test]
fn norms_of_sixteen_bits_are_made_up_for() {
    let dir = tempfile::tempdir().unwrap();
    let (halves, out) = (dir.path().join("halves.gguf"), dir.path().join("out.gguf"));
    // A GGUF keeps the norms' own type.
    as_gguf(&Source::open(&tiny()).unwrap(), &format::BF16, &halves, &|_, _, _| {});
    let vocab = 4096;
    let method = always(AWQ, &[(0.7, 0.0)]);
    quantize(&halves, "f32", Options { method, texts: Some(ids(vocab, 3)), ..Options::default() }, &out).unwrap();
    let file = Checkpoint::open(&out).unwrap();
    assert_eq!(
        file.get("blk.0.attn_norm.weight").unwrap().dtype,
        Checkpoint::open(&halves).unwrap().get("blk.0.attn_norm.weight").unwrap().dtype
    );
    assert!(moved(&halves, &out).contains(&"attn_norm.weight".to_owned()));
    let ids = &ids(vocab, 1).chunks[0];
    let off = difference(&logits(&halves, ids), &logits(&out, ids));
    assert!(off < 1e-4, "{off}");
}

/// Where nothing is rounded nothing is gained, and nothing is moved: the file is that of rtn but for what the metadata says.
#[test]
fn floats_stay_as_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let (plain, folded) = (dir.path().join("plain.gguf"), dir.path().join("folded.gguf"));
    quantize(&tiny(), "bf16", Options::default(), &plain).unwrap();
    for name in ["awq", "smoothquant"] {
        let method = Method::by_name(name).unwrap();
        quantize(&tiny(), "bf16", Options { method, texts: Some(ids(4096, 2)), ..Options::default() }, &folded).unwrap();
        assert_eq!(moved(&plain, &folded), Vec::<String>::new(), "{name}");
    }
}

/// Where something is moved, the head, the embedding and the last norm are not; where blocks are copied as they are, nothing is.
#[test]
fn what_is_moved_and_what_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let (plain, folded, again) = (dir.path().join("plain.gguf"), dir.path().join("folded.gguf"), dir.path().join("again.gguf"));
    quantize(&tiny(), "q4_0", Options::default(), &plain).unwrap();
    let own = Arc::new(Texts::new(&Source::open(&tiny()).unwrap(), texts::OWN_NAME, texts::OWN, 128, 4).unwrap());
    let options = Options { method: Method::by_name("awq").unwrap(), texts: Some(own), ..Options::default() };
    quantize(&tiny(), "q4_0", options.clone(), &folded).unwrap();
    let parts = moved(&plain, &folded);
    assert!(["attn_norm.weight", "attn_q.weight", "ffn_down.weight"].iter().all(|part| parts.contains(&part.to_string())), "{parts:?}");
    assert!(!parts.iter().any(|part| part.starts_with("token_embd") || part.starts_with("output")), "{parts:?}");
    quantize(&plain, "q4_0", options, &again).unwrap();
    assert_eq!(moved(&plain, &again), Vec::<String>::new());
}

/// What the method is for: a model some of whose channels are loud, their columns in the matrices small in proportion. Plain rounding loses these columns, whatever they are
/// weighted by; scales win them back. The loud model computes what the embedded one does, so that both tell the same.
#[test]
fn loud_channels_are_won_back() {
    const LOUD: f32 = 32.0;
    let dir = tempfile::tempdir().unwrap();
    let source = Source::open(&tiny()).unwrap();
    let loud = dir.path().join("loud.gguf");
    let is = |channel: usize| channel % 32 == 11;
    as_gguf(&source, &format::F32, &loud, &|name, cols, x| {
        let part = name.strip_prefix("blk.").and_then(|rest| rest.split_once('.')).map_or("", |(_, part)| part);
        for (at, x) in x.iter_mut().enumerate() {
            let (row, col) = (at / cols, at % cols);
            // A head has 64 channels, so that the same ones are loud in those that share values.
            if ["attn_norm.weight", "ffn_norm.weight", "attn_v.weight", "ffn_up.weight"].contains(&part) && is(row) {
                *x *= LOUD;
            }
            let reads = ["attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"];
            if reads.iter().any(|name| part == format!("{name}.weight")) && is(col) {
                *x /= LOUD;
            }
        }
    });
    let own = Arc::new(Texts::new(&source, texts::OWN_NAME, texts::OWN, 128, 4).unwrap());
    let ids = &own.chunks[3];
    let before = logits(&tiny(), ids);
    assert!(difference(&before, &logits(&loud, ids)) < 1e-4);
    for (recipe, knobs) in [("q4_0", AWQ), ("q4_k_m", AWQ), ("q8_0", SMOOTHQUANT)] {
        let off = |model: &Path, exponents: &'static [(f32, f32)]| {
            let out = dir.path().join("out.gguf");
            quantize(model, recipe, Options { method: always(knobs, exponents), texts: Some(own.clone()), ..Options::default() }, &out)
                .unwrap();
            let after = logits(&out, ids);
            before.iter().zip(&after).map(|(a, b)| f64::from((a - b) * (a - b))).sum::<f64>()
        };
        let (without, with, quiet) = (off(&loud, &[(0.0, 0.0)]), off(&loud, knobs.exponents), off(&tiny(), &[(0.0, 0.0)]));
        eprintln!("{recipe}: {without:.0} without scales, {with:.0} with, {quiet:.0} where nothing is loud");
        // More than half of what the loud channels cost.
        assert!(with - quiet < 0.5 * (without - quiet), "{recipe}: {with} with scales, {without} without, {quiet} where nothing is loud");
    }
}

/// The directory of NF4: its norms are of sixteen bits, its matrices without a search. A fold that helps nothing does no harm, and one that were wrong would.
#[test]
fn nf4_can_be_folded() {
    let dir = tempfile::tempdir().unwrap();
    let ids = ids(4096, 2);
    let before = logits(&tiny(), &ids.chunks[0]);
    let off = |name: &str, options: Options| {
        let out = dir.path().join(name);
        quantize(&tiny(), "nf4", options, &out).unwrap();
        let after = logits(&out, &ids.chunks[0]);
        before.iter().zip(&after).map(|(a, b)| f64::from((a - b) * (a - b))).sum::<f64>()
    };
    let plain = off("plain", Options::default());
    let folded = off("folded", Options { method: always(AWQ, &[(0.2, 0.0)]), texts: Some(ids.clone()), ..Options::default() });
    let size = before.iter().map(|x| f64::from(x * x)).sum::<f64>();
    assert!(folded != plain && folded < 2.0 * plain && plain < 0.1 * size, "{folded} folded, {plain} plain, of {size}");
}

#[test]
fn every_type_can_be_folded() {
    let dir = tempfile::tempdir().unwrap();
    // Layers are much alike: two show what six would.
    let shape = Shape::by_name("tiny").unwrap();
    write(dir.path(), &shape, 1, 2).unwrap();
    let source = Source::open(dir.path()).unwrap();
    for recipe in ["q2_k", "q3_k_m", "q4_1", "iq4_nl", "iq4_xs", "q5_k_m", "q6_k", "q8_0", "f16"] {
        for knobs in [AWQ, SMOOTHQUANT] {
            let out = dir.path().join("out.gguf");
            let options = Options { method: always(knobs, &[(0.5, 0.0)]), texts: Some(ids(shape.vocab, 2)), ..Options::default() };
            quantize(dir.path(), recipe, options, &out).unwrap();
            let written = Source::open(&out).unwrap();
            assert_eq!(written.tensors().len(), source.tensors().len(), "{recipe}");
        }
    }
}

#[test]
fn a_plan_does_not_depend_on_the_method() {
    let source = Source::open(&tiny()).unwrap();
    let planned = |method: &str| {
        let options = Options { method: Method::by_name(method).unwrap(), texts: Some(ids(4096, 2)), ..Options::default() };
        plan(&source, Recipe::by_name("q4_k_m").unwrap(), options).unwrap()
    };
    let (rtn, awq) = (planned("rtn"), planned("awq"));
    assert!(rtn.steps.iter().zip(&awq.steps).all(|(a, b)| a.name == b.name && a.to.name == b.to.name && a.bytes_out == b.bytes_out));
}

/// A damaged checkpoint is named, whether the damage reaches what a matrix is fed or only its own rows, and nothing is written.
#[test]
fn damage_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let source = Source::open(&tiny()).unwrap();
    let damaged = dir.path().join("damaged.gguf");
    let error = |tensor: &'static str| {
        as_gguf(&source, &format::F32, &damaged, &|name, cols, x| {
            if name == tensor {
                x[2 * cols + 1] = f32::NAN;
            }
        });
        let options = Options { method: Method::by_name("awq").unwrap(), texts: Some(ids(4096, 1)), ..Options::default() };
        let error = quantize(&damaged, "q4_0", options, &dir.path().join("out.gguf")).unwrap_err();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        error.to_string()
    };
    assert!(error("blk.2.attn_v.weight").starts_with("blk.2.attn_output: what the matrix is fed"), "{}", error("blk.2.attn_v.weight"));
    assert!(error("blk.5.ffn_down.weight").starts_with("blk.5.ffn_down.weight: row 2 "), "{}", error("blk.5.ffn_down.weight"));
}
