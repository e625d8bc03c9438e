//! Q6_K in portable Rust: the reference.

use crate::format::common::half_at;
use crate::tile::{Tile, decode_blocks256};

/// Decodes whole blocks.
pub fn decode(bytes: &[u8], out: &mut [f32]) {
    decode_blocks256(unpack, 210, false, bytes, out)
}

/// Unpacks one block.
#[inline(always)]
pub fn unpack(block: &[u8], tile: &mut Tile) {
    tile.d[0] = half_at(block, 208);
    for (scale, &byte) in tile.scale.iter_mut().zip(&block[192..208]) {
        *scale = i16::from(byte as i8);
    }
    for (q, (ql, qh)) in tile.q.chunks_exact_mut(128).zip(block[..128].chunks_exact(64).zip(block[128..192].chunks_exact(32))) {
        for l in 0..32 {
            let (a, b, h) = (ql[l], ql[l + 32], qh[l]);
            q[l] = (a & 15 | (h & 3) << 4) as i8 - 32;
            q[l + 32] = (b & 15 | ((h >> 2) & 3) << 4) as i8 - 32;
            q[l + 64] = (a >> 4 | ((h >> 4) & 3) << 4) as i8 - 32;
            q[l + 96] = (b >> 4 | (h >> 6) << 4) as i8 - 32;
        }
    }
}
