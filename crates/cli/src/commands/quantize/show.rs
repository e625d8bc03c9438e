//! A plan and its outcome, for people and for scripts.

use std::path::Path;

use nibble_compress::Plan;
use nibble_compress::plan::Step;
use nibble_evaluate::machine::Memory;
use serde_json::{Value, json};

use super::job::Done;
use crate::terminal::{printable, table};
use crate::units;

/// The plan as a table.
pub fn plan_text(out: &Path, plan: &Plan) -> String {
    let row = |step: &Step| {
        let mark = if step.wanted.is_some() { "*" } else { "" };
        vec![
            printable(&step.name),
            shape(step),
            step.from.to_string(),
            format!("{}{mark}", step.to.name),
            units::grouped(step.bytes_out),
            format!("{:.3}", step.bits_per_weight()),
        ]
    };
    let rows: Vec<Vec<String>> = plan.steps.iter().map(row).collect();
    let mut text = table(&["tensor", "shape", "from", "to", "bytes", "bits per weight"], &rows);
    for skipped in &plan.skipped {
        text.push_str(&format!("left out: {}: {}\n", printable(&skipped.name), skipped.why));
    }
    if let Some(note) = fallbacks(plan) {
        text.push_str(&format!("* {note}\n"));
    }
    text.push_str(&format!(
        "{}: {} tensors, {} weights, {} -> {} bytes ({:.1} %), {:.3} bits per weight\nNothing was written; without --dry-run this would be {}\n",
        plan.recipe.name,
        plan.steps.len(),
        units::grouped(plan.weights()),
        units::grouped(plan.bytes_in()),
        units::grouped(plan.bytes_out()),
        percent(plan.bytes_out(), plan.bytes_in()),
        plan.bits_per_weight(),
        out.display(),
    ));
    text
}

/// The plan for a script.
pub fn plan_json(input: &Path, out: &Path, plan: &Plan) -> Value {
    let step = |s: &Step| json!({"name": s.name, "shape": s.shape, "from": s.from, "type": s.to.name, "wanted": s.wanted.map(|f| f.name), "bytes_in": s.bytes_in, "bytes": s.bytes_out});
    json!({
        "input": input.display().to_string(),
        "output": out.display().to_string(),
        "type": plan.recipe.name,
        "method": plan.options.method.name,
        "parameters": plan.weights(),
        "bytes_in": plan.bytes_in(),
        "bytes_out": plan.bytes_out(),
        "bits_per_weight": plan.bits_per_weight(),
        "tensors": plan.steps.iter().map(step).collect::<Vec<_>>(),
        "left_out": plan.skipped.iter().map(|s| json!({"name": s.name, "why": s.why})).collect::<Vec<_>>(),
    })
}

/// What was done, in two lines.
pub fn summary_text(input: &Path, out: &Path, plan: &Plan, done: &Done) -> String {
    let rate = done.bytes_before as f64 / done.time.as_secs_f64().max(1e-9);
    format!(
        "{} -> {} ({}, {})\n{} -> {} ({:.1} %), {:.3} bits per weight, {} ({}/s, {} threads){}\n",
        input.display(),
        out.display(),
        plan.recipe.name,
        plan.options.method.name,
        units::bytes(done.bytes_before),
        units::bytes(done.report.file_bytes),
        percent(done.report.file_bytes, done.bytes_before),
        plan.bits_per_weight(),
        units::duration(done.time),
        units::bytes(rate as u64),
        done.threads,
        memory(),
    )
}

/// What a run took at most, where the system tells.
pub fn memory() -> String {
    Memory::now().peak_resident_bytes.map_or_else(String::new, |bytes| format!(", {} of memory at most", units::bytes(bytes)))
}

/// The same for a script.
pub fn summary_json(input: &Path, out: &Path, plan: &Plan, done: &Done) -> Value {
    json!({
        "input": input.display().to_string(),
        "output": out.display().to_string(),
        "type": plan.recipe.name,
        "method": plan.options.method.name,
        "parameters": plan.weights(),
        "tensors": plan.steps.len(),
        "bytes_before": done.bytes_before,
        "bytes_after": done.report.file_bytes,
        "tensor_bytes": done.report.tensor_bytes,
        "bits_per_weight": plan.bits_per_weight(),
        "fallbacks": plan.fallbacks(),
        "threads": done.threads,
        "seconds": done.time.as_secs_f64(),
        "peak_resident_bytes": Memory::now().peak_resident_bytes,
    })
}

/// Tells of tensors that could not get what the recipe wants for them.
pub fn fallbacks(plan: &Plan) -> Option<String> {
    let first = plan.steps.iter().find_map(|s| Some((s, s.wanted?)))?;
    let (step, wanted) = first;
    Some(format!(
        "{} of {} tensors get a larger type because their rows are not whole blocks: {} has rows of {}, {} needs a multiple of {}",
        plan.fallbacks(),
        plan.steps.len(),
        printable(&step.name),
        step.shape.last().copied().unwrap_or(0),
        wanted.name,
        wanted.block_len,
    ))
}

fn shape(step: &Step) -> String {
    step.shape.iter().map(u64::to_string).collect::<Vec<_>>().join(" x ")
}

fn percent(part: u64, whole: u64) -> f64 {
    100.0 * part as f64 / whole.max(1) as f64
}
