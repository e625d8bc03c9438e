//! Where a comparison goes.

use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use nibble_container::whole::AtomicFile;
use nibble_evaluate::compare_models::{Comparison, csv, markdown, page};

use super::Options;
use crate::exit::Problem;
use crate::terminal::{self, Console};

/// A way to write a comparison.
pub type Form = fn(&Comparison) -> Result<String>;

fn json(comparison: &Comparison) -> Result<String> {
    Ok(serde_json::to_string_pretty(comparison)? + "\n")
}

/// By the ending of a file.
static FORMS: &[(&str, Form)] = &[("md", |c| Ok(markdown(c))), ("csv", |c| Ok(csv(c))), ("json", json), ("html", |c| Ok(page::html(c)))];

/// The way that a file's ending asks for.
pub fn form(path: &Path) -> Result<Form, Problem> {
    let ending = path.extension().map(|e| e.to_string_lossy().to_lowercase()).unwrap_or_default();
    let found = FORMS.iter().find(|(known, _)| *known == ending).map(|(_, form)| *form);
    found.ok_or_else(|| {
        Problem::usage(format!("{}: the ending does not say what to write", path.display())).hint("an ending .md, .csv, .json or .html")
    })
}

/// Writes every output, or prints.
pub fn write(comparison: &Comparison, options: &Options, console: &Console) -> Result<()> {
    for path in &options.output {
        let mut file = AtomicFile::create(path)?;
        file.write_all(form(path)?(comparison)?.as_bytes()).with_context(|| path.display().to_string())?;
        file.commit()?;
        console.note(format!("written: {}", path.display()));
    }
    if options.output.is_empty() || options.json || options.csv {
        let text = match (options.json, options.csv) {
            (true, _) => json(comparison)?,
            (_, true) => csv(comparison),
            _ => markdown(comparison),
        };
        terminal::print(&text)?;
    }
    Ok(())
}
