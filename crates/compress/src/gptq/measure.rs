//! What each tensor does to what the model says, alone: the divergence of the original model in which this one matrix is quantized, and how much less or more its
//! output is off in other formats.
//!
//! A divergence is measured once a matrix, in one format ([`Measuring::at`]). For small errors it goes with e H e^T, so that the other formats follow from
//! theirs, which some rows tell. H is of other chunks than those on which divergences are measured: a matrix that fits its text too closely shows it.
//!
//! Time: about one pass of the method over a quarter of the chunks, and for every matrix the few chunks of the divergence from its layer to the end, half a
//! forward pass on average. Memory: what the method takes, and the original's logits at some positions.

use super::batch::Problem;
use super::descend::costs;
use super::{Gptq, HEAD_TEXTS, Knobs, takes};
use crate::Error;
use crate::calibrate::Texts;
use crate::plan::{Plan, Step};
use crate::run::stopped;
use nibble_engine::logits::{Row, divergence};
use nibble_engine::source::Source;
use nibble_engine::walk::{Layer, Site};
use nibble_kernels::Format;
use nibble_kernels::feedback::ROWS;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Chunks that divergences are measured on.
const CHUNKS: usize = 8;

/// Logits of the original that are kept: 256 MiB. Where the vocabulary is large, not every position is looked at.
const LOGITS: usize = 64 << 20;

/// Batches of [`ROWS`] rows whose errors are computed in each format.
const BATCHES: usize = 16;

/// What was found of a matrix.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// Its canonical name.
    pub tensor: String,
    /// The format in which its divergence was measured.
    pub at: String,
    /// KL(original || original with this matrix quantized), mean over positions, in nats.
    pub kl: f64,
    /// By format: e H e^T of some rows.
    pub errors: HashMap<String, f64>,
}

impl Measured {
    /// The divergence that is to be expected of a format.
    pub fn expected(&self, format: &Format) -> Option<f64> {
        let (own, at) = (self.errors.get(format.name)?, self.errors.get(&self.at)?);
        Some(if *at > 0.0 { self.kl.max(0.0) * own / at } else { 0.0 })
    }
}

/// How to measure.
pub struct Measuring<'a> {
    /// The formats that a row of so many columns may have.
    pub candidates: &'a dyn Fn(usize) -> &'static [&'static Format],
    /// Of these the one in which divergences are measured.
    pub at: &'a dyn Fn(usize) -> &'static Format,
    /// What was measured before: by name.
    pub known: &'a HashMap<String, Measured>,
    /// Threads.
    pub threads: usize,
    /// Set by another thread to stop.
    pub cancel: &'a AtomicBool,
    /// Told before each matrix: how many of how many, and which.
    pub progress: &'a mut dyn FnMut(usize, usize, &str),
    /// Gets every new measurement when it is there.
    pub each: &'a mut dyn FnMut(Measured) -> Result<(), Error>,
}

/// The matrices of a plan that are measured, in the formats in which they are.
pub(crate) fn wanted(steps: &[Step], at: &dyn Fn(usize) -> &'static Format) -> Vec<Step> {
    let at_of = |step: &Step| Step { to: at(crate::run::dimensions(step).1), ..step.clone() };
    steps.iter().map(at_of).filter(takes).collect()
}

/// Measures the matrices of a plan that have no measurement yet.
pub fn measure(source: &Source, plan: &Plan, knobs: Knobs, texts: &Texts, how: Measuring<'_>) -> Result<(), Error> {
    let part = |chunks: Vec<Vec<u32>>| Arc::new(Texts { name: texts.name.clone(), chunks });
    let (fitted, judged) = split(&texts.chunks);
    let gptq = Gptq::new(source, plan, knobs, &part(fitted), how.threads, how.cancel)?;
    let layers = (0..source.config().layers).map(|i| gptq.walk.layer(i)).collect::<Result<_, _>>()?;
    let mut judge = Judge { gptq, layers, texts: judged, reference: Vec::new() };
    judge.all(&plan.steps, how)
}

/// The chunks that H is of, and those that divergences are measured on.
fn split(chunks: &[Vec<u32>]) -> (Vec<Vec<u32>>, Vec<Vec<u32>>) {
    let fitted = chunks.iter().step_by(HEAD_TEXTS).cloned().collect();
    let others: Vec<&Vec<u32>> = chunks.iter().skip(HEAD_TEXTS / 2).step_by(HEAD_TEXTS).collect();
    // A text of one or two chunks has no others.
    let others = if others.is_empty() { chunks.iter().collect() } else { others };
    let judged = others.iter().step_by(others.len().div_ceil(CHUNKS)).map(|ids| ids.to_vec()).collect();
    (fitted, judged)
}

