//! The measuring itself.

use std::path::Path;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use nibble_engine::source::Source;
use nibble_engine::text::{Clock, Tokenizer, Vocab};
use nibble_engine::{Error, KvType, Lora, Model, Options, Session};

use super::cost::Cost;
use super::plan::{Cell, Plan, Settings};
use super::report::{self, Limit, Measured, Report, SCHEMA, Test};
use crate::machine::{Limits, Machine, Memory, limits};

/// How far a run is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Repetitions done.
    pub done: u64,
    /// All of them.
    pub total: u64,
    /// What begins now.
    pub what: String,
}

/// Measures a model, with adapters where there are any. `kind` is what its type is called in the report. `on_step` hears of every repetition before it begins.
///
/// The limits of the machine are measured last, so that their buffer is not in the memory reported.
pub fn run(path: &Path, adapters: &[Lora], kind: &str, settings: &Settings, on_step: &mut dyn FnMut(Step)) -> Result<Report, Error> {
    let date = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs() as i64);
    let source = Source::open(path)?;
    let plan = Plan::new(settings, source.config());
    let file_bytes = source.checkpoint().files().map(|map| map.len() as u64).sum();
    drop(source);

    let asked: Vec<Option<usize>> =
        if settings.threads.is_empty() { vec![None] } else { settings.threads.iter().copied().map(Some).collect() };
    let repetitions = settings.repetitions.max(1);
    let total = (asked.len() * (1 + plan.cells.len()) * repetitions + usize::from(settings.limits)) as u64;
    let mut runner = Runner { path, adapters, plan: &plan, kv: settings.kv, repetitions, done: 0, total, on_step, results: vec![] };
    let mut last = None;
    for threads in asked {
        // One model at a time: two would need the memory of two.
        drop(last.take());
        last = Some(runner.threads(threads)?);
    }
    let model = last.expect("one number of threads at least");
    let cost = Cost::of(&model);
    let facts = report::Model {
        path: path.display().to_string(),
        file_bytes,
        kind: kind.to_string(),
        architecture: model.config().arch.name.to_string(),
        parameters: cost.parameters,
        weight_bytes_per_token: cost.weight_bytes,
        macs_per_token: cost.layer_macs,
        context: model.config().context,
    };
    let (context, batch, cache) = (model.context(), model.options().batch, format!("{:?}", model.options().kv));
    drop(model);

    let mut results = std::mem::take(&mut runner.results);
    let memory = Memory {
        peak_resident_bytes: Memory::now().peak_resident_bytes,
        anonymous_bytes: results.iter().filter_map(|r| r.anonymous_bytes).max(),
    };
    let mut threads: Vec<usize> = results.iter().map(|r| r.threads).collect();
    threads.dedup();
    let limits = if settings.limits {
        runner.step("the machine's limits".to_string());
        limits(&threads)
    } else {
        vec![]
    };
    results.iter_mut().for_each(|result| hold_against(result, &limits, &cost));
    Ok(Report {
        schema: SCHEMA,
        nibble: env!("CARGO_PKG_VERSION").to_string(),
        date: Clock { seconds: date }.format("%Y-%m-%dT%H:%M:%SZ"),
        machine: Machine::here(),
        model: facts,
        settings: Settings { threads, ..settings.clone() },
        context,
        batch,
        cache,
        limits,
        results,
        skipped: plan.skipped.clone(),
        memory,
    })
}

/// Says what a token of a result takes, and what part of the machine's limit that is where the limits were measured.
fn hold_against(result: &mut Measured, limits: &[Limits], cost: &Cost) {
    let (limit, work) = match result.test {
        Test::Generation => (Limit::ReadBandwidth, cost.generation_bytes(result.depth, result.tokens)),
        Test::Prompt => (Limit::Int8Peak, cost.prompt_macs(result.tokens)),
        Test::Load | Test::FirstToken => return,
    };
    result.work_per_token = Some(work);
    result.limit = Some(limit);
    let of = limits.iter().find(|l| l.threads == result.threads);
    let most = of.and_then(|l| if limit == Limit::Int8Peak { Some(l.int8_macs_per_second) } else { l.read_bytes_per_second });
    result.fraction = most.filter(|&most| most > 0.0).map(|most| work * result.median / most);
}

