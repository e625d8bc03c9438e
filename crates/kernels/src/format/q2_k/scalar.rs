//! Q2_K in portable Rust: the reference.

use crate::format::common::half_at;
use crate::tile::{Tile, decode_blocks256};

/// Decodes whole blocks.
pub fn decode(bytes: &[u8], out: &mut [f32]) {
    decode_blocks256(unpack, 84, true, bytes, out)
}

/// Unpacks one block.
#[inline(always)]
pub fn unpack(block: &[u8], tile: &mut Tile) {
    (tile.d[0], tile.m[0]) = (half_at(block, 80), half_at(block, 82));
    for (s, &byte) in block[..16].iter().enumerate() {
        tile.scale[s] = i16::from(byte & 15);
        tile.min[s] = i16::from(byte >> 4);
    }
    for (q, qs) in tile.q.chunks_exact_mut(128).zip(block[16..80].chunks_exact(32)) {
        for (j, q) in q.chunks_exact_mut(32).enumerate() {
            for (q, &byte) in q.iter_mut().zip(qs) {
                *q = ((byte >> (2 * j)) & 3) as i8;
            }
        }
    }
}
