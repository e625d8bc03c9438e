//! Types by measurement: within a number of bytes, each tensor gets the type with which all together do least to what the model says.
//!
//! Read in this order: [`crate::gptq::measure`] (what a type of one tensor does), `solve` (the choice), [`Types`] (the answer, a list that can be edited and given back). Divergences of
//! single tensors nearly add up to that of all together, so that their sum is what is made least. Bytes are those of the file that will be written.

mod budget;
mod solve;
mod types;

pub use budget::Budget;
pub use solve::{Choice, solve};
pub use types::Types;

use crate::Error;
use crate::calibrate::fingerprint;
use crate::gptq::{Knobs, Measured, Measuring, Start, measure, wanted};
use crate::method::GPTQ;
use crate::plan::{Options, Plan, bytes, plan};
use crate::recipe::{Recipe, is_quantizable};
use crate::run::{dimensions, file_bytes};
use nibble_container::whole::AtomicFile;
use nibble_engine::source::Source;
use nibble_kernels::{Format, format};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Types of rows of whole super-blocks, smallest first: llama.cpp reads each of them, and none is larger than another that is better.
static WHOLE: &[&Format] = &[&format::Q2_K, &format::Q3_K, &format::IQ4_XS, &format::Q4_K, &format::Q5_K, &format::Q6_K, &format::Q8_0];

/// Types of other rows.
static NARROW: &[&Format] = &[&format::IQ4_NL, &format::Q4_1, &format::Q5_0, &format::Q5_1, &format::Q8_0];

/// What a row of so many columns may be.
fn candidates(cols: usize) -> &'static [&'static Format] {
    if cols.is_multiple_of(256) { WHOLE } else { NARROW }
}

/// Where divergences are measured: in the middle, so that what is concluded from it lies near.
fn middle(cols: usize) -> &'static Format {
    if cols.is_multiple_of(256) { &format::Q4_K } else { &format::Q4_1 }
}

/// Padding of a tensor's data in a GGUF file.
const ALIGNMENT: u64 = 32;

/// Methods without constants of their own are measured with the weighted search and nothing more.
const SEARCH: Knobs = Knobs { starts: &[Start::Nearest], sorted: false, sweeps: 0, refits: 0, ..GPTQ };

/// How an allocation is carried out.
pub struct How<'a> {
    /// Threads.
    pub threads: usize,
    /// Where measurements are kept: what is there already is not measured again, and every new one is saved, so that a stopped run can go on.
    pub keep: Option<&'a Path>,
    /// Told before each matrix: how many of how many, and which.
    pub progress: &'a mut dyn FnMut(usize, usize, &str),
    /// Set by another thread to stop.
    pub cancel: &'a AtomicBool,
}

/// What was found.
pub struct Allocation {
    /// The type of every matrix that there was a choice for.
    pub types: Arc<Types>,
    /// Bytes that the file may have.
    pub budget: u64,
    /// Bytes that it will have.
    pub file_bytes: u64,
    /// The divergence that is expected of it, nats a token: the sum over the tensors.
    pub expected: f64,
    /// The same of the recipe's own types, where each was measured.
    pub of_recipe: Option<f64>,
    /// What was measured, by tensor.
    pub measured: HashMap<String, Measured>,
}

/// Measurements in a file.
#[derive(Serialize, Deserialize)]
struct Kept {
    /// What they are of; another model or text has others.
    of: String,
    tensors: Vec<Measured>,
}

/// Chooses types for what `recipe` would make of `source` with `options`, which hold the texts to measure on.
pub fn allocate(source: &Source, recipe: &'static Recipe, options: &Options, budget: Budget, how: How<'_>) -> Result<Allocation, Error> {
    let texts = options.texts.as_ref().ok_or(Error::NoTexts { method: "--budget" })?;
    let base = plan(source, recipe, Options { types: None, ..options.clone() })?;
    let (limit, weights) = (limit(source, &base, options, budget)?, base.weights());
    // What cannot be is said before the hours of measuring, not after.
    let least = least(source, &base)?;
    if limit < least {
        return Err(Error::Budget { budget: limit, least });
    }
    let how_made = if options.method.knobs.is_some() { "feedback" } else { "search" };
    let of = format!("{weights} weights, {} ({}), {how_made}", texts.name, fingerprint(source, texts));
    let mut measured = how.keep.map_or_else(|| Ok(HashMap::new()), |path| read(path, &of))?;
    let known = measured.clone();
    let mut each = |new: Measured| {
        measured.insert(new.tensor.clone(), new);
        how.keep.map_or(Ok(()), |path| save(path, &of, &measured))
    };
    let measuring = Measuring {
        candidates: &candidates,
        at: &middle,
        known: &known,
        threads: how.threads,
        cancel: how.cancel,
        progress: how.progress,
        each: &mut each,
    };
    measure(source, &base, options.method.knobs.unwrap_or(SEARCH), texts, measuring)?;
    choose(source, recipe, options, &base, limit, measured)
}

