//! Importance matrices: against llama-imatrix (tests/golden/imatrix.py), both layouts there and back, damaged files, and a run taken up again.

mod common;

use common::tiny;
use nibble_compress::calibrate::{Collect, Entry, Imatrix, ImatrixFault, Texts, collect, texts};
use nibble_compress::method::Method;
use nibble_compress::recipe::Recipe;
use nibble_compress::{Error, Options, plan};
use nibble_container::gguf::{GgufWriter, Metadata, Value};
use nibble_container::{Declared, Dtype};
use nibble_engine::source::Source;
use serde_json::Value as Json;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

fn gather(source: &Source, texts: &Texts, threads: usize) -> Imatrix {
    let cancel = AtomicBool::new(false);
    let how = Collect { threads, resume: None, save_every: Duration::MAX, output: true, progress: &mut |_, _, _| {}, cancel: &cancel };
    collect(source, texts, how).unwrap()
}

fn own(source: &Source, context: usize, chunks: usize) -> Texts {
    Texts::new(source, texts::OWN_NAME, texts::OWN, context, chunks).unwrap()
}

#[test]
fn figures_are_llama_imatrix_s() {
    let golden: Json = serde_json::from_str(include_str!("golden/imatrix.json")).unwrap();
    let source = Source::open(&tiny()).unwrap();
    let ours = gather(&source, &own(&source, 512, 4), 2);
    assert_eq!((ours.chunks, ours.chunk_size), (4, 512));
    let entries = golden["entries"].as_object().unwrap();
    assert_eq!(ours.entries.keys().collect::<Vec<_>>(), entries.keys().collect::<Vec<_>>());
    for (name, theirs) in entries {
        let entry = &ours.entries[name];
        assert_eq!(
            (entry.counts[0] as f64, entry.sums.len()),
            (theirs["count"].as_f64().unwrap(), theirs["columns"].as_u64().unwrap() as usize)
        );
        for (i, x) in theirs["every16"].as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).enumerate() {
            let found = f64::from(entry.sums[16 * i]);
            assert!((found - x).abs() <= 1e-3 * x, "{name} column {}: {found}, llama-imatrix {x}", 16 * i);
        }
        let total: f64 = entry.sums.iter().map(|&x| f64::from(x)).sum();
        assert!((total / theirs["total"].as_f64().unwrap() - 1.0).abs() < 1e-3, "{name}: {total}");
    }
}

/// Each sum has one order, whatever the threads.
#[test]
fn threads_do_not_change_a_bit() {
    let source = Source::open(&tiny()).unwrap();
    let texts = own(&source, 64, 3);
    let one = gather(&source, &texts, 1);
    assert!(one == gather(&source, &texts, 3));
}

#[test]
fn both_layouts_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let mut imatrix = Imatrix { datasets: vec!["a text".into()], chunks: 3, chunk_size: 128, ..Imatrix::default() };
    imatrix.entries.insert("blk.0.ffn_up.weight".into(), Entry { sums: vec![1.5, 0.0, 7.25, 3e9], counts: vec![384] });
    imatrix.entries.insert("blk.1.ffn_gate_exps.weight".into(), Entry { sums: vec![2.0, 4.0, 6.0, 8.0], counts: vec![0, 16] });
    let (gguf, dat) = (dir.path().join("a.gguf"), dir.path().join("a.dat"));
    imatrix.write(&gguf).unwrap();
    imatrix.write_legacy(&dat).unwrap();
    assert_eq!(Imatrix::open(&gguf).unwrap(), imatrix);
    let old = Imatrix::open(&dat).unwrap();
    assert_eq!((&old.datasets, old.chunks), (&imatrix.datasets, 3));
    for (name, entry) in &imatrix.entries {
        // The older layout multiplies by the calls, which may round once each way.
        let close = |a: &f32, b: &f32| (a - b).abs() <= 1e-6 * b.abs();
        assert!(old.entries[name].means().iter().zip(&entry.means()).all(|(a, b)| close(a, b)), "{name}");
    }
    assert_eq!(imatrix.entries["blk.1.ffn_gate_exps.weight"].means(), [1.0, 1.0, 0.375, 0.5], "an expert without inputs counts evenly");
}

