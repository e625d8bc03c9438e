//! `cargo xtask golden [PART OF A NAME]`: makes the golden values anew, from models/tiny and the reference libraries.
//!
//! NIBBLE_PEERS_PYTHON names a Python with the packages of bench/peers/requirements.txt, NIBBLE_PEERS_LLAMA the folder with llama.cpp's
//! programs; bench/peers/setup makes both and prints the two variables. Without them nothing is touched.

use crate::{root, shown};
use anyhow::{Result, bail};
use std::process::Command;

/// Every script that makes golden values, in the order in which they must run. `cargo xtask tidy` holds this list against the tree.
pub const SCRIPTS: &[&str] = &[
    "crates/container/tests/golden/files.py",
    "crates/kernels/tests/golden/decode.py",
    "crates/kernels/tests/golden/activation.py",
    "crates/engine/tests/golden/unicode_classes.py",
    "crates/engine/tests/golden/text_tokens.py",
    "crates/engine/tests/golden/templates.py",
    "crates/kernels/tests/golden/encode.py",
    "crates/compress/tests/golden/recipes.py",
    "crates/compress/tests/golden/convert_tiny.py",
    "crates/compress/tests/golden/nf4.py",
    "crates/compress/tests/golden/imatrix.py",
    "crates/engine/tests/golden/engine_logits.py",
    "crates/engine/tests/golden/adapter.py",
    "crates/engine/tests/golden/nf4.py",
    "crates/evaluate/tests/golden/quality.py",
    "crates/evaluate/tests/golden/tasks.py",
];

pub fn run(args: &[String]) -> Result<()> {
    let Some(python) = std::env::var_os("NIBBLE_PEERS_PYTHON") else {
        bail!("NIBBLE_PEERS_PYTHON is not set: run bench/peers/setup and take over the lines that it prints");
    };
    let chosen: Vec<_> =
        SCRIPTS.iter().filter(|script| args.is_empty() || args.iter().any(|part| script.contains(part.as_str()))).collect();
    if chosen.is_empty() {
        bail!("no script's name contains {args:?}");
    }
    for script in chosen {
        shown(Command::new(&python).arg(root().join(script)))?;
    }
    Ok(())
}
