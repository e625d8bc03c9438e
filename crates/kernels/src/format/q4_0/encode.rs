//! Q4_0 encoder: one scale a block by `search::linear`, either sign.

use crate::Tile;
use crate::format::Pack;
use crate::format::common::{pack_blocks32, pack_nibbles32};
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
            put(d, codes, out);
        }
    }
}

#[inline(always)]
fn put(d: u16, codes: &[u8], out: &mut [u8]) {
    out[..2].copy_from_slice(&d.to_le_bytes());
    pack_nibbles32(codes, &mut out[2..18]);
}

/// The inverse of unpack.
pub static PACK: Pack = Pack { codes: (-8, 7), table: &[], unit: 32, scales: (1, 1), mins: 0, pack };

fn pack(tile: &Tile, out: &mut [u8]) {
    pack_blocks32(tile, 18, 8, out, |d, _, codes, out| put(d, codes, out));
}
