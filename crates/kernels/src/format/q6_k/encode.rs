//! Q6_K encoder: sixteen signed scales of eight bits by `search::linear`.

use crate::Tile;
use crate::format::Pack;
use crate::ops::f32_to_f16;
use crate::search::grid::{Integers, byte, evenly};
use crate::search::{self, Encoder, Lanes, TILE, Weighting, lanes::Plain, linear};

const WEIGHTING: Weighting = Weighting { plain: Plain::Square(0.5), spread: false };

/// Encodes whole blocks; see [`crate::search`] for how, and for what a NaN or an infinity becomes.
pub fn encode(x: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
    search::encode::<Search>(x, importance, out)
}

/// The search and the packing of this format.
pub struct Search;

impl Encoder for Search {
    const NAME: &'static str = "Q6_K";
    const LEN: usize = 256;
    const BYTES: usize = 210;

    #[inline(always)]
    fn tile(x: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
        let t = Lanes::<16, 16>::new(x, importance, WEIGHTING, true);
        let s = linear::super_block::<Integers<-32, 31, 32>, 16, 16>(&t, evenly(-33.6, -26.0, 16), -128.0, 127.0);
        put(s.d, &s.scales.map(byte), &s.codes, out);
    }
}

#[inline(always)]
fn put(d: u16, scales: &[u8; 16], codes: &[u8; TILE], out: &mut [u8]) {
    for (half, codes) in codes.chunks_exact(128).enumerate() {
        for l in 0..32 {
            let [a, b, c, d] = [codes[l], codes[l + 32], codes[l + 64], codes[l + 96]];
            out[64 * half + l] = a & 15 | c << 4;
            out[64 * half + l + 32] = b & 15 | d << 4;
            out[128 + 32 * half + l] = a >> 4 | b >> 4 << 2 | c >> 4 << 4 | d >> 4 << 6;
        }
    }
    out[192..208].copy_from_slice(scales);
    out[208..210].copy_from_slice(&d.to_le_bytes());
}

/// The inverse of unpack.
pub static PACK: Pack = Pack { codes: (-32, 31), table: &[], unit: 16, scales: (-128, 127), mins: 0, pack };

fn pack(tile: &Tile, out: &mut [u8]) {
    put(f32_to_f16(tile.d[0]), &tile.scale.map(|s| s as u8), &tile.q.map(|q| (q + 32) as u8), out);
}
