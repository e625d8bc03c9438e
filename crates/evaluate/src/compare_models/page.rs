//! A comparison as one HTML file that loads nothing: table, plots, and the numbers of every plot.

use std::fmt::Write;

use super::columns::{self, Column, columns, gib};
use super::data::{Comparison, Entry, TaskFigure};
use super::plot::{self, Band, Names, Point, Row, escaped};
use crate::tasks::{TASKS, table};

const STYLE: &str = include_str!("page.css");

/// The page.
pub fn html(comparison: &Comparison) -> String {
    let columns = columns(comparison);
    let names: Vec<String> = comparison.entries.iter().map(|e| escaped(&e.name)).collect();
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <title>Models side by side: {}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n<h1>Models side by side</h1>\n",
        names.join(", ")
    );
    let machine = &comparison.machine;
    let _ = writeln!(
        page,
        "<p class=\"soft\">The reference is {}. Measured {} by nibble {} on {} ({} cores, {}).</p>",
        escaped(&comparison.reference().name),
        escaped(&comparison.date),
        escaped(&comparison.nibble),
        escaped(&machine.cpu),
        machine.cores,
        escaped(&machine.instruction_set)
    );
    page.push_str("<ul class=\"legend\">\n");
    for (i, name) in names.iter().enumerate() {
        let _ = writeln!(page, "<li>{}{}: {name}</li>", plot::legend(i), i + 1);
    }
    page.push_str("</ul>\n");
    overview(&mut page, comparison, &columns);
    qualities(&mut page, comparison, &columns);
    scores(&mut page, comparison);
    tensors(&mut page, comparison);
    notes(&mut page, comparison, &columns);
    page.push_str("</main>\n</body>\n</html>\n");
    page
}

/// A table that can be moved sideways by touch and by keys.
fn table(page: &mut String, caption: &str, head: &[String], rows: &[Vec<String>]) {
    let _ = writeln!(page, "<div class=\"wide\" role=\"region\" tabindex=\"0\" aria-label=\"{caption}\">\n<table>\n<thead><tr>");
    head.iter().for_each(|h| {
        let _ = writeln!(page, "<th scope=\"col\">{h}</th>");
    });
    page.push_str("</tr></thead>\n<tbody>\n");
    for row in rows {
        page.push_str("<tr>");
        for (i, cell) in row.iter().enumerate() {
            let _ = if i == 0 { write!(page, "<th scope=\"row\">{cell}</th>") } else { write!(page, "{cell}") };
        }
        page.push_str("</tr>\n");
    }
    page.push_str("</tbody>\n</table>\n</div>\n");
}

fn td(text: &str) -> String {
    format!("<td>{text}</td>")
}

fn overview(page: &mut String, comparison: &Comparison, columns: &[Column]) {
    page.push_str("<h2>The table</h2>\n<p class=\"soft\">After ±: one standard error. Underlined: the best of a column.</p>\n");
    let head: Vec<String> = ["model", "type"].into_iter().map(str::to_string).chain(columns.iter().map(|c| escaped(&c.title))).collect();
    let best = |column: &Column| {
        let values = comparison.entries.iter().filter_map(|e| column.cell(comparison, e)).map(|c| c.value);
        column
            .more_is_better
            .filter(|_| comparison.entries.len() > 1)
            .and_then(|more| values.reduce(|a, b| if (b > a) == more { b } else { a }))
    };
    let best: Vec<Option<f64>> = columns.iter().map(best).collect();
    let row = |(i, entry): (usize, &Entry)| {
        let mut row = vec![format!("{}{}: {}", plot::legend(i), i + 1, escaped(&entry.name)), td(&escaped(&entry.kind))];
        for (column, best) in columns.iter().zip(&best) {
            let cell = column.cell(comparison, entry);
            let class = if best.is_some() && cell.map(|c| c.value) == *best { " class=\"best\"" } else { "" };
            row.push(format!("<td><span{class}>{}</span></td>", escaped(&column.text(comparison, entry))));
        }
        row
    };
    let rows: Vec<Vec<String>> = comparison.entries.iter().enumerate().map(row).collect();
    table(page, "Everything measured of each model", &head, &rows);
}

