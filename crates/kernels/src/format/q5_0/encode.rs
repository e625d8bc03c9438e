//! Q5_0 encoder: one scale a block by `search::linear`, either sign; the fifth bits apart.

use crate::Tile;
use crate::format::Pack;
use crate::format::common::{pack_blocks32, pack_fifth_bits, pack_nibbles32};
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
    const NAME: &'static str = "Q5_0";
    const LEN: usize = 32;
    const BYTES: usize = 22;

    #[inline(always)]
    fn tile(x: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
        let t = Lanes::<32, 8>::new(x, importance, WEIGHTING, false);
        let (d, codes) = linear::blocks::<Integers<-16, 15, 16>, 32, 8>(&t, evenly(-17.0, -14.8, 12).chain(evenly(14.0, 16.2, 12)));
        for ((out, codes), d) in out.chunks_exact_mut(Self::BYTES).zip(codes.chunks_exact(32)).zip(d) {
            put(d, codes, out);
        }
    }
}

#[inline(always)]
fn put(d: u16, codes: &[u8], out: &mut [u8]) {
    out[..2].copy_from_slice(&d.to_le_bytes());
    pack_fifth_bits(codes, &mut out[2..6]);
    pack_nibbles32(codes, &mut out[6..22]);
}

/// The inverse of unpack.
pub static PACK: Pack = Pack { codes: (-16, 15), table: &[], unit: 32, scales: (1, 1), mins: 0, pack };

fn pack(tile: &Tile, out: &mut [u8]) {
    pack_blocks32(tile, 22, 16, out, |d, _, codes, out| put(d, codes, out));
}
