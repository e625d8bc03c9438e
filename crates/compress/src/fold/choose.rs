//! Which scales: of some powers of what a channel's inputs are like, the one under which the site's outputs are least off, in the very formats that the plan has.
//!
//! Rows do not depend on each other, so that some of them tell.

use super::inputs::Inputs;
use super::places::{LayerFold, Scale, channel, makers, matrices};
use super::{Judge, Knobs, Loudness};
use crate::Error;
use crate::gptq::descend::costs;
use crate::plan::Step;
use crate::run::{dimensions, stopped, tensor};
use nibble_engine::arch::LayerSpec;
use nibble_engine::pool::Pool;
use nibble_engine::source::Source;
use nibble_engine::walk::Site;
use nibble_kernels::feedback::ROWS;
use nibble_kernels::{Chosen, format};
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::atomic::AtomicBool;

/// Rows of a matrix that tell, at most.
const JUDGED: usize = 256;

/// The part of a site's error that must go for its scales to be moved. Any rounding anew changes what the model says by a few per cent, either way; for less than
/// this it is not worth the risk that other texts are louder elsewhere.
const MARGIN: f64 = 0.02;

/// The most and, inverted, the least of a scale: what is never loud needs no more, and halves have no room for it.
const LARGEST: f32 = 256.0;

/// The scales of layer `i`.
pub fn layer(
    source: &Source,
    pool: &Pool,
    knobs: Knobs,
    i: usize,
    steps: &[Step],
    inputs: &HashMap<Site, Inputs>,
    cancel: &AtomicBool,
) -> Result<LayerFold, Error> {
    let spec = source.config().layer(i);
    let mut fold = LayerFold::default();
    for site in Site::ALL {
        let (Some(inputs), Some(matrices)) = (inputs.get(&site), matrices(site, i, steps)) else { continue };
        let at = Place { source, pool, spec: &spec, site, inputs };
        // Where there is nothing to win, nothing is moved, if that may be.
        if knobs.exponents.contains(&(0.0, 0.0)) && matrices.iter().all(|step| step.to.block_len == 1) {
            continue;
        }
        let matrices: Vec<Matrix> = matrices.iter().map(|step| at.matrix(knobs.judge, step)).collect();
        let maker = steps.iter().find(|s| s.canonical == format!("blk.{i}.{}", makers(site)[0]));
        let (loud, weight) = (at.loudness(knobs.loudness), at.weight(knobs.loudness, &matrices));
        let mut best: Option<(f64, Option<Scale>)> = None;
        for &(a, b) in knobs.exponents {
            stopped(cancel)?;
            let scale = (a != 0.0 || b != 0.0).then(|| at.scale(&scales(&loud, a, &weight, b), maker));
            let cost = at.cost(knobs.judge, &matrices, scale.as_ref());
            let enough = |least: f64, moved: bool| cost < if moved { least } else { least * (1.0 - MARGIN) };
            if cost.is_finite() && best.as_ref().is_none_or(|(least, scale)| enough(*least, scale.is_some())) {
                best = Some((cost, scale));
            }
        }
        fold.0.extend(best.and_then(|(_, scale)| scale));
    }
    Ok(fold)
}

/// One site of one layer.
struct Place<'a> {
    source: &'a Source,
    pool: &'a Pool,
    spec: &'a LayerSpec,
    site: Site,
    inputs: &'a Inputs,
}

/// Some rows of a matrix.
struct Matrix<'a> {
    step: &'a Step,
    rows: Vec<f32>,
    /// What they put out as they are: the sum of its squares, and where outputs judge each of them, as [`Place::whole_by_outputs`] says.
    whole: f64,
    outputs: Vec<f32>,
}

/// The places of [tokens, rows] row by row, and what the token counts: the order in which sums are taken.
fn by_row(rows: usize, counts: &[f32]) -> impl Iterator<Item = (usize, f32)> {
    (0..rows).flat_map(move |r| counts.iter().enumerate().map(move |(t, c)| (t * rows + r, *c)))
}

