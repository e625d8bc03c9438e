//! IQ4_NL encoder: one scale a block by `search::linear` over the table of levels.

use crate::Tile;
use crate::format::Pack;
use crate::format::common::{IQ4_VALUES, iq4_codes, pack_nibbles32};
use crate::ops::f32_to_f16;
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
            put(d, codes, out);
        }
    }
}

#[inline(always)]
fn put(d: u16, codes: &[u8], out: &mut [u8]) {
    out[..2].copy_from_slice(&d.to_le_bytes());
    pack_nibbles32(codes, &mut out[2..18]);
}

/// The inverse of unpack; a tile has the table's values for codes.
pub static PACK: Pack = Pack { codes: (-127, 113), table: &IQ4_VALUES, unit: 32, scales: (1, 1), mins: 0, pack };

fn pack(tile: &Tile, out: &mut [u8]) {
    for ((out, q), d) in out.chunks_exact_mut(Search::BYTES).zip(tile.q.chunks_exact(32)).zip(tile.d) {
        put(f32_to_f16(d), &iq4_codes(q), out);
    }
}
