//! A comparison as Markdown and CSV.

use super::columns::{columns, legend};
use super::data::Comparison;

/// The table, with what its columns are below.
pub fn markdown(comparison: &Comparison) -> String {
    let columns = columns(comparison);
    let mut rows =
        vec![["model", "type"].into_iter().map(str::to_string).chain(columns.iter().map(|c| c.title.clone())).collect::<Vec<_>>()];
    for entry in &comparison.entries {
        let cells = columns.iter().map(|column| column.text(comparison, entry));
        rows.push([cell(&entry.name), cell(&entry.kind)].into_iter().chain(cells).collect());
    }
    let widths: Vec<usize> = (0..rows[0].len()).map(|i| rows.iter().map(|row| row[i].chars().count()).max().unwrap_or(0).max(3)).collect();
    let mut text = String::from("# nibble compare\n\n");
    for (i, row) in rows.iter().enumerate() {
        let padded: Vec<String> = row
            .iter()
            .zip(&widths)
            .enumerate()
            .map(|(c, (cell, &width))| if c < 2 { format!("{cell:<width$}") } else { format!("{cell:>width$}") })
            .collect();
        text.push_str(&format!("| {} |\n", padded.join(" | ")));
        if i == 0 {
            let line = widths.iter().enumerate().map(|(c, &width)| if c < 2 { "-".repeat(width) } else { "-".repeat(width - 1) + ":" });
            text.push_str(&format!("| {} |\n", line.collect::<Vec<_>>().join(" | ")));
        }
    }
    text.push_str(&format!("\nThe reference is {}. After ±: one standard error.\n\n", cell(&comparison.reference().name)));
    for (titles, about) in legend(&columns) {
        text.push_str(&format!("- {titles}: {about}\n"));
    }
    if let Some(read) = &comparison.text {
        text.push_str(&format!("\nText: {}.\n", cell(read)));
    }
    let machine = &comparison.machine;
    text.push_str(&format!(
        "\n{}, nibble {}, {} ({} cores, {}).\n",
        comparison.date,
        comparison.nibble,
        cell(&machine.cpu),
        machine.cores,
        machine.instruction_set
    ));
    for entry in &comparison.entries {
        for note in &entry.notes {
            text.push_str(&format!("\n{}: {}.\n", cell(&entry.name), cell(note)));
        }
    }
    text
}

/// A row a model: names of the columns, numbers in full, and each standard error in a column of its own.
pub fn csv(comparison: &Comparison) -> String {
    let columns = columns(comparison);
    let with_error = |i: usize| comparison.entries.iter().any(|e| columns[i].cell(comparison, e).is_some_and(|c| c.stderr.is_some()));
    let mut head = vec!["model".to_string(), "path".to_string(), "type".to_string(), "file_bytes".to_string()];
    for (i, column) in columns.iter().enumerate() {
        head.push(column.name.clone());
        if with_error(i) {
            head.push(format!("{}_stderr", column.name));
        }
    }
    let mut text = head.join(",") + "\n";
    for entry in &comparison.entries {
        let mut row = vec![quoted(&entry.name), quoted(&entry.path), quoted(&entry.kind), entry.file_bytes.to_string()];
        for (i, column) in columns.iter().enumerate() {
            let cell = column.cell(comparison, entry);
            row.push(cell.map(|c| c.value.to_string()).unwrap_or_default());
            if with_error(i) {
                row.push(cell.and_then(|c| c.stderr).map(|se| se.to_string()).unwrap_or_default());
            }
        }
        text.push_str(&(row.join(",") + "\n"));
    }
    text
}

/// A field of CSV (RFC 4180): in quotes where it has to be.
fn quoted(field: &str) -> String {
    match field.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", field.replace('"', "\"\"")),
        false => field.to_string(),
    }
}

/// A name as a part of a table: nothing that steers a terminal or ends the cell.
fn cell(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect::<String>().replace('|', "\\|")
}
