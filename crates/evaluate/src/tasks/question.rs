//! A question as the model meets it, whichever file it came from.

/// What is asked and what counts as right.
#[derive(Debug, Clone, PartialEq)]
pub enum Question {
    /// Some texts, of which the model is to find the right one the most likely.
    Choose(Choose),
    /// The model answers freely, and a number is read from the answer.
    Write {
        /// The text before the answer, without the part's head.
        prompt: String,
        /// The worked solution of the file.
        solution: String,
    },
}

impl Question {
    /// One context, and after a space each of the choices; one of them is right.
    pub fn choose(context: String, choices: Vec<String>, right: usize) -> Question {
        let right = (0..choices.len()).map(|i| i == right).collect();
        let continuations = choices.iter().map(|choice| format!(" {choice}")).collect();
        Question::Choose(Choose { contexts: vec![context], continuations, choices, right })
    }
}

/// A question with choices.
#[derive(Debug, Clone, PartialEq)]
pub struct Choose {
    /// What each choice's likelihood is of, after which text. One context for all, or one each.
    pub contexts: Vec<String>,
    /// The text whose likelihood counts: one a choice, or one for all (then the contexts differ).
    pub continuations: Vec<String>,
    /// The choices themselves, whose lengths `acc_norm` divides by.
    pub choices: Vec<String>,
    /// Which are right.
    pub right: Vec<bool>,
}

impl Choose {
    /// Context and continuation of a choice.
    pub fn request(&self, i: usize) -> (&str, &str) {
        (&self.contexts[i.min(self.contexts.len() - 1)], &self.continuations[i.min(self.continuations.len() - 1)])
    }

    /// Number of choices.
    pub fn len(&self) -> usize {
        self.choices.len()
    }

    /// Never: there are two at least.
    pub fn is_empty(&self) -> bool {
        self.choices.is_empty()
    }
}

/// Questions that are averaged together: a task, or one subject of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    /// `arc_easy`, `mmlu_anatomy`.
    pub name: String,
    /// The file that they come from.
    pub path: std::path::PathBuf,
    /// A sum of all that is asked, heads and questions: two parts with the same sum ask the same.
    pub sum: u64,
    /// Before every question: a description and examples, or nothing.
    pub head: String,
    /// Before each question after the head, where the examples differ from question to question; else empty.
    pub examples: Vec<String>,
    /// The questions and the line of each.
    pub questions: Vec<(usize, Question)>,
}

impl Part {
    /// A part, its sum computed.
    pub fn new(name: &str, path: &std::path::Path, head: String, examples: Vec<String>, questions: Vec<(usize, Question)>) -> Part {
        let mut sum = nibble_engine::state::Sum::new();
        let mut text = |text: &str| {
            sum.word(text.len() as u64);
            sum.bytes(text.as_bytes());
        };
        text(name);
        text(&head);
        examples.iter().for_each(|example| text(example));
        for (_, question) in &questions {
            match question {
                Question::Write { prompt, solution } => [prompt, solution].into_iter().for_each(|t| text(t)),
                Question::Choose(choose) => {
                    choose.contexts.iter().chain(&choose.continuations).chain(&choose.choices).for_each(|t| text(t));
                    text(&choose.right.iter().map(|&right| if right { '1' } else { '0' }).collect::<String>());
                }
            }
        }
        let sum = sum.value();
        Part { name: name.to_string(), path: path.into(), sum, head, examples, questions }
    }

    /// All that stands before question `i`.
    pub fn before(&self, i: usize) -> String {
        format!("{}{}", self.head, self.examples.get(i).map_or("", String::as_str))
    }
}
