//! `nibble eval merge`.

use std::path::PathBuf;

use anyhow::Result;
use clap::{ArgMatches, Args, FromArgMatches};
use nibble_evaluate::quality::record::{Run, merge};

use super::job;
use crate::commands::{Row, bench};
use crate::terminal::Console;

/// The row of PARTS.
pub const ROW: Row = Row {
    name: "merge",
    about: "Put the shards of a measurement together: exactly the figures of one run",
    details: "The files are those that --shard I/N -o FILE wrote, all of them, in any order. They must be of the same model, text and settings; where the files of a model or a text lie may differ.",
    examples: &[("eight shards", "nibble eval merge ppl-0.json ppl-1.json ppl-2.json -o ppl.json")],
    args: |command| Options::augment_args(command),
    run,
};

// No doc comment here: clap would take it for the command's about.
#[derive(Args, Debug, Clone)]
#[allow(missing_docs)]
struct Options {
    /// The shards
    #[arg(value_name = "FILE", required = true)]
    shards: Vec<PathBuf>,
    /// Keep the whole run in FILE
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Replace the file of --output if it exists
    #[arg(short, long)]
    force: bool,
    /// Print the figures as JSON
    #[arg(long)]
    json: bool,
}

fn run(matches: &ArgMatches, console: &Console) -> Result<()> {
    let options = Options::from_arg_matches(matches)?;
    if let Some(output) = &options.output {
        bench::check_output(output, options.force)?;
    }
    let shards = options.shards.iter().map(|path| Run::read(path)).collect::<Result<Vec<_>, _>>()?;
    let whole = merge(shards)?;
    if let Some(output) = &options.output {
        job::write(output, &whole)?;
        console.note(format!("written: {}", output.display()));
    }
    job::print(&whole, options.json)
}
