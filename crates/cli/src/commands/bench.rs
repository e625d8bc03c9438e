//! `nibble bench`: how fast a model runs here, and what part of the machine's limits that is.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{ArgMatches, Args, FromArgMatches};
use nibble_container::whole::AtomicFile;
use nibble_engine::source::Source;
use nibble_evaluate::bench::{self, Comparison, Plan, Report, SCHEMA, Settings};
use serde_json::Value;

use super::Row;
use super::inspect::gguf;
use crate::adapters::Adapters;
use crate::exit::Problem;
use crate::hints;
use crate::progress::Progress;
use crate::terminal::{self, Console};

/// The row of COMMANDS.
pub const ROW: Row = Row {
    name: "bench",
    about: "Measure how fast a model runs here, beside what the machine could do",
    details: "Measured are: loading; loading to the first token after a prompt of 20; prompts of several lengths; generation after caches of \
              several lengths; memory. As llama-bench does, this feeds tokens of a fixed sequence and computes logits; sampling and text are \
              not in the times. Before each test there is a small run that does not count. Results are the median of the repetitions, with \
              the least and the greatest.\n\n\
              The machine's read bandwidth and its peak of 8-bit multiplications are measured with the same threads, before and after every \
              repetition, since both change while a run lasts. Generation is given as \
              the part of the bandwidth that its weights and cache take, a prompt as the part of the peak that its weights' multiplications \
              take. A model that fits in the processor's cache can read faster than main memory gives. Other work on the machine changes \
              everything: compare only what ran side by side.",
    examples: &[
        ("the usual measurements", "nibble bench model.gguf"),
        ("a quick look", "nibble bench model.gguf --quick"),
        ("for a record, on one and on two threads", "nibble bench model.gguf --threads 1,2 --output model.json"),
        ("after a change, beside the record", "nibble bench model.gguf --threads 1,2 --compare model.json"),
        ("only what llama-bench does by default", "nibble bench model.gguf --pp 512 --tg 128 --depth 0 --csv"),
    ],
    args: |command| Options::augment_args(command),
    run,
};

const PROMPTS: &[usize] = &[16, 64, 512, 2048];
const DEPTHS: &[usize] = &[0, 512, 4096];

// The command line of `bench`. No doc comment here: clap would take it for the command's about.
#[derive(Args, Debug, Clone)]
#[allow(missing_docs)]
struct Options {
    /// A .gguf file (of a split one, any part), a .safetensors file or a Hugging Face directory, NF4 ones included
    #[arg(value_name = "MODEL")]
    model: PathBuf,
    /// Tokens of the prompts, 0 for none [default: 16,64,512,2048]
    #[arg(long, value_name = "N,N", value_delimiter = ',', value_parser = tokens())]
    pp: Vec<u64>,
    /// Tokens to generate, 0 for none [default: 64]
    #[arg(long, value_name = "N", value_parser = tokens())]
    tg: Option<u64>,
    /// Tokens in the cache before generation [default: 0,512,4096]
    #[arg(long, value_name = "N,N", value_delimiter = ',', value_parser = tokens())]
    depth: Vec<u64>,
    /// Threads; several for a measurement with each; without it, one for each of the fast cores
    #[arg(long, value_name = "N,N", value_delimiter = ',', value_parser = clap::value_parser!(u64).range(1..=1024))]
    threads: Vec<u64>,
    /// Repetitions of each test [default: 5]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1000))]
    repetitions: Option<u64>,
    /// The longest context to use; what needs more is skipped; without it, the model's own
    #[arg(short = 'c', long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    ctx: Option<u64>,
    /// What the KV cache keeps an element in: f16, q8_0, q4_0 or f32
    #[arg(long, visible_alias = "kv-type", value_name = "TYPE", value_parser = super::run::kv_types(), default_value = "f16")]
    kv: String,
    #[command(flatten)]
    adapters: Adapters,
    /// A shorter measurement: --pp 16,512 --tg 32 --depth 0 -r 3, as far as they are not given
    #[arg(long)]
    quick: bool,
    /// Do not measure the machine's limits, which takes up to 1 GiB of memory for a moment
    #[arg(long)]
    no_limits: bool,
    /// Write JSON, every repetition in it
    #[arg(long, conflicts_with = "csv")]
    json: bool,
    /// Write CSV, a row a test
    #[arg(long)]
    csv: bool,
    /// Write to FILE instead of stdout; FILE.json and FILE.csv are JSON and CSV
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Replace the file of --output if it exists
    #[arg(short, long, requires = "output")]
    force: bool,
    /// Show how many times as fast as in OTHER this is, the JSON of an earlier run
    #[arg(long, value_name = "OTHER")]
    compare: Option<PathBuf>,
}

/// A number of tokens: more than any context is a slip of the finger.
fn tokens() -> clap::builder::RangedU64ValueParser {
    clap::value_parser!(u64).range(0..=1 << 30)
}

/// How a report is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Markdown,
    Json,
    Csv,
}