/// s = loud^a / weight^b, around one.
///
/// Eight bits of each are kept: with weights of BF16 the products are exact, and the last bit of a power, which systems compute differently, does not show.
fn scales(loud: &[f32], a: f32, weight: &[f32], b: f32) -> Vec<f32> {
    // What is silent in the text may not be so elsewhere.
    let above = |x: &[f32]| x.iter().copied().fold(0f32, f32::max) * 1e-4;
    let (least, lightest) = (above(loud), above(weight));
    let logs: Vec<f32> = loud
        .iter()
        .zip(weight)
        .map(|(x, w)| a * x.max(least).max(f32::MIN_POSITIVE).ln() - b * w.max(lightest).max(f32::MIN_POSITIVE).ln())
        .collect();
    let mean = logs.iter().map(|x| f64::from(*x)).sum::<f64>() / logs.len() as f64;
    let eight_bits = |x: f32| f32::from_bits(x.to_bits().wrapping_add(0x8000) & 0xFFFF_0000);
    logs.iter().map(|x| eight_bits((x - mean as f32).exp().clamp(1.0 / LARGEST, LARGEST))).collect()
}

impl<'a> Place<'a> {
    fn matrix<'b>(&self, judge: Judge, step: &'b Step) -> Matrix<'b> {
        let (count, cols) = dimensions(step);
        let n = count.min(JUDGED);
        let mut rows = vec![0.0; n * cols];
        for (k, row) in rows.chunks_exact_mut(cols).enumerate() {
            let at = k * count / n;
            self.source.read_stored(tensor(self.source, step), at..at + 1, row);
        }
        let (whole, outputs) = match judge {
            Judge::Moments => (self.whole_by_moments(&rows), Vec::new()),
            Judge::Outputs => self.whole_by_outputs(&rows),
        };
        Matrix { step, rows, whole, outputs }
    }

    fn channels(&self) -> usize {
        (0..self.inputs.cols).map(|col| channel(self.spec, self.site, col)).max().map_or(0, |last| last + 1)
    }

    /// Columns that share a channel become one.
    fn by_channel(&self, columns: &[f32], join: impl Fn(f32, f32) -> f32) -> Vec<f32> {
        let mut channels = vec![0.0; self.channels()];
        columns.iter().enumerate().for_each(|(col, x)| {
            let own = &mut channels[channel(self.spec, self.site, col)];
            *own = join(*own, *x);
        });
        channels
    }

    fn loudness(&self, loudness: Loudness) -> Vec<f32> {
        match loudness {
            Loudness::Mean => self.by_channel(&self.inputs.means(), |a, b| a + b),
            Loudness::Most => self.by_channel(&self.inputs.most, f32::max),
        }
    }

    /// The same of the matrices' columns, over the rows that tell.
    fn weight(&self, loudness: Loudness, matrices: &[Matrix]) -> Vec<f32> {
        let cols = self.inputs.cols;
        let join = |a: f32, b: f32| match loudness {
            Loudness::Mean => a + b,
            Loudness::Most => a.max(b),
        };
        let mut columns = vec![0.0; cols];
        for row in matrices.iter().flat_map(|m| m.rows.chunks_exact(cols)) {
            columns.iter_mut().zip(row).for_each(|(c, w)| *c = join(*c, w.abs()));
        }
        self.by_channel(&columns, join)
    }

    /// Scales of channels as scales of columns and rows. A norm of sixteen bits is rounded when it has been divided: its matrices make up for that.
    fn scale(&self, channels: &[f32], maker: Option<&Step>) -> Scale {
        let (mut rows, mut exact) = (channels.to_vec(), channels.to_vec());
        if let Some(norm) = maker.filter(|s| s.shape.len() == 1) {
            let mut before = vec![0.0; rows.len()];
            self.source.read_stored(tensor(self.source, norm), 0..rows.len(), &mut before);
            let divided: Vec<f32> = before.iter().zip(&rows).map(|(w, s)| w / s).collect();
            let (mut bytes, mut after) = (vec![0; rows.len() * norm.to.block_bytes], vec![0.0; rows.len()]);
            (norm.to.encode)(&divided, None, &mut bytes);
            (norm.to.decode)(&bytes, &mut after);
            for (k, (before, after)) in before.iter().zip(&after).enumerate() {
                let made_up = before / after;
                match (after == &divided[k], made_up.is_finite() && made_up > 0.0) {
                    (true, _) => {}
                    (false, true) => exact[k] = made_up,
                    // Too small or too large for the norm's format.
                    (false, false) => (rows[k], exact[k]) = (1.0, 1.0),
                }
            }
        }
        let columns = (0..self.inputs.cols).map(|col| exact[channel(self.spec, self.site, col)]).collect();
        Scale { site: self.site, columns, rows }
    }

    /// How far the site's outputs are off, each matrix's as a part of what it puts out: queries and keys meet only each other.
    fn cost(&self, judge: Judge, matrices: &[Matrix], scale: Option<&Scale>) -> f64 {
        let columns = scale.map(|s| &s.columns[..]);
        let parts = matrices.iter().map(|matrix| {
            let error = match judge {
                Judge::Moments => self.by_moments(matrix, columns),
                Judge::Outputs => self.by_outputs(matrix, columns),
            };
            if matrix.whole > 0.0 { error / matrix.whole } else { 0.0 }
        });
        parts.sum()
    }

    /// Rows with the scales folded in, and their blocks.
    fn encode(&self, matrix: &Matrix, rows: &[f32], columns: Option<&[f32]>) -> (Vec<f32>, Vec<u8>) {
        let cols = self.inputs.cols;
        let importance = self.inputs.mean_squares(columns);
        let mut rows = rows.to_vec();
        if let Some(scales) = columns {
            rows.chunks_exact_mut(cols).for_each(|row| row.iter_mut().zip(scales).for_each(|(w, s)| *w *= s));
        }
        let to = matrix.step.to;
        let weighted = Some(&importance[..]).filter(|_| to.block_len > 1 && to.name != format::NF4.name);
        let row_bytes = to.row_bytes(cols).unwrap_or(0);
        let mut bytes = vec![0; rows.len() / cols * row_bytes];
        rows.chunks_exact(cols).zip(bytes.chunks_exact_mut(row_bytes)).for_each(|(row, out)| (to.encode)(row, weighted, out));
        (rows, bytes)
    }

    /// A sum over the rows, sixteen at a time on a thread: `of` is given the number of the first one and how many they are.
    fn sum(&self, rows: usize, of: impl Fn(usize, usize) -> f64 + Sync) -> f64 {
        let mut sums = vec![0.0; rows.div_ceil(ROWS)];
        self.pool.chunks(&mut sums, 1, |i, sum| sum[0] = of(i * ROWS, ROWS.min(rows - i * ROWS)));
        sums.iter().sum()
    }

    /// tr(W H W^T), over some rows.
    fn whole_by_moments(&self, rows: &[f32]) -> f64 {
        let cols = self.inputs.cols;
        self.sum(rows.len() / cols, |first, count| {
            let mut whole = vec![[0.0; ROWS]; cols];
            for (l, row) in rows[first * cols..][..count * cols].chunks_exact(cols).enumerate() {
                whole.iter_mut().zip(row).for_each(|(whole, w)| whole[l] = *w);
            }
            costs(&self.inputs.moments, &whole).iter().sum()
        })
    }

    /// tr(E H E^T), over some rows.
    fn by_moments(&self, matrix: &Matrix, columns: Option<&[f32]>) -> f64 {
        let cols = self.inputs.cols;
        self.sum(matrix.rows.len() / cols, |first, count| {
            let original = &matrix.rows[first * cols..][..count * cols];
            let (folded, bytes) = self.encode(matrix, original, columns);
            let mut decoded = vec![0.0; folded.len()];
            (matrix.step.to.decode)(&bytes, &mut decoded);
            let mut errors = vec![[0.0; ROWS]; cols];
            for (l, (row, decoded)) in folded.chunks_exact(cols).zip(decoded.chunks_exact(cols)).enumerate() {
                for j in 0..cols {
                    errors[j][l] = (row[j] - decoded[j]) / columns.map_or(1.0, |s| s[j]);
                }
            }
            costs(&self.inputs.moments, &errors).iter().sum()
        })
    }

    /// Some tokens' inputs, divided by the scales where there are some, as a kernel takes them.
    fn activations(&self, chosen: &Chosen, columns: Option<&[f32]>) -> Vec<u8> {
        let (cols, tokens) = (self.inputs.cols, self.inputs.counts.len());
        let (of, size) = chosen.group_bytes(cols, tokens).map_or((1, chosen.activation_bytes(cols)), |bytes| (Chosen::GROUP, bytes));
        let mut acts = vec![0; tokens.div_ceil(of) * size];
        self.pool.chunks(&mut acts, size, |i, out| {
            for t in i * of..tokens.min((i + 1) * of) {
                let mut x = Cow::Borrowed(&self.inputs.kept[t * cols..][..cols]);
                if let Some(scales) = columns {
                    x.to_mut().iter_mut().zip(scales).for_each(|(x, s)| *x /= s);
                }
                if of == 1 { chosen.quantize(&x, out) } else { chosen.quantize_in(&x, t - i * of, out) }
            }
        });
        acts
    }

    /// What rows put out at some tokens, [`ROWS`] rows after the others, each time [tokens, rows], and the sum of its squares.
    fn whole_by_outputs(&self, rows: &[f32]) -> (f64, Vec<f32>) {
        let (cols, tokens) = (self.inputs.cols, self.inputs.counts.len());
        let exact = Chosen::best(&format::F32);
        let acts = self.activations(&exact, None);
        let mut outputs = vec![0.0; rows.len() / cols * tokens];
        self.pool.chunks(&mut outputs, ROWS * tokens, |i, outputs| {
            let floats: Vec<u8> = rows[i * ROWS * cols..][..outputs.len() / tokens * cols].iter().flat_map(|w| w.to_le_bytes()).collect();
            exact.matmul(&floats, cols, &acts, tokens, outputs);
        });
        let whole = self.sum(rows.len() / cols, |first, count| {
            let outputs = &outputs[first * tokens..][..count * tokens];
            let squares = by_row(count, &self.inputs.counts).map(|(i, c)| f64::from(outputs[i]) * f64::from(outputs[i]) * f64::from(c));
            squares.sum()
        });
        (whole, outputs)
    }

    /// The sum of squares of what rows put out at some tokens beside what they should, with activations rounded as the format's kernel rounds them.
    fn by_outputs(&self, matrix: &Matrix, columns: Option<&[f32]>) -> f64 {
        let (cols, tokens) = (self.inputs.cols, self.inputs.counts.len());
        let rounded = Chosen::best(matrix.step.to);
        let acts = self.activations(&rounded, columns);
        self.sum(matrix.rows.len() / cols, |first, count| {
            let (_, bytes) = self.encode(matrix, &matrix.rows[first * cols..][..count * cols], columns);
            let mut found = vec![0.0; count * tokens];
            match rounded.group_bytes(cols, tokens) {
                None => rounded.matmul(&bytes, cols, &acts, tokens, &mut found),
                Some(_) => rounded.matmul_groups(&bytes, cols, &acts, tokens, &mut found),
            }
            let wanted = &matrix.outputs[first * tokens..][..count * tokens];
            let errors = by_row(count, &self.inputs.counts).map(|(i, c)| {
                let error = f64::from(wanted[i] - found[i]);
                error * error * f64::from(c)
            });
            errors.sum()
        })
    }
}
