//! `nibble eval kl`.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::{ArgMatches, Args, FromArgMatches};
use nibble_engine::{Model, state};
use nibble_evaluate::quality::base::Base;
use nibble_evaluate::quality::pair::{self, Settings};
use nibble_evaluate::quality::record::{Reference, Run};
use nibble_evaluate::quality::run::Against;
use nibble_evaluate::quality::show;
use nibble_evaluate::quality::windows::Passage;

use super::job::{self, Job};
use crate::commands::Row;
use crate::exit::Problem;
use crate::terminal::{self, Console};

/// The row of PARTS.
pub const ROW: Row = Row {
    name: "kl",
    about: "How far a model is from a reference: KL divergence, and which of two models is closer",
    details: "The reference is a model that runs beside (--reference, with --text), or a file of what it said (--base), written by nibble eval perplexity --save-base or by llama-perplexity \
              --kl-divergence-base. Figures are those of llama-perplexity --kl-divergence; its standard errors count neighbouring tokens as independent, so the one by chunk \
              stands beside.\n\n\
              With --against, two models are compared on the same tokens: the ratio of their mean divergences, with an interval from a bootstrap that draws whole chunks. \
              An interval without 1 in it says that one is closer. Either of the two may be the file of an earlier run (-o), which then is not made again.",
    examples: &[
        ("beside the original", "nibble eval kl model-Q4_K_M.gguf --reference Llama-3.2-1B --text wiki.test.raw"),
        ("beside what it said", "nibble eval kl model-Q4_K_M.gguf --base wiki.base"),
        ("is the new one closer?", "nibble eval kl new.gguf --against old.gguf --base wiki.base"),
        ("the same from earlier runs", "nibble eval kl new.json --against old.json"),
    ],
    args: |command| Options::augment_args(command),
    run,
};

// No doc comment here: clap would take it for the command's about.
#[derive(Args, Debug, Clone)]
#[allow(missing_docs)]
struct Options {
    /// The model, or the .json that an earlier run wrote
    #[arg(value_name = "MODEL")]
    model: PathBuf,
    /// What the reference said
    #[arg(long, value_name = "FILE", conflicts_with_all = ["reference", "text", "ctx"])]
    base: Option<PathBuf>,
    /// The reference itself, with --text
    #[arg(long, value_name = "MODEL", requires = "text")]
    reference: Option<PathBuf>,
    /// The text, UTF-8
    #[arg(long, value_name = "FILE", requires = "reference")]
    text: Option<PathBuf>,
    /// Slide windows over the text that begin N tokens apart
    #[arg(long, value_name = "N", requires = "reference", value_parser = clap::value_parser!(u32).range(1..))]
    stride: Option<u32>,
    /// A second model, or its .json: which is closer to the reference?
    #[arg(long, value_name = "MODEL")]
    against: Option<PathBuf>,
    /// Chunks that the bootstrap draws together
    #[arg(long, value_name = "N", default_value_t = 1, requires = "against", value_parser = clap::value_parser!(u32).range(1..))]
    block: u32,
    /// Samples of the bootstrap
    #[arg(long, value_name = "N", default_value_t = 10_000, requires = "against", value_parser = clap::value_parser!(u32).range(100..))]
    samples: u32,
    /// Where the bootstrap's random numbers begin
    #[arg(long, value_name = "N", default_value_t = 1, requires = "against")]
    seed: u64,
    #[command(flatten)]
    job: job::Options,
}

fn run(matches: &ArgMatches, console: &Console) -> Result<()> {
    let options = Options::from_arg_matches(matches)?;
    options.job.check_output()?;
    let made = |path: &Path| path.extension().is_some_and(|e| e == "json");
    let needed = !made(&options.model) || options.against.as_deref().is_some_and(|b| !made(b));
    if needed && options.base.is_none() && options.reference.is_none() {
        return Err(Problem::usage("nothing to compare with").hint("--base FILE, or --reference MODEL --text FILE").into());
    }
    if made(&options.model) && options.job.output.is_some() {
        return Err(Problem::usage(format!("{} is a run already, so there is none for --output", options.model.display())).into());
    }
    let mut beside = None;
    let first = measure(&options, &options.model, options.job.output.clone(), &mut beside, console)?;
    let Some(against) = &options.against else { return job::print(&first, options.job.json) };
    let second = measure(&options, against, None, &mut beside, console)?;
    let settings = Settings { seed: options.seed, samples: options.samples as usize, block: options.block as usize, ..Settings::default() };
    let paired = pair::compare(&first, &second, settings)?;
    if options.job.json {
        let (first, second) = (job::figures_of(&first)?, job::figures_of(&second)?);
        return terminal::print_json(&serde_json::json!({ "paired": paired, "first": first, "second": second }));
    }
    let text = format!("{}\n{}\n{}", show::text(&first), show::text(&second), show::paired(&paired));
    Ok(terminal::print(&text)?)
}

/// The reference, opened once for both models.
enum Beside {
    Base(Base),
    Model(Box<Model>, PathBuf, String),
}

/// The run of a model, or the one that its file holds.
fn measure(options: &Options, path: &Path, output: Option<PathBuf>, beside: &mut Option<Beside>, console: &Console) -> Result<Run> {
    if path.extension().is_some_and(|e| e == "json") {
        let run = Run::read(path)?;
        return match (run.is_complete(), run.divergence.is_some()) {
            (true, true) => Ok(run),
            (false, _) => Err(Problem::failure(format!("{} is not complete", path.display())).into()),
            (_, false) => {
                Err(Problem::failure(format!("{} has no divergences", path.display())).hint("a file of nibble eval kl -o").into())
            }
        };
    }
    let cut = options.job.cut(512, options.stride);
    if beside.is_none() {
        *beside = Some(match (&options.base, &options.reference, &options.text) {
            (Some(base), _, _) => Beside::Base(Base::open(base)?),
            (_, Some(reference), Some(text)) => {
                let text_path = text.clone();
                Beside::Model(Box::new(options.job.load_reference(reference, cut.context)?), text_path, job::read_text(text)?)
            }
            _ => return Err(Problem::usage("nothing to compare with").into()),
        });
    }
    let Some(beside) = beside else { unreachable!("opened above") };
    let context = match beside {
        Beside::Base(base) => base.head().context,
        Beside::Model(..) => cut.context,
    };
    let model = options.job.load(path, context)?;
    let tokenizer = job::tokenizer(model.source())?;
    let (passage, against, reference, text) = match beside {
        Beside::Base(base) => {
            let passage = Passage::of_tokens(base.head().tokens.clone(), &tokenizer, options.job.cut(context, None))?;
            let fingerprint = format!("{:016x}", base.fingerprint());
            let reference = Reference { path: base.path().display().to_string(), fingerprint, kind: base.codec().name.to_string() };
            (passage, Against::Base(base), reference, base.path().to_path_buf())
        }
        Beside::Model(reference, text_path, text) => {
            let passage = Passage::of_text(text, &tokenizer, cut)?;
            let path = options.reference.as_deref().unwrap_or(Path::new("")).display().to_string();
            let kept = Reference { path, fingerprint: format!("{:016x}", state::fingerprint(reference)), kind: "model".to_string() };
            (passage, Against::Model(reference), kept, text_path.clone())
        }
    };
    let job = Job {
        options: &options.job,
        kind: "kl",
        path,
        model: &model,
        passage: &passage,
        text: &text,
        against,
        reference: Some(reference),
        save: None,
        output,
    };
    job.run(console)
}
