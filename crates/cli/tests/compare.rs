//! `nibble compare` from end to end.

mod common;

use std::path::{Path, PathBuf};

use common::{arg, command, files_below, finish, nibble, nibble_in, tiny};
use serde_json::Value;

fn quantized(dir: &Path, kind: &str) -> PathBuf {
    let path = dir.join(format!("tiny-{kind}.gguf"));
    nibble(&["quantize", arg(&tiny()), "-t", kind, "-o", arg(&path), "--quiet"]).exits(0);
    path
}

fn questions() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../evaluate/tests/golden/questions/hub").canonicalize().expect("questions")
}

#[test]
fn everything_is_measured_once_and_written_in_every_form() {
    let dir = tempfile::tempdir().unwrap();
    let (q8, q4) = (quantized(dir.path(), "q8_0"), quantized(dir.path(), "q4_0"));
    // A text of our own, long enough for three chunks of 64 tokens.
    let text: String = (0..40).map(|i| format!("Once upon a time there was a cat. It had {i} toys, and it was happy.\n")).collect();
    std::fs::write(dir.path().join("text.txt"), text).unwrap();
    let (data, model) = (questions(), tiny());
    let common = ["compare", arg(&model), arg(&q4), arg(&q8), "--text", "text.txt", "-c", "64", "--chunks", "3", "--keep", "kept"];
    let tasks = ["--tasks", "piqa,arc_easy", "--data", arg(&data), "--threads", "1"];
    let outputs = ["-o", "page.html", "-o", "table.md", "-o", "all.json", "-o", "all.csv"];
    nibble_in(dir.path(), &[&common[..], &tasks, &outputs].concat()).exits(0).says(&[
        "measuring speed",
        "written: page.html",
        "written: all.csv",
    ]);
    let read = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
    let comparison: Value = serde_json::from_str(&read("all.json")).unwrap();
    let entries = comparison["entries"].as_array().unwrap();
    assert_eq!((entries.len(), &comparison["kind"], &comparison["reference"]), (3, &"comparison".into(), &0.into()));
    let number = |entry: usize, field: &str| entries[entry][field]["value"].as_f64().unwrap();
    for (i, (name, kind)) in [("tiny", "BF16"), ("tiny-q4_0.gguf", "Q4_0"), ("tiny-q8_0.gguf", "Q8_0")].into_iter().enumerate() {
        assert_eq!((&entries[i]["name"], &entries[i]["type"]), (&name.into(), &kind.into()));
        assert!(number(i, "perplexity") > 1.0 && number(i, "bits_per_byte") > 0.0);
        assert_eq!(entries[i]["tasks"].as_array().unwrap().len(), 6);
        assert!(entries[i]["speed"]["generation"].as_f64().unwrap() > 0.0, "{}", entries[i]["speed"]);
    }
    // Fewer bits, farther away: in its predictions and in every tensor that is quantized.
    assert_eq!(entries[0]["kl"], Value::Null);
    assert!(number(1, "kl") > number(2, "kl") && number(2, "kl") > 0.0);
    let errors = |entry: usize| -> Vec<f64> {
        entries[entry]["tensors"].as_array().unwrap().iter().map(|t| t["relative"].as_f64().unwrap()).collect()
    };
    assert!(errors(0).is_empty() && errors(1).len() > 10);
    assert!(errors(1).iter().zip(errors(2)).filter(|(q4, q8)| **q4 > *q8).count() > 10);
    assert!(errors(2).iter().all(|e| *e > 0.0 && *e < 0.02), "{:?}", errors(2));
    // The differences are of the same questions: none between a model and itself, and the reference has none.
    assert!(entries[2]["tasks"][0]["difference"]["value"].is_number());

    assert!(read("table.md").contains("| tiny-q4_0.gguf ") && read("table.md").contains("The reference is tiny."));
    assert_eq!(read("all.csv").lines().count(), 4);
    let page = read("page.html");
    assert!(
        page.starts_with("<!DOCTYPE html>") && page.contains("KL against size") && page.contains("Error of each tensor of tiny-q4_0.gguf")
    );
    assert!(!page.contains("http://") && !page.contains("https://"));

    // Again: nothing is measured, and nothing changes but the date.
    let again = nibble_in(dir.path(), &[&common[..], &tasks, &["--json"]].concat()).exits(0);
    assert!(!again.stderr.contains("chunks") && !again.stderr.contains("measuring"), "{}", again.stderr);
    let mut second: Value = serde_json::from_str(&again.stdout).unwrap();
    second["date"] = comparison["date"].clone();
    assert_eq!(second, comparison);
    // Another reference: its divergences are measured anew.
    let other = [
        "compare",
        arg(&q4),
        "--reference",
        arg(&q8),
        "--text",
        "text.txt",
        "-c",
        "64",
        "--chunks",
        "3",
        "--no-speed",
        "--no-tensors",
        "--csv",
    ];
    let csv = nibble_in(dir.path(), &other).exits(0).stdout;
    let lines: Vec<&str> = csv.lines().collect();
    assert!(lines.len() == 3 && lines[1].starts_with("tiny-q8_0.gguf,") && lines[2].starts_with("tiny-q4_0.gguf,"), "{csv}");
    assert!(!lines[0].contains("tokens_per_second") && lines[0].contains("kl_nats"));
}

