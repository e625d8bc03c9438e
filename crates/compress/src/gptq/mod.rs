//! GPTQ inside fixed block formats: codes are chosen so that a layer's output changes least, not each weight.
//!
//! Read in this order: `moments` (what an error costs), `factor` and `rows` (error feedback), `descend` and `refit` (what is left to win), `batch` (the candidates of
//! sixteen rows), and here: a model layer by layer. Layer i sees inputs that have gone through the quantized layers before it.
//!
//! Memory: the hidden states of the calibration tokens (4 bytes x tokens x width), one layer's weights, and for one site at a time its second moments
//! and factors (4 bytes x columns^2, three to four of them, and 8 once).

mod batch;
pub(crate) mod descend;
mod factor;
mod grid;
mod measure;
pub(crate) mod moments;
mod refit;
mod rows;
mod stored;
#[cfg(test)]
mod tests;

use crate::Error;
use crate::calibrate::second_moments::{head, head_step};
use crate::calibrate::{SecondMoments, Texts};
use crate::fold::{self, LayerFold};
use crate::guide::Guide;
use crate::method::{Made, Note, Work};
use crate::nf4::{self, statistics::Codebook};
use crate::plan::{Plan, Step};
use crate::run::stopped;
use batch::Problem;
use factor::{Factor, damp, shrink};
use grid::{Grid, Levels};
pub(crate) use measure::wanted;
pub use measure::{Measured, Measuring, measure};
use moments::Moments;
use nibble_engine::source::Source;
use nibble_engine::walk::{Layer, Site, Walk};
use nibble_kernels::feedback::ROWS;
use nibble_kernels::format;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Where a candidate's codes come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// The weighted search, each weight to its nearest level: what `imatrix` gives.
    Nearest,
    /// Error feedback over the grid of the weighted search.
    Before,
    /// Error feedback from left to right, each block's grid searched when its turn comes.
    Turn,
}

/// What the search of a grid takes for the importance of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Importance {
    /// Its mean square.
    Diagonal,
    /// What of it no later column can make up for: D of the factor.
    Left,
}

/// When the inputs of a layer are computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inputs {
    /// Through the original weights.
    Original,
    /// Through the quantized layers before.
    Layer,
    /// Through the quantized layers before and the quantized matrices of the layer that come first.
    Site,
}

/// The method's constants.
#[derive(Clone, Copy, Debug)]
pub struct Knobs {
    /// What is added to the diagonal of H, as a part of its mean.
    pub damping: f32,
    /// What is taken off all but the diagonal of H.
    pub shrinking: f32,
    /// Candidates of each row; the best by e H e^T is kept.
    pub starts: &'static [Start],
    /// Feedback over a grid that is fixed before goes by falling diagonal, not from left to right.
    pub sorted: bool,
    /// Sweeps of coordinate descent at most.
    pub sweeps: usize,
    /// Times that scales are fitted to the codes under the full H, each followed by sweeps.
    pub refits: usize,
    /// For the search of grids.
    pub importance: Importance,
    /// Of layers.
    pub inputs: Inputs,
    /// Errors that go into the residual stream count in proportion to it, token by token: the next norm divides by its size.
    pub relative: bool,
    /// Errors count as much as the loss changes with the output at their token, to this power, in place of `relative`: see [`crate::guide`].
    pub guided: Option<f32>,
    /// Damping of the head, which is the embedding too where they are tied; `None`: the head is encoded in the plain way.
    pub head: Option<f32>,
}

/// For the head one text in so many is enough: it has no more columns than the model is wide, and the original weights are slow to multiply.
pub(crate) const HEAD_TEXTS: usize = 4;

/// A model on its way.
pub struct Gptq<'a> {
    source: &'a Source,
    plan: &'a Plan,
    knobs: Knobs,
    walk: Walk<'a>,
    /// [tokens, dim] of each text.
    hidden: Vec<Vec<f32>>,
    texts: Arc<Texts>,
    cancel: &'a AtomicBool,
    book: Codebook,
    guide: Option<Guide>,
    folding: Option<fold::Knobs>,
    /// The scales in the layer at work.
    fold: LayerFold,
    /// In place of texts.
    stored: Option<Arc<SecondMoments>>,
}

