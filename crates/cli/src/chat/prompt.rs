//! What a person types into a chat: editing, history, messages of several lines, and the slash commands.

use std::path::PathBuf;

use anyhow::Result;
use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;
use rustyline::{Config, Editor};

use crate::thinking::Think;

/// One thing the person wants.
#[derive(Debug, PartialEq, Eq)]
pub enum Input {
    /// Say this to the model.
    Say(String),
    /// `/help`, about a command or all.
    Help(Option<String>),
    /// `/clear`: forget the conversation.
    Clear,
    /// `/retry`: another answer to the last message.
    Retry,
    /// `/system TEXT` or `/set system TEXT`: set the system message; `None` shows it.
    System(Option<String>),
    /// `/set parameter NAME VALUE`.
    Parameter(String, String),
    /// `/set format WHAT`; `None`: any text again.
    Format(Option<String>),
    /// `/set history` and `/set nohistory`.
    History(bool),
    /// `/set think` and `/set nothink`.
    Think(Think),
    /// `/set verbose` and `/set quiet`.
    Verbose(bool),
    /// `/show WHAT`.
    Show(String),
    /// `/save NAME`.
    Save(String),
    /// `/load NAME`.
    Load(String),
    /// `/bye`, or Ctrl-D.
    Bye,
    /// A command that lacks something or does not exist, and what to do.
    Wrong(String),
}

/// A command for the help.
pub struct Topic {
    /// Its words.
    pub usage: &'static str,
    /// One line about it.
    pub about: &'static str,
    /// More, for `/help COMMAND`.
    pub more: &'static str,
}

/// Every command, in the order of the help.
pub static TOPICS: &[Topic] = &[
    Topic {
        usage: "/set parameter NAME VALUE",
        about: "a sampling setting, from the next answer on",
        more: "The names are those of a Modelfile: temperature, top_k, top_p, min_p, typical_p, repeat_penalty, repeat_last_n, presence_penalty, frequency_penalty, seed, num_predict, stop.",
    },
    Topic {
        usage: "/set system TEXT",
        about: "the system message; the conversation begins anew",
        more: "The same as /system TEXT. /show system shows it.",
    },
    Topic {
        usage: "/set format json|FILE",
        about: "answers must be JSON, or follow a JSON schema",
        more: "FILE holds a JSON schema; one in braces does too. /set noformat takes it back.",
    },
    Topic {
        usage: "/set history, /set nohistory",
        about: "keep what is typed for the next time, or not",
        more: "The history is below $XDG_STATE_HOME/nibble, by default ~/.local/state/nibble.",
    },
    Topic {
        usage: "/set think [LEVEL], /set nothink",
        about: "the model thinks before it answers, or not",
        more: "LEVEL is low, medium or high, for models that know degrees. Thoughts are shown, and are no part of the conversation that follows.",
    },
    Topic { usage: "/set verbose, /set quiet", about: "times and context use after each answer, or not", more: "" },
    Topic { usage: "/show WHAT", about: "info, parameters, system, template, license, modelfile or context", more: "" },
    Topic {
        usage: "/save NAME",
        about: "keep the session as a model of the store",
        more: "NAME becomes a model of these weights with the system message, the settings and the conversation; nibble run NAME goes on with it, and so does /load. A path, or a name that ends in .json, keeps the conversation alone in a file.",
    },
    Topic {
        usage: "/load NAME",
        about: "go on with a saved session, or with another model",
        more: "NAME is a model of the store; what the command line set stays set. A path, or a name that ends in .json, is a file of /save: its conversation goes on with the model that is loaded.",
    },
    Topic { usage: "/system TEXT", about: "as /set system; without TEXT, show it", more: "" },
    Topic { usage: "/retry", about: "another answer to the last message", more: "At temperature 0 it is the same one." },
    Topic { usage: "/clear", about: "forget the conversation", more: "The system message and the settings stay." },
    Topic { usage: "/help, /? [COMMAND]", about: "this list, or more about a command", more: "" },
    Topic { usage: "/bye", about: "leave, as Ctrl-D does", more: "" },
];

/// What `/help` prints.
pub fn help(about: Option<&str>) -> String {
    if let Some(word) = about {
        let word = format!("/{}", word.trim_start_matches('/'));
        let mut text = String::new();
        for topic in TOPICS.iter().filter(|t| t.usage.split([' ', ',']).next() == Some(word.as_str()) || t.usage.starts_with(word.as_str()))
        {
            text.push_str(&format!("{}\n    {}\n", topic.usage, topic.about));
            if !topic.more.is_empty() {
                text.push_str(&format!("    {}\n", topic.more));
            }
        }
        return if text.is_empty() { format!("{word} is not a command; /help lists them\n") } else { text };
    }
    let mut text: String = TOPICS.iter().map(|topic| format!("{:<34}{}\n", topic.usage, topic.about)).collect();
    text.push_str(
        "\"\"\" begins and ends a message of several lines; a line that ends in \\ goes on in the next. Pasted lines stay together.\n",
    );
    text.push_str("Ctrl-C stops an answer. To begin a message with /, put a blank before it.\n");
    text
}

