//! COMMANDS: one row a command. Parser, help, completions, man pages and tests all walk this table.
//!
//! To add a command: a file here with `ROW`, and its name in COMMANDS.

mod bench;
mod calibrate;
mod compare;
mod completions;
mod cp;
mod create;
mod demo;
mod doctor;
mod eval;
mod exit_codes;
mod inspect;
mod list;
mod man;
mod pack;
mod ps;
mod pull;
mod push;
pub mod quantize;
mod rm;
pub mod run;
mod serve;
mod show;
mod stop;
mod unpack;
mod verify;

use anyhow::Result;
use clap::error::{ContextKind, ContextValue};
use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::exit;
use crate::terminal::Console;

/// One command of the program.
pub struct Row {
    /// The word after `nibble`.
    pub name: &'static str,
    /// One line for the list of commands.
    pub about: &'static str,
    /// More about it for its own help, after the one line; may be empty.
    pub details: &'static str,
    /// What it is for, and the command line that does it. The first is the one a beginner should see.
    pub examples: &'static [(&'static str, &'static str)],
    /// Adds its arguments.
    pub args: fn(Command) -> Command,
    /// Does it.
    pub run: fn(&ArgMatches, &Console) -> Result<()>,
}

/// Every command, in the order of the help.
pub static COMMANDS: &[&Row] = &[
    &quantize::ROW,
    &calibrate::ROW,
    &inspect::ROW,
    &run::ROW,
    &serve::ROW,
    &ps::ROW,
    &stop::ROW,
    &pull::ROW,
    &push::ROW,
    &list::ROW,
    &show::ROW,
    &create::ROW,
    &cp::ROW,
    &rm::ROW,
    &verify::ROW,
    &pack::ROW,
    &unpack::ROW,
    &bench::ROW,
    &eval::ROW,
    &compare::ROW,
    &demo::ROW,
    &doctor::ROW,
    &completions::ROW,
    &man::ROW,
    &exit_codes::ROW,
];

const ABOUT: &str = "Makes language models small and runs them: checkpoint in, GGUF or NF4 out, answers on this device";

/// The whole command line as clap sees it.
pub fn program() -> Command {
    let mut program = Command::new("nibble")
        .version(env!("CARGO_PKG_VERSION"))
        .about(ABOUT)
        .after_help(format!("Each command explains itself: nibble help COMMAND.\n{}.", exit::line()))
        .subcommand_required(true)
        .arg_required_else_help(true)
        .max_term_width(120)
        .arg(
            Arg::new("quiet")
                .short('q')
                .long("quiet")
                .global(true)
                .display_order(900)
                .action(ArgAction::SetTrue)
                .help("No progress and no notes on stderr; warnings and errors stay"),
        );
    for row in COMMANDS {
        program = program.subcommand(command(row));
    }
    program
}

/// A row as clap sees it: a command, or a command's own command.
fn command(row: &Row) -> Command {
    let mut command = Command::new(row.name).about(row.about).after_help(examples(row));
    if !row.details.is_empty() {
        command = command.long_about(format!("{}.\n\n{}", row.about, row.details));
    }
    // A negative number is a value, if a wrong one, and no flag that is not known.
    (row.args)(command).mut_args(|arg| match arg.get_action().takes_values() && !arg.is_positional() {
        true => arg.allow_negative_numbers(true),
        false => arg,
    })
}

/// Commands that people look for because other programs have them, and what there is instead.
const ELSEWHERE: &[(&[&str], &str)] = &[
    (
        &["signin", "signout", "login", "logout"],
        "there are no accounts here; the hub's token of a private model: export HF_TOKEN=hf_...; a registry's password: docker login HOST",
    ),
    (&["chat", "generate", "ask"], "nibble run MODEL"),
    (&["convert"], "nibble quantize MODEL -t f16"),
    (&["download", "get", "install"], "nibble pull ORG/REPO"),
    (&["search"], "https://huggingface.co/models?library=gguf, then nibble pull ORG/REPO"),
    (&["delete", "remove"], "nibble rm NAME"),
    (&["copy"], "nibble cp NAME NEW"),
    (&["info"], "nibble show NAME, or nibble inspect FILE"),
];

