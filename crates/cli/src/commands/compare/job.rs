//! The measuring: one model after the other, the reference first.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use nibble_container::whole::AtomicFile;
use nibble_engine::source::Source;
use nibble_engine::text::{Clock, Tokenizer, Vocab};
use nibble_engine::{KvType, Lora, Model, state};
use nibble_evaluate::bench::{self, Cost, Test};
use nibble_evaluate::compare_models::{Comparison, Entry, Estimate, KIND, SCHEMA, Speed, task_figures, tensors};
use nibble_evaluate::machine::Machine;
use nibble_evaluate::quality::record::Chunk;
use nibble_evaluate::quality::run::{Against, run as score};
use nibble_evaluate::quality::windows::{Cut, Passage};
use nibble_evaluate::quality::{Fault, figures};
use nibble_evaluate::tasks::{Plan, Report, Shard};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::super::eval::tasks::answer;
use super::Options;
use super::given::Given;
use crate::adapters::of_entry;
use crate::exit::Problem;
use crate::models::{self, Found};
use crate::progress::Progress;
use crate::terminal::Console;

/// Tokens of the prompt and of the answer whose speeds are measured: as llama-bench by default, but a shorter answer.
const PROMPT: usize = 512;
const ANSWER: usize = 64;

/// A model to measure.
pub struct Subject {
    /// The file or directory.
    pub path: PathBuf,
    /// What a person calls it: its name in the store, where the file's name is a digest; else the file's.
    pub name: String,
    /// Those that it came with.
    pub adapters: Vec<Lora>,
}

impl Subject {
    /// What MODEL means on the command line.
    pub fn find(model: &Path) -> Result<Subject> {
        Ok(match models::find(model)? {
            Found::Entry(entry) => Subject { name: entry.name.to_string(), adapters: of_entry(&entry), path: entry.model },
            Found::Path(path) => Subject { name: name(&path), path, adapters: vec![] },
        })
    }
}

/// All models to measure, the reference first or among them.
pub struct Job<'a> {
    pub options: &'a Options,
    pub models: &'a [Subject],
    pub plan: Option<Plan>,
    pub text: Option<String>,
    pub given: Given,
    pub console: &'a Console,
}

/// What a measurement was of, and what came out: a file of --keep.
#[derive(Serialize, Deserialize)]
struct Kept<T> {
    key: String,
    value: T,
}

/// The reference, once it is measured.
struct Reference<'a> {
    model: &'a Model,
    fingerprint: String,
    passage: Option<Passage>,
    report: Option<Report>,
}

