//! MMLU: 57 subjects, five examples of each before its questions, and the likelihood of one letter.
//!
//! The prompt is lm-evaluation-harness's task `mmlu`: a line that names the subject, the examples of the subject's development file in their order, the
//! question with its choices A to D, and `Answer:`; what is scored is ` A`, ` B`, ` C` and ` D`. The mean over all questions is the micro average (the
//! harness's), the mean of the subjects' means the macro average (Meta's).

use std::path::Path;

use super::data::{Data, Error};
use super::question::{Part, Question};
use super::record::{self, Fault, Record};

/// The harness's four groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// Sciences, mathematics, engineering.
    Stem,
    /// History, law, philosophy.
    Humanities,
    /// Economy, psychology, politics.
    SocialSciences,
    /// Medicine, business and the rest.
    Other,
}

impl Group {
    /// Every group.
    pub const ALL: [Group; 4] = [Group::Stem, Group::Humanities, Group::SocialSciences, Group::Other];

    /// As the harness calls it.
    pub fn name(self) -> &'static str {
        match self {
            Group::Stem => "stem",
            Group::Humanities => "humanities",
            Group::SocialSciences => "social_sciences",
            Group::Other => "other",
        }
    }
}

/// Every subject and its group.
pub static SUBJECTS: &[(&str, Group)] = &[
    ("abstract_algebra", Group::Stem),
    ("anatomy", Group::Stem),
    ("astronomy", Group::Stem),
    ("business_ethics", Group::Other),
    ("clinical_knowledge", Group::Other),
    ("college_biology", Group::Stem),
    ("college_chemistry", Group::Stem),
    ("college_computer_science", Group::Stem),
    ("college_mathematics", Group::Stem),
    ("college_medicine", Group::Other),
    ("college_physics", Group::Stem),
    ("computer_security", Group::Stem),
    ("conceptual_physics", Group::Stem),
    ("econometrics", Group::SocialSciences),
    ("electrical_engineering", Group::Stem),
    ("elementary_mathematics", Group::Stem),
    ("formal_logic", Group::Humanities),
    ("global_facts", Group::Other),
    ("high_school_biology", Group::Stem),
    ("high_school_chemistry", Group::Stem),
    ("high_school_computer_science", Group::Stem),
    ("high_school_european_history", Group::Humanities),
    ("high_school_geography", Group::SocialSciences),
    ("high_school_government_and_politics", Group::SocialSciences),
    ("high_school_macroeconomics", Group::SocialSciences),
    ("high_school_mathematics", Group::Stem),
    ("high_school_microeconomics", Group::SocialSciences),
    ("high_school_physics", Group::Stem),
    ("high_school_psychology", Group::SocialSciences),
    ("high_school_statistics", Group::Stem),
    ("high_school_us_history", Group::Humanities),
    ("high_school_world_history", Group::Humanities),
    ("human_aging", Group::Other),
    ("human_sexuality", Group::SocialSciences),
    ("international_law", Group::Humanities),
    ("jurisprudence", Group::Humanities),
    ("logical_fallacies", Group::Humanities),
    ("machine_learning", Group::Stem),
    ("management", Group::Other),
    ("marketing", Group::Other),
    ("medical_genetics", Group::Other),
    ("miscellaneous", Group::Other),
    ("moral_disputes", Group::Humanities),
    ("moral_scenarios", Group::Humanities),
    ("nutrition", Group::Other),
    ("philosophy", Group::Humanities),
    ("prehistory", Group::Humanities),
    ("professional_accounting", Group::Other),
    ("professional_law", Group::Humanities),
    ("professional_medicine", Group::Other),
    ("professional_psychology", Group::SocialSciences),
    ("public_relations", Group::SocialSciences),
    ("security_studies", Group::SocialSciences),
    ("sociology", Group::SocialSciences),
    ("us_foreign_policy", Group::SocialSciences),
    ("virology", Group::Other),
    ("world_religions", Group::Humanities),
];

/// The group of a part's name, `mmlu_anatomy`.
pub fn group(part: &str) -> Option<Group> {
    let subject = part.strip_prefix("mmlu_")?;
    SUBJECTS.iter().find(|(name, _)| *name == subject).map(|(_, group)| *group)
}

/// The names of all parts, group by group.
pub fn parts() -> Vec<String> {
    let of = |group: Group| SUBJECTS.iter().filter(move |(_, own)| *own == group).map(|(name, _)| format!("mmlu_{name}"));
    Group::ALL.into_iter().flat_map(of).collect()
}

/// Examples of a subject before its questions.
pub const SHOTS: usize = 5;

