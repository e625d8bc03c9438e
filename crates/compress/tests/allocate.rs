//! Types by measurement, on the embedded model: bytes are kept, what is measured is kept, and the choice is worth it.

mod common;

use common::tiny;
use nibble_compress::allocate::{Allocation, Budget, How, Types, allocate};
use nibble_compress::calibrate::{Texts, texts};
use nibble_compress::recipe::Recipe;
use nibble_compress::synth::{Shape, write};
use nibble_compress::{Control, Error, Method, Options, plan, run};
use nibble_engine::source::Source;
use nibble_engine::{Model, Options as Run};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// `best`, with a part of the text that ships.
fn best(source: &Source, chunks: usize) -> Options {
    let texts = Texts::new(source, texts::OWN_NAME, texts::OWN, 128, chunks).unwrap();
    Options { method: Method::by_name("best").unwrap(), texts: Some(Arc::new(texts)), ..Options::default() }
}

fn recipe() -> &'static Recipe {
    Recipe::by_name("q4_k_m").unwrap()
}

/// An allocation, and how many matrices were measured for it.
fn found(source: &Source, options: &Options, budget: &str, threads: usize, keep: Option<&Path>) -> (Result<Allocation, Error>, usize) {
    let mut measured = 0;
    let mut progress = |_: usize, _: usize, _: &str| measured += 1;
    let how = How { threads, keep, progress: &mut progress, cancel: &AtomicBool::new(false) };
    let allocation = allocate(source, recipe(), options, Budget::parse(budget).unwrap(), how);
    (allocation, measured)
}

/// Mean divergence of a file from the embedded model, on a text that nothing was calibrated on.
fn divergence(file: &Path) -> f64 {
    let open = |path: &Path| Model::open(path, Run { context: Some(256), threads: Some(2), ..Run::default() }).unwrap();
    let (before, after) = (open(&tiny()), open(file));
    let text = Texts::new(before.source(), "README", include_str!("../../../README.md"), 256, 6).unwrap();
    let logs = |model: &Model, ids: &[u32]| {
        let mut rows = Vec::new();
        let mut each = |_: usize, logits: &[f32]| {
            let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let sum = logits.iter().map(|x| (x - most).exp()).sum::<f32>().ln();
            rows.extend(logits.iter().map(|x| x - most - sum));
        };
        model.session().unwrap().feed_each(ids, &mut each).unwrap();
        rows
    };
    let of = |ids: &Vec<u32>| {
        let (p, q) = (logs(&before, ids), logs(&after, ids));
        p.iter().zip(&q).map(|(p, q)| f64::from(p.exp() * (p - q))).sum::<f64>() / ids.len() as f64
    };
    text.chunks.iter().map(of).sum::<f64>() / text.chunks.len() as f64
}

#[test]
fn the_choice_is_better_than_the_recipe_in_as_many_bytes_and_the_sum_foretells_it() {
    let dir = tempfile::tempdir().unwrap();
    let source = Source::open(&tiny()).unwrap();
    let options = best(&source, 8);
    let keep = dir.path().join("kept.json");
    let own = |out: &Path, options: Options| {
        let plan = plan(&source, recipe(), options).unwrap();
        run(&source, &plan, out, Control { threads: 2, progress: &mut |_| {}, cancel: &AtomicBool::new(false) }).unwrap().file_bytes
    };
    let plain = dir.path().join("plain.gguf");
    let bytes = own(&plain, options.clone());

    let (chosen, measured) = found(&source, &options, "same-as:q4_k_m", 2, Some(&keep));
    let chosen = chosen.unwrap();
    assert_eq!(measured, 43, "the matrices of six layers and the embedding");
    assert_eq!(chosen.budget, bytes);
    let file = dir.path().join("best.gguf");
    let made = own(&file, Options { types: Some(chosen.types.clone()), ..options.clone() });
    assert_eq!(made, chosen.file_bytes);
    assert_eq!(made, std::fs::metadata(&file).unwrap().len());
    // Nothing smaller than a row's next type is left over.
    assert!(made <= bytes && bytes - made < 64 << 10, "{made} of {bytes}");
    let (recipes, chosens) = (divergence(&plain), divergence(&file));
    assert!(chosens < recipes, "{chosens}, by the recipe {recipes}");
    let expected = chosen.of_recipe.unwrap();
    assert!(chosen.expected < expected);
    // Another text, and gptq on inputs of quantized layers: the sum is of the same size, not the same.
    assert!((0.3..3.0).contains(&(recipes / expected)), "{recipes}, expected {expected}");

    // More bytes, less divergence; and nothing is measured again.
    let mut before = f64::INFINITY;
    for budget in ["2900000", "3.3MB", "same-as:q4_0", "5.5bpw", "5MB", "1GB"] {
        let (other, measured) = found(&source, &options, budget, 2, Some(&keep));
        let other = other.unwrap();
        assert_eq!(measured, 0);
        assert!(other.file_bytes <= other.budget && other.expected < before, "{budget}: {} nats", other.expected);
        before = other.expected;
    }
    let (tight, _) = found(&source, &options, "1MB", 2, Some(&keep));
    let Err(Error::Budget { budget: 1_000_000, least }) = tight else { panic!("{:?}", tight.map(|t| t.file_bytes)) };
    // What cannot be is said before anything is measured.
    let (early, measured) = found(&source, &options, "1MB", 2, None);
    assert!(measured == 0 && matches!(early, Err(Error::Budget { least: said, .. }) if said == least));
    let (just, _) = found(&source, &options, &least.to_string(), 2, Some(&keep));
    let just = just.unwrap();
    assert!(just.file_bytes <= least && just.types.text().lines().all(|line| line.ends_with("=q2_k")), "{}", just.types.text());
    assert!(found(&source, &options, &(just.file_bytes - 1).to_string(), 2, Some(&keep)).0.is_err());
}

