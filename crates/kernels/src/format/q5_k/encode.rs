//! Q5_K encoder: eight scales and offsets of six bits by `search::affine`; the fifth bits apart.

use crate::Tile;
use crate::format::Pack;
use crate::format::common::{bytes_k4, pack_nibbles64, pack_scales_mins_k4};
use crate::ops::f32_to_f16;
use crate::search::{
    self, Encoder, Lanes, TILE, Weighting, affine,
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
    const NAME: &'static str = "Q5_K";
    const LEN: usize = 256;
    const BYTES: usize = 176;

    #[inline(always)]
    fn tile(x: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
        let t = Lanes::<32, 8>::new(x, importance, WEIGHTING, true);
        let s = affine::super_block(&t, 31.0, evenly(-3.5, 0.8, 16), 63.0);
        put(s.d, s.dmin, &s.scales.map(byte), &s.mins.map(byte), &s.codes, out);
    }
}

#[inline(always)]
fn put(d: u16, dmin: u16, scales: &[u8; 8], mins: &[u8; 8], codes: &[u8; TILE], out: &mut [u8]) {
    out[..2].copy_from_slice(&d.to_le_bytes());
    out[2..4].copy_from_slice(&dmin.to_le_bytes());
    pack_scales_mins_k4(scales, mins, &mut out[4..16]);
    out[16..48].fill(0);
    for (b, codes) in codes.chunks_exact(32).enumerate() {
        for (out, &code) in out[16..48].iter_mut().zip(codes) {
            *out |= (code >> 4) << b;
        }
    }
    pack_nibbles64(codes, &mut out[48..]);
}

/// The inverse of unpack.
pub static PACK: Pack = Pack { codes: (0, 31), table: &[], unit: 32, scales: (0, 63), mins: 63, pack };

fn pack(tile: &Tile, out: &mut [u8]) {
    let (scales, mins) = bytes_k4(tile);
    put(f32_to_f16(tile.d[0]), f32_to_f16(tile.m[0]), &scales, &mins, &tile.q.map(|q| q as u8), out);
}
