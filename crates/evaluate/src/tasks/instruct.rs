//! Questions written out as instructions, the layout of the LLM-Adapters files: the question and its choices are taken apart again, so that they can be
//! asked as the harness asks them.
//!
//! ```text
//! {"instruction": "Please choose the correct answer to the question: Q\n\nAnswer1: a Answer2: b\n\nAnswer format: answer1/answer2", "answer": "answer2"}
//! ```

use super::record::Record;

/// A question out of an instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instruction {
    /// The question or sentence.
    pub question: String,
    /// Its choices; none for a question of true or false.
    pub choices: Vec<String>,
    /// The right one; of true or false, 1 is true.
    pub answer: usize,
}

/// Before the question.
const LEADS: &[&str] = &[
    "Please choose the correct answer to the question: ",
    "Please choose the correct solution to the question: ",
    "Please choose the correct answer to fill in the blank to complete the given sentence: ",
    "Please answer the following question with true or false, question: ",
];
/// After the choices.
const FORMAT: &str = "Answer format: ";

/// Whether a record is in this layout.
pub fn is_one(record: &Record) -> bool {
    record.has("instruction")
}

/// Takes a record apart.
pub fn read(record: &Record) -> Result<Instruction, String> {
    let text = record.text("instruction")?;
    let rest = LEADS.iter().find_map(|lead| text.strip_prefix(lead)).ok_or("the instruction does not begin as one of LLM-Adapters does")?;
    let (body, format) = rest.rsplit_once(FORMAT).ok_or_else(|| format!("no {FORMAT:?} in the instruction"))?;
    let names: Vec<&str> = format.trim().split('/').collect();
    let answer = record.text("answer")?.trim();
    let found = names.iter().position(|name| *name == answer);
    let answer = found.ok_or_else(|| format!("the answer is {answer:?}, expected one of {}", names.join(", ")))?;
    if names == ["true", "false"] {
        return Ok(Instruction { question: body.trim_end().to_string(), choices: vec![], answer: 1 - answer });
    }
    if names.len() < 2 {
        return Err("the answer's format names fewer than two choices".to_string());
    }
    // "answer1" in the format is "Answer1: " in the text. The last such label is the choice's: a question may hold the words too.
    let mut choices = vec![];
    let mut body = body;
    for name in names.iter().rev() {
        let mut letters = name.chars();
        let first = letters.next().map(|c| c.to_uppercase().to_string()).unwrap_or_default();
        let label = format!("{first}{}: ", letters.as_str());
        let (before, choice) = body.rsplit_once(&label).ok_or_else(|| format!("no {label:?} in the instruction"))?;
        choices.push(choice.trim().to_string());
        body = before;
    }
    choices.reverse();
    Ok(Instruction { question: body.trim_end().to_string(), choices, answer })
}

/// A question with choices, `count` of them where that is fixed.
pub fn choose(record: &Record, count: Option<usize>) -> Result<Instruction, String> {
    let instruction = read(record)?;
    match (instruction.choices.len(), count) {
        (0, _) => Err("a question of true or false, expected one with choices".to_string()),
        (found, Some(count)) if found != count => Err(format!("{found} choices, expected {count}")),
        _ => Ok(instruction),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Map, Value};

    fn record(instruction: &str, answer: &str) -> Record {
        let fields = [("instruction".to_string(), Value::from(instruction)), ("answer".to_string(), Value::from(answer))];
        Record { line: 1, fields: Map::from_iter(fields) }
    }

    #[test]
    fn an_instruction_is_taken_apart() {
        let text = "Please choose the correct answer to the question: Does \"Answer1: \" stand here?\n\nAnswer1: yes Answer2: no, it does not\n\n\
                    Answer format: answer1/answer2";
        let found = read(&record(text, "answer2")).unwrap();
        assert_eq!(found.question, "Does \"Answer1: \" stand here?");
        assert_eq!((found.choices, found.answer), (vec!["yes".to_string(), "no, it does not".to_string()], 1));
        let text = "Please choose the correct answer to fill in the blank to complete the given sentence: A _ b.\n\nOption1: x Option2: y Answer format: option1/option2";
        let found = read(&record(text, "option1")).unwrap();
        assert_eq!((found.question.as_str(), found.choices.len(), found.answer), ("A _ b.", 2, 0));
        let text = "Please answer the following question with true or false, question: is it so?\n\nAnswer format: true/false";
        assert_eq!(read(&record(text, "true")).unwrap(), Instruction { question: "is it so?".into(), choices: vec![], answer: 1 });
        assert!(choose(&record(text, "true"), None).is_err());
    }

    #[test]
    fn what_does_not_fit_is_said() {
        let of = |text: &str, answer: &str| read(&record(text, answer)).unwrap_err();
        assert!(of("Write a poem.", "x").contains("does not begin"));
        let lead = LEADS[0];
        assert!(of(&format!("{lead}q\n\nAnswer1: a"), "answer1").contains("Answer format"));
        let whole = format!("{lead}q\n\nAnswer1: a Answer2: b\n\nAnswer format: answer1/answer2");
        assert!(of(&whole, "answer3").contains("\"answer3\", expected one of answer1, answer2"));
        assert!(of(&whole.replace("Answer2: ", ""), "answer1").contains("no \"Answer2: \""));
        assert!(of(&format!("{lead}q\n\nAnswer format: answer1"), "answer1").contains("fewer than two"));
        assert!(of(&format!("{lead}q\n\nAnswer format: é1/é2"), "é1").contains("no "));
    }
}
