//! IQ4_NL encoder: one scale a block by `search::linear` over the table of levels.

use crate::format::common::pack_nibbles32;
use crate::search::grid::{Iq4, evenly};
use crate::search::{self, Encoder, Lanes, Weighting, lanes::Plain, linear};

const WEIGHTING: Weighting = Weighting { plain: Plain::Square(0.7), spread: true };

/// Encodes whole blocks; see [`crate::search`] for how, and for what a NaN or an infinity becomes.
pub fn encode(x: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
    search::encode::<Search>(x, importance, out)
}

/// The search and the packing of this format.
pub struct Search;

impl Encoder for Search {
    const NAME: &'static str = "IQ4_NL";
    const LEN: usize = 32;
    const BYTES: usize = 18;

    #[inline(always)]
    fn tile(x: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
        let t = Lanes::<32, 8>::new(x, importance, WEIGHTING, false);
        let (d, codes) = linear::blocks::<Iq4, 32, 8>(&t, evenly(-132.0, -108.0, 9).chain(evenly(96.0, 118.0, 9)));
        for ((out, codes), d) in out.chunks_exact_mut(Self::BYTES).zip(codes.chunks_exact(32)).zip(d) {
            out[..2].copy_from_slice(&d.to_le_bytes());
            pack_nibbles32(codes, &mut out[2..18]);
        }
    }
}
