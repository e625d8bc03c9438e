//! The outcome of a run: every answer, and the figures that follow from them and from nothing else, so that shards put together give exactly the
//! figures of one run.

use serde::{Deserialize, Serialize};

use super::plan::PartFacts;
use super::score::Work;
use super::table::{self, Wanted};
use crate::quality::windows::Shard;

/// The version of the JSON's fields: a reader of another one refuses it.
pub const SCHEMA: u32 = 1;
/// What such a file calls itself.
pub const KIND: &str = "tasks";

/// A question answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// The part.
    pub part: String,
    /// The question in the part's file, from 0.
    pub index: usize,
    /// The line on which it begins.
    pub line: usize,
    /// Natural log-likelihood of each choice.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub likelihoods: Vec<f64>,
    /// Whether each choice is what greedy generation writes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub greedy: Vec<bool>,
    /// The most likely choice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chosen: Option<usize>,
    /// The right ones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub right: Vec<usize>,
    /// What was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Each of the task's metrics.
    pub scores: Vec<f64>,
    /// Tokens cut from the beginning of the prompt because the context does not hold them.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cut: usize,
}

fn is_zero(n: &usize) -> bool {
    *n == 0
}

/// The mean of a metric.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// `arc_easy`, `mmlu_anatomy`, `mmlu_stem`, `mmlu` (the micro average), `mmlu_macro`.
    pub name: String,
    /// The metric.
    pub metric: String,
    /// The mean.
    pub value: f64,
    /// Its standard error; `None` where there are too few questions for one.
    pub stderr: Option<f64>,
    /// Questions in it.
    pub questions: usize,
    /// Parts in it.
    pub parts: usize,
}

/// The model that answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Model {
    /// As given on the command line.
    pub path: String,
    /// Of its configuration and weights: 16 hexadecimal digits.
    pub fingerprint: String,
    /// Bytes of its files.
    pub file_bytes: u64,
    /// Weights.
    pub parameters: u64,
}

/// All of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: u32,
    /// [`KIND`].
    pub kind: String,
    /// The program's version.
    pub nibble: String,
    /// The model.
    pub model: Model,
    /// What was asked for.
    pub wanted: Wanted,
    /// Tokens of context.
    pub context: usize,
    /// What keys and values were kept in.
    pub cache: String,
    /// Which part of the questions these are, `0/1` for all.
    pub shard: String,
    /// The parts of all shards.
    pub parts: Vec<PartFacts>,
    /// What follows from the answers that are here.
    pub figures: Vec<Figure>,
    /// Tokens that were computed, and that would have been without keeping prefixes.
    pub work: Work,
    /// Every answer, in the order of parts and questions.
    pub answers: Vec<Answer>,
}

/// Mean and standard error as the harness computes them: sqrt(sum (x - mean)^2 / (n - 1)) / sqrt(n).
fn mean(values: &[f64]) -> (f64, Option<f64>) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|x| (x - mean) * (x - mean)).sum();
    (mean, (values.len() > 1).then(|| (squares / (n - 1.0)).sqrt() / n.sqrt()))
}

/// The harness's pooled standard error of a mean weighted by size: sqrt(sum((n_i - 1) n_i se_i^2) / (N - k) / N).
fn pooled(parts: &[(usize, Option<f64>)]) -> Option<f64> {
    let total: usize = parts.iter().map(|(n, _)| n).sum();
    let variance: f64 = parts.iter().map(|(n, se)| se.map_or(0.0, |se| (n - 1) as f64 * *n as f64 * se * se)).sum();
    (total > parts.len()).then(|| (variance / (total - parts.len()) as f64 / total as f64).sqrt())
}

/// Of the plain mean of k parts' means: sqrt(sum se_i^2) / k.
fn plain(parts: &[(usize, Option<f64>)]) -> Option<f64> {
    let squares: Option<f64> = parts.iter().map(|(_, se)| se.map(|se| se * se)).sum();
    squares.map(|sum| sum.sqrt() / parts.len() as f64)
}

