//! `nibble compare`: models side by side, in the one table and page that a choice between them needs.

mod given;
mod job;
mod output;

use std::path::PathBuf;

use anyhow::Result;
use clap::{ArgMatches, Args, FromArgMatches};

use super::Row;
use super::eval::{job as eval, tasks::WantedOptions};
use crate::exit::Problem;
use crate::hints;
use crate::terminal::Console;

/// The row of COMMANDS.
pub const ROW: Row = Row {
    name: "compare",
    about: "Put models side by side: size, quality, speed and memory in one table and one page",
    details: "Always measured are size, bits a weight, speed, memory, and the error of each tensor against the reference. With --text come perplexity, bits a byte and the divergence \
              from the reference; with --tasks and --data the tasks of nibble eval tasks, each with the difference to the reference on the same questions.\n\n\
              The reference is the first model, or the one of --reference. A figure after ± is one standard error.\n\n\
              -o may be given more than once: the ending says what is written, .md, .csv, .json or .html. The page is one file that loads nothing: the table, quality against size \
              with the frontier drawn, the scores of tasks and subjects, and what quantizing did to each tensor, with the numbers of every plot.\n\n\
              What other machines have measured comes with --from FILE: files of nibble eval tasks, perplexity and kl, shards put together by nibble eval merge. A file finds its model by the \
              weights.\n\n\
              With --keep FOLDER what is measured is kept there, and not measured again: an interrupted comparison goes on, and one more model costs only its own measurements.",
    examples: &[
        ("size, speed, memory and errors of tensors", "nibble compare Llama-3.2-1B Llama-3.2-1B-Q4_K_M.gguf"),
        (
            "with perplexity and divergence, as a page",
            "nibble compare Llama-3.2-1B q8_0.gguf q4_k_m.gguf --text wiki.test.raw --chunks 40 -o page.html",
        ),
        (
            "everything, to go on from",
            "nibble compare bf16.gguf q4_k_m.gguf --text wiki.test.raw --tasks mmlu,arc_easy --data bench --keep measured -o page.html -o table.md",
        ),
        ("with what a cluster has measured", "nibble compare bf16.gguf q4_k_m.gguf --from bf16-mmlu.json --from q4-mmlu.json -o page.html"),
        ("only the quality", "nibble compare bf16.gguf q4_k_m.gguf --text wiki.test.raw --no-speed --no-tensors --csv"),
    ],
    args: |command| Options::augment_args(command),
    run,
};

// No doc comment here: clap would take it for the command's about.
#[derive(Args, Debug, Clone)]
#[allow(missing_docs)]
struct Options {
    /// .gguf files, .safetensors files or Hugging Face directories, NF4 ones included
    #[arg(value_name = "MODEL", required = true)]
    models: Vec<PathBuf>,
    /// The model that the others are held against; without it, the first
    #[arg(long, value_name = "MODEL")]
    reference: Option<PathBuf>,
    /// A text, UTF-8, for perplexity and divergence
    #[arg(long, value_name = "FILE")]
    text: Option<PathBuf>,
    /// Tokens of a chunk of the text
    #[arg(short = 'c', long, value_name = "N", default_value_t = 512, value_parser = clap::value_parser!(u32).range(4..))]
    ctx: u32,
    /// At most N chunks, from the beginning of the text
    #[arg(long, value_name = "N", requires = "text", value_parser = clap::value_parser!(u32).range(1..))]
    chunks: Option<u32>,
    #[command(flatten)]
    wanted: WantedOptions,
    /// Do not measure speed and memory
    #[arg(long)]
    no_speed: bool,
    /// Do not measure the errors of tensors
    #[arg(long)]
    no_tensors: bool,
    /// What the KV cache keeps an element in, for text and tasks
    #[arg(long, value_name = "TYPE", value_parser = eval::kv_types(), default_value = "f16")]
    kv: String,
    /// Threads; without it, one for each of the fast cores
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    threads: Option<u32>,
    /// Keep measurements in FOLDER and take those that are there
    #[arg(long, value_name = "FOLDER")]
    keep: Option<PathBuf>,
    /// Take a measurement of one of the models from FILE, which nibble eval wrote with -o; may be given more than once
    #[arg(long, value_name = "FILE")]
    from: Vec<PathBuf>,
    /// Write to FILE instead of stdout: .md, .csv, .json or .html; may be given more than once
    #[arg(short, long, value_name = "FILE")]
    output: Vec<PathBuf>,
    /// Replace the files of --output if they exist
    #[arg(short, long)]
    force: bool,
    /// Print JSON
    #[arg(long, conflicts_with = "csv")]
    json: bool,
    /// Print CSV, a row a model
    #[arg(long)]
    csv: bool,
}

fn run(matches: &ArgMatches, console: &Console) -> Result<()> {
    let options = Options::from_arg_matches(matches)?;
    // All that can be wrong is found before anything is measured, which may take hours.
    let mut models: Vec<job::Subject> = vec![];
    for given in options.reference.iter().chain(&options.models) {
        let subject = job::Subject::find(given)?;
        hints::check_checkpoint(&subject.path)?;
        if models.iter().all(|known| known.path != subject.path) {
            models.push(subject);
        }
    }
    for path in &options.output {
        output::form(path)?;
        super::bench::check_output(path, options.force)?;
    }
    if let Some(keep) = &options.keep {
        std::fs::create_dir_all(keep).map_err(|error| Problem::failure(format!("{}: {error}", keep.display())))?;
    }
    let given = given::Given::read(&options.from)?;
    let plan = options.wanted.plan()?;
    let text = options.text.as_deref().map(eval::read_text).transpose()?;
    let comparison = job::Job { options: &options, models: &models, plan, text, given, console }.run()?;
    output::write(&comparison, &options, console)
}
