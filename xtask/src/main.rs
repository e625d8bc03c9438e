//! Tasks of the repository: `cargo xtask TASK`. One file a task; TASKS is the only list of them.

mod clients;
mod golden;
mod readme;
mod synth;
mod test;
mod tidy;
mod x86;

use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

struct Task {
    name: &'static str,
    about: &'static str,
    run: fn(&[String]) -> Result<()>,
}

const TASKS: &[Task] = &[
    Task { name: "test", about: "everything that must hold before a change lands", run: test::run },
    Task { name: "tidy", about: "the house rules: file heads, file lengths, what may stand where", run: tidy::run },
    Task { name: "readme", about: "[--debug] [PAGE...]: runs every command of README.md and docs/TUTORIAL.md", run: readme::run },
    Task {
        name: "synth",
        about: "SHAPE[:LAYERS] DIR [SEED]: a checkpoint of random weights in a real shape, for measuring",
        run: synth::run,
    },
    Task { name: "golden", about: "makes the golden values anew (needs NIBBLE_PEERS_PYTHON)", run: golden::run },
];

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    let name = words.next().unwrap_or_default();
    let rest: Vec<String> = words.collect();
    let Some(task) = TASKS.iter().find(|task| task.name == name) else {
        eprintln!("usage: cargo xtask TASK\n");
        for task in TASKS {
            eprintln!("  {:<8} {}", task.name, task.about);
        }
        return ExitCode::from(2);
    };
    match (task.run)(&rest) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask {name}: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The repository's root.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the repository's root").to_path_buf()
}

/// Where cargo puts what it builds: `CARGO_TARGET_DIR`, else `target` in the root.
fn target_dir() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// Runs a command in the root with its output shown; a failure names the command.
fn shown(command: &mut Command) -> Result<()> {
    let words = words(command);
    eprintln!("xtask: {words}");
    let status = command.current_dir(root()).status().with_context(|| format!("cannot start `{words}`"))?;
    if !status.success() {
        bail!("`{words}` failed: {status}");
    }
    Ok(())
}

/// A command as one would type it.
fn words(command: &Command) -> String {
    let parts = std::iter::once(command.get_program()).chain(command.get_args());
    parts.map(|part| part.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}
