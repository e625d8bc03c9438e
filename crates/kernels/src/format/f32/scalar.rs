//! F32 in portable Rust: the reference.

use crate::tile::{Tile, decode_floats};

/// Decodes whole blocks.
pub fn decode(bytes: &[u8], out: &mut [f32]) {
    decode_floats(unpack, 1, 4, bytes, out)
}

/// Unpacks whole blocks, at most a tile.
#[inline(always)]
pub fn unpack(blocks: &[u8], tile: &mut Tile) {
    for (y, b) in tile.f.iter_mut().zip(blocks.chunks_exact(4)) {
        *y = f32::from_le_bytes([b[0], b[1], b[2], b[3]]);
    }
}
