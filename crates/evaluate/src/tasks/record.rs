//! Files of questions as records with a line each: CSV, JSON lines, and JSON arrays.
//!
//! Every fault names the file and the line, because such files come from many hands and the one wrong row stands among ten thousand.

use std::path::{Path, PathBuf};

use serde_json::value::RawValue;
use serde_json::{Map, Value};

/// What is wrong with a file of questions.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}:{line}: {what}", .path.display())]
pub struct Fault {
    /// The file.
    pub path: PathBuf,
    /// Where in it, from 1; 0 for the file as a whole.
    pub line: usize,
    /// What was found and what was expected.
    pub what: String,
}

/// One row of a file: fields by name, as JSON has them; those of CSV are texts.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// The line on which it begins, from 1.
    pub line: usize,
    /// Its fields.
    pub fields: Map<String, Value>,
}

/// The names of the columns of MMLU's files, which its first edition leaves out.
const MMLU_COLUMNS: [&str; 6] = ["question", "choice0", "choice1", "choice2", "choice3", "answer"];

/// Reads all records of a file: `.csv` is CSV, anything else JSON, as an array or a record a line. A file without any is a fault.
pub fn read(path: &Path) -> Result<Vec<Record>, Fault> {
    let fault = |line, what: String| Fault { path: path.into(), line, what };
    let bytes = std::fs::read(path).map_err(|error| fault(0, error.to_string()))?;
    let text = match std::str::from_utf8(&bytes) {
        Ok(text) => text.strip_prefix('\u{feff}').unwrap_or(text),
        Err(error) => return Err(fault(line_of(&bytes, error.valid_up_to()), "this line is not UTF-8".into())),
    };
    let csv = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("csv"));
    let records = if csv {
        self::csv(text)
    } else if text.trim_start().starts_with('[') {
        array(text)
    } else {
        lines(text)
    };
    let records = records.map_err(|(line, what)| fault(line, what))?;
    if records.is_empty() {
        return Err(fault(0, "there is no question in this file".into()));
    }
    Ok(records)
}

type Wrong = (usize, String);

fn line_of(bytes: &[u8], at: usize) -> usize {
    1 + bytes[..at].iter().filter(|b| **b == b'\n').count()
}

fn object(line: usize, value: Value) -> Result<Record, Wrong> {
    match value {
        Value::Object(fields) => Ok(Record { line, fields }),
        other => Err((line, format!("a question is a JSON object, and this is {}", kind(&other)))),
    }
}

fn lines(text: &str) -> Result<Vec<Record>, Wrong> {
    let mut records = vec![];
    for (i, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let value = serde_json::from_str(line).map_err(|error| (i + 1, format!("not valid JSON: {error}")))?;
        records.push(object(i + 1, value)?);
    }
    Ok(records)
}

fn array(text: &str) -> Result<Vec<Record>, Wrong> {
    let items: Vec<&RawValue> = serde_json::from_str(text).map_err(|error| (error.line(), format!("not valid JSON: {error}")))?;
    let mut records = vec![];
    // The items are slices of the text, in order.
    let (mut line, mut from) = (1, 0);
    for item in items {
        let at = item.get().as_ptr() as usize - text.as_ptr() as usize;
        line += text.as_bytes()[from..at].iter().filter(|b| **b == b'\n').count();
        from = at;
        let value = serde_json::from_str(item.get()).map_err(|error| (line, format!("not valid JSON: {error}")))?;
        records.push(object(line, value)?);
    }
    Ok(records)
}

/// CSV with the names of its columns in the first row, or MMLU's six without them.
fn csv(text: &str) -> Result<Vec<Record>, Wrong> {
    let mut rows = csv_rows(text)?.into_iter().peekable();
    let named = rows.peek().is_some_and(|(_, row)| row.iter().any(|name| name.trim().eq_ignore_ascii_case("answer")));
    let columns: Vec<String> = match named {
        true => rows.next().map(|(_, row)| row.iter().map(|name| name.trim().to_lowercase()).collect()).unwrap_or_default(),
        false => MMLU_COLUMNS.map(str::to_string).to_vec(),
    };
    let mut records = vec![];
    for (line, row) in rows {
        if row.len() != columns.len() {
            return Err((line, format!("{} columns, expected {}: {}", row.len(), columns.len(), columns.join(", "))));
        }
        records.push(Record { line, fields: columns.iter().cloned().zip(row.into_iter().map(Value::String)).collect() });
    }
    Ok(records)
}

