//! What quantizing did to each tensor: its values beside the reference's.

use nibble_engine::pool::{Pool, cores::Cores};
use nibble_engine::source::{Source, Tensor};
use serde::{Deserialize, Serialize};
use std::sync::Mutex;

/// The error of a tensor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TensorError {
    /// Its name in GGUF.
    pub name: String,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its elements.
    pub elements: u64,
    /// Bytes that it takes.
    pub bytes: u64,
    /// sqrt(sum (w - w')^2 / sum w^2) against the reference's values w; 0 where both are nothing but zeros.
    pub relative: f64,
    /// The greatest |w - w'|.
    pub greatest: f64,
}

/// Elements that a thread takes at a time.
const PIECE: usize = 1 << 18;

/// Every tensor of two dimensions that both have in one shape, in the model's order. `go_on` hears of each by its number before it begins; false ends.
pub fn errors(model: &Source, reference: &Source, threads: usize, go_on: &mut dyn FnMut(usize, usize, &str) -> bool) -> Vec<TensorError> {
    let both = |tensor: &Tensor| {
        let other = reference.get(&tensor.spec.gguf)?;
        (tensor.spec.shape.len() > 1 && other.spec.shape == tensor.spec.shape).then_some(())
    };
    let tensors: Vec<&Tensor> = model.tensors().iter().filter(|t| both(t).is_some()).collect();
    let pool = Pool::new(threads, Cores::detect().for_threads(threads));
    let mut found = vec![];
    for (i, tensor) in tensors.iter().enumerate() {
        if !go_on(i, tensors.len(), &tensor.spec.gguf) {
            break;
        }
        let Some(other) = reference.get(&tensor.spec.gguf) else { continue };
        let (relative, greatest) = error(model, tensor, reference, other, &pool);
        found.push(TensorError {
            name: tensor.spec.gguf.clone(),
            kind: model.type_name(tensor).to_string(),
            elements: (tensor.rows() * tensor.cols()) as u64,
            bytes: model.stored_bytes(tensor),
            relative,
            greatest,
        });
    }
    found
}

fn error(model: &Source, tensor: &Tensor, reference: &Source, other: &Tensor, pool: &Pool) -> (f64, f64) {
    let (rows, cols) = (tensor.rows(), tensor.cols());
    let each = (PIECE / cols.max(1)).clamp(1, rows.max(1));
    let pieces = rows.div_ceil(each);
    // Sums by piece, added in their order: the same for any number of threads.
    let sums: Mutex<Vec<(f64, f64, f64)>> = Mutex::new(vec![(0.0, 0.0, 0.0); pieces]);
    pool.run(pieces, &|i| {
        let range = i * each..((i + 1) * each).min(rows);
        let (mut theirs, mut ours) = (vec![0.0; range.len() * cols], vec![0.0; range.len() * cols]);
        reference.read_rows(other, range.clone(), &mut theirs);
        model.read_rows(tensor, range, &mut ours);
        let mut sum = (0.0, 0.0, 0f64);
        for (&w, &q) in theirs.iter().zip(&ours) {
            let d = f64::from(w) - f64::from(q);
            sum = (sum.0 + d * d, sum.1 + f64::from(w) * f64::from(w), sum.2.max(d.abs()));
        }
        sums.lock().unwrap_or_else(|poisoned| poisoned.into_inner())[i] = sum;
    });
    let sums = sums.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    let (mut squares, mut total, mut greatest) = (0.0, 0.0, 0f64);
    for sum in sums {
        squares += sum.0;
        total += sum.1;
        greatest = greatest.max(sum.2);
    }
    (if squares == 0.0 { 0.0 } else { (squares / total).sqrt() }, greatest)
}
