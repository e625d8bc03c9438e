//! The parts of the program that need no model: help, completions, manual pages, exit codes of a wrong command line, a reader that goes away.

mod common;
#[path = "common/terminal.rs"]
mod terminal;

use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;

use common::{arg, command, files_below, nibble, tiny};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use terminal::Terminal;

#[test]
fn without_a_command_the_help_is_shown() {
    nibble(&[]).exits(2).says(&["Usage: nibble", "completions", "man"]);
    nibble(&["help"]).exits(0).prints(&["Usage: nibble", "Exit codes: 0 done", "nibble exit-codes"]);
    nibble(&["--version"]).exits(0).prints(&[concat!("nibble ", env!("CARGO_PKG_VERSION"))]);
}

#[test]
fn a_wrong_command_line_exits_with_2() {
    nibble(&["quantise"]).exits(2).says(&["quantise"]);
    nibble(&["man", "--no-such-flag"]).exits(2).says(&["--no-such-flag"]);
    nibble(&["completions", "korn"]).exits(2).says(&["korn", "bash"]);
    // What Ollama has and we have not.
    nibble(&["signin"]).exits(2).says(&["nibble: error: there is no command signin", "try: there are no accounts here"]);
    // A negative number is a wrong value, not a flag that nobody knows.
    nibble(&["run", "m", "hi", "-n", "-5"]).exits(2).says(&["invalid value '-5' for '--max-tokens"]);
    nibble(&["run", "m", "hi", "--temp", "-1"]).exits(2).says(&["invalid value '-1' for '--temp"]);
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

#[cfg(target_os = "linux")]
#[test]
fn an_output_that_takes_nothing_is_named() {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = command(&["exit-codes"]).stdout(full).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && said.contains("nibble: error: stdout: No space left"), "{said}");
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

#[test]
fn what_the_program_leaves_with_is_in_the_table() {
    let table = nibble(&["exit-codes", "--json"]).exits(0).json();
    let codes: Vec<u64> = table.as_array().unwrap().iter().map(|row| row["code"].as_u64().unwrap()).collect();
    let text = nibble(&["exit-codes"]).exits(0).stdout;
    // Without its line breaks: it is wrapped.
    let help = nibble(&["help", "exit-codes"]).exits(0).stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    let page = nibble(&["man"]).exits(0).stdout;
    let status = page.split(".SH \"EXIT STATUS\"").nth(1).unwrap_or_else(|| panic!("no EXIT STATUS: {page}"));
    for row in table.as_array().unwrap() {
        let (code, about) = (row["code"].to_string(), row["about"].as_str().unwrap());
        assert!(text.contains(about) && help.contains(about), "{code}");
        assert!(status.contains(&format!("\\fB{code}\\fR")), "{code}: {status}");
    }
    let has = |code: i32| assert!(codes.contains(&u64::try_from(code).unwrap()), "{code} is in no row");
    for (args, code) in [(&["--version"][..], 0), (&["inspect", "/no/such/file"], 1), (&["inspect"], 2), (&["no-such-command"], 2)] {
        nibble(args).exits(code);
        has(code);
    }
    for signal in [Signal::SIGHUP, Signal::SIGINT, Signal::SIGTERM] {
        // At such a temperature all tokens are about as likely, so that an end is far away.
        let tiny = tiny();
        let args = ["run", arg(&tiny), "--raw", "--temp", "100", "--top-k", "0", "--seed", "1", "Once upon a time"];
        let mut child = command(&args).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut out = child.stdout.take().unwrap();
        out.read_exact(&mut [0; 4]).unwrap();
        kill(Pid::from_raw(child.id() as i32), signal).unwrap();
        out.read_to_end(&mut vec![]).unwrap();
        let code = child.wait().unwrap().code().unwrap_or_else(|| panic!("{signal} ended it"));
        assert_eq!(code, 128 + signal as i32);
        has(code);
    }
    // A panic and a file that shrinks: the first cannot be provoked, the second is in `run.rs`.
    has(70);
    has(74);
}

#[test]
fn errors_are_coloured_on_a_terminal_unless_nobody_wants_it() {
    let on_terminal = |name: &str, value: &str| {
        let mut terminal = Terminal::start(command(&["inspect", "/no/such/file"]).env(name, value));
        terminal.shows("/no/such/file");
        assert_eq!(terminal.ends().code(), Some(1));
        terminal.seen.clone()
    };
    let coloured = on_terminal("LC_ALL", "C");
    assert!(coloured.contains("\x1b[1;31mnibble: error:\x1b[0m /no"), "{coloured:?}");
    let plain = on_terminal("NO_COLOR", "1");
    assert!(plain.contains("nibble: error: /no") && !plain.contains('\x1b'), "{plain:?}");
    nibble(&["inspect", "/no/such/file"]).exits(1).says(&["nibble: error: /no", "\ntry: "]);
}
