//! What a model is worth: how fast it runs here. (Its quality, perplexity and the like, will stand here too.)
//!
//! [`mod@bench`] measures and reports; [`machine`] says what the machine could do at best. Nothing here prints: reports are values and texts.

pub mod bench;
pub mod compare_models;
pub mod machine;
pub mod tasks;