#[test]
fn damaged_older_files_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.dat");
    let mut imatrix = Imatrix { datasets: vec!["text".into()], chunks: 1, chunk_size: 16, ..Imatrix::default() };
    for name in ["blk.0.attn_q.weight", "blk.0.ffn_down.weight"] {
        imatrix.entries.insert(name.into(), Entry { sums: vec![1.0; 5], counts: vec![16] });
    }
    imatrix.write_legacy(&path).unwrap();
    let whole = std::fs::read(&path).unwrap();
    let fault = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        match Imatrix::open(&path) {
            Err(Error::Imatrix { path: of, fault }) if of == path => fault,
            other => panic!("{other:?}"),
        }
    };
    // What may be absent are the chunks and the name, both together.
    let trailer = whole.len() - 4 - 4 - 4;
    for end in (0..whole.len()).filter(|&end| end != trailer) {
        let found = fault(&whole[..end]);
        assert!(matches!(found, ImatrixFault::Truncated { .. }), "{end}: {found}");
    }
    std::fs::write(&path, &whole[..trailer]).unwrap();
    assert_eq!(Imatrix::open(&path).unwrap().entries.len(), 2);
    let end_of_first = &whole[..4 + 4 + 19 + 4 + 4 + 3];
    assert_eq!(fault(end_of_first), ImatrixFault::Truncated { what: "the values of blk.0.attn_q.weight".into() });
    let patched = |at: usize, value: i32| {
        let mut bytes = whole.clone();
        bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        bytes
    };
    for (at, value) in [(0, 0), (0, -1), (4, 0), (4, -7), (27, -1), (31, 0), (31, -5)] {
        let found = fault(&patched(at, value));
        assert!(matches!(found, ImatrixFault::Number { found, .. } if found == i64::from(value)), "{at}: {found}");
    }
    // More than there is, without believing it.
    for at in [0, 4, 31] {
        assert!(matches!(fault(&patched(at, i32::MAX)), ImatrixFault::Truncated { .. }), "{at}");
    }
    let nan = fault(&patched(35, f32::NAN.to_bits() as i32));
    assert!(matches!(&nan, ImatrixFault::Tensor { tensor, .. } if tensor == "blk.0.attn_q.weight"), "{nan}");
    assert_eq!(fault(&patched(8, -1)), ImatrixFault::Name { entry: 1 });
}

/// A GGUF with these float tensors.
fn gguf(path: &Path, kind: &str, tensors: &[(&str, &[f32])]) {
    let mut metadata = Metadata::new();
    metadata.set("general.type", Value::String(kind.into()));
    let declared: Vec<Declared> = tensors.iter().map(|(name, x)| Declared::new(*name, &[1, x.len() as u64], Dtype::Ggml(0))).collect();
    let mut writer = GgufWriter::start(std::fs::File::create(path).unwrap(), &metadata, &declared).unwrap();
    for (name, x) in tensors {
        writer.tensor(name, &common::bytes(x)).unwrap();
    }
    writer.finish().unwrap();
}

#[test]
fn damaged_gguf_files_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.gguf");
    let fault = |kind: &str, tensors: &[(&str, &[f32])]| {
        gguf(&path, kind, tensors);
        match Imatrix::open(&path) {
            Err(Error::Imatrix { fault, .. }) => fault,
            other => panic!("{other:?}"),
        }
    };
    let half = |found: &str, missing: &str| ImatrixFault::Half { found: found.into(), missing: missing.into() };
    assert_eq!(fault("imatrix", &[("w.in_sum2", &[1.0])]), half("w.in_sum2", "w.counts"));
    assert_eq!(fault("imatrix", &[("w.counts", &[1.0])]), half("w.counts", "w.in_sum2"));
    assert_eq!(fault("model", &[("w.counts", &[1.0])]), ImatrixFault::OtherKind);
    assert_eq!(fault("imatrix", &[]), ImatrixFault::Empty);
    for (sums, counts) in
        [(&[1.0f32, 2.0, 3.0][..], &[1.0f32, 1.0][..]), (&[f32::NAN], &[1.0]), (&[-1.0], &[1.0]), (&[1.0], &[f32::INFINITY])]
    {
        let found = fault("imatrix", &[("w.in_sum2", sums), ("w.counts", counts)]);
        assert!(matches!(&found, ImatrixFault::Tensor { tensor, .. } if tensor.starts_with("w.")), "{found}");
    }
    // A file that ends early is the container's fault to name.
    gguf(&path, "imatrix", &[("w.in_sum2", &[1.0; 64]), ("w.counts", &[1.0])]);
    let whole = std::fs::read(&path).unwrap();
    for end in [5, 40, 120, whole.len() - 40] {
        std::fs::write(&path, &whole[..end]).unwrap();
        assert!(matches!(Imatrix::open(&path), Err(Error::Container(_))), "{end}");
    }
}

