//! The levels that codes stand for: integers of a range, or a table.

use crate::format::common::IQ4_VALUES;

/// Adding this to a float of magnitude below 2^22 rounds it to the nearest integer, ties to even; the low bits of the sum are that integer in two's
/// complement.
pub const ROUND: f32 = 12_582_912.0;

/// To the nearest integer, for |x| < 2^22.
#[inline(always)]
pub fn nearest(x: f32) -> f32 {
    (x + ROUND) - ROUND
}

/// The low byte of an integer held in a float, in two's complement, for |x| < 2^22.
#[inline(always)]
pub fn byte(x: f32) -> u8 {
    (x + ROUND).to_bits() as u8
}

/// `count` numbers from `from` to `to`, both included.
#[inline(always)]
pub fn evenly(from: f32, to: f32, count: usize) -> impl Iterator<Item = f32> {
    let step = (to - from) / (count - 1) as f32;
    (0..count).map(move |i| from + step * i as f32)
}

#[inline(always)]
pub fn clamp(x: f32, low: f32, high: f32) -> f32 {
    let x = if x > low { x } else { low };
    if x < high { x } else { high }
}

/// The levels of a code.
pub trait Grid {
    /// The lowest level.
    const LOW: f32;
    /// The highest level.
    const HIGH: f32;
    /// The level nearest to `u`.
    fn nearest(u: f32) -> f32;
    /// The code of a level, as the format stores it.
    fn code(level: f32) -> u8;
}

/// The integers `LOW..=HIGH`; codes are counted from `ZERO`, the code of level 0.
pub struct Integers<const LOW: i32, const HIGH: i32, const ZERO: i32>;

impl<const LOW: i32, const HIGH: i32, const ZERO: i32> Grid for Integers<LOW, HIGH, ZERO> {
    const LOW: f32 = LOW as f32;
    const HIGH: f32 = HIGH as f32;

    #[inline(always)]
    fn nearest(u: f32) -> f32 {
        nearest(clamp(u, Self::LOW, Self::HIGH))
    }

    #[inline(always)]
    fn code(level: f32) -> u8 {
        byte(level + ZERO as f32)
    }
}

/// The table of IQ4_NL and IQ4_XS.
pub struct Iq4;

/// Index of the nearest value for u in -128 + k/2 .. -128 + (k+1)/2: the midpoints of the table are multiples of one half, so that a table of this
/// resolution is exact.
const IQ4_INDEX: [u8; 512] = {
    let mut table = [0u8; 512];
    let mut k = 0;
    while k < 512 {
        let mut index = 0;
        // Twice u at the middle of the bin is k - 256 + 1/2; twice the midpoint of two values is their sum.
        while index < 15 && 2 * (k as i32 - 256) + 1 > 2 * (IQ4_VALUES[index] as i32 + IQ4_VALUES[index + 1] as i32) {
            index += 1;
        }
        table[k] = index as u8;
        k += 1;
    }
    table
};

/// The values themselves, for the search, which needs no index.
const IQ4_LEVEL: [f32; 512] = {
    let mut table = [0f32; 512];
    let mut k = 0;
    while k < 512 {
        table[k] = IQ4_VALUES[IQ4_INDEX[k] as usize] as f32;
        k += 1;
    }
    table
};

#[inline(always)]
fn iq4_bin(u: f32) -> usize {
    // Rounding 2u + 255.5 to nearest is taking the floor of 2u + 256; on the edge of a bin both neighbours are right.
    ((2.0 * clamp(u, -127.5, 127.0) + 255.5) + 8_388_608.0).to_bits() as usize & 511
}

impl Grid for Iq4 {
    const LOW: f32 = -127.0;
    const HIGH: f32 = 113.0;

    #[inline(always)]
    fn nearest(u: f32) -> f32 {
        IQ4_LEVEL[iq4_bin(u)]
    }

    #[inline(always)]
    fn code(level: f32) -> u8 {
        IQ4_INDEX[iq4_bin(level)]
    }
}
