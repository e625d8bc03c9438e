//! Parts what a model thinks, between `<think>` and `</think>`, from what it says, as the text comes; and asks its template to think or not.

use super::Value;

const OPEN: &str = "<think>";
const CLOSE: &str = "</think>";

/// Where in an answer the text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Nothing but blanks yet: a thought may begin.
    Start,
    Thought,
    /// Behind a thought: blanks are no part of what is said.
    Gap,
    Speech,
}

/// Parts a stream of text.
#[derive(Debug, Clone)]
pub struct ThoughtSplitter {
    place: Place,
    /// What may be the beginning of a mark, or blanks that may be no part of anything.
    held: String,
}

/// A piece of either.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Parted {
    /// What is thought.
    pub thinking: String,
    /// What is said.
    pub text: String,
}

impl ThoughtSplitter {
    /// For an answer that may begin with a thought, or, when the prompt has opened one already, does.
    pub fn new(opened: bool) -> ThoughtSplitter {
        ThoughtSplitter { place: if opened { Place::Thought } else { Place::Start }, held: String::new() }
    }

    /// For an answer of a model that does not think.
    pub fn off() -> ThoughtSplitter {
        ThoughtSplitter { place: Place::Speech, held: String::new() }
    }

    /// Takes a piece of text.
    pub fn push(&mut self, piece: &str) -> Parted {
        let mut out = Parted::default();
        self.held.push_str(piece);
        loop {
            match self.place {
                Place::Speech => {
                    out.text.push_str(&std::mem::take(&mut self.held));
                    return out;
                }
                Place::Start => {
                    let begun = self.held.trim_start();
                    if let Some(rest) = begun.strip_prefix(OPEN) {
                        self.held = rest.to_string();
                        self.place = Place::Thought;
                    } else if OPEN.starts_with(begun) {
                        return out;
                    } else {
                        self.place = Place::Speech;
                    }
                }
                Place::Thought => {
                    if let Some(at) = self.held.find(CLOSE) {
                        out.thinking.push_str(self.held[..at].trim_end());
                        self.held.drain(..at + CLOSE.len());
                        self.place = Place::Gap;
                        continue;
                    }
                    // The beginning of the mark, and blanks before it, wait.
                    let keep = (0..CLOSE.len()).rev().find(|n| self.held.ends_with(&CLOSE[..*n])).unwrap_or(0);
                    let sure = self.held[..self.held.len() - keep].trim_end().len();
                    out.thinking.push_str(&self.held[..sure]);
                    self.held.drain(..sure);
                    return out;
                }
                Place::Gap => {
                    let begun = self.held.trim_start();
                    if begun.is_empty() {
                        self.held.clear();
                        return out;
                    }
                    self.held = begun.to_string();
                    self.place = Place::Speech;
                }
            }
        }
    }

    /// What is left at the end.
    pub fn finish(&mut self) -> Parted {
        let rest = std::mem::take(&mut self.held);
        match self.place {
            Place::Thought => Parted { thinking: rest.trim_end().to_string(), text: String::new() },
            Place::Gap => Parted::default(),
            Place::Start | Place::Speech => Parted { thinking: String::new(), text: rest },
        }
    }
}

/// Whether a chat template knows of thinking: it begins thoughts, takes them out of earlier answers, or can be told.
pub fn template_thinks(template: &str) -> bool {
    [OPEN, CLOSE, "enable_thinking", "reasoning_content"].iter().any(|word| template.contains(word))
}

/// Whether a rendered prompt has begun the thought itself, so that the answer begins within it.
pub fn opens_thought(prompt: &str) -> bool {
    prompt.trim_end().ends_with(OPEN)
}

/// The variables by which published templates are told to think or not, and how much where they know degrees (`low`, `medium`, `high`).
pub fn thinking_variables(on: bool, effort: Option<&str>) -> Vec<(String, Value)> {
    let mut variables = vec![("enable_thinking".to_string(), Value::from(on)), ("thinking".to_string(), Value::from(on))];
    variables.extend(effort.map(|effort| ("reasoning_effort".to_string(), Value::from(effort))));
    variables
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn run(mut splitter: ThoughtSplitter, pieces: &[&str]) -> (String, String) {
        let mut all = pieces.iter().map(|piece| splitter.push(piece)).collect::<Vec<_>>();
        all.push(splitter.finish());
        (all.iter().map(|p| p.thinking.as_str()).collect(), all.iter().map(|p| p.text.as_str()).collect())
    }

    #[test]
    fn thoughts_are_parted() {
        let parted = |a: &str, b: &str| (a.to_string(), b.to_string());
        assert_eq!(run(ThoughtSplitter::new(false), &["\n<thi", "nk>\nhm", "\n</", "think>\n\n", "Yes"]), parted("\nhm", "Yes"));
        assert_eq!(run(ThoughtSplitter::new(true), &["hm</think>Yes"]), parted("hm", "Yes"));
        assert_eq!(run(ThoughtSplitter::new(false), &["<b>no", " thought"]), parted("", "<b>no thought"));
        assert_eq!(run(ThoughtSplitter::new(false), &["<think>cut </thin"]), parted("cut </thin", ""));
        assert_eq!(run(ThoughtSplitter::off(), &["<think>x</think>"]), parted("", "<think>x</think>"));
        assert_eq!(run(ThoughtSplitter::new(false), &["<thin"]), parted("", "<thin"));
    }

    #[test]
    fn templates_that_know_of_thoughts_are_known() {
        // As of Qwen3, of DeepSeek-R1's distillations, and of a model that does not think.
        assert!(template_thinks("{%- if enable_thinking is defined and enable_thinking is false %}"));
        assert!(template_thinks("{% set content = content.split('</think>')[-1] %}"));
        assert!(!template_thinks("{{ message['content'] | trim }}"));
        assert!(opens_thought("<|Assistant|><think>\n") && !opens_thought("<think>\n\n</think>\n\n"));
    }

    proptest! {
        #[test]
        fn where_pieces_are_cut_makes_no_difference(text in "(<think>|</think>|[ \na<é]){0,30}", cut in 0usize..40) {
            let cut = text.char_indices().map(|(i, _)| i).nth(cut).unwrap_or(text.len());
            prop_assert_eq!(run(ThoughtSplitter::new(false), &[&text[..cut], &text[cut..]]), run(ThoughtSplitter::new(false), &[&text]));
        }
    }
}
