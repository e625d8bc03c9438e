//! Q4_1 in portable Rust: the reference.

use crate::format::common::{half_at, nibbles32};
use crate::tile::{Tile, decode_blocks32};

/// Decodes whole blocks.
pub fn decode(bytes: &[u8], out: &mut [f32]) {
    decode_blocks32(unpack, 20, true, bytes, out)
}

/// Unpacks whole blocks, at most a tile.
#[inline(always)]
pub fn unpack(blocks: &[u8], tile: &mut Tile) {
    for (b, block) in blocks.chunks_exact(20).enumerate() {
        (tile.d[b], tile.m[b]) = (half_at(block, 0), half_at(block, 2));
        let q = &mut tile.q[32 * b..][..32];
        nibbles32(&block[4..20], q);
    }
}
