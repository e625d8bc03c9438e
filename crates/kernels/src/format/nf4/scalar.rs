//! NF4 in portable Rust: the reference.

use super::CODES;
use crate::activation::f32_at;
use crate::tile::{Tile, decode_floats};

/// Decodes whole blocks.
pub fn decode(bytes: &[u8], out: &mut [f32]) {
    decode_floats(unpack, 64, 36, bytes, out)
}

/// Unpacks whole blocks, at most a tile.
#[inline(always)]
pub fn unpack(blocks: &[u8], tile: &mut Tile) {
    for (y, block) in tile.f.chunks_exact_mut(64).zip(blocks.chunks_exact(36)) {
        let absmax = f32_at(block, 0);
        for (y, &byte) in y.chunks_exact_mut(2).zip(&block[4..]) {
            y[0] = CODES[usize::from(byte >> 4)] * absmax;
            y[1] = CODES[usize::from(byte & 15)] * absmax;
        }
    }
}
