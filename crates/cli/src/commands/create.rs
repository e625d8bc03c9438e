//! `nibble create`: a model from a Modelfile.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{ArgMatches, Args, FromArgMatches};
use nibble_engine::text::Template;
use nibble_store::{Create, Modelfile};

use super::Row;
use crate::exit::Problem;
use crate::models::{self, Quantizer};
use crate::terminal::{self, Console};
use crate::transfer::{CANCEL, Transfer};
use crate::units;

/// The row of COMMANDS.
pub const ROW: Row = Row {
    name: "create",
    about: "Make a model from a Modelfile",
    details: "A Modelfile says what a model is made from and how it is used, in Ollama's words:\n\n  \
              FROM ./model.gguf\n  PARAMETER temperature 0.7\n  PARAMETER stop \"<|end|>\"\n  SYSTEM You answer in one line.\n  \
              MESSAGE user Hello\n  MESSAGE assistant Good day.\n\n\
              FROM takes a name of the store, a .gguf file (of a split one, any part) or a directory with safetensors, which is quantized; paths \
              are relative to the Modelfile. TEMPLATE, LICENSE, ADAPTER and REQUIRES are there too. Text in triple quotes may have several lines.",
    examples: &[
        ("from the Modelfile in this directory", "nibble create assistant"),
        ("another Modelfile, quantized on the way", "nibble create assistant -f Modelfile.small -t q4_k_m"),
        ("without a Modelfile", "nibble create assistant --from ./model.gguf"),
    ],
    args: |command| Options::augment_args(command),
    run,
};

// The command line of `create`. No doc comment here: clap would take it for the command's about.
#[derive(Args, Debug)]
#[allow(missing_docs)]
struct Options {
    /// The model's name
    #[arg(value_name = "NAME")]
    name: String,
    /// The Modelfile; - is stdin [default: Modelfile]
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// What the model is made from, instead of a Modelfile
    #[arg(long, value_name = "FROM", conflicts_with = "file")]
    from: Option<String>,
    /// Quantize to this type
    #[arg(short = 't', long = "quantize", visible_alias = "type", value_name = "TYPE")]
    quantize: Option<String>,
    /// Give a .gguf file a second name in the store instead of copying it: takes no room, but the file must not be changed afterwards
    #[arg(long)]
    link: bool,
    /// Threads for quantizing; without it, one for each core
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    threads: Option<u32>,
}

fn run(matches: &ArgMatches, console: &Console) -> Result<()> {
    let options = Options::from_arg_matches(matches)?;
    let name = models::parse(&options.name)?;
    let (modelfile, base) = match &options.from {
        Some(from) => (Modelfile { from: from.clone(), ..Modelfile::default() }, PathBuf::new()),
        None => read(options.file.as_deref().unwrap_or(Path::new("Modelfile")))?,
    };
    if let Some(template) = &modelfile.template {
        // Told now rather than by the first answer.
        Template::new(&nibble_store::template::jinja(template)?, "", "").context("TEMPLATE")?;
    }
    let mut quantizer = Quantizer::new();
    if let Some(threads) = options.threads {
        quantizer.threads = threads as usize;
    }
    let create =
        Create { modelfile: &modelfile, base: &base, quantize: options.quantize.as_deref(), convert: Some(&quantizer), link: options.link };
    let mut transfer = Transfer::new(console);
    let entry = models::store()?.create(&name, &create, &mut |told| transfer.tell(told), &CANCEL)?;
    drop(transfer);
    console.note(format!("made {}, {} ({})", entry.name, units::bytes(entry.size), entry.details.quantization_level));
    Ok(())
}

/// A Modelfile and the directory that its paths are relative to.
fn read(path: &Path) -> Result<(Modelfile, PathBuf)> {
    let stdin = path == Path::new("-");
    let shown = if stdin { "stdin".to_string() } else { path.display().to_string() };
    let text = match stdin {
        true => std::io::read_to_string(std::io::stdin().lock()).context("stdin")?,
        false => {
            let bytes = std::fs::read(path).map_err(|error| {
                let problem = Problem::failure(format!("{shown}: {error}"));
                match error.kind() {
                    std::io::ErrorKind::NotFound => problem.hint("-f FILE, or --from MODEL to go without a Modelfile"),
                    _ if path.join("Modelfile").is_file() => problem.hint(format!("-f {}", path.join("Modelfile").display())),
                    _ => problem,
                }
            })?;
            String::from_utf8(bytes)
                .map_err(|error| Problem::failure(format!("{shown}: not UTF-8 at byte {}", error.utf8_error().valid_up_to())))?
        }
    };
    let modelfile = Modelfile::parse(&text).map_err(|error| match error {
        nibble_store::Error::Modelfile { line, message } => {
            Problem::failure(format!("{} line {line}: {}", terminal::printable(&shown), terminal::printable(&message))).into()
        }
        error => anyhow::Error::from(error),
    })?;
    let base = if stdin { PathBuf::new() } else { path.parent().unwrap_or(Path::new("")).to_path_buf() };
    Ok((modelfile, base))
}
