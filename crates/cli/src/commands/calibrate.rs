//! `nibble calibrate`: what a model's matrices are fed when it reads a text, as an importance matrix for quantizing.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::{ArgMatches, Args, FromArgMatches};
use nibble_compress::calibrate::collect::resume_path;
use nibble_compress::calibrate::second_moments::{self, Gather};
use nibble_compress::calibrate::{Collect, Texts, collect, texts};
use nibble_engine::source::Source;
use nibble_evaluate::machine::Memory;
use serde_json::json;

use super::Row;
use super::quantize::{job, show};
use crate::adapters::{self, Adapters};
use crate::exit::Problem;
use crate::progress::Progress;
use crate::terminal::{self, Console};
use crate::{hints, units};

/// Work between two savings.
const SAVE_EVERY: Duration = Duration::from_secs(20);

/// Never set: Ctrl-C ends the program itself, see `interrupt`.
static CANCEL: AtomicBool = AtomicBool::new(false);

/// The row of COMMANDS.
pub const ROW: Row = Row {
    name: "calibrate",
    about: "Measure which inputs of a model's matrices count, for quantize --imatrix and --second-moments",
    details: "TEXT goes through MODEL layer by layer, and the squares of what each matrix is fed are summed: an importance matrix, as llama-imatrix makes \
              it. Without TEXT, a text that ships with nibble is taken. Memory holds one layer's weights and the hidden states of all tokens. A run \
              that was stopped goes on where it was when it is started again.\n\n\
              With --second-moments OUT holds how all inputs of a matrix go together, which is what quantize --method gptq needs of a text: gathered once, many files can be \
              made from it, on machines without the time or the text. It is large, 2.6 GB for a model of 1B and 5.4 GB for one of 3B; --only leaves matrices out. \
              gptq that runs the text itself lets each layer see what the quantized ones before it give; on small models that made no difference that could be measured.",
    examples: &[
        ("with the text that ships", "nibble calibrate Llama-3.2-1B -o stats.gguf"),
        ("all that gptq needs of a text", "nibble calibrate Llama-3.2-1B -o moments.gguf --second-moments"),
        ("with a text of your own, in the older layout", "nibble calibrate Llama-3.2-1B my-letters.txt -o stats.dat"),
    ],
    args: |command| Options::augment_args(command),
    run,
};

// The command line of `calibrate`. No doc comment here: clap would take it for the command's about.
#[derive(Args, Debug, Clone)]
#[allow(missing_docs)]
pub struct Options {
    /// The model: a Hugging Face directory or a .gguf file, best unquantized
    #[arg(value_name = "MODEL")]
    pub model: PathBuf,
    /// The text to read; without it, one that ships with nibble
    #[arg(value_name = "TEXT")]
    pub text: Option<PathBuf>,
    /// The file to write: GGUF, or the older layout where it ends in .dat
    #[arg(short, long, value_name = "OUT")]
    pub output: PathBuf,
    #[command(flatten)]
    pub adapters: Adapters,
    /// Tokens of a chunk, each chunk a context of its own
    #[arg(long, value_name = "TOKENS", default_value_t = texts::CONTEXT as u32, value_parser = clap::value_parser!(u32).range(16..=65536))]
    pub ctx: u32,
    /// Take at most N chunks of the text
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub chunks: Option<u32>,
    /// Also what the output matrix is fed, where the model has one of its own
    #[arg(long)]
    pub process_output: bool,
    /// Full second moments, for quantize --method gptq --second-moments; a large file
    #[arg(long, conflicts_with = "process_output")]
    pub second_moments: bool,
    /// Only of matrices with one of these in their names: blk.0.,ffn_down
    #[arg(long, value_name = "PART,PART", value_delimiter = ',', requires = "second_moments")]
    pub only: Vec<String>,
    /// Threads; without it, one for each core
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub threads: Option<u32>,
    /// Print the summary as JSON
    #[arg(long)]
    pub json: bool,
    /// Replace OUT if it exists
    #[arg(short, long)]
    pub force: bool,
}

