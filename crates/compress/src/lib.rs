//! Checkpoint to smaller checkpoint: recipes, plan, streaming run, NF4, synthetic checkpoints.
//!
//! Read in this order: [`recipe`] (which format each tensor gets), [`plan`](mod@plan) (a checkpoint and a recipe as data), [`run`](mod@run) (the
//! plan carried out, a piece at a time), [`method`] (how codes are chosen), [`allocate`] (types by measurement), [`calibrate`],
//! [`gptq`] and [`fold`] (what some methods need), [`nf4`] (the other kind of
//! output). Nothing here prints or reads the environment.

pub mod allocate;
pub mod calibrate;
mod error;
pub mod fold;
pub mod gptq;
pub mod guide;
mod metadata;
pub mod method;
pub mod naming;
pub mod nf4;
pub mod plan;
pub mod recipe;
pub mod run;
mod space;
pub mod stream;
pub mod synth;

pub use error::Error;
pub use metadata::metadata;
pub use method::{METHODS, Method};
pub use plan::{Options, Plan, plan, size};
pub use run::{Control, Progress, Report, run};
