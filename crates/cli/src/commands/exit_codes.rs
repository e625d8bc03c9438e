//! `nibble exit-codes`: what the codes mean that the program leaves with.

use anyhow::Result;
use clap::{Arg, ArgAction, ArgMatches};

use super::Row;
use crate::exit;
use crate::terminal::{self, Console};

/// The row of COMMANDS.
pub const ROW: Row = Row {
    name: "exit-codes",
    about: "List the exit codes and what they mean",
    details: "",
    examples: &[("read them", "nibble exit-codes"), ("for a script", "nibble exit-codes --json")],
    args: |command| {
        let examples = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        command
            .after_help(format!("{}\n{examples}", exit::table()))
            .arg(Arg::new("json").long("json").action(ArgAction::SetTrue).help("Print JSON"))
    },
    run,
};

fn run(matches: &ArgMatches, _: &Console) -> Result<()> {
    match matches.get_flag("json") {
        true => terminal::print_json(&exit::CODES),
        false => Ok(terminal::print(&exit::table())?),
    }
}
