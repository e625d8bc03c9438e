//! What the measurements of a text share: their options, the state that an interrupted one goes on from, and what is printed in the end.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Args;
use clap::builder::PossibleValuesParser;
use nibble_container::whole::AtomicFile;
use nibble_engine::source::Source;
use nibble_engine::text::{Tokenizer, Vocab};
use nibble_engine::{KvType, Model, state};
use nibble_evaluate::quality::base::{Base, Codec, Head, Writer};
use nibble_evaluate::quality::record::{self, Run, SCHEMA, Text};
use nibble_evaluate::quality::run::{Against, run as score};
use nibble_evaluate::quality::windows::{Cut, Passage, Shard};
use nibble_evaluate::quality::{Fault, figures, show};

use crate::adapters::Adapters;
use crate::exit::Problem;
use crate::hints;
use crate::progress::Progress;
use crate::terminal::{self, Console};

/// The least time between two writings of the state.
const EVERY: Duration = Duration::from_secs(3);

// The options that every measurement of a text has. No doc comment here: clap would take it for the command's about.
#[derive(Args, Debug, Clone)]
#[group(skip)]
#[allow(missing_docs)]
pub struct Options {
    /// Tokens of a chunk or window; without it, 512 or the base file's
    #[arg(short = 'c', long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub ctx: Option<u32>,
    /// At most N chunks, from the beginning of the text
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub chunks: Option<u32>,
    /// Only shard I of N, I from 0, for nibble eval merge
    #[arg(long, value_name = "I/N", default_value = "0/1", hide_default_value = true)]
    pub shard: Shard,
    /// What the KV cache keeps an element in
    #[arg(long, value_name = "TYPE", value_parser = kv_types(), default_value = "f16")]
    pub kv: String,
    /// Threads; without it, one for each of the fast cores
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub threads: Option<u32>,
    #[command(flatten)]
    pub adapters: Adapters,
    /// Keep the numbers of every position in FILE (JSON), and in FILE.part what there is of them, to go on from
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Replace the file of --output if it exists
    #[arg(short, long)]
    pub force: bool,
    /// Print the figures as JSON
    #[arg(long)]
    pub json: bool,
}

/// The types of KV cache as values of `--kv`.
pub fn kv_types() -> PossibleValuesParser {
    PossibleValuesParser::new(KvType::all().map(|kv| kv.name()).collect::<Vec<_>>())
}

impl Options {
    /// How a text is cut.
    pub fn cut(&self, context: usize, stride: Option<u32>) -> Cut {
        let context = self.ctx.map_or(context, |n| n as usize);
        Cut { context, stride: stride.map(|n| n as usize), chunks: self.chunks.map(|n| n as usize) }
    }

    /// Loads a model for windows of so many tokens, with the adapters that are given or its own.
    pub fn load(&self, path: &Path, context: usize) -> Result<Model> {
        self.load_with(&self.adapters, path, context)
    }

    /// Loads the model that others are held against, with its own adapters.
    pub fn load_reference(&self, path: &Path, context: usize) -> Result<Model> {
        self.load_with(&Adapters::default(), path, context)
    }

    fn load_with(&self, adapters: &Adapters, path: &Path, context: usize) -> Result<Model> {
        let (path, adapters) = adapters.find(path)?;
        let path = &path;
        hints::check_checkpoint(path)?;
        let options = nibble_engine::Options {
            threads: self.threads.map(|n| n as usize),
            context: Some(context),
            kv: KvType::by_name(&self.kv).unwrap_or_default(),
            adapters,
            ..nibble_engine::Options::default()
        };
        Ok(Model::open(path, options)?)
    }

    /// Refuses, before anything is computed, an output that cannot be written.
    pub fn check_output(&self) -> Result<(), Problem> {
        match &self.output {
            Some(path) => super::super::bench::check_output(path, self.force),
            None => Ok(()),
        }
    }
}

/// The tokenizer of a model.
pub fn tokenizer(source: &Source) -> Result<Tokenizer> {
    Ok(Tokenizer::new(Vocab::of(source)?))
}

