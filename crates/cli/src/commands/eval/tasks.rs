//! `nibble eval tasks`.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{ArgMatches, Args, FromArgMatches};
use nibble_container::whole::AtomicFile;
use nibble_engine::{KvType, Model};
use nibble_evaluate::tasks::gsm8k::Shots;
use nibble_evaluate::tasks::log::{Head, Log};
use nibble_evaluate::tasks::{self, Answer, Data, Error, Plan, Report, SEED, Shard, TASKS, Wanted, run as ask, show};

use super::job::kv_types;
use crate::adapters::Adapters;
use crate::commands::{Row, bench};
use crate::exit::Problem;
use crate::hints;
use crate::progress::Progress;
use crate::terminal::{self, Console};

/// The row of PARTS.
pub const ROW: Row = Row {
    name: "tasks",
    about: "Which answers a model thinks likely: MMLU, ARC, HellaSwag and others, scored as lm-evaluation-harness scores them",
    details: "Prompts, likelihoods, metrics and standard errors are those of lm-evaluation-harness 0.4.13 for the task of the same name; the log-likelihoods agree with it. \
              The questions are yours to download: --data names a folder, in which the files of each task are found by the names under which they are published, \
              or one file. Known are CSV (MMLU), JSON lines and JSON arrays, of the Hugging Face hub, of the authors and of LLM-Adapters; --list shows names and fields. \
              A file is checked whole before the model is loaded.\n\n\
              What prompts share is computed once: the examples of a subject for all its questions, a question for all its choices.\n\n\
              With -o FILE each answer is added to FILE.part as it is given, with --log FILE to that file, which stays. The same command goes on from there. Shards (--shard 0/8 to \
              --shard 7/8, each with -o) are put together by nibble eval merge: exactly the figures of one run.\n\n\
              GSM8K gets the examples that the harness draws, others for each question, so that nothing is shared; --same-examples gives all the first five, which is several \
              times as fast.",
    examples: &[
        ("MMLU, five examples a subject", "nibble eval tasks model.gguf --tasks mmlu --data mmlu"),
        ("a first look at several", "nibble eval tasks model.gguf --tasks arc_easy,piqa,winogrande --data bench --limit 100"),
        ("what there is, and what its files are called", "nibble eval tasks --list"),
        (
            "one shard of eight, to go on from after an interruption",
            "nibble eval tasks model.gguf --tasks mmlu --data mmlu --shard 3/8 -o mmlu-3.json",
        ),
        ("every answer, to look into", "nibble eval tasks model.gguf --tasks arc_easy --data bench --log arc.jsonl"),
    ],
    args: |command| Options::augment_args(command),
    run,
};

// No doc comment here: clap would take it for the command's about.
#[derive(Args, Debug, Clone)]
#[allow(missing_docs)]
struct Options {
    /// A .gguf file (of a split one, any part), a .safetensors file or a Hugging Face directory, NF4 ones included
    #[arg(value_name = "MODEL", required_unless_present = "list")]
    model: Option<PathBuf>,
    #[command(flatten)]
    wanted: WantedOptions,
    /// List the tasks, the names of their files and what is in them
    #[arg(long)]
    list: bool,
    /// Tokens of context; a longer prompt is cut at its beginning, and that is said; without it, the model's own, 4096 at most
    #[arg(short = 'c', long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    ctx: Option<u32>,
    /// Only shard I of N, I from 0, for nibble eval merge
    #[arg(long, value_name = "I/N", default_value = "0/1", hide_default_value = true)]
    shard: Shard,
    /// What the KV cache keeps an element in
    #[arg(long, value_name = "TYPE", value_parser = kv_types(), default_value = "f16")]
    kv: String,
    /// Threads; without it, one for each of the fast cores
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    threads: Option<u32>,
    #[command(flatten)]
    adapters: Adapters,
    /// Add every answer to FILE as it is given (JSON lines); if there is one of this run, go on from it
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// Keep every answer in FILE (JSON), and in FILE.part what there is of them, to go on from
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Replace the file of --output if it exists
    #[arg(short, long)]
    force: bool,
    /// Show every subject of MMLU
    #[arg(long)]
    subjects: bool,
    /// Print the figures as JSON
    #[arg(long, conflicts_with = "csv")]
    json: bool,
    /// Print the figures as CSV, a row each
    #[arg(long)]
    csv: bool,
}