fn run(matches: &ArgMatches, console: &Console) -> Result<()> {
    let mut options = Options::from_arg_matches(matches)?;
    // All that can be wrong is found before anything is measured, which may take an hour.
    let (path, adapters) = options.adapters.find(&options.model)?;
    options.model = path;
    hints::check_checkpoint(&options.model)?;
    if let Some(output) = &options.output {
        check_output(output, options.force)?;
    }
    let other = options.compare.as_deref().map(read).transpose()?;
    let settings = settings(&options);
    let source = Source::open(&options.model)?;
    let kind = match adapters.len() {
        0 => kind(&source),
        n => format!("{} with {n} adapter{}", kind(&source), if n == 1 { "" } else { "s" }),
    };
    let plan = Plan::new(&settings, source.config());
    drop(source);
    for skipped in &plan.skipped {
        console.note(format!("skipped: {} {} at depth {}: {}", skipped.test.name(), skipped.tokens, skipped.depth, skipped.why));
    }

    let mut progress = None;
    let report = bench::run(&options.model, &adapters, &kind, &settings, &mut |step| {
        progress.get_or_insert_with(|| Progress::steps(console, step.total)).update(step.done, &step.what);
    })?;
    drop(progress);
    let comparison = other.map(|other| bench::compare(&report, &other, &shown(options.compare.as_deref())));
    let text = text(&report, comparison.as_ref(), form(&options))?;
    match &options.output {
        None => terminal::print(&text)?,
        Some(path) => {
            let mut file = AtomicFile::create(path)?;
            file.write_all(text.as_bytes()).with_context(|| path.display().to_string())?;
            file.commit()?;
            console.note(format!("written: {}", path.display()));
        }
    }
    Ok(())
}

fn settings(options: &Options) -> Settings {
    let list = |given: &[u64], usual: &[usize], quick: &[usize]| match given.is_empty() {
        false => given.iter().map(|&n| n as usize).collect(),
        true if options.quick => quick.to_vec(),
        true => usual.to_vec(),
    };
    let one = |given: Option<u64>, usual: usize, quick: usize| given.map_or(if options.quick { quick } else { usual }, |n| n as usize);
    let mut threads: Vec<usize> = options.threads.iter().map(|&n| n as usize).collect();
    threads.sort_unstable();
    threads.dedup();
    Settings {
        prompts: list(&options.pp, PROMPTS, &[16, 512]),
        generate: one(options.tg, 64, 32),
        depths: list(&options.depth, DEPTHS, &[0]),
        threads,
        repetitions: one(options.repetitions, 5, 3),
        context: options.ctx.map(|n| usize::try_from(n).unwrap_or(usize::MAX)),
        kv: nibble_engine::KvType::by_name(&options.kv).unwrap_or_default(),
        limits: !options.no_limits,
    }
}

/// What the model's type is called: as a GGUF says, else the type that most of its weights have.
pub(super) fn kind(source: &Source) -> String {
    let declared = source.checkpoint().metadata().and_then(|m| m.value("general.file_type")).and_then(|v| v.integer());
    let mut weights: Vec<(&str, u64)> = vec![];
    for tensor in source.tensors() {
        let (name, count) = (source.type_name(tensor), (tensor.rows() * tensor.cols()) as u64);
        match weights.iter_mut().find(|(known, _)| *known == name) {
            Some((_, sum)) => *sum += count,
            None => weights.push((name, count)),
        }
    }
    let most = || weights.iter().max_by_key(|(_, sum)| *sum).map_or_else(String::new, |(name, _)| name.to_string());
    declared.map_or_else(most, gguf::file_type)
}

fn form(options: &Options) -> Form {
    let ending = options.output.as_deref().and_then(Path::extension).map(|e| e.to_string_lossy().to_lowercase());
    match (options.json, options.csv, ending.as_deref()) {
        (true, _, _) | (false, false, Some("json")) => Form::Json,
        (_, true, _) | (false, false, Some("csv")) => Form::Csv,
        _ => Form::Markdown,
    }
}

fn text(report: &Report, comparison: Option<&Comparison>, form: Form) -> Result<String> {
    Ok(match form {
        Form::Markdown => bench::markdown(report, comparison),
        Form::Csv => bench::csv(report, comparison),
        Form::Json => {
            let mut value = serde_json::to_value(report)?;
            if let Some(comparison) = comparison {
                value["comparison"] = serde_json::to_value(comparison)?;
            }
            serde_json::to_string_pretty(&value)? + "\n"
        }
    })
}

fn shown(path: Option<&Path>) -> String {
    path.map_or_else(String::new, |p| p.display().to_string())
}

/// An earlier run's JSON.
fn read(path: &Path) -> Result<Report> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let no_report = |why: String| {
        Problem::failure(format!("{} is not the JSON of a run of nibble bench: {why}", path.display()))
            .hint("nibble bench MODEL --output OTHER.json, and then --compare OTHER.json")
    };
    let value: Value = serde_json::from_str(&text).map_err(|e| no_report(e.to_string()))?;
    let schema = value["schema"].as_u64();
    if schema.is_some_and(|n| n != u64::from(SCHEMA)) {
        return Err(no_report(format!("its schema is {}, this program's {SCHEMA}", value["schema"])).into());
    }
    Ok(serde_json::from_value(value).map_err(|e| no_report(e.to_string()))?)
}

/// Refuses a file that cannot be written, or that is there already.
pub(super) fn check_output(path: &Path, force: bool) -> Result<(), Problem> {
    let shown = path.display();
    if path.is_dir() {
        return Err(Problem::failure(format!("{shown} is a directory")).hint("a file's name with -o"));
    }
    hints::check_place(path, false)?;
    if path.exists() && !force {
        return Err(Problem::failure(format!("{shown} exists already")).hint("--force to replace it, or another name with -o"));
    }
    Ok(())
}
