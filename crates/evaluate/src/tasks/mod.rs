//! Questions with known answers: which answer a model thinks likely, scored as lm-evaluation-harness scores it.
//!
//! A file's rows ([`record`]) become questions of a task ([`table::TASKS`], `layouts.rs`), questions become contexts and continuations, and the model
//! gives their likelihoods ([`score`]). Of each question an [`report::Answer`] is kept, and every figure is a pure function of the answers in their order:
//! so an interrupted run goes on from its [`log`], and shards of many machines give exactly the figures of one run ([`report::merge`]).
//!
//! What is as in the harness (0.4.13, `tests/golden/tasks.py` holds it): prompts, tokens (the pair encoded together, the context's own tokens first, a begin of
//! sequence where the tokenizer adds one), sums of log-probabilities, choices (the first of equal ones), `acc_norm` by characters, standard errors, the means of
//! groups, the examples drawn for GSM8K. What differs: a prompt that is too long is cut at its beginning as there, and it is said.

pub mod data;
pub mod gsm8k;
pub mod instruct;
pub mod layouts;
pub mod log;
pub mod mmlu;
pub mod plan;
pub mod python_random;
pub mod question;
pub mod record;
pub mod report;
pub mod run;
pub mod score;
pub mod show;
pub mod table;

pub use crate::quality::windows::Shard;
pub use data::{Data, Error};
pub use plan::Plan;
pub use report::{Answer, Figure, MergeFault, Report, merge};
pub use run::{Step, run};
pub use table::{SEED, TASKS, Task, Wanted};
