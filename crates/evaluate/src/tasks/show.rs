//! A report as Markdown and as CSV.

use super::report::Report;
use super::table;

/// The columns of the CSV, a row a figure.
pub const CSV_COLUMNS: &[&str] = &["model", "fingerprint", "name", "metric", "value", "stderr", "questions", "parts"];

/// A table of the figures; subjects only when wanted.
pub fn markdown(report: &Report, subjects: bool) -> String {
    let mut text = String::from("| task | metric | value | standard error | questions | by chance |\n|---|---|---:|---:|---:|---:|\n");
    for figure in &report.figures {
        if !subjects && table::is_subject(&figure.name) {
            continue;
        }
        let chance =
            report.parts.iter().find(|p| figure.name.starts_with(&p.task)).and_then(|p| table::task(&p.task)).and_then(|t| t.chance);
        text.push_str(&format!(
            "| {} | {} | {:.2} % | {} | {} | {} |\n",
            figure.name,
            figure.metric,
            100.0 * figure.value,
            figure.stderr.map_or("?".into(), |se| format!("± {:.2} %", 100.0 * se)),
            figure.questions,
            chance.map_or_else(String::new, |c| format!("{:.0} %", 100.0 * c)),
        ));
    }
    for task in table::TASKS.iter().filter(|task| task.subjects.is_some() && report.figures.iter().any(|f| f.name == task.name)) {
        let name = task.name;
        text.push_str(&format!(
            "\n{name} and its groups: means over questions, standard errors pooled; {name}_macro: mean of the subjects' means, sqrt(sum of squares) / subjects.\n"
        ));
    }
    if report.shard != "0/1" {
        text.push_str(&format!("\nShard {} only: put all together with nibble eval merge.\n", report.shard));
    }
    if report.cut() > 0 {
        text.push_str(&format!(
            "\n{} prompts were longer than the context of {} tokens and were cut at their beginning, as the harness cuts them.\n",
            report.cut(),
            report.context
        ));
    }
    let (asked, computed) = (report.work.asked, report.work.computed);
    if computed > 0 {
        text.push_str(&format!("\nTokens computed: {computed} of {asked} in all prompts: what they share was computed once.\n"));
    }
    text
}

/// A row a figure, and the names of the columns above.
pub fn csv(report: &Report) -> String {
    let mut text = CSV_COLUMNS.join(",") + "\n";
    for figure in &report.figures {
        let stderr = figure.stderr.map(|x| x.to_string()).unwrap_or_default();
        let numbers = [figure.value.to_string(), stderr, figure.questions.to_string(), figure.parts.to_string()];
        let names = [&report.model.path, &report.model.fingerprint, &figure.name, &figure.metric].map(|name| quoted(name));
        text.push_str(&format!("{},{}\n", names.join(","), numbers.join(",")));
    }
    text
}

fn quoted(field: &str) -> String {
    match field.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", field.replace('"', "\"\"")),
        false => field.to_string(),
    }
}
