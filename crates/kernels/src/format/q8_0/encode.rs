//! Q8_0 encoder: one scale a block by `search::linear`. Codes stay within +-127: products negate them in eight bits.

use crate::Tile;
use crate::format::Pack;
use crate::format::common::pack_blocks32;
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
            put(d, codes, out);
        }
    }
}

#[inline(always)]
fn put(d: u16, codes: &[u8], out: &mut [u8]) {
    out[..2].copy_from_slice(&d.to_le_bytes());
    out[2..].copy_from_slice(codes);
}

/// The inverse of unpack.
pub static PACK: Pack = Pack { codes: (-127, 127), table: &[], unit: 32, scales: (1, 1), mins: 0, pack };

fn pack(tile: &Tile, out: &mut [u8]) {
    pack_blocks32(tile, 34, 0, out, |d, _, codes, out| put(d, codes, out));
}
