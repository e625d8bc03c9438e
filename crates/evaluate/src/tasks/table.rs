//! TASKS: one row a task. To add one: a function in `layouts.rs` that asks a record's question, and a row here.

use serde::{Deserialize, Serialize};

use super::data::{self, Data, Error};
use super::question::{Choose, Part, Question};
use super::record::{self, Record};
use super::{gsm8k, layouts, mmlu};

/// A task of lm-evaluation-harness 0.4.13.
pub struct Task {
    /// The harness's name.
    pub name: &'static str,
    /// One line about it.
    pub about: &'static str,
    /// The names of its files below a folder, the preferred first, and their layouts' fields, for people.
    pub files: &'static [&'static str],
    /// What a row has in it, for people.
    pub layout: &'static str,
    /// Its questions.
    load: Load,
    /// What is told of it; the first is the one that a table shows.
    pub metrics: &'static [&'static Metric],
    /// Its parts are subjects, of which averages are told too.
    pub subjects: Option<Subjects>,
    /// The part of questions that blind choice gets right, as far as it is one number.
    pub chance: Option<f64>,
}

/// A task in subjects: told are the mean over all questions (under the task's name), the mean of the subjects' means (`_macro`), and the mean over the
/// questions of each group.
pub struct Subjects {
    /// The names of all its parts, group by group.
    pub parts: fn() -> Vec<String>,
    /// The names of the groups.
    pub groups: &'static [&'static str],
    /// The group of a part.
    pub group: fn(&str) -> Option<&'static str>,
}

/// Whether a figure's name is that of a subject.
pub fn is_subject(name: &str) -> bool {
    TASKS.iter().filter_map(|task| task.subjects.as_ref()).any(|subjects| (subjects.group)(name).is_some())
}

enum Load {
    /// A file, a question a record, after the head.
    Rows { ask: fn(&Record) -> Result<Question, String>, head: fn() -> String },
    /// Its own way.
    Own(fn(&Data, &Wanted) -> Result<Vec<Part>, Error>),
}

/// A figure of a question, whose mean over the questions is the figure of a part.
pub struct Metric {
    /// The harness's name.
    pub name: &'static str,
    /// What it is.
    pub about: &'static str,
    /// Of a question with choices: from the log-likelihoods of all.
    pub of_choices: fn(&Choose, &[f64]) -> f64,
    /// Of a written answer.
    pub of_text: fn(&str, &str) -> f64,
}

/// What of the tasks is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    /// Names of tasks.
    pub tasks: Vec<String>,
    /// Examples before each question; `None`: the task's own number. Tasks without examples are not touched.
    pub shots: Option<usize>,
    /// Which examples GSM8K gets.
    pub examples: gsm8k::Shots,
    /// At most so many questions of each part, the first ones, as the harness takes them.
    pub limit: Option<usize>,
    /// Draw the questions of `limit` instead of taking the first.
    pub draw: bool,
    /// For all that is drawn.
    pub seed: u32,
}

/// The seed with which the harness draws examples.
pub const SEED: u32 = 1234;

impl Wanted {
    /// These tasks, all of their questions, as the harness asks them.
    pub fn tasks(names: &[&str]) -> Wanted {
        let tasks = names.iter().map(|name| name.to_string()).collect();
        Wanted { tasks, shots: None, examples: gsm8k::Shots::default(), limit: None, draw: false, seed: SEED }
    }
}

fn right(choose: &Choose, values: impl Iterator<Item = f64>) -> f64 {
    // The first of equal ones, as numpy's argmax.
    let best = values
        .enumerate()
        .fold(None, |best: Option<(usize, f64)>, (i, x)| if best.is_some_and(|(_, b)| x <= b) { best } else { Some((i, x)) });
    f64::from(u8::from(best.is_some_and(|(i, _)| choose.right[i])))
}

fn no_text(_: &str, _: &str) -> f64 {
    0.0
}

fn no_choices(_: &Choose, _: &[f64]) -> f64 {
    0.0
}

static ACC: Metric = Metric {
    name: "acc",
    about: "the right choice is the most likely",
    of_choices: |choose, lls| right(choose, lls.iter().copied()),
    of_text: no_text,
};
static ACC_NORM: Metric = Metric {
    name: "acc_norm",
    about: "the same with log-likelihoods divided by the characters of the choice",
    of_choices: |choose, lls| right(choose, lls.iter().zip(&choose.choices).map(|(ll, c)| ll / c.chars().count() as f64)),
    of_text: no_text,
};
static ACC_BYTES: Metric = Metric {
    name: "acc_bytes",
    about: "the same with log-likelihoods divided by the bytes of the choice",
    of_choices: |choose, lls| right(choose, lls.iter().zip(&choose.choices).map(|(ll, c)| ll / c.len() as f64)),
    of_text: no_text,
};
static MASS: Metric = Metric {
    name: "acc",
    about: "the part of the choices' probability that the true ones get",
    of_choices: |choose, lls| {
        let probabilities: Vec<f64> = lls.iter().map(|ll| ll.exp()).collect();
        let total: f64 = probabilities.iter().sum();
        choose.right.iter().zip(&probabilities).filter(|(right, _)| **right).map(|(_, p)| p / total).sum()
    },
    of_text: no_text,
};
static STRICT: Metric = Metric {
    name: "exact_match,strict-match",
    about: "the number after #### is right",
    of_choices: no_choices,
    of_text: |answer, solution| f64::from(u8::from(gsm8k::matches(gsm8k::strict(answer), solution))),
};
static FLEXIBLE: Metric = Metric {
    name: "exact_match,flexible-extract",
    about: "the last number is right",
    of_choices: no_choices,
    of_text: |answer, solution| f64::from(u8::from(gsm8k::matches(gsm8k::flexible(answer), solution))),
};

