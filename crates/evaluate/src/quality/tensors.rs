//! Which tensor hurts: what quantizing did to each, alone.
//!
//! Three measures, each nearer to what matters and dearer than the one before. The relative error of the weights, sqrt(sum (w - w')^2 / sum w^2), treats all columns alike. With the mean square
//! of each column's input (an importance matrix) the columns count as much as they are used: sqrt(sum E[x^2] (w - w')^2 / sum E[x^2] w^2), the relative error of the matrix's
//! output if inputs were independent. And the divergence of the original model in which this one tensor is replaced says what all layers after it make of that: the
//! original's logits are computed once a chunk, then every tensor is put in, run, and taken out again. Divergences of single tensors nearly add up to
//! that of all together, which stands beside.

use std::sync::Mutex;

use nibble_engine::logits::{Row, divergence};
use nibble_engine::pool::Pool;
use nibble_engine::source::{Source, Tensor};
use nibble_engine::{Model, Session};
use serde::{Deserialize, Serialize};

use super::Fault;
use super::windows::{Passage, Window};

/// A tensor of a quantized model beside the original's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TensorError {
    /// Its name in GGUF.
    pub name: String,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its type in the original.
    pub original: String,
    /// Its weights.
    pub weights: u64,
    /// Bytes that it takes.
    pub bytes: u64,
    /// Relative error of its weights.
    pub error: f64,
    /// The same, columns weighted by the mean square of their inputs, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weighted: Option<f64>,
    /// KL(original || original with this tensor replaced), mean.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kl: Option<f64>,
}

/// A report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tensors {
    /// The quantized model.
    pub model: String,
    /// The original.
    pub original: String,
    /// The tensor that hurts most first.
    pub tensors: Vec<TensorError>,
    /// KL with all of them replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kl: Option<f64>,
}

impl Tensors {
    /// Puts the tensor that hurts most first, by the best measure that there is.
    pub fn sort(&mut self) {
        let hurt = |t: &TensorError| t.kl.or(t.weighted).unwrap_or(t.error);
        self.tensors.sort_by(|a, b| hurt(b).total_cmp(&hurt(a)).then_with(|| a.name.cmp(&b.name)));
    }
}

/// Weights that a thread takes at a time.
const PIECE: usize = 1 << 18;

/// The error of every matrix that both models have in one shape. `importance` gives the mean square of a tensor's inputs, `[cols]`, where it is known; `each` hears of every tensor, by its
/// number and of how many, before it begins.
pub fn errors(
    model: &Source,
    original: &Source,
    importance: &dyn Fn(&str) -> Option<Vec<f32>>,
    pool: &Pool,
    each: &mut dyn FnMut(usize, usize, &str),
) -> Vec<TensorError> {
    let pairs: Vec<(&Tensor, &Tensor)> = model
        .tensors()
        .iter()
        .filter_map(|t| Some((t, original.get(&t.spec.gguf)?)))
        .filter(|(t, o)| t.spec.shape.len() > 1 && t.spec.shape == o.spec.shape)
        .collect();
    let total = pairs.len();
    let error = |(i, (tensor, other)): (usize, (&Tensor, &Tensor))| {
        let name = &tensor.spec.gguf;
        each(i, total, name);
        let importance = importance(name).filter(|w| w.len() == tensor.cols());
        let [plain, weighted] = sums(model, tensor, original, other, importance.as_deref(), pool).map(|(off, all)| (off / all).sqrt());
        TensorError {
            name: name.clone(),
            kind: model.type_name(tensor).to_string(),
            original: original.type_name(other).to_string(),
            weights: (tensor.rows() * tensor.cols()) as u64,
            bytes: model.stored_bytes(tensor),
            // A tensor of zeros that stays one has no error.
            error: if plain.is_nan() { 0.0 } else { plain },
            weighted: importance.map(|_| if weighted.is_nan() { 0.0 } else { weighted }),
            kl: None,
        }
    };
    pairs.into_iter().enumerate().map(error).collect()
}

/// Sums of (w - w')^2 and of w^2, plain and with each column's weight: by pieces of rows, which are added in their order, so that threads change nothing.
fn sums(model: &Source, tensor: &Tensor, original: &Source, other: &Tensor, importance: Option<&[f32]>, pool: &Pool) -> [(f64, f64); 2] {
    let (rows, cols) = (tensor.rows(), tensor.cols());
    let step = (PIECE / cols.max(1)).clamp(1, rows.max(1));
    let pieces = Mutex::new(vec![[(0.0, 0.0); 2]; rows.div_ceil(step)]);
    pool.run(rows.div_ceil(step), &|i| {
        let range = i * step..((i + 1) * step).min(rows);
        let (mut ours, mut theirs) = (vec![0.0; range.len() * cols], vec![0.0; range.len() * cols]);
        model.read_rows(tensor, range.clone(), &mut ours);
        original.read_rows(other, range, &mut theirs);
        let mut sums = [(0.0, 0.0); 2];
        for (ours, theirs) in ours.chunks_exact(cols).zip(theirs.chunks_exact(cols)) {
            for (c, (&q, &w)) in ours.iter().zip(theirs).enumerate() {
                let (q, w) = (f64::from(q), f64::from(w));
                let (off, all) = ((w - q) * (w - q), w * w);
                sums[0] = (sums[0].0 + off, sums[0].1 + all);
                if let Some(importance) = importance {
                    let x = f64::from(importance[c]);
                    sums[1] = (sums[1].0 + x * off, sums[1].1 + x * all);
                }
            }
        }
        pieces.lock().unwrap_or_else(|p| p.into_inner())[i] = sums;
    });
    let pieces = pieces.into_inner().unwrap_or_else(|p| p.into_inner());
    pieces.into_iter().fold([(0.0, 0.0); 2], |a, b| [0, 1].map(|k| (a[k].0 + b[k].0, a[k].1 + b[k].1)))
}

