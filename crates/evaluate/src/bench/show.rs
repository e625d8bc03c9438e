//! A report as a page of Markdown and as rows of CSV.

use super::compare::{Comparison, Ratio};
use super::report::{Measured, Report, label, threads};
use crate::limits::Limits;

/// The columns of the CSV, a row a test.
pub const CSV_COLUMNS: &[&str] = &[
    "date",
    "nibble",
    "cpu",
    "cores",
    "instruction_set",
    "model",
    "type",
    "file_bytes",
    "test",
    "threads",
    "tokens",
    "depth",
    "unit",
    "median",
    "min",
    "max",
    "repetitions",
    "fraction",
    "limit",
    "anonymous_bytes",
    "other_median",
    "speed",
    "overlap",
];

/// From how many times its least on a limit that moved is shown.
const MOVED: f64 = 1.1;

/// Everything for people, and for a record.
pub fn markdown(report: &Report, comparison: Option<&Comparison>) -> String {
    let (model, machine, memory) = (&report.model, &report.machine, &report.memory);
    let mut text = format!("# nibble bench: {}\n\n", cell(&model.path));
    let mut facts = vec![
        ["date".into(), format!("{}, nibble {}", report.date, report.nibble)],
        [
            "processor".into(),
            format!("{}, {} cores, {} ({})", cell(&machine.cpu), machine.cores, machine.instruction_set, machine.architecture),
        ],
        ["model".into(), format!("{}, {} parameters, {}", cell(&model.kind), millions(model.parameters), mib(Some(model.file_bytes)))],
        [
            "a token".into(),
            format!("reads {} of weights, multiplies {} of them", mib(Some(model.weight_bytes_per_token)), millions(model.macs_per_token)),
        ],
        ["settings".into(), format!("context {}, batch {}, cache {}", report.context, report.batch, report.cache)],
        ["peak resident memory".into(), format!("{}, mapped weights included", mib(memory.peak_resident_bytes))],
        ["anonymous memory".into(), format!("{} at most", mib(memory.anonymous_bytes))],
    ];
    facts.extend(report.limits.iter().map(limit_row));
    text.push_str(&table(&["", ""], &facts));

    text.push('\n');
    let mut header = vec!["test", "threads", "median", "spread", "of the machine's", "anonymous"];
    let mut rows: Vec<Vec<String>> = report.results.iter().map(result_row).collect();
    if let Some(comparison) = comparison {
        header.push("beside the other");
        for (row, result) in rows.iter_mut().zip(&report.results) {
            row.push(ratio_of(comparison, result).map_or_else(String::new, ratio_text));
        }
    }
    text.push_str(&table(&header, &rows));
    text.push_str(&format!(
        "\nMedian of {} and spread from the least to the greatest. Tokens are fed and logits computed; nothing is sampled.\n",
        report.settings.repetitions
    ));
    if report.results.iter().any(|r| !r.rates.is_empty()) {
        text.push_str("\nThe machine's limits were measured before and after every repetition, each time the median of many short pieces, and a repetition is held against the mean of the two; shown is the median of these parts, and how far a limit moved where it did. Above they are at their best.\n");
    }
    for skipped in &report.skipped {
        text.push_str(&format!("\nSkipped: {}: {}.\n", label(skipped.test, skipped.tokens, skipped.depth), skipped.why));
    }
    if let Some(comparison) = comparison {
        text.push_str(&format!("\nBeside {} of {}: how many times as fast this run is.\n", cell(&comparison.other), comparison.date));
        for line in &comparison.differences {
            text.push_str(&format!("\nNot alike: {}.\n", cell(line)));
        }
        for line in &comparison.unmatched {
            text.push_str(&format!("\nNot compared: {line}.\n"));
        }
    }
    text
}

fn limit_row(limits: &Limits) -> [String; 2] {
    let read = limits.read_bytes_per_second.map_or("not measured (too little memory)".into(), |x| format!("{:.1} GB/s", x / 1e9));
    let int8 = limits.int8_macs_per_second / 1e9;
    [
        format!("the machine, {}", threads(limits.threads)),
        format!("reads {read}, multiplies {int8:.0} G 8-bit integers/s ({})", limits.instruction_set),
    ]
}

fn result_row(result: &Measured) -> Vec<String> {
    let spread = format!("{} .. {}", number(result.min), number(result.max));
    let of = match (result.fraction, result.limit) {
        (Some(fraction), Some(limit)) => {
            let (least, most) = result.rates.iter().fold((f64::INFINITY, 0f64), |(least, most), &rate| (least.min(rate), most.max(rate)));
            let moved = if most > MOVED * least {
                format!(" ({} .. {} {})", number(least / 1e9), number(most / 1e9), limit.unit())
            } else {
                String::new()
            };
            format!("{:.0} % of {}{moved}", 100.0 * fraction, limit.name())
        }
        _ => String::new(),
    };
    let median = format!("{} {}", number(result.median), result.unit);
    vec![result.label(), result.threads.to_string(), median, spread, of, mib(result.anonymous_bytes)]
}

