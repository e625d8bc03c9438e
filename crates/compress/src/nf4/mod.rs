//! bitsandbytes NF4: a checkpoint directory that transformers opens with `from_pretrained`.

pub mod state;
pub mod statistics;

/// Weights that share one absmax.
pub const BLOCK: usize = 64;
