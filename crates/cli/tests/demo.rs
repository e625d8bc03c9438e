//! `nibble demo`, from a directory that has nothing to do with the repository.

mod common;

use common::{command, files_below, finish, nibble};

#[test]
fn the_demo_tells_its_table() {
    let dir = tempfile::tempdir().unwrap();
    let out = finish(command(&["demo"]).current_dir(dir.path()).env("TMPDIR", dir.path()), None).exits(0);
    out.prints(&["BF16", "Q8_0", "Q4_K_M", "NF4", "bits per weight", "Once upon a time"]);
    assert!(files_below(dir.path()).is_empty(), "the demo leaves files");
    let report = nibble(&["demo", "--json"]).exits(0).json();
    let rows = report["types"].as_array().unwrap();
    assert!(rows.len() >= 6);
    let of = |name: &str| rows.iter().find(|r| r["type"] == name).unwrap_or_else(|| panic!("no {name}: {report}"));
    assert!(of("Q4_K_M")["bytes"].as_u64() < of("Q8_0")["bytes"].as_u64());
    assert!(of("Q8_0")["mean_kl"].as_f64().unwrap() < of("Q4_0")["mean_kl"].as_f64().unwrap());
    assert!(report["story"].as_str().unwrap().len() > 20);
}
