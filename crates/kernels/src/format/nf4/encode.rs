//! NF4 encoder: bit-equal to bitsandbytes on the CPU, so there is nothing to search: a checkpoint must not depend on the tool that wrote it.
//!
//! absmax is the largest magnitude of the block; x * (1 / absmax) is compared with thresholds that lie at the f32 midpoints of the table
//! (backends/default/ops.py of bitsandbytes 0.50.)

use super::CODES;
use crate::search::lanes::clean;
use crate::search::{self, Encoder};

/// Encodes whole blocks; importance has nothing to weigh here. A NaN counts as 0, an infinity as 65504.
pub fn encode(x: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
    search::encode::<Search>(x, importance, out)
}

/// The search and the packing of this format.
pub struct Search;

/// An element takes the code of the last threshold that it is strictly above, plus one. The midpoints are rounded to f32 as bitsandbytes rounds them: the decimal
/// numbers that its sources show lie on ties, and read as f32 some come out one bit away.
const THRESHOLDS: [f32; 15] = {
    let mut thresholds = [0.0; 15];
    let mut i = 0;
    while i < 15 {
        thresholds[i] = (CODES[i] + CODES[i + 1]) / 2.0;
        i += 1;
    }
    thresholds
};

impl Encoder for Search {
    const NAME: &'static str = "NF4";
    const LEN: usize = 64;
    const BYTES: usize = 36;

    #[inline(always)]
    fn tile(x: &[f32], _importance: Option<&[f32]>, out: &mut [u8]) {
        for (x, out) in x.chunks_exact(64).zip(out.chunks_exact_mut(36)) {
            let mut y = [0f32; 64];
            let mut lanes = [0f32; 16];
            for (i, (y, &x)) in y.iter_mut().zip(x).enumerate() {
                *y = clean(x);
                lanes[i % 16] = if y.abs() > lanes[i % 16] { y.abs() } else { lanes[i % 16] };
            }
            let absmax = lanes.iter().fold(0f32, |m, &a| if a > m { a } else { m });
            let inv = 1.0 / if absmax > 1e-38 { absmax } else { 1e-38 };
            let mut codes = [0u32; 64];
            for (code, y) in codes.iter_mut().zip(y) {
                let u = y * inv;
                for threshold in THRESHOLDS {
                    *code += u32::from(u > threshold);
                }
            }
            out[..4].copy_from_slice(&absmax.to_le_bytes());
            for (out, codes) in out[4..].iter_mut().zip(codes.chunks_exact(2)) {
                *out = (codes[0] << 4 | codes[1]) as u8;
            }
        }
    }
}