struct Runner<'a> {
    path: &'a Path,
    adapters: &'a [Lora],
    plan: &'a Plan,
    kv: KvType,
    repetitions: usize,
    done: u64,
    total: u64,
    on_step: &'a mut dyn FnMut(Step),
    results: Vec<Measured>,
}

impl Runner<'_> {
    fn step(&mut self, what: String) {
        (self.on_step)(Step { done: self.done, total: self.total, what });
        self.done += 1;
    }

    /// All tests with one number of threads. Returns the model.
    fn threads(&mut self, threads: Option<usize>) -> Result<Model, Error> {
        let adapters = self.adapters.to_vec();
        let options = Options { threads, context: Some(self.plan.context), kv: self.kv, adapters, ..Options::default() };
        let first = self.plan.first_prompt();
        let (mut load, mut answer) = (vec![], vec![]);
        let mut opened = None;
        for n in 0..self.repetitions {
            self.step(format!("load and first token, {} of {}", n + 1, self.repetitions));
            // Nothing of the last one is left: the files are mapped anew, and their pages come again, from the system's cache.
            drop(opened.take());
            let start = Instant::now();
            let model = Model::load(Arc::new(Source::open(self.path)?), options.clone())?;
            // As `nibble run` does before it can read a prompt. A model without a tokenizer can be measured all the same.
            let tokenizer = Vocab::of(model.source()).map(Tokenizer::new);
            load.push(start.elapsed().as_secs_f64());
            let mut session = model.session()?;
            session.feed(&ids(&model, 0, first))?;
            answer.push(start.elapsed().as_secs_f64());
            drop(tokenizer);
            drop(session);
            opened = Some(model);
        }
        let model = opened.expect("one repetition at least");
        let threads = model.threads();
        self.results.push(Measured::new(Test::Load, threads, 0, 0, load));
        self.results.push(Measured::new(Test::FirstToken, threads, first, 0, answer));
        let mut session = model.session()?;
        for cell in &self.plan.cells {
            self.cell(*cell, &mut session)?;
        }
        drop(session);
        Ok(model)
    }

    /// One test, its repetitions in the same session.
    fn cell(&mut self, cell: Cell, session: &mut Session) -> Result<(), Error> {
        let model = session.model();
        let label = format!("{}, {}", report::label(cell.test, cell.tokens, cell.depth), report::threads(model.threads()));
        let mut values = vec![];
        let count = self.repetitions;
        for n in 0..count {
            self.step(format!("{label}, {} of {count}", n + 1));
            if n == 0 {
                self.prepare(cell, session)?;
            }
            session.truncate(cell.depth);
            let ids = ids(model, cell.depth, cell.tokens);
            let start = Instant::now();
            if cell.test == Test::Prompt {
                session.feed(&ids)?;
            } else {
                for id in ids {
                    session.feed(&[id])?;
                }
            }
            values.push(cell.tokens as f64 / start.elapsed().as_secs_f64().max(1e-9));
        }
        session.truncate(cell.depth);
        self.results.push(Measured::new(cell.test, model.threads(), cell.tokens, cell.depth, values));
        Ok(())
    }

    /// Fills the cache up to the depth (what it holds is the beginning of the same sequence), then one small run that does not count: buffers take
    /// their size, threads wake up.
    fn prepare(&mut self, cell: Cell, session: &mut Session) -> Result<(), Error> {
        session.truncate(cell.depth);
        let have = session.tokens().len();
        let model = session.model();
        if have < cell.depth {
            let (done, total) = (self.done, self.total);
            let on_step = &mut *self.on_step;
            session.feed_while(&ids(model, have, cell.depth - have), &mut |fed| {
                on_step(Step { done, total, what: format!("filling the cache, {} of {} tokens", have + fed, cell.depth) });
                true
            })?;
        }
        let few = match cell.test {
            Test::Prompt => cell.tokens.min(model.options().batch),
            _ => 1,
        };
        session.feed(&ids(model, cell.depth, few))?;
        Ok(())
    }
}

/// Tokens `from..from + count` of the one sequence that every test feeds: spread over the vocabulary, the same in every run.
fn ids(model: &Model, from: usize, count: usize) -> Vec<u32> {
    let vocab = model.config().vocab as u64;
    let id = |i: usize| {
        // The mixer of splitmix64 (Steele, Lea and Flood 2014).
        let mut z = (i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % vocab) as u32
    };
    (from..from + count).map(id).collect()
}
