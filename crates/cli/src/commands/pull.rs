//! `nibble pull`: a model from the Hugging Face hub, from a registry, or from a path.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::{ArgMatches, Args, FromArgMatches};
use nibble_store::{Pull, Source};

use super::Row;
use crate::models::{self, Quantizer};
use crate::terminal::{self, Console};
use crate::transfer::{CANCEL, Transfer};

/// The row of COMMANDS.
pub const ROW: Row = Row {
    name: "pull",
    about: "Fetch a model: from the Hugging Face hub, from a registry such as Ollama's, or from a path",
    details: "SOURCE is a repository of the hub, ORG/REPO[:TYPE]; a name of Ollama's registry, such as llama3.2:3b; \
              a name of another one, HOST[:PORT]/NAMESPACE/MODEL[:TAG], to which nibble push publishes; or a path. Of a repository \
              with GGUF files the one of TYPE is fetched (q4_k_m where none is given), all parts of a split one; a checkpoint (safetensors) is \
              fetched and then quantized to TYPE.\n\n\
              A pull that is broken off, by whatever, goes on where it was when it is called again. Every file is verified by its size and \
              SHA-256 before the model gets its name.\n\n\
              HF_TOKEN, or the token that `hf auth login` keeps, opens gated repositories; HF_ENDPOINT names another hub; HF_HUB_OFFLINE=1 \
              fetches nothing. A registry is opened with the user and password that `docker login HOST` keeps (see nibble help push). HTTPS_PROXY and NO_PROXY are honoured.",
    examples: &[
        ("the usual type of a GGUF repository", "nibble pull bartowski/Llama-3.2-1B-Instruct-GGUF"),
        ("another type", "nibble pull bartowski/Llama-3.2-1B-Instruct-GGUF:q8_0"),
        ("a checkpoint, quantized here, under a short name", "nibble pull HuggingFaceTB/SmolLM2-135M-Instruct:q4_k_m --name smol"),
        ("a file that is here already", "nibble pull ./model.gguf --name mine"),
    ],
    args: |command| Options::augment_args(command),
    run,
};

// The command line of `pull`. No doc comment here: clap would take it for the command's about.
#[derive(Args, Debug)]
#[allow(missing_docs)]
struct Options {
    /// ORG/REPO or ORG/REPO:TYPE, a name of a registry, or a path
    #[arg(value_name = "SOURCE")]
    source: String,
    /// The name that the model gets; without it, hf.co/ORG/REPO:TYPE
    #[arg(short, long, value_name = "NAME")]
    name: Option<String>,
    /// The type to fetch or to quantize to, or the name of a file of the repository
    #[arg(short = 't', long = "type", visible_alias = "quantize", value_name = "TYPE")]
    kind: Option<String>,
    /// The branch, tag or commit [default: main]
    #[arg(long, value_name = "REV")]
    revision: Option<String>,
    /// Put the checkpoint that was fetched here instead of removing it when it is quantized
    #[arg(long, value_name = "DIR")]
    keep_checkpoint: Option<PathBuf>,
    /// Give a .gguf file a second name in the store instead of copying it: takes no room, but the file must not be changed afterwards
    #[arg(long)]
    link: bool,
    /// Speak http to a registry that is not of this device: whoever is between can read along, passwords too
    #[arg(long)]
    insecure: bool,
    /// Connections at a time
    #[arg(long, value_name = "N", default_value_t = 6, value_parser = clap::value_parser!(u8).range(1..=32))]
    connections: u8,
    /// Print the model as JSON when it is there
    #[arg(long)]
    json: bool,
}

fn run(matches: &ArgMatches, console: &Console) -> Result<()> {
    let options = Options::from_arg_matches(matches)?;
    let name = options.name.as_deref().map(models::parse).transpose()?;
    let source = source(&options)?;
    let hub = nibble_store::Hub { connections: options.connections.into(), insecure: options.insecure, ..models::hub() };
    let quantizer = Quantizer::new();
    let pull = Pull {
        source: &source,
        name: name.as_ref(),
        hub: &hub,
        convert: Some(&quantizer),
        keep_checkpoint: options.keep_checkpoint.clone(),
        link: options.link,
    };
    let mut transfer = Transfer::new(console);
    let entry = models::store()?.pull(&pull, &mut |told| transfer.tell(told), &CANCEL)?;
    drop(transfer);
    if options.json {
        return terminal::print_json(&serde_json::json!({
            "name": entry.name, "digest": entry.digest.hex(), "size": entry.size, "details": entry.details, "path": entry.model.display().to_string(),
        }));
    }
    models::announce(&entry, console);
    Ok(())
}

/// What SOURCE means, with what the options add.
fn source(options: &Options) -> Result<Source> {
    let text = options.source.as_str();
    let path = Path::new(text);
    let like_file = !text.contains('/') && text.to_ascii_lowercase().ends_with(".gguf");
    // `org/repo` may be a directory here too; who means that one writes ./org/repo.
    let there = path.is_file() || (path.exists() && !text.contains('/'));
    let is_path = text.starts_with(['.', '/', '\\']) || path.is_absolute() || like_file || there;
    let mut source = if is_path { Source::path(path) } else { Source::parse(text)? };
    match &mut source {
        Source::Hub { revision, kind, .. } => {
            *kind = options.kind.clone().or(kind.take());
            *revision = options.revision.clone().or(revision.take());
        }
        Source::Path { kind, .. } => *kind = options.kind.clone(),
        Source::Registry(_) => {}
    }
    Ok(source)
}
