//! Exit codes, the last words of a failed command, and what a panic says.
//!
//! | code | meaning |
//! |---|---|
//! | 0 | done; also when the reader of stdout went away (`nibble inspect m.gguf \| head`) |
//! | 1 | the command failed; the message says why |
//! | 2 | the command line is wrong |
//! | 70 | a bug in nibble (a panic) |
//! | 74 | a model file shrank while it was mapped |
//! | 130 | stopped by Ctrl-C (143: by SIGTERM, 129: by SIGHUP) |

use std::io;
use std::process::ExitCode;

use crate::hints;
use crate::terminal;

/// The command failed.
pub const FAILURE: u8 = 1;
/// The command line is wrong.
pub const USAGE: u8 = 2;
/// A bug in nibble.
pub const BUG: u8 = 70;

/// The table above for the help text and the man page.
pub const HELP: &str = "Exit codes: 0 done, 1 failed, 2 wrong command line, 70 a bug in nibble, 74 a model file shrank while it was in use, \
                        130 stopped by Ctrl-C";

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
        Problem { message: message.into(), hint: None, code: USAGE }
    }

    /// A failure of the command (exit code 1).
    pub fn failure(message: impl Into<String>) -> Problem {
        Problem { message: message.into(), hint: None, code: FAILURE }
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
        return ExitCode::SUCCESS;
    }
    terminal::line_to_stderr(&format!("nibble: error: {}", hints::chain(error)));
    if let Some(hint) = hints::hint(error) {
        terminal::line_to_stderr(&format!("try: {hint}"));
    }
    ExitCode::from(error.downcast_ref::<Problem>().map_or(FAILURE, |problem| problem.code))
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
        crate::interrupt::abandon_and_exit(BUG);
    }));
}