struct Judge<'a> {
    gptq: Gptq<'a>,
    layers: Vec<Layer>,
    texts: Vec<Vec<u32>>,
    /// The original's logits, [positions, vocab].
    reference: Vec<f32>,
}

impl Judge<'_> {
    fn all(&mut self, steps: &[Step], how: Measuring<'_>) -> Result<(), Error> {
        let Measuring { candidates, at, known, progress, each, .. } = how;
        let cols = |step: &Step| crate::run::dimensions(step).1;
        let wanted = wanted(steps, at);
        let missing = wanted.iter().filter(|s| !known.contains_key(&s.canonical)).count();
        if missing == 0 {
            return Ok(());
        }
        let mut begun = 0;
        let mut next = |name: &str| {
            progress(begun, missing, name);
            begun += 1;
        };
        let start: Vec<Vec<f32>> = self.texts.iter().map(|ids| self.gptq.walk.embed(ids)).collect();
        self.reference = self.said(start.clone(), 0, None)?;

        for step in wanted.iter().filter(|s| !s.canonical.starts_with("blk.") && !known.contains_key(&s.canonical)) {
            next(&step.name);
            each(self.outside(step, candidates(cols(step)))?)?;
        }
        let mut x = start;
        for i in 0..self.layers.len() {
            let own: Vec<&Step> = wanted.iter().filter(|s| s.canonical.starts_with(&format!("blk.{i}."))).collect();
            for site in Site::ALL {
                let of_site = |s: &&&Step| site.matrices().iter().any(|m| s.canonical == format!("blk.{i}.{m}.weight"));
                let missing: Vec<&&Step> = own.iter().filter(of_site).filter(|s| !known.contains_key(&s.canonical)).collect();
                if missing.is_empty() {
                    continue;
                }
                let moments = self.gptq.moments(&self.layers[i], &[site], false)?.remove(&site).expect("the site that was asked for");
                let problem = self.gptq.problem(moments, self.gptq.knobs.damping, &format!("blk.{i}.{}", site.matrices()[0]))?;
                for step in missing {
                    stopped(self.gptq.cancel)?;
                    next(&step.name);
                    let name = site.matrices().iter().find(|m| step.canonical.ends_with(&format!(".{m}.weight"))).expect("its site");
                    let errors = self.errors(&problem, step, candidates(cols(step)));
                    let made = self.gptq.matrix(&problem, step)?;
                    let mut layer = self.gptq.walk.layer(i)?;
                    layer.replace(name, step.to, made.bytes);
                    let logits = self.said(x.clone(), i, Some(&layer))?;
                    each(self.measured(step, errors, &logits))?;
                }
            }
            let through = |gptq: &mut Gptq<'_>, layer: &Layer, x: &mut Vec<Vec<f32>>| -> Result<(), Error> {
                x.iter_mut().try_for_each(|x| {
                    stopped(gptq.cancel)?;
                    gptq.walk.forward(layer, x, None);
                    Ok(())
                })
            };
            let mut hidden = std::mem::take(&mut self.gptq.hidden);
            through(&mut self.gptq, &self.layers[i], &mut hidden)?;
            through(&mut self.gptq, &self.layers[i], &mut x)?;
            self.gptq.hidden = hidden;
        }
        Ok(())
    }

    /// Embedding or output matrix. What multiplies has the H of its inputs; an embedding that only is looked up has none, so that each weight counts alike.
    fn outside(&mut self, step: &Step, candidates: &'static [&'static Format]) -> Result<Measured, Error> {
        let dim = self.gptq.source.config().dim;
        let head = self.gptq.source.config().tied || step.canonical == "output.weight";
        let problem = if head {
            self.gptq.head(&mut |_, _| {})?
        } else {
            let mut h = vec![0.0; dim * dim];
            (0..dim).for_each(|i| h[i * dim + i] = 1.0);
            self.gptq.with(h, 0.0, &step.canonical)?
        };
        let errors = self.errors(&problem, step, candidates);
        let made = self.gptq.matrix(&problem, step)?;
        if step.canonical == "output.weight" {
            self.gptq.walk.replace_output(step.to, made.bytes);
        } else {
            self.gptq.walk.replace_embedding(step.to, made.bytes);
        }
        let start = self.texts.iter().map(|ids| self.gptq.walk.embed(ids)).collect();
        let logits = self.said(start, 0, None)?;
        self.gptq.walk.restore_outside()?;
        Ok(self.measured(step, errors, &logits))
    }

    fn measured(&self, step: &Step, errors: HashMap<String, f64>, logits: &[f32]) -> Measured {
        let vocab = self.gptq.source.config().vocab;
        let mut kl = vec![0.0; logits.len() / vocab];
        self.gptq.walk.pool().chunks(&mut kl, 1, |t, out| {
            let (p, q) = (&self.reference[t * vocab..][..vocab], &logits[t * vocab..][..vocab]);
            out[0] = divergence(p, &Row::of(p), q, &Row::of(q));
        });
        let kl = kl.iter().sum::<f64>() / kl.len() as f64;
        Measured { tensor: step.canonical.clone(), at: step.to.name.to_owned(), kl, errors }
    }

    /// Logits at some positions, for hidden states before layer `first`, which may be another than the original's.
    fn said(&mut self, mut x: Vec<Vec<f32>>, first: usize, replaced: Option<&Layer>) -> Result<Vec<f32>, Error> {
        let (dim, vocab) = (self.gptq.source.config().dim, self.gptq.source.config().vocab);
        let positions: usize = self.texts.iter().map(Vec::len).sum();
        let stride = (positions * vocab).div_ceil(LOGITS);
        let mut logits = Vec::with_capacity(positions.div_ceil(stride) * vocab);
        for x in &mut x {
            for i in first..self.layers.len() {
                stopped(self.gptq.cancel)?;
                let layer = replaced.filter(|_| i == first).unwrap_or(&self.layers[i]);
                self.gptq.walk.forward(layer, x, None);
            }
            let some: Vec<f32> = x.chunks_exact(dim).step_by(stride).flatten().copied().collect();
            logits.extend(self.gptq.walk.logits(&some));
        }
        Ok(logits)
    }

    /// e H e^T of some rows in each format.
    fn errors(&self, problem: &Problem, step: &Step, candidates: &'static [&'static Format]) -> HashMap<String, f64> {
        let (rows, cols) = crate::run::dimensions(step);
        let tensor = crate::run::tensor(self.gptq.source, step);
        let batches = rows.div_ceil(ROWS);
        let taken: Vec<usize> = (0..batches.min(BATCHES)).map(|i| i * batches / batches.min(BATCHES)).collect();
        let mut sums = vec![0.0; taken.len() * candidates.len()];
        self.gptq.walk.pool().chunks(&mut sums, 1, |i, out| {
            let (first, format) = (taken[i / candidates.len()] * ROWS, candidates[i % candidates.len()]);
            let count = ROWS.min(rows - first);
            let mut floats = vec![0.0; count * cols];
            self.gptq.source.read_stored(tensor, first..first + count, &mut floats);
            if floats.iter().all(|x| x.is_finite()) {
                out[0] = error(problem, format, &self.gptq.knobs, &floats);
            }
        });
        let sum = |f: usize| sums.iter().skip(f).step_by(candidates.len()).sum();
        candidates.iter().enumerate().map(|(f, format)| (format.name.to_owned(), sum(f))).collect()
    }
}