// What is asked, here and in `nibble compare`.
#[derive(Args, Debug, Clone)]
#[allow(missing_docs)]
pub struct WantedOptions {
    /// Names of tasks, with commas between them
    #[arg(long, value_name = "NAME,NAME", value_delimiter = ',', requires = "data")]
    pub tasks: Vec<String>,
    /// A folder with the files of the tasks, or one file
    #[arg(long, value_name = "PATH", requires = "tasks")]
    pub data: Option<PathBuf>,
    /// At most N questions of each task or subject, the first ones
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: Option<u64>,
    /// Draw the questions of --limit instead of taking the first
    #[arg(long, requires = "limit")]
    pub draw: bool,
    /// Where the random numbers begin, for --draw and for GSM8K's examples
    #[arg(long, value_name = "N", default_value_t = SEED)]
    pub seed: u32,
    /// Examples before each question, for tasks that have them; without it, 5
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(0..=100))]
    pub shots: Option<u64>,
    /// The first examples of the file before all questions of GSM8K, not others for each
    #[arg(long)]
    pub same_examples: bool,
}

impl WantedOptions {
    /// The questions; `None` when none are asked for. Every file is read and checked.
    pub fn plan(&self) -> Result<Option<Plan>> {
        let Some(data) = &self.data else { return Ok(None) };
        let mut tasks: Vec<String> = vec![];
        for name in self.tasks.iter().map(|name| name.trim()).filter(|name| !name.is_empty()) {
            if tasks::table::task(name).is_none() {
                let near = nibble_store::nearest(name, TASKS.iter().map(|task| task.name));
                let hint = near.map_or("nibble eval tasks --list".to_string(), |near| format!("{near}, or see nibble eval tasks --list"));
                return Err(Problem::usage(format!("there is no task {name:?}")).hint(hint).into());
            }
            if !tasks.iter().any(|known| known == name) {
                tasks.push(name.to_string());
            }
        }
        if tasks.len() > 1 && data.is_file() {
            return Err(Problem::usage(format!("{} is one file, and {} tasks are asked for", data.display(), tasks.len()))
                .hint("--data with a folder")
                .into());
        }
        let wanted = Wanted {
            tasks,
            shots: self.shots.map(|n| n as usize),
            examples: if self.same_examples { Shots::First } else { Shots::Drawn },
            limit: self.limit.map(|n| usize::try_from(n).unwrap_or(usize::MAX)),
            draw: self.draw,
            seed: self.seed,
        };
        let plan = Data::open(data).and_then(|data| Plan::new(&data, &wanted)).map_err(|error| match error {
            Error::Missing { .. } => Problem::failure(error.to_string())
                .hint("nibble eval tasks --list shows names and layouts; --data FILE takes any name")
                .into(),
            Error::Twice { .. } => Problem::failure(error.to_string()).into(),
            other => anyhow::Error::from(other),
        })?;
        Ok(Some(plan))
    }
}

fn run(matches: &ArgMatches, console: &Console) -> Result<()> {
    let options = Options::from_arg_matches(matches)?;
    if options.list {
        return Ok(terminal::print(&list())?);
    }
    if let Some(output) = &options.output {
        bench::check_output(output, options.force)?;
    }
    let Some(path) = &options.model else { return Err(Problem::usage("no model").into()) };
    let (path, adapters) = &options.adapters.find(path)?;
    hints::check_checkpoint(path)?;
    let plan = options
        .wanted
        .plan()?
        .ok_or_else(|| Problem::usage("nothing to ask").hint("--tasks arc_easy --data FOLDER; nibble eval tasks --list"))?;
    let model = Model::open(
        path,
        nibble_engine::Options {
            threads: options.threads.map(|n| n as usize),
            context: options.ctx.map(|n| n as usize),
            kv: KvType::by_name(&options.kv).unwrap_or_default(),
            adapters: adapters.clone(),
            ..nibble_engine::Options::default()
        },
    )?;
    let part = options.output.as_deref().map(part);
    let report = answer(&model, &plan, options.shard, options.log.as_deref().or(part.as_deref()), console)?;
    if let Some(output) = &options.output {
        write(output, &report)?;
        console.note(format!("written: {}", output.display()));
    }
    if let Some(part) = part.filter(|_| options.log.is_none()) {
        let _ = std::fs::remove_file(part);
    }
    print(&report, options.subjects, options.json, options.csv)
}