/// The fields of each row and the line that it begins on (RFC 4180: fields in quotes may hold commas, line ends and doubled quotes). Empty lines
/// are no rows.
fn csv_rows(text: &str) -> Result<Vec<(usize, Vec<String>)>, Wrong> {
    let mut rows = vec![];
    let mut chars = text.chars().peekable();
    let mut line = 1;
    while chars.peek().is_some() {
        let began = line;
        let mut row = vec![];
        loop {
            let mut field = String::new();
            if chars.next_if_eq(&'"').is_some() {
                let opened = line;
                loop {
                    match chars.next() {
                        None => return Err((opened, "a quote is opened and never closed".into())),
                        Some('"') if chars.next_if_eq(&'"').is_some() => field.push('"'),
                        Some('"') => break,
                        Some(c) => {
                            line += usize::from(c == '\n');
                            field.push(c);
                        }
                    }
                }
                if let Some(&c) = chars.peek().filter(|c| !matches!(c, ',' | '\n' | '\r')) {
                    return Err((line, format!("{c:?} after a closing quote, expected a comma or the end of the line")));
                }
            } else {
                while let Some(c) = chars.next_if(|c| !matches!(c, ',' | '\n' | '\r')) {
                    field.push(c);
                }
            }
            row.push(field);
            if chars.next_if_eq(&',').is_none() {
                break;
            }
        }
        chars.next_if_eq(&'\r');
        if chars.next_if_eq(&'\n').is_some() {
            line += 1;
        }
        if row.len() > 1 || !row[0].is_empty() {
            rows.push((began, row));
        }
    }
    Ok(rows)
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// Fields by name, with words for what is missing. The errors lack file and line, which the reader of the file adds.
impl Record {
    /// Whether there is such a field, and it is not null.
    pub fn has(&self, name: &str) -> bool {
        self.fields.get(name).is_some_and(|value| !value.is_null())
    }

    /// A field of any kind.
    pub fn get(&self, name: &str) -> Result<&Value, String> {
        self.fields.get(name).filter(|value| !value.is_null()).ok_or_else(|| {
            let known: Vec<&str> = self.fields.keys().map(String::as_str).take(12).collect();
            format!("no field {name:?}; there are: {}", known.join(", "))
        })
    }

    /// A text.
    pub fn text(&self, name: &str) -> Result<&str, String> {
        let value = self.get(name)?;
        value.as_str().ok_or_else(|| format!("the field {name:?} is {}, expected a text", kind(value)))
    }

    /// A list of texts, two at least.
    pub fn texts(&self, name: &str) -> Result<Vec<String>, String> {
        texts(name, self.get(name)?)
    }

    /// A number from 0 (or `first`) on, below `first + count`, returned from 0: as a number, as a text, or as a letter from A on.
    pub fn choice(&self, name: &str, first: u64, count: usize) -> Result<usize, String> {
        let value = self.get(name)?;
        let number = match value {
            Value::Number(n) => n.as_u64(),
            Value::Bool(b) => Some(u64::from(*b)),
            Value::String(text) => match text.trim() {
                letter if letter.len() == 1 && letter.as_bytes()[0].is_ascii_alphabetic() => {
                    Some(u64::from(letter.as_bytes()[0].to_ascii_uppercase() - b'A') + first)
                }
                digits => digits.parse().ok(),
            },
            _ => None,
        };
        number.and_then(|n| n.checked_sub(first)).map(|n| n as usize).filter(|n| *n < count).ok_or_else(|| {
            let letter = char::from(b'A' + u8::try_from(count.saturating_sub(1).min(25)).unwrap_or(25));
            let last = first + count.saturating_sub(1) as u64;
            format!("the answer in {name:?} is {value}, expected {first} to {last} or A to {letter}")
        })
    }
}

/// A list of texts, two at least.
pub fn texts(name: &str, value: &Value) -> Result<Vec<String>, String> {
    let list = value.as_array().ok_or_else(|| format!("the field {name:?} is {}, expected a list of texts", kind(value)))?;
    let texts: Option<Vec<String>> = list.iter().map(|v| v.as_str().map(str::to_string)).collect();
    match texts {
        Some(texts) if texts.len() >= 2 => Ok(texts),
        Some(texts) => Err(format!("{} choices in {name:?}, expected two at least", texts.len())),
        None => Err(format!("the list {name:?} holds something that is no text")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn csv_text(rows: &[Vec<String>]) -> String {
        rows.iter()
            .map(|row| row.iter().map(|f| format!("\"{}\"", f.replace('"', "\"\""))).collect::<Vec<_>>().join(",") + "\r\n")
            .collect()
    }

    #[test]
    fn quoted_fields_hold_anything() {
        let rows =
            vec![vec!["a,\n\"b\"".to_string(), String::new()], vec!["é\r\n".to_string(), "\"".to_string()], vec!["x".into(), "y".into()]];
        let read = csv_rows(&csv_text(&rows)).unwrap();
        assert_eq!(read.iter().map(|(_, row)| row.clone()).collect::<Vec<_>>(), rows);
        assert_eq!(read.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [1, 3, 5]);
        assert_eq!(csv_rows("1,,3\n\n4\n").unwrap(), [(1, vec!["1".into(), "".into(), "3".into()]), (3, vec!["4".into()])]);
    }

    #[test]
    fn faults_of_csv_have_their_line() {
        let of = |text: &str| csv(text).unwrap_err();
        assert_eq!(of("question,a,answer\nq,1,0\nq,1\n"), (3, "2 columns, expected 3: question, a, answer".into()));
        assert_eq!(of("q,1,2,3,4,A\n\nq,\"1\n"), (3, "a quote is opened and never closed".into()));
        assert_eq!(of("q,1,2,3,4,A\nq,\"1\"2,2,3,4,B\n").0, 2);
        // MMLU's first edition, with answers in letters and without names.
        let first = &csv("q,a,b,c,d,C\n").unwrap()[0];
        assert_eq!((first.text("choice3"), first.choice("answer", 0, 4)), (Ok("d"), Ok(2)));
    }

    #[test]
    fn records_of_json_know_their_line() {
        let text = "[\n  {\"a\": \"1\"},\n\n  {\"a\":\n \"2\"}\n]";
        let lines: Vec<usize> = array(text).unwrap().iter().map(|r| r.line).collect();
        assert_eq!(lines, [2, 4]);
        assert_eq!(array("[{\"a\": 1},\n 5]").unwrap_err(), (2, "a question is a JSON object, and this is a number".into()));
        assert_eq!(array("[{\"a\": 1},\n {]").unwrap_err().0, 2);
        assert_eq!(self::lines("{\"a\": 1}\n\n{\"a\": }\n").unwrap_err().0, 3);
        assert_eq!(self::lines("{}\n\n{}\n").unwrap().iter().map(|r| r.line).collect::<Vec<_>>(), [1, 3]);
    }

    #[test]
    fn answers_come_in_many_clothes() {
        let record = |value: Value| Record { line: 1, fields: Map::from_iter([("answer".to_string(), value)]) };
        for (value, first, want) in [
            (Value::from(3), 0, Some(3)),
            (Value::from("2"), 1, Some(1)),
            (Value::from(" b "), 0, Some(1)),
            (Value::from("B"), 1, Some(1)),
            (Value::from(true), 0, Some(1)),
            (Value::from(4), 0, None),
            (Value::from(-1), 0, None),
            (Value::from(0), 1, None),
            (Value::from("E"), 0, None),
            (Value::from("18446744073709551616"), 0, None),
            (Value::from(1.5), 0, None),
            (Value::Null, 0, None),
        ] {
            let found = record(value.clone()).choice("answer", first, 4);
            assert_eq!(found.clone().ok(), want, "{value}: {found:?}");
        }
        assert_eq!(
            record(Value::from("E")).choice("answer", 0, 4).unwrap_err(),
            "the answer in \"answer\" is \"E\", expected 0 to 3 or A to D"
        );
        assert!(record(Value::from(1)).text("question").unwrap_err().contains("there are: answer"));
        assert!(record(Value::from(1)).text("answer").unwrap_err().contains("a number, expected a text"));
    }
}
