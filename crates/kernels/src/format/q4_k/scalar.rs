//! Q4_K in portable Rust: the reference.

use crate::format::common::{half_at, scales_mins_k4};
use crate::tile::{Tile, decode_blocks256};

/// Decodes whole blocks.
pub fn decode(bytes: &[u8], out: &mut [f32]) {
    decode_blocks256(unpack, 144, true, bytes, out)
}

/// Unpacks one block.
#[inline(always)]
pub fn unpack(block: &[u8], tile: &mut Tile) {
    (tile.d[0], tile.m[0]) = (half_at(block, 0), half_at(block, 2));
    scales_mins_k4(&block[4..16], &mut tile.scale, &mut tile.min);
    for (q, qs) in tile.q.chunks_exact_mut(64).zip(block[16..144].chunks_exact(32)) {
        let (low, high) = q.split_at_mut(32);
        for ((low, high), &byte) in low.iter_mut().zip(high).zip(qs) {
            *low = (byte & 15) as i8;
            *high = (byte >> 4) as i8;
        }
    }
}
