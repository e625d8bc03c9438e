//! `cargo xtask tidy`: the rules of the house that a compiler does not check. ARCHITECTURE.md says why each is there.

use crate::{golden, root};
use anyhow::{Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The longest file under a `src` folder. Past it, one idea has become two.
const MAX_LINES: usize = 600;

/// A word that may stand only in the files whose path starts with one of the places (code under `src`, not tests or examples).
struct Rule {
    word: &'static str,
    within: &'static str,
    only: &'static [&'static str],
    why: &'static str,
}

const RULES: &[Rule] = &[
    Rule {
        word: "is_x86_feature_detected!",
        within: "crates/",
        only: &["crates/kernels/src/cpu.rs"],
        why: "only cpu.rs asks the CPU what it can do",
    },
    Rule {
        word: "is_aarch64_feature_detected!",
        within: "crates/",
        only: &["crates/kernels/src/cpu.rs"],
        why: "only cpu.rs asks the CPU what it can do",
    },
    Rule { word: "memmap2::", within: "crates/", only: &["crates/container/src/map"], why: "only map.rs maps files" },
    Rule { word: "println!", within: "crates/", only: &["crates/cli/"], why: "only the cli prints" },
    Rule { word: "env::var", within: "crates/", only: &["crates/cli/"], why: "only the cli reads the environment" },
    Rule {
        word: "process::exit",
        within: "crates/",
        only: &["crates/cli/src/interrupt.rs"],
        why: "the program ends there or by returning from main, with a code of the table in exit.rs",
    },
    Rule {
        word: "ExitCode::",
        within: "crates/",
        only: &["crates/cli/src/exit.rs", "crates/cli/src/main.rs"],
        why: "the table in exit.rs has every code that the program leaves with",
    },
    Rule { word: "std::fs", within: "crates/kernels/", only: &[], why: "kernels reads no file" },
    Rule { word: "std::thread", within: "crates/kernels/", only: &[], why: "kernels spawns nothing" },
    Rule { word: "Vec<", within: "crates/kernels/", only: &[], why: "kernels allocates nothing" },
    Rule { word: "vec![", within: "crates/kernels/", only: &[], why: "kernels allocates nothing" },
    Rule { word: "nibble_kernels", within: "crates/container/", only: &[], why: "container and kernels know nothing of each other" },
    Rule { word: "../shared", within: "crates/", only: &[], why: "nothing that a user runs may need the test data" },
];

pub fn run(_: &[String]) -> Result<()> {
    let faults = faults()?;
    if faults.is_empty() {
        return Ok(());
    }
    bail!("{} faults\n  {}", faults.len(), faults.join("\n  "));
}

fn faults() -> Result<Vec<String>> {
    let root = root();
    let listed = Command::new("git").args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]).current_dir(&root).output()?;
    if !listed.status.success() {
        bail!("`git ls-files` failed: {}", String::from_utf8_lossy(&listed.stderr));
    }
    let files: Vec<PathBuf> = String::from_utf8(listed.stdout)?.split('\0').filter(|name| !name.is_empty()).map(PathBuf::from).collect();
    let mut faults = Vec::new();
    for file in files.iter().filter(|file| root.join(file).is_file()) {
        let name = file.to_string_lossy();
        if name.ends_with(".rs") {
            rust(&name, &std::fs::read_to_string(root.join(file))?, &mut faults);
        }
        if name.contains("/tests/golden/") && name.ends_with(".py") && !name.contains("/_") && !golden::SCRIPTS.contains(&&*name) {
            faults.push(format!("{name}: not in the list of `cargo xtask golden` (xtask/src/golden.rs)"));
        }
    }
    for script in golden::SCRIPTS.iter().filter(|script| !root.join(script).is_file()) {
        faults.push(format!("xtask/src/golden.rs: {script} is not there"));
    }
    documents(&root, &files, &mut faults)?;
    Ok(faults)
}

/// The rules for one Rust file.
fn rust(name: &str, text: &str, faults: &mut Vec<String>) {
    if !text.starts_with("//!") && !text.starts_with("#!") {
        faults.push(format!("{name}:1: a file opens with `//!` and what it is for"));
    }
    if !name.contains("/src/") || name.ends_with("/tests.rs") {
        return;
    }
    let lines = text.lines().count();
    if lines > MAX_LINES {
        faults.push(format!("{name}: {lines} lines; past {MAX_LINES} a file is two"));
    }
    let code = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    for rule in RULES.iter().filter(|rule| name.starts_with(rule.within) && !rule.only.iter().any(|place| name.starts_with(place))) {
        for (number, line) in code.lines().enumerate() {
            if line.contains(rule.word) && !line.trim_start().starts_with("//") {
                faults.push(format!("{name}:{}: `{}`: {}", number + 1, rule.word, rule.why));
            }
        }
    }
}

/// ARCHITECTURE.md names every crate, and nothing in back-quotes that looks like a path of the tree but is not there.
fn documents(root: &Path, files: &[PathBuf], faults: &mut Vec<String>) -> Result<()> {
    let text = std::fs::read_to_string(root.join("ARCHITECTURE.md"))?;
    for entry in std::fs::read_dir(root.join("crates"))? {
        let name = format!("crates/{}", entry?.file_name().to_string_lossy());
        if !text.contains(&name) {
            faults.push(format!("ARCHITECTURE.md: says nothing of {name}"));
        }
    }
    let tops = ["crates/", "xtask/", "bench/", "models/", "fuzz/", ".ci/"];
    for word in text.split('`').skip(1).step_by(2) {
        let placeholder = word.contains(['{', '*', '<', ' ']) || word.contains("NAME");
        if tops.iter().any(|top| word.starts_with(top)) && !placeholder {
            let path = word.trim_end_matches('/');
            if !files.iter().any(|file| file.starts_with(path)) {
                faults.push(format!("ARCHITECTURE.md: `{word}` is not there"));
            }
        }
    }
    if !std::fs::read_to_string(root.join("CHANGELOG.md"))?.contains("## [Unreleased]") {
        faults.push("CHANGELOG.md: no `## [Unreleased]`".to_string());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_tree_is_tidy() {
        let faults = super::faults().expect("the tree can be read");
        assert!(faults.is_empty(), "{}", faults.join("\n"));
    }

    #[test]
    fn a_rule_finds_its_word_outside_tests_and_comments() {
        let mut faults = Vec::new();
        let text = "//! X.\nfn f() { println!(); }\n// println!\n#[cfg(test)]\nmod tests { fn g() { println!(); } }\n";
        super::rust("crates/engine/src/x.rs", text, &mut faults);
        assert_eq!(faults.len(), 1, "{faults:?}");
        super::rust("crates/cli/src/x.rs", text, &mut faults);
        assert_eq!(faults.len(), 1, "{faults:?}");
    }
}
