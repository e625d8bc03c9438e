//! `nibble cp`: a second name for a model.

use anyhow::Result;
use clap::{ArgMatches, Args, FromArgMatches};

use super::Row;
use crate::models;
use crate::terminal::Console;

/// The row of COMMANDS.
pub const ROW: Row = Row {
    name: "cp",
    about: "Give a model a second name",
    details: "Nothing is copied but the name: the files are shared, and stay until no name is left. A name may begin with a registry, HOST[:PORT]/NAMESPACE/MODEL, \
              to which nibble push then publishes the model.",
    examples: &[
        ("a short name", "nibble cp hf.co/org/repo:Q4_K_M assistant"),
        ("a name at a registry, for nibble push", "nibble cp assistant nas.local:5000/me/assistant"),
    ],
    args: |command| Options::augment_args(command),
    run,
};

// The command line of `cp`. No doc comment here: clap would take it for the command's about.
#[derive(Args, Debug)]
#[allow(missing_docs)]
struct Options {
    /// The model
    #[arg(value_name = "NAME")]
    from: String,
    /// Its new name; what has it now loses it
    #[arg(value_name = "NEW")]
    to: String,
}

fn run(matches: &ArgMatches, console: &Console) -> Result<()> {
    let options = Options::from_arg_matches(matches)?;
    let to = models::parse(&options.to)?;
    let from = models::store()?.copy(&models::parse(&options.from)?, &to)?;
    console.note(format!("{from} is {to} too"));
    Ok(())
}
