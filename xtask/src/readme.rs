//! `cargo xtask readme`: runs every command of README.md's `sh` blocks in an empty folder that sees models/, the README and the release build.
//!
//! `cargo xtask test` is not run from here (it runs this task); a block that cannot run on every machine is fenced as `text`.

use crate::{root, shown, target_dir};
use anyhow::{Context, Result, bail};
use std::process::{Command, Stdio};

pub fn run(_: &[String]) -> Result<()> {
    let text = std::fs::read_to_string(root().join("README.md")).context("README.md")?;
    shown(Command::new("cargo").args(["build", "--quiet", "--release", "-p", "nibble"]))?;
    let scratch = target_dir().join("readme");
    let _ = std::fs::remove_dir_all(&scratch);
    std::fs::create_dir_all(&scratch)?;
    for seen in ["models", "README.md"] {
        std::os::unix::fs::symlink(root().join(seen), scratch.join(seen))?;
    }
    let path = std::env::join_paths(
        std::iter::once(target_dir().join("release")).chain(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())),
    )?;
    let commands = commands(&text);
    if commands.is_empty() {
        bail!("README.md shows no command");
    }
    for line in &commands {
        if line.starts_with("cargo xtask test") {
            continue;
        }
        eprintln!("xtask: README: {line}");
        // The program itself is run from the repository, the rest in the empty folder.
        let folder = if line.starts_with("cargo ") { root() } else { scratch.clone() };
        let mut command = Command::new("bash");
        command.args(["-euo", "pipefail", "-c", line]).current_dir(folder).env("PATH", &path).stdin(Stdio::null());
        // Not the store of whoever runs this.
        command.env("NIBBLE_MODELS", scratch.join("store"));
        let out = command.output().with_context(|| format!("cannot start `{line}`"))?;
        if !out.status.success() {
            bail!("`{line}`: {}\n{}{}", out.status, String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
        }
    }
    eprintln!("xtask: {} commands of README.md ran", commands.len());
    std::fs::remove_dir_all(&scratch)?;
    Ok(())
}

/// The command lines of the `sh` blocks, without comments.
fn commands(text: &str) -> Vec<String> {
    let mut commands = Vec::new();
    let mut inside = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            inside = line.trim() == "```sh";
        } else if inside {
            let line = line.split("  #").next().unwrap_or_default().trim();
            if !line.is_empty() && !line.starts_with('#') {
                commands.push(line.to_string());
            }
        }
    }
    commands
}

#[cfg(test)]
mod tests {
    #[test]
    fn only_sh_blocks_are_commands() {
        let text = "a\n```sh\nnibble demo   # why\n\n# no\n```\n```text\nnibble push\n```\n";
        assert_eq!(super::commands(text), ["nibble demo"]);
    }
}
