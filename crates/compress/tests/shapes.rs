//! METHODS on shapes that no published recipe was thought through for: rows that are no multiple of 256, nor of 32; one layer; as many key-value heads as
//! heads; a head of its own. Every file must be read again, and say something finite.

mod common;

use common::quantize;
use nibble_compress::Options;
use nibble_compress::allocate::{Budget, How, allocate};
use nibble_compress::calibrate::{Collect, Imatrix, Texts, collect};
use nibble_compress::method::{METHODS, Method, Needs};
use nibble_compress::recipe::Recipe;
use nibble_compress::synth::{Shape, write};
use nibble_engine::source::Source;
use nibble_engine::{Model, Options as Run};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// Rows of 80 and 176 have whole blocks in no type of four bits but fall back to halves; those of 96 and 160 to blocks of 32.
static SHAPES: [Shape; 4] = [
    Shape { name: "of 32", layers: 2, hidden: 96, ffn: 160, heads: 3, kv_heads: 1, head_dim: 32, vocab: 512, tied: false },
    Shape { name: "of 16", layers: 1, hidden: 80, ffn: 176, heads: 2, kv_heads: 2, head_dim: 40, vocab: 512, tied: true },
    Shape { name: "of 8", layers: 1, hidden: 72, ffn: 168, heads: 2, kv_heads: 1, head_dim: 36, vocab: 512, tied: false },
    Shape { name: "of both", layers: 1, hidden: 256, ffn: 352, heads: 4, kv_heads: 4, head_dim: 64, vocab: 512, tied: false },
];

fn texts(source: &Source) -> Arc<Texts> {
    let vocab = source.config().vocab as u32;
    let chunk = |c: u32| (0..32).map(|i| (c * 131 + i * 17 + i * i) % vocab).collect();
    Arc::new(Texts { name: "numbers".into(), chunks: (0..3).map(chunk).collect() })
}

fn importance(source: &Source) -> Arc<Imatrix> {
    let cancel = AtomicBool::new(false);
    let how = Collect { threads: 2, resume: None, save_every: Duration::MAX, output: false, progress: &mut |_, _, _| {}, cancel: &cancel };
    Arc::new(collect(source, &texts(source), how).unwrap())
}

fn says_something(path: &Path) -> bool {
    let model = Model::open(path, Run { context: Some(16), threads: Some(2), ..Run::default() }).unwrap();
    let mut session = model.session().unwrap();
    let logits = session.feed(&[1, 2, 3]).unwrap();
    logits.iter().all(|x| x.is_finite()) && logits.iter().any(|x| *x != logits[0])
}

#[test]
fn every_method_makes_every_shape() {
    for shape in &SHAPES {
        let dir = tempfile::tempdir().unwrap();
        let from = dir.path().join("model");
        write(&from, shape, 1, 2).unwrap();
        let source = Source::open(&from).unwrap();
        for method in METHODS {
            let options = Options {
                method,
                imatrix: (method.needs == Needs::Importance).then(|| importance(&source)),
                texts: (method.needs == Needs::Texts).then(|| texts(&source)),
                ..Options::default()
            };
            for recipe in ["q4_k_m", "q3_k_m", "q4_0", "iq4_xs", "q8_0", "nf4"] {
                let to = dir.path().join(format!("{}-{recipe}", method.name));
                quantize(&from, recipe, options.clone(), &to).unwrap_or_else(|e| panic!("{} {} {recipe}: {e}", shape.name, method.name));
                assert!(says_something(&to), "{} {} {recipe}", shape.name, method.name);
            }
        }

        // Where rows have no whole blocks in any type that is chosen from, there is nothing to choose.
        let options = Options { method: Method::by_name("best").unwrap(), texts: Some(texts(&source)), ..Options::default() };
        let recipe = Recipe::by_name("q4_k_m").unwrap();
        let how = How { threads: 2, keep: None, progress: &mut |_, _, _| {}, cancel: &AtomicBool::new(false) };
        let found = allocate(&source, recipe, &options, Budget::SameAs(recipe), how).unwrap_or_else(|e| panic!("{}: {e}", shape.name));
        assert!(found.file_bytes <= found.budget, "{}", shape.name);
        let of_32 = source.tensors().iter().filter(|t| t.spec.shape.len() == 2 && t.cols().is_multiple_of(32)).count();
        assert_eq!(found.types.text().lines().count(), of_32, "{}: {}", shape.name, found.types.text());
        let to = dir.path().join("chosen");
        quantize(&from, "q4_k_m", Options { types: Some(found.types), ..options }, &to).unwrap();
        assert!(says_something(&to), "{}", shape.name);
    }
}
