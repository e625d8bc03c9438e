//! The loop over questions.

use nibble_engine::Model;
use nibble_engine::text::{Tokenizer, Vocab};

use super::data::Error;
use super::plan::Plan;
use super::question::{Part, Question};
use super::report::{Answer, KIND, Report, SCHEMA, figures};
use super::score::{Failure, Likelihood, Scorer, Work};
use super::table::Task;
use super::{gsm8k, report};
use crate::bench::Cost;
use crate::quality::windows::Shard;

/// How far a run is.
#[derive(Debug, Clone, Copy)]
pub struct Step<'a> {
    /// Questions answered, those of an earlier run included.
    pub done: usize,
    /// All of the shard.
    pub total: usize,
    /// The part of the next question.
    pub part: &'a str,
}

/// Hears of every question before (without) and after (with its answer).
pub type Hear<'a> = dyn FnMut(Step, Option<&Answer>) -> Result<(), Error> + 'a;

/// Answers a shard's questions, but those that `known` has an answer to. `each` hears of every answer as it is given, and an error of it ends the run.
pub fn run(model: &Model, plan: &Plan, shard: Shard, known: Vec<Answer>, each: &mut Hear) -> Result<Report, Error> {
    let tokenizer = Tokenizer::new(Vocab::of(model.source()).map_err(nibble_engine::Error::from)?);
    let mut scorer = Scorer::new(model.session()?, tokenizer);
    let questions = plan.of(shard);
    let mut known: std::collections::HashMap<(String, usize), Answer> =
        known.into_iter().map(|answer| ((answer.part.clone(), answer.index), answer)).collect();
    let mut answers: Vec<Answer> = vec![];
    for &(p, q) in &questions {
        let (task, part, _) = &plan.parts[p];
        if let Some(answer) = known.remove(&(part.name.clone(), q)) {
            answers.push(answer);
            continue;
        }
        each(Step { done: answers.len(), total: questions.len(), part: &part.name }, None)?;
        let given = answer(&mut scorer, task, part, q)?;
        each(Step { done: answers.len() + 1, total: questions.len(), part: &part.name }, Some(&given))?;
        answers.push(given);
    }
    Ok(report(model, plan, shard, answers, scorer.work))
}

/// The report of some answers.
fn report(model: &Model, plan: &Plan, shard: Shard, answers: Vec<Answer>, work: Work) -> Report {
    let parts = plan.facts();
    Report {
        schema: SCHEMA,
        kind: KIND.to_string(),
        nibble: env!("CARGO_PKG_VERSION").to_string(),
        model: facts(model),
        wanted: plan.wanted.clone(),
        context: model.context(),
        cache: model.options().kv.name(),
        shard: shard.to_string(),
        figures: figures(&parts, &answers),
        parts,
        work,
        answers,
    }
}

/// The model as reports name it.
pub fn facts(model: &Model) -> report::Model {
    let source = model.source();
    report::Model {
        path: source.path().display().to_string(),
        fingerprint: format!("{:016x}", nibble_engine::state::fingerprint(model)),
        file_bytes: source.checkpoint().files().map(|map| map.len() as u64).sum(),
        parameters: Cost::of(model).parameters,
    }
}

/// Answers one question.
pub fn answer(scorer: &mut Scorer, task: &Task, part: &Part, index: usize) -> Result<Answer, Error> {
    let (line, question) = &part.questions[index];
    let before = part.before(index);
    let fail = |failure| match failure {
        Failure::Engine(error) => Error::Engine(error),
        Failure::NotNumbers => Error::NotNumbers { part: part.name.clone(), index },
        Failure::TooLong(tokens) => Error::TooLong { part: part.name.clone(), index, tokens },
        Failure::NoPrompt => Error::NoPrompt { part: part.name.clone(), index },
    };
    let mut answer = Answer {
        part: part.name.clone(),
        index,
        line: *line,
        likelihoods: vec![],
        greedy: vec![],
        chosen: None,
        right: vec![],
        text: None,
        scores: vec![],
        cut: 0,
    };
    match question {
        Question::Choose(choose) => {
            let contexts: Vec<String> = choose.contexts.iter().map(|context| format!("{before}{context}")).collect();
            let requests: Vec<(&str, &str)> =
                (0..choose.len()).map(|i| (contexts[i.min(contexts.len() - 1)].as_str(), choose.request(i).1)).collect();
            let found = scorer.score(&requests).map_err(fail)?;
            let logs: Vec<f64> = found.iter().map(|l: &Likelihood| l.log).collect();
            if logs.iter().any(|log| !log.is_finite()) {
                return Err(fail(Failure::NotNumbers));
            }
            answer.scores = task.metrics.iter().map(|metric| (metric.of_choices)(choose, &logs)).collect();
            answer.chosen = logs.iter().enumerate().max_by(|(i, a), (j, b)| a.total_cmp(b).then(j.cmp(i))).map(|(i, _)| i);
            answer.right = choose.right.iter().enumerate().filter(|(_, right)| **right).map(|(i, _)| i).collect();
            answer.greedy = found.iter().map(|l| l.greedy).collect();
            answer.cut = found.iter().map(|l| l.cut).max().unwrap_or(0);
            answer.likelihoods = logs;
        }
        Question::Write { prompt, solution } => {
            let (text, cut) = scorer.write(&format!("{before}{prompt}"), gsm8k::MOST_TOKENS, gsm8k::STOPS).map_err(fail)?;
            answer.scores = task.metrics.iter().map(|metric| (metric.of_text)(&text, solution)).collect();
            answer.text = Some(text);
            answer.cut = cut;
        }
    }
    Ok(answer)
}
