//! The measuring itself.

use std::path::Path;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use nibble_engine::source::Source;
use nibble_engine::text::{Clock, Tokenizer, Vocab};
use nibble_engine::{Error, KvType, Lora, Model, Options, Session};

use super::cost::Cost;
use super::plan::{Cell, Plan, Settings};
use super::report::{self, Measured, Report, SCHEMA, Test};
use crate::limits::{self, Limit, Limits};
use crate::machine::{Machine, Memory};

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
/// The limits of the machine are measured around every repetition, since clock and bandwidth change while a run lasts: on a shared machine with what others do, on a phone with its heat.
/// Their buffer is not in the memory reported; where the system cannot forget a peak, they are measured once, last.
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
    let in_turn = settings.limits && Memory::forget_peak();
    let mut runner =
        Runner { path, adapters, plan: &plan, kv: settings.kv, repetitions, in_turn, peak: None, done: 0, total, on_step, results: vec![] };
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
        peak_resident_bytes: runner.peak.max(Memory::now().peak_resident_bytes),
        anonymous_bytes: results.iter().filter_map(|r| r.anonymous_bytes).max(),
    };
    let mut threads: Vec<usize> = results.iter().map(|r| r.threads).collect();
    threads.dedup();
    let mut limits = if settings.limits {
        runner.step("the machine's limits".to_string());
        limits::limits(&threads)
    } else {
        vec![]
    };
    results.iter_mut().for_each(|result| hold_against(result, &mut limits, &cost));
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

/// The limit that a test is held against.
fn limit_of(test: Test) -> Option<Limit> {
    match test {
        Test::Generation => Some(Limit::ReadBandwidth),
        Test::Prompt => Some(Limit::Int8Peak),
        Test::Load | Test::FirstToken => None,
    }
}

/// Says what a token of a result takes, and what part of the machine's limit that is where the limits were measured; those get to be what they were at best.
fn hold_against(result: &mut Measured, limits: &mut [Limits], cost: &Cost) {
    let Some(limit) = limit_of(result.test) else { return };
    let work = match limit {
        Limit::ReadBandwidth => cost.generation_bytes(result.depth, result.tokens),
        Limit::Int8Peak => cost.prompt_macs(result.tokens),
    };
    result.work_per_token = Some(work);
    result.limit = Some(limit);
    let mut of = limits.iter_mut().find(|l| l.threads == result.threads);
    if let Some(of) = &mut of {
        result.rates.iter().for_each(|&rate| of.raise(limit, rate));
    }
    result.fraction = match result.rates.len() {
        0 => of.and_then(|l| l.of(limit)).map(|most| work * result.median / most),
        _ => {
            let parts =
                result.values.iter().zip(result.rates.windows(2)).map(|(value, around)| work * value / ((around[0] + around[1]) / 2.0));
            limits::median(&parts.collect::<Vec<_>>())
        }
    };
}

struct Runner<'a> {
    path: &'a Path,
    adapters: &'a [Lora],
    plan: &'a Plan,
    kv: KvType,
    repetitions: usize,
    /// The limits are measured around every repetition.
    in_turn: bool,
    /// The most that was resident before the limits were measured the last time.
    peak: Option<u64>,
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
        let (mut values, mut rates) = (vec![], vec![]);
        let count = self.repetitions;
        for n in 0..count {
            self.step(format!("{label}, {} of {count}", n + 1));
            if n == 0 {
                self.prepare(cell, session)?;
            }
            rates.extend(self.limit_now(cell.test, model.threads()));
            if cell.test == Test::Generation && !rates.is_empty() {
                // Reading the memory took the processor's caches and let the threads sleep.
                session.truncate(cell.depth);
                session.feed(&ids(model, cell.depth, 1))?;
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
        rates.extend(self.limit_now(cell.test, model.threads()));
        // Memory may have become too little meanwhile.
        let rates = if rates.len() == count + 1 { rates } else { vec![] };
        self.results.push(Measured { rates, ..Measured::new(cell.test, model.threads(), cell.tokens, cell.depth, values) });
        Ok(())
    }

    /// What the limit of a test is now, where it is measured in turn.
    fn limit_now(&mut self, test: Test, threads: usize) -> Option<f64> {
        let limit = limit_of(test).filter(|_| self.in_turn)?;
        self.peak = self.peak.max(Memory::now().peak_resident_bytes);
        let rate = limits::now(limit, threads);
        Memory::forget_peak();
        rate
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
