//! `nibble eval` from end to end: what it writes, what it goes on from, and what it refuses.

mod common;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use common::{arg, command, files_below, nibble, nibble_in, tiny};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

fn model(dir: &Path, kind: &str) -> PathBuf {
    let path = dir.join(format!("{kind}.gguf"));
    nibble(&["quantize", arg(&tiny()), "-t", kind, "-o", arg(&path), "--quiet"]).exits(0);
    path
}

/// A text that has many chunks of few tokens.
fn text(dir: &Path, lines: usize) -> PathBuf {
    let path = dir.join("text.txt");
    let line = |i: usize| format!("On day {i} the rabbit went to the river, and said that {} birds had come over the hill.\n", i * i % 97);
    std::fs::write(&path, (0..lines).map(line).collect::<String>()).unwrap();
    path
}

/// A path in the directory as an argument, kept until the test ends.
fn kept(dir: &Path, name: &str) -> &'static str {
    arg(&dir.join(name)).to_string().leak()
}

#[test]
fn shards_that_are_merged_are_the_run_of_one_machine() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| kept(dir.path(), name);
    let tiny = tiny();
    let (model, text) = (model(dir.path(), "q8_0"), text(dir.path(), 60));
    let eval = ["eval", "kl", arg(&model), "--reference", arg(&tiny), "--text", arg(&text), "-c", "64", "--quiet"];
    let run = |more: &[&str]| nibble(&[&eval, more].concat()).exits(0);
    let whole = run(&["-o", at("whole.json"), "--json"]);
    run(&["-o", at("0.json"), "--shard", "0/3", "--threads", "1"]);
    run(&["-o", at("1.json"), "--shard", "1/3"]);
    let two = ["eval", "merge", at("1.json"), at("0.json")];
    nibble(&two).exits(1).says(&["chunks are there"]);
    run(&["-o", at("2.json"), "--shard", "2/3"]);
    let merged = nibble(&[&two[..], &[at("2.json"), "-o", at("merged.json"), "--json"]].concat()).exits(0);
    assert_eq!(merged.stdout, whole.stdout);
    assert!(std::fs::read(at("merged.json")).unwrap() == std::fs::read(at("whole.json")).unwrap());
    let figures = whole.json();
    assert!(
        figures["divergence"]["kl"]["value"].as_f64().unwrap() > 0.0
            && figures["perplexity"]["bits_per_byte"]["value"].as_f64().unwrap() > 0.0
    );
    assert_eq!(figures["chunks_scored"], figures["text"]["chunks"]);
    // It is there already; nothing else is.
    nibble(&[&eval[..], &["-o", at("whole.json")]].concat()).exits(1).says(&["exists already", "--force"]);
    let files = ["0.json", "1.json", "2.json", "merged.json", "q8_0.gguf", "text.txt", "whole.json"];
    assert_eq!(files_below(dir.path()), files);
}

#[test]
fn an_interrupted_run_goes_on_and_ends_with_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| kept(dir.path(), name);
    let (model, text) = (model(dir.path(), "q4_0"), text(dir.path(), 400));
    let eval = |name: &str| {
        let (json, base) = (at(&format!("{name}.json")), at(&format!("{name}.base")));
        let words = ["eval", "perplexity", arg(&model), "--text", arg(&text), "-c", "128", "--threads", "1", "-o", json];
        let base = ["--save-base", base, "--compact"];
        words.iter().chain(&base).map(|s| s.to_string()).collect::<Vec<_>>()
    };
    let args = eval("a");
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let mut child = command(&args).stderr(std::process::Stdio::null()).stdout(std::process::Stdio::null()).spawn().unwrap();
    let start = Instant::now();
    while !Path::new(at("a.json.part")).exists() {
        assert!(start.elapsed() < Duration::from_secs(120), "no state");
        std::thread::sleep(Duration::from_millis(5));
    }
    kill(Pid::from_raw(child.id() as i32), Signal::SIGINT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(files_below(dir.path()), ["a.base.part", "a.json.part", "q4_0.gguf", "text.txt"]);
    // Another text's state is not gone on from.
    nibble(&[&args[..], &["--chunks", "3"]].concat()).exits(1).says(&["a.json.part was left by another run", "rm "]);
    nibble(&args).exits(0).says(&["going on after"]);
    let args = eval("b");
    nibble(&args.iter().map(String::as_str).collect::<Vec<_>>()).exits(0);
    for ending in ["json", "base"] {
        assert!(std::fs::read(at(&format!("a.{ending}"))).unwrap() == std::fs::read(at(&format!("b.{ending}"))).unwrap(), "{ending}");
    }
    assert_eq!(files_below(dir.path()), ["a.base", "a.json", "b.base", "b.json", "q4_0.gguf", "text.txt"]);
}

