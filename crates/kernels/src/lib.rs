//! Block formats, and the loops over blocks. The only home of SIMD. No files, threads, allocation or models.
//!
//! Read in this order: [`mod@format`] (what a block is: one folder a format, the byte layout first), [`Tile`] (a block unpacked), [`dot`] (the
//! products, written once an instruction set and an activation type), [`Chosen`] (the only door to them), [`ops`] (what a layer needs besides).
//!
//! The instruction sets are those of [`Isa`]: AVX-512 with VNNI, AVX-VNNI, AVX2, on ARM i8mm, dot products and NEON, and portable Rust.
//! Each format has the rows of those for which there are kernels, and the CPU is asked at run time which of them it has.
//!
//! Every instruction set gives the same bits. The integer part of a product is exact in any order; the floating-point part is accumulated in
//! sixteen lanes in a fixed order, reduced by a fixed tree, and never contracted into fused multiply-adds.

mod activation;
mod chosen;
mod cpu;
pub mod dot;
mod each;
pub mod format;
mod line;
pub mod ops;
mod prefetch;
pub mod probe;
mod search;
mod tile;

pub use activation::Activation;
pub use chosen::Chosen;
pub use cpu::{Core, Isa};
pub use dot::Kernel;
pub use format::{FORMATS, Format};
pub use line::Line;
pub use prefetch::prefetch;
pub use probe::Probe;
pub use search::feedback;
pub use tile::Tile;
