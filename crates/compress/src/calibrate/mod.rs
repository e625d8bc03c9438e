//! Calibration: what a model's matrices are fed when it reads a text. The figures that llama-imatrix gathers, in its files ([`imatrix`]), gathered layer by
//! layer ([`mod@collect`]); full second moments in a file ([`mod@second_moments`]); and the text that ships with the program ([`mod@texts`]).

pub mod collect;
pub mod imatrix;
mod legacy;
pub mod second_moments;
pub mod texts;

pub(crate) use collect::fingerprint;
pub use collect::{Collect, collect};
pub use imatrix::{Entry, Imatrix, ImatrixFault};
pub use second_moments::SecondMoments;
pub use texts::Texts;
