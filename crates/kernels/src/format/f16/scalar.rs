//! F16 in portable Rust: the reference.

use crate::ops::f16_to_f32;
use crate::tile::{Tile, decode_floats};

/// Decodes whole blocks.
pub fn decode(bytes: &[u8], out: &mut [f32]) {
    decode_floats(unpack, 1, 2, bytes, out)
}

/// Unpacks whole blocks, at most a tile.
#[inline(always)]
pub fn unpack(blocks: &[u8], tile: &mut Tile) {
    unpack_into(blocks, &mut tile.f);
}

/// The same to any floats.
#[inline(always)]
pub fn unpack_into(blocks: &[u8], out: &mut [f32]) {
    for (y, b) in out.iter_mut().zip(blocks.chunks_exact(2)) {
        *y = f16_to_f32(u16::from_le_bytes([b[0], b[1]]));
    }
}
