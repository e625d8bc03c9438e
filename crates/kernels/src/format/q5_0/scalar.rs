//! Q5_0 in portable Rust: the reference.

use crate::format::common::{half_at, nibbles32};
use crate::tile::{Tile, decode_blocks32};

/// Decodes whole blocks.
pub fn decode(bytes: &[u8], out: &mut [f32]) {
    decode_blocks32(unpack, 22, false, bytes, out)
}

/// Unpacks whole blocks, at most a tile.
#[inline(always)]
pub fn unpack(blocks: &[u8], tile: &mut Tile) {
    for (b, block) in blocks.chunks_exact(22).enumerate() {
        tile.d[b] = half_at(block, 0);
        let high = u32::from_le_bytes([block[2], block[3], block[4], block[5]]);
        let q = &mut tile.q[32 * b..][..32];
        nibbles32(&block[6..22], q);
        for (i, q) in q.iter_mut().enumerate() {
            *q = (*q | (((high >> i) & 1) << 4) as i8) - 16;
        }
    }
}
