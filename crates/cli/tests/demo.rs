//! `nibble demo`, from a directory that has nothing to do with the repository.

mod common;

use std::process::Stdio;
use std::time::{Duration, Instant};

use common::{command, files_below, finish, nibble};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

#[test]
fn ctrl_c_removes_the_demos_files() {
    let dir = tempfile::tempdir().unwrap();
    let mut demo = command(&["demo"]);
    let mut child = demo.env("TMPDIR", dir.path()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let start = Instant::now();
    while files_below(dir.path()).is_empty() {
        assert!(child.try_wait().unwrap().is_none() && start.elapsed() < Duration::from_secs(60), "it never began to write");
        std::thread::sleep(Duration::from_millis(2));
    }
    kill(Pid::from_raw(child.id() as i32), Signal::SIGTERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(143));
    assert!(std::fs::read_dir(dir.path()).unwrap().next().is_none(), "{:?}", files_below(dir.path()));
}

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