fn ratio_of<'a>(comparison: &'a Comparison, result: &Measured) -> Option<&'a Ratio> {
    let of = |r: &&Ratio| (r.test, r.threads, r.tokens, r.depth) == (result.test, result.threads, result.tokens, result.depth);
    comparison.ratios.iter().find(of)
}

fn ratio_text(ratio: &Ratio) -> String {
    format!("{:.2} times{}", ratio.speed, if ratio.overlap { " (spreads overlap)" } else { "" })
}

/// A row a test, and the names of the columns above.
pub fn csv(report: &Report, comparison: Option<&Comparison>) -> String {
    let mut text = CSV_COLUMNS.join(",") + "\n";
    let optional = |x: Option<String>| x.unwrap_or_default();
    for result in &report.results {
        let ratio = comparison.and_then(|c| ratio_of(c, result));
        let (model, machine) = (&report.model, &report.machine);
        let fields = [
            report.date.clone(),
            report.nibble.clone(),
            machine.cpu.clone(),
            machine.cores.to_string(),
            machine.instruction_set.clone(),
            model.path.clone(),
            model.kind.clone(),
            model.file_bytes.to_string(),
            result.test.name().to_string(),
            result.threads.to_string(),
            result.tokens.to_string(),
            result.depth.to_string(),
            result.unit.clone(),
            result.median.to_string(),
            result.min.to_string(),
            result.max.to_string(),
            result.values.len().to_string(),
            optional(result.fraction.map(|x| x.to_string())),
            optional(result.limit.map(|x| x.name().to_string())),
            optional(result.anonymous_bytes.map(|x| x.to_string())),
            optional(ratio.map(|x| x.other_median.to_string())),
            optional(ratio.map(|x| x.speed.to_string())),
            optional(ratio.map(|x| x.overlap.to_string())),
        ];
        text.push_str(&fields.map(|field| quoted(&field)).join(","));
        text.push('\n');
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

/// A table in Markdown whose columns line up as plain text too.
fn table<R: AsRef<[String]>>(header: &[&str], rows: &[R]) -> String {
    let mut widths: Vec<usize> = header.iter().map(|h| h.chars().count().max(3)).collect();
    for row in rows {
        widths.iter_mut().zip(row.as_ref()).for_each(|(width, cell)| *width = (*width).max(cell.chars().count()));
    }
    let line = |cells: &[String]| {
        let cells: Vec<String> = cells.iter().zip(&widths).map(|(cell, &width)| format!("{cell:<width$}")).collect();
        format!("| {} |\n", cells.join(" | "))
    };
    let mut text = line(&header.iter().map(|h| h.to_string()).collect::<Vec<_>>());
    text.push_str(&line(&widths.iter().map(|&width| "-".repeat(width)).collect::<Vec<_>>()));
    rows.iter().for_each(|row| text.push_str(&line(row.as_ref())));
    text
}

/// A name from a file or the system as a part of a table: nothing that steers a terminal or ends the cell.
fn cell(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect::<String>().replace('|', "\\|")
}

/// Three digits or more.
fn number(x: f64) -> String {
    let decimals = match x.abs() {
        a if a >= 100.0 => 0,
        a if a >= 10.0 => 1,
        a if a >= 1.0 => 2,
        _ => 3,
    };
    format!("{x:.decimals$}")
}

fn mib(bytes: Option<u64>) -> String {
    bytes.map_or("unknown".into(), |n| format!("{:.1} MiB", n as f64 / f64::from(1 << 20)))
}

fn millions(n: u64) -> String {
    format!("{:.1} million", n as f64 / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_with_a_comma_is_quoted() {
        assert_eq!(quoted("a, \"b\""), "\"a, \"\"b\"\"\"");
        assert_eq!(quoted("plain"), "plain");
    }

    #[test]
    fn columns_line_up_and_names_cannot_break_them() {
        let text = table(&["a", "b"], &[[cell("x|\x1b[2J"), "12345".to_string()]]);
        assert_eq!(text, "| a       | b     |\n| ------- | ----- |\n| x\\|\u{fffd}[2J | 12345 |\n");
        assert_eq!([number(123.4), number(12.34), number(1.234), number(0.0123)], ["123", "12.3", "1.23", "0.012"]);
    }
}
