//! Second moments in a file: against a direct sum, a run taken up again, gptq from the file against gptq in one run, and files that are none.

mod common;

use common::{bytes, quantize, tiny};
use nibble_compress::calibrate::second_moments::{self, Gather};
use nibble_compress::calibrate::{SecondMoments, Texts, texts};
use nibble_compress::gptq::{Inputs, Knobs};
use nibble_compress::method::{GPTQ, Method};
use nibble_compress::recipe::Recipe;
use nibble_compress::{Error, Options, plan};
use nibble_container::gguf::{GgufWriter, Metadata, Value};
use nibble_container::{Checkpoint, Declared, Dtype};
use nibble_engine::source::Source;
use nibble_engine::walk::{Site, Walk};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

fn own(source: &Source, chunks: usize) -> Texts {
    Texts::new(source, texts::OWN_NAME, texts::OWN, 64, chunks).unwrap()
}

fn gather(source: &Source, texts: &Texts, out: &Path, threads: usize, only: &[&str]) -> Result<u64, Error> {
    let only: Vec<String> = only.iter().map(|part| part.to_string()).collect();
    let (progress, cancel) = (&mut |_, _, _| {}, &AtomicBool::new(false));
    second_moments::gather(source, texts, out, Gather { threads, only: &only, save_every: Duration::MAX, progress, cancel })
}

/// A tensor of floats.
fn floats(file: &Checkpoint, name: &str) -> Vec<f32> {
    file.get(name).unwrap().bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
}

/// The sum over rows of their outer products, lower triangle.
fn direct(rows: &[Vec<f64>]) -> Vec<f64> {
    let n = rows[0].len();
    let element = |i: usize, j: usize| rows.iter().map(|row| row[i] * row[j]).sum::<f64>();
    (0..n).flat_map(|i| (0..=i).map(move |j| (i, j))).map(|(i, j)| element(i, j)).collect()
}

#[test]
fn sums_are_those_of_the_definition() {
    let dir = tempfile::tempdir().unwrap();
    let (source, out) = (Source::open(&tiny()).unwrap(), dir.path().join("moments.gguf"));
    // More texts than are few: the head takes one in four.
    let texts = own(&source, 9);
    let length = gather(&source, &texts, &out, 2, &[]).unwrap();
    assert_eq!(length, std::fs::metadata(&out).unwrap().len());
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "only the file is left");
    let file = Checkpoint::open(&out).unwrap();
    let (layers, dim) = (source.config().layers, source.config().dim);
    assert_eq!(file.len(), 4 * layers + 1);

    let mut walk = Walk::new(&source, 2).unwrap();
    let mut hidden: Vec<Vec<f32>> = texts.chunks.iter().map(|ids| walk.embed(ids)).collect();
    for i in 0..layers {
        let layer = walk.layer(i).unwrap();
        let mut fed: [Vec<Vec<f64>>; 4] = Default::default();
        for x in &mut hidden {
            let mut watch = |site: Site, rows: &[f32], x: &[f32]| {
                let cols = rows.len() / (x.len() / dim);
                for (row, x) in rows.chunks_exact(cols).zip(x.chunks_exact(dim)) {
                    let square = x.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>() / dim as f64;
                    let weight = if matches!(site, Site::Output | Site::Down) { 1.0 / square.sqrt() } else { 1.0 };
                    fed[site as usize].push(row.iter().map(|v| f64::from(*v) * weight).collect());
                }
                true
            };
            walk.forward(&layer, x, Some(&mut watch));
        }
        // Every layer would be slow and say no more.
        for site in Site::ALL.into_iter().filter(|_| i == 1 || i + 1 == layers) {
            same(&file, &format!("blk.{i}.{}.weight", site.matrices()[0]), &fed[site as usize]);
        }
    }
    let rows =
        |x: &Vec<f32>| walk.last_norm(x).chunks_exact(dim).map(|row| row.iter().map(|v| f64::from(*v)).collect()).collect::<Vec<_>>();
    same(&file, "token_embd.weight", &hidden.iter().step_by(4).flat_map(rows).collect::<Vec<_>>());
    let metadata = file.metadata().unwrap();
    assert_eq!(metadata.get::<u64>("second_moments.tokens").unwrap(), 9 * 64);
    assert_eq!(metadata.get::<u64>("second_moments.head_tokens").unwrap(), 3 * 64);
}

