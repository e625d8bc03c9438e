//! `cargo xtask readme [--debug] [PAGE...]`: does what README.md and docs/TUTORIAL.md tell a reader to do, and holds what they show against what comes out.
//!
//! The `sh` blocks of a page are one session of bash, in an empty folder that sees models/, crates/ and the README, with a store of its own. An `output`
//! block right below says what its commands print (stdout and stderr as a terminal shows them): every line must be there, in that order and with nothing
//! between, but for numbers, units of time and the width of columns; a line `...` stands for any lines, and at the end of a line for any rest of it. A block
//! that cannot run on every machine is fenced as `text`.
//!
//! Lines that begin with `cargo` run in the repository; `cargo xtask test` does not (it runs this task). The server's address becomes one whose port is
//! free. `--debug` takes the debug build and leaves the `cargo` lines out.

use crate::{root, shown, target_dir};
use anyhow::{Context, Result, bail};
use std::fs::File;
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

/// The pages, each a session of its own.
const PAGES: [&str; 2] = ["README.md", "docs/TUTORIAL.md"];
/// The address in the pages.
const ADDRESS: &str = "127.0.0.1:11434";
/// What stands in the transcript before a block's output.
const MARK: &str = "@@ block ";

/// A block of commands and what it shows below.
#[derive(Debug, PartialEq, Eq)]
struct Block {
    /// The line of the page where it begins.
    line: usize,
    commands: Vec<String>,
    expected: Option<Vec<String>>,
}

pub fn run(words: &[String]) -> Result<()> {
    let debug = words.iter().any(|word| word == "--debug");
    let named: Vec<&str> = words.iter().map(String::as_str).filter(|word| *word != "--debug").collect();
    let mut build = Command::new("cargo");
    build.args(["build", "--quiet", "-p", "nibble"]).args((!debug).then_some("--release"));
    shown(&mut build)?;
    for page in if named.is_empty() { PAGES.to_vec() } else { named } {
        let text = std::fs::read_to_string(root().join(page)).with_context(|| page.to_string())?;
        let blocks = blocks(&text);
        if blocks.is_empty() {
            bail!("{page} shows no command");
        }
        let curl = blocks.iter().flat_map(|block| &block.commands).any(|line| line.starts_with("curl "));
        if curl && Command::new("curl").arg("--version").stdout(Stdio::null()).status().is_err() {
            crate::test::skip(&format!("{page} asks the server with curl, which is not installed"))?;
            continue;
        }
        session(page, &blocks, debug)?;
        let shown = blocks.iter().filter(|block| block.expected.is_some()).count();
        eprintln!("xtask: {page}: {} blocks of commands ran, {shown} gave what the page shows", blocks.len());
    }
    Ok(())
}

/// Runs a page's blocks in one shell and looks at what they gave.
fn session(page: &str, blocks: &[Block], debug: bool) -> Result<()> {
    let scratch = target_dir().join("readme");
    let _ = std::fs::remove_dir_all(&scratch);
    std::fs::create_dir_all(&scratch)?;
    for seen in ["models", "crates", "README.md"] {
        symlink(root().join(seen), scratch.join(seen))?;
    }
    let builds = target_dir().join(if debug { "debug" } else { "release" });
    let path = std::env::join_paths(std::iter::once(builds).chain(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())))?;
    let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
    let transcript = scratch.join("transcript");
    let out = File::create(&transcript)?;
    let mut shell = Command::new("bash");
    shell.args(["-euo", "pipefail", "-c", &script(blocks, debug).replace(ADDRESS, &address)]).current_dir(&scratch);
    shell.env("PATH", &path).env("NIBBLE_MODELS", scratch.join("store")).env("NIBBLE_HOST", &address);
    // Not the settings, the keys or the state of whoever runs this.
    shell.env("XDG_STATE_HOME", &scratch).env("HF_HUB_OFFLINE", "1").env_remove("NIBBLE_API_KEY").env_remove("HF_TOKEN");
    // A file and not a pipe: a server that is left behind would hold the pipe open.
    shell.stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out).process_group(0);
    eprintln!("xtask: {page}");
    let mut child = shell.spawn().context("cannot start bash")?;
    let group = format!("-{}", child.id());
    let status = child.wait()?;
    // What still runs of it, if anything does.
    let _ = Command::new("kill").args(["-s", "KILL", "--", &group]).stderr(Stdio::null()).status();
    let text = String::from_utf8_lossy(&std::fs::read(&transcript)?).into_owned();
    let parts: Vec<&str> = text.split(MARK).skip(1).collect();
    if !status.success() {
        let at = parts.len().checked_sub(1).and_then(|i| blocks.get(i)).map_or(0, |block| block.line);
        bail!("{page}:{at}: {status}\n{}", parts.last().unwrap_or(&text.as_str()));
    }
    for (block, part) in blocks.iter().zip(&parts) {
        let Some(expected) = &block.expected else { continue };
        // The first line is the rest of the mark.
        let found: Vec<&str> = part.lines().skip(1).collect();
        if let Err(line) = compare(expected, &found) {
            bail!("{page}:{}: no such line in the output: {line}\nwhat came:\n{}", block.line, found.join("\n"));
        }
    }
    std::fs::remove_dir_all(&scratch)?;
    Ok(())
}

