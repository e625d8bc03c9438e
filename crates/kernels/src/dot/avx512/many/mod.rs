//! Products of many tokens with AVX-512 and VNNI: panels of rows side by side, a lane a row. Read [`driver`] first, then [`panel`].

mod blocks256;
mod blocks32;
pub(crate) mod driver;
mod floats;
pub(crate) mod panel;

pub(crate) use blocks32::blocks32;
pub(crate) use blocks256::{add_pair, blocks256};
pub(crate) use floats::{Bf16, F16, F32, Nf4, floats};
pub(crate) use panel::{Any, Q4K, Q5K, Q6K, Q40, Q80};