/// As most tables show them: ARC's hard part, HellaSwag and OpenBookQA by characters, the others plain.
const PLAIN_FIRST: &[&Metric] = &[&ACC, &ACC_NORM, &ACC_BYTES];
const NORM_FIRST: &[&Metric] = &[&ACC_NORM, &ACC, &ACC_BYTES];

fn no_head() -> String {
    String::new()
}

const fn rows(ask: fn(&Record) -> Result<Question, String>) -> Load {
    Load::Rows { ask, head: no_head }
}

/// Every task, in the order of reports.
pub static TASKS: &[Task] = &[
    Task {
        name: "mmlu",
        about: "57 subjects, 5 examples each, the likelihood of one letter",
        files: &["SUBJECT_test.csv", "SUBJECT_dev.csv", "mmlu/test.jsonl", "mmlu/dev.jsonl"],
        layout: "question, choice0 to choice3, answer 0 to 3 (or without names, answer A to D); JSON: question, subject, choices, answer",
        load: Load::Own(|data, wanted| mmlu::load(data, wanted.shots)),
        metrics: &[&ACC],
        subjects: Some(Subjects {
            parts: mmlu::parts,
            groups: &["stem", "humanities", "social_sciences", "other"],
            group: |part| mmlu::group(part).map(mmlu::Group::name),
        }),
        chance: Some(0.25),
    },
    Task {
        name: "arc_challenge",
        about: "science at school, the hard part",
        files: &[
            "ARC-Challenge-Test.jsonl",
            "ARC-Challenge/test.jsonl",
            "arc_challenge.jsonl",
            "ARC-Challenge.test.json",
            "ARC-Challenge/test.json",
        ],
        layout: "question, choices {text, label}, answerKey; or question {stem, choices [{text, label}]}, answerKey; or instruction, answer",
        load: rows(layouts::arc),
        metrics: NORM_FIRST,
        subjects: None,
        chance: Some(0.25),
    },
    Task {
        name: "arc_easy",
        about: "science at school, the easy part",
        files: &["ARC-Easy-Test.jsonl", "ARC-Easy/test.jsonl", "arc_easy.jsonl", "ARC-Easy.test.json", "ARC-Easy/test.json"],
        layout: "as arc_challenge",
        load: rows(layouts::arc),
        metrics: PLAIN_FIRST,
        subjects: None,
        chance: Some(0.25),
    },
    Task {
        name: "hellaswag",
        about: "how a scene goes on",
        files: &["hellaswag_val.jsonl", "hellaswag/validation.jsonl", "hellaswag.jsonl", "hellaswag/validation.json"],
        layout: "activity_label, ctx_a, ctx_b, endings, label",
        load: rows(layouts::hellaswag),
        metrics: NORM_FIRST,
        subjects: None,
        chance: Some(0.25),
    },
    Task {
        name: "piqa",
        about: "which of two ways works in the physical world",
        files: &["piqa/validation.jsonl", "piqa_validation.jsonl", "piqa.jsonl", "piqa.test.json", "piqa/test.json"],
        layout: "goal, sol1, sol2, label 0 or 1; or instruction, answer",
        load: rows(layouts::piqa),
        metrics: PLAIN_FIRST,
        subjects: None,
        chance: Some(0.5),
    },
    Task {
        name: "winogrande",
        about: "whom a sentence means: each option before what follows the blank",
        files: &[
            "winogrande/dev.jsonl",
            "winogrande_xl/validation.jsonl",
            "winogrande.jsonl",
            "winogrande.test.json",
            "winogrande/test.json",
        ],
        layout: "sentence with a _, option1, option2, answer 1 or 2; or instruction, answer",
        load: rows(layouts::winogrande),
        metrics: &[&ACC],
        subjects: None,
        chance: Some(0.5),
    },
    Task {
        name: "openbookqa",
        about: "elementary science with common sense",
        files: &["OpenBookQA/test.jsonl", "openbookqa/test.jsonl", "openbookqa.jsonl", "openbookqa.test.json", "openbookqa/test.json"],
        layout: "question_stem, choices {text, label}, answerKey; or question {stem, choices}, answerKey; or instruction, answer",
        load: rows(layouts::openbookqa),
        metrics: NORM_FIRST,
        subjects: None,
        chance: Some(0.25),
    },
    Task {
        name: "boolq",
        about: "yes or no after a passage",
        files: &["BoolQ/val.jsonl", "boolq/validation.jsonl", "boolq/dev.jsonl", "boolq.jsonl", "boolq.test.json", "boolq/test.json"],
        layout: "passage, question, label 0 or 1 (or answer true or false); or instruction, answer, which have no passage: another task",
        load: rows(layouts::boolq),
        metrics: &[&ACC],
        subjects: None,
        chance: Some(0.5),
    },
    Task {
        name: "social_iqa",
        about: "what people do and feel",
        files: &[
            "siqa/validation.jsonl",
            "social_iqa/validation.jsonl",
            "socialiqa/dev.jsonl",
            "social_iqa.jsonl",
            "social_i_qa.test.json",
        ],
        layout: "context, question, answerA to answerC, label 1 to 3 (or correct A to C); or instruction, answer",
        load: rows(layouts::social_iqa),
        metrics: &[&ACC],
        subjects: None,
        chance: Some(1.0 / 3.0),
    },
    Task {
        name: "truthfulqa_mc1",
        about: "the one true answer among common errors",
        files: &["truthfulqa/validation.jsonl", "mc_task.json", "truthfulqa.jsonl", "truthful_qa/validation.jsonl"],
        layout: "question, mc1_targets {choices, labels} (or {choice: label})",
        load: Load::Rows { ask: layouts::truthfulqa_mc1, head: layouts::truthfulqa_head },
        metrics: &[&ACC],
        subjects: None,
        chance: None,
    },
    Task {
        name: "truthfulqa_mc2",
        about: "the probability of all true answers among common errors",
        files: &["truthfulqa/validation.jsonl", "mc_task.json", "truthfulqa.jsonl", "truthful_qa/validation.jsonl"],
        layout: "question, mc2_targets {choices, labels} (or {choice: label})",
        load: Load::Rows { ask: layouts::truthfulqa_mc2, head: layouts::truthfulqa_head },
        metrics: &[&MASS],
        subjects: None,
        chance: None,
    },
    Task {
        name: "gsm8k",
        about: "sums in words, 5 worked examples, the answer written out",
        files: gsm8k::TEST_FILES,
        layout: "question, answer with #### before its number; examples from gsm8k/train.jsonl",
        load: Load::Own(gsm8k::load),
        metrics: &[&STRICT, &FLEXIBLE],
        subjects: None,
        chance: None,
    },
];

