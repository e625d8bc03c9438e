//! How fast a model runs here: loading, prompts, generation, memory, each beside what the machine could do.
//!
//! As llama-bench does, tokens are fed and logits computed, but nothing is sampled and no text is read or written: the ids are a fixed sequence, so
//! that nothing depends on what a model says. A prompt's logits are those after its last token; generation feeds one token at a time to a cache
//! that holds `depth` tokens already, and filling it is not counted.
//!
//! [`Plan`] says what will be measured and what cannot be, [`run`] measures, [`Report`] is the outcome, `show` and [`compare()`] write it.

mod compare;
mod cost;
mod plan;
mod report;
mod run;
mod show;

pub use compare::{Comparison, Ratio, compare};
pub use cost::Cost;
pub use plan::{Cell, Plan, Settings};
pub use report::{Measured, Model, Report, SCHEMA, Skipped, Test};
pub use run::{Step, run};
pub use show::{CSV_COLUMNS, csv, markdown};
