//! Q3_K in portable Rust: the reference.

use crate::format::common::half_at;
use crate::tile::{Tile, decode_blocks256};

/// Decodes whole blocks.
pub fn decode(bytes: &[u8], out: &mut [f32]) {
    decode_blocks256(unpack, 110, false, bytes, out)
}

/// Unpacks one block.
#[inline]
pub fn unpack(block: &[u8], tile: &mut Tile) {
    tile.d[0] = half_at(block, 108);
    let (hmask, scales) = (&block[..32], &block[96..108]);
    for (j, scale) in tile.scale.iter_mut().enumerate() {
        let low = (scales[j % 8] >> (4 * (j / 8))) & 15;
        let high = (scales[8 + j % 4] >> (2 * (j / 4))) & 3;
        *scale = i16::from(low | high << 4) - 32;
    }
    for (h, (q, qs)) in tile.q.chunks_exact_mut(128).zip(block[32..96].chunks_exact(32)).enumerate() {
        for (j, q) in q.chunks_exact_mut(32).enumerate() {
            for ((q, &byte), &mask) in q.iter_mut().zip(qs).zip(hmask) {
                *q = ((byte >> (2 * j)) & 3 | ((mask >> (4 * h + j)) & 1) << 2) as i8 - 4;
            }
        }
    }
}
