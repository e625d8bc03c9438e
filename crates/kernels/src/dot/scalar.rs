//! The products in portable Rust: read these first. They are the reference of the other instruction sets.

use super::{Job, walk};
use crate::activation::{HEADER, TILE_BYTES, f32_at};
use crate::tile::{TILE, Tile};

/// Blocks of 32 times Q8_0 activations (with an offset: Q8_1).
pub fn blocks32(job: &Job<'_>, out: &mut [f32]) {
    let offset = job.format.offset;
    // SAFETY: the unpack beside this driver is portable.
    unsafe { walk(job, TILE_BYTES, out, |tile, act, i, lanes| product32(offset, tile, act, i, lanes)) }
}

/// Blocks of 256 times Q8_K activations.
pub fn blocks256(job: &Job<'_>, out: &mut [f32]) {
    let offset = job.format.offset;
    // SAFETY: the unpack beside this driver is portable.
    unsafe { walk(job, TILE_BYTES, out, |tile, act, i, lanes| product256(offset, tile, act, i, lanes)) }
}

/// Floats times F32 activations.
pub fn floats(job: &Job<'_>, out: &mut [f32]) {
    // SAFETY: the unpack beside this driver is portable.
    unsafe { walk(job, 4 * TILE, out, |tile, act, _, lanes| product_floats(tile, act, lanes)) }
}

fn product32(offset: bool, tile: &Tile, act: &[u8], i: usize, lanes: &mut [f32; 16]) {
    let lanes = &mut lanes[i % 2 * 8..][..8];
    for (b, lane) in lanes.iter_mut().enumerate() {
        let w = &tile.q[32 * b..][..32];
        let a = &act[HEADER + 32 * b..][..32];
        let isum: i32 = w.iter().zip(a).map(|(&w, &a)| i32::from(w) * i32::from(a as i8)).sum();
        let product = (tile.d[b] * f32_at(act, b)) * isum as f32;
        *lane += if offset { product + tile.m[b] * f32_at(act, 8 + b) } else { product };
    }
}

fn product256(offset: bool, tile: &Tile, act: &[u8], i: usize, lanes: &mut [f32; 16]) {
    let (mut isum, mut msum) = (0i32, 0i32);
    for s in 0..16 {
        let w = &tile.q[16 * s..][..16];
        let a = &act[HEADER + 16 * s..][..16];
        let sum: i32 = w.iter().zip(a).map(|(&w, &a)| i32::from(w) * i32::from(a as i8)).sum();
        isum += i32::from(tile.scale[s]) * sum;
        msum += i32::from(tile.min[s]) * i32::from(i16::from_le_bytes([act[32 + 2 * s], act[33 + 2 * s]]));
    }
    lanes[i % 16] += combine256(offset, tile, f32_at(act, 0), isum, msum);
}

/// The floating-point part of a 256-block: one expression for all instruction sets.
#[inline(always)]
pub fn combine256(offset: bool, tile: &Tile, da: f32, isum: i32, msum: i32) -> f32 {
    let product = (tile.d[0] * da) * isum as f32;
    if offset { product - (tile.m[0] * da) * msum as f32 } else { product }
}

fn product_floats(tile: &Tile, act: &[u8], lanes: &mut [f32; 16]) {
    let mut sums = *lanes;
    for (w, a) in tile.f.chunks_exact(16).zip(act.chunks_exact(64)) {
        for ((sum, w), a) in sums.iter_mut().zip(w).zip(a.chunks_exact(4)) {
            *sum += w * f32_at(a, 0);
        }
    }
    *lanes = sums;
}
