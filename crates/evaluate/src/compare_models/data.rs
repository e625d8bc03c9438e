//! What is known of each model.

use serde::{Deserialize, Serialize};

use super::tensors::TensorError;
use crate::machine::Machine;
use crate::tasks::plan::PartFacts;
use crate::tasks::{Answer, Figure, Report, Task};

/// The version of the JSON's fields: a reader of another one refuses it.
pub const SCHEMA: u32 = 1;
/// What such a file calls itself.
pub const KIND: &str = "comparison";

/// A figure, and its standard error where there is one.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The figure.
    pub value: f64,
    /// Its standard error.
    pub stderr: Option<f64>,
}

/// A task's figure.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskFigure {
    /// The figure of the model.
    #[serde(flatten)]
    pub figure: Figure,
    /// How much better than the reference it answers the same questions, with the standard error of the paired difference.
    pub difference: Option<Estimate>,
}

/// How fast it is and what it takes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Speed {
    /// Threads.
    pub threads: usize,
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Tokens of a prompt a second.
    pub prompt: Option<f64>,
    /// Tokens generated a second.
    pub generation: Option<f64>,
    /// Seconds from nothing to the first token of an answer.
    pub first_token: Option<f64>,
    /// The most memory that was resident, mapped weights included.
    pub peak_resident_bytes: Option<u64>,
    /// Memory of no file.
    pub anonymous_bytes: Option<u64>,
}

/// A model and all that was measured of it. What was not is `None`, or empty.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Short, for tables: its file's name.
    pub name: String,
    /// As given on the command line.
    pub path: String,
    /// `Q4_K_M`, `BF16`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Bytes of its files.
    pub file_bytes: u64,
    /// Bytes of its weights.
    pub weight_bytes: u64,
    /// Weights, each once.
    pub parameters: u64,
    /// exp of the mean surprise at the text's tokens.
    pub perplexity: Option<Estimate>,
    /// Its surprise in bits, by the bytes of the text.
    pub bits_per_byte: Option<Estimate>,
    /// Mean KL divergence of its predictions from the reference's, in nats.
    pub kl: Option<Estimate>,
    /// The part of positions where both think the same token the likeliest.
    pub same_top: Option<Estimate>,
    /// The tasks' figures.
    pub tasks: Vec<TaskFigure>,
    /// Its speed.
    pub speed: Option<Speed>,
    /// What quantizing did to each tensor.
    pub tensors: Vec<TensorError>,
    /// What could not be measured, and why.
    pub notes: Vec<String>,
}

/// Models side by side.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// [`SCHEMA`].
    pub schema: u32,
    /// [`KIND`].
    #[serde(rename = "kind")]
    pub what: String,
    /// The program's version.
    pub nibble: String,
    /// When: UTC, `2026-11-28T16:30:00Z`.
    pub date: String,
    /// Where.
    pub machine: Machine,
    /// Which of the entries the others are held against.
    pub reference: usize,
    /// What was read for perplexity and divergence, in words.
    pub text: Option<String>,
    /// The models, in the order given.
    pub entries: Vec<Entry>,
}

impl Entry {
    /// Bits that a weight takes.
    pub fn bits_per_weight(&self) -> f64 {
        8.0 * self.weight_bytes as f64 / self.parameters.max(1) as f64
    }
}

impl Comparison {
    /// The entry that the others are held against.
    pub fn reference(&self) -> &Entry {
        &self.entries[self.reference]
    }

    /// By how much smaller an entry is than the reference, as a part of it.
    pub fn reduction(&self, entry: &Entry) -> f64 {
        1.0 - entry.file_bytes as f64 / self.reference().file_bytes.max(1) as f64
    }

    /// Names and metrics of the tasks that a table shows, in order: of each task its first metric, averages but no subjects.
    pub fn tasks(&self) -> Vec<(String, String)> {
        let mut found: Vec<(String, String)> = vec![];
        for task in crate::tasks::TASKS {
            let names = [task.name.to_string(), format!("{}_macro", task.name)];
            for name in names {
                let metric = task.metrics[0].name;
                let there = |e: &Entry| e.tasks.iter().any(|t| t.figure.name == name && t.figure.metric == metric);
                if self.entries.iter().any(there) {
                    found.push((name, metric.to_string()));
                }
            }
        }
        found
    }
}

/// The figures of a report, each beside the reference's on the same questions.
pub fn task_figures(report: &Report, reference: Option<&Report>) -> Vec<TaskFigure> {
    let of =
        |figure: &Figure| TaskFigure { figure: figure.clone(), difference: reference.and_then(|other| difference(figure, report, other)) };
    report.figures.iter().map(of).collect()
}

/// The mean of the differences over the questions that both answered, and its standard error: much smaller than either figure's, as both find the same
/// questions hard. `None` for a mean of means, and where there are no two such questions.
fn difference(figure: &Figure, report: &Report, reference: &Report) -> Option<Estimate> {
    let tasks: Vec<&Task> = crate::tasks::TASKS.iter().filter(|t| figure.name.starts_with(t.name)).collect();
    // The longest name, where one begins with another's.
    let task = tasks.into_iter().max_by_key(|t| t.name.len())?;
    let metric = task.metrics.iter().position(|m| m.name == figure.metric)?;
    // The same questions: their sums say so.
    let same = |p: &&PartFacts| reference.parts.iter().any(|other| (&other.name, &other.sum) == (&p.name, &p.sum));
    let of = |p: &&PartFacts| p.task == task.name && belongs(figure, &p.name, task);
    let parts: Vec<&str> = report.parts.iter().filter(of).filter(same).map(|p| p.name.as_str()).collect();
    let key = |a: &Answer| (a.part.clone(), a.index);
    let others: std::collections::HashMap<(String, usize), f64> = reference
        .answers
        .iter()
        .filter(|a| parts.contains(&a.part.as_str()))
        .filter_map(|a| Some((key(a), *a.scores.get(metric)?)))
        .collect();
    let differences: Vec<f64> = report
        .answers
        .iter()
        .filter(|a| parts.contains(&a.part.as_str()))
        .filter_map(|a| Some(a.scores.get(metric)? - others.get(&key(a))?))
        .collect();
    let n = differences.len() as f64;
    if differences.len() < 2 || differences.len() != figure.questions {
        return None;
    }
    let mean = differences.iter().sum::<f64>() / n;
    let squares: f64 = differences.iter().map(|d| (d - mean) * (d - mean)).sum();
    Some(Estimate { value: mean, stderr: Some((squares / (n - 1.0) / n).sqrt()) })
}

/// Whether a part's questions are those of a figure, each with the same weight.
fn belongs(figure: &Figure, part: &str, task: &Task) -> bool {
    let group = || task.subjects.as_ref().and_then(|subjects| (subjects.group)(part));
    figure.name == part || figure.name == task.name || group().is_some_and(|group| figure.name == format!("{}_{group}", task.name))
}