/// The session.
fn script(blocks: &[Block], debug: bool) -> String {
    let mut script = String::new();
    let root = root().display().to_string();
    for (i, block) in blocks.iter().enumerate() {
        script.push_str(&format!("printf '\\n%s%d\\n' '{MARK}' {i}\n"));
        for line in &block.commands {
            match line.starts_with("cargo ") {
                true if debug || line.starts_with("cargo xtask test") => {}
                true => script.push_str(&format!("(cd '{root}' && {line})\n")),
                false => script.push_str(&format!("{line}\n")),
            }
        }
    }
    script
}

/// The blocks of a page.
fn blocks(text: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    // The kind of the block that is open, and whether only blanks stand between the last block of commands and here.
    let (mut open, mut next) = (None::<&str>, false);
    for (i, line) in text.lines().enumerate() {
        let fence = line.trim_start().strip_prefix("```");
        match (open, fence) {
            (None, Some("sh")) => {
                blocks.push(Block { line: i + 1, commands: vec![], expected: None });
                (open, next) = (Some("sh"), true);
            }
            (None, Some("output")) if next => {
                blocks.last_mut().expect("`next` follows a block").expected = Some(vec![]);
                open = Some("output");
            }
            (None, Some(_)) => (open, next) = (Some("other"), false),
            (None, None) => next &= line.trim().is_empty(),
            (Some(_), Some(_)) => open = None,
            (Some("sh"), None) => blocks.last_mut().expect("one is open").commands.push(line.to_string()),
            (Some("output"), None) => {
                blocks.last_mut().and_then(|block| block.expected.as_mut()).expect("one is open").push(line.to_string());
            }
            (Some(_), None) => {}
        }
    }
    blocks
}

/// Whether the lines are those that are expected; else the first that is not there.
fn compare(expected: &[String], found: &[&str]) -> Result<(), String> {
    let wanted = expected.iter().map(|line| (line, masked(line))).filter(|(_, line)| !line.is_empty());
    // How far a long job is, told every few seconds: a quick machine does not say so.
    let progress = |line: &String| line.starts_with("# % ");
    let mut found = found.iter().map(|line| masked(line)).filter(|line| !line.is_empty() && !progress(line)).peekable();
    let mut skips = false;
    for (line, wanted) in wanted {
        if wanted == "..." {
            skips = true;
            continue;
        }
        let is_it = |line: String| wanted.strip_suffix(" ...").map_or(line == wanted, |begin| line.starts_with(begin));
        let there = if skips { found.any(is_it) } else { found.next().is_some_and(is_it) };
        if !there {
            return Err(line.clone());
        }
        skips = false;
    }
    if skips || found.peek().is_none() { Ok(()) } else { Err(format!("(one less: {:?} came too)", found.next().unwrap_or_default())) }
}

