//! The step `clients` of `cargo xtask test`: the official `ollama` and `openai` packages, for Python and JavaScript, against the program's server.
//!
//! NIBBLE_CLIENTS names the folder that `.ci/clients.sh FOLDER` filled. The tests are in tests/clients; `run.py` there starts the server, with a store
//! of its own, and closes with the line of a test runner.

use crate::test::{Count, counted, program, skip};
use crate::{root, shown, target_dir};
use anyhow::{Context, Result, bail};
use std::path::Path;
use std::process::Command;

pub fn run(count: &mut Count) -> Result<()> {
    let Some(folder) = std::env::var_os("NIBBLE_CLIENTS") else {
        return skip("NIBBLE_CLIENTS is not set (`bash .ci/clients.sh FOLDER` gets the clients, then NIBBLE_CLIENTS=FOLDER)");
    };
    let folder = Path::new(&folder);
    let python = folder.join("venv/bin/python");
    if !python.is_file() {
        bail!("NIBBLE_CLIENTS: {} is not there: run `bash .ci/clients.sh {}`", python.display(), folder.display());
    }
    let program = program()?;
    let scratch = target_dir().join("clients");
    std::fs::create_dir_all(&scratch).with_context(|| format!("cannot make {}", scratch.display()))?;
    let model = scratch.join("tiny.gguf");
    shown(Command::new(&program).args(["quantize", "--quiet", "--force", "models/tiny", "-o"]).arg(&model))?;
    counted(Command::new(python).arg("-B").arg(root().join("tests/clients/run.py")).args([&program, &model]).arg(folder), count)
}