/// All figures of some answers, which are in the order of the parts. Parts without an answer have none.
pub fn figures(parts: &[PartFacts], answers: &[Answer]) -> Vec<Figure> {
    let mut all = vec![];
    for task in table::TASKS {
        for (m, metric) in task.metrics.iter().enumerate() {
            let mut own: Vec<Figure> = vec![];
            for part in parts.iter().filter(|part| part.task == task.name) {
                let scores: Vec<f64> = answers.iter().filter(|a| a.part == part.name).filter_map(|a| a.scores.get(m).copied()).collect();
                if !scores.is_empty() {
                    let (value, stderr) = mean(&scores);
                    own.push(Figure {
                        name: part.name.clone(),
                        metric: metric.name.to_string(),
                        value,
                        stderr,
                        questions: scores.len(),
                        parts: 1,
                    });
                }
            }
            if let Some(subjects) = task.subjects.as_ref().filter(|_| !own.is_empty()) {
                let over = |name: &str, of: &[&Figure], weighted: bool| {
                    let sizes: Vec<(usize, Option<f64>)> = of.iter().map(|f| (f.questions, f.stderr)).collect();
                    let questions = sizes.iter().map(|(n, _)| n).sum();
                    let (value, stderr) = match weighted {
                        true => (of.iter().map(|f| f.value * f.questions as f64).sum::<f64>() / questions as f64, pooled(&sizes)),
                        false => (of.iter().map(|f| f.value).sum::<f64>() / of.len() as f64, plain(&sizes)),
                    };
                    Figure { name: name.to_string(), metric: metric.name.to_string(), value, stderr, questions, parts: of.len() }
                };
                let every: Vec<&Figure> = own.iter().collect();
                all.extend([over(task.name, &every, true), over(&format!("{}_macro", task.name), &every, false)]);
                for group in subjects.groups {
                    let of: Vec<&Figure> = own.iter().filter(|f| (subjects.group)(&f.name) == Some(group)).collect();
                    if !of.is_empty() {
                        all.push(over(&format!("{}_{group}", task.name), &of, true));
                    }
                }
            }
            all.extend(own);
        }
    }
    all
}

/// Why files cannot be put together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MergeFault {
    /// None.
    #[error("no shards to put together")]
    Nothing,
    /// They are not of one run.
    #[error("shard {shard} has another {what}: {found}, expected {expected}")]
    Unlike {
        /// Which.
        shard: String,
        /// What differs.
        what: &'static str,
        /// There.
        found: String,
        /// In the first.
        expected: String,
    },
    /// Questions without an answer.
    #[error("{missing} of {total} questions have no answer, in {part} first: is a shard missing?")]
    Missing {
        /// How many.
        missing: usize,
        /// Of how many.
        total: usize,
        /// The first part that lacks some.
        part: String,
    },
    /// Two answers to one question.
    #[error("question {index} of {part} is answered twice, in shard {shard} too")]
    Twice {
        /// The part.
        part: String,
        /// The question, from 0.
        index: usize,
        /// The later shard.
        shard: String,
    },
}

impl Report {
    /// Reads the JSON of a run. The message lacks the file's name.
    pub fn parse(text: &str) -> Result<Report, String> {
        #[derive(Deserialize)]
        struct Head {
            schema: u32,
            kind: String,
        }
        let head: Head = serde_json::from_str(text).map_err(|error| format!("not the JSON of a run of nibble eval tasks: {error}"))?;
        if (head.schema, head.kind.as_str()) != (SCHEMA, KIND) {
            return Err(format!("its schema is {} {}, this program reads {KIND} {SCHEMA}", head.kind, head.schema));
        }
        serde_json::from_str(text).map_err(|error| format!("not the JSON of a run of nibble eval tasks: {error}"))
    }