impl<'a> Gptq<'a> {
    /// Before the first layer.
    pub fn new(
        source: &'a Source,
        plan: &'a Plan,
        knobs: Knobs,
        texts: &Arc<Texts>,
        threads: usize,
        cancel: &'a AtomicBool,
    ) -> Result<Gptq<'a>, Error> {
        let walk = Walk::new(source, threads)?;
        let hidden = texts.chunks.iter().map(|ids| walk.embed(ids)).collect();
        let guide = match knobs.guided {
            Some(power) => Some(Guide::new(source, &texts.chunks, power, walk.pool(), cancel)?),
            None => None,
        };
        Ok(Gptq {
            source,
            plan,
            knobs,
            walk,
            hidden,
            texts: texts.clone(),
            cancel,
            book: Codebook::default(),
            guide,
            folding: None,
            fold: LayerFold::default(),
            stored: None,
        })
    }

    /// With scales moved before codes are chosen.
    pub fn folding(self, folding: Option<fold::Knobs>) -> Gptq<'a> {
        Gptq { folding, ..self }
    }

    /// With second moments in place of texts, of which there are none then.
    pub fn with_stored(self, stored: Option<Arc<SecondMoments>>) -> Gptq<'a> {
        Gptq { stored, ..self }
    }

    /// Second moments of the inputs of `sites`, as the layer stands. `halfway`: the hidden states have come through its first half, and all sites are of the second.
    fn moments(&mut self, layer: &Layer, sites: &[Site], halfway: bool) -> Result<HashMap<Site, Moments>, Error> {
        let mut all: HashMap<Site, Moments> = HashMap::new();
        let last = sites.last().copied();
        let mut x = Vec::new();
        let mut inputs: Vec<(Site, Vec<f32>)> = Vec::new();
        let dim = self.source.config().dim;
        for (nth, text) in self.hidden.iter().enumerate() {
            stopped(self.cancel)?;
            x.clone_from(text);
            inputs.clear();
            let (relative, guide) = (self.knobs.relative, self.guide.as_ref());
            let mut watch = |site: Site, rows: &[f32], x: &[f32]| {
                if sites.contains(&site) {
                    let rows = match guide {
                        Some(guide) => weighed(rows, guide.counts(layer.index(), site, nth)),
                        None if relative => counted(site, rows, x, dim),
                        None => rows.to_vec(),
                    };
                    inputs.push((site, rows));
                }
                Some(site) != last
            };
            match halfway {
                true => self.walk.feed_forward_half(layer, &mut x, Some(&mut watch)),
                false => self.walk.forward(layer, &mut x, Some(&mut watch)),
            }
            let tokens = x.len() / dim;
            // Of other rows nothing is asked, see [`takes`].
            for (site, rows) in inputs.iter().filter(|(_, rows)| (rows.len() / tokens).is_multiple_of(ROWS)) {
                all.entry(*site).or_insert_with(|| Moments::new(rows.len() / tokens)).add(self.walk.pool(), rows);
            }
        }
        Ok(all)
    }

    /// Takes the hidden states of all texts further.
    fn advance(&mut self, step: impl Fn(&mut Walk, &mut [f32])) -> Result<(), Error> {
        for x in &mut self.hidden {
            stopped(self.cancel)?;
            step(&mut self.walk, x);
        }
        Ok(())
    }

    fn problem(&self, moments: Moments, damping: f32, what: &str) -> Result<Problem, Error> {
        self.with(moments.finish(), damping, what)
    }

    /// With H itself.
    fn with(&self, mut h: Vec<f32>, damping: f32, what: &str) -> Result<Problem, Error> {
        let n = h.len().isqrt();
        let diagonal: Vec<f32> = (0..n).map(|i| h[i * n + i]).collect();
        shrink(&mut h, n, self.knobs.shrinking);
        damp(&mut h, n, damping);
        let singular = || Error::Moments { site: what.to_owned() };
        // A factor is the most that a site costs beside its rows: none is made that nobody asks.
        let Knobs { starts, sorted, importance, .. } = self.knobs;
        let sorted = if sorted && starts.contains(&Start::Before) {
            let mut order: Vec<usize> = (0..n).collect();
            order.sort_by(|&a, &b| diagonal[b].total_cmp(&diagonal[a]));
            let factor = Factor::new(&h, &order, self.walk.pool()).ok_or_else(singular)?;
            Some((order, factor))
        } else {
            None
        };
        let in_order = starts.contains(&Start::Turn) || starts.contains(&Start::Before) && sorted.is_none();
        let plain = if in_order || importance == Importance::Left {
            Some(Factor::new(&h, &(0..n).collect::<Vec<_>>(), self.walk.pool()).ok_or_else(singular)?)
        } else {
            None
        };
        let importance = match (importance, &plain) {
            (Importance::Left, Some(plain)) => plain.d.clone(),
            _ => diagonal,
        };
        Ok(Problem { n, h, importance, plain, sorted })
    }

    /// The matrices of a layer that take their input at `site` and whose codes are chosen here.
    fn wanted<'s>(&self, layer: usize, site: Site, steps: &'s [Step]) -> Vec<(&'static str, &'s Step)> {
        let step_of = |name: &str| steps.iter().find(|s| s.canonical == format!("blk.{layer}.{name}.weight") && takes(s));
        site.matrices().iter().filter_map(|name| Some((*name, step_of(name)?))).collect()
    }

    /// The problem of the output matrix, its inputs computed with the original weights, before the first layer.
    fn head(&mut self, note: &mut Note) -> Result<Problem, Error> {
        let mut x: Vec<Vec<f32>> = self.hidden.iter().step_by(head_step(self.texts.chunks.len())).cloned().collect();
        let layers = self.source.config().layers;
        for i in 0..layers {
            note(i as f64 / (layers + 1) as f64, &format!("layer {i}, for the head"));
            let layer = self.walk.layer(i)?;
            for x in &mut x {
                stopped(self.cancel)?;
                self.walk.forward(&layer, x, None);
            }
            drop(layer);
            self.walk.release(i);
        }
        let mut moments = Moments::new(self.source.config().dim);
        x.iter().for_each(|x| moments.add(self.walk.pool(), &self.walk.last_norm(x)));
        self.problem(moments, self.knobs.head.unwrap_or(self.knobs.damping), head(self.source))
    }

    /// One matrix in the step's format, rows as they are stored.
    fn matrix(&self, problem: &Problem, step: &Step) -> Result<Made, Error> {
        let tensor = crate::run::tensor(self.source, step);
        let (rows, cols) = crate::run::dimensions(step);
        if step.to.name == format::NF4.name {
            return self.nf4(problem, step);
        }
        let row_bytes = step.to.row_bytes(cols).unwrap_or(0);
        let mut bytes = vec![0; rows * row_bytes];
        let bad = AtomicUsize::new(usize::MAX);
        self.walk.pool().chunks(&mut bytes, ROWS * row_bytes, |i, out| {
            let first = i * ROWS;
            let mut floats = vec![0.0; out.len() / row_bytes * cols];
            self.source.read_stored(tensor, first..first + out.len() / row_bytes, &mut floats);
            if !all_finite(&floats, cols, first, &bad) {
                return;
            }
            self.fold.apply(fold::part(step), first, cols, &mut floats);
            problem.blocks(step.to, &self.knobs, &floats, out);
        });
        damaged(step, bad)?;
        Ok(Made { bytes, scales: Vec::new() })
    }

    /// NF4: the scales are bitsandbytes' own, as its double quantization leaves them; only codes are chosen.
    fn nf4(&self, problem: &Problem, step: &Step) -> Result<Made, Error> {
        let tensor = crate::run::tensor(self.source, step);
        let (rows, cols) = crate::run::dimensions(step);
        let per_row = cols / nf4::BLOCK;
        let mut absmax = vec![0.0; rows * per_row];
        let read = |first: usize, count: usize| {
            let mut floats = vec![0.0; count * cols];
            self.source.read_stored(tensor, first..first + count, &mut floats);
            nf4::as_loaded(self.source, step, &mut floats);
            self.fold.apply(fold::part(step), first, cols, &mut floats);
            floats
        };
        let bad = AtomicUsize::new(usize::MAX);
        self.walk.pool().chunks(&mut absmax, ROWS * per_row, |i, out| {
            let floats = read(i * ROWS, out.len() / per_row);
            all_finite(&floats, cols, i * ROWS, &bad);
            out.iter_mut().zip(floats.chunks_exact(nf4::BLOCK)).for_each(|(a, x)| *a = x.iter().fold(0f32, |m, v| m.max(v.abs())));
        });
        damaged(step, bad)?;
        let kept = if self.plan.options.double_quant {
            nf4::statistics::Nested::new(&absmax, &self.book).values(&self.book)
        } else {
            absmax.clone()
        };
        let mut bytes = vec![0; rows * cols / 2];
        self.walk.pool().chunks(&mut bytes, ROWS * cols / 2, |i, out| {
            let count = out.len() / (cols / 2);
            let floats = read(i * ROWS, count);
            let mut grid = Grid::new(cols);
            for l in 0..count {
                for j in 0..cols {
                    grid.step[j][l] = kept[(i * ROWS + l) * per_row + j / nf4::BLOCK];
                }
            }
            let codes = problem.codes(Levels::Nf4, grid, &self.knobs, &floats);
            for (codes, out) in codes.iter().zip(out.chunks_exact_mut(cols / 2)) {
                out.iter_mut().zip(codes.chunks_exact(2)).for_each(|(o, c)| *o = (c[0] << 4 | c[1]) as u8);
            }
        });
        Ok(Made { bytes, scales: absmax })
    }

    /// Chooses the scales of a layer and puts them into it, in floats; gives what is written of the tensors that only scales change.
    fn fold(&mut self, i: usize, layer: &mut Layer, steps: &[Step], folding: fold::Knobs) -> Result<HashMap<String, Made>, Error> {
        let inputs = fold::gather(&mut self.walk, layer, &mut self.hidden, folding.judge, false, self.cancel)?;
        self.fold = fold::scales(self.source, self.walk.pool(), folding, i, steps, &inputs, self.cancel)?;
        let mut made = HashMap::new();
        for step in steps.iter().filter(|s| self.fold.touches(fold::part(s))) {
            let floats = fold::folded(self.source, &self.fold, step);
            let this = match fold::site_of(step) {
                None => {
                    let vector = fold::vector(self.source, &self.fold, step);
                    let mut as_read = floats;
                    (step.to.decode)(&vector.bytes, &mut as_read);
                    layer.replace_vector(fold::part(step), as_read);
                    Some(vector)
                }
                Some(site) => {
                    let name = fold::part(step).trim_end_matches(".weight");
                    layer.replace(name, &format::F32, floats.iter().flat_map(|w| w.to_le_bytes()).collect());
                    let importance = || fold::importance(&self.fold, step, &inputs[&site]);
                    if takes(step) { None } else { Some(fold::matrix(self.source, self.walk.pool(), &self.fold, step, &importance())?) }
                }
            };
            made.extend(this.map(|this| (step.name.clone(), this)));
        }
        Ok(made)
    }

    /// The blocks that a kernel multiplies, of what was made.
    fn blocks(&self, step: &Step, made: &Made) -> Vec<u8> {
        if step.to.name != format::NF4.name {
            return made.bytes.clone();
        }
        let nested = self.plan.options.double_quant;
        let kept = if nested { nf4::statistics::Nested::new(&made.scales, &self.book).values(&self.book) } else { made.scales.clone() };
        let codes = made.bytes.chunks_exact(nf4::BLOCK / 2);
        kept.iter().zip(codes).flat_map(|(scale, codes)| scale.to_le_bytes().into_iter().chain(codes.iter().copied())).collect()
    }
}