/// Base files that shards wrote become the one that a single run writes, and the runs that run; more shards than chunks do no harm.
#[test]
fn base_files_of_shards_are_joined() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| kept(dir.path(), name);
    let (model, text) = (tiny(), text(dir.path(), 60));
    for (kind, more) in [("llama", &[][..]), ("compact", &["--compact"][..])] {
        let name = |what: &str| format!("{kind}-{what}");
        let run = |what: &str, shard: &str| {
            let (json, base) = (at(&name(&format!("{what}.json"))), at(&name(&format!("{what}.base"))));
            let words = ["eval", "perplexity", arg(&model), "--text", arg(&text), "-c", "64", "--chunks", "3", "--shard", shard, "-q"];
            nibble(&[&words[..], &["-o", json, "--save-base", base], more].concat()).exits(0);
        };
        run("whole", "0/1");
        (0..4).for_each(|i| run(&i.to_string(), &format!("{i}/4")));
        assert!(!Path::new(at(&name("0.base"))).exists(), "a shard without a chunk has nothing to say");
        // In no order.
        let files = ["2.base", "0.json", "3.json", "1.base", "2.json", "1.json"].map(|file| at(&name(file)));
        let merge = |files: &[&str], out: &str| {
            let (json, base) = (at(&name(&format!("{out}.json"))), at(&name(&format!("{out}.base"))));
            nibble(&[&["eval", "merge"], files, &["-o", json, "--save-base", base]].concat())
        };
        let all = [&files[..], &[at(&name("3.base"))]].concat();
        merge(&all, "merged").exits(0);
        for ending in ["json", "base"] {
            let [merged, whole] = ["merged", "whole"].map(|what| std::fs::read(at(&name(&format!("{what}.{ending}")))).unwrap());
            assert!(merged == whole, "{kind} {ending}");
        }
        // What does not belong together, and what is missing; nothing is left of it.
        merge(&files, "none").exits(1).says(&["of the 3 base files that they wrote, one is not here"]);
        merge(&[&all[..], &[at(&name("whole.base"))]].concat(), "none").exits(1).says(&["was written by none of them"]);
        nibble(&[&["eval", "merge"], &all[..]].concat()).exits(2).says(&["is a base file", "--save-base"]);
        merge(&all, "merged").exits(1).says(&["exists already"]);
        assert!(!Path::new(at(&name("none.base"))).exists() && !Path::new(at(&name("none.json"))).exists());
    }
    let bare = ["eval", "perplexity", arg(&model), "--text", arg(&text), "-c", "64", "--chunks", "3", "-q", "-o", at("bare.json")];
    nibble(&bare).exits(0);
    nibble(&["eval", "merge", at("bare.json"), "--save-base", at("none.base")]).exits(1).says(&["shard 0/1 wrote no base file"]);
}

#[test]
fn two_models_are_compared_beside_one_base() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| kept(dir.path(), name);
    let tiny = tiny();
    let (near, far, text) = (model(dir.path(), "q8_0"), model(dir.path(), "q4_0"), text(dir.path(), 60));
    let save = ["eval", "perplexity", arg(&tiny), "--text", arg(&text), "-c", "64", "--save-base", at("llama.base"), "-q"];
    nibble(&save).exits(0);
    let base = ["--base", at("llama.base"), "-q"];
    let kl = |words: &[&str]| nibble(&[&["eval", "kl"], words].concat());
    let out = kl(&[&[arg(&near), "--against", arg(&far), "--json", "-o", at("near.json")], &base[..]].concat()).exits(0).json();
    let ratio = &out["paired"]["ratio"];
    assert!(ratio["high"].as_f64().unwrap() < 1.0 && ratio["low"].as_f64() < ratio["value"].as_f64(), "{ratio}");
    kl(&[&[arg(&far), "-o", at("far.json")], &base[..]].concat()).exits(0);
    // From the files, the other way round: the same samples, turned over.
    let back = kl(&[at("far.json"), "--against", at("near.json"), "--json"]).exits(0).json();
    assert!((back["paired"]["ratio"]["value"].as_f64().unwrap() * ratio["value"].as_f64().unwrap() - 1.0).abs() < 1e-9);
    kl(&[at("far.json"), "--against", at("near.json")]).exits(0).prints(&["the second is closer to the reference"]);

    // What cannot be compared.
    kl(&[arg(&near)]).exits(2).says(&["nothing to compare with", "--base FILE"]);
    kl(&[at("near.json"), "--against", at("text.json")]).exits(1);
    std::fs::write(at("none.base"), b"GGUF and no base").unwrap();
    kl(&[arg(&near), "--base", at("none.base")]).exits(1).says(&["not a file of log-probabilities"]);
    let whole = std::fs::read(at("llama.base")).unwrap();
    std::fs::write(at("cut.base"), &whole[..whole.len() / 2]).unwrap();
    kl(&[arg(&near), "--base", at("cut.base")]).exits(1).says(&["it ends early"]);
}

