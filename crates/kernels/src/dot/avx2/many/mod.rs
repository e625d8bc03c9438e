//! Products of many tokens with AVX2 and AVX-VNNI: panels of rows side by side, a lane a row. Read [`driver`] first, then [`sums`] and
//! [`panel`].

mod blocks256;
mod blocks32;
mod driver;
mod floats;
mod panel;
mod sums;

pub(crate) use blocks32::blocks32;
pub(crate) use blocks256::blocks256;
pub(crate) use floats::floats;
pub(crate) use panel::{Block32, Block256, Fill32, Fill256, Rows, Tiles, halves, joined, rows16};
pub(crate) use sums::{Planes, Sums, Vnni, Words};
