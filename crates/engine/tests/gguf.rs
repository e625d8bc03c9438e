//! GGUF files: a checkpoint written as one computes the same, whole or split; blocks of every kind run, the same on any threads and kernels.

mod common;

use common::{Tensor, Tensors, convert, golden_config, tokens, write_gguf as write, write_model};
use nibble_container::gguf::{Metadata, Value, part_name};
use nibble_engine::source::Source;
use nibble_engine::{Error, KvType, Model, Options};
use nibble_kernels::{FORMATS, Isa, format};
use std::path::{Path, PathBuf};

fn logits(path: &Path, n: usize, options: Options) -> Vec<f32> {
    let model = Model::open(path, Options { context: Some(n), memory: Some(u64::MAX), kv: KvType::F32, ..options }).unwrap();
    let mut all = Vec::new();
    let ids = tokens(n, model.config().vocab);
    model.session().unwrap().feed_each(&ids, &mut |_, logits| all.extend(logits)).unwrap();
    all
}

fn worst(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

fn folder(name: &str) -> (tempfile::TempDir, Source) {
    let folder = tempfile::tempdir().unwrap();
    write_model(folder.path(), &golden_config(name));
    let source = Source::open(folder.path()).unwrap();
    (folder, source)
}

#[test]
fn a_gguf_computes_what_its_checkpoint_does() {
    for name in ["window", "biases", "linear", "long"] {
        let (folder, source) = folder(name);
        let path = folder.path().join("model.gguf");
        let (metadata, tensors) = convert(&source, &format::F32);
        write(&path, &metadata, &tensors);
        let difference = worst(&logits(folder.path(), 40, Options::default()), &logits(&path, 40, Options::default()));
        // Only the rounding of the rope's angles differs.
        assert!(difference < 1e-4, "{name}: {difference}");
    }
}

#[test]
fn a_split_gguf_is_the_same_model() {
    let (folder, source) = folder("long");
    let (metadata, tensors) = convert(&source, &format::F32);
    let whole = folder.path().join("whole.gguf");
    write(&whole, &metadata, &tensors);
    let parts: Vec<PathBuf> = (0..3).map(|no| folder.path().join(part_name("split", no + 1, 3))).collect();
    for (no, (path, part)) in parts.iter().zip(tensors.chunks(tensors.len().div_ceil(3))).enumerate() {
        let mut own = if no == 0 { metadata.clone() } else { Metadata::new() };
        own.set("split.no", Value::U16(no as u16));
        own.set("split.count", Value::U16(3));
        own.set("split.tensors.count", Value::I32(tensors.len() as i32));
        write(path, &own, &part.to_vec());
    }
    let expected = logits(&whole, 5, Options::default());
    assert!(logits(&parts[0], 5, Options::default()) == expected);
    assert!(logits(&parts[2], 5, Options::default()) == expected);
}

#[test]
fn blocks_of_every_format_run_the_same_on_any_threads_and_kernels() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = golden_config("window");
    for key in ["hidden_size", "intermediate_size"] {
        config[key] = 256.into();
    }
    config["num_hidden_layers"] = 1.into();
    write_model(folder.path(), &config);
    let source = Source::open(folder.path()).unwrap();
    let n = if common::emulated() { 2 } else { 9 };
    let exact = logits(folder.path(), n, Options::default());
    let spread = exact.iter().map(|x| x.abs()).fold(0.0, f32::max);
    // Encoding takes its time under emulation, where the kernels have tests of their own for every format.
    let few = ["F16", "Q4_0", "Q8_0", "Q4_K"];
    for format in FORMATS.iter().filter(|f| f.gguf_id.is_some() && (!common::emulated() || few.contains(&f.name))) {
        let path = folder.path().join("model.gguf");
        let (metadata, tensors) = convert(&source, format);
        write(&path, &metadata, &tensors);
        let run = |threads, isa| logits(&path, n, Options { threads: Some(threads), isa, ..Options::default() });
        let first = run(1, None);
        let difference = worst(&exact, &first);
        // It must be the same model. Random weights with sharp attention forgive no fewer bits; trained models' errors are measured elsewhere.
        assert!(first.iter().all(|x| x.is_finite()), "{}", format.name);
        if format.bits_per_weight() >= 8.0 {
            assert!(difference < 0.25 * spread, "{}: {difference} of {spread}", format.name);
        }
        let same = |other: Vec<f32>| first.iter().zip(&other).all(|(a, b)| a.to_bits() == b.to_bits());
        assert!(same(run(3, None)) && same(run(2, Some(Isa::Scalar))), "{}", format.name);
    }
}

#[test]
fn damaged_files_are_refused_by_name() {
    let (folder, source) = folder("long");
    let (metadata, tensors) = convert(&source, &format::F32);
    let path = folder.path().join("model.gguf");
    let open = |metadata: &Metadata, tensors: &Tensors| {
        write(&path, metadata, tensors);
        Model::open(&path, Options { context: Some(8), ..Options::default() }).map(|_| ()).unwrap_err()
    };
    let edit = |name: &str, change: &dyn Fn(&mut Tensor)| {
        let mut tensors = tensors.clone();
        tensors.iter_mut().filter(|t| t.0 == name).for_each(change);
        open(&metadata, &tensors)
    };
    let cut = |t: &mut Tensor| {
        t.1[0] -= 1;
        let n = 4 * t.1.iter().product::<u64>();
        t.3.truncate(n as usize);
    };
    for name in ["rope_freqs.weight", "blk.0.attn_q.weight", "blk.0.ffn_norm.weight", "token_embd.weight"] {
        let error = edit(name, &cut);
        assert!(matches!(&error, Error::Tensors { faults, .. } if faults.len() == 1 && faults[0].tensor == name), "{error}");
    }
    let error = edit("rope_freqs.weight", &|t| t.3[..4].copy_from_slice(&0f32.to_le_bytes()));
    assert!(error.to_string().contains("rope_freqs.weight: found 0"), "{error}");
    let error = edit("blk.0.attn_k.weight", &|t| t.0 = "blk.0.attn_kk.weight".into());
    assert!(error.to_string().contains("blk.0.attn_k.weight: found no such tensor"), "{error}");
    let mut other = metadata.clone();
    other.set("llama.block_count", Value::U32(2));
    let error = open(&other, &tensors);
    assert!(matches!(&error, Error::Tensors { faults, .. } if faults.len() == 9), "{error}");
    other.set("general.architecture", Value::from("mamba"));
    let error = open(&other, &tensors);
    assert!(matches!(&error, Error::Config { .. }) && error.to_string().contains("mamba"), "{error}");
}
