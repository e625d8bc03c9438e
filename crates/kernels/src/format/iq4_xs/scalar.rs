//! IQ4_XS in portable Rust: the reference.

use crate::format::common::{IQ4_VALUES, half_at, nibbles32};
use crate::tile::{Tile, decode_blocks256};

/// Decodes whole blocks.
pub fn decode(bytes: &[u8], out: &mut [f32]) {
    decode_blocks256(unpack, 136, false, bytes, out)
}

/// Unpacks one block.
#[inline]
pub fn unpack(block: &[u8], tile: &mut Tile) {
    tile.d[0] = half_at(block, 0);
    let high = u16::from_le_bytes([block[2], block[3]]);
    for b in 0..8 {
        let low = (block[4 + b / 2] >> (4 * (b % 2))) & 15;
        let scale = i16::from(low | ((high >> (2 * b)) as u8 & 3) << 4) - 32;
        (tile.scale[2 * b], tile.scale[2 * b + 1]) = (scale, scale);
    }
    for (q, qs) in tile.q.chunks_exact_mut(32).zip(block[8..136].chunks_exact(16)) {
        nibbles32(qs, q);
        for q in q {
            *q = IQ4_VALUES[*q as usize];
        }
    }
}
