//! Scales moved between neighbouring tensors before codes are chosen: AWQ (Lin et al. 2023) and SmoothQuant (Xiao et al. 2022).
//!
//! A column of a matrix can be multiplied by s if whatever makes the column's input is divided by s: the model computes the same, and a block's few levels lie
//! elsewhere. The tensor that makes the input takes the division in, so that the file stays a plain one. Read in this order: `places` (where that is so),
//! `inputs` (what a matrix is fed), `choose` (which scales), and here: a model layer by layer.
//!
//! Embedding, head and last norm are left alone: where head and embedding are one tensor, the last norm's scale would reach the embedding too.
//!
//! Memory: the hidden states of the calibration tokens (4 bytes x tokens x width), one layer's weights, its inputs' second moments (4 bytes x columns^2 a
//! site) and what is written of it.

mod choose;
mod inputs;
mod places;

use crate::Error;
use crate::calibrate::Texts;
use crate::gptq::{all_finite, damaged};
use crate::method::{Made, Note, Work};
use crate::nf4;
use crate::plan::Step;
use nibble_engine::pool::Pool;
use nibble_engine::source::Source;
use nibble_engine::walk::{Site, Walk};
use nibble_kernels::feedback::ROWS;
use nibble_kernels::format;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize};

pub(crate) use choose::layer as scales;
pub(crate) use inputs::{Inputs, gather};
pub(crate) use places::{LayerFold, check};

/// What of a channel's inputs its scale follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loudness {
    /// The mean magnitude: channels that count get finer steps.
    Mean,
    /// The largest magnitude: what is loud is made quieter before it is rounded.
    Most,
}

/// By what candidates are judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judge {
    /// The mean square error of a site's outputs over all calibration tokens, weights rounded: tr(E H E^T).
    Moments,
    /// The same over some tokens, weights and activations rounded, by the kernels that will multiply them.
    Outputs,
}

/// The method's constants.
#[derive(Clone, Copy, Debug)]
pub struct Knobs {
    /// What scales follow.
    pub loudness: Loudness,
    /// s = loudness^a / weight^b: the pairs (a, b) that are tried at each site. (0, 0) leaves the site as it is; it is tried first, so that of two
    /// that are as good nothing is moved.
    pub exponents: &'static [(f32, f32)],
    /// By what.
    pub judge: Judge,
}

/// A model on its way.
pub struct Folding<'a> {
    source: &'a Source,
    knobs: Knobs,
    walk: Walk<'a>,
    /// [tokens, dim] of each text.
    hidden: Vec<Vec<f32>>,
    cancel: &'a AtomicBool,
}

impl<'a> Folding<'a> {
    /// Before the first layer.
    pub fn new(source: &'a Source, knobs: Knobs, texts: &Arc<Texts>, threads: usize, cancel: &'a AtomicBool) -> Result<Folding<'a>, Error> {
        let walk = Walk::new(source, threads)?;
        let hidden = texts.chunks.iter().map(|ids| walk.embed(ids)).collect();
        Ok(Folding { source, knobs, walk, hidden, cancel })
    }
}

/// A matrix in the step's format, its scales folded in, weighted by what its inputs count; rows as they are stored.
pub(crate) fn matrix(source: &Source, pool: &Pool, fold: &LayerFold, step: &Step, importance: &[f32]) -> Result<Made, Error> {
    let (rows, cols) = crate::run::dimensions(step);
    let tensor = crate::run::tensor(source, step);
    let bad = AtomicUsize::new(usize::MAX);
    let read = |first: usize, floats: &mut [f32]| {
        source.read_stored(tensor, first..first + floats.len() / cols, floats);
        let finite = all_finite(floats, cols, first, &bad);
        fold.apply(part(step), first, cols, floats);
        finite
    };
    if step.to.name == format::NF4.name {
        let mut floats = vec![0.0; rows * cols];
        pool.chunks(&mut floats, ROWS * cols, |i, floats| {
            read(i * ROWS, floats);
        });
        damaged(step, bad)?;
        return Ok(nf4::made(&floats));
    }
    let row_bytes = step.to.row_bytes(cols).unwrap_or(0);
    let mut bytes = vec![0; rows * row_bytes];
    pool.chunks(&mut bytes, ROWS * row_bytes, |i, out| {
        let mut floats = vec![0.0; out.len() / row_bytes * cols];
        if read(i * ROWS, &mut floats) {
            let rows = floats.chunks_exact(cols).zip(out.chunks_exact_mut(row_bytes));
            rows.for_each(|(row, out)| (step.to.encode)(row, Some(importance).filter(|_| step.to.block_len > 1), out));
        }
    });
    damaged(step, bad)?;
    Ok(Made { bytes, scales: Vec::new() })
}

