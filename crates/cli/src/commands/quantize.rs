//! `nibble quantize`: a checkpoint in, a smaller one out.

mod allocation;
pub mod job;
pub mod output;
pub mod show;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Result;
use clap::builder::{PossibleValue, PossibleValuesParser};
use clap::{ArgMatches, Args, FromArgMatches};
use nibble_compress::calibrate::{Imatrix, SecondMoments, texts};
use nibble_compress::method::Needs;
use nibble_compress::recipe::{RECIPES, Recipe, Target};
use nibble_compress::{METHODS, Method, plan};
use nibble_engine::source::Source;

use super::Row;
use crate::adapters::{self, Adapters};
use crate::exit::Problem;
use crate::hints;
use crate::terminal::{self, Console};

/// The row of COMMANDS.
pub const ROW: Row = Row {
    name: "quantize",
    about: "Make a checkpoint smaller: GGUF of any usual type, or bitsandbytes NF4",
    details: "IN is a Hugging Face directory (bitsandbytes NF4 ones included), a .safetensors file beside its config.json, or a .gguf file (of a \
              split one, any part). Peak memory does not grow with the model, and OUT appears only when it is complete.",
    examples: &[
        ("the usual choice for a phone", "nibble quantize Llama-3.2-1B -o model.gguf"),
        ("what it would give, without writing it", "nibble quantize Llama-3.2-1B -t q3_k_m --dry-run"),
        ("a 4-bit checkpoint for transformers, and a GGUF from it", "nibble quantize Llama-3.2-1B -t nf4 -o Llama-3.2-1B-nf4"),
        (
            "closer to the original at the same size: some minutes for a small model",
            "nibble quantize Llama-3.2-1B --method gptq -o model.gguf",
        ),
        (
            "closer still: types of tensors by measurement too, in a file no larger than Q4_K_M's",
            "nibble quantize Llama-3.2-1B --method best -o model.gguf",
        ),
        (
            "in so many bytes; the choice is kept to be looked at and changed",
            "nibble quantize Llama-3.2-1B --budget 800MB --dry-run --save-types types.txt",
        ),
        ("with the types of such a list", "nibble quantize Llama-3.2-1B --types types.txt --method gptq -o model.gguf"),
        (
            "from second moments, gathered once for many files",
            "nibble quantize Llama-3.2-1B --method gptq --second-moments moments.gguf -t q3_k_m",
        ),
        ("weighted by an importance matrix", "nibble quantize Llama-3.2-1B --imatrix stats.gguf -o model.gguf"),
        ("from GGUF", "nibble quantize model-BF16.gguf -t q6_k"),
        ("with an adapter merged into the weights", "nibble quantize Llama-3.2-1B --adapter my-lora -o mine.gguf"),
    ],
    args: |command| Options::augment_args(command),
    run,
};

// The command line of `quantize`. No doc comment here: clap would take it for the command's about.
#[derive(Args, Debug, Clone)]
#[allow(missing_docs)]
pub struct Options {
    /// The checkpoint to read
    #[arg(value_name = "IN")]
    pub input: PathBuf,
    /// The file to write (for nf4: the directory); without it, NAME-TYPE.gguf in the current directory
    #[arg(short, long, value_name = "OUT")]
    pub output: Option<PathBuf>,
    /// The type to write
    #[arg(short = 't', long = "type", value_name = "TYPE", default_value = "q4_k_m", value_parser = types(), ignore_case = true)]
    pub kind: String,
    /// How the codes are chosen; without it, imatrix where --imatrix is given, else rtn
    #[arg(long, value_name = "METHOD", value_parser = methods(), ignore_case = true)]
    pub method: Option<String>,
    #[command(flatten)]
    pub adapters: Adapters,
    /// An importance matrix, as `nibble calibrate` and llama-imatrix write it (GGUF or .dat)
    #[arg(long, value_name = "FILE")]
    pub imatrix: Option<PathBuf>,
    /// Choose each tensor's type by measurement, in a file of at most so many bytes: 1.88GiB, 800MB, 4.5bpw (bits a weight), same-as:q4_k_m
    #[arg(long, value_name = "SIZE", conflicts_with = "types")]
    pub budget: Option<String>,
    /// Types of single tensors, a file of lines NAME=TYPE as llama-quantize's --tensor-type-file has them; NAME may be a part of names
    #[arg(long, value_name = "FILE")]
    pub types: Option<PathBuf>,
    /// Write the types that were chosen by measurement, for --types
    #[arg(long, value_name = "FILE", conflicts_with = "types")]
    pub save_types: Option<PathBuf>,
    /// Keep here what is measured for the choice of types, and go on from what is kept: another budget then takes no time
    #[arg(long, value_name = "FILE", conflicts_with = "types")]
    pub measurements: Option<PathBuf>,
    /// For gptq: second moments, as `nibble calibrate --second-moments` writes them, in place of a text that is run
    #[arg(long, value_name = "FILE", conflicts_with_all = ["calibration", "budget"])]
    pub second_moments: Option<PathBuf>,
    /// For methods that run a text through the model, and for --budget: the text; without it, one that ships with nibble
    #[arg(long, value_name = "TEXT")]
    pub calibration: Option<PathBuf>,
    /// Print the plan (each tensor's type and size) and write nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Print the summary, or the plan of --dry-run, as JSON
    #[arg(long)]
    pub json: bool,
    /// Threads; without it, one for each core
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub threads: Option<u32>,
    /// For nf4: keep each block's scale in 32 bits instead of quantizing the scales too
    #[arg(long)]
    pub no_double_quant: bool,
    /// Quantize again what is quantized already, although that loses more than starting from the original
    #[arg(long)]
    pub allow_requantize: bool,
    /// Replace OUT if it exists
    #[arg(short, long)]
    pub force: bool,
}