impl Job<'_> {
    /// Measures everything.
    pub fn run(&self) -> Result<Comparison> {
        let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs() as i64);
        let first = &self.models[0];
        // Speed before anything is loaded here: another process's memory is its own, but the machine's is shared.
        let speeds = self.models.iter().map(|subject| self.speed(subject)).collect::<Result<Vec<_>>>()?;
        let model = self.load(first)?;
        let (entry, passage, report) = self.measure(first, &model, None)?;
        let reference = Reference { model: &model, fingerprint: fingerprint(&model), passage, report };
        let mut entries = vec![entry];
        for subject in &self.models[1..] {
            let model = self.load(subject)?;
            entries.push(self.measure(subject, &model, Some(&reference))?.0);
        }
        for (entry, speed) in entries.iter_mut().zip(speeds) {
            entry.speed = speed;
        }
        distinct(&mut entries);
        let text = self.options.text.as_deref().zip(reference.passage.as_ref());
        Ok(Comparison {
            schema: SCHEMA,
            what: KIND.to_string(),
            nibble: env!("CARGO_PKG_VERSION").to_string(),
            date: Clock { seconds }.format("%Y-%m-%dT%H:%M:%SZ"),
            machine: Machine::here(),
            reference: 0,
            text: text
                .map(|(path, passage)| format!("{}, {} chunks of {} tokens", path.display(), passage.windows.len(), passage.cut.context)),
            entries,
        })
    }

    fn load(&self, Subject { path, name, adapters }: &Subject) -> Result<Model> {
        self.console.note(format!("{name}: loading"));
        let kv = KvType::by_name(&self.options.kv).unwrap_or_default();
        Ok(Model::open(
            path,
            nibble_engine::Options {
                threads: self.options.threads.map(|n| n as usize),
                kv,
                adapters: adapters.clone(),
                ..nibble_engine::Options::default()
            },
        )?)
    }

    /// All but the speed of one model.
    fn measure(&self, subject: &Subject, model: &Model, reference: Option<&Reference>) -> Result<(Entry, Option<Passage>, Option<Report>)> {
        let source = model.source();
        let print = fingerprint(model);
        let mut entry = Entry {
            name: subject.name.clone(),
            path: subject.path.display().to_string(),
            kind: super::super::bench::kind(source),
            file_bytes: source.checkpoint().files().map(|map| map.len() as u64).sum(),
            weight_bytes: source.tensors().iter().map(|t| source.stored_bytes(t)).sum(),
            parameters: Cost::of(model).parameters,
            perplexity: None,
            bits_per_byte: None,
            kl: None,
            same_top: None,
            tasks: vec![],
            speed: None,
            tensors: vec![],
            notes: vec![],
        };
        let passage = self.text.as_deref().map(|text| self.passage(text, model)).transpose()?;
        if let Some(passage) = &passage {
            let chunks = self.chunks(&print, model, passage, reference, &mut entry)?;
            texts(&mut entry, &chunks);
        } else if let Some((chunks, read)) = self.given.text(&print) {
            texts(&mut entry, chunks);
            entry.notes.push(format!("text: {read}"));
        }
        let given = self.given.report(&print).cloned().map(Ok);
        let report = given.or_else(|| self.plan.as_ref().map(|plan| self.tasks(&print, model, plan))).transpose()?;
        if let Some(report) = &report {
            entry.tasks = task_figures(report, reference.and_then(|r| r.report.as_ref()));
            if report.cut() > 0 {
                entry.notes.push(format!(
                    "{} prompts were longer than the context of {} tokens and were cut",
                    report.cut(),
                    report.context
                ));
            }
        }
        if let Some(reference) = reference.filter(|_| !self.options.no_tensors) {
            entry.tensors = self.tensors(&print, source, reference, model.threads())?;
        }
        Ok((entry, passage, report))
    }

    fn passage(&self, text: &str, model: &Model) -> Result<Passage> {
        let tokenizer = Tokenizer::new(Vocab::of(model.source()).map_err(nibble_engine::Error::from)?);
        let cut = Cut { context: self.options.ctx as usize, stride: None, chunks: self.options.chunks.map(|n| n as usize) };
        Ok(Passage::of_text(text, &tokenizer, cut)?)
    }

    /// The numbers of every position, beside the reference's where the two have the same tokens.
    fn chunks(
        &self,
        print: &str,
        model: &Model,
        passage: &Passage,
        reference: Option<&Reference>,
        entry: &mut Entry,
    ) -> Result<Vec<Chunk>> {
        let theirs = reference.and_then(|r| r.passage.as_ref());
        let same = theirs.is_some_and(|theirs| theirs.fingerprint() == passage.fingerprint());
        let alike = |r: &&Reference| same && r.model.config().vocab == model.config().vocab;
        let beside = reference.filter(alike);
        if reference.is_some() && beside.is_none() {
            entry.notes.push("the reference has another tokenizer, so there is no divergence; bits a byte compare".to_string());
        }
        let against = beside.map_or("nothing", |r| r.fingerprint.as_str());
        let key = format!("{print} {against} {:016x} {} {}", passage.fingerprint(), passage.cut.context, self.options.kv);
        let total = passage.windows.len();
        self.kept(print, "text", key, || {
            let progress = Progress::chunks(self.console, total as u64, 0);
            let mut chunks: Vec<Chunk> = vec![];
            let against = beside.map_or(Against::Nothing, |r| Against::Model(r.model));
            score(model, passage, 0..total, against, None, &mut |chunk, _| -> Result<(), Fault> {
                chunks.push(chunk);
                progress.update(chunks.len() as u64, &entry.name);
                Ok(())
            })?;
            Ok(chunks)
        })
    }

    fn tasks(&self, print: &str, model: &Model, plan: &Plan) -> Result<Report> {
        let facts: Vec<String> = plan.facts().iter().map(|p| format!("{} {} {}", p.name, p.sum, p.asked)).collect();
        let key = format!("{print} {} {} {:?} {}", self.options.kv, model.context(), plan.wanted, facts.join(", "));
        let log = self.options.keep.as_deref().map(|keep| keep.join(format!("{print}-tasks-{}.part", short(&key))));
        let report = self.kept(print, "tasks", key, || answer(model, plan, Shard::WHOLE, log.as_deref(), self.console))?;
        if let Some(log) = &log {
            let _ = std::fs::remove_file(log);
        }
        Ok(report)
    }

    fn tensors(&self, print: &str, source: &Source, reference: &Reference, threads: usize) -> Result<Vec<tensors::TensorError>> {
        self.kept(print, "tensors", format!("{print} {}", reference.fingerprint), || {
            let mut progress = None;
            Ok(tensors::errors(source, reference.model.source(), threads, &mut |done, total, name| {
                progress
                    .get_or_insert_with(|| Progress::steps(self.console, total as u64))
                    .update(done as u64, &format!("error of {name}"));
                true
            }))
        })
    }

    /// By a process of its own, so that its memory is the model's alone.
    fn speed(&self, Subject { path, name, adapters }: &Subject) -> Result<Option<Speed>> {
        if self.options.no_speed {
            return Ok(None);
        }
        let files: u64 = Source::open(path)?.checkpoint().files().map(|map| map.len() as u64).sum();
        let machine = Machine::here();
        let with: String = adapters.iter().map(|lora| format!(" + {}", lora.path.display())).collect();
        let key =
            format!("{}{with} {files} {:?} {} {} {PROMPT} {ANSWER}", path.display(), self.options.threads, machine.cpu, machine.cores);
        self.kept("any", "speed", key, || {
            self.console.note(format!("{name}: measuring speed and memory"));
            let program = std::env::current_exe().context("the way to this program")?;
            let mut command = std::process::Command::new(program);
            command.arg("bench").arg(path).args(["--json", "--quiet", "--no-limits", "--depth", "0", "--repetitions", "3"]);
            command.args(["--pp".to_string(), PROMPT.to_string(), "--tg".to_string(), ANSWER.to_string()]);
            for lora in adapters {
                command.arg("--adapter").arg(&lora.path);
            }
            if let Some(threads) = self.options.threads {
                command.args(["--threads".to_string(), threads.to_string()]);
            }
            let output = command.stdin(std::process::Stdio::null()).output().context("starting nibble bench")?;
            if !output.status.success() {
                let words = String::from_utf8_lossy(&output.stderr).trim().to_string();
                return Err(Problem::failure(format!("{name}: measuring the speed failed: {words}")).hint("--no-speed").into());
            }
            let report: bench::Report = serde_json::from_slice(&output.stdout).context("what nibble bench wrote")?;
            Ok(Some(summary(&report)))
        })
    }

    /// A measurement of --keep with that key, or a new one, which is then kept.
    fn kept<T: Serialize + DeserializeOwned>(&self, of: &str, what: &str, key: String, make: impl FnOnce() -> Result<T>) -> Result<T> {
        let Some(keep) = &self.options.keep else { return make() };
        let path = keep.join(format!("{of}-{what}-{}.json", short(&key)));
        if let Ok(bytes) = std::fs::read(&path)
            && let Ok(found) = serde_json::from_slice::<Kept<T>>(&bytes)
            && found.key == key
        {
            return Ok(found.value);
        }
        let kept = Kept { key, value: make()? };
        let mut file = AtomicFile::create(&path)?;
        file.write_all(serde_json::to_string(&kept)?.as_bytes()).with_context(|| path.display().to_string())?;
        file.commit()?;
        Ok(kept.value)
    }
}

