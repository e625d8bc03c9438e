//! METHODS on the embedded model: the same file for any number of threads, every type, what llama.cpp and bitsandbytes must find in it.

mod common;

use common::{quantize, tiny};
use nibble_compress::calibrate::{Collect, Imatrix, Texts, collect, texts};
use nibble_compress::method::{METHODS, Method, Needs};
use nibble_compress::recipe::Recipe;
use nibble_compress::synth::{Shape, write};
use nibble_compress::{Control, Error, Options, plan, run};
use nibble_container::Checkpoint;
use nibble_engine::source::Source;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// A checkpoint of two layers, for what does not depend on how many there are or on what they have learnt.
fn two_layers(dir: &Path) -> PathBuf {
    let dir = dir.join("two-layers");
    std::fs::create_dir(&dir).unwrap();
    // An embedding of several pieces, the last of them begun.
    write(&dir, &Shape { vocab: 2500, ..Shape::by_name("tiny").unwrap() }, 1, 2).unwrap();
    dir
}

fn short(model: &Path) -> Arc<Texts> {
    Arc::new(Texts::new(&Source::open(model).unwrap(), texts::OWN_NAME, texts::OWN, 128, 4).unwrap())
}

fn stats(model: &Path) -> Arc<Imatrix> {
    let cancel = AtomicBool::new(false);
    let how = Collect { threads: 2, resume: None, save_every: Duration::MAX, output: false, progress: &mut |_, _, _| {}, cancel: &cancel };
    Arc::new(collect(&Source::open(model).unwrap(), &short(model), how).unwrap())
}

/// Options with what the method needs.
fn given(method: &'static Method, model: &Path) -> Options {
    Options {
        method,
        imatrix: (method.needs == Needs::Importance).then(|| stats(model)),
        imatrix_name: "stats.gguf".into(),
        texts: (method.needs == Needs::Texts).then(|| short(model)),
        ..Options::default()
    }
}

fn with_threads(model: &Path, recipe: &str, options: Options, threads: usize, out: &Path) {
    let source = Source::open(model).unwrap();
    let plan = plan(&source, Recipe::by_name(recipe).unwrap(), options).unwrap();
    run(&source, &plan, out, Control { threads, progress: &mut |_| {}, cancel: &AtomicBool::new(false) }).unwrap();
}

#[test]
fn threads_do_not_change_a_byte() {
    let dir = tempfile::tempdir().unwrap();
    let model = two_layers(dir.path());
    for method in METHODS {
        let options = given(method, &model);
        for (recipe, file) in [("q4_k_m", ""), ("nf4", "model.safetensors")] {
            let at = |threads: usize| dir.path().join(format!("{}-{recipe}-{threads}", method.name));
            for threads in [1, 3] {
                with_threads(&model, recipe, options.clone(), threads, &at(threads));
            }
            let read = |threads| std::fs::read(if file.is_empty() { at(threads) } else { at(threads).join(file) }).unwrap();
            assert!(read(1) == read(3), "{} {recipe}", method.name);
        }
    }
}

/// Mean square error of the layers' outputs, over inputs as the importance has them: methods must be in their order.
fn weighted_error(file: &Path, stats: &Imatrix) -> f64 {
    let (before, after) = (Source::open(&tiny()).unwrap(), Source::open(file).unwrap());
    let mut sum = 0.0;
    for tensor in before.tensors().iter().filter(|t| t.spec.shape.len() == 2) {
        let Some(entry) = stats.entries.get(&tensor.spec.gguf) else { continue };
        let means = entry.means();
        let (mut a, mut b) = (vec![0.0; tensor.rows() * tensor.cols()], vec![0.0; tensor.rows() * tensor.cols()]);
        before.read_rows(tensor, 0..tensor.rows(), &mut a);
        after.read_rows(after.get(&tensor.spec.gguf).unwrap(), 0..tensor.rows(), &mut b);
        sum += a.iter().zip(&b).enumerate().map(|(i, (a, b))| f64::from((a - b) * (a - b) * means[i % tensor.cols()])).sum::<f64>();
    }
    sum
}

