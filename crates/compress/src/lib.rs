//! Checkpoint to smaller checkpoint: recipes, plan, streaming run, NF4, synthetic checkpoints.
