//! MXFP4 in portable Rust: the reference.

use super::{VALUES, scale};
use crate::format::common::nibbles32;
use crate::tile::{Tile, decode_blocks32};

/// Decodes whole blocks.
pub fn decode(bytes: &[u8], out: &mut [f32]) {
    decode_blocks32(unpack, 17, false, bytes, out)
}

/// Unpacks whole blocks, at most a tile.
#[inline(always)]
pub fn unpack(blocks: &[u8], tile: &mut Tile) {
    for (b, block) in blocks.chunks_exact(17).enumerate() {
        tile.d[b] = scale(block[0]);
        let q = &mut tile.q[32 * b..][..32];
        nibbles32(&block[1..17], q);
        for q in q {
            *q = VALUES[*q as usize];
        }
    }
}
