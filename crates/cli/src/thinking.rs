//! What a model thinks before it answers: whether it is to think, and how its thoughts are shown.

use std::io::{self, Write};

use nibble_engine::text::{Value, thinking_variables};

/// Whether a model is to think. Where nothing is said, it does as its template has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Think {
    /// It is not.
    No,
    /// It is, perhaps so much.
    Yes(Option<String>),
}

impl Think {
    /// Understands the values of `--think` and `/set think`, which are Ollama's.
    pub fn read(text: &str) -> Result<Think, String> {
        match text.to_ascii_lowercase().as_str() {
            "" | "true" => Ok(Think::Yes(None)),
            "false" => Ok(Think::No),
            level @ ("low" | "medium" | "high") => Ok(Think::Yes(Some(level.to_string()))),
            _ => Err("not true, false, low, medium or high".to_string()),
        }
    }

    /// What tells it to the template.
    pub fn variables(&self) -> Vec<(String, Value)> {
        match self {
            Think::No => thinking_variables(false, None),
            Think::Yes(level) => thinking_variables(true, level.as_deref()),
        }
    }
}

/// A piece of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Thought before the answer.
    Thought(&'a str),
    /// The answer.
    Said(&'a str),
}

/// What was shown last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Last {
    Nothing,
    Thought,
    Said,
}

/// Shows an answer as it comes: a thought between two lines that mark it, as Ollama shows it, then what is said.
pub struct Voice<W: Write> {
    out: W,
    /// Thoughts are dimmed.
    dim: bool,
    /// Thoughts are not shown.
    hide: bool,
    last: Last,
    /// The thought's first letter has come.
    begun: bool,
}

impl<W: Write> Voice<W> {
    /// For one answer. `dim`: `out` is a terminal that knows styles.
    pub fn new(out: W, dim: bool, hide: bool) -> Voice<W> {
        Voice { out, dim, hide, last: Last::Nothing, begun: false }
    }

    /// Shows a piece at once.
    pub fn show(&mut self, piece: Piece) -> io::Result<()> {
        match piece {
            Piece::Thought(_) if self.hide => return Ok(()),
            Piece::Thought(text) => {
                let text = if self.begun { text } else { text.trim_start() };
                if self.last == Last::Nothing {
                    self.dimmed("Thinking...\n")?;
                    self.last = Last::Thought;
                }
                if !text.is_empty() {
                    self.begun = true;
                    self.dimmed(text)?;
                }
            }
            Piece::Said(text) => {
                if self.last == Last::Thought {
                    self.dimmed("\n...done thinking.\n\n")?;
                }
                self.last = Last::Said;
                self.out.write_all(text.as_bytes())?;
            }
        }
        self.out.flush()
    }

    fn dimmed(&mut self, text: &str) -> io::Result<()> {
        match self.dim {
            // Each piece is closed by itself: whatever ends the program, the terminal is as it was.
            true => write!(self.out, "\x1b[2m{text}\x1b[0m"),
            false => self.out.write_all(text.as_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(dim: bool, hide: bool, pieces: &[Piece]) -> String {
        let mut out = vec![];
        let mut voice = Voice::new(&mut out, dim, hide);
        pieces.iter().for_each(|piece| voice.show(*piece).unwrap());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_thought_stands_between_marks() {
        let pieces = [Piece::Thought("\n"), Piece::Thought("\nhm"), Piece::Thought(" so"), Piece::Said("Yes"), Piece::Said(".")];
        assert_eq!(shown(false, false, &pieces), "Thinking...\nhm so\n...done thinking.\n\nYes.");
        assert_eq!(shown(false, true, &pieces), "Yes.");
        let dimmed = shown(true, false, &pieces);
        assert_eq!(dimmed.replace("\x1b[2m", "").replace("\x1b[0m", ""), shown(false, false, &pieces));
        assert!(dimmed.ends_with("\x1b[2m\n...done thinking.\n\n\x1b[0mYes."), "{dimmed:?}");
        assert_eq!(shown(true, false, &[Piece::Said("Yes")]), "Yes");
    }

    #[test]
    fn levels_are_those_of_ollama() {
        assert_eq!(Think::read(""), Ok(Think::Yes(None)));
        assert_eq!(Think::read("High"), Ok(Think::Yes(Some("high".into()))));
        assert_eq!(Think::read("false"), Ok(Think::No));
        assert!(Think::read("much").is_err());
        let names = |think: Think| think.variables().into_iter().map(|(name, _)| name).collect::<Vec<_>>();
        assert_eq!(names(Think::No), ["enable_thinking", "thinking"]);
        assert_eq!(names(Think::Yes(Some("low".into()))), ["enable_thinking", "thinking", "reasoning_effort"]);
    }
}