/// A row: the question and its choices in one text, and the right choice.
fn row(record: &Record) -> Result<(String, usize), String> {
    let choices = match record.has("choices") {
        true => record.texts("choices")?,
        false => (0..4).map(|i| record.text(&format!("choice{i}")).map(str::to_string)).collect::<Result<_, _>>()?,
    };
    if choices.len() != 4 {
        return Err(format!("{} choices, expected 4", choices.len()));
    }
    let lettered: String = choices.iter().zip('A'..).map(|(choice, letter)| format!("\n{letter}. {choice}")).collect();
    let text = format!("{}{lettered}\nAnswer:", record.text("question")?.trim());
    Ok((text, record.choice("answer", 0, 4)?))
}

/// A question, without what stands before it.
pub fn ask(record: &Record) -> Result<Question, String> {
    let (text, answer) = row(record)?;
    Ok(Question::choose(text, ["A", "B", "C", "D"].map(str::to_string).to_vec(), answer))
}

/// The line that names the subject, and the first examples of its development file.
fn head(subject: &str, examples: &[Record], shots: usize, path: &Path) -> Result<String, Error> {
    let mut text = format!("The following are multiple choice questions (with answers) about {}.\n\n", subject.replace('_', " "));
    if examples.len() < shots {
        let what = format!("{} examples of {subject}, expected {shots} at least", examples.len());
        return Err(Fault { path: path.into(), line: 0, what }.into());
    }
    for example in &examples[..shots] {
        let (question, answer) = row(example).map_err(|what| Fault { path: path.into(), line: example.line, what })?;
        text.push_str(&format!("{question} {}\n\n", ["A", "B", "C", "D"][answer]));
    }
    Ok(text)
}

/// All subjects that there are files of, in the table's order. Two layouts: `SUBJECT_test.csv` with `SUBJECT_dev.csv` (with the columns' names and
/// answers 0 to 3, or without and answers A to D), or rows of JSON with a `subject`, in a file for tests and one for examples.
pub fn load(data: &Data, shots: Option<usize>) -> Result<Vec<Part>, Error> {
    let shots = shots.unwrap_or(SHOTS);
    let mut parts = vec![];
    for (subject, _) in SUBJECTS {
        let Some(test) = data.find(&[&format!("{subject}_test.csv")])? else { continue };
        let dev_name = format!("{subject}_dev.csv");
        let dev = match shots {
            0 => None,
            _ => Some(data.find(&[&dev_name])?.ok_or_else(|| data.missing("mmlu", &[&dev_name]))?),
        };
        let examples = dev.as_deref().map(record::read).transpose()?.unwrap_or_default();
        let head = head(subject, &examples, shots, dev.as_deref().unwrap_or(&test))?;
        parts.push(part(subject, &test, head, &record::read(&test)?)?);
    }
    if !parts.is_empty() {
        return Ok(parts);
    }
    let test = data.require("mmlu", TEST_FILES)?;
    let rows = record::read(&test)?;
    let fault = |path: &Path, record: &Record, what: String| Fault { path: path.into(), line: record.line, what };
    for record in &rows {
        let subject = record.text("subject").map_err(|what| fault(&test, record, what))?;
        if !SUBJECTS.iter().any(|(name, _)| *name == subject) {
            return Err(fault(&test, record, format!("{subject:?} is no subject of MMLU")).into());
        }
    }
    let dev = match shots {
        0 => None,
        _ => Some(data.find(DEV_FILES)?.ok_or_else(|| data.missing("mmlu", DEV_FILES))?),
    };
    let examples = dev.as_deref().map(record::read).transpose()?.unwrap_or_default();
    for (subject, _) in SUBJECTS {
        let of = |rows: &[Record]| rows.iter().filter(|r| r.text("subject") == Ok(subject)).cloned().collect::<Vec<_>>();
        let questions = of(&rows);
        if !questions.is_empty() {
            let head = head(subject, &of(&examples), shots, dev.as_deref().unwrap_or(&test))?;
            parts.push(part(subject, &test, head, &questions)?);
        }
    }
    Ok(parts)
}

/// Files with the rows of all subjects.
pub const TEST_FILES: &[&str] = &["mmlu/test.jsonl", "mmlu_test.jsonl", "mmlu/test.json", "mmlu_test.json"];
const DEV_FILES: &[&str] = &["mmlu/dev.jsonl", "mmlu_dev.jsonl", "mmlu/dev.json", "mmlu_dev.json"];

fn part(subject: &str, path: &Path, head: String, rows: &[Record]) -> Result<Part, Error> {
    let questions = super::data::asked(rows, path, ask)?;
    Ok(Part::new(&format!("mmlu_{subject}"), path, head, vec![], questions))
}