/// Whether the method has something to say about a matrix.
fn takes(step: &Step) -> bool {
    let (_, cols) = crate::run::dimensions(step);
    let nf4 = step.to.name == format::NF4.name && cols.is_multiple_of(nf4::BLOCK);
    let packs = step.to.pack.is_some() && step.to.row_bytes(cols).is_some();
    // What has its format already is copied.
    step.from != step.to.name && cols.is_multiple_of(ROWS) && (packs || nf4)
}

/// Whether rows are finite; the least that is not is noted in `bad`.
pub(crate) fn all_finite(rows: &[f32], cols: usize, first: usize, bad: &AtomicUsize) -> bool {
    let found = rows.chunks_exact(cols).position(|row| row.iter().any(|x| !x.is_finite()));
    found.is_none_or(|row| {
        bad.fetch_min(first + row, Ordering::Relaxed);
        false
    })
}

/// An error where a row was noted.
pub(crate) fn damaged(step: &Step, bad: AtomicUsize) -> Result<(), Error> {
    match bad.into_inner() {
        usize::MAX => Ok(()),
        row => Err(Error::NotFinite { tensor: step.name.clone(), row, format: step.to.name }),
    }
}

/// Rows that count so much in the sum of squares, each token's.
fn weighed(rows: &[f32], counts: &[f32]) -> Vec<f32> {
    let cols = rows.len() / counts.len();
    rows.chunks_exact(cols).zip(counts).flat_map(|(row, count)| row.iter().map(|r| r * count.sqrt())).collect()
}

