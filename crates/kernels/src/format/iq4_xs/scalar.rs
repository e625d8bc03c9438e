//! IQ4_XS in portable Rust: the reference.

use crate::format::common::{IQ4_VALUES, half_at, nibbles32, scales_iq4_xs};
use crate::tile::{Tile, decode_blocks256};

/// Decodes whole blocks.
pub fn decode(bytes: &[u8], out: &mut [f32]) {
    decode_blocks256(unpack, 136, false, bytes, out)
}

/// Unpacks one block.
#[inline(always)]
pub fn unpack(block: &[u8], tile: &mut Tile) {
    tile.d[0] = half_at(block, 0);
    scales_iq4_xs(block, &mut tile.scale);
    for (q, qs) in tile.q.chunks_exact_mut(32).zip(block[8..136].chunks_exact(16)) {
        nibbles32(qs, q);
        for q in q {
            *q = IQ4_VALUES[*q as usize];
        }
    }
}
