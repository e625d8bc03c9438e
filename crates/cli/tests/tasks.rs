//! `nibble eval tasks` from end to end, and the merging of its shards.

mod common;

use std::path::{Path, PathBuf};

use common::{arg, files_below, nibble, nibble_in, tiny};
use serde_json::Value;

/// The questions that the library's golden test has.
fn questions(below: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../evaluate/tests/golden/questions").join(below).canonicalize().expect("questions")
}

/// A run of two small tasks in a folder.
fn small<'a>(data: &'a Path, model: &'a Path, more: &[&'a str]) -> Vec<&'a str> {
    [&["eval", "tasks", arg(model), "--tasks", "arc_easy,piqa", "--data", arg(data)], more].concat()
}

#[test]
fn figures_come_as_a_table_as_json_and_as_csv() {
    let (data, model) = (questions("hub"), tiny());
    let out = nibble(&small(&data, &model, &["--quiet"])).exits(0);
    assert_eq!(out.stderr, "");
    out.prints(&["| task | metric | value | standard error |", "| arc_easy | acc | ", "| piqa | acc_norm | ", "Tokens computed: "]);
    let report = nibble(&small(&data, &model, &["--json"])).exits(0).json();
    assert_eq!((&report["kind"], &report["questions_answered"], &report["shard"]), (&"tasks".into(), &8.into(), &"0/1".into()));
    assert_eq!(report["answers"], Value::Null);
    assert_eq!(report["figures"].as_array().unwrap().len(), 6);
    let csv = nibble(&small(&data, &model, &["--csv"])).exits(0).stdout;
    let lines: Vec<&str> = csv.lines().collect();
    assert!(lines.len() == 7 && lines[0] == "model,fingerprint,name,metric,value,stderr,questions,parts", "{csv}");
    let value = report["figures"][0]["value"].as_f64().unwrap();
    assert!(lines[1].contains(&format!(",arc_easy,acc,{value},")), "{csv}");
    // Subjects only on demand.
    let mmlu = questions("mmlu");
    let args = ["eval", "tasks", arg(&model), "--tasks", "mmlu", "--data", arg(&mmlu), "--limit", "1"];
    let short = nibble(&args).exits(0).prints(&["| mmlu_macro | acc | ", "| mmlu_stem |"]);
    assert!(!short.stdout.contains("mmlu_astronomy"));
    nibble(&[&args[..], &["--subjects"]].concat()).exits(0).prints(&["| mmlu_astronomy |"]);
    nibble(&["eval", "tasks", "--list"]).exits(0).prints(&["hellaswag: ", "files: ", "truthfulqa_mc2"]);
}

#[test]
fn shards_merge_into_one_run_and_an_interrupted_one_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let (data, model) = (questions("hub"), tiny());
    let run = |more: &[&str]| nibble_in(dir.path(), &small(&data, &model, more));
    run(&["-o", "one.json", "--log", "one.jsonl"]).exits(0).says(&["written: one.json"]);
    for shard in ["0", "1", "2"] {
        run(&["--shard", &format!("{shard}/3"), "-o", &format!("{shard}.json")]).exits(0);
    }
    nibble_in(dir.path(), &["eval", "merge", "2.json", "0.json", "1.json", "-o", "all.json"]).exits(0).prints(&["| arc_easy | acc | "]);
    let read = |name: &str| -> Value { serde_json::from_slice(&std::fs::read(dir.path().join(name)).unwrap()).unwrap() };
    for field in ["figures", "answers", "parts", "shard", "model", "wanted"] {
        assert_eq!(read("all.json")[field], read("one.json")[field], "{field}");
    }
    nibble_in(dir.path(), &["eval", "merge", "2.json", "0.json"]).exits(1).says(&["have no answer", "arc_easy"]);
    nibble_in(dir.path(), &["eval", "merge", "2.json", "0.json", "0.json"]).exits(1).says(&["answered twice"]);
    run(&["--shard", "3/3"]).exits(2).says(&["shards count from 0"]);

    // What an interruption leaves: some lines of the log, the last one not whole.
    let log = std::fs::read_to_string(dir.path().join("one.jsonl")).unwrap();
    let lines: Vec<&str> = log.lines().collect();
    assert_eq!(lines.len(), 1 + 8);
    let left = lines[..4].join("\n") + "\n" + &lines[4][..20];
    for (name, more) in [("again.json.part", vec!["-o", "again.json"]), ("log.jsonl", vec!["-o", "again.json", "-f", "--log", "log.jsonl"])]
    {
        std::fs::write(dir.path().join(name), &left).unwrap();
        run(&more).exits(0).says(&["going on after 3 of 8 questions"]);
        assert_eq!(read("again.json")["answers"], read("one.json")["answers"]);
        assert_eq!(read("again.json")["figures"], read("one.json")["figures"]);
    }
    assert_eq!(std::fs::read_to_string(dir.path().join("log.jsonl")).unwrap(), log);
    run(&["--limit", "1", "--log", "log.jsonl"]).exits(1).says(&["of another run", "tasks or settings", "rm log.jsonl"]);
    assert_eq!(files_below(dir.path()), ["0.json", "1.json", "2.json", "again.json", "all.json", "log.jsonl", "one.json", "one.jsonl"]);
}

#[test]
fn mistakes_are_found_before_anything_is_asked() {
    let dir = tempfile::tempdir().unwrap();
    let (data, model) = (questions("hub"), tiny());
    let tasks = |more: &[&str]| nibble_in(dir.path(), &[&["eval", "tasks", arg(&model)], more].concat());
    tasks(&[]).exits(2).says(&["nothing to ask", "--list"]);
    tasks(&["--tasks", "arc_eazy", "--data", arg(&data)]).exits(2).says(&["no task \"arc_eazy\"", "try: arc_easy"]);
    tasks(&["--tasks", "piqa"]).exits(2).says(&["--data"]);
    tasks(&["--tasks", "piqa,boolq", "--data", arg(&data.join("piqa.jsonl"))]).exits(2).says(&["is one file, and 2 tasks"]);
    tasks(&["--tasks", "mmlu", "--data", arg(&data)]).exits(1).says(&["no file of the task mmlu", "try: "]);
    tasks(&["--tasks", "piqa", "--data", "none"]).exits(1).says(&["none"]);
    std::fs::write(dir.path().join("piqa.jsonl"), "{\"goal\": \"g\", \"sol1\": \"a\", \"sol2\": \"b\", \"label\": 0}\n{\"goal\": 5}\n")
        .unwrap();
    tasks(&["--tasks", "piqa", "--data", "."]).exits(1).says(&["piqa.jsonl:2: the field \"goal\" is a number, expected a text"]);
    std::fs::write(dir.path().join("there.json"), "{}").unwrap();
    tasks(&["--tasks", "piqa", "--data", arg(&data), "-o", "there.json"]).exits(1).says(&["exists already", "--force"]);
    nibble_in(dir.path(), &["eval", "merge", "there.json"]).exits(1).says(&["there.json"]);
    assert_eq!(files_below(dir.path()), ["piqa.jsonl", "there.json"]);
}
