//! Room on the stack, as much as a job needs.
//!
//! What a driver for many tokens works on is 20 to 640 KiB, by the length of the rows. A frame of the most that could be is no way out: the compiler's code touches each of a frame's pages
//! when the function begins, and with eight or sixteen tokens those misses alone are a tenth of the time of a job.

use std::mem::MaybeUninit;

use crate::line::Line;

/// Lines that there can be.
pub const MOST: usize = 10 << 10;

/// Calls `work` with the beginning of so many lines, which hold anything.
///
/// # Panics
/// With more than [`MOST`].
pub fn with(lines: usize, work: &mut dyn FnMut(*mut Line)) {
    match lines {
        ..=0x400 => frame::<0x400>(work),
        0x401..=0x800 => frame::<0x800>(work),
        0x801..=0x1000 => frame::<0x1000>(work),
        0x1001..=0x2000 => frame::<0x2000>(work),
        0x2001..=MOST => frame::<MOST>(work),
        _ => panic!("{lines} lines on the stack"),
    }
}

/// Never inlined: a frame belongs to a function.
#[inline(never)]
fn frame<const LINES: usize>(work: &mut dyn FnMut(*mut Line)) {
    let mut lines = MaybeUninit::<[Line; LINES]>::uninit();
    work(lines.as_mut_ptr().cast());
}
