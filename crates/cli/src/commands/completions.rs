//! `nibble completions`: the shell's knowledge of our command line, made from the table.

use anyhow::Result;
use clap::{Arg, ArgMatches, Command, value_parser};
use clap_complete::Shell;

use super::Row;
use crate::terminal::{self, Console};

/// The row of COMMANDS.
pub const ROW: Row = Row {
    name: "completions",
    about: "Print the completions of a shell (bash, zsh, fish, elvish, powershell)",
    details: "",
    examples: &[
        ("for bash, when it starts", "nibble completions bash > ~/.local/share/bash-completion/completions/nibble"),
        ("for fish", "nibble completions fish > ~/.config/fish/completions/nibble.fish"),
    ],
    args: |command| command.arg(shell()),
    run,
};

fn shell() -> Arg {
    Arg::new("shell").value_name("SHELL").required(true).value_parser(value_parser!(Shell)).help("The shell to write for")
}

fn run(matches: &ArgMatches, _console: &Console) -> Result<()> {
    let mut script = vec![];
    write(*matches.get_one::<Shell>("shell").expect("required"), &mut script);
    Ok(terminal::print(&String::from_utf8(script)?)?)
}

/// Writes the script of one shell.
pub fn write(shell: Shell, out: &mut Vec<u8>) {
    let mut program: Command = super::program();
    clap_complete::generate(shell, &mut program, "nibble", out);
}
