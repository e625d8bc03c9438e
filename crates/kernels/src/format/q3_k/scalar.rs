//! Q3_K in portable Rust: the reference.

use crate::format::common::{half_at, scales_q3};
use crate::tile::{Tile, decode_blocks256};

/// Decodes whole blocks.
pub fn decode(bytes: &[u8], out: &mut [f32]) {
    decode_blocks256(unpack, 110, false, bytes, out)
}

/// Unpacks one block.
#[inline(always)]
pub fn unpack(block: &[u8], tile: &mut Tile) {
    tile.d[0] = half_at(block, 108);
    scales_q3(&block[96..108], &mut tile.scale);
    let hmask = &block[..32];
    for (h, (q, qs)) in tile.q.chunks_exact_mut(128).zip(block[32..96].chunks_exact(32)).enumerate() {
        for (j, q) in q.chunks_exact_mut(32).enumerate() {
            for ((q, &byte), &mask) in q.iter_mut().zip(qs).zip(hmask) {
                *q = ((byte >> (2 * j)) & 3 | ((mask >> (4 * h + j)) & 1) << 2) as i8 - 4;
            }
        }
    }
}