fn run(matches: &ArgMatches, console: &Console) -> Result<()> {
    let mut options = Options::from_arg_matches(matches)?;
    let (path, adapters) = options.adapters.find(&options.model)?;
    options.model = path;
    hints::check_checkpoint(&options.model)?;
    let out = &options.output;
    if out.exists() && !options.force {
        return Err(Problem::failure(format!("{} exists already", out.display()))
            .hint("--force to replace it, or another name with -o")
            .into());
    }
    let source = adapters::merged(&options.model, &adapters, console)?;
    let most = options.chunks.map_or(usize::MAX, |n| n as usize);
    let texts = read(&source, options.text.as_deref(), options.ctx as usize, most)?;
    let start = Instant::now();
    let resume = resume_path(out);
    let total = texts.tokens() as u64 * source.config().layers as u64;
    let bar = Progress::steps(console, total);
    let mut begun = false;
    let mut progress = |done: u64, _: u64, layer: usize| {
        if !begun && layer > 0 {
            console.note(format!("going on from layer {layer}, which {} holds", resume.display()));
        }
        begun = true;
        bar.update(done, &format!("layer {} of {}", layer + 1, source.config().layers));
    };
    let threads = options.threads.map_or_else(job::all_cores, |n| n as usize);
    let legacy = out.extension().is_some_and(|e| e.eq_ignore_ascii_case("dat"));
    let (entries, what) = if options.second_moments {
        if legacy {
            return Err(Problem::usage("second moments are written as GGUF").hint("-o moments.gguf").into());
        }
        let inputs = second_moments::inputs(&source, &options.only)?;
        let size = units::bytes(second_moments::bytes(&inputs));
        console.note(format!("{}: second moments of {} inputs, {size}", out.display(), inputs.len()));
        let how = Gather { threads, only: &options.only, save_every: SAVE_EVERY, progress: &mut progress, cancel: &CANCEL };
        second_moments::gather(&source, &texts, out, how)?;
        (inputs.len(), "inputs")
    } else {
        let how = Collect {
            threads,
            resume: Some(&resume),
            save_every: SAVE_EVERY,
            output: options.process_output,
            progress: &mut progress,
            cancel: &CANCEL,
        };
        let imatrix = collect(&source, &texts, how)?;
        if legacy {
            imatrix.write_legacy(out)?
        } else {
            imatrix.write(out)?
        }
        // There is none where the run was quicker than the first saving.
        let _ = std::fs::remove_file(&resume);
        (imatrix.entries.len(), "matrices")
    };
    bar.finish();
    let (chunks, tokens) = (texts.chunks.len(), texts.tokens());
    match options.json {
        true => terminal::print_json(&json!({
            "model": options.model.display().to_string(), "text": texts.name, "output": out.display().to_string(), "chunks": chunks,
            "tokens": tokens, "entries": entries, "seconds": start.elapsed().as_secs_f64(),
            "bytes": std::fs::metadata(out).map(|found| found.len()).ok(), "peak_resident_bytes": Memory::now().peak_resident_bytes,
        })),
        false => Ok(terminal::print(&format!(
            "{}: {entries} {what}, {} tokens of {} in {chunks} chunks, {}{}\n",
            out.display(),
            units::grouped(tokens as u64),
            texts.name,
            units::duration(start.elapsed()),
            show::memory()
        ))?),
    }
}

/// A text of the user's, or the one that ships, cut into chunks.
pub fn read(source: &Source, file: Option<&Path>, context: usize, most: usize) -> Result<Texts> {
    let Some(file) = file else { return Ok(Texts::new(source, texts::OWN_NAME, texts::OWN, context, most)?) };
    let text = super::eval::job::read_text(file)?;
    Ok(Texts::new(source, &file.display().to_string(), &text, context, most)?)
}
