//! Q4_K encoder: eight scales and offsets of six bits by `search::affine`.

use crate::format::common::{pack_nibbles64, pack_scales_mins_k4};
use crate::search::{
    self, Encoder, Lanes, Weighting, affine,
    grid::{byte, evenly},
    lanes::Plain,
};

const WEIGHTING: Weighting = Weighting { plain: Plain::Magnitude(1.0), spread: true };

/// Encodes whole blocks; see [`crate::search`] for how, and for what a NaN or an infinity becomes.
pub fn encode(x: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
    search::encode::<Search>(x, importance, out)
}

/// The search and the packing of this format.
pub struct Search;

impl Encoder for Search {
    const NAME: &'static str = "Q4_K";
    const LEN: usize = 256;
    const BYTES: usize = 144;

    #[inline(always)]
    fn tile(x: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
        let t = Lanes::<32, 8>::new(x, importance, WEIGHTING, true);
        let s = affine::super_block(&t, 15.0, evenly(-2.2, 0.8, 16), 63.0);
        out[..2].copy_from_slice(&s.d.to_le_bytes());
        out[2..4].copy_from_slice(&s.dmin.to_le_bytes());
        pack_scales_mins_k4(&s.scales.map(byte), &s.mins.map(byte), &mut out[4..16]);
        pack_nibbles64(&s.codes, &mut out[16..]);
    }
}
