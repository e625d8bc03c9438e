//! How good a model is, measured on a text: perplexity, and how far its predictions are from another model's.
//!
//! All of it goes one way. A text becomes tokens, and tokens become [`windows`], each with the positions that are scored in it. The model gives
//! a row of logits for each position; [`nibble_engine::logits`] makes a few numbers of a row ([`record::Chunk`]: the surprise at the token that really comes
//! next, and beside a reference the KL divergence). Nothing else is kept: every figure ([`figures`]) is a pure function of these numbers in
//! their order. So a run that was interrupted goes on, shards on many machines are put together by laying their chunks side by side, and two
//! runs are compared position by position ([`pair`]): always to the bits of one run that was never cut.
//!
//! | file | what it does |
//! |---|---|
//! | `windows.rs` | which tokens are fed and which are scored: llama-perplexity's chunks, sliding windows, shards |
//! | `base/` | what a reference model said, in a file: llama-perplexity's format and a compact one |
//! | `run.rs` | the loop over windows |
//! | `record.rs` | what is kept of a run, as JSON; resuming and merging |
//! | `figures.rs` | means, standard errors, percentiles |
//! | `pair.rs` | two runs on the same positions: the ratio of their divergences with an interval |
//! | `tensors.rs` | which tensor hurts |
//! | `show.rs` | runs and comparisons as text |

pub mod base;
mod error;
pub mod figures;
pub mod pair;
pub mod record;
mod rng;
pub mod run;
pub mod show;
pub mod tensors;
pub mod windows;

pub use error::Fault;
