//! `nibble ps`: the models that a running server has in memory.

use anyhow::Result;
use clap::{ArgMatches, Args, FromArgMatches};
use serde_json::Value;

use super::Row;
use crate::asking::Server;
use crate::terminal::{self, Console};
use crate::units;

/// The row of COMMANDS.
pub const ROW: Row = Row {
    name: "ps",
    about: "List the models that a running server has in memory",
    details: "SIZE is the weights and one context. UNTIL is when a model leaves the memory if nobody asks it before.",
    examples: &[
        ("what is loaded", "nibble ps"),
        ("for a script", "nibble ps --json"),
        ("on another machine", "nibble ps --host 192.168.1.20"),
    ],
    args: |command| Options::augment_args(command),
    run,
};

// The command line of `ps`. No doc comment here: clap would take it for the command's about.
#[derive(Args, Debug)]
#[allow(missing_docs)]
struct Options {
    #[command(flatten)]
    server: Server,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

fn run(matches: &ArgMatches, console: &Console) -> Result<()> {
    let options = Options::from_arg_matches(matches)?;
    let answer = options.server.ask("/api/ps", None)?;
    let none = vec![];
    let models = answer["models"].as_array().unwrap_or(&none);
    if options.json {
        return terminal::print_json(models);
    }
    if models.is_empty() {
        console.note("no model is in memory; the first request loads one");
    }
    let text = |model: &Value, key: &str| terminal::printable(model[key].as_str().unwrap_or("?")).to_string();
    let rows: Vec<Vec<String>> = models
        .iter()
        .map(|model| {
            let size = units::bytes(model["size"].as_u64().unwrap_or(0));
            let context = model["context_length"].as_u64().unwrap_or(0).to_string();
            vec![text(model, "name"), size, context, text(model, "expires_at")]
        })
        .collect();
    Ok(terminal::print(&terminal::table(&["NAME", "SIZE", "CONTEXT", "UNTIL"], &rows))?)
}
