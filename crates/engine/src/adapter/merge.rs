//! Adapters merged into the rows that are read: W + scale * B A, in single precision, a few rows at a time.

use super::{Adapter, AdapterFault, Delta, HEAD, LOOK_UP, tensor};
use crate::Error;
use crate::source::Source;
use nibble_kernels::ops;

impl Source {
    /// Makes the model the sum of itself and an adapter: whoever reads its rows gets them changed, and what runs the model has them in floats. For
    /// quantizing; [`crate::Options::adapters`] runs a model beside its adapters without touching it.
    ///
    /// # Errors
    /// Where the embedding is the head too, one of the two cannot change without the other.
    pub fn merge(&mut self, adapter: Adapter) -> Result<(), Error> {
        let path = adapter.path().to_path_buf();
        let shared = |delta: &&Delta| self.config().tied && [LOOK_UP, HEAD].contains(&delta.tensor.as_str());
        let fault = |delta: &Delta| {
            let expected =
                "other matrices: the embedding is the head too, so one cannot be changed without the other; run the model with the adapter";
            tensor(&delta.tensor, "a change of it", expected)
        };
        let faults: Vec<AdapterFault> = adapter.deltas.iter().filter(shared).map(fault).collect();
        if !faults.is_empty() {
            return Err(Error::Adapter { path, faults });
        }
        adapter.into_deltas().for_each(|delta| self.change(delta));
        Ok(())
    }
}

impl Delta {
    /// Adds scale * B A to the rows from `first` on, stored order, in `out` one after the other.
    pub fn merge(&self, first: usize, out: &mut [f32]) {
        let rank = self.rank();
        let cols = if self.tensor == LOOK_UP { self.b.rows } else { self.a.cols };
        // The factor that all rows share, as rows of `cols`.
        let (rows, shared) = match self.tensor == LOOK_UP {
            false => (&self.b, floats(&self.a)),
            true => {
                let b = floats(&self.b);
                (&self.a, (0..rank).flat_map(|k| b.chunks_exact(rank).map(move |row| row[k])).collect())
            }
        };
        let (mut weights, mut sum) = (vec![0.0; rank], vec![0.0; cols]);
        for (r, out) in out.chunks_exact_mut(cols).enumerate() {
            rows.row(first + r, &mut weights);
            sum.fill(0.0);
            weights.iter().zip(shared.chunks_exact(cols)).for_each(|(&w, row)| ops::axpy(w, row, &mut sum));
            ops::axpy(self.scale, &sum, out);
        }
    }
}

fn floats(m: &crate::weights::Matrix) -> Vec<f32> {
    let mut out = vec![0.0; m.rows * m.cols];
    m.rows(0..m.rows, &mut out);
    out
}
