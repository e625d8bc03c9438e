//! `nibble pack`: a model as one file to hand on.

use std::path::PathBuf;

use anyhow::Result;
use clap::{ArgMatches, Args, FromArgMatches};
use nibble_store::Packing;

use super::Row;
use crate::exit::Problem;
use crate::models::{self, Found};
use crate::terminal::Console;
use crate::transfer::{CANCEL, Transfer};
use crate::{hints, units};

/// The row of COMMANDS.
pub const ROW: Row = Row {
    name: "pack",
    about: "Put a model into one ZIP file to hand on: GGUF, Modelfile, checksums, and how to run it",
    details: "MODEL is a name of the store or a .gguf file. Who has no nibble unpacks the file with any program: llama.cpp and Ollama take what is \
              in it. The weights are stored as they are; packing the same model again gives the same bytes.",
    examples: &[("a model of the store", "nibble pack assistant -o assistant.zip"), ("a file", "nibble pack model.gguf -o model.zip")],
    args: |command| Options::augment_args(command),
    run,
};

// The command line of `pack`. No doc comment here: clap would take it for the command's about.
#[derive(Args, Debug)]
#[allow(missing_docs)]
struct Options {
    /// A name of the store, or a .gguf file
    #[arg(value_name = "MODEL")]
    model: PathBuf,
    /// The file to write, or the directory for MODEL.zip [default: the current directory]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Replace FILE if it exists
    #[arg(short, long)]
    force: bool,
}

fn run(matches: &ArgMatches, console: &Console) -> Result<()> {
    let options = Options::from_arg_matches(matches)?;
    let (packing, stem) = match models::find(&options.model)? {
        Found::Entry(entry) => (Packing::of_entry(&models::store()?, &entry), entry.name.model().to_string()),
        Found::Path(path) => {
            hints::check_model_path(&path)?;
            if path.is_dir() {
                return Err(Problem::failure(format!("{} is a directory; what is packed is one GGUF model", path.display()))
                    .hint(format!("nibble quantize {0} -o model.gguf, or nibble pull {0}", path.display()))
                    .into());
            }
            (Packing::of_gguf(&path)?, path.file_stem().unwrap_or_default().to_string_lossy().into_owned())
        }
    };
    let (given, own) = (options.output.unwrap_or_default(), format!("{stem}.zip"));
    // Into a directory under its own name, as quantize does.
    let out = if given.as_os_str().is_empty() || given.is_dir() { given.join(own) } else { given };
    if out.exists() && !options.force {
        return Err(Problem::failure(format!("{} exists already", out.display()))
            .hint("--force to replace it, or another name with -o")
            .into());
    }
    hints::check_place(&out, false)?;
    let mut transfer = Transfer::new(console);
    let bytes = packing.write(&out, &mut |told| transfer.tell(told), &CANCEL)?;
    drop(transfer);
    console.note(format!("{}, {}; nibble unpack takes it in", out.display(), units::bytes(bytes)));
    Ok(())
}
