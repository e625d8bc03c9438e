//! Q3_K encoder: sixteen signed scales of six bits by `search::linear`.

use crate::Tile;
use crate::format::Pack;
use crate::format::common::pack_pairs;
use crate::ops::f32_to_f16;
use crate::search::grid::{Integers, byte, evenly};
use crate::search::{self, Encoder, Lanes, TILE, Weighting, lanes::Plain, linear};

const WEIGHTING: Weighting = Weighting { plain: Plain::Square(0.7), spread: true };

/// Encodes whole blocks; see [`crate::search`] for how, and for what a NaN or an infinity becomes.
pub fn encode(x: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
    search::encode::<Search>(x, importance, out)
}

/// The search and the packing of this format.
pub struct Search;

impl Encoder for Search {
    const NAME: &'static str = "Q3_K";
    const LEN: usize = 256;
    const BYTES: usize = 110;

    #[inline(always)]
    fn tile(x: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
        let t = Lanes::<16, 16>::new(x, importance, WEIGHTING, true);
        let s = linear::super_block::<Integers<-4, 3, 4>, 16, 16>(&t, evenly(-4.7, -3.2, 8).chain(evenly(2.4, 3.7, 8)), -32.0, 31.0);
        put(s.d, &s.scales.map(|s| byte(s + 32.0)), &s.codes, out);
    }
}

/// `scales` and `codes` counted from the lowest: 32 and 4 more than they mean.
#[inline(always)]
fn put(d: u16, scales: &[u8; 16], codes: &[u8; TILE], out: &mut [u8]) {
    // Codes are stored as two bits, and a third one that is set where nothing is to be subtracted.
    out[..32].fill(0);
    for (b, codes) in codes.chunks_exact(32).enumerate() {
        for (out, &code) in out[..32].iter_mut().zip(codes) {
            *out |= (code >> 2) << b;
        }
    }
    pack_pairs(codes, &mut out[32..96]);
    for j in 0..8 {
        out[96 + j] = scales[j] & 15 | scales[j + 8] << 4;
    }
    for j in 0..4 {
        out[104 + j] = scales[j] >> 4 | scales[j + 4] >> 4 << 2 | scales[j + 8] >> 4 << 4 | scales[j + 12] >> 4 << 6;
    }
    out[108..110].copy_from_slice(&d.to_le_bytes());
}

/// The inverse of unpack.
pub static PACK: Pack = Pack { codes: (-4, 3), table: &[], unit: 16, scales: (-32, 31), mins: 0, pack };

fn pack(tile: &Tile, out: &mut [u8]) {
    put(f32_to_f16(tile.d[0]), &tile.scale.map(|s| (s + 32) as u8), &tile.q.map(|q| (q + 4) as u8), out);
}