fn same(file: &Checkpoint, matrix: &str, rows: &[Vec<f64>]) {
    let (found, wanted) = (floats(file, &format!("{matrix}.in_moments")), direct(rows));
    assert_eq!(found.len(), wanted.len(), "{matrix}");
    let n = rows[0].len();
    let diagonal: Vec<f64> = (0..n).map(|i| wanted[i * (i + 3) / 2]).collect();
    for i in 0..n {
        for j in 0..=i {
            let (a, b) = (f64::from(found[i * (i + 1) / 2 + j]), wanted[i * (i + 1) / 2 + j]);
            // Sums of some hundred terms in single precision, each no larger than its columns' own.
            assert!((a - b).abs() <= 1e-5 * (diagonal[i] * diagonal[j]).sqrt(), "{matrix} ({i}, {j}): {a}, {b}");
        }
    }
}

#[test]
fn a_stopped_run_is_taken_up() {
    let dir = tempfile::tempdir().unwrap();
    let source = Source::open(&tiny()).unwrap();
    let (texts, out, whole) = (own(&source, 3), dir.path().join("a.gguf"), dir.path().join("whole.gguf"));
    gather(&source, &texts, &whole, 1, &[]).unwrap();
    let cancel = AtomicBool::new(false);
    let run = |texts: &Texts, progress: &mut dyn FnMut(u64, u64, usize)| {
        second_moments::gather(
            &source,
            texts,
            &out,
            Gather { threads: 3, only: &[], save_every: Duration::ZERO, progress, cancel: &cancel },
        )
    };
    let stop = || {
        let stopped = run(&texts, &mut |_, _, layer| cancel.store(layer == 3, Ordering::Relaxed));
        assert!(matches!(stopped, Err(Error::Cancelled)) && !out.exists());
        cancel.store(false, Ordering::Relaxed);
    };
    let first = |texts: &Texts| {
        let mut first = None;
        run(texts, &mut |_, _, layer| _ = first.get_or_insert(layer)).unwrap();
        first.unwrap()
    };
    // Within the fourth layer: three are there, and what was begun after them is cut off.
    stop();
    let part = dir.path().join("a.gguf.part");
    let mut more = std::fs::read(&part).unwrap();
    more.extend([7; 1000]);
    std::fs::write(&part, &more).unwrap();
    assert_eq!(first(&texts), 3);
    let read = |path: &Path| std::fs::read(path).unwrap();
    assert!(read(&out) == read(&whole), "not the bytes of one run, with one thread");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
    // Of another text, a part that is too short, a state that is none: from the beginning.
    std::fs::remove_file(&out).unwrap();
    stop();
    assert_eq!(first(&own(&source, 2)), 0);
    std::fs::remove_file(&out).unwrap();
    stop();
    std::fs::write(&part, &read(&part)[..5000]).unwrap();
    assert_eq!(first(&texts), 0);
    assert!(read(&out) == read(&whole));
    std::fs::remove_file(&out).unwrap();
    stop();
    std::fs::write(dir.path().join("a.gguf.resume"), b"something else").unwrap();
    assert_eq!(first(&texts), 0);
    assert!(read(&out) == read(&whole));
}

fn gptq(inputs: Inputs) -> &'static Method {
    let method = Method::by_name("gptq").unwrap();
    Box::leak(Box::new(Method { knobs: Some(Knobs { inputs, ..GPTQ }), ..*method }))
}

/// The file holds all that the text has to say to a run whose inputs are the original model's.
#[test]
fn gptq_from_the_file_is_gptq_in_one_run() {
    let dir = tempfile::tempdir().unwrap();
    let source = Source::open(&tiny()).unwrap();
    let (texts, moments) = (Arc::new(own(&source, 9)), dir.path().join("moments.gguf"));
    gather(&source, &texts, &moments, 2, &[]).unwrap();
    let stored = Some(Arc::new(SecondMoments::open(&moments).unwrap()));
    for (recipe, file) in [("q4_k_m", ""), ("nf4", "model.safetensors")] {
        let make = |name: &str, options: Options| {
            let out = dir.path().join(format!("{recipe}-{name}"));
            quantize(&tiny(), recipe, options, &out).unwrap();
            std::fs::read(if file.is_empty() { out } else { out.join(file) }).unwrap()
        };
        let one = make("one", Options { method: gptq(Inputs::Original), texts: Some(texts.clone()), ..Options::default() });
        // Whatever the method does with inputs of its own.
        let from_file =
            make("file", Options { method: Method::by_name("gptq").unwrap(), second_moments: stored.clone(), ..Options::default() });
        assert!(one == from_file, "{recipe}");
        let through = make("through", Options { method: gptq(Inputs::Site), texts: Some(texts.clone()), ..Options::default() });
        assert!(one != through, "{recipe}: inputs through quantized layers are others");
    }
}