/// Where what there is of an output is kept.
fn part(output: &Path) -> PathBuf {
    let mut name = output.file_name().unwrap_or_default().to_os_string();
    name.push(".part");
    output.with_file_name(name)
}

/// Answers all questions, with the progress shown and every answer logged.
pub fn answer(model: &Model, plan: &Plan, shard: Shard, log: Option<&Path>, console: &Console) -> Result<Report> {
    let total = plan.of(shard).len();
    let mut known: Vec<Answer> = vec![];
    let mut log = match log {
        None => None,
        Some(path) => {
            let head = Head::new(&tasks::run::facts(model), plan, model.context(), &model.options().kv.name(), shard);
            let opened = match path.exists() {
                false => Log::create(path, &head),
                true => Log::resume(path, &head).map(|(log, answers)| {
                    console.note(format!("going on after {} of {total} questions ({})", answers.len(), path.display()));
                    known = answers;
                    log
                }),
            };
            Some(opened.map_err(|error| Problem::failure(error.to_string()).hint(format!("rm {}, or another name", path.display())))?)
        }
    };
    let progress = Progress::questions(console, total as u64, known.len() as u64);
    let (mut right, mut counted) = (0.0, 0usize);
    let report = ask(model, plan, shard, known, &mut |step, given| {
        if let Some(given) = given {
            right += given.scores.first().copied().unwrap_or(0.0);
            counted += 1;
            if let Some(log) = &mut log {
                log.add(given)?;
            }
        }
        let so_far = if counted > 0 { format!(", {:.1} % right", 100.0 * right / counted as f64) } else { String::new() };
        progress.update(step.done as u64, &format!("{}{so_far}", step.part));
        Ok(())
    })?;
    drop(progress);
    if report.cut() > 0 {
        console.warn(format!(
            "{} prompts are longer than the context of {} tokens and were cut at their beginning",
            report.cut(),
            report.context
        ));
    }
    Ok(report)
}

/// Writes a report whole or not at all.
pub fn write(path: &Path, report: &Report) -> Result<()> {
    let mut file = AtomicFile::create(path)?;
    let text = serde_json::to_string_pretty(report)? + "\n";
    file.write_all(text.as_bytes()).with_context(|| path.display().to_string())?;
    Ok(file.commit()?)
}

/// Prints the figures.
pub fn print(report: &Report, subjects: bool, json: bool, csv: bool) -> Result<()> {
    if csv {
        return Ok(terminal::print(&show::csv(report))?);
    }
    if !json {
        return Ok(terminal::print(&show::markdown(report, subjects))?);
    }
    let mut value = serde_json::to_value(Report { answers: vec![], ..report.clone() })?;
    if let Some(map) = value.as_object_mut() {
        map.remove("answers");
        map.insert("questions_answered".into(), report.answers.len().into());
    }
    terminal::print_json(&value)
}

fn list() -> String {
    let mut text = String::new();
    for task in TASKS {
        let metrics: Vec<&str> = task.metrics.iter().map(|metric| metric.name).collect();
        text.push_str(&format!("{}: {}\n", task.name, task.about));
        text.push_str(&format!(
            "    metrics: {}\n    files:   {}\n    fields:  {}\n",
            metrics.join("; "),
            task.files.join(", "),
            task.layout
        ));
    }
    text
}
