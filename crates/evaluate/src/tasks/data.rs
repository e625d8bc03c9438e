//! Where the questions are: files found below a folder by the names under which they are published.

use std::path::{Path, PathBuf};

use super::question::Question;
use super::record::{Fault, Record};

/// What can go wrong before and while tasks are run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file of questions.
    #[error(transparent)]
    Data(#[from] Fault),
    /// No file of a task's names.
    #[error("{}: no file of the task {task}: looked for {names}", .root.display())]
    Missing {
        /// The task.
        task: String,
        /// Where.
        root: PathBuf,
        /// What its files are called.
        names: String,
    },
    /// More than one.
    #[error("{} and {} could both be meant: name one of them with --data", .first.display(), .second.display())]
    Twice {
        /// One.
        first: PathBuf,
        /// Another.
        second: PathBuf,
    },
    /// The model.
    #[error(transparent)]
    Engine(#[from] nibble_engine::Error),
    /// The model gives no numbers.
    #[error("{part}, question {index}: the model gives logits that are not numbers")]
    NotNumbers {
        /// The part.
        part: String,
        /// The question, from 0.
        index: usize,
    },
    /// A question that the context can never hold.
    #[error("{part}, question {index}: its answer takes {tokens} tokens, and the context does not hold them")]
    TooLong {
        /// The part.
        part: String,
        /// The question, from 0.
        index: usize,
        /// Tokens whose likelihood counts, or that may be written.
        tokens: usize,
    },
    /// Nothing before the answer, and no token to begin with.
    #[error("{part}, question {index}: nothing stands before the answer, and this vocabulary has no token to begin with")]
    NoPrompt {
        /// The part.
        part: String,
        /// The question, from 0.
        index: usize,
    },
    /// The record of answers.
    #[error("{}: {what}", .path.display())]
    Log {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
}

/// A folder with files of questions, or one file.
#[derive(Debug, Clone)]
pub struct Data {
    root: PathBuf,
    /// Paths, and each below the folder with the folder's own name before it, in small letters.
    files: Vec<(PathBuf, String)>,
    single: bool,
}

/// Folders in folders that are looked into.
const DEPTH: usize = 4;
/// Files of a folder that are looked at: more is not a folder of questions.
const MOST: usize = 100_000;

impl Data {
    /// Lists the files. A file stands for itself, whatever its name; those beside it are seen too.
    pub fn open(path: &Path) -> Result<Data, Error> {
        let fault = |error: std::io::Error| Fault { path: path.into(), line: 0, what: error.to_string() };
        let single = path.is_file();
        let whole = path.canonicalize().map_err(fault)?;
        let top = match single {
            // Examples lie beside the questions or in a folder beside theirs.
            true => whole.parent().map(|p| p.parent().filter(|_| p.ends_with("test")).unwrap_or(p)).unwrap_or(&whole).to_path_buf(),
            false => whole.clone(),
        };
        let mut files = vec![];
        let name = top.file_name().map(|n| n.to_string_lossy().to_lowercase()).unwrap_or_default();
        list(&top, &name, if single { 1 } else { DEPTH }, &mut files);
        files.sort();
        let mut data = Data { root: path.into(), files, single };
        if single {
            let own = data.files.iter().position(|(file, _)| *file == whole);
            let own = own.map(|at| data.files.remove(at)).unwrap_or_else(|| (whole.clone(), whole.to_string_lossy().to_lowercase()));
            data.files.insert(0, own);
        }
        Ok(data)
    }

    /// As given.
    pub fn path(&self) -> &Path {
        &self.root
    }

    /// The file that was given, where it was one.
    pub fn single(&self) -> Option<&Path> {
        self.single.then(|| self.files[0].0.as_path())
    }

    /// The file of the first name that there is one of; in several folders it is an error. A name may have folders before it.
    pub fn find(&self, names: &[&str]) -> Result<Option<PathBuf>, Error> {
        for name in names {
            let name = name.to_lowercase();
            let is = |known: &str| known.strip_suffix(name.as_str()).is_some_and(|rest| rest.is_empty() || rest.ends_with('/'));
            let mut found = self.files.iter().filter(|(_, known)| is(known)).map(|(path, _)| path);
            match (found.next(), found.next()) {
                (Some(first), Some(second)) => return Err(Error::Twice { first: first.clone(), second: second.clone() }),
                (Some(first), None) => return Ok(Some(first.clone())),
                _ => {}
            }
        }
        Ok(None)
    }

    /// The file given, or the one found.
    pub fn require(&self, task: &str, names: &[&str]) -> Result<PathBuf, Error> {
        match self.single() {
            Some(path) => Ok(path.into()),
            None => self.find(names)?.ok_or_else(|| self.missing(task, names)),
        }
    }

    /// The error for files that are not there.
    pub fn missing(&self, task: &str, names: &[&str]) -> Error {
        Error::Missing { task: task.to_string(), root: self.root.clone(), names: names.join(", ") }
    }
}

fn list(dir: &Path, name: &str, depth: usize, files: &mut Vec<(PathBuf, String)>) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let below = format!("{name}/{}", entry.file_name().to_string_lossy().to_lowercase());
        let path = entry.path();
        if path.is_dir() {
            if depth > 0 {
                list(&path, &below, depth - 1, files);
            }
        } else if files.len() < MOST {
            files.push((path, below));
        }
    }
}

/// Asks every record of a file.
pub fn asked(records: &[Record], path: &Path, ask: fn(&Record) -> Result<Question, String>) -> Result<Vec<(usize, Question)>, Error> {
    let one = |record: &Record| match ask(record) {
        Ok(question) => Ok((record.line, question)),
        Err(what) => Err(Fault { path: path.into(), line: record.line, what }.into()),
    };
    records.iter().map(one).collect()
}