#[test]
fn a_part_of_the_matrices_can_be_chosen() {
    let dir = tempfile::tempdir().unwrap();
    let source = Source::open(&tiny()).unwrap();
    let (texts, all, some) = (own(&source, 2), dir.path().join("all.gguf"), dir.path().join("some.gguf"));
    gather(&source, &texts, &all, 2, &[]).unwrap();
    // attn_v goes with the input that attn_q gives its name.
    gather(&source, &texts, &some, 2, &["blk.5.attn_v", "ffn_down"]).unwrap();
    let (a, b) = (Checkpoint::open(&all).unwrap(), Checkpoint::open(&some).unwrap());
    let mut names: Vec<String> = (0..6).map(|i| format!("blk.{i}.ffn_down.weight.in_moments")).collect();
    names.insert(5, "blk.5.attn_q.weight.in_moments".into());
    assert_eq!(b.tensors().map(|view| view.name.to_owned()).collect::<Vec<_>>(), names);
    assert!(names.iter().all(|name| a.get(name).unwrap().bytes == b.get(name).unwrap().bytes));
    assert!(
        matches!(gather(&source, &texts, &some, 2, &["ffn_down", "ffn_dwon"]), Err(Error::NoSuchMatrix { pattern }) if pattern == "ffn_dwon")
    );

    // What is not in the file is rounded in the plain way, and said.
    let stored = Arc::new(SecondMoments::open(&some).unwrap());
    let options = Options { method: Method::by_name("gptq").unwrap(), second_moments: Some(stored.clone()), ..Options::default() };
    let planned = plan(&source, Recipe::by_name("q4_k_m").unwrap(), options.clone()).unwrap();
    let lacks = stored.lacks(&planned);
    assert_eq!(lacks.len(), 1 + 5 * 6 + 3, "{lacks:?}");
    assert!(lacks.contains(&"token_embd.weight") && lacks.contains(&"blk.0.attn_q.weight") && !lacks.contains(&"blk.5.attn_k.weight"));
    let (made, plain) = (dir.path().join("made.gguf"), dir.path().join("plain.gguf"));
    quantize(&tiny(), "q4_k_m", options, &made).unwrap();
    quantize(&tiny(), "q4_k_m", Options::default(), &plain).unwrap();
    let (made, plain) = (Checkpoint::open(&made).unwrap(), Checkpoint::open(&plain).unwrap());
    for (a, b) in made.tensors().zip(plain.tensors()).filter(|(a, _)| a.shape.len() == 2) {
        assert_eq!(a.bytes == b.bytes, lacks.contains(&a.name), "{}", a.name);
    }
}

/// A file with these keys and tensors.
fn write(path: &Path, keys: &[(&str, Value)], tensors: &[(&str, Vec<f32>)]) {
    let mut metadata = Metadata::new();
    keys.iter().for_each(|(key, value)| metadata.set(key, value.clone()));
    let declared: Vec<Declared> = tensors.iter().map(|(name, x)| Declared::new(*name, &[x.len() as u64], Dtype::Ggml(0))).collect();
    let mut writer = GgufWriter::start(std::fs::File::create(path).unwrap(), &metadata, &declared).unwrap();
    tensors.iter().for_each(|(name, x)| writer.tensor(name, &bytes(x)).unwrap());
    writer.finish().unwrap();
}

fn keys() -> Vec<(&'static str, Value)> {
    let number = |key, n| (key, Value::U64(n));
    vec![
        ("general.type", Value::String("second-moments".into())),
        ("second_moments.version", Value::U32(1)),
        number("second_moments.tokens", 64),
        number("second_moments.head_tokens", 64),
        ("second_moments.chunk_count", Value::U32(1)),
    ]
}

