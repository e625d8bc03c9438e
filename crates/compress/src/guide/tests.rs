//! The backward pass against differences of the forward pass.

use super::block::{Block, norm, norm_back};
use super::{Head, State};
use nibble_engine::arch::rope::Angles;
use nibble_engine::source::Source;
use nibble_engine::{KvType, Model, Options};
use std::path::{Path, PathBuf};

fn tiny() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/tiny")
}

/// Something that looks random.
fn noise(n: usize, seed: u64) -> Vec<f32> {
    (0..n as u64).map(|i| super::uniform(seed << 32 | i) - 0.5).collect()
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}

/// (f(x + e d) - f(x - e d)) / 2e against the gradient times d, f being the output times `weights`. Single precision leaves about three digits.
fn agrees(x: &[f32], weights: &[f32], gradient: &[f32], f: impl Fn(Vec<f32>) -> Vec<f32>, seed: u64) {
    let direction = noise(x.len(), seed);
    let step = 1e-2;
    let at = |sign: f32| dot(&f(x.iter().zip(&direction).map(|(x, d)| x + sign * step * d).collect()), weights);
    let (found, wanted) = (dot(gradient, &direction), (at(1.0) - at(-1.0)) / (2.0 * f64::from(step)));
    // Both are sums of that many numbers of either sign: the size is that of their root of squares.
    let size = (dot(gradient, gradient) * dot(&direction, &direction) / x.len() as f64).sqrt();
    assert!((found - wanted).abs() < 0.02 * size, "{found}, {wanted} by differences, of the size of {size}");
}

#[test]
fn the_norm_turned_round() {
    let (x, weight, weights) = (noise(4 * 32, 1), noise(32, 2), noise(4 * 32, 3));
    agrees(&x, &weights, &norm_back(&x, &weight, 1e-5, &weights), |x| norm(&x, &weight, 1e-5), 4);
}

#[test]
fn a_layer_turned_round() {
    let source = Source::open(&tiny()).unwrap();
    let angles = Angles::new(&source.config().rope, None);
    let ids: Vec<u32> = (0..24).map(|i| i * 37 + 5).collect();
    let x = State::new(&source, &ids).hidden.remove(0);
    for layer in [0, 3] {
        let block = Block::new(&source, layer, &angles);
        let weights = noise(x.len(), 5);
        let (gradient, counts) = block.backward(&x, &weights);
        for seed in 6..9 {
            agrees(&x, &weights, &gradient, |x| block.forward(x), seed);
        }
        assert!(counts.iter().all(|c| c.len() == ids.len() && c.iter().all(|c| c.is_finite() && *c > 0.0)), "{counts:?}");
    }
}

/// The forward pass is the engine's, so that what is turned round is the model.
#[test]
fn the_forward_pass_is_the_models() {
    let source = Source::open(&tiny()).unwrap();
    let angles = Angles::new(&source.config().rope, None);
    let ids: Vec<u32> = (0..24).map(|i| i * 37 + 5).collect();
    let mut x = State::new(&source, &ids).hidden.remove(0);
    for layer in 0..source.config().layers {
        x = Block::new(&source, layer, &angles).forward(x);
    }
    let head = Head::new(&source);
    let dim = source.config().dim;
    let logits = super::by_turned(&norm(&x, &head.norm, head.eps), &head.matrix, ids.len(), dim, head.vocab);
    let options = Options { threads: Some(1), kv: KvType::F32, memory: Some(u64::MAX), context: Some(ids.len()), ..Options::default() };
    let model = Model::open(&tiny(), options).unwrap();
    let mut worst = 0f32;
    let mut each = |t: usize, row: &[f32]| worst = row.iter().zip(&logits[t * head.vocab..]).fold(worst, |m, (a, b)| m.max((a - b).abs()));
    model.session().unwrap().feed_each(&ids, &mut each).unwrap();
    assert!(worst < 1e-3, "{worst}");
}

/// Drawn tokens' gradients have the mean zero under the model's distribution, and every token counts.
#[test]
fn counts_do_not_depend_on_threads() {
    let source = Source::open(&tiny()).unwrap();
    let texts: Vec<Vec<u32>> = (0..3).map(|c| (0..20).map(|i| i * 31 + c * 7 + 3).collect()).collect();
    let run = |threads| {
        let pool = nibble_engine::pool::Pool::new(threads, &[]);
        super::Guide::new(&source, &texts, 1.0, &pool, &std::sync::atomic::AtomicBool::new(false)).unwrap().counts
    };
    let (one, three) = (run(1), run(3));
    assert!(one == three);
    for site in one.iter().flat_map(|sites| sites.values()) {
        let mean = site.iter().flatten().sum::<f32>() / 60.0;
        assert!((mean - 1.0).abs() < 1e-4, "{mean}");
    }
}