/// Fills in what each tensor alone does to the original model's predictions on the passage's windows, and says what all do together. The logits of one window's scored
/// positions are held in memory: this is for small models. `each` hears of every run of the model, by its number and of how many, before it begins.
pub fn output(
    original: &mut Model,
    quantized: &Source,
    passage: &Passage,
    tensors: &mut [TensorError],
    each: &mut dyn FnMut(usize, usize, &str),
) -> Result<f64, Fault> {
    let total = passage.windows.len() * (tensors.len() + 2);
    let mut sums = vec![0.0; tensors.len() + 1];
    let (mut done, mut positions) = (0, 0);
    let mut step = |what: &str| {
        each(done, total, what);
        done += 1;
    };
    for (index, &window) in passage.windows.iter().enumerate() {
        step("the original");
        let mut base = vec![];
        scored(original, passage, index, window, &mut |logits, _| base.extend_from_slice(logits))?;
        positions += window.scored().len();
        for (tensor, sum) in tensors.iter().zip(&mut sums) {
            step(&tensor.name);
            original.replace(&tensor.name, quantized)?;
            *sum += beside(original, passage, index, window, &base)?;
            original.restore(&tensor.name)?;
        }
        step("all tensors");
        for tensor in tensors.iter() {
            original.replace(&tensor.name, quantized)?;
        }
        sums[tensors.len()] += beside(original, passage, index, window, &base)?;
        for tensor in tensors.iter() {
            original.restore(&tensor.name)?;
        }
    }
    let mean = |sum: f64| sum / positions.max(1) as f64;
    tensors.iter_mut().zip(&sums).for_each(|(tensor, &sum)| tensor.kl = Some(mean(sum)));
    Ok(mean(sums[tensors.len()]))
}

/// The sum of the divergences of a window's scored positions from the logits that the original gave, [positions, vocab].
fn beside(model: &Model, passage: &Passage, index: usize, window: Window, base: &[f32]) -> Result<f64, Fault> {
    let vocab = model.config().vocab;
    let mut values = vec![];
    scored(model, passage, index, window, &mut |logits, first| {
        let mut made = vec![0.0; logits.len() / vocab];
        model.pool().chunks(&mut made, 1, |i, out| {
            let (p, q) = (&base[(first + i) * vocab..][..vocab], &logits[i * vocab..][..vocab]);
            out[0] = divergence(p, &Row::of(p), q, &Row::of(q));
        });
        values.extend(made);
    })?;
    match values.iter().position(|x| x.is_nan()) {
        Some(at) => Err(Fault::NotNumbers { chunk: index, position: window.first + at }),
        None => Ok(values.iter().sum()),
    }
}

/// Calls `each` with pieces of the logits of a window's scored positions and the number of the first of them.
fn scored(model: &Model, passage: &Passage, index: usize, window: Window, each: &mut dyn FnMut(&[f32], usize)) -> Result<(), Fault> {
    let ids = passage.ids(window);
    let mut session = Session::new(model, window.len)?;
    if window.first > 0 {
        session.feed(&ids[..window.first])?;
    }
    let piece = super::run::piece(model);
    for (n, ids) in ids[window.first..window.len - 1].chunks(piece).enumerate() {
        session.feed_rows(ids)?;
        let rows: Vec<f32> = (0..ids.len()).flat_map(|i| session.row(i)).copied().collect();
        if rows.iter().any(|x| x.is_nan()) {
            return Err(Fault::NotNumbers { chunk: index, position: window.first + n * piece });
        }
        each(&rows, n * piece);
    }
    Ok(())
}

/// The columns of the CSV, a row a tensor.
const CSV: &str = "name,type,original,weights,bytes,bits_per_weight,error,weighted,kl";

/// A row a tensor, with a header.
pub fn csv(report: &Tensors) -> String {
    let optional = |x: Option<f64>| x.map_or_else(String::new, |x| x.to_string());
    let row = |t: &TensorError| {
        let bits = 8.0 * t.bytes as f64 / t.weights as f64;
        let (weighted, kl) = (optional(t.weighted), optional(t.kl));
        format!("{},{},{},{},{},{bits},{},{weighted},{kl}\n", t.name, t.kind, t.original, t.weights, t.bytes, t.error)
    };
    format!("{CSV}\n{}", report.tensors.iter().map(row).collect::<String>())
}
