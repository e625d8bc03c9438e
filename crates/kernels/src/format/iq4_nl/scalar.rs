//! IQ4_NL in portable Rust: the reference.

use crate::format::common::{IQ4_VALUES, half_at, nibbles32};
use crate::tile::{Tile, decode_blocks32};

/// Decodes whole blocks.
pub fn decode(bytes: &[u8], out: &mut [f32]) {
    decode_blocks32(unpack, 18, false, bytes, out)
}

/// Unpacks whole blocks, at most a tile.
#[inline(always)]
pub fn unpack(blocks: &[u8], tile: &mut Tile) {
    for (b, block) in blocks.chunks_exact(18).enumerate() {
        tile.d[b] = half_at(block, 0);
        let q = &mut tile.q[32 * b..][..32];
        nibbles32(&block[2..18], q);
        for q in q {
            *q = IQ4_VALUES[*q as usize];
        }
    }
}
