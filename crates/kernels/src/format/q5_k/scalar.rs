//! Q5_K in portable Rust: the reference.

use crate::format::common::{half_at, scales_mins_k4};
use crate::tile::{Tile, decode_blocks256};

/// Decodes whole blocks.
pub fn decode(bytes: &[u8], out: &mut [f32]) {
    decode_blocks256(unpack, 176, true, bytes, out)
}

/// Unpacks one block.
#[inline(always)]
pub fn unpack(block: &[u8], tile: &mut Tile) {
    (tile.d[0], tile.m[0]) = (half_at(block, 0), half_at(block, 2));
    scales_mins_k4(&block[4..16], &mut tile.scale, &mut tile.min);
    let qh = &block[16..48];
    for (c, (q, qs)) in tile.q.chunks_exact_mut(64).zip(block[48..176].chunks_exact(32)).enumerate() {
        let (low, high) = q.split_at_mut(32);
        for (((low, high), &byte), &fifth) in low.iter_mut().zip(high).zip(qs).zip(qh) {
            *low = (byte & 15 | ((fifth >> (2 * c)) & 1) << 4) as i8;
            *high = (byte >> 4 | ((fifth >> (2 * c + 1)) & 1) << 4) as i8;
        }
    }
}
