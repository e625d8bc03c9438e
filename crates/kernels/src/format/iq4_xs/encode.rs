//! IQ4_XS encoder: eight signed scales of six bits by `search::linear` over the table of levels.

use crate::Tile;
use crate::format::Pack;
use crate::format::common::{IQ4_VALUES, iq4_codes, pack_nibbles32};
use crate::ops::f32_to_f16;
use crate::search::grid::{Iq4, byte, evenly};
use crate::search::{self, Encoder, Lanes, TILE, Weighting, lanes::Plain, linear};

const WEIGHTING: Weighting = Weighting { plain: Plain::Square(0.7), spread: true };

/// Encodes whole blocks; see [`crate::search`] for how, and for what a NaN or an infinity becomes.
pub fn encode(x: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
    search::encode::<Search>(x, importance, out)
}

/// The search and the packing of this format.
pub struct Search;

impl Encoder for Search {
    const NAME: &'static str = "IQ4_XS";
    const LEN: usize = 256;
    const BYTES: usize = 136;

    #[inline(always)]
    fn tile(x: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
        let t = Lanes::<32, 8>::new(x, importance, WEIGHTING, true);
        let s = linear::super_block::<Iq4, 32, 8>(&t, evenly(-132.0, -108.0, 9).chain(evenly(96.0, 118.0, 9)), -32.0, 31.0);
        put(s.d, &s.scales.map(|s| byte(s + 32.0)), &s.codes, out);
    }
}

/// `scales`: 32 more than they mean.
#[inline(always)]
fn put(d: u16, scales: &[u8; 8], codes: &[u8; TILE], out: &mut [u8]) {
    let high = (0..8).fold(0u16, |high, j| high | u16::from(scales[j] >> 4) << (2 * j));
    out[..2].copy_from_slice(&d.to_le_bytes());
    out[2..4].copy_from_slice(&high.to_le_bytes());
    for j in 0..4 {
        out[4 + j] = scales[2 * j] & 15 | scales[2 * j + 1] << 4;
    }
    for (codes, out) in codes.chunks_exact(32).zip(out[8..].chunks_exact_mut(16)) {
        pack_nibbles32(codes, out);
    }
}

/// The inverse of unpack; a tile has the table's values for codes.
pub static PACK: Pack = Pack { codes: (-127, 113), table: &IQ4_VALUES, unit: 32, scales: (-32, 31), mins: 0, pack };

fn pack(tile: &Tile, out: &mut [u8]) {
    let mut codes = [0; TILE];
    codes.chunks_exact_mut(32).zip(tile.q.chunks_exact(32)).for_each(|(codes, q)| codes.copy_from_slice(&iq4_codes(q)));
    put(f32_to_f16(tile.d[0]), &std::array::from_fn(|j| (tile.scale[2 * j] + 32) as u8), &codes, out);
}
