//! The `nibble` program: parses the command line, runs one row of COMMANDS and turns its error into a message, a hint and an exit code.
//!
//! This crate is the only one that prints and that reads the environment. Results go to stdout; progress, notes and warnings to stderr.

mod adapters;
mod address;
mod answer;
mod asking;
mod chat;
mod commands;
mod exit;
mod format;
mod hints;
mod interrupt;
mod models;
mod progress;
mod registries;
mod scratch;
mod settings;
mod speculation;
mod terminal;
mod thinking;
mod transfer;
mod units;

use std::process::ExitCode;

fn main() -> ExitCode {
    exit::install_panic_hook();
    interrupt::install();
    let matches = match commands::program().try_get_matches() {
        Ok(matches) => matches,
        Err(error) => match commands::elsewhere(&error) {
            Some(problem) => return exit::report(&problem.into()),
            None => error.exit(),
        },
    };
    let console = terminal::Console::new(matches.get_flag("quiet"));
    let outcome = commands::dispatch(&matches, &console);
    interrupt::let_signals_end();
    if let (outputs @ 1.., bytes) = nibble_container::whole::buried() {
        let what = if outputs == 1 {
            "what an earlier run that was killed had left beside the output".into()
        } else {
            format!("what {outputs} earlier runs that were killed had left beside the output")
        };
        console.note(format!("removed {what}: {}", units::bytes(bytes)));
    }
    match outcome {
        Ok(()) => ExitCode::from(exit::DONE.code),
        Err(error) => exit::report(&error),
    }
}