/// The error of a command that there is not, where it is one that another program has.
pub fn elsewhere(error: &clap::Error) -> Option<crate::exit::Problem> {
    let Some(ContextValue::String(name)) = error.get(ContextKind::InvalidSubcommand) else { return None };
    let (_, hint) = ELSEWHERE.iter().find(|(names, _)| names.contains(&name.as_str()))?;
    Some(crate::exit::Problem::usage(format!("there is no command {name}")).hint(*hint))
}

fn examples(row: &Row) -> String {
    let mut text = String::from(if row.examples.len() == 1 { "Example:" } else { "Examples:" });
    for (what, line) in row.examples {
        text.push_str(&format!("\n  {line}\n      {what}"));
    }
    text
}

/// Runs the command that was named.
pub fn dispatch(matches: &ArgMatches, console: &Console) -> Result<()> {
    let (name, arguments) = matches.subcommand().expect("clap requires a subcommand");
    let row = COMMANDS.iter().find(|row| row.name == name).expect("clap knows only the names of the table");
    (row.run)(arguments, console)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Splits as a shell does, as far as the examples need it: blanks, and double quotes that hold them together. Stops at `|`, `<` and `>`.
    fn words(line: &str) -> Vec<String> {
        let mut words = vec![];
        for (i, part) in line.split('"').enumerate() {
            match i % 2 {
                0 => words.extend(part.split_whitespace().map(str::to_string)),
                _ => words.push(part.to_string()),
            }
        }
        let end = words.iter().position(|w| matches!(w.as_str(), "|" | ">" | "<")).unwrap_or(words.len());
        words.truncate(end);
        words
    }

    #[test]
    fn clap_finds_no_fault_in_the_table() {
        program().debug_assert();
    }

    #[test]
    fn every_command_has_an_about_and_examples_that_parse() {
        for row in COMMANDS {
            assert!(row.about.len() > 10 && !row.about.ends_with('.'), "{}: about {:?}", row.name, row.about);
            assert!(!row.examples.is_empty(), "{}: no example", row.name);
            for (what, line) in row.examples {
                assert!(!what.is_empty());
                let words = words(line);
                assert_eq!(&words[..2], ["nibble", row.name], "{line}");
                if let Err(error) = program().try_get_matches_from(&words) {
                    panic!("{line}: {error}");
                }
            }
        }
    }

    #[test]
    fn commands_of_other_programs_are_none_of_ours() {
        let ours: Vec<String> = program()
            .get_subcommands()
            .flat_map(|c| c.get_name_and_visible_aliases().into_iter().map(str::to_string).collect::<Vec<_>>())
            .collect();
        for (names, hint) in ELSEWHERE {
            assert!(names.iter().all(|name| !ours.iter().any(|own| own == name)), "{names:?}");
            // What is named instead is there.
            for command in hint.split("nibble ").skip(1).filter_map(|rest| rest.split([' ', ';']).next()) {
                assert!(ours.iter().any(|own| own == command), "{hint}");
            }
        }
    }

    #[test]
    fn every_argument_has_a_help_text() {
        let program = program();
        let mut commands: Vec<&Command> = program.get_subcommands().collect();
        while let Some(command) = commands.pop() {
            commands.extend(command.get_subcommands());
            for argument in command.get_arguments() {
                assert!(argument.get_help().is_some(), "nibble {} {}", command.get_name(), argument.get_id());
            }
        }
    }

    #[test]
    fn help_completions_and_man_show_every_command() {
        // Without its line breaks: a long about is wrapped.
        let help = program().render_long_help().to_string().split_whitespace().collect::<Vec<_>>().join(" ");
        let mut bash = vec![];
        completions::write(clap_complete::Shell::Bash, &mut bash);
        let bash = String::from_utf8(bash).unwrap();
        let pages = man::pages().unwrap();
        let top = String::from_utf8(pages[0].1.clone()).unwrap();
        for row in COMMANDS {
            assert!(help.contains(row.name) && help.contains(row.about), "{} in the help", row.name);
            assert!(bash.contains(&format!("nibble,{})", row.name)), "{} in bash", row.name);
            // roff sets a dash apart.
            assert!(top.contains(&format!("nibble\\-{}", row.name.replace('-', "\\-"))), "{} in nibble.1", row.name);
            let name = format!("nibble-{}.1", row.name);
            let page = &pages.iter().find(|(n, _)| *n == name).unwrap_or_else(|| panic!("no {name}")).1;
            let page = String::from_utf8(page.clone()).unwrap();
            assert!(page.contains("Example"), "{name} has no example");
        }
    }
}
