//! Which questions are asked, in which order, and by which shard.

use serde::{Deserialize, Serialize};

use super::data::{Data, Error};
use super::python_random::PythonRandom;
use super::question::Part;
use super::record::Fault;
use super::table::{self, Task, Wanted};
use crate::quality::windows::Shard;

/// All that one run asks.
pub struct Plan {
    /// What was wanted.
    pub wanted: Wanted,
    /// Every part with its task and the numbers of its questions that are asked, ascending.
    pub parts: Vec<(&'static Task, Part, Vec<usize>)>,
}

/// A part as reports have it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartFacts {
    /// The task.
    pub task: String,
    /// The part: the task's name, or with its subject.
    pub name: String,
    /// Its file.
    pub file: String,
    /// Of all its questions and examples: 16 hexadecimal digits.
    pub sum: String,
    /// Questions in the file.
    pub questions: usize,
    /// Questions asked, by all shards together.
    pub asked: usize,
}

impl Plan {
    /// Reads and checks the files of all wanted tasks.
    pub fn new(data: &Data, wanted: &Wanted) -> Result<Plan, Error> {
        let mut parts = vec![];
        for name in &wanted.tasks {
            let known = || table::TASKS.iter().map(|task| task.name).collect::<Vec<_>>().join(", ");
            let what = || format!("no task {name:?}; there are: {}", known());
            let task = table::task(name).ok_or_else(|| Fault { path: data.path().into(), line: 0, what: what() })?;
            for part in task.load(data, wanted)? {
                let count = part.questions.len();
                let chosen = match wanted.limit.filter(|limit| *limit < count) {
                    None => (0..count).collect(),
                    Some(limit) if wanted.draw => {
                        let mut drawn = PythonRandom::new(wanted.seed).sample(count, limit);
                        drawn.sort_unstable();
                        drawn
                    }
                    Some(limit) => (0..limit).collect(),
                };
                parts.push((task, part, chosen));
            }
        }
        Ok(Plan { wanted: wanted.clone(), parts })
    }

    /// Questions of all shards together.
    pub fn total(&self) -> usize {
        self.parts.iter().map(|(_, _, chosen)| chosen.len()).sum()
    }

    /// The questions of a shard, in order: part and question.
    pub fn of(&self, shard: Shard) -> Vec<(usize, usize)> {
        let all = self.parts.iter().enumerate().flat_map(|(p, (_, _, chosen))| chosen.iter().map(move |&q| (p, q)));
        let range = shard.range(self.total());
        all.skip(range.start).take(range.len()).collect()
    }

    /// For the report.
    pub fn facts(&self) -> Vec<PartFacts> {
        let facts = |(task, part, chosen): &(&'static Task, Part, Vec<usize>)| PartFacts {
            task: task.name.to_string(),
            name: part.name.clone(),
            file: part.path.display().to_string(),
            sum: format!("{:016x}", part.sum),
            questions: part.questions.len(),
            asked: chosen.len(),
        };
        self.parts.iter().map(facts).collect()
    }
}
