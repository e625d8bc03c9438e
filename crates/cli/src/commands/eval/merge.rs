//! `nibble eval merge`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{ArgMatches, Args, FromArgMatches};
use nibble_evaluate::quality::record::{Run, merge};
use nibble_evaluate::tasks::{self, Report, report};

use super::job;
use crate::commands::{Row, bench};
use crate::exit::Problem;
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
    if options.shards.first().is_some_and(|path| is_of_tasks(path)) {
        return merge_tasks(&options, console);
    }
    let shards = options.shards.iter().map(|path| Run::read(path)).collect::<Result<Vec<_>, _>>()?;
    let whole = merge(shards)?;
    if let Some(output) = &options.output {
        job::write(output, &whole)?;
        console.note(format!("written: {}", output.display()));
    }
    job::print(&whole, options.json)
}

/// Whether a file is a report of `nibble eval tasks`.
fn is_of_tasks(path: &Path) -> bool {
    #[derive(serde::Deserialize)]
    struct Kind {
        kind: String,
    }
    let kind = std::fs::read(path).ok().and_then(|bytes| serde_json::from_slice::<Kind>(&bytes).ok());
    kind.is_some_and(|k| k.kind == report::KIND)
}

fn merge_tasks(options: &Options, console: &Console) -> Result<()> {
    let read = |path: &PathBuf| -> Result<Report> {
        let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
        Report::parse(&text).map_err(|why| Problem::failure(format!("{}: {why}", path.display())).into())
    };
    let whole = tasks::merge(options.shards.iter().map(read).collect::<Result<_>>()?)?;
    if let Some(output) = &options.output {
        super::tasks::write(output, &whole)?;
        console.note(format!("written: {}", output.display()));
    }
    super::tasks::print(&whole, false, options.json, false)
}
