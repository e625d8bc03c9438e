//! Models side by side: the one table and page that a choice between them needs.
//!
//! A [`Comparison`] is plain data: what was measured of each model, by whichever part of this crate. [`mod@columns`] is the table of what is shown of it;
//! Markdown, CSV and the page walk it. [`tensors`] measures what quantizing did to each tensor. [`page`] writes one HTML file that needs nothing else:
//! plots are SVG drawn here, each with a table of its numbers.

pub mod columns;
mod data;
pub mod page;
mod plot;
mod show;
pub mod tensors;

pub use columns::{Column, columns};
pub use data::{Comparison, Entry, Estimate, KIND, SCHEMA, Speed, TaskFigure, task_figures};
pub use show::{csv, markdown};