/// All of a tensor with its scales folded in, rows as they are stored.
pub(crate) fn folded(source: &Source, fold: &LayerFold, step: &Step) -> Vec<f32> {
    let (rows, cols) = crate::run::dimensions(step);
    let mut floats = vec![0.0; rows * cols];
    source.read_stored(crate::run::tensor(source, step), 0..rows, &mut floats);
    fold.apply(part(step), 0, cols, &mut floats);
    floats
}

/// A norm or a bias with its scales folded in, in the step's format.
pub(crate) fn vector(source: &Source, fold: &LayerFold, step: &Step) -> Made {
    let floats = folded(source, fold, step);
    let mut bytes = vec![0; floats.len() * step.to.block_bytes];
    (step.to.encode)(&floats, None, &mut bytes);
    Made { bytes, scales: Vec::new() }
}

/// Importance of a matrix's columns, the fold's scales taken out.
pub(crate) fn importance(fold: &LayerFold, step: &Step, inputs: &Inputs) -> Vec<f32> {
    inputs.mean_squares(fold.columns(part(step)))
}

/// A step's name within its layer: `attn_q.weight`.
pub(crate) fn part(step: &Step) -> &str {
    step.canonical.strip_prefix("blk.").and_then(|rest| rest.split_once('.')).map_or(&step.canonical, |(_, part)| part)
}

/// The site that feeds a matrix.
pub(crate) fn site_of(step: &Step) -> Option<Site> {
    let name = part(step).strip_suffix(".weight")?;
    Site::ALL.into_iter().find(|site| site.matrices().contains(&name))
}

impl Work for Folding<'_> {
    fn outside(&mut self, _: &[Step], _: &mut Note) -> Result<HashMap<String, Made>, Error> {
        Ok(HashMap::new())
    }

    fn layer(&mut self, i: usize, steps: &[Step], note: &mut Note) -> Result<HashMap<String, Made>, Error> {
        note(0.0, &format!("layer {i}, inputs"));
        let layer = self.walk.layer(i)?;
        let inputs = gather(&mut self.walk, &layer, &mut self.hidden, self.knobs.judge, true, self.cancel)?;
        drop(layer);
        if let Some(site) = Site::ALL.into_iter().find(|site| inputs.get(site).is_some_and(|inputs| !inputs.finite())) {
            return Err(Error::Moments { site: format!("blk.{i}.{}", site.matrices()[0]) });
        }
        note(0.5, &format!("layer {i}, scales"));
        let fold = choose::layer(self.source, self.walk.pool(), self.knobs, i, steps, &inputs, self.cancel)?;
        note(0.9, &format!("layer {i}"));
        let mut made = HashMap::new();
        for step in steps {
            crate::run::stopped(self.cancel)?;
            let touched = fold.touches(part(step));
            let this = match site_of(step).and_then(|site| inputs.get(&site)) {
                // NF4 is not searched, so that what is not scaled is what it would be without the method.
                Some(_) if !touched && (!places::free(step) || step.to.block_len == 1 || step.to.name == format::NF4.name) => continue,
                Some(inputs) => matrix(self.source, self.walk.pool(), &fold, step, &importance(&fold, step, inputs))?,
                None if touched => vector(self.source, &fold, step),
                None => continue,
            };
            made.insert(step.name.clone(), this);
        }
        Ok(made)
    }
}