#[test]
fn what_was_measured_elsewhere_is_taken_over() {
    let dir = tempfile::tempdir().unwrap();
    let q4 = quantized(dir.path(), "q4_0");
    let (data, model) = (questions(), tiny());
    let text: String = (0..40).map(|i| format!("The dog ran {i} times around the house, and then it slept.\n")).collect();
    std::fs::write(dir.path().join("text.txt"), text).unwrap();
    let run = |args: &[&str]| nibble_in(dir.path(), args).exits(0);
    for (path, name) in [(&model, "base.json"), (&q4, "q4.json")] {
        run(&["eval", "tasks", arg(path), "--tasks", "arc_easy", "--data", arg(&data), "-o", name, "-q"]);
    }
    run(&["eval", "kl", arg(&q4), "--reference", arg(&model), "--text", "text.txt", "-c", "64", "--chunks", "2", "-o", "kl.json", "-q"]);
    let from = ["--from", "base.json", "--from", "q4.json", "--from", "kl.json", "--no-speed", "--no-tensors", "--json", "-q"];
    let comparison = run(&[&["compare", arg(&model), arg(&q4)], &from[..]].concat()).json();
    let entry = |i: usize| &comparison["entries"][i];
    assert_eq!((entry(0)["kl"].clone(), entry(0)["perplexity"].clone()), (Value::Null, Value::Null));
    let there: Value = serde_json::from_slice(&std::fs::read(dir.path().join("q4.json")).unwrap()).unwrap();
    assert_eq!(entry(1)["tasks"][0]["value"], there["figures"][0]["value"]);
    assert!(entry(1)["tasks"][0]["difference"]["stderr"].is_number() && entry(1)["kl"]["value"].as_f64().unwrap() > 0.0);
    assert!(entry(1)["notes"][0].as_str().unwrap().starts_with("text: text.txt, 2 chunks of 64 tokens, the reference "));
    // A shard is no whole, and not every JSON is a measurement.
    run(&["eval", "tasks", arg(&q4), "--tasks", "arc_easy", "--data", arg(&data), "--shard", "0/2", "-o", "half.json", "-q"]);
    let refused = |file: &str| nibble_in(dir.path(), &["compare", arg(&model), "--from", file]).exits(1);
    refused("half.json").says(&["half.json is shard 0/2", "nibble eval merge"]);
    std::fs::write(dir.path().join("none.json"), "{}").unwrap();
    refused("none.json").says(&["none.json: ", "nibble eval wrote with -o"]);
}

#[test]
fn mistakes_are_found_before_anything_is_measured() {
    let dir = tempfile::tempdir().unwrap();
    let model = tiny();
    let compare = |more: &[&str]| nibble_in(dir.path(), &[&["compare", arg(&model)], more].concat());
    nibble_in(dir.path(), &["compare"]).exits(2).says(&["<MODEL>"]);
    compare(&["none.gguf"]).exits(1).says(&["none.gguf"]);
    compare(&["-o", "table.doc"]).exits(2).says(&["table.doc", ".md, .csv, .json or .html"]);
    compare(&["-o", "no/such.md"]).exits(1).says(&["no directory"]);
    compare(&["--text", "none.txt"]).exits(1).says(&["none.txt"]);
    compare(&["--chunks", "3"]).exits(2).says(&["--text"]);
    compare(&["--tasks", "piqa"]).exits(2).says(&["--data"]);
    std::fs::write(dir.path().join("short.txt"), "Too short.").unwrap();
    compare(&["--no-speed", "--text", "short.txt"]).exits(1).says(&["the text has", "512"]);
    assert_eq!(files_below(dir.path()), ["short.txt"]);
}

#[test]
fn a_model_of_the_store_is_called_by_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let run = |args: &[&str]| finish(command(args).current_dir(dir.path()).env("NIBBLE_MODELS", dir.path().join("store")), None).exits(0);
    run(&["create", "small", "--from", arg(&tiny()), "-t", "q4_0"]);
    run(&["cp", "small", "again"]);
    let text = "Once upon a time there was a cat. It was happy. ".repeat(30);
    std::fs::write(dir.path().join("text.txt"), text).unwrap();
    let common = ["compare", "--text", "text.txt", "-c", "64", "--chunks", "1", "--no-speed", "--no-tensors", "--json"];
    let json = run(&[&common[..], &[arg(&tiny()), "small", "again"]].concat()).says(&["small:latest: loading"]).json();
    let names: Vec<&str> = json["entries"].as_array().unwrap().iter().map(|entry| entry["name"].as_str().unwrap()).collect();
    // A second name of the same file is no second model.
    assert_eq!(names, ["tiny", "small:latest"]);
    assert!(json["entries"][1]["path"].as_str().unwrap().contains("sha256-"));
}
