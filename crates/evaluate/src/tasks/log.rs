//! A file to which every answer is added as it is given: a record to look into, and what an interrupted run goes on from.
//!
//! JSON, a line each: first what is asked of which model, then the answers. A last line without its end is what an interruption leaves; it is cut off
//! before the run goes on.

use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::data::Error;
use super::plan::{PartFacts, Plan};
use super::report::{Answer, KIND, Model, SCHEMA};
use super::table::Wanted;
use crate::quality::windows::Shard;

/// The first line: answers fit only the run that has the same.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Head {
    /// The report's.
    pub schema: u32,
    /// The report's.
    pub kind: String,
    /// The program's version.
    pub nibble: String,
    /// The model's fingerprint.
    pub model: String,
    /// What was asked for.
    pub wanted: Wanted,
    /// Tokens of context.
    pub context: usize,
    /// What keys and values are kept in.
    pub cache: String,
    /// Which part of the questions.
    pub shard: String,
    /// What is asked: names and sums of the parts.
    pub parts: Vec<(String, String)>,
}

impl Head {
    /// Of a run.
    pub fn new(model: &Model, plan: &Plan, context: usize, cache: &str, shard: Shard) -> Head {
        Head {
            schema: SCHEMA,
            kind: KIND.to_string(),
            nibble: env!("CARGO_PKG_VERSION").to_string(),
            model: model.fingerprint.clone(),
            wanted: plan.wanted.clone(),
            context,
            cache: cache.to_string(),
            shard: shard.to_string(),
            parts: plan.facts().into_iter().map(|PartFacts { name, sum, .. }| (name, sum)).collect(),
        }
    }
}

/// An open log.
pub struct Log {
    path: PathBuf,
    file: File,
}

impl Log {
    /// A new one; a file that is there already is an error.
    pub fn create(path: &Path, head: &Head) -> Result<Log, Error> {
        let file = OpenOptions::new().write(true).create_new(true).open(path).map_err(|error| fault(path, &error))?;
        let mut log = Log { path: path.into(), file };
        log.line(head)?;
        Ok(log)
    }

    /// Goes on with one: gives its answers, and refuses one of another run.
    pub fn resume(path: &Path, head: &Head) -> Result<(Log, Vec<Answer>), Error> {
        let text = std::fs::read(path).map_err(|error| fault(path, &error))?;
        let whole = text.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
        let text = std::str::from_utf8(&text[..whole]).map_err(|error| fault(path, &error))?;
        let mut lines = text.lines();
        let found: Head = match lines.next().map(serde_json::from_str) {
            Some(Ok(found)) => found,
            Some(Err(error)) => return Err(fault(path, &format!("not a log of nibble eval tasks: {error}"))),
            None => return Err(fault(path, &"the log is empty: remove it to begin anew")),
        };
        if found != *head {
            return Err(fault(path, &differs(&found, head)));
        }
        let mut answers = vec![];
        for (i, line) in lines.enumerate() {
            let answer: Answer = serde_json::from_str(line).map_err(|error| fault(path, &format!("line {}: {error}", i + 2)))?;
            answers.push(answer);
        }
        let mut file = OpenOptions::new().write(true).open(path).map_err(|error| fault(path, &error))?;
        file.set_len(whole as u64).and_then(|()| file.seek(SeekFrom::End(0))).map_err(|error| fault(path, &error))?;
        Ok((Log { path: path.into(), file }, answers))
    }

    /// Adds an answer.
    pub fn add(&mut self, answer: &Answer) -> Result<(), Error> {
        self.line(answer)
    }

    fn line(&mut self, value: &impl Serialize) -> Result<(), Error> {
        let mut text = serde_json::to_string(value).map_err(|error| fault(&self.path, &error))?;
        text.push('\n');
        // In one call, so that an interruption leaves whole lines in all but the rarest case.
        self.file.write_all(text.as_bytes()).map_err(|error| fault(&self.path, &error))
    }
}

fn fault(path: &Path, what: &dyn std::fmt::Display) -> Error {
    Error::Log { path: path.into(), what: what.to_string() }
}

fn differs(found: &Head, head: &Head) -> String {
    let what = [
        ("model", found.model != head.model),
        ("tasks or settings", found.wanted != head.wanted),
        ("context", found.context != head.context),
        ("cache", found.cache != head.cache),
        ("shard", found.shard != head.shard),
        ("files of questions", found.parts != head.parts),
        ("version of nibble", found.nibble != head.nibble || found.schema != head.schema),
    ];
    let names: Vec<&str> = what.iter().filter(|(_, differs)| *differs).map(|(name, _)| *name).collect();
    format!("the log is of another run: another {}", names.join(", another "))
}