fn run(matches: &ArgMatches, console: &Console) -> Result<()> {
    let start = Instant::now();
    let mut options = Options::from_arg_matches(matches)?;
    let recipe = Recipe::by_name(&options.kind.replace('-', "_")).ok_or_else(|| Problem::usage(format!("{} is no type", options.kind)))?;
    if options.no_double_quant && recipe.target != Target::Directory {
        return Err(Problem::usage(format!("--no-double-quant is for nf4, not for {}", options.kind)).into());
    }
    let found = crate::models::find(&options.input)?;
    options.input = found.path().to_path_buf();
    hints::check_checkpoint(&options.input)?;
    // A blob is called by its sum; its output is not.
    let named = match &found {
        crate::models::Found::Entry(entry) => PathBuf::from(format!("{}.gguf", entry.name.model())),
        crate::models::Found::Path(path) => path.clone(),
    };
    let out = output::path(options.output.as_deref(), &named, recipe);
    if !options.dry_run {
        output::check(&out, &options.input, recipe, options.force)?;
    }
    let source = adapters::merged(&options.input, &options.adapters.of(&found), console)?;
    let threads = options.threads.map_or_else(job::all_cores, |n| n as usize);
    let choices = choices(&options, &source)?;
    let (choices, allocation) = allocation::types(&options, &source, recipe, choices, threads, console)?;
    let plan = plan(&source, recipe, choices)?;
    if options.dry_run {
        return match options.json {
            true => terminal::print_json(&allocation::with_json(show::plan_json(&options.input, &out, &plan), allocation.as_ref())),
            false => {
                let chosen = allocation.as_ref().map(allocation::text).unwrap_or_default();
                Ok(terminal::print(&(chosen + &show::plan_text(&out, &plan)))?)
            }
        };
    }
    if let Some(allocation) = &allocation {
        console.note(allocation::text(allocation).trim_end());
    }
    if let Some(note) = show::fallbacks(&plan) {
        console.note(note);
    }
    if let Some(first) = plan.unweighted().first() {
        console.note(format!("the importance matrix says nothing of {} matrices, the first of them {first}", plan.unweighted().len()));
    }
    if let Some(lacks) = plan.options.second_moments.as_ref().map(|stored| stored.lacks(&plan)).filter(|lacks| !lacks.is_empty()) {
        console.note(format!(
            "the second moments say nothing of {} matrices, the first of them {}: rounded as rtn does",
            lacks.len(),
            lacks[0]
        ));
    }
    let done = job::run(&source, &plan, &out, threads, console)?;
    let done = job::Done { time: start.elapsed(), ..done };
    match options.json {
        true => terminal::print_json(&allocation::with_json(show::summary_json(&options.input, &out, &plan, &done), allocation.as_ref())),
        false => Ok(terminal::print(&show::summary_text(&options.input, &out, &plan, &done))?),
    }
}

/// What the plan must know beside the recipe.
fn choices(options: &Options, source: &Source) -> Result<nibble_compress::Options> {
    let default = if options.imatrix.is_some() { "imatrix" } else { "rtn" };
    let name = options.method.as_deref().unwrap_or(default);
    let method = Method::by_name(name).ok_or_else(|| Problem::usage(format!("{name} is no method")))?;
    if method.needs == Needs::Importance && options.imatrix.is_none() {
        return Err(Problem::usage(format!("--method {name} needs --imatrix"))
            .hint("nibble calibrate MODEL -o stats.gguf makes one")
            .into());
    }
    if method.needs == Needs::Nothing && options.imatrix.is_some() {
        return Err(Problem::usage(format!("--method {name} does without --imatrix")).hint("leave one of the two out").into());
    }
    let stored = options.second_moments.as_deref();
    if stored.is_some() && (!method.takes_second_moments() || method.allocates && options.types.is_none()) {
        return Err(Problem::usage(format!("--second-moments is for methods that make do with them, not for {name}"))
            .hint("--method gptq, with --types for types of one's own")
            .into());
    }
    let texts = (method.needs == Needs::Texts || options.budget.is_some()) && stored.is_none();
    if !texts && options.calibration.is_some() {
        return Err(Problem::usage(format!("--calibration is for methods that run a text, not for {name}")).hint("--method gptq").into());
    }
    let read = || super::calibrate::read(source, options.calibration.as_deref(), texts::CONTEXT, usize::MAX);
    let texts = texts.then(read).transpose()?.map(Arc::new);
    Ok(nibble_compress::Options {
        allow_requantize: options.allow_requantize,
        double_quant: !options.no_double_quant,
        method,
        imatrix: options.imatrix.as_deref().map(Imatrix::open).transpose()?.map(Arc::new),
        imatrix_name: options.imatrix.as_ref().map(|path| path.display().to_string()).unwrap_or_default(),
        texts,
        second_moments: stored.map(SecondMoments::open).transpose()?.map(Arc::new),
        types: None,
    })
}

/// The rows of METHODS as values of `--method`.
fn methods() -> PossibleValuesParser {
    PossibleValuesParser::new(METHODS.iter().map(|m| PossibleValue::new(m.name).help(m.about)).collect::<Vec<_>>())
}

/// The rows of RECIPES as values of `--type`: completions, help and the suggestion after a misspelling come from them.
fn types() -> PossibleValuesParser {
    let value = |recipe: &Recipe| {
        let spellings: Vec<String> =
            recipe.aliases.iter().map(|a| a.to_string()).chain([recipe.name.to_lowercase().replace('_', "-")]).collect();
        PossibleValue::new(recipe.name.to_lowercase()).aliases(spellings).help(recipe.about)
    };
    PossibleValuesParser::new(RECIPES.iter().map(value).collect::<Vec<_>>())
}