/// Understands a finished message.
pub fn understand(text: &str) -> Input {
    let Some(command) = text.strip_prefix('/') else { return Input::Say(text.trim().to_string()) };
    let (word, rest) = command.split_once(char::is_whitespace).unwrap_or((command, ""));
    let rest = rest.trim();
    let given = || (!rest.is_empty()).then(|| unquoted(rest).to_string());
    let needs = |what: &str| Input::Wrong(format!("/{word} needs {what}; /help {word} says more"));
    match word {
        "help" | "?" | "h" => Input::Help(given()),
        "clear" => Input::Clear,
        "retry" => Input::Retry,
        "system" => Input::System(given()),
        "set" => set(rest),
        "show" if rest.is_empty() => needs("info, parameters, system, template, license, modelfile or context"),
        "show" => Input::Show(rest.to_string()),
        "save" => given().map_or_else(|| needs("a name"), Input::Save),
        "load" => given().map_or_else(|| needs("a name"), Input::Load),
        "bye" | "exit" | "quit" => Input::Bye,
        _ => Input::Wrong(format!("/{word} is not a command; /help lists them")),
    }
}

fn set(rest: &str) -> Input {
    let (what, value) = rest.split_once(char::is_whitespace).map_or((rest, ""), |(a, b)| (a, b.trim()));
    let wrong = |text: &str| Input::Wrong(format!("{text}; /help set says more"));
    match what {
        "parameter" => match value.split_once(char::is_whitespace) {
            Some((name, value)) => Input::Parameter(name.to_string(), unquoted(value.trim()).to_string()),
            None => wrong("/set parameter needs a NAME and a VALUE"),
        },
        "system" if value.is_empty() => wrong("/set system needs a text"),
        "system" => Input::System(Some(unquoted(value).to_string())),
        "format" if value.is_empty() => wrong("/set format needs json or a schema"),
        "format" => Input::Format(Some(value.to_string())),
        "noformat" => Input::Format(None),
        "history" => Input::History(true),
        "nohistory" => Input::History(false),
        "think" => Think::read(value).map_or_else(|error| wrong(&format!("/set think {value}: {error}")), Input::Think),
        "nothink" => Input::Think(Think::No),
        "verbose" => Input::Verbose(true),
        "quiet" => Input::Verbose(false),
        "" => wrong("/set needs something to set"),
        other => wrong(&format!("/set {other} is not known")),
    }
}

/// Without the quotation marks around it.
fn unquoted(text: &str) -> &str {
    let inner = |q: &str| text.strip_prefix(q).and_then(|t| t.strip_suffix(q));
    inner("\"\"\"").or_else(|| inner("\"")).unwrap_or(text).trim()
}

/// Puts lines together to messages.
#[derive(Debug, Default)]
pub struct Lines {
    text: String,
    /// Within `"""`.
    quoted: bool,
}

impl Lines {
    /// Whether a message has begun.
    pub fn begun(&self) -> bool {
        self.quoted || !self.text.is_empty()
    }

    /// Takes a line; the message, once it is whole. One without any text is none.
    pub fn push(&mut self, line: &str) -> Option<String> {
        const MARK: &str = "\"\"\"";
        let begins = !self.begun() && line.trim_start().starts_with(MARK);
        let rest = if begins { &line.trim_start()[MARK.len()..] } else { line };
        if begins || self.quoted {
            self.quoted = true;
            match rest.find(MARK) {
                Some(at) => self.text.push_str(&rest[..at]),
                None => {
                    if !(begins && rest.is_empty()) {
                        self.text.push_str(rest);
                        self.text.push('\n');
                    }
                    return None;
                }
            }
        } else if let Some(head) = line.strip_suffix('\\') {
            self.text.push_str(head);
            self.text.push('\n');
            return None;
        } else {
            self.text.push_str(line);
        }
        // What stands in quotation marks is said, even if it looks like a command.
        let quoted = std::mem::take(self);
        let text = if quoted.quoted { format!(" {}", quoted.text.trim_end_matches('\n')) } else { quoted.text };
        (!text.trim().is_empty()).then_some(text)
    }
}

/// The line editor with its history.
pub struct Prompt {
    editor: Editor<(), FileHistory>,
    history: Option<PathBuf>,
    keep: bool,
}

