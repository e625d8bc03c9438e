//! Q8_0 in portable Rust: the reference.

use crate::format::common::half_at;
use crate::tile::{Tile, decode_blocks32};

/// Decodes whole blocks.
pub fn decode(bytes: &[u8], out: &mut [f32]) {
    decode_blocks32(unpack, 34, false, bytes, out)
}

/// Unpacks whole blocks, at most a tile.
#[inline(always)]
pub fn unpack(blocks: &[u8], tile: &mut Tile) {
    for (b, block) in blocks.chunks_exact(34).enumerate() {
        tile.d[b] = half_at(block, 0);
        let q = &mut tile.q[32 * b..][..32];
        for (q, &byte) in q.iter_mut().zip(&block[2..34]) {
            *q = byte as i8;
        }
    }
}