/// The text of a file.
pub fn read_text(path: &Path) -> Result<String> {
    let bytes = std::fs::read(path).with_context(|| path.display().to_string())?;
    String::from_utf8(bytes).map_err(|e| {
        let at = e.utf8_error().valid_up_to();
        Problem::failure(format!("{} is not UTF-8 text (byte {at})", path.display())).hint("iconv -t utf-8").into()
    })
}

/// A base file to write.
pub struct Save<'a> {
    pub path: &'a Path,
    pub codec: &'static Codec,
}

/// A measurement.
pub struct Job<'a> {
    pub options: &'a Options,
    pub kind: &'static str,
    pub path: &'a Path,
    pub model: &'a Model,
    pub passage: &'a Passage,
    /// The text's path, or the base file's.
    pub text: &'a Path,
    pub against: Against<'a>,
    pub reference: Option<record::Reference>,
    pub save: Option<Save<'a>>,
    /// Where the result goes; another one than the options' for the second model of two.
    pub output: Option<PathBuf>,
}

impl Job<'_> {
    /// Measures, or goes on with what was begun. The result is written where there is an output.
    pub fn run(&self, console: &Console) -> Result<Run> {
        let shard = self.options.shard;
        let range = shard.range(self.passage.windows.len());
        if range.is_empty() {
            let (of, windows) = (shard.count, self.passage.windows.len());
            console.note(format!("shard {shard} is empty: there are {windows} chunks for {of} shards"));
        }
        let state = self.state();
        let mut run = self.begin(&range)?;
        if let Some(path) = state.as_deref().filter(|path| path.exists()) {
            run = self.go_on(run, path)?;
            console.note(format!("going on after {} of {} chunks ({})", run.chunks.len(), range.len(), path.display()));
        }
        let mut writer = self.writer(&run, &range)?;
        let progress = Progress::chunks(console, range.len() as u64, run.chunks.len() as u64);
        progress.update(run.chunks.len() as u64, "");
        let (begun, before) = (Instant::now(), run.chunks.len());
        let mut saved: Option<Instant> = None;
        let from = range.start + run.chunks.len();
        score(self.model, self.passage, from..range.end, self.against, writer.as_mut(), &mut |chunk, base_bytes| {
            run.chunks.push(chunk);
            run.base_bytes = base_bytes;
            progress.update(run.chunks.len() as u64, &so_far(&run));
            // The first one at once, so that there is something to go on from.
            if let Some(path) = &state
                && run.chunks.len() < range.len()
                && saved.is_none_or(|at| at.elapsed() >= EVERY)
            {
                write(path, &run)?;
                saved = Some(Instant::now());
            }
            Ok(())
        })?;
        drop(progress);
        run.base_bytes = None;
        run.sum_up();
        if let (Some(writer), Some(save)) = (writer, &self.save) {
            writer.finish()?;
            run.base = Some(Base::open(save.path)?.name());
            console.note(format!("written: {}", save.path.display()));
        }
        if let Some(path) = &self.output {
            write(path, &run)?;
            console.note(format!("written: {}", path.display()));
        }
        if let Some(path) = &state {
            let _ = std::fs::remove_file(path);
        }
        let (chunks, seconds) = (run.chunks.len() - before, begun.elapsed().as_secs_f64());
        let tokens: usize = self.passage.windows[range.end - chunks..range.end].iter().map(|w| w.len).sum();
        console.note(format!(
            "{tokens} tokens in {} ({:.0} tokens/s)",
            crate::units::duration(begun.elapsed()),
            tokens as f64 / seconds.max(1e-9)
        ));
        Ok(run)
    }

    /// Where what is done is kept.
    fn state(&self) -> Option<PathBuf> {
        let beside = |path: &Path, ending: &str| {
            let mut name = path.file_name().unwrap_or_default().to_os_string();
            name.push(ending);
            path.with_file_name(name)
        };
        let output = self.output.as_deref().map(|path| beside(path, ".part"));
        output.or_else(|| self.save.as_ref().map(|save| beside(save.path, ".state")))
    }

    fn begin(&self, range: &std::ops::Range<usize>) -> Result<Run> {
        let source = self.model.source();
        let _ = range;
        Ok(Run {
            schema: SCHEMA,
            kind: self.kind.to_string(),
            model: record::Model {
                path: self.path.display().to_string(),
                fingerprint: format!("{:016x}", state::fingerprint(self.model)),
                file_bytes: source.checkpoint().files().map(|map| map.len() as u64).sum(),
                parameters: source.tensors().iter().map(|t| (t.rows() * t.cols()) as u64).sum(),
            },
            reference: self.reference.clone(),
            text: Text {
                path: self.text.display().to_string(),
                fingerprint: format!("{:016x}", self.passage.fingerprint()),
                tokens: self.passage.tokens.len(),
                chunks: self.passage.windows.len(),
            },
            cut: self.passage.cut,
            cache: self.options.kv.clone(),
            shard: self.options.shard.to_string(),
            base_bytes: None,
            base: None,
            perplexity: None,
            divergence: None,
            chunks: vec![],
        })
    }

    /// Takes over what an earlier run of the same thing has done.
    fn go_on(&self, begun: Run, path: &Path) -> Result<Run> {
        let other = |why: String| {
            Problem::failure(format!("{} was left by another run: {why}", path.display()))
                .hint(format!("rm {}, or another name with -o", path.display()))
        };
        let found = Run::read(path)?;
        begun.check_like(&found, true).map_err(|fault| other(fault.to_string()))?;
        if found.shard != begun.shard {
            return Err(other(format!("its shard is {}, this one's {}", found.shard, begun.shard)).into());
        }
        if let Some(save) = &self.save
            && !found.base_bytes.is_some_and(|written| Writer::can_go_on(save.path, written))
        {
            return Err(other(format!("what there is of {} does not belong to it", save.path.display())).into());
        }
        Ok(Run { chunks: found.chunks, base_bytes: found.base_bytes, ..begun })
    }

    fn writer(&self, run: &Run, range: &std::ops::Range<usize>) -> Result<Option<Writer>> {
        // A file of no chunks is no base file.
        let Some(save) = self.save.as_ref().filter(|_| !range.is_empty()) else { return Ok(None) };
        if self.passage.cut.stride.is_some() {
            return Err(Problem::usage("a base file has chunks, not sliding windows").hint("no --stride").into());
        }
        let context = self.passage.cut.context;
        let tokens = self.passage.tokens[range.start * context..range.end * context].to_vec();
        let head = Head::new(context, self.model.config().vocab, tokens);
        Ok(Some(Writer::create(save.path, save.codec, head, run.base_bytes)?))
    }
}