#[test]
fn importance_is_used_and_told() {
    let dir = tempfile::tempdir().unwrap();
    let (plain, weighted) = (dir.path().join("plain.gguf"), dir.path().join("weighted.gguf"));
    let options = given(Method::by_name("imatrix").unwrap(), &tiny());
    let stats = options.imatrix.clone().unwrap();
    quantize(&tiny(), "q4_k_m", Options::default(), &plain).unwrap();
    quantize(&tiny(), "q4_k_m", options, &weighted).unwrap();
    let (a, b) = (weighted_error(&plain, &stats), weighted_error(&weighted, &stats));
    assert!(b < a, "{b} with importance, {a} without");
    let file = Checkpoint::open(&weighted).unwrap();
    let metadata = file.metadata().unwrap();
    assert_eq!(metadata.get::<&str>("quantize.imatrix.file").unwrap(), "stats.gguf");
    assert_eq!(metadata.get::<&str>("quantize.imatrix.dataset").unwrap(), texts::OWN_NAME);
    assert_eq!(metadata.get::<u32>("quantize.imatrix.entries_count").unwrap(), 42);
    assert_eq!(metadata.get::<u32>("quantize.imatrix.chunks_count").unwrap(), 4);
}

/// Types of every shape through the method that replaces whole layers: the tensors that it takes and those that it leaves.
#[test]
fn every_type_can_be_made_by_gptq() {
    let dir = tempfile::tempdir().unwrap();
    let model = two_layers(dir.path());
    let options = given(Method::by_name("gptq").unwrap(), &model);
    for recipe in ["q2_k", "q3_k_m", "q4_0", "q4_1", "iq4_xs", "iq4_nl", "q5_0", "q5_1", "q5_k_m", "q6_k", "q8_0", "f16"] {
        let (plain, made) = (dir.path().join("plain.gguf"), dir.path().join("made.gguf"));
        quantize(&model, recipe, Options::default(), &plain).unwrap();
        quantize(&model, recipe, options.clone(), &made).unwrap();
        let (plain, made) = (Checkpoint::open(&plain).unwrap(), Checkpoint::open(&made).unwrap());
        let mut moved = 0;
        for (a, b) in plain.tensors().zip(made.tensors()) {
            assert_eq!((a.name, a.dtype, a.shape), (b.name, b.dtype, b.shape), "{recipe}");
            moved += usize::from(a.bytes != b.bytes);
        }
        let packs = |format: &nibble_kernels::Format| format.pack.is_some();
        let source = Source::open(&model).unwrap();
        let plan = nibble_compress::plan(&source, Recipe::by_name(recipe).unwrap(), Options::default()).unwrap();
        let wanted = plan.steps.iter().filter(|s| s.shape.len() == 2 && packs(s.to)).count();
        assert_eq!(moved, wanted, "{recipe}");
    }
}

#[test]
fn a_stop_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let source = Source::open(&tiny()).unwrap();
    let plan = plan(&source, Recipe::by_name("q4_k_m").unwrap(), given(Method::by_name("gptq").unwrap(), &tiny())).unwrap();
    let cancel = AtomicBool::new(false);
    let mut seen = Vec::new();
    let mut progress = |p: nibble_compress::Progress| {
        seen.push(p.done);
        cancel.store(p.tensor == "blk.1.attn_q.weight", Ordering::Relaxed);
    };
    let stopped = run(&source, &plan, &dir.path().join("out.gguf"), Control { threads: 2, progress: &mut progress, cancel: &cancel });
    assert!(matches!(stopped, Err(Error::Cancelled)), "{stopped:?}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    assert!(seen.is_sorted(), "progress went back: {seen:?}");
}