/// Each figure of quality against size.
fn qualities(page: &mut String, comparison: &Comparison, columns: &[Column]) {
    let plots: Vec<(&Column, Vec<Point>)> = columns
        .iter()
        .filter(|column| column.quality)
        .map(|column| {
            let point = |(i, entry): (usize, &Entry)| {
                let cell = column.cell(comparison, entry)?;
                let title = format!("{}: {}, {}", entry.name, gib(entry.file_bytes), column.text(comparison, entry));
                Some(Point { series: i, title, x: entry.file_bytes as f64 / f64::from(1 << 20), y: cell.value, stderr: cell.stderr })
            };
            (column, comparison.entries.iter().enumerate().filter_map(point).collect::<Vec<_>>())
        })
        .filter(|(_, points)| points.len() > 1)
        .collect();
    if plots.is_empty() {
        return;
    }
    page.push_str(
        "<h2>Quality against size</h2>\n<p class=\"soft\">Dashed: the frontier. No model is both smaller and better than those on it; hollow ones are not on it.</p>\n\
         <div class=\"plots\">\n",
    );
    for (n, (column, points)) in plots.iter().enumerate() {
        let more = column.more_is_better.unwrap_or(true);
        let title = format!("{} against size", column.title);
        let names = Names {
            id: &format!("quality-{n}"),
            title: &title,
            x: "size of the files, MiB",
            y: &format!("{}{}", column.title, column.unit),
        };
        let _ = writeln!(page, "<figure>\n<figcaption>{}</figcaption>", escaped(&title));
        page.push_str(&plot::scatter(points, more, &names));
        let kept = plot::frontier(points, more);
        let rows: Vec<Vec<String>> = points
            .iter()
            .enumerate()
            .map(|(i, point)| {
                let entry = &comparison.entries[point.series];
                let on = if kept.contains(&i) { "yes" } else { "no" };
                let name = format!("{}{}: {}", plot::legend(point.series), point.series + 1, escaped(&entry.name));
                vec![name, td(&gib(entry.file_bytes)), td(&escaped(&column.text(comparison, entry))), td(on)]
            })
            .collect();
        let head = ["model".to_string(), "size".to_string(), escaped(&column.title), "on the frontier".to_string()];
        page.push_str("<details open><summary>The numbers</summary>\n");
        table(page, &escaped(&title), &head, &rows);
        page.push_str("</details>\n</figure>\n");
    }
    page.push_str("</div>\n");
}

/// The tasks, and the subjects of MMLU.
fn scores(page: &mut String, comparison: &Comparison) {
    let find = |entry: &Entry, name: &str, metric: &str| -> Option<TaskFigure> {
        entry.tasks.iter().find(|t| t.figure.name == name && t.figure.metric == metric).cloned()
    };
    let mut plots = vec![("tasks".to_string(), "Tasks".to_string(), comparison.tasks())];
    for task in TASKS {
        let Some(subjects) = &task.subjects else { continue };
        let named = (subjects.parts)().into_iter().map(|name| (name, task.metrics[0].name.to_string()));
        let there = |(name, metric): &(String, String)| comparison.entries.iter().any(|e| find(e, name, metric).is_some());
        plots.push((format!("{}-subjects", task.name), format!("{} by subject", task.name.to_uppercase()), named.filter(there).collect()));
    }
    for (id, title, figures) in &plots {
        if figures.is_empty() {
            continue;
        }
        let _ = writeln!(
            page,
            "<h2>{title}</h2>\n<p class=\"soft\">The part of the questions answered right; lines are one standard error to either side.</p>"
        );
        let rows: Vec<Row> = figures
            .iter()
            .map(|(name, metric)| Row {
                name: shortened(name),
                marks: comparison
                    .entries
                    .iter()
                    .enumerate()
                    .filter_map(|(i, entry)| {
                        let found = find(entry, name, metric)?.figure;
                        let title = format!("{}: {} {:.1} %", entry.name, name, 100.0 * found.value);
                        Some((i, found.value, found.stderr, title))
                    })
                    .collect(),
            })
            .collect();
        page.push_str("<figure>\n");
        page.push_str(&plot::dots(&rows, &Names { id, title, x: "", y: "" }));
        page.push_str("</figure>\n<details><summary>The numbers</summary>\n");
        let mut head = vec!["task".to_string(), "questions".to_string()];
        head.extend(comparison.entries.iter().enumerate().map(|(i, _)| format!("{}{}", plot::legend(i), i + 1)));
        let rows: Vec<Vec<String>> = figures
            .iter()
            .map(|(name, metric)| {
                let found: Vec<Option<TaskFigure>> = comparison.entries.iter().map(|e| find(e, name, metric)).collect();
                let questions = found.iter().flatten().map(|t| t.figure.questions).max().unwrap_or(0);
                let cell = |t: &Option<TaskFigure>| match t {
                    None => td(""),
                    Some(t) => {
                        let stderr = t.figure.stderr.map_or_else(String::new, |se| format!(" ± {:.1}", 100.0 * se));
                        td(&format!("{:.1}{stderr} %", 100.0 * t.figure.value))
                    }
                };
                [escaped(name), td(&questions.to_string())].into_iter().chain(found.iter().map(cell)).collect()
            })
            .collect();
        table(page, title, &head, &rows);
        page.push_str("</details>\n");
    }
}

