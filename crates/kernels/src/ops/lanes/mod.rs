//! Sixteen floats as one value, for each instruction set: what the loops of attention are written in, once.
//!
//! Sixteen is the number of lanes in which every sum of this crate runs (see [`crate::dot`]): one register with AVX-512, two with AVX2, four with NEON,
//! an array in portable Rust. Products are rounded before they are added, and `sums` is the tree of [`crate::dot::reduce`], so that a loop
//! written over `Lanes` gives the same bits on each.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;
mod plain;

#[cfg(target_arch = "aarch64")]
pub use neon::Neon;
pub use plain::Plain;
#[cfg(target_arch = "x86_64")]
pub use {avx2::Avx2, avx512::Avx512};

/// Sixteen floats.
///
/// Every method is unsafe for one reason: the CPU must have the instruction set. The loops over it are inlined into a function that is compiled for
/// that set, and the methods into them.
pub trait Lanes: Copy {
    /// Sums that a loop keeps going side by side, 4 or 8: enough to hide how long an addition takes, and no more than there are registers.
    const WIDE: usize;
    /// Rows of queries that go side by side, 1 to 4: each needs that many sums more, of which four go side by side.
    const ROWS: usize;
    /// All lanes the same.
    unsafe fn splat(x: f32) -> Self;
    /// From memory, any alignment.
    unsafe fn load(x: &[f32; 16]) -> Self;
    /// From sixteen little-endian halves; exact, a NaN becomes quiet.
    unsafe fn load_f16(x: &[u8; 32]) -> Self;
    /// To memory.
    unsafe fn store(self, to: &mut [f32; 16]);
    /// self + other.
    unsafe fn add(self, other: Self) -> Self;
    /// self * other.
    unsafe fn mul(self, other: Self) -> Self;
    /// To half precision and back: to nearest, ties to even.
    unsafe fn round_f16(self) -> Self;
    /// The sum of the lanes of each of four.
    unsafe fn sums(four: [Self; 4]) -> [f32; 4];
}