/// Solves, and checks the bytes of the file that comes of it.
fn choose(
    source: &Source,
    recipe: &'static Recipe,
    options: &Options,
    base: &Plan,
    limit: u64,
    measured: HashMap<String, Measured>,
) -> Result<Allocation, Error> {
    let free: Vec<_> =
        base.steps.iter().filter(|s| is_quantizable(&s.canonical, &s.shape) && measured.contains_key(&s.canonical)).collect();
    let items: Vec<Vec<(&'static Format, Choice)>> = free
        .iter()
        .map(|step| {
            let found = &measured[&step.canonical];
            let choice = |f: &&'static Format| Some((*f, Choice { bytes: padded(f, &step.shape), cost: found.expected(f)? }));
            candidates(dimensions(step).1).iter().filter_map(choice).collect()
        })
        .collect();
    let choices: Vec<Vec<Choice>> = items.iter().map(|item| item.iter().map(|(_, c)| *c).collect()).collect();
    let whole = file_bytes(source, base)?;
    let fixed = whole - free.iter().map(|s| padded(s.to, &s.shape)).sum::<u64>().min(whole);
    let least: u64 = choices.iter().filter_map(|item| item.iter().map(|c| c.bytes).min()).sum();
    // The last tensor of a file is not padded, so that a file may have a little more than this sum says: then with a little less.
    let mut capacity = limit.checked_sub(fixed).ok_or(Error::Budget { budget: limit, least: fixed + least })?;
    loop {
        let chosen = solve(&choices, capacity).ok_or(Error::Budget { budget: limit, least: fixed + least })?;
        let picked = || items.iter().zip(&chosen).map(|(item, &c)| item[c]);
        let types = free.iter().zip(picked()).map(|(step, (format, _))| (step.name.clone(), format));
        let types = Arc::new(Types::of("the allocation", types));
        let made = plan(source, recipe, Options { types: Some(types.clone()), ..options.clone() })?;
        let file_bytes = file_bytes(source, &made)?;
        if file_bytes > limit {
            capacity = capacity.checked_sub(ALIGNMENT).ok_or(Error::Budget { budget: limit, least: fixed + least })?;
            continue;
        }
        let expected = picked().map(|(_, c)| c.cost).sum();
        let of_recipe = free.iter().map(|s| measured[&s.canonical].expected(s.to)).sum();
        return Ok(Allocation { types, budget: limit, file_bytes, expected, of_recipe, measured });
    }
}

/// Bytes of a tensor in a file.
fn padded(format: &Format, shape: &[u64]) -> u64 {
    bytes(format, shape).next_multiple_of(ALIGNMENT)
}

/// Bytes of the smallest file that a choice of types can make of a plan, as [`choose`] counts them.
fn least(source: &Source, base: &Plan) -> Result<u64, Error> {
    let free = wanted(&base.steps, &middle).into_iter().filter(|s| is_quantizable(&s.canonical, &s.shape));
    let saved = free.map(|step| {
        let planned = base.steps.iter().find(|s| s.name == step.name).map_or(step.to, |s| s.to);
        let smallest = candidates(dimensions(&step).1).iter().map(|f| padded(f, &step.shape)).min();
        (padded(planned, &step.shape), smallest.unwrap_or(0))
    });
    let (planned, smallest) = saved.fold((0, 0), |sum, (planned, smallest)| (sum.0 + planned, sum.1 + smallest));
    let whole = file_bytes(source, base)?;
    Ok(whole.saturating_sub(planned) + smallest)
}

/// Bytes that the file may have.
fn limit(source: &Source, base: &Plan, options: &Options, budget: Budget) -> Result<u64, Error> {
    Ok(match budget {
        Budget::Bytes(bytes) => bytes,
        Budget::SameAs(recipe) => file_bytes(source, &plan(source, recipe, Options { types: None, ..options.clone() })?)?,
        Budget::BitsPerWeight(bits) => {
            let around = file_bytes(source, base)? - base.bytes_out();
            (base.weights() as f64 * bits / 8.0) as u64 + around
        }
    })
}

fn read(path: &Path, of: &str) -> Result<HashMap<String, Measured>, Error> {
    let fault = |what: String| Error::Measurements { path: path.to_owned(), what };
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(HashMap::new()),
        Err(error) => return Err(Error::Io { path: path.to_owned(), error }),
    };
    let kept: Kept = serde_json::from_str(&text).map_err(|error| fault(format!("these are no measurements ({error})")))?;
    if kept.of != of {
        return Err(fault(format!("these are measurements of {}, not of {of}", kept.of)));
    }
    Ok(kept.tensors.into_iter().map(|m| (m.tensor.clone(), m)).collect())
}

fn save(path: &Path, of: &str, measured: &HashMap<String, Measured>) -> Result<(), Error> {
    let mut tensors: Vec<Measured> = measured.values().cloned().collect();
    tensors.sort_by(|a, b| a.tensor.cmp(&b.tensor));
    let io = |error| Error::Io { path: path.to_owned(), error };
    let mut file = AtomicFile::create(path)?;
    let text = serde_json::to_string_pretty(&Kept { of: of.to_owned(), tensors }).map_err(|e| io(e.into()))?;
    file.write_all(text.as_bytes()).map_err(io)?;
    Ok(file.commit()?)
}
