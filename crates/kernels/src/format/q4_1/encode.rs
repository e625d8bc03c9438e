//! Q4_1 encoder: a scale and an offset a block by `search::affine`.

use crate::Tile;
use crate::format::Pack;
use crate::format::common::{pack_blocks32, pack_nibbles32};
use crate::search::{self, Encoder, Lanes, Weighting, affine, grid::evenly, lanes::Plain};

const WEIGHTING: Weighting = Weighting { plain: Plain::One, spread: true };

/// Encodes whole blocks; see [`crate::search`] for how, and for what a NaN or an infinity becomes.
pub fn encode(x: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
    search::encode::<Search>(x, importance, out)
}

/// The search and the packing of this format.
pub struct Search;

impl Encoder for Search {
    const NAME: &'static str = "Q4_1";
    const LEN: usize = 32;
    const BYTES: usize = 20;

    #[inline(always)]
    fn tile(x: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
        let t = Lanes::<32, 8>::new(x, importance, WEIGHTING, false);
        let (scales, codes) = affine::blocks(&t, 15.0, evenly(-2.2, 0.8, 16));
        for ((out, codes), (d, m)) in out.chunks_exact_mut(Self::BYTES).zip(codes.chunks_exact(32)).zip(scales) {
            put(d, m, codes, out);
        }
    }
}

#[inline(always)]
fn put(d: u16, m: u16, codes: &[u8], out: &mut [u8]) {
    out[..2].copy_from_slice(&d.to_le_bytes());
    out[2..4].copy_from_slice(&m.to_le_bytes());
    pack_nibbles32(codes, &mut out[4..20]);
}

/// The inverse of unpack.
pub static PACK: Pack = Pack { codes: (0, 15), table: &[], unit: 32, scales: (1, 1), mins: 0, pack };

fn pack(tile: &Tile, out: &mut [u8]) {
    pack_blocks32(tile, 20, 0, out, put);
}