#[test]
fn an_imatrix_of_another_model_is_refused() {
    let source = Source::open(&tiny()).unwrap();
    let method = Method::by_name("imatrix").unwrap();
    let with = |name: &str, columns: usize| {
        let mut imatrix = Imatrix::default();
        imatrix.entries.insert(name.into(), Entry { sums: vec![1.0; columns], counts: vec![1] });
        let options = Options { method, imatrix: Some(Arc::new(imatrix)), imatrix_name: "stats".into(), ..Options::default() };
        plan(&source, Recipe::by_name("q4_k_m").unwrap(), options)
    };
    let found = with("blk.2.ffn_down.weight", 767).err().unwrap();
    assert!(matches!(&found, Error::ImatrixColumns { tensor, found: 767, expected: 768 } if tensor == "blk.2.ffn_down.weight"), "{found}");
    let found = with("blk.9.ffn_down.weight", 768).err().unwrap();
    assert!(
        matches!(&found, Error::Imatrix { fault: ImatrixFault::OtherModel { first }, .. } if first == "blk.9.ffn_down.weight"),
        "{found}"
    );
    // One matrix of 42 is enough; the others are told.
    assert_eq!(with("blk.2.ffn_down.weight", 768).unwrap().unweighted().len(), 41);
    let none = plan(&source, Recipe::by_name("q4_k_m").unwrap(), Options { method, ..Options::default() });
    assert!(matches!(none, Err(Error::NoImatrix { method: "imatrix" })));
    let none =
        plan(&source, Recipe::by_name("q4_k_m").unwrap(), Options { method: Method::by_name("gptq").unwrap(), ..Options::default() });
    assert!(matches!(none, Err(Error::NoTexts { method: "gptq" })));
}

#[test]
fn a_stopped_run_is_taken_up() {
    let dir = tempfile::tempdir().unwrap();
    let saved = dir.path().join("saved");
    let source = Source::open(&tiny()).unwrap();
    let texts = own(&source, 64, 3);
    let cancel = AtomicBool::new(false);
    let run = |texts: &Texts, progress: &mut dyn FnMut(u64, u64, usize)| {
        let how = Collect { threads: 2, resume: Some(&saved), save_every: Duration::ZERO, output: false, progress, cancel: &cancel };
        collect(&source, texts, how)
    };
    // Stopped within the fourth layer: three are saved.
    let stopped = run(&texts, &mut |_, _, layer| cancel.store(layer == 3, Ordering::Relaxed));
    assert!(matches!(stopped, Err(Error::Cancelled)));
    cancel.store(false, Ordering::Relaxed);
    let mut first = None;
    let again = run(&texts, &mut |_, _, layer| _ = first.get_or_insert(layer)).unwrap();
    assert_eq!(first, Some(3));
    assert!(again == gather(&source, &texts, 2));
    // What was saved of other texts, or is no such file, is as if it were not there.
    let mut first = None;
    run(&own(&source, 64, 2), &mut |_, _, layer| _ = first.get_or_insert(layer)).unwrap();
    assert_eq!(first, Some(0));
    std::fs::write(&saved, b"something else").unwrap();
    let mut first = None;
    run(&texts, &mut |_, _, layer| _ = first.get_or_insert(layer)).unwrap();
    assert_eq!(first, Some(0));
}

#[test]
fn a_text_of_less_than_a_chunk_is_refused() {
    let source = Source::open(&tiny()).unwrap();
    assert!(matches!(Texts::new(&source, "note", "Too short.", 512, 9), Err(Error::ShortText { context: 512, .. })));
}
