//! `nibble bench` from end to end: what it writes and what it refuses. How fast anything is, no test asks.

mod common;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use common::{arg, command, files_below, nibble, nibble_in, tiny};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// models/tiny in Q4_0.
fn model(dir: &Path) -> PathBuf {
    let path = dir.join("tiny-Q4_0.gguf");
    nibble(&["quantize", arg(&tiny()), "-t", "q4_0", "-o", arg(&path), "--quiet"]).exits(0);
    path
}

/// The fewest tokens that make a run.
const SMALL: &[&str] = &["--pp", "4", "--tg", "2", "--depth", "0", "-r", "2", "--threads", "1", "--no-limits"];

/// A run with few tokens, and without the limits of the machine.
fn small<'a>(model: &'a Path, more: &[&'a str]) -> Vec<&'a str> {
    [&["bench", arg(model)], SMALL, more].concat()
}

#[test]
fn the_json_has_everything_and_every_repetition() {
    let dir = tempfile::tempdir().unwrap();
    let model = model(dir.path());
    let args = ["bench", arg(&model), "--pp", "16,4", "--tg", "3", "--depth", "8,0,200000", "-r", "3", "--threads", "2,1", "--json"];
    let out = nibble(&args).exits(0).says(&["skipped: generation 3 at depth 200000: needs 200003 tokens"]);
    let report = out.json();
    assert_eq!((&report["schema"], &report["nibble"]), (&1.into(), &env!("CARGO_PKG_VERSION").into()));
    let date = report["date"].as_str().unwrap();
    assert!(date.len() == 20 && date.starts_with("20") && date.ends_with('Z') && date.as_bytes()[10] == b'T', "{date}");
    for field in ["cpu", "instruction_set", "architecture", "system"] {
        assert!(!report["machine"][field].as_str().unwrap().is_empty(), "{field}");
    }
    let facts = &report["model"];
    assert_eq!((&facts["type"], &facts["architecture"]), (&"Q4_0".into(), &"llama".into()));
    assert_eq!(facts["file_bytes"], std::fs::metadata(&model).unwrap().len());
    // 4.5 bits a weight and vectors in F32: the file without its head.
    let (weights, parameters) = (facts["weight_bytes_per_token"].as_u64().unwrap(), facts["parameters"].as_u64().unwrap());
    assert!(weights > parameters * 9 / 16 && weights < facts["file_bytes"].as_u64().unwrap(), "{facts}");
    assert_eq!(report["settings"]["threads"], serde_json::json!([1, 2]));

    let results = report["results"].as_array().unwrap();
    let named = |r: &Value| {
        let number = |field: &str| r[field].as_u64().unwrap();
        (r["test"].as_str().unwrap().to_string(), number("threads"), number("tokens"), number("depth"))
    };
    let wanted = |threads| {
        [("load", 0, 0), ("first-token", 20, 0), ("prompt", 4, 0), ("prompt", 16, 0), ("generation", 3, 0), ("generation", 3, 8)]
            .map(|(test, tokens, depth)| (test.to_string(), threads, tokens, depth))
    };
    assert_eq!(results.iter().map(named).collect::<Vec<_>>(), [wanted(1), wanted(2)].concat());
    for result in results {
        let values: Vec<f64> = result["values"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect();
        assert!(values.len() == 3 && values.iter().all(|v| *v > 0.0), "{result}");
        let number = |field: &str| result[field].as_f64().unwrap();
        assert!(number("min") <= number("median") && number("median") <= number("max"), "{result}");
        assert!(values.contains(&number("min")) && values.contains(&number("median")) && values.contains(&number("max")), "{result}");
        let (unit, limit) = match result["test"].as_str().unwrap() {
            "prompt" => ("tokens/s", "int8-peak".into()),
            "generation" => ("tokens/s", "read-bandwidth".into()),
            _ => ("s", Value::Null),
        };
        assert_eq!((&result["unit"], &result["limit"]), (&unit.into(), &limit), "{result}");
        assert_eq!(result["fraction"].as_f64().is_some_and(|f| f > 0.0), !limit.is_null(), "{result}");
        let rates: Vec<f64> = result["rates"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect();
        if cfg!(target_os = "linux") {
            // Before every repetition and after the last; no part can be less than the slowest repetition's of the greatest of them.
            assert_eq!(rates.len(), if limit.is_null() { 0 } else { values.len() + 1 }, "{result}");
            let (Some(most), Some(work)) = (rates.iter().copied().reduce(f64::max), result["work_per_token"].as_f64()) else { continue };
            let fraction = number("fraction");
            assert!(fraction >= number("min") * work / most && rates.iter().all(|&rate| rate > 0.0), "{result}");
        }
    }
    let limits = report["limits"].as_array().unwrap();
    assert_eq!(limits.len(), 2);
    assert!(limits.iter().all(|l| l["read_bytes_per_second"].as_f64().unwrap() > 0.0 && l["int8_macs_per_second"].as_f64().unwrap() > 0.0));
    assert_eq!(report["skipped"].as_array().unwrap().len(), 1);
    assert_eq!((&report["skipped"][0]["test"], &report["skipped"][0]["depth"]), (&"generation".into(), &200_000.into()));
    if cfg!(target_os = "linux") {
        let memory = &report["memory"];
        let (peak, own) = (memory["peak_resident_bytes"].as_u64().unwrap(), memory["anonymous_bytes"].as_u64().unwrap());
        // The weights were read, so they were resident; the buffer for the bandwidth is not in it.
        assert!(peak >= weights && own > 0 && own < peak && peak < 256 << 20, "{memory}");
    }
}

#[test]
fn csv_and_markdown_have_a_row_a_test() {
    let dir = tempfile::tempdir().unwrap();
    let model = model(dir.path());
    let out = nibble(&small(&model, &["--csv", "--quiet"])).exits(0);
    assert_eq!(out.stderr, "");
    let lines: Vec<&str> = out.stdout.lines().collect();
    assert!(
        lines[0].starts_with("date,nibble,cpu,cores,instruction_set,model,type,file_bytes,test,threads,tokens,depth,unit,median,min,max,")
    );
    assert_eq!(lines.len(), 1 + 4, "{}", out.stdout);
    let commas = |line: &str| {
        // Names of processors have commas in quotes.
        line.split('"').step_by(2).map(|part| part.matches(',').count()).sum::<usize>()
    };
    assert!(lines.iter().all(|line| commas(line) == commas(lines[0])), "{}", out.stdout);
    assert!(lines[4].contains(",generation,1,2,0,tokens/s,"), "{}", lines[4]);

    let out = nibble(&["bench", arg(&model), "--pp", "4", "--tg", "2", "--depth", "0", "-r", "1"]).exits(0);
    out.prints(&[
        "# nibble bench: ",
        "| prompt 4 ",
        "| generation 2 at depth 0 ",
        "% of read bandwidth",
        "% of int8 peak",
        "peak resident memory",
    ]);
}

#[test]
fn a_run_is_compared_with_an_earlier_one() {
    let dir = tempfile::tempdir().unwrap();
    let model = model(dir.path());
    let record = dir.path().join("record.json");
    nibble(&small(&model, &["-o", arg(&record)])).exits(0).says(&["written: "]);
    // An earlier run of a machine that took a thousand times as long, on another processor, without the prompt but with a longer one.
    let mut earlier: Value = serde_json::from_slice(&std::fs::read(&record).unwrap()).unwrap();
    earlier["machine"]["cpu"] = "Babbage's mill".into();
    for result in earlier["results"].as_array_mut().unwrap() {
        let factor = if result["unit"] == "s" { 1000.0 } else { 0.001 };
        for field in ["median", "min", "max"] {
            result[field] = (result[field].as_f64().unwrap() * factor).into();
        }
        if result["test"] == "prompt" {
            result["tokens"] = 9999.into();
        }
    }
    let other = dir.path().join("earlier.json");
    std::fs::write(&other, earlier.to_string()).unwrap();
    let report = nibble(&small(&model, &["--json", "--compare", arg(&other)])).exits(0).json();
    let comparison = &report["comparison"];
    assert_eq!((&comparison["other"], &comparison["date"]), (&arg(&other).into(), &earlier["date"]));
    let differences = comparison["differences"].as_array().unwrap();
    assert!(differences.len() == 1 && differences[0].as_str().unwrap().contains("Babbage's mill ("), "{comparison}");
    let ratios = comparison["ratios"].as_array().unwrap();
    let tests: Vec<&str> = ratios.iter().map(|r| r["test"].as_str().unwrap()).collect();
    assert_eq!(tests, ["load", "first-token", "generation"]);
    for ratio in ratios {
        // Faster whichever way the unit counts, and by the medians that both files hold.
        let here = report["results"].as_array().unwrap().iter().find(|r| r["test"] == ratio["test"]).unwrap();
        let (here, there) = (here["median"].as_f64().unwrap(), ratio["other_median"].as_f64().unwrap());
        let speed = if ratio["test"] == "generation" { here / there } else { there / here };
        assert!((ratio["speed"].as_f64().unwrap() / speed - 1.0).abs() < 1e-12, "{ratio}");
    }
    let unmatched: Vec<&str> = comparison["unmatched"].as_array().unwrap().iter().map(|u| u.as_str().unwrap()).collect();
    assert_eq!(unmatched, ["prompt 4, 1 thread: only here", "prompt 9999, 1 thread: only there"]);
    // For people and in the table too.
    let out = nibble(&small(&model, &["--compare", arg(&other)])).exits(0);
    out.prints(&["beside the other", " times", "Not alike: another processor", "Not compared: prompt 4, 1 thread: only here"]);
    let csv = nibble(&small(&model, &["--csv", "--compare", arg(&other)])).exits(0).stdout;
    assert!(csv.lines().nth(1).is_some_and(|line| line.ends_with(",true") || line.ends_with(",false")), "{csv}");
}

#[test]
fn what_does_not_fit_the_context_is_skipped() {
    let dir = tempfile::tempdir().unwrap();
    let model = model(dir.path());
    let args = ["bench", arg(&model), "--pp", "4,64", "--tg", "2", "--depth", "0,60", "-r", "1", "--ctx", "32", "--json"];
    let report = nibble(&args).exits(0).says(&["skipped: prompt 64", "skipped: generation 2 at depth 60", "asked for is 32"]).json();
    assert_eq!((report["skipped"].as_array().unwrap().len(), report["results"].as_array().unwrap().len()), (2, 4));
    // The first token's prompt gets shorter with the context. Without the limits there are no fractions, but what a token takes is known.
    let args = ["bench", arg(&model), "--pp", "0", "--tg", "1", "--depth", "0", "-r", "1", "--ctx", "5", "--no-limits", "--json"];
    let report = nibble(&args).exits(0).json();
    assert_eq!(report["results"].as_array().unwrap().len(), 3);
    assert_eq!((&report["limits"], &report["results"][2]["fraction"]), (&serde_json::json!([]), &Value::Null));
    // The weights, and one key and one value in half precision of two heads of 64 in each of six layers.
    let cache = report["results"][2]["work_per_token"].as_f64().unwrap() - report["model"]["weight_bytes_per_token"].as_f64().unwrap();
    assert_eq!(cache, f64::from(6 * 2 * (2 * 64) * 2));
    // Eight bits and a scale in 34 bytes for 32 elements, and the report says which it was.
    let report = nibble(&[&args[..], &["--kv", "q8_0"]].concat()).exits(0).json();
    let cache = report["results"][2]["work_per_token"].as_f64().unwrap() - report["model"]["weight_bytes_per_token"].as_f64().unwrap();
    assert_eq!((cache, &report["cache"]), (f64::from(6 * 2 * (2 * 64) / 32 * 34), &"Q8_0".into()));
    assert_eq!((&report["results"][1]["tokens"], &report["context"]), (&5.into(), &5.into()));
}

#[test]
fn a_checkpoint_can_be_measured_as_it_is() {
    let report = nibble(&small(&tiny(), &["--json"])).exits(0).json();
    assert_eq!(report["model"]["type"], "BF16");
}

#[test]
fn mistakes_are_found_before_anything_is_measured() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let model = model(dir.path());
    for bad in [["--pp", "many"], ["--threads", "0"], ["-r", "0"], ["--depth", "-1"], ["--tg", "1,2"]] {
        nibble(&[&["bench", arg(&model)], &bad[..]].concat()).exits(2).says(&[bad[1]]);
    }
    nibble(&["bench", arg(&model), "--json", "--csv"]).exits(2).says(&["--json", "--csv"]);
    nibble(&["bench", arg(&model), "--force"]).exits(2).says(&["--output"]);
    nibble(&["bench", arg(&at("nothing.gguf"))]).exits(1).says(&["does not exist"]);
    std::fs::write(at("there.json"), "{}").unwrap();
    nibble(&["bench", arg(&model), "-o", arg(&at("there.json"))]).exits(1).says(&["exists already", "--force"]);
    nibble(&["bench", arg(&model), "-o", arg(&at("no/such.json"))]).exits(1).says(&["no directory", "mkdir -p"]);
    nibble(&["bench", arg(&model), "-o", arg(dir.path())]).exits(1).says(&["is a directory"]);
    nibble(&["bench", arg(&model), "--compare", arg(&at("none.json"))]).exits(1).says(&["none.json"]);
    nibble(&["bench", arg(&model), "--compare", arg(&at("there.json"))]).exits(1).says(&["not the JSON of a run of nibble bench", "try: "]);
    std::fs::write(at("later.json"), "{\"schema\": 99}").unwrap();
    nibble(&["bench", arg(&model), "--compare", arg(&at("later.json"))]).exits(1).says(&["its schema is 99"]);
    assert_eq!(files_below(dir.path()), ["later.json", "there.json", "tiny-Q4_0.gguf"]);
}

#[test]
fn the_output_is_whole_or_absent() {
    let dir = tempfile::tempdir().unwrap();
    let model = model(dir.path());
    std::fs::write(dir.path().join("old.csv"), "old").unwrap();
    nibble_in(dir.path(), &small(&model, &["-o", "old.csv", "--force"])).exits(0);
    assert!(std::fs::read_to_string(dir.path().join("old.csv")).unwrap().starts_with("date,nibble,"));
    let before = files_below(dir.path());
    let args = ["bench", arg(&model), "--pp", "256", "--tg", "0", "-r", "1000", "-o", "new.md"];
    let mut child = command(&args).current_dir(dir.path()).stderr(std::process::Stdio::piped()).spawn().unwrap();
    // Until it measures: its threads for computing are there by then, and the thousand repetitions take far longer.
    let tasks = || std::fs::read_dir(format!("/proc/{}/task", child.id())).map_or(0, |list| list.count());
    let start = Instant::now();
    while tasks() < 2 && start.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(5));
    }
    std::thread::sleep(Duration::from_millis(200));
    assert!(child.try_wait().unwrap().is_none(), "it ended by itself");
    kill(Pid::from_raw(child.id() as i32), Signal::SIGINT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(files_below(dir.path()), before);
}
