//! The products with AVX-512 and VNNI.

mod many;
mod many256;
mod many32;
mod many_floats;
mod panel;

pub use many_floats::{Bf16, F16, F32, Nf4, floats};
pub use many32::blocks32;
pub use many256::blocks256;
pub use panel::{Any, Q4K, Q5K, Q6K, Q40, Q80};
