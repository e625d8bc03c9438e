//! Checkpoint to smaller checkpoint: recipes, plan, streaming run, NF4, synthetic checkpoints.

pub mod naming;
pub mod nf4;
pub mod recipe;
pub mod stream;
pub mod synth;