/// The task of a name.
pub fn task(name: &str) -> Option<&'static Task> {
    TASKS.iter().find(|task| task.name == name)
}

impl Task {
    /// Its parts, before any limit. Every record is checked.
    pub fn load(&self, data: &Data, wanted: &Wanted) -> Result<Vec<Part>, Error> {
        match self.load {
            Load::Own(load) => load(data, wanted),
            Load::Rows { ask, head } => {
                let path = data.require(self.name, self.files)?;
                let questions = data::asked(&record::read(&path)?, &path, ask)?;
                Ok(vec![Part::new(self.name, &path, head(), vec![], questions)])
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_consistent() {
        for (i, task) in TASKS.iter().enumerate() {
            assert!(TASKS[..i].iter().all(|other| other.name != task.name), "{}", task.name);
            assert!(!task.files.is_empty() && !task.metrics.is_empty() && task.about.len() > 8 && task.layout.len() > 5, "{}", task.name);
        }
        assert_eq!(mmlu::SUBJECTS.len(), 57);
        let counts: Vec<usize> = mmlu::Group::ALL.iter().map(|group| mmlu::SUBJECTS.iter().filter(|(_, g)| g == group).count()).collect();
        assert_eq!(counts, [19, 13, 12, 13]);
        for subjects in TASKS.iter().filter_map(|task| task.subjects.as_ref()) {
            let parts = (subjects.parts)();
            assert!(parts.iter().all(|part| (subjects.group)(part).is_some_and(|group| subjects.groups.contains(&group))));
        }
        assert!(is_subject("mmlu_anatomy") && !is_subject("mmlu_stem") && !is_subject("arc_easy"));
    }

    #[test]
    fn metrics_divide_by_what_they_say() {
        let choices = ["é".repeat(4), "abcdef".to_string()].to_vec();
        let Question::Choose(choose) = Question::choose("c".into(), choices, 1) else { panic!() };
        // By itself the first is likelier; by characters (4, 6) the second; by bytes (8, 6) the first again.
        let lls = [-8.0, -9.0];
        assert_eq!([&ACC, &ACC_NORM, &ACC_BYTES].map(|m| (m.of_choices)(&choose, &lls)), [0.0, 1.0, 0.0]);
        // The first of equal ones.
        assert_eq!((ACC.of_choices)(&choose, &[-1.0, -1.0]), 0.0);
        let mass = (MASS.of_choices)(&Choose { right: vec![true, false], ..choose }, &[0.25f64.ln(), 0.75f64.ln()]);
        assert!((mass - 0.25).abs() < 1e-15);
    }
}
