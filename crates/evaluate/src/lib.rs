//! What a model is worth: how fast it runs here, and how good it is on a text.
//!
//! [`mod@bench`] measures speed; [`mod@limits`] says what the machine could do at best; [`quality`] measures perplexity and the divergence from another model;
//! [`tasks`] asks questions with known answers; [`compare_models`] puts all of it side by side. Nothing here prints: reports are values and texts.

pub mod bench;
pub mod compare_models;
pub mod limits;
pub mod machine;
pub mod quality;
pub mod tasks;
