//! `nibble eval tensors`.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;
use clap::{ArgMatches, Args, FromArgMatches};
use nibble_compress::calibrate::Imatrix;
use nibble_evaluate::quality::tensors::{self, Tensors};
use nibble_evaluate::quality::windows::{Cut, Passage};

use super::job;
use crate::adapters::{self, Adapters};
use crate::commands::Row;
use crate::hints;
use crate::progress::Progress;
use crate::terminal::{self, Console};

/// The row of PARTS.
pub const ROW: Row = Row {
    name: "tensors",
    about: "Which tensors of a quantized model hurt: the error of each beside the original",
    details: "Of each matrix: the relative error of its weights, sqrt(sum (w - w')^2 / sum w^2); with --imatrix also the same with each column weighted by the mean square of its \
              inputs, which is nearer to the error of the matrix's output. With --text also what it does to what the model says: the KL divergence of the \
              original in which this one tensor is replaced. That runs the original once for each tensor and chunk, so it is for small models, few chunks or patience. The \
              tensor that hurts most comes first.\n\n\
              --adapter is of the original: what nibble quantize has merged into MODEL. A model of the store has its own.",
    examples: &[
        ("errors of the weights", "nibble eval tensors model-Q4_K_M.gguf --original Llama-3.2-1B"),
        ("weighted by what the columns are fed", "nibble eval tensors model-Q4_K_M.gguf --original Llama-3.2-1B --imatrix stats.gguf"),
        ("and of the output", "nibble eval tensors model-Q4_K_M.gguf --original Llama-3.2-1B --text wiki.test.raw --chunks 2"),
    ],
    args: |command| Options::augment_args(command),
    run,
};

// No doc comment here: clap would take it for the command's about.
#[derive(Args, Debug, Clone)]
#[allow(missing_docs)]
struct Options {
    /// The quantized model
    #[arg(value_name = "MODEL")]
    model: PathBuf,
    /// What it was made from
    #[arg(long, value_name = "MODEL")]
    original: PathBuf,
    #[command(flatten)]
    adapters: Adapters,
    /// Weight columns by this importance matrix, as `nibble calibrate` and llama-imatrix write it (GGUF or .dat)
    #[arg(long, value_name = "FILE")]
    imatrix: Option<PathBuf>,
    /// Measure the output too, on this text, UTF-8
    #[arg(long, value_name = "FILE")]
    text: Option<PathBuf>,
    /// Tokens of a chunk
    #[arg(short = 'c', long, value_name = "N", default_value_t = 512, requires = "text", value_parser = clap::value_parser!(u32).range(4..))]
    ctx: u32,
    /// Chunks of the text
    #[arg(long, value_name = "N", default_value_t = 4, requires = "text", value_parser = clap::value_parser!(u32).range(1..))]
    chunks: u32,
    /// Threads; without it, one for each of the fast cores
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    threads: Option<u32>,
    /// Print JSON
    #[arg(long, conflicts_with = "csv")]
    json: bool,
    /// Print CSV, a row a tensor
    #[arg(long)]
    csv: bool,
}

fn run(matches: &ArgMatches, console: &Console) -> Result<()> {
    let mut options = Options::from_arg_matches(matches)?;
    let (found, original) = (crate::models::find(&options.model)?, crate::models::find(&options.original)?);
    options.model = found.path().to_path_buf();
    options.original = original.path().to_path_buf();
    hints::check_checkpoint(&options.model)?;
    hints::check_checkpoint(&options.original)?;
    let text = options.text.as_deref().map(job::read_text).transpose()?;
    // Each as it is run: with its adapters in its weights.
    let quantized = adapters::merged(&options.model, &Adapters::default().of(&found), console)?;
    let original = adapters::merged(&options.original, &options.adapters.of(&original), console)?;
    let threads = options.threads.map(|n| n as usize);
    let engine = nibble_engine::Options { threads, context: Some(options.ctx as usize), ..nibble_engine::Options::default() };
    let mut model = nibble_engine::Model::load(Arc::new(original), engine)?;

    let imatrix = options.imatrix.as_deref().map(Imatrix::open).transpose()?;
    let importance = |name: &str| Some(imatrix.as_ref()?.entries.get(name)?.means());
    let mut progress = None;
    let mut found = tensors::errors(&quantized, model.source(), &importance, model.pool(), &mut |done, total, name| {
        progress.get_or_insert_with(|| Progress::steps(console, total as u64)).update(done as u64, name);
    });
    drop(progress);
    let mut kl = None;
    if let Some(text) = text {
        let cut = Cut { context: options.ctx as usize, stride: None, chunks: Some(options.chunks as usize) };
        let passage = Passage::of_text(&text, &job::tokenizer(model.source())?, cut)?;
        let mut progress = None;
        kl = Some(tensors::output(&mut model, &quantized, &passage, &mut found, &mut |done, total, name| {
            progress.get_or_insert_with(|| Progress::runs(console, total as u64)).update(done as u64, name);
        })?);
    }
    let mut report =
        Tensors { model: options.model.display().to_string(), original: options.original.display().to_string(), tensors: found, kl };
    report.sort();
    match (options.json, options.csv) {
        (true, _) => terminal::print_json(&report),
        (_, true) => Ok(terminal::print(&tensors::csv(&report))?),
        _ => Ok(terminal::print(&table(&report))?),
    }
}

fn table(report: &Tensors) -> String {
    let output = report.tensors.iter().any(|t| t.kl.is_some());
    let weighted = report.tensors.iter().any(|t| t.weighted.is_some());
    let mut header = vec!["tensor", "type", "bits a weight", "MiB", "error"];
    if weighted {
        header.push("weighted");
    }
    if output {
        header.push("KL");
    }
    let rows = report.tensors.iter().map(|t| {
        let mut row = vec![
            t.name.clone(),
            t.kind.clone(),
            format!("{:.2}", 8.0 * t.bytes as f64 / t.weights as f64),
            format!("{:.2}", t.bytes as f64 / f64::from(1 << 20)),
            format!("{:.5}", t.error),
        ];
        if weighted {
            row.push(t.weighted.map_or_else(String::new, |error| format!("{error:.5}")));
        }
        row.extend(t.kl.map(|kl| format!("{kl:.6}")));
        row
    });
    let mut text = terminal::table(&header, &rows.collect::<Vec<_>>());
    if let Some(kl) = report.kl {
        let sum: f64 = report.tensors.iter().filter_map(|t| t.kl).sum();
        text.push_str(&format!("\nKL of all together {kl:.6}; the sum of each alone is {sum:.6}\n"));
    }
    text
}