/// The figure that the progress shows.
fn so_far(run: &Run) -> String {
    let kl = figures::divergence(&run.chunks[run.chunks.len().saturating_sub(1)..]).map(|d| format!("KL {:.4} in the last", d.kl.value));
    let perplexity = || figures::perplexity(&run.chunks).map(|p| format!("perplexity {:.3}", p.perplexity.value));
    kl.or_else(perplexity).unwrap_or_default()
}

/// Writes a run whole or not at all.
pub fn write(path: &Path, run: &Run) -> Result<(), Fault> {
    let text = serde_json::to_string_pretty(run).map_err(|e| Fault::Record { path: path.to_path_buf(), why: e.to_string() })?;
    let mut file = AtomicFile::create(path)?;
    file.write_all(text.as_bytes()).and_then(|()| file.write_all(b"\n")).map_err(|error| Fault::Io { path: path.to_path_buf(), error })?;
    Ok(file.commit()?)
}

/// Prints the figures.
pub fn print(run: &Run, json: bool) -> Result<()> {
    match json {
        false => Ok(terminal::print(&show::text(run))?),
        true => terminal::print_json(&figures_of(run)?),
    }
}

/// A run without its positions.
pub fn figures_of(run: &Run) -> Result<serde_json::Value> {
    let mut value = serde_json::to_value(Run { chunks: vec![], ..run.clone() })?;
    if let Some(map) = value.as_object_mut() {
        map.remove("chunks");
        map.insert("chunks_scored".into(), run.chunks.len().into());
    }
    Ok(value)
}
