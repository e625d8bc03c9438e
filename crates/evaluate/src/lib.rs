//! What a model is worth: how fast it runs here, and how good it is on a text.
//!
//! [`mod@bench`] measures speed; [`machine`] says what the machine could do at best; [`quality`] measures perplexity and the divergence from another model.
//! Nothing here prints: reports are values and texts.

pub mod bench;
pub mod machine;
pub mod quality;
