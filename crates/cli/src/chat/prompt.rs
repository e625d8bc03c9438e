//! What a person types into a chat: editing, history, lines that go on with a trailing backslash, and the slash commands.

use std::path::PathBuf;

use anyhow::Result;
use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;
use rustyline::{Config, Editor};

/// One thing the person wants.
#[derive(Debug, PartialEq, Eq)]
pub enum Input {
    /// Say this to the model.
    Say(String),
    /// `/help`
    Help,
    /// `/clear`: forget the conversation.
    Clear,
    /// `/system TEXT`: set the system message; `None` shows it.
    System(Option<String>),
    /// `/bye`, or Ctrl-D.
    Bye,
    /// A slash command that does not exist.
    Unknown(String),
}

/// What `/help` prints.
pub const HELP: &str = "\
/system TEXT   set the system message and begin anew; without TEXT, show it
/clear         forget the conversation
/help, /?      this list
/bye           leave, as Ctrl-D does
A line that ends in \\ goes on in the next. Ctrl-C stops an answer. To begin a message with /, put a blank before it.
";

/// Understands a finished message.
pub fn understand(text: &str) -> Input {
    let Some(command) = text.strip_prefix('/') else { return Input::Say(text.trim().to_string()) };
    let (word, rest) = command.split_once(char::is_whitespace).unwrap_or((command, ""));
    let rest = rest.trim();
    match word {
        "help" | "?" | "h" => Input::Help,
        "clear" => Input::Clear,
        "system" => Input::System((!rest.is_empty()).then(|| rest.trim_matches('"').to_string())),
        "bye" | "exit" | "quit" => Input::Bye,
        _ => Input::Unknown(format!("/{word}")),
    }
}

/// The line editor with its history.
pub struct Prompt {
    editor: Editor<(), FileHistory>,
    history: Option<PathBuf>,
}

impl Prompt {
    /// Opens the editor and reads the history, if there is one. A history that cannot be read or written is no reason not to chat.
    pub fn open() -> Result<Prompt> {
        let config = Config::builder().max_history_size(1000)?.history_ignore_space(false).auto_add_history(false).build();
        let mut editor = Editor::with_config(config)?;
        let history = history_file();
        if let Some(path) = &history {
            let _ = editor.load_history(path);
        }
        Ok(Prompt { editor, history })
    }

    /// Reads until there is something to do. Ctrl-C drops the line.
    pub fn next(&mut self) -> Result<Input> {
        let mut text = String::new();
        loop {
            match self.editor.readline(if text.is_empty() { ">>> " } else { "... " }) {
                Ok(line) => {
                    if let Some(head) = line.strip_suffix('\\') {
                        text.push_str(head);
                        text.push('\n');
                        continue;
                    }
                    text.push_str(&line);
                    if text.trim().is_empty() {
                        text.clear();
                        continue;
                    }
                    self.remember(&text);
                    return Ok(understand(&text));
                }
                Err(ReadlineError::Interrupted) => {
                    text.clear();
                    crate::terminal::line_to_stderr("(Ctrl-D or /bye leaves)");
                }
                Err(ReadlineError::Eof) => return Ok(Input::Bye),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Adds a message to the history, in memory and in the file.
    fn remember(&mut self, text: &str) {
        if self.editor.add_history_entry(text).unwrap_or(false)
            && let Some(path) = &self.history
        {
            if let Some(dir) = path.parent() {
                let _ = std::fs::create_dir_all(dir);
            }
            // append_history makes the file readable by its owner only.
            let _ = self.editor.append_history(path);
        }
    }
}

/// `$XDG_STATE_HOME/nibble/history`, by default below ~/.local/state.
fn history_file() -> Option<PathBuf> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|p| p.is_absolute());
    let state = absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")))?;
    Some(state.join("nibble").join("history"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slash_commands_are_understood_and_the_rest_is_said() {
        assert_eq!(understand("  hello "), Input::Say("hello".into()));
        assert_eq!(understand(" /clear"), Input::Say("/clear".into()));
        assert_eq!(understand("/clear"), Input::Clear);
        assert_eq!(understand("/?"), Input::Help);
        assert_eq!(understand("/system You are brief."), Input::System(Some("You are brief.".into())));
        assert_eq!(understand("/system"), Input::System(None));
        assert_eq!(understand("/bye"), Input::Bye);
        assert_eq!(understand("/clera now"), Input::Unknown("/clera".into()));
    }

    #[test]
    fn the_help_names_every_command() {
        for command in ["/system", "/clear", "/help", "/bye"] {
            assert!(HELP.contains(command));
        }
    }
}
