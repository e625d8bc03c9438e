//! `nibble rm`: models go.

use std::collections::BTreeSet;

use anyhow::Result;
use clap::{ArgMatches, Args, FromArgMatches};

use super::Row;
use crate::exit::Problem;
use crate::terminal::Console;
use crate::{models, units};

/// The row of COMMANDS.
pub const ROW: Row = Row {
    name: "rm",
    about: "Remove models from this device",
    details: "The files of a model go with its last name. What another model is made of too stays.",
    examples: &[("one", "nibble rm hf.co/org/repo:Q4_K_M"), ("several", "nibble rm assistant coder:latest")],
    args: |command| Options::augment_args(command),
    run,
};

// The command line of `rm`. No doc comment here: clap would take it for the command's about.
#[derive(Args, Debug)]
#[allow(missing_docs)]
struct Options {
    /// The models
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
}

fn run(matches: &ArgMatches, console: &Console) -> Result<()> {
    let options = Options::from_arg_matches(matches)?;
    let store = models::store()?;
    // A misspelt name is found before anything goes.
    let find = |name: &String| {
        let wanted = models::parse(name)?;
        store.find(&wanted).map_err(|error| match error {
            // What is to go need not be fetched for that.
            nibble_store::Error::NotFound { .. } => {
                let hint = models::near(&wanted).unwrap_or_else(|| "nibble list shows the models that are here".into());
                Problem::failure(error.to_string()).hint(hint).into()
            }
            error => anyhow::Error::from(error),
        })
    };
    let names = options.names.iter().map(find).collect::<Result<BTreeSet<_>>>()?;
    for name in names {
        let freed = store.remove(&name)?;
        console.note(format!("removed {name}, {} freed", units::bytes(freed)));
    }
    Ok(())
}
