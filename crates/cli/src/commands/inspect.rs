//! `nibble inspect`: what a model file or directory holds. It reads containers only, so that a model of an architecture that nibble cannot run is
//! shown all the same.

mod directory;
pub mod gguf;
mod read;
mod report;

use std::path::PathBuf;

use anyhow::Result;
use clap::{ArgMatches, Args, FromArgMatches};

use super::Row;
use crate::hints;
use crate::terminal::{self, Console};

/// The row of COMMANDS.
pub const ROW: Row = Row {
    name: "inspect",
    about: "Show what a model holds: header, configuration, tensors, types, bits per weight, sizes",
    details: "Works on .gguf files (of a split one, any part), .safetensors files and Hugging Face directories, bitsandbytes NF4 ones included; \
              of any architecture, also of those that nibble cannot run.",
    examples: &[
        ("the overview", "nibble inspect model.gguf"),
        ("with every tensor", "nibble inspect Llama-3.2-1B --tensors"),
        ("for a script", "nibble inspect model.gguf --json"),
    ],
    args: |command| Options::augment_args(command),
    run,
};

// The command line of `inspect`. No doc comment here: clap would take it for the command's about.
#[derive(Args, Debug)]
#[allow(missing_docs)]
struct Options {
    /// The file or directory
    #[arg(value_name = "PATH")]
    path: PathBuf,
    /// List every tensor: type, shape, bytes
    #[arg(long)]
    tensors: bool,
    /// Print one JSON object, tensors and metadata included
    #[arg(long)]
    json: bool,
}

fn run(matches: &ArgMatches, _console: &Console) -> Result<()> {
    let mut options = Options::from_arg_matches(matches)?;
    options.path = crate::models::path(&options.path)?;
    hints::check_model_path(&options.path)?;
    let report = read::read(&options.path)?;
    match options.json {
        true => terminal::print_json(&report),
        false => Ok(terminal::print(&report.to_text(options.tensors))?),
    }
}
