//! `nibble stop`: takes a model out of a running server's memory.

use anyhow::Result;
use clap::{ArgMatches, Args, FromArgMatches};
use serde_json::json;

use super::Row;
use crate::asking::Server;
use crate::terminal::Console;

/// The row of COMMANDS.
pub const ROW: Row = Row {
    name: "stop",
    about: "Take a model out of a running server's memory",
    details: "Answers in the making are finished first. The server goes on, and loads the model again when somebody asks for it.",
    examples: &[("free the memory", "nibble stop llama3.2"), ("on another machine", "nibble stop llama3.2 --host 192.168.1.20")],
    args: |command| Options::augment_args(command),
    run,
};

// The command line of `stop`. No doc comment here: clap would take it for the command's about.
#[derive(Args, Debug)]
#[allow(missing_docs)]
struct Options {
    /// The model, as `nibble ps` names it
    #[arg(value_name = "NAME")]
    name: String,
    #[command(flatten)]
    server: Server,
}

fn run(matches: &ArgMatches, console: &Console) -> Result<()> {
    let options = Options::from_arg_matches(matches)?;
    options.server.ask("/api/generate", Some(&json!({"model": options.name, "keep_alive": 0, "stream": false})))?;
    console.note(format!("{} leaves the memory", options.name));
    Ok(())
}
