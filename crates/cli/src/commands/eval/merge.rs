//! `nibble eval merge`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{ArgMatches, Args, FromArgMatches};
use nibble_container::whole::same_file;
use nibble_evaluate::quality::base::{Base, join};
use nibble_evaluate::quality::record::{self, Run, merge};
use nibble_evaluate::tasks::{self, Report, report};

use super::job;
use crate::commands::{Row, bench};
use crate::exit::Problem;
use crate::terminal::Console;

/// The row of PARTS.
pub const ROW: Row = Row {
    name: "merge",
    about: "Put the shards of a measurement together: exactly the figures of one run",
    details: "The files are those that --shard I/N -o FILE wrote, all of them, in any order. They must be of the same model, text and settings; where the files of a model or a text lie may differ.\n\n\
              Shards that wrote base files too (--save-base): with all of these among the files, in any order, and --save-base here, they become the one base file that one run would \
              have written.",
    examples: &[
        ("three shards", "nibble eval merge ppl-0.json ppl-1.json ppl-2.json -o ppl.json"),
        ("and what the model said", "nibble eval merge ppl-0.json ppl-1.json wiki-0.base wiki-1.base -o ppl.json --save-base wiki.base"),
    ],
    args: |command| Options::augment_args(command),
    run,
};

// No doc comment here: clap would take it for the command's about.
#[derive(Args, Debug, Clone)]
#[allow(missing_docs)]
struct Options {
    /// The shards, and the base files that they wrote
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Keep the whole run in FILE
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Join the base files of the shards to FILE
    #[arg(long, value_name = "FILE")]
    save_base: Option<PathBuf>,
    /// Replace the files of --output and --save-base if they exist
    #[arg(short, long)]
    force: bool,
    /// Print the figures as JSON
    #[arg(long)]
    json: bool,
}

fn run(matches: &ArgMatches, console: &Console) -> Result<()> {
    let options = Options::from_arg_matches(matches)?;
    for output in options.output.iter().chain(&options.save_base) {
        bench::check_output(output, options.force)?;
    }
    let (bases, shards): (Vec<&PathBuf>, Vec<&PathBuf>) = options.files.iter().partition(|path| Base::is_one(path));
    if let Some(first) = bases.first().filter(|_| options.save_base.is_none()) {
        return Err(Problem::usage(format!("{} is a base file, and none is to be written", first.display()))
            .hint("--save-base FILE")
            .into());
    }
    if shards.first().is_some_and(|path| is_of_tasks(path)) {
        if options.save_base.is_some() {
            return Err(Problem::usage("tasks have no base files").hint("no --save-base").into());
        }
        return merge_tasks(&shards, &options, console);
    }
    let shards = shards.iter().map(|path| Run::read(path)).collect::<Result<Vec<_>, _>>()?;
    let joins = options.save_base.as_ref().map(|out| record::bases(&shards).map(|order| (out, order))).transpose()?;
    let mut whole = merge(shards)?;
    if let Some((out, order)) = joins {
        let opened = bases.iter().map(|path| Base::open(path)).collect::<Result<Vec<_>, _>>()?;
        if let Some(same) = opened.iter().find(|base| same_file(base.path(), out)) {
            return Err(Problem::usage(format!("{} is one of the base files to join", same.path().display())).hint("another name").into());
        }
        join(&opened, &order, out)?;
        whole.base = Some(Base::open(out)?.name());
        console.note(format!("written: {}", out.display()));
    }
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

fn merge_tasks(shards: &[&PathBuf], options: &Options, console: &Console) -> Result<()> {
    let read = |path: &&PathBuf| -> Result<Report> {
        let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
        Report::parse(&text).map_err(|why| Problem::failure(format!("{}: {why}", path.display())).into())
    };
    let whole = tasks::merge(shards.iter().map(read).collect::<Result<_>>()?)?;
    if let Some(output) = &options.output {
        super::tasks::write(output, &whole)?;
        console.note(format!("written: {}", output.display()));
    }
    super::tasks::print(&whole, false, options.json, false)
}