/// A key as the part of a file's name.
fn short(key: &str) -> String {
    let mut sum = state::Sum::new();
    sum.bytes(key.as_bytes());
    format!("{:016x}", sum.value())
}

fn fingerprint(model: &Model) -> String {
    format!("{:016x}", state::fingerprint(model))
}

/// The figures of the text's positions. Of the two standard errors the larger one: neighbouring positions depend on one another.
fn texts(entry: &mut Entry, chunks: &[Chunk]) {
    let of = |value: f64, error: f64| Some(Estimate { value, stderr: Some(error).filter(|e| e.is_finite()) });
    if let Some(found) = figures::perplexity(chunks) {
        let widen = if found.nll.error > 0.0 { (found.nll_error_by_chunk / found.nll.error).max(1.0) } else { 1.0 };
        let widen = if widen.is_finite() { widen } else { 1.0 };
        entry.perplexity = of(found.perplexity.value, widen * found.perplexity.error);
        entry.bits_per_byte = found.bits_per_byte.and_then(|b| of(b.value, widen * b.error));
    }
    if let Some(found) = figures::divergence(chunks) {
        entry.kl = of(found.kl.value, found.kl.error.max(found.kl_error_by_chunk));
        entry.same_top = of(found.same_top.value, found.same_top.error);
    }
}

fn summary(report: &bench::Report) -> Speed {
    let median = |test: Test| report.results.iter().find(|r| r.test == test).map(|r| r.median);
    Speed {
        threads: report.results.first().map_or(0, |r| r.threads),
        prompt_tokens: report.results.iter().find(|r| r.test == Test::Prompt).map_or(0, |r| r.tokens),
        prompt: median(Test::Prompt),
        generation: median(Test::Generation),
        first_token: median(Test::FirstToken),
        peak_resident_bytes: report.memory.peak_resident_bytes,
        anonymous_bytes: report.memory.anonymous_bytes,
    }
}

/// The name of a file or folder; of the folder around it where it says nothing.
fn name(path: &Path) -> String {
    let whole = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    let last = |path: &Path| path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    match last(&whole) {
        file if file == "model.safetensors" => whole.parent().map(last).unwrap_or(file),
        file => file,
    }
}

/// Names that are the same get the folder before them.
fn distinct(entries: &mut [Entry]) {
    let names: Vec<String> = entries.iter().map(|e| e.name.clone()).collect();
    for (i, entry) in entries.iter_mut().enumerate() {
        if names.iter().enumerate().any(|(j, name)| j != i && *name == names[i]) {
            entry.name = entry.path.clone();
        }
    }
}