/// The sum of e H e^T over rows, [count, n], in a format.
fn error(problem: &Problem, format: &'static Format, knobs: &Knobs, rows: &[f32]) -> f64 {
    let n = problem.n;
    let count = rows.len() / n;
    let mut bytes = vec![0; count * format.row_bytes(n).unwrap_or(0)];
    problem.blocks(format, knobs, rows, &mut bytes);
    let mut values = vec![0.0; n];
    let mut errors = vec![[0.0; ROWS]; n];
    for (l, (row, bytes)) in rows.chunks_exact(n).zip(bytes.chunks_exact(bytes.len() / count)).enumerate() {
        (format.decode)(bytes, &mut values);
        errors.iter_mut().zip(row).zip(&values).for_each(|((e, w), v)| e[l] = w - v);
    }
    costs(&problem.h, &errors)[..count].iter().sum()
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn what_is_judged_was_not_fitted() {
        for count in [1, 2, 3, 5, 40, 79] {
            let chunks: Vec<Vec<u32>> = (0..count).map(|i| vec![i]).collect();
            let (fitted, judged) = split(&chunks);
            assert!(!fitted.is_empty() && !judged.is_empty() && judged.len() <= super::CHUNKS, "{count}");
            assert!(count < 3 || judged.iter().all(|j| !fitted.contains(j)), "{count}: {judged:?}");
        }
    }
}
