//! The types of KV cache: how far each moves logits, and that none of them makes results depend on threads, batches, windows or what was forgotten.

mod common;

use common::{emulated, golden_config, tiny, tokens, write_model};
use nibble_engine::{Error, KvType, Model, Options};
use nibble_kernels::Isa;
use serde_json::json;
use std::path::Path;

fn open(path: &Path, options: Options) -> Model {
    Model::open(path, Options { memory: Some(u64::MAX), ..options }).unwrap()
}

/// The logits of every position.
fn logits(path: &Path, n: usize, options: Options) -> Vec<f32> {
    let model = open(path, options);
    let mut all = Vec::new();
    model.session().unwrap().feed_each(&tokens(n, model.config().vocab), &mut |_, row| all.extend_from_slice(row)).unwrap();
    all
}

/// A model with heads of 32 that sees 40 positions, in layers enough for errors to add up.
fn window(folder: &Path) {
    let mut config = golden_config("window");
    for (key, value) in json!({"hidden_size": 64, "head_dim": 32, "sliding_window": 40, "num_hidden_layers": 3}).as_object().unwrap() {
        config[key] = value.clone();
    }
    write_model(folder, &config);
}

/// Root mean square of the differences, as a part of the logits' own.
fn spread(a: &[f32], b: &[f32]) -> f64 {
    let square = |x: f64| x * x;
    let error: f64 = a.iter().zip(b).map(|(a, b)| square(f64::from(a - b))).sum();
    (error / b.iter().map(|b| square(f64::from(*b))).sum::<f64>()).sqrt()
}

/// Against the single-precision cache. Measured on the embedded model over 200 tokens: f16 1.3e-4, q8_0 2.8e-3, q4_0 4.2e-2 of the logits' root mean
/// square; a bound is three times that, since a retrained model moves it. What a type rounds sets the order: half precision by 2^-12 of an
/// element, eight bits by 1/440 of the largest of 32, four bits by 1/28.
#[test]
fn each_type_moves_the_logits_by_as_much_as_it_rounds() {
    let n = if emulated() { 20 } else { 200 };
    let run = |kv| logits(&tiny(), n, Options { kv, ..Options::default() });
    let exact = run(KvType::F32);
    let of = |kv| spread(&run(kv), &exact);
    let (f16, q8_0, q4_0) = (of(KvType::F16), of(KvType::Q8_0), of(KvType::Q4_0));
    eprintln!("f16 {f16:.2e}, q8_0 {q8_0:.2e}, q4_0 {q4_0:.2e}");
    assert!(0.0 < f16 && f16 < q8_0 && q8_0 < q4_0, "f16 {f16:.2e}, q8_0 {q8_0:.2e}, q4_0 {q4_0:.2e}");
    assert!(f16 < 4e-4 && q8_0 < 8e-3 && q4_0 < 0.12, "f16 {f16:.2e}, q8_0 {q8_0:.2e}, q4_0 {q4_0:.2e}");
}

#[test]
fn threads_batches_and_kernels_do_not_change_a_bit() {
    let folder = tempfile::tempdir().unwrap();
    window(folder.path());
    for kv in KvType::all() {
        for (path, n) in [(folder.path(), 90), (&tiny(), if emulated() { 3 } else { 30 })] {
            let run = |threads, batch, isa| logits(path, n, Options { threads: Some(threads), batch, isa, kv, ..Options::default() });
            let first = run(1, 64, None);
            assert!(first.iter().all(|x| x.is_finite()));
            for (threads, batch, isa) in [(3, 64, None), (2, 1, None), (2, 7, None), (2, 64, Some(Isa::Scalar))] {
                assert!(run(threads, batch, isa) == first, "{kv:?}: {threads} threads, batches of {batch}, {isa:?}");
            }
        }
    }
}

/// Forgetting and going on gives what a fresh session gives, over the borders of chunks and with a window.
#[test]
fn going_on_after_forgetting_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    window(folder.path());
    for kv in KvType::all() {
        let model = open(folder.path(), Options { kv, threads: Some(2), ..Options::default() });
        let ids = tokens(700, model.config().vocab);
        let (mut session, mut fresh) = (model.session().unwrap(), model.session().unwrap());
        session.feed(&ids[..600]).unwrap();
        for keep in [300, 257, 256, 255, 3] {
            session.truncate(keep);
            let got = session.feed(&ids[400..430]).unwrap().to_vec();
            fresh.truncate(0);
            fresh.feed(&ids[..keep]).unwrap();
            assert!(fresh.feed(&ids[400..430]).unwrap() == got, "{kv:?}, {keep} kept");
        }
    }
}

/// One token's attention at a depth at which it is cut among threads by position.
#[test]
fn a_deep_token_gives_the_same_bits_on_any_threads() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = golden_config("linear");
    config["num_hidden_layers"] = 1.into();
    write_model(folder.path(), &config);
    let depth = if emulated() { 1030 } else { 1500 };
    let run = |threads| {
        let model = open(folder.path(), Options { threads: Some(threads), ..Options::default() });
        let mut session = model.session().unwrap();
        session.feed(&tokens(depth, model.config().vocab)).unwrap();
        (0..3).flat_map(|id| session.feed(&[id]).unwrap().to_vec()).collect::<Vec<_>>()
    };
    let one = run(1);
    assert!(run(2) == one && run(3) == one);
}

#[test]
fn heads_that_are_not_whole_blocks_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    write_model(folder.path(), &golden_config("biases"));
    for kv in [KvType::Q8_0, KvType::Q4_0] {
        let Err(error) = Model::open(folder.path(), Options { kv, ..Options::default() }) else { panic!("heads of 24 in {kv:?}") };
        assert!(matches!(error, Error::KvType { head_dim: 24, .. }));
        let text = error.to_string();
        assert!(text.contains("24") && text.contains("32") && text.contains(&kv.name()), "{text}");
    }
}
