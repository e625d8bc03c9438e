//! `nibble list`: the models of the store.

use std::time::SystemTime;

use anyhow::Result;
use clap::{ArgMatches, Args, FromArgMatches};
use nibble_store::Summary;
use serde_json::json;

use super::Row;
use crate::terminal::{self, Console};
use crate::{models, units};

/// The row of COMMANDS.
pub const ROW: Row = Row {
    name: "list",
    about: "List the models on this device",
    details: "The newest comes first. The id is the beginning of the manifest's SHA-256: two names with one id are one model.\n\n\
              The store is at $NIBBLE_MODELS, else at $XDG_DATA_HOME/nibble, else at ~/.local/share/nibble. It is laid out as Ollama's: with \
              NIBBLE_MODELS=~/.ollama/models the models that Ollama has fetched are there too.",
    examples: &[("what is there", "nibble list"), ("those of a family", "nibble list llama"), ("for a script", "nibble list --json")],
    // The name that it has in Ollama and Docker, and of files everywhere.
    args: |command| Options::augment_args(command).visible_alias("ls"),
    run,
};

// The command line of `list`. No doc comment here: clap would take it for the command's about.
#[derive(Args, Debug)]
#[allow(missing_docs)]
struct Options {
    /// Only models whose name holds this text
    #[arg(value_name = "TEXT")]
    text: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

fn run(matches: &ArgMatches, console: &Console) -> Result<()> {
    let options = Options::from_arg_matches(matches)?;
    let listing = models::store()?.list()?;
    for fault in &listing.faults {
        console.warn(terminal::printable(&fault.to_string()));
    }
    let wanted = options.text.unwrap_or_default().to_lowercase();
    let found: Vec<&Summary> = listing.models.iter().filter(|model| model.name.to_string().to_lowercase().contains(&wanted)).collect();
    if options.json {
        return terminal::print_json(&found.iter().map(|model| to_json(model)).collect::<Vec<_>>());
    }
    if found.is_empty() && wanted.is_empty() {
        console.note("no models yet; nibble pull ORG/REPO fetches one, nibble create makes one");
    }
    let now = SystemTime::now();
    let row = |model: &&Summary| {
        let age = now.duration_since(model.modified).unwrap_or_default().as_secs();
        vec![model.name.to_string(), model.digest.short(), units::bytes(model.size), units::ago(age)]
    };
    let rows: Vec<Vec<String>> = found.iter().map(row).collect();
    Ok(terminal::print(&terminal::table(&["NAME", "ID", "SIZE", "MODIFIED"], &rows))?)
}

/// A model as JSON: the fields of Ollama's `/api/tags`, the time in seconds since 1970.
pub fn to_json(model: &Summary) -> serde_json::Value {
    let modified = model.modified.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    json!({
        "name": model.name,
        "digest": model.digest.hex(),
        "size": model.size,
        "modified": modified,
        "details": model.details,
    })
}