impl Prompt {
    /// Opens the editor and reads the history, if there is one. A history that cannot be read or written is no reason not to chat.
    pub fn open() -> Result<Prompt> {
        let config =
            Config::builder().max_history_size(1000)?.history_ignore_space(false).auto_add_history(false).bracketed_paste(true).build();
        let mut editor = Editor::with_config(config)?;
        let history = state_dir().map(|state| state.join("history"));
        if let Some(path) = &history {
            let _ = editor.load_history(path);
        }
        Ok(Prompt { editor, history, keep: true })
    }

    /// Keeps what is typed from now on, or does not.
    pub fn keep(&mut self, keep: bool) {
        self.keep = keep;
    }

    /// Reads until there is something to do. Ctrl-C drops the message.
    pub fn next(&mut self) -> Result<Input> {
        let mut lines = Lines::default();
        loop {
            match self.editor.readline(if lines.begun() { "... " } else { ">>> " }) {
                Ok(line) => {
                    let Some(text) = lines.push(&line) else { continue };
                    self.remember(&text);
                    return Ok(understand(&text));
                }
                Err(ReadlineError::Interrupted) => {
                    lines = Lines::default();
                    crate::terminal::line_to_stderr("(Ctrl-D or /bye leaves)");
                }
                Err(ReadlineError::Eof) => return Ok(Input::Bye),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Adds a message to the history, in memory and in the file.
    fn remember(&mut self, text: &str) {
        if self.keep
            && self.editor.add_history_entry(text.trim()).unwrap_or(false)
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

/// `$XDG_STATE_HOME/nibble`, by default below ~/.local/state.
pub fn state_dir() -> Option<PathBuf> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|p| p.is_absolute());
    let state = absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")))?;
    Some(state.join("nibble"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slash_commands_are_understood_and_the_rest_is_said() {
        assert_eq!(understand("  hello "), Input::Say("hello".into()));
        assert_eq!(understand(" /clear"), Input::Say("/clear".into()));
        assert_eq!(understand("/clear"), Input::Clear);
        assert_eq!(understand("/?"), Input::Help(None));
        assert_eq!(understand("/help set"), Input::Help(Some("set".into())));
        assert_eq!(understand("/system You are brief."), Input::System(Some("You are brief.".into())));
        assert_eq!(understand("/set system \"You are brief.\""), Input::System(Some("You are brief.".into())));
        assert_eq!(understand("/system"), Input::System(None));
        assert_eq!(understand("/set parameter stop \"a b\""), Input::Parameter("stop".into(), "a b".into()));
        assert_eq!(understand("/set format {\"type\": \"array\"}"), Input::Format(Some("{\"type\": \"array\"}".into())));
        assert_eq!(understand("/set noformat"), Input::Format(None));
        assert_eq!(understand("/set think"), Input::Think(Think::Yes(None)));
        assert_eq!(understand("/set think low"), Input::Think(Think::Yes(Some("low".into()))));
        assert_eq!(understand("/set nothink"), Input::Think(Think::No));
        assert_eq!(understand("/save fox"), Input::Save("fox".into()));
        assert_eq!(understand("/bye"), Input::Bye);
        for (wrong, says) in [
            ("/clera now", "/clera"),
            ("/set parameter top_k", "VALUE"),
            ("/set think much", "low"),
            ("/set", "/set"),
            ("/save", "a name"),
            ("/show", "context"),
        ] {
            assert!(matches!(understand(wrong), Input::Wrong(text) if text.contains(says)), "{wrong}");
        }
    }

    #[test]
    fn lines_become_messages() {
        let all = |lines: &[&str]| {
            let mut gather = Lines::default();
            lines.iter().map(|line| gather.push(line)).collect::<Vec<_>>()
        };
        let said = |text: &str| Some(text.to_string());
        assert_eq!(all(&["one"]), [said("one")]);
        assert_eq!(all(&["one \\", "two", "three"]), [None, said("one \ntwo"), said("three")]);
        assert_eq!(all(&["\"\"\"one", "", "two\"\"\"", "x"]), [None, None, said(" one\n\ntwo"), said("x")]);
        assert_eq!(all(&["\"\"\"", "/clear", "\"\"\""]), [None, None, said(" /clear")]);
        assert_eq!(all(&["\"\"\"all in one\"\"\""]), [said(" all in one")]);
        assert_eq!(all(&["", "   ", "\"\"\"\"\"\""]), [None, None, None]);
    }

    #[test]
    fn the_help_names_every_command_and_every_topic_is_one() {
        for command in ["/system", "/clear", "/help", "/bye", "/set", "/show", "/save", "/load", "/retry"] {
            assert!(help(None).contains(command));
            assert!(help(Some(command)).contains(command) && !help(Some(command)).contains("not a command"), "{command}");
        }
        for topic in TOPICS {
            let word = topic.usage.split([' ', ',']).next().unwrap_or_default();
            assert!(!matches!(understand(word), Input::Wrong(text) if text.contains("not a command")), "{word}");
        }
    }
}