/// The lower triangle of a diagonal matrix.
fn triangle(n: usize, diagonal: f32) -> Vec<f32> {
    (0..n).flat_map(|i| (0..=i).map(move |j| if i == j { diagonal } else { 0.0 })).collect()
}

#[test]
fn files_that_are_none_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.gguf");
    const NAME: &str = "blk.0.attn_q.weight.in_moments";
    let opened = |keys: &[(&str, Value)], tensors: &[(&str, Vec<f32>)]| {
        write(&path, keys, tensors);
        match SecondMoments::open(&path) {
            Ok(_) => String::new(),
            Err(Error::SecondMoments { path: of, what }) if of == path => what,
            Err(other) => panic!("{other}"),
        }
    };
    let good = [(NAME, triangle(256, 1.0))];
    assert_eq!(opened(&keys(), &good), "");
    assert!(opened(&keys(), &[]).contains("no entries"));
    for missing in 0..keys().len() {
        let mut keys = keys();
        let (key, _) = keys.remove(missing);
        let what = opened(&keys, &good);
        assert!(if missing == 0 { what.contains("no file of second moments") } else { what.contains(key) }, "{key}: {what}");
    }
    let with = |key: &str, value: Value| keys().into_iter().map(|(k, v)| (k, if k == key { value.clone() } else { v })).collect::<Vec<_>>();
    assert!(opened(&with("general.type", Value::String("imatrix".into())), &good).contains("no file of second moments"));
    assert!(opened(&with("second_moments.version", Value::U32(2)), &good).contains("its version is 2"));
    assert!(opened(&with("second_moments.tokens", Value::U64(0)), &good).contains("second_moments.tokens"));
    // No triangle, and one of a matrix whose columns are no multiple of 16.
    for bad in [1, 135, 137, 8 * 9 / 2] {
        assert!(opened(&keys(), &[(NAME, vec![1.0; bad])]).contains(NAME), "{bad}");
    }
    // Cut anywhere: the container says it.
    let whole = {
        opened(&keys(), &good);
        std::fs::read(&path).unwrap()
    };
    for end in (0..whole.len()).step_by(997) {
        std::fs::write(&path, &whole[..end]).unwrap();
        assert!(SecondMoments::open(&path).is_err(), "{end}");
    }

    // What only shows when it is used.
    let source = Source::open(&tiny()).unwrap();
    let used = |tensors: &[(&str, Vec<f32>)]| {
        write(&path, &keys(), tensors);
        let stored = Some(Arc::new(SecondMoments::open(&path).unwrap()));
        let out = dir.path().join("out.gguf");
        let method = Method::by_name("gptq").unwrap();
        let error = quantize(&tiny(), "q4_0", Options { method, second_moments: stored, ..Options::default() }, &out).unwrap_err();
        assert!(!out.exists());
        error.to_string()
    };
    assert!(used(&[(NAME, triangle(512, 1.0))]).contains("is of 512 columns, the matrix has 256"));
    assert!(used(&[("blk.77.attn_q.weight.in_moments", triangle(256, 1.0))]).contains("none of its entries"));
    for bad in [f32::NAN, f32::INFINITY] {
        let mut x = triangle(256, 1.0);
        x[5 * 6 / 2 + 2] = bad;
        assert!(used(&[(NAME, x)]).contains("row 5"), "{bad}");
    }
    assert!(used(&[(NAME, triangle(256, -1.0))]).contains("row 0"));
    // Finite, but no sums of squares: two columns have more in common than either has by itself.
    let mut x = triangle(256, 1.0);
    x[5 * 6 / 2 + 2] = 9.0;
    assert!(used(&[(NAME, x)]).contains("not positive definite"));

    write(&path, &keys(), &good);
    let stored = Some(Arc::new(SecondMoments::open(&path).unwrap()));
    for name in ["awq", "smoothquant", "rtn"] {
        let method = Method::by_name(name).unwrap();
        let error =
            plan(&source, Recipe::by_name("q4_0").unwrap(), Options { method, second_moments: stored.clone(), ..Options::default() }).err();
        assert!(matches!(error, Some(Error::TakesNoMoments { method }) if method == name), "{name}");
    }
}
