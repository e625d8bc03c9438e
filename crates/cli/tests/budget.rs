//! `nibble quantize --budget`, `--types` and `--method best`.

mod common;

use common::{arg, files_below, nibble, tiny};

/// Lines of a list without the values.
fn names(list: &str) -> Vec<&str> {
    list.lines().map(|line| line.split_once('=').expect("NAME=TYPE").0).collect()
}

#[test]
fn a_budget_is_kept_and_its_choice_can_be_given_back() {
    let dir = tempfile::tempdir().unwrap();
    let [text, kept, list, best, again] = ["text.txt", "kept.json", "types.txt", "best.gguf", "again.gguf"].map(|n| dir.path().join(n));
    let tiny = tiny();
    std::fs::write(&text, "It was a long text about a rabbit, a river and the rain. ".repeat(60)).unwrap();

    let dry = ["quantize", arg(&tiny), "--budget", "3.4MB", "--method", "gptq", "--calibration", arg(&text), "--measurements", arg(&kept)];
    let report = nibble(&[&dry[..], &["--dry-run", "--json", "--save-types", arg(&list), "-o", arg(&best)]].concat()).exits(0).json();
    assert_eq!(report["allocation"]["budget"], 3_400_000);
    let bytes = report["allocation"]["file_bytes"].as_u64().unwrap();
    assert!((3_300_000..=3_400_000).contains(&bytes), "{report}");
    assert!(report["allocation"]["expected_kl"].as_f64().unwrap() > 0.0);
    assert!(!best.exists() && kept.exists());
    let chosen = std::fs::read_to_string(&list).unwrap();
    assert_eq!(names(&chosen).len(), 43);

    // What was measured serves another budget, and `best`, which measures the same.
    let line = ["quantize", arg(&tiny), "--method", "best", "--calibration", arg(&text), "--measurements", arg(&kept), "-o", arg(&best)];
    let before = std::fs::read(&kept).unwrap();
    nibble(&line).exits(0).prints(&["Q4_K_M, best"]).says(&["types by measurement"]);
    assert!(std::fs::read(&kept).unwrap() == before);
    let report = nibble(&["inspect", arg(&best), "--json"]).exits(0).json();
    assert_eq!(report["declared_type"], "Q4_K_M");
    let words = nibble(&["run", arg(&best), "--raw", "--temp", "0", "-n", "4", "Once upon a time"]).exits(0).stdout;
    assert!(!words.trim().is_empty());

    // The list makes what was promised, but for what the file says of the text, which this one was not made with.
    nibble(&["quantize", arg(&tiny), "--types", arg(&list), "-o", arg(&again)]).exits(0);
    let made = std::fs::metadata(&again).unwrap().len();
    assert!(made <= bytes && bytes - made < 1000, "{made} of {bytes}");
    let report = nibble(&["inspect", arg(&again), "--json"]).exits(0).json();
    for tensor in report["tensors"].as_array().unwrap() {
        let name = tensor["name"].as_str().unwrap();
        if let Some(line) = chosen.lines().find(|line| line.starts_with(&format!("{name}="))) {
            assert_eq!(line, format!("{name}={}", tensor["type"].as_str().unwrap().to_lowercase()));
        }
    }
}

#[test]
fn wrong_budgets_and_lists_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let [text, kept, list, out] = ["text.txt", "kept.json", "types.txt", "out.gguf"].map(|n| dir.path().join(n));
    let tiny = tiny();
    let try_it = |more: &[&str]| nibble(&[&["quantize", arg(&tiny), "-o", arg(&out)], more].concat());
    try_it(&["--budget", "five"]).exits(2).says(&["--budget five", "1.88GiB"]);
    try_it(&["--budget", "same-as:nf4"]).exits(2).says(&["--budget same-as:nf4"]);
    try_it(&["--budget", "3MB", "--types", arg(&list)]).exits(2).says(&["--types"]);
    try_it(&["--budget", "3MB", "-t", "nf4"]).exits(2).says(&["GGUF"]);
    try_it(&["--method", "best", "-t", "nf4"]).exits(2).says(&["GGUF", "--method gptq"]);
    try_it(&["--save-types", arg(&list)]).exits(2).says(&["--save-types", "--budget"]);
    try_it(&["--types", arg(&list)]).exits(1).says(&["types.txt"]);
    std::fs::write(&list, "attn_v=q6_k\nattn_w=q6_k\n").unwrap();
    try_it(&["--types", arg(&list)]).exits(1).says(&["types.txt: line 2: attn_w"]);
    std::fs::write(&text, "It was a long text about a rabbit, a river and the rain. ".repeat(60)).unwrap();
    std::fs::write(&kept, "{}").unwrap();
    try_it(&["--budget", "3MB", "--calibration", arg(&text), "--measurements", arg(&kept)]).exits(1).says(&["kept.json"]);
    assert_eq!(files_below(dir.path()).len(), 3, "{:?}", files_below(dir.path()));
}