/// Rows as they count in the sum of squares: the output of some goes into the residual stream `x`, and an error there counts in proportion to its size, token by token.
pub(crate) fn counted(site: Site, rows: &[f32], x: &[f32], dim: usize) -> Vec<f32> {
    let mut rows = rows.to_vec();
    if matches!(site, Site::Output | Site::Down) {
        in_proportion(&mut rows, x, dim);
    }
    rows
}

/// Divides each token's row by the size of its residual stream.
fn in_proportion(rows: &mut [f32], x: &[f32], dim: usize) {
    let cols = rows.len() / (x.len() / dim);
    for (row, x) in rows.chunks_exact_mut(cols).zip(x.chunks_exact(dim)) {
        let size = (x.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>() / dim as f64).sqrt();
        let scale = if size > 0.0 { (1.0 / size) as f32 } else { 0.0 };
        row.iter_mut().for_each(|r| *r *= scale);
    }
}

impl Work for Gptq<'_> {
    /// The head: what it is fed is computed with the original weights, since it is written before the layers are quantized.
    fn outside(&mut self, steps: &[Step], note: &mut Note) -> Result<HashMap<String, Made>, Error> {
        if let Some(stored) = &self.stored {
            return self.stored_outside(stored, steps, note);
        }
        let tied = self.source.config().tied;
        let head = head(self.source);
        let step = steps.iter().find(|s| s.canonical == head && takes(s));
        let (Some(step), Some(_)) = (step, self.knobs.head) else { return Ok(HashMap::new()) };
        let problem = self.head(note)?;
        note(1.0, &step.name);
        let made = self.matrix(&problem, step)?;
        if tied && self.knobs.inputs != Inputs::Original {
            self.walk.replace_embedding(step.to, made.bytes.clone());
            self.hidden = self.texts.chunks.iter().map(|ids| self.walk.embed(ids)).collect();
        }
        Ok(HashMap::from([(step.name.clone(), made)]))
    }

    fn layer(&mut self, i: usize, steps: &[Step], note: &mut Note) -> Result<HashMap<String, Made>, Error> {
        if let Some(stored) = &self.stored {
            return self.stored_layer(stored, i, steps, note);
        }
        let mut layer = self.walk.layer(i)?;
        let mut made = match self.folding {
            Some(folding) => self.fold(i, &mut layer, steps, folding)?,
            None => HashMap::new(),
        };
        let mut all = match self.knobs.inputs {
            Inputs::Site => HashMap::new(),
            _ => self.moments(&layer, &Site::ALL, false)?,
        };
        for (nth, site) in Site::ALL.into_iter().enumerate() {
            // What has its last form is not computed again for each site that comes after it.
            if site == Site::FeedForward {
                self.advance(|walk, x| {
                    walk.attention_half(&layer, x, None);
                })?;
            }
            let wanted = self.wanted(i, site, steps);
            if wanted.is_empty() {
                continue;
            }
            note(nth as f64 / 4.0, &format!("layer {i}, inputs of {}", site.matrices()[0]));
            let moments = match all.remove(&site) {
                Some(moments) => moments,
                None => {
                    let halfway = matches!(site, Site::FeedForward | Site::Down);
                    self.moments(&layer, &[site], halfway)?.remove(&site).expect("the site that was asked for")
                }
            };
            let problem = self.problem(moments, self.knobs.damping, &format!("blk.{i}.{}", site.matrices()[0]))?;
            for (name, step) in wanted {
                stopped(self.cancel)?;
                note(nth as f64 / 4.0 + 0.15, &step.name);
                let matrix = self.matrix(&problem, step)?;
                if self.knobs.inputs != Inputs::Original {
                    layer.replace(name, step.to, self.blocks(step, &matrix));
                }
                made.insert(step.name.clone(), matrix);
            }
        }
        self.advance(|walk, x| walk.feed_forward_half(&layer, x, None))?;
        Ok(made)
    }
}
