//! Q4_0 encoder: one scale a block by `search::linear`, either sign.

use crate::format::common::pack_nibbles32;
use crate::search::grid::{Integers, evenly};
use crate::search::{self, Encoder, Lanes, Weighting, lanes::Plain, linear};

const WEIGHTING: Weighting = Weighting { plain: Plain::One, spread: true };

/// Encodes whole blocks; see [`crate::search`] for how, and for what a NaN or an infinity becomes.
pub fn encode(x: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
    search::encode::<Search>(x, importance, out)
}

/// The search and the packing of this format.
pub struct Search;

impl Encoder for Search {
    const NAME: &'static str = "Q4_0";
    const LEN: usize = 32;
    const BYTES: usize = 18;

    #[inline(always)]
    fn tile(x: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
        let t = Lanes::<32, 8>::new(x, importance, WEIGHTING, false);
        let (d, codes) = linear::blocks::<Integers<-8, 7, 8>, 32, 8>(&t, evenly(-8.6, -6.8, 10).chain(evenly(6.2, 8.0, 10)));
        for ((out, codes), d) in out.chunks_exact_mut(Self::BYTES).zip(codes.chunks_exact(32)).zip(d) {
            out[..2].copy_from_slice(&d.to_le_bytes());
            pack_nibbles32(codes, &mut out[2..18]);
        }
    }
}