    /// The figure of a name and metric.
    pub fn figure(&self, name: &str, metric: &str) -> Option<&Figure> {
        self.figures.iter().find(|f| f.name == name && f.metric == metric)
    }

    /// Answers whose prompt was cut.
    pub fn cut(&self) -> usize {
        self.answers.iter().filter(|a| a.cut > 0).count()
    }

    /// Refuses what is not a run of the same questions with the same model and settings.
    fn check_like(&self, other: &Report) -> Result<(), MergeFault> {
        let parts = |r: &Report| r.parts.iter().map(|p| format!("{} {} {}", p.name, p.sum, p.asked)).collect::<Vec<_>>().join(", ");
        for (what, a, b) in [
            ("version of nibble", self.nibble.clone(), other.nibble.clone()),
            ("model", self.model.fingerprint.clone(), other.model.fingerprint.clone()),
            ("list of wishes", format!("{:?}", self.wanted), format!("{:?}", other.wanted)),
            ("context", self.context.to_string(), other.context.to_string()),
            ("type of cache", self.cache.clone(), other.cache.clone()),
            ("list of questions", parts(self), parts(other)),
        ] {
            if a != b {
                return Err(MergeFault::Unlike { shard: other.shard.clone(), what, found: b, expected: a });
            }
        }
        Ok(())
    }
}

/// Puts the shards of a run together, in whatever order they come. The figures are those of one run, to the bit.
pub fn merge(shards: Vec<Report>) -> Result<Report, MergeFault> {
    let mut shards = shards.into_iter();
    let mut whole = shards.next().ok_or(MergeFault::Nothing)?;
    let place = |part: &str, parts: &[PartFacts]| parts.iter().position(|p| p.name == part).unwrap_or(usize::MAX);
    for shard in shards {
        whole.check_like(&shard)?;
        whole.work.asked += shard.work.asked;
        whole.work.computed += shard.work.computed;
        let known: std::collections::HashSet<(&str, usize)> = whole.answers.iter().map(|a| (a.part.as_str(), a.index)).collect();
        if let Some(twice) = shard.answers.iter().find(|a| known.contains(&(a.part.as_str(), a.index))) {
            return Err(MergeFault::Twice { part: twice.part.clone(), index: twice.index, shard: shard.shard.clone() });
        }
        whole.answers.extend(shard.answers);
    }
    whole.answers.sort_by_key(|a| (place(&a.part, &whole.parts), a.index));
    let total: usize = whole.parts.iter().map(|p| p.asked).sum();
    if whole.answers.len() < total {
        let missing = total - whole.answers.len();
        let lacking = |p: &&PartFacts| whole.answers.iter().filter(|a| a.part == p.name).count() < p.asked;
        let part = whole.parts.iter().find(lacking).map_or_else(String::new, |p| p.name.clone());
        return Err(MergeFault::Missing { missing, total, part });
    }
    whole.shard = Shard::WHOLE.to_string();
    whole.figures = figures(&whole.parts, &whole.answers);
    Ok(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn standard_errors_are_the_harness_s() {
        // lm_eval.api.metrics: mean_stderr([1, 0, 0, 1, 1]), pooled_sample_stderr([.2, .1], [5, 10]), unweighted_mean_stderr([.2, .1]).
        let (value, stderr) = mean(&[1.0, 0.0, 0.0, 1.0, 1.0]);
        assert!((value - 0.6).abs() < 1e-15 && (stderr.unwrap() - 0.244_948_974_278_317_8).abs() < 1e-15);
        let parts = [(5, Some(0.2)), (10, Some(0.1))];
        assert!((pooled(&parts).unwrap() - 0.093_369_956_184_785_27).abs() < 1e-15, "{:?}", pooled(&parts));
        assert!((plain(&parts).unwrap() - 0.111_803_398_874_989_5).abs() < 1e-15);
        assert_eq!((mean(&[1.0]), pooled(&[(1, None), (1, None)]), plain(&[(1, None)])), ((1.0, None), None, None));
    }
}
