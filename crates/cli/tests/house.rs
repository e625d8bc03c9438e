//! The parts of the program that need no model: help, completions, manual pages, exit codes of a wrong command line, a reader that goes away.

mod common;

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use common::{arg, command, files_below, nibble};

#[test]
fn without_a_command_the_help_is_shown() {
    nibble(&[]).exits(2).says(&["Usage: nibble", "completions", "man"]);
    nibble(&["help"]).exits(0).prints(&["Usage: nibble", "Exit codes: 0 done"]);
    nibble(&["--version"]).exits(0).prints(&[concat!("nibble ", env!("CARGO_PKG_VERSION"))]);
}

#[test]
fn a_wrong_command_line_exits_with_2() {
    nibble(&["quantise"]).exits(2).says(&["quantise"]);
    nibble(&["man", "--no-such-flag"]).exits(2).says(&["--no-such-flag"]);
    nibble(&["completions", "korn"]).exits(2).says(&["korn", "bash"]);
}

#[test]
fn manual_pages_are_written_for_every_command() {
    let dir = tempfile::tempdir().unwrap();
    let pages = dir.path().join("share/man1");
    nibble(&["man", arg(&pages)]).exits(0);
    let files = files_below(&pages);
    assert!(files.contains(&"nibble.1".to_string()) && files.contains(&"nibble-completions.1".to_string()), "{files:?}");
    nibble(&["man"]).exits(0).prints(&[".TH nibble 1"]);
}

#[test]
fn a_directory_that_cannot_be_made_is_named() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("file"), "").unwrap();
    let below = dir.path().join("file/man");
    nibble(&["man", arg(&below)]).exits(1).says(&["nibble: error: ", arg(&below)]);
}

#[test]
fn every_shell_gets_its_completions() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        nibble(&["completions", shell]).exits(0).prints(&["completions"]);
    }
}

#[test]
fn a_reader_that_goes_away_ends_the_program_quietly() {
    // A pipe holds 64 KiB; close it before anything is read, so that the write fails whatever its length.
    let mut child = command(&["man"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert!(output.status.success(), "{:?}", output.status);
    // And the same with a reader that takes one line.
    let mut child = command(&["completions", "bash"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.starts_with("_nibble"), "{line}");
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert!(output.status.success(), "{:?}", output.status);
}