#[test]
fn a_stopped_measurement_goes_on_to_the_same_end() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &Shape::by_name("tiny").unwrap(), 1, 2).unwrap();
    let source = Source::open(dir.path()).unwrap();
    let options = best(&source, 4);
    let (whole, all) = found(&source, &options, "same-as:q4_k_m", 3, None);
    let whole = whole.unwrap();

    let keep = dir.path().join("kept.json");
    let cancel = AtomicBool::new(false);
    let mut progress = |done: usize, total: usize, _: &str| {
        assert_eq!(total, all);
        cancel.store(done == 5, Ordering::Relaxed);
    };
    let how = How { threads: 1, keep: Some(&keep), progress: &mut progress, cancel: &cancel };
    let stopped = allocate(&source, recipe(), &options, Budget::parse("same-as:q4_k_m").unwrap(), how);
    assert!(matches!(stopped, Err(Error::Cancelled)));
    let (rest, measured) = found(&source, &options, "same-as:q4_k_m", 1, Some(&keep));
    let rest = rest.unwrap();
    assert_eq!(measured, all - 5);
    assert_eq!(rest.types.text(), whole.types.text());
    assert!(rest.measured == whole.measured, "one thread, three threads");
}

#[test]
fn kept_measurements_of_something_else_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let source = Source::open(&tiny()).unwrap();
    let keep = dir.path().join("kept.json");
    let options = best(&source, 1);
    found(&source, &options, "same-as:q4_k_m", 2, Some(&keep)).0.unwrap();
    let before = std::fs::read(&keep).unwrap();

    let other_text = best(&source, 2);
    let other_method = Options { method: Method::by_name("rtn").unwrap(), ..options.clone() };
    for other in [other_text, other_method] {
        let Err(error) = found(&source, &other, "same-as:q4_k_m", 2, Some(&keep)).0 else { panic!("taken") };
        assert!(error.to_string().contains("kept.json: these are measurements of "), "{error}");
    }
    assert!(std::fs::read(&keep).unwrap() == before);
    std::fs::write(&keep, &before[..before.len() / 2]).unwrap();
    let Err(error) = found(&source, &options, "same-as:q4_k_m", 2, Some(&keep)).0 else { panic!("taken") };
    assert!(error.to_string().contains("kept.json: these are no measurements"), "{error}");
    let without = Options { texts: None, ..options };
    assert!(matches!(found(&source, &without, "same-as:q4_k_m", 2, None).0, Err(Error::NoTexts { .. })));
}

/// Both matrices outside the layers are items of their own, and each is measured with the other as it was.
#[test]
fn an_output_matrix_of_its_own_is_measured() {
    let dir = tempfile::tempdir().unwrap();
    let tiny = Shape::by_name("tiny").unwrap();
    write(dir.path(), &Shape { tied: false, ..tiny }, 1, 2).unwrap();
    let source = Source::open(dir.path()).unwrap();
    let (chosen, measured) = found(&source, &best(&source, 4), "same-as:q4_k_m", 2, None);
    let chosen = chosen.unwrap();
    assert_eq!(measured, 2 * 7 + 2);
    for name in ["token_embd.weight", "output.weight"] {
        assert!(chosen.measured[name].kl > 0.0, "{name}: {}", chosen.measured[name].kl);
        assert!(chosen.types.text().contains(&format!("{name}=")));
    }
}

#[test]
fn a_list_is_carried_out() {
    let dir = tempfile::tempdir().unwrap();
    let source = Source::open(&tiny()).unwrap();
    let types = Types::parse("list", "blk.0.attn_v=q8_0\nattn_v=iq4_xs\nffn_down=q5_k\n").unwrap();
    let plan = plan(&source, recipe(), Options { types: Some(Arc::new(types)), ..Options::default() }).unwrap();
    let type_of = |name: &str| plan.steps.iter().find(|s| s.name == name).unwrap().to.name;
    for (name, wanted) in [
        ("blk.0.attn_v.weight", "Q8_0"),
        ("blk.1.attn_v.weight", "IQ4_XS"),
        ("blk.5.ffn_down.weight", "Q5_K"),
        ("blk.5.ffn_up.weight", "Q4_K"),
    ] {
        assert_eq!(type_of(name), wanted, "{name}");
    }
    let out = dir.path().join("out.gguf");
    run(&source, &plan, &out, Control { threads: 2, progress: &mut |_| {}, cancel: &AtomicBool::new(false) }).unwrap();
    let made = Source::open(&out).unwrap();
    assert_eq!(made.type_name(made.get("blk.1.attn_v.weight").unwrap()), "IQ4_XS");
}