/// Short enough for the left of a small plot.
fn shortened(name: &str) -> String {
    let of = TASKS.iter().find_map(|task| name.strip_prefix(task.name)?.strip_prefix('_'));
    let subject = of.filter(|_| table::is_subject(name)).unwrap_or(name);
    let text = subject
        .replace("high_school_", "hs_")
        .replace("college_", "col_")
        .replace("professional_", "prof_")
        .replace("elementary_", "elem_")
        .replace('_', " ");
    text.replace("government and politics", "government").replace("computer science", "computers")
}

/// Layers and kinds of tensors.
fn tensors(page: &mut String, comparison: &Comparison) {
    let with: Vec<(usize, &Entry)> =
        comparison.entries.iter().enumerate().filter(|(_, e)| e.tensors.iter().any(|t| t.relative > 0.0)).collect();
    if with.is_empty() {
        return;
    }
    let all = with.iter().flat_map(|(_, e)| e.tensors.iter().map(|t| t.relative)).filter(|x| *x > 0.0);
    let range = all.fold((f64::INFINITY, 0f64), |(a, b), x| (a.min(x), b.max(x)));
    page.push_str(
        "<h2>What quantizing did to each tensor</h2>\n<p class=\"soft\">The root of the mean squared error of a tensor's values, by the root of their own mean square. All plots \
         have one scale.</p>\n<div class=\"plots\">\n",
    );
    for (i, entry) in with {
        let mut rows: Vec<Band> = vec![];
        for tensor in &entry.tensors {
            let (layer, role) = place(&tensor.name);
            let at = rows.iter().position(|band| band.name == role).unwrap_or_else(|| {
                rows.push(Band { name: role.clone(), cells: vec![] });
                rows.len() - 1
            });
            let cells = &mut rows[at].cells;
            cells.resize(cells.len().max(layer + 1), None);
            cells[layer] = Some((tensor.relative, format!("{}, {}: {:.2e}", tensor.name, tensor.kind, tensor.relative)));
        }
        let title = format!("Error of each tensor of {}", entry.name);
        let names = Names { id: &format!("tensors-{i}"), title: &title, x: "", y: "" };
        let _ = writeln!(page, "<figure>\n<figcaption>{}{}: {}</figcaption>", plot::legend(i), i + 1, escaped(&entry.name));
        page.push_str(&plot::heat(&rows, range, &names));
        page.push_str("<details><summary>The numbers</summary>\n");
        let head = ["tensor", "type", "relative error", "greatest error"].map(str::to_string);
        let rows: Vec<Vec<String>> = entry
            .tensors
            .iter()
            .map(|t| vec![escaped(&t.name), td(&escaped(&t.kind)), td(&format!("{:.3e}", t.relative)), td(&format!("{:.3e}", t.greatest))])
            .collect();
        table(page, &escaped(&title), &head, &rows);
        page.push_str("</details>\n</figure>\n");
    }
    page.push_str("</div>\n");
}

/// Layer and kind of `blk.3.attn_q.weight`; tensors outside the layers stand in the first column.
fn place(name: &str) -> (usize, String) {
    let short = name.strip_suffix(".weight").unwrap_or(name);
    let within = short.strip_prefix("blk.").and_then(|rest| rest.split_once('.'));
    match within.and_then(|(layer, role)| Some((layer.parse::<usize>().ok().filter(|n| *n < 4096)?, role))) {
        Some((layer, role)) => (layer, role.to_string()),
        None => (0, short.to_string()),
    }
}

fn notes(page: &mut String, comparison: &Comparison, columns: &[Column]) {
    page.push_str("<h2>What the columns are</h2>\n<ul>\n");
    for (titles, about) in columns::legend(columns) {
        let _ = writeln!(page, "<li><b>{}</b>: {}</li>", escaped(&titles), escaped(about));
    }
    page.push_str("</ul>\n");
    if let Some(text) = &comparison.text {
        let _ = writeln!(page, "<p>Text: {}.</p>", escaped(text));
    }
    page.push_str("<ul>\n");
    for (i, entry) in comparison.entries.iter().enumerate() {
        let _ = writeln!(page, "<li>{}{}: {}</li>", plot::legend(i), i + 1, escaped(&entry.path));
        for note in &entry.notes {
            let _ = writeln!(page, "<li>{}: {}</li>", escaped(&entry.name), escaped(note));
        }
    }
    page.push_str("</ul>\n");
}
