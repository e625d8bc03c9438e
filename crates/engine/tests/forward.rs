//! The forward pass against transformers in float32 (golden/engine_logits.py), and against itself: any threads, any batches, any kernels, one result.

mod common;

use common::{emulated, golden, golden_config, tiny, tokens, write_model};
use nibble_engine::{KvType, Model, Options};
use nibble_kernels::Isa;
use std::path::Path;

fn options() -> Options {
    Options { threads: Some(2), kv: KvType::F32, memory: Some(u64::MAX), ..Options::default() }
}

/// Runs a golden prompt and compares the kept logits. `limit` cuts the prompt.
fn compare(name: &str, path: &Path, limit: usize, options: Options) {
    let golden = &golden()[name];
    let list = |key: &str| golden[key].as_array().unwrap().iter().map(|v| v.as_u64().unwrap() as usize).collect::<Vec<_>>();
    let (positions, columns, argmax) = (list("positions"), list("columns"), list("argmax"));
    let n = (golden["ids"].as_u64().unwrap() as usize).min(limit);
    let model = Model::open(path, Options { context: Some(n), ..options }).unwrap();
    let mut session = model.session().unwrap();
    let (mut worst, mut seen) = (0f64, 0);
    let ids = tokens(n, model.config().vocab);
    session
        .feed_each(&ids, &mut |pos, logits| {
            let Some(row) = positions.iter().position(|&p| p == pos) else { return };
            seen += 1;
            for (j, &c) in columns.iter().enumerate() {
                let expected = golden["logits"][row][j].as_f64().unwrap();
                worst = worst.max((f64::from(logits[c]) - expected).abs());
            }
            let best = (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b])).unwrap();
            assert_eq!(best, argmax[row], "{name}: likeliest token at {pos}");
        })
        .unwrap();
    assert_eq!(seen, positions.iter().filter(|&&p| p < n).count());
    eprintln!("{name}: largest difference {worst:.2e} over {seen} positions");
    assert!(worst <= 2e-4, "{name}: {worst}");
}

fn compare_random(name: &str, limit: usize) {
    let folder = tempfile::tempdir().unwrap();
    write_model(folder.path(), &golden_config(name));
    compare(name, folder.path(), limit, options());
}

#[test]
fn the_embedded_model_agrees_with_transformers() {
    compare("tiny", &tiny(), usize::MAX, options());
}

#[test]
fn a_sliding_window_agrees_with_transformers() {
    compare_random("window", usize::MAX);
}

#[test]
fn biases_and_a_head_wider_than_its_share_agree_with_transformers() {
    compare_random("biases", usize::MAX);
}

#[test]
fn linear_scaling_and_a_tied_head_agree_with_transformers() {
    compare_random("linear", usize::MAX);
}

/// Past 8,192 tokens, where a mistake in llama3's scaling shows. Under emulation only the first 300.
#[test]
fn a_long_prompt_with_llama3_scaling_agrees_with_transformers() {
    compare_random("long", if emulated() { 300 } else { usize::MAX });
}

/// All logits of the golden prompt as bits.
fn bits(path: &Path, n: usize, options: Options) -> Vec<u32> {
    let model = Model::open(path, Options { context: Some(n), memory: Some(u64::MAX), ..options }).unwrap();
    let mut all = Vec::new();
    let ids = tokens(n, model.config().vocab);
    model.session().unwrap().feed_each(&ids, &mut |_, logits| all.extend(logits.iter().map(|x| x.to_bits()))).unwrap();
    all
}

#[test]
fn threads_batches_and_kernels_do_not_change_a_bit() {
    let folder = tempfile::tempdir().unwrap();
    write_model(folder.path(), &golden_config("biases"));
    for (path, n) in [(folder.path(), 70), (&tiny(), if emulated() { 3 } else { 40 })] {
        let run = |threads, batch, isa| bits(path, n, Options { threads: Some(threads), batch, isa, ..Options::default() });
        let first = run(1, 64, None);
        assert!(first.iter().all(|&b| f32::from_bits(b).is_finite()));
        for (threads, batch, isa) in [(2, 64, None), (3, 64, None), (2, 1, None), (2, 7, None), (2, 64, Some(Isa::Scalar))] {
            assert!(run(threads, batch, isa) == first, "{threads} threads, batches of {batch}, {isa:?}");
        }
    }
}

/// A cache in half precision moves logits a little, and not more.
#[test]
fn half_precision_cache_is_near() {
    let folder = tempfile::tempdir().unwrap();
    write_model(folder.path(), &golden_config("window"));
    let run = |kv| bits(folder.path(), 30, Options { kv, threads: Some(1), ..Options::default() });
    let (half, single) = (run(KvType::F16), run(KvType::F32));
    let worst = half.iter().zip(&single).map(|(a, b)| (f32::from_bits(*a) - f32::from_bits(*b)).abs()).fold(0.0, f32::max);
    assert!(worst > 0.0 && worst < 0.02, "{worst}");
}
