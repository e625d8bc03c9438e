//! `nibble eval perplexity`.

use std::path::PathBuf;

use anyhow::Result;
use clap::{ArgMatches, Args, FromArgMatches};
use nibble_evaluate::quality::base::{COMPACT, LLAMA};
use nibble_evaluate::quality::run::Against;
use nibble_evaluate::quality::windows::Passage;

use super::job::{self, Job, Save};
use crate::commands::Row;
use crate::terminal::Console;

/// The row of PARTS.
pub const ROW: Row = Row {
    name: "perplexity",
    about: "How well a model predicts a text: perplexity and bits per byte, as llama-perplexity computes them",
    details: "The text's tokens are cut into chunks; of each the second half is scored, and the first token is replaced by BOS where the vocabulary asks for it: the same tokens, \
              in the same contexts, as in llama-perplexity. What is left over at the end is not used. With --stride N, windows that begin N tokens apart slide \
              over the text instead, and every token is scored once: slower, and lower, because each has more before it.\n\n\
              Perplexity counts tokens, so only models with the same tokenizer compare. Bits per byte divides by the bytes of text that the scored tokens stand for, so that \
              others do too, as nearly as their chunks score the same text; with --stride they score all of it.\n\n\
              --save-base keeps what the model says of every scored token, for nibble eval kl --base and for llama-perplexity --kl-divergence. With --compact it keeps only the likeliest \
              tokens, a twentieth of the bytes or less, and some drawn from the rest; kl says how much that can matter.",
    examples: &[
        ("perplexity", "nibble eval perplexity model.gguf --text wiki.test.raw"),
        ("a quick look", "nibble eval perplexity model.gguf --text wiki.test.raw --chunks 20"),
        ("with more context for each token", "nibble eval perplexity model.gguf --text wiki.test.raw -c 2048 --stride 512"),
        ("what the original says, for kl", "nibble eval perplexity Llama-3.2-1B --text wiki.test.raw --save-base wiki.base --compact"),
    ],
    args: |command| Options::augment_args(command),
    run,
};

// No doc comment here: clap would take it for the command's about.
#[derive(Args, Debug, Clone)]
#[allow(missing_docs)]
struct Options {
    /// A .gguf file (of a split one, any part), a .safetensors file or a Hugging Face directory, NF4 ones included
    #[arg(value_name = "MODEL")]
    model: PathBuf,
    /// The text, UTF-8
    #[arg(long, value_name = "FILE")]
    text: PathBuf,
    /// Slide windows over the text that begin N tokens apart
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    stride: Option<u32>,
    /// Write what the model says of every scored token, as llama-perplexity does
    #[arg(long, alias = "kl-divergence-base", value_name = "FILE", conflicts_with = "stride")]
    save_base: Option<PathBuf>,
    /// Only the likeliest tokens in --save-base
    #[arg(long, requires = "save_base")]
    compact: bool,
    #[command(flatten)]
    job: job::Options,
}

fn run(matches: &ArgMatches, console: &Console) -> Result<()> {
    let options = Options::from_arg_matches(matches)?;
    options.job.check_output()?;
    if let Some(base) = &options.save_base {
        crate::commands::bench::check_output(base, options.job.force)?;
    }
    let cut = options.job.cut(512, options.stride);
    let text = job::read_text(&options.text)?;
    let model = options.job.load(&options.model, cut.context)?;
    let passage = Passage::of_text(&text, &job::tokenizer(model.source())?, cut)?;
    drop(text);
    let job = Job {
        options: &options.job,
        kind: "perplexity",
        path: &options.model,
        model: &model,
        passage: &passage,
        text: &options.text,
        against: Against::Nothing,
        reference: None,
        save: options.save_base.as_deref().map(|path| Save { path, codec: if options.compact { COMPACT } else { LLAMA } }),
        output: options.job.output.clone(),
    };
    job::print(&job.run(console)?, options.job.json)
}
