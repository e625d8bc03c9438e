//! Exit codes, the last words of a failed command, and what a panic says.
//!
//! CODES is the only list of the codes: `nibble exit-codes`, the help, the manual page and the tests walk it, and who leaves with one takes it from here.

use std::io;
use std::process::ExitCode;

use serde::Serialize;

use crate::hints;
use crate::terminal;

/// A code that the program leaves with.
#[derive(Debug, Serialize)]
pub struct Code {
    /// The number.
    pub code: u8,
    /// A word for it.
    pub name: &'static str,
    /// When the program leaves with it.
    pub about: &'static str,
}

/// All is done.
pub const DONE: Code =
    Code { code: 0, name: "done", about: "all is done; also when the reader of stdout went away, or a server was asked to end" };
/// The command failed.
pub const FAILURE: Code = Code { code: 1, name: "failed", about: "the command failed; the message says why" };
/// The command line is wrong; clap leaves with it too.
pub const USAGE: Code = Code { code: 2, name: "usage", about: "the command line is wrong; nothing was done" };
/// A bug in nibble.
pub const BUG: Code = Code { code: 70, name: "bug", about: "a bug in nibble (a panic)" };
/// A mapped file became shorter; the container's handler leaves with it.
pub const SHRUNK: Code =
    Code { code: nibble_container::SHRUNK_EXIT_CODE as u8, name: "shrunk", about: "a model file became shorter while it was in use" };
/// The terminal was closed.
pub const HANGUP: Code = Code { code: 129, name: "hangup", about: "ended by SIGHUP: the terminal was closed" };
/// Ctrl-C was pressed.
pub const INTERRUPTED: Code = Code { code: 130, name: "interrupted", about: "ended by SIGINT: Ctrl-C" };
/// The program was asked to end.
pub const TERMINATED: Code = Code { code: 143, name: "terminated", about: "ended by SIGTERM" };

/// Every code, in order.
pub static CODES: &[&Code] = &[&DONE, &FAILURE, &USAGE, &BUG, &SHRUNK, &HANGUP, &INTERRUPTED, &TERMINATED];

/// The codes as a table.
pub fn table() -> String {
    CODES.iter().map(|row| format!("{:>3}  {:<12} {}\n", row.code, row.name, row.about)).collect()
}

/// The codes in one line, for the end of the help.
pub fn line() -> String {
    let codes: Vec<String> = CODES.iter().map(|row| format!("{} {}", row.code, row.name)).collect();
    format!("Exit codes: {} (nibble exit-codes says more)", codes.join(", "))
}

/// An error found by the command line itself, with what to try and the code to leave with.
#[derive(Debug)]
pub struct Problem {
    message: String,
    hint: Option<String>,
    code: u8,
}

impl Problem {
    /// A wrong command line (exit code 2).
    pub fn usage(message: impl Into<String>) -> Problem {
        Problem { message: message.into(), hint: None, code: USAGE.code }
    }

    /// A failure of the command (exit code 1).
    pub fn failure(message: impl Into<String>) -> Problem {
        Problem { message: message.into(), hint: None, code: FAILURE.code }
    }

    /// The same with a line that says what to try.
    pub fn hint(mut self, hint: impl Into<String>) -> Problem {
        self.hint = Some(hint.into());
        self
    }

    /// The line that says what to try.
    pub fn hint_text(&self) -> Option<&str> {
        self.hint.as_deref()
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Problem {}

/// Prints `nibble: error: …` with its hint and gives the exit code. A reader that went away is no error.
pub fn report(error: &anyhow::Error) -> ExitCode {
    if is_broken_pipe(error) {
        return ExitCode::from(DONE.code);
    }
    terminal::error_to_stderr("nibble: error", &hints::chain(error), hints::hint(error).as_deref());
    ExitCode::from(error.downcast_ref::<Problem>().map_or(FAILURE.code, |problem| problem.code))
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| cause.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe))
}

/// Makes a panic, in whatever thread, say that it is a bug and of which version, remove what was half written and leave with code 70.
pub fn install_panic_hook() {
    std::panic::set_hook(Box::new(|info| {
        let what = info.payload();
        let what = what.downcast_ref::<&str>().map(|s| s.to_string()).or_else(|| what.downcast_ref::<String>().cloned());
        let place = info.location().map_or_else(String::new, |l| format!(" at {}:{}", l.file(), l.line()));
        terminal::line_to_stderr(&format!("nibble: bug: {}{place}", what.unwrap_or_else(|| "panic".to_string())));
        terminal::line_to_stderr(&format!(
            "nibble {} on {}-{}: this is a fault in nibble, not in what you did. Please report these two lines and the command line at {}/issues",
            env!("CARGO_PKG_VERSION"),
            std::env::consts::ARCH,
            std::env::consts::OS,
            env!("CARGO_PKG_REPOSITORY"),
        ));
        crate::interrupt::abandon_and_exit(BUG.code);
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_names_stand_once_and_in_order() {
        assert!(CODES.windows(2).all(|pair| pair[0].code < pair[1].code));
        for row in CODES {
            assert_eq!(CODES.iter().filter(|other| other.name == row.name).count(), 1, "{}", row.name);
            assert!(table().contains(row.about) && line().contains(&format!("{} {}", row.code, row.name)), "{}", row.name);
        }
    }

    #[test]
    fn every_signal_has_its_code() {
        for signal in crate::interrupt::SIGNALS {
            let code = crate::interrupt::code(signal);
            assert!(CODES.iter().any(|row| row.code == code && row.about.contains("SIG")), "signal {signal}: {code}");
        }
    }
}