#[test]
fn a_text_that_cannot_be_scored_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("short.txt"), "A few words.\n").unwrap();
    std::fs::write(dir.path().join("latin.txt"), b"caf\xe9").unwrap();
    let run = |more: &[&str]| nibble_in(dir.path(), &[&["eval", "perplexity", arg(&tiny())], more].concat());
    run(&["--text", "short.txt"]).exits(1).says(&["the text has", "512", "try: a longer text"]);
    run(&["--text", "latin.txt"]).exits(1).says(&["not UTF-8"]);
    run(&["--text", "none.txt"]).exits(1).says(&["none.txt"]);
    run(&["--text", "short.txt", "-c", "4", "--stride", "4"]).exits(1).says(&["the stride is 4"]);
    run(&["--text", "short.txt", "--shard", "3/3"]).exits(2).says(&["0/3 to 2/3"]);
    run(&["--text", "short.txt", "-c", "4", "--stride", "2", "-q"]).exits(0).prints(&["bits per byte"]);
}

#[test]
fn the_tensor_that_hurts_most_comes_first() {
    let dir = tempfile::tempdir().unwrap();
    let (tiny, model, text) = (tiny(), model(dir.path(), "q4_0"), text(dir.path(), 12));
    let eval = ["eval", "tensors", arg(&model), "--original", arg(&tiny), "-q"];
    let found = nibble(&[&eval[..], &["--text", arg(&text), "-c", "16", "--chunks", "1", "--json"]].concat()).exits(0).json();
    let tensors = found["tensors"].as_array().unwrap();
    // 6 layers of 7 matrices and the embedding.
    assert_eq!(tensors.len(), 43);
    let of = |name: &str| tensors.iter().map(|t| t[name].as_f64().unwrap()).collect::<Vec<f64>>();
    assert!(of("kl").is_sorted_by(|a, b| a >= b) && of("kl")[42] > 0.0 && found["kl"].as_f64().unwrap() > 0.0);
    // Four bits with a scale for 32 weights: rows that were permuted against each other would be far off, 1 and more.
    assert!(of("error").iter().all(|e| (0.01..0.15).contains(e)), "{:?}", of("error"));
    // Queries and keys in another order of rows would tear the original apart.
    assert!(of("kl").iter().all(|kl| *kl < 0.5), "{:?}", of("kl"));
    // With an importance matrix of those that have one, the 42 of the layers: the table has both errors, and they differ.
    let stats = dir.path().join("stats.gguf");
    nibble(&["calibrate", arg(&tiny), "-o", arg(&stats), "--ctx", "32", "--chunks", "1", "-q"]).exits(0);
    let found = nibble(&[&eval[..], &["--imatrix", arg(&stats), "--json"]].concat()).exits(0).json();
    let weighted =
        found["tensors"].as_array().unwrap().iter().filter(|t| t["weighted"].as_f64().is_some_and(|w| w > 0.0 && w != t["error"])).count();
    assert_eq!(weighted, 42);
    nibble(&[&eval[..], &["--imatrix", arg(&stats)]].concat()).exits(0).prints(&["weighted"]);
    nibble(&[&eval[..], &["--imatrix", arg(&text)]].concat()).exits(1).says(&["text"]);
    // A model beside itself.
    let own = ["eval", "tensors", arg(&tiny), "--original", arg(&tiny), "-q", "--csv"];
    let rows = nibble(&own).exits(0).stdout;
    assert!(rows.lines().count() == 44 && rows.lines().skip(1).all(|row| row.split(',').nth(6) == Some("0")), "{rows}");
}
