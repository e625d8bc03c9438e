//! Q8_0 encoder: one scale a block by `search::linear`. Codes stay within +-127: products negate them in eight bits.

use crate::search::grid::{Integers, evenly};
use crate::search::{self, Encoder, Lanes, Weighting, lanes::Plain, linear};

const WEIGHTING: Weighting = Weighting { plain: Plain::One, spread: false };

/// Encodes whole blocks; see [`crate::search`] for how, and for what a NaN or an infinity becomes.
pub fn encode(x: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
    search::encode::<Search>(x, importance, out)
}

/// The search and the packing of this format.
pub struct Search;

impl Encoder for Search {
    const NAME: &'static str = "Q8_0";
    const LEN: usize = 32;
    const BYTES: usize = 34;

    #[inline(always)]
    fn tile(x: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
        let t = Lanes::<32, 8>::new(x, importance, WEIGHTING, false);
        let (d, codes) = linear::blocks::<Integers<-127, 127, 0>, 32, 8>(&t, evenly(118.0, 127.5, 16));
        for ((out, codes), d) in out.chunks_exact_mut(Self::BYTES).zip(codes.chunks_exact(32)).zip(d) {
            out[..2].copy_from_slice(&d.to_le_bytes());
            out[2..].copy_from_slice(codes);
        }
    }
}
