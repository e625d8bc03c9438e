//! Q2_K encoder: sixteen scales and offsets of four bits by `search::affine`.

use crate::Tile;
use crate::format::Pack;
use crate::format::common::pack_pairs;
use crate::ops::f32_to_f16;
use crate::search::{
    self, Encoder, Lanes, TILE, Weighting, affine,
    grid::{byte, evenly},
    lanes::Plain,
};

const WEIGHTING: Weighting = Weighting { plain: Plain::Magnitude(0.3), spread: true };

/// Encodes whole blocks; see [`crate::search`] for how, and for what a NaN or an infinity becomes.
pub fn encode(x: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
    search::encode::<Search>(x, importance, out)
}

/// The search and the packing of this format.
pub struct Search;

impl Encoder for Search {
    const NAME: &'static str = "Q2_K";
    const LEN: usize = 256;
    const BYTES: usize = 84;

    #[inline(always)]
    fn tile(x: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
        let t = Lanes::<16, 16>::new(x, importance, WEIGHTING, true);
        let s = affine::super_block(&t, 3.0, evenly(-0.7, 0.7, 15), 15.0);
        put(s.d, s.dmin, &s.scales.map(byte), &s.mins.map(byte), &s.codes, out);
    }
}

#[inline(always)]
fn put(d: u16, dmin: u16, scales: &[u8; 16], mins: &[u8; 16], codes: &[u8; TILE], out: &mut [u8]) {
    for ((out, scale), min) in out[..16].iter_mut().zip(scales).zip(mins) {
        *out = scale | min << 4;
    }
    pack_pairs(codes, &mut out[16..80]);
    out[80..82].copy_from_slice(&d.to_le_bytes());
    out[82..84].copy_from_slice(&dmin.to_le_bytes());
}

/// The inverse of unpack.
pub static PACK: Pack = Pack { codes: (0, 3), table: &[], unit: 16, scales: (0, 15), mins: 15, pack };

fn pack(tile: &Tile, out: &mut [u8]) {
    let (scales, mins) = (tile.scale.map(|s| s as u8), tile.min.map(|m| m as u8));
    put(f32_to_f16(tile.d[0]), f32_to_f16(tile.m[0]), &scales, &mins, &tile.q.map(|q| q as u8), out);
}
