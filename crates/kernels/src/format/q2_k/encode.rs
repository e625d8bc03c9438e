//! Q2_K encoder: sixteen scales and offsets of four bits by `search::affine`.

use crate::format::common::pack_pairs;
use crate::search::{
    self, Encoder, Lanes, Weighting, affine,
    grid::{byte, evenly},
    lanes::Plain,
};

const WEIGHTING: Weighting = Weighting { plain: Plain::Magnitude(0.3), spread: true };

/// Encodes whole blocks; see [`crate::search`] for how, and for what a NaN or an infinity becomes.
pub fn encode(x: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
    search::encode::<Search>(x, importance, out)
}

/// The search and the packing of this format.
pub struct Search;

impl Encoder for Search {
    const NAME: &'static str = "Q2_K";
    const LEN: usize = 256;
    const BYTES: usize = 84;

    #[inline(always)]
    fn tile(x: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
        let t = Lanes::<16, 16>::new(x, importance, WEIGHTING, true);
        let s = affine::super_block(&t, 3.0, evenly(-0.7, 0.7, 15), 15.0);
        for ((out, &scale), &min) in out[..16].iter_mut().zip(&s.scales).zip(&s.mins) {
            *out = byte(scale) | byte(min) << 4;
        }
        pack_pairs(&s.codes, &mut out[16..80]);
        out[80..82].copy_from_slice(&s.d.to_le_bytes());
        out[82..84].copy_from_slice(&s.dmin.to_le_bytes());
    }
}
