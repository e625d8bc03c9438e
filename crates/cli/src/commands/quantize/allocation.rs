//! Types of single tensors: from a list, or chosen by measurement.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result};
use nibble_compress::allocate::{self, Allocation, Budget, How, Types};
use nibble_compress::recipe::{Recipe, Target};
use nibble_container::whole::AtomicFile;
use nibble_engine::source::Source;
use serde_json::{Value, json};

use super::Options;
use crate::exit::Problem;
use crate::progress::Progress;
use crate::terminal::Console;
use crate::units;

/// Never set: Ctrl-C ends the program itself, see `interrupt`.
static CANCEL: AtomicBool = AtomicBool::new(false);

/// Fills in the types that the command line asks for, and says what was measured where they were chosen.
pub fn types(
    options: &Options,
    source: &Source,
    recipe: &'static Recipe,
    mut choices: nibble_compress::Options,
    threads: usize,
    console: &Console,
) -> Result<(nibble_compress::Options, Option<Allocation>)> {
    let allocates = choices.method.allocates && options.types.is_none();
    let asked = options.types.is_some() || options.budget.is_some() || choices.method.allocates;
    if asked && recipe.target != Target::Gguf {
        let problem = Problem::usage(format!("types of single tensors are for GGUF files, not for {}", options.kind));
        return Err(if choices.method.allocates { problem.hint("--method gptq").into() } else { problem.into() });
    }
    if let Some(path) = &options.types {
        let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
        choices.types = Some(Arc::new(Types::parse(&path.display().to_string(), &text)?));
    }
    let budget =
        match &options.budget {
            Some(text) => Some(Budget::parse(text).ok_or_else(|| {
                Problem::usage(format!("--budget {text}: this is no size")).hint("1.88GiB, 800MB, 4.5bpw or same-as:q4_k_m")
            })?),
            None => allocates.then_some(Budget::SameAs(recipe)),
        };
    let Some(budget) = budget else {
        let idle = [("--save-types", &options.save_types), ("--measurements", &options.measurements)];
        return match idle.iter().find(|(_, path)| path.is_some()) {
            Some((flag, _)) => {
                Err(Problem::usage(format!("{flag} is for types that are chosen by measurement")).hint("--budget same-as:q4_k_m").into())
            }
            None => Ok((choices, None)),
        };
    };
    let mut bar = None;
    let mut progress = |done: usize, total: usize, name: &str| {
        bar.get_or_insert_with(|| Progress::steps(console, total as u64)).update(done as u64, &format!("what {name} does"));
    };
    let how = How { threads, keep: options.measurements.as_deref(), progress: &mut progress, cancel: &CANCEL };
    let found = allocate::allocate(source, recipe, &choices, budget, how)?;
    if let Some(bar) = bar {
        bar.finish();
    }
    if let Some(path) = &options.save_types {
        let mut file = AtomicFile::create(path)?;
        file.write_all(found.types.text().as_bytes()).with_context(|| path.display().to_string())?;
        file.commit()?;
    }
    choices.types = Some(found.types.clone());
    Ok((choices, Some(found)))
}

/// The choice in a line.
pub fn text(found: &Allocation) -> String {
    let beside = found.of_recipe.map_or_else(String::new, |kl| format!(" (the type's own choice: {kl:.6})"));
    let (bytes, budget) = (units::grouped(found.file_bytes), units::grouped(found.budget));
    format!("types by measurement: {bytes} of {budget} bytes, divergence to expect {:.6} nats a token{beside}\n", found.expected)
}

/// Adds the choice to a report.
pub fn with_json(mut report: Value, found: Option<&Allocation>) -> Value {
    if let Some(found) = found {
        report["allocation"] = json!({
            "budget": found.budget,
            "file_bytes": found.file_bytes,
            "expected_kl": found.expected,
            "expected_kl_of_type": found.of_recipe,
        });
    }
    report
}
