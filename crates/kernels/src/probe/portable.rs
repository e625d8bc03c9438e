//! The loops in portable Rust: for CPUs without a row of their own, and what the others are tested against.

use super::{STEP, STREAMS, SUMS};

/// Wrapping sum of the 64-bit words; the last one filled up with zeros.
pub fn words(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    words.iter().chain([&last]).fold(0u64, |sum, word| sum.wrapping_add(u64::from_le_bytes(*word)))
}

/// See `Loops::read`.
pub fn read(bytes: &[u8]) -> u64 {
    let stream = bytes.len() / STREAMS;
    let mut sums = [0u64; STEP / 8];
    for at in (0..stream).step_by(STEP) {
        for s in 0..STREAMS {
            let words = bytes[s * stream + at..][..STEP].as_chunks::<8>().0;
            sums.iter_mut().zip(words).for_each(|(sum, word)| *sum = sum.wrapping_add(u64::from_le_bytes(*word)));
        }
    }
    sums.iter().fold(0, |a, b| a.wrapping_add(*b))
}

/// See `Loops::multiply_add`. Whatever the compiler makes of it: sixteen lanes of 8-bit factors, widened, multiplied and added.
pub fn multiply_add(rounds: u32) -> u64 {
    let mut sums = [[0i32; 16]; SUMS];
    let (mut a, b) = ([1i8; 16], std::hint::black_box([1i8; 16]));
    for _ in 0..rounds {
        // Opaque, or the product would be taken out of the loop.
        a = std::hint::black_box(a);
        for sums in &mut sums {
            for (sum, (&a, &b)) in sums.iter_mut().zip(a.iter().zip(&b)) {
                *sum = sum.wrapping_add(i32::from(a) * i32::from(b));
            }
        }
    }
    sums.iter().flatten().map(|&sum| u64::from(sum.unsigned_abs())).sum()
}
