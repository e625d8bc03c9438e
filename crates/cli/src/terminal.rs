//! Where words go: results to stdout, everything else to stderr, and what is known of the terminal.

use std::io::{self, IsTerminal, Write};

/// What a command needs to know to talk to its user.
#[derive(Debug, Clone, Copy)]
pub struct Console {
    /// No progress and no notes; warnings and errors stay.
    pub quiet: bool,
    /// stderr is a terminal, so that a progress bar may redraw its line.
    pub stderr_is_terminal: bool,
    /// stdout is a terminal.
    pub stdout_is_terminal: bool,
    /// stdin is a terminal: a person types, nothing is piped.
    pub stdin_is_terminal: bool,
}

impl Console {
    /// Asks the three streams what they are. `TERM=dumb` terminals get plain lines.
    pub fn new(quiet: bool) -> Console {
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Console {
            quiet,
            stderr_is_terminal: io::stderr().is_terminal() && !dumb,
            stdout_is_terminal: io::stdout().is_terminal(),
            stdin_is_terminal: io::stdin().is_terminal(),
        }
    }

    /// Whether what goes to stdout may be dimmed.
    pub fn styles_stdout(&self) -> bool {
        self.stdout_is_terminal && styles_are_wanted()
    }

    /// A remark for the user (stderr), silent under `--quiet`.
    pub fn note(&self, text: impl AsRef<str>) {
        if !self.quiet {
            line_to_stderr(text.as_ref());
        }
    }

    /// A warning (stderr), also under `--quiet`.
    pub fn warn(&self, text: impl AsRef<str>) {
        line_to_stderr(&format!("nibble: warning: {}", text.as_ref()));
    }
}

/// Whether the terminal knows styles, and nobody has asked for none (<https://no-color.org>).
fn styles_are_wanted() -> bool {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    set("NO_COLOR").is_none() && set("TERM").is_none_or(|term| term != "dumb")
}

/// An error, whose first word is red on a terminal, and what to try.
pub fn error_to_stderr(label: &str, text: &str, hint: Option<&str>) {
    let (red, bold, plain) = match io::stderr().is_terminal() && styles_are_wanted() {
        true => ("\x1b[1;31m", "\x1b[1m", "\x1b[0m"),
        false => ("", "", ""),
    };
    line_to_stderr(&format!("{red}{label}:{plain} {text}"));
    if let Some(hint) = hint {
        line_to_stderr(&format!("{bold}try:{plain} {hint}"));
    }
}

/// One line to stderr; a closed stderr is nobody's error.
pub fn line_to_stderr(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Prints to stdout at once. A broken pipe comes back as an error, which `exit::report` takes for a quiet end.
pub fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let printed = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    printed.map_err(|error| io::Error::new(error.kind(), format!("stdout: {error}")))
}

/// Prints a value as indented JSON and a newline to stdout.
pub fn print_json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    let mut text = serde_json::to_string_pretty(value)?;
    text.push('\n');
    Ok(print(&text)?)
}

/// A name from a file made safe to print: control characters (escape sequences above all) become U+FFFD.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// Lays out rows in columns: all but the first right-aligned, two blanks between.
pub fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = header.iter().map(|h| h.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    let header: Vec<String> = header.iter().map(|h| h.to_string()).collect();
    for row in std::iter::once(&header).chain(rows) {
        let mut line = String::new();
        for (i, (cell, &width)) in row.iter().zip(&widths).enumerate() {
            match i {
                0 => line.push_str(&format!("{cell:<width$}")),
                _ => line.push_str(&format!("  {cell:>width$}")),
            }
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_sequences_in_names_are_not_printed() {
        assert_eq!(printable("a\x1b[2Jb\n"), "a\u{fffd}[2Jb\u{fffd}");
        assert_eq!(printable("blk.0.attn_q.weight é"), "blk.0.attn_q.weight é");
    }

    #[test]
    fn columns_line_up() {
        let text = table(&["type", "bytes"], &[vec!["Q4_K".into(), "144".into()], vec!["F32".into(), "1,024".into()]]);
        assert_eq!(text, "type  bytes\nQ4_K    144\nF32   1,024\n");
    }
}