/// A line without what differs from run to run and from machine to machine: numbers (but not those of names, as in Q4_K_M), digests, times, the width of
/// columns and rules.
fn masked(line: &str) -> String {
    let word = |word: &str| {
        if word.len() >= 12 && word.bytes().all(|b| b.is_ascii_hexdigit()) {
            return "#".to_string();
        }
        let mut out = String::new();
        let mut letters = word.chars().peekable();
        while let Some(c) = letters.next() {
            // A date and a time are joined by a letter.
            let in_name = out.ends_with(|c: char| c.is_alphanumeric() || c == '_') && !out.ends_with("#T");
            match c {
                '0'..='9' if in_name => out.push(c),
                '0'..='9' => {
                    out.push('#');
                    // The rest of the number, with what groups and divides it.
                    while let Some(c) = letters.next_if(|c| c.is_ascii_digit() || *c == '.' || *c == ',') {
                        if !c.is_ascii_digit() && !letters.peek().is_some_and(char::is_ascii_digit) {
                            out.push(c);
                        }
                    }
                }
                '-' if out.ends_with('-') => {}
                _ => out.push(c),
            }
        }
        out
    };
    let words: Vec<String> = line.split_whitespace().map(word).collect();
    words.join(" ").replace("# min # s", "# s").replace("# ms", "# s").replace("# seconds", "# second")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_string).collect()
    }

    #[test]
    fn only_sh_blocks_are_commands_and_what_is_right_below_is_their_output() {
        let text =
            "a\n```sh\nnibble demo   # why\n```\n\n```output\n3 B\n```\n```text\nnibble push\n```\n```sh\nx\n```\nb\n```output\nno\n```\n";
        let block = |line, commands: &str, expected: Option<&str>| Block { line, commands: lines(commands), expected: expected.map(lines) };
        assert_eq!(blocks(text), [block(2, "nibble demo   # why", Some("3 B")), block(12, "x", None)]);
    }

    #[test]
    fn numbers_may_differ_and_words_may_not() {
        let same = |expected: &str, found: &str| compare(&lines(expected), &found.lines().collect::<Vec<_>>());
        assert_eq!(same("3.60 MiB, 0.41 s\n| --- |", "12 MiB,   1 min 05 s\n\n| ------ |"), Ok(()));
        assert_eq!(same("story  6d035f862d3e  2 seconds ago", "story 1f2d3c4b5a69 1 second ago"), Ok(()));
        assert_eq!(same("a\n...\nd", "a\nb\nc\nd"), Ok(()));
        assert_eq!(same("a\n...", "a\nb"), Ok(()));
        assert_eq!(same("a\nc", "a\nb\nc"), Err("c".to_string()));
        assert_eq!(same("a\n...\ne", "a\nb"), Err("e".to_string()));
        assert_eq!(same("3 MiB", "3 KiB"), Err("3 MiB".to_string()));
        assert_eq!(same("Q4_K_M 3", "Q5_K_M 3"), Err("Q4_K_M 3".to_string()));
        assert_eq!(same("\"at\":\"2026-11-29T04:15:44.7Z\"", "\"at\":\"2027-01-02T23:59:59.123Z\""), Ok(()));
        assert_eq!(same("Llama 3 B ...\nend", "Llama 8 B 1 2\n 75 %  3 of 4  1 s left\nend"), Ok(()));
        assert!(same("a", "a\nb").is_err_and(|line| line.contains("\"b\"")));
        assert!(same("a", "").is_err());
    }

    #[test]
    fn cargo_runs_in_the_repository_and_not_this_task_again() {
        let blocks = [Block { line: 1, commands: lines("cargo build --release\ncargo xtask test\nnibble demo"), expected: None }];
        let (release, debug) = (script(&blocks, false), script(&blocks, true));
        assert!(release.contains("' && cargo build --release)") && !release.contains("xtask test") && release.contains("\nnibble demo\n"));
        assert!(!debug.contains("cargo") && debug.contains("\nnibble demo\n"));
    }

    #[test]
    fn the_pages_show_commands_and_their_output() {
        for page in PAGES {
            let text = std::fs::read_to_string(root().join(page)).unwrap();
            assert!(blocks(&text).iter().any(|block| !block.commands.is_empty()), "{page}");
        }
    }
}
