//! `nibble unpack`: a packed model into the store.

use std::path::PathBuf;

use anyhow::Result;
use clap::{ArgMatches, Args, FromArgMatches};

use super::Row;
use crate::exit::Problem;
use crate::models;
use crate::terminal::Console;
use crate::transfer::{CANCEL, Transfer};

/// The row of COMMANDS.
pub const ROW: Row = Row {
    name: "unpack",
    about: "Take a model that nibble pack has packed into the store",
    details: "Every file is compared with the archive's checksums before the model gets its name. The archive is not needed afterwards.",
    examples: &[("under the archive's name", "nibble unpack assistant.zip"), ("under another", "nibble unpack assistant.zip helper:v2")],
    args: |command| Options::augment_args(command),
    run,
};

// The command line of `unpack`. No doc comment here: clap would take it for the command's about.
#[derive(Args, Debug)]
#[allow(missing_docs)]
struct Options {
    /// The archive
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The model's name; without it, the archive's
    #[arg(value_name = "NAME")]
    name: Option<String>,
}

fn run(matches: &ArgMatches, console: &Console) -> Result<()> {
    let options = Options::from_arg_matches(matches)?;
    let mut magic = [0; 4];
    let read = std::fs::File::open(&options.file).and_then(|mut file| std::io::Read::read_exact(&mut file, &mut magic));
    // What cannot be read the store says better.
    if read.is_ok() && &magic == b"GGUF" {
        return Err(Problem::failure(format!("{} is a GGUF file, not an archive", options.file.display()))
            .hint(format!("nibble create NAME --from {}", options.file.display()))
            .into());
    }
    if read.is_ok() && !magic.starts_with(b"PK") {
        return Err(Problem::failure(format!("{} is not a ZIP archive", options.file.display()))
            .hint("an archive that nibble pack has made")
            .into());
    }
    let name = match &options.name {
        Some(name) => models::parse(name)?,
        None => {
            let stem = options.file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            models::parse(&stem).map_err(|error| Problem::failure(error.to_string()).hint("give a name after the file"))?
        }
    };
    let mut transfer = Transfer::new(console);
    let entry = models::store()?.unpack(&options.file, &name, &mut |told| transfer.tell(told), &CANCEL)?;
    drop(transfer);
    models::announce(&entry, console);
    Ok(())
}
