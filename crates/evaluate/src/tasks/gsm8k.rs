//! GSM8K: five worked examples, an answer written greedily, a number read from it: lm-evaluation-harness's task `gsm8k`.
//!
//! The harness draws other examples for every question (Python's generator, seed 1234, from the training file), so its prompts share nothing; with
//! [`Shots::First`] all have the first ones of the file, which is several times as fast and not comparable with its figures to the last digit.

use std::path::Path;

use super::data::{Data, Error};
use super::python_random::PythonRandom;
use super::question::{Part, Question};
use super::record::{self, Fault, Record};
use super::table::Wanted;

/// Examples before each question.
pub const SHOTS: usize = 5;
/// Tokens of an answer at most.
pub const MOST_TOKENS: usize = 256;
/// An answer ends before any of these.
pub const STOPS: &[&str] = &["Question:", "</s>", "<|im_end|>"];

/// Which examples stand before a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Shots {
    /// Others for each question, as the harness draws them.
    #[default]
    Drawn,
    /// The first of the file for all.
    First,
}

/// The files of the questions.
pub const TEST_FILES: &[&str] =
    &["gsm8k/test.jsonl", "gsm8k_test.jsonl", "gsm8k/test.json", "gsm8k_test.json", "gsm8k.test.json", "gsm8k.jsonl"];
const TRAIN_FILES: &[&str] = &["gsm8k/train.jsonl", "gsm8k_train.jsonl", "gsm8k/train.json", "gsm8k_train.json", "train.jsonl"];

fn ask(record: &Record) -> Result<Question, String> {
    let solution = record.text("answer")?.to_string();
    if !solution.contains("#### ") {
        return Err("the answer has no \"#### \" before its number".to_string());
    }
    Ok(Question::Write { prompt: format!("Question: {}\nAnswer:", record.text("question")?), solution })
}

fn example(question: &Question) -> String {
    match question {
        Question::Write { prompt, solution } => format!("{prompt} {solution}\n\n"),
        Question::Choose(_) => String::new(),
    }
}

/// The one part, each question with its examples.
pub fn load(data: &Data, wanted: &Wanted) -> Result<Vec<Part>, Error> {
    let path = data.require("gsm8k", TEST_FILES)?;
    let questions = super::data::asked(&record::read(&path)?, &path, ask)?;
    let shots = wanted.shots.unwrap_or(SHOTS);
    if shots == 0 {
        return Ok(vec![Part::new("gsm8k", &path, String::new(), vec![], questions)]);
    }
    let train = data.find(TRAIN_FILES)?.ok_or_else(|| data.missing("gsm8k", TRAIN_FILES))?;
    let pool = pool(&train)?;
    if pool.len() < shots {
        let what = format!("{} examples, expected {shots} at least", pool.len());
        return Err(Fault { path: train, line: 0, what }.into());
    }
    let (head, examples) = match wanted.examples {
        Shots::First => (pool[..shots].concat(), vec![]),
        Shots::Drawn => {
            let mut random = PythonRandom::new(wanted.seed);
            let mut draw = || random.sample(pool.len(), shots).iter().map(|&i| pool[i].as_str()).collect::<String>();
            (String::new(), questions.iter().map(|_| draw()).collect())
        }
    };
    Ok(vec![Part::new("gsm8k", &path, head, examples, questions)])
}

fn pool(train: &Path) -> Result<Vec<String>, Error> {
    let examples = super::data::asked(&record::read(train)?, train, ask)?;
    Ok(examples.iter().map(|(_, question)| example(question)).collect())
}

/// What the harness takes where it finds no number.
const INVALID: &str = "[invalid]";

/// The number after the first `#### `: digits, points and commas, perhaps after a minus.
pub fn strict(answer: &str) -> &str {
    for (at, mark) in answer.match_indices("#### ") {
        let rest = &answer[at + mark.len()..];
        let digits = rest.strip_prefix('-').unwrap_or(rest);
        let length = digits.bytes().take_while(|b| b.is_ascii_digit() || matches!(b, b'.' | b',')).count();
        if length > 0 {
            return &rest[..rest.len() - digits.len() + length];
        }
    }
    INVALID
}

/// The last number: `(-?[$0-9.,]{2,})|(-?[0-9]+)`.
pub fn flexible(answer: &str) -> &str {
    let wide = |b: &u8| b.is_ascii_digit() || matches!(b, b'$' | b'.' | b',');
    let bytes = answer.as_bytes();
    let mut last = INVALID;
    let mut at = 0;
    while at < bytes.len() {
        let from = at + usize::from(bytes[at] == b'-');
        let run = bytes[from..].iter().take_while(|b| wide(b)).count();
        let digits = bytes[from..].iter().take_while(|b| b.is_ascii_digit()).count();
        let length = if run >= 2 { run } else { digits };
        if length > 0 {
            // All of it is ASCII.
            last = &answer[at..from + length];
            at = from + length;
        } else {
            at += 1;
        }
    }
    last
}

/// Whether a number read from an answer is the solution's: commas, dollars, all before `#### ` and a point at the end do not count.
pub fn matches(found: &str, solution: &str) -> bool {
    plain(found) == plain(solution)
}

fn plain(text: &str) -> String {
    let text = text.replace([',', '$'], "");
    let text = text.rsplit("#### ").next().unwrap_or_default();
    // Python's `$` stands before a line end at the end of the text too.
    let text = match text.strip_suffix(".\n") {
        Some(text) => format!("{text}\n"),
        None => text.strip_suffix('.').unwrap_or(text).to_string(),
    };
    text.to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The values are those that the harness's filters and metric give.
    #[test]
    fn numbers_are_read_as_the_harness_reads_them() {
        for (answer, hard, soft) in [
            (" He has 3 + 4 = 7.\n#### 7\n\nQuestion", "7", "7"),
            ("The total is $1,234.50.", INVALID, "$1,234.50."),
            ("#### -12 apples, or 13", "-12", "13"),
            ("####5", INVALID, "5"),
            ("#### x #### 8", "8", "8"),
            ("a - b", INVALID, INVALID),
            ("... and", INVALID, "..."),
            ("5 - -6", INVALID, "-6"),
            ("3-4", INVALID, "-4"),
            ("é7€", INVALID, "7"),
            ("$ 9 $", INVALID, "9"),
            ("", INVALID, INVALID),
            ("#### 1,000.", "1,000.", "1,000."),
        ] {
            assert_eq!((strict(answer), flexible(answer)), (hard, soft), "{answer}");
        }
        assert!(matches("$1,000.", "So it is.\n#### 1000") && matches("-5", "#### -5") && !matches("5", "#### -5"));
        assert!(!matches(INVALID, "#### 5") && !matches("5.0", "#### 5"));
    }

    #[test]
    fn an_answer_without_a_number_is_a_fault() {
        let record = |json: &str| Record { line: 1, fields: serde_json::from_str(json).unwrap() };
        assert!(ask(&record(r#"{"question": "q", "answer": "5"}"#)).unwrap_err().contains("####"));
        let asked = ask(&record(r#"{"question": "q", "answer": "x\n#### 5"}"#)).unwrap();
        assert_eq!(example(&asked), "Question: q\nAnswer: x\n#### 5\n\n");
    }
}
