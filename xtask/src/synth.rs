//! `cargo xtask synth SHAPE[:LAYERS] DIR [SEED]`: a checkpoint of random weights in a real model's shape, for measuring.

use anyhow::Result;
use std::process::Command;

/// Runs the compress crate's example, optimised: a 3B checkpoint is 6 GB of random numbers.
pub fn run(words: &[String]) -> Result<()> {
    crate::shown(
        Command::new("cargo").args(["run", "--quiet", "--release", "--package", "nibble-compress", "--example", "synth", "--"]).args(words),
    )
}
