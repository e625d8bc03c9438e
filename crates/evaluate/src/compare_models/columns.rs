//! COLUMNS: what a table shows of each model. One row a column; the tasks' columns are made from what was measured.

use super::data::{Comparison, Entry, Estimate};

/// One cell.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cell {
    /// The number in the column's unit.
    pub value: f64,
    /// Its standard error.
    pub stderr: Option<f64>,
}

/// One column of numbers.
pub struct Column {
    /// The name in CSV and JSON: words with `_`, the unit last.
    pub name: String,
    /// The head of a table.
    pub title: String,
    /// What it is, in a line.
    pub about: String,
    /// Digits after the point.
    pub digits: usize,
    /// Behind the number: ` %`.
    pub unit: &'static str,
    /// Whether more is better; `None` where neither is.
    pub more_is_better: Option<bool>,
    /// It says how good the model is, so that it is plotted against size.
    pub quality: bool,
    of: Of,
}

type Of = Box<dyn Fn(&Comparison, &Entry) -> Option<Cell>>;

/// A column that is always known.
struct Fixed {
    name: &'static str,
    title: &'static str,
    about: &'static str,
    digits: usize,
    unit: &'static str,
    more_is_better: Option<bool>,
    quality: bool,
    of: fn(&Comparison, &Entry) -> Option<Cell>,
}

fn plain(value: f64) -> Option<Cell> {
    Some(Cell { value, stderr: None })
}

fn scaled(estimate: Option<Estimate>, by: f64) -> Option<Cell> {
    estimate.map(|e| Cell { value: by * e.value, stderr: e.stderr.map(|se| by * se) })
}

const GIB: f64 = (1u64 << 30) as f64;
const MIB: f64 = (1u64 << 20) as f64;

static BEFORE: &[Fixed] = &[
    Fixed {
        name: "size_mib",
        title: "size",
        about: "bytes of its files",
        digits: 1,
        unit: " MiB",
        more_is_better: Some(false),
        quality: false,
        of: |_, e| plain(e.file_bytes as f64 / MIB),
    },
    Fixed {
        name: "reduction_percent",
        title: "smaller by",
        about: "than the reference",
        digits: 1,
        unit: " %",
        more_is_better: Some(true),
        quality: false,
        of: |c, e| plain(100.0 * c.reduction(e)),
    },
    Fixed {
        name: "bits_per_weight",
        title: "bits a weight",
        about: "bits of all weights by their number",
        digits: 2,
        unit: "",
        more_is_better: Some(false),
        quality: false,
        of: |_, e| plain(e.bits_per_weight()),
    },
    Fixed {
        name: "perplexity",
        title: "perplexity",
        about: "exp of the mean surprise at the text's tokens; compares only models with one tokenizer",
        digits: 3,
        unit: "",
        more_is_better: Some(false),
        quality: true,
        of: |_, e| scaled(e.perplexity, 1.0),
    },
    Fixed {
        name: "bits_per_byte",
        title: "bits a byte",
        about: "surprise by the bytes of the text; compares any models",
        digits: 4,
        unit: "",
        more_is_better: Some(false),
        quality: true,
        of: |_, e| scaled(e.bits_per_byte, 1.0),
    },
    Fixed {
        name: "kl_nats",
        title: "KL",
        about: "mean divergence of its predictions from the reference's, in nats",
        digits: 6,
        unit: "",
        more_is_better: Some(false),
        quality: true,
        of: |_, e| scaled(e.kl, 1.0),
    },
    Fixed {
        name: "same_top_percent",
        title: "same top",
        about: "positions where it thinks the same token the likeliest as the reference",
        digits: 2,
        unit: " %",
        more_is_better: Some(true),
        quality: false,
        of: |_, e| scaled(e.same_top, 100.0),
    },
];

static AFTER: &[Fixed] = &[
    Fixed {
        name: "prompt_tokens_per_second",
        title: "prompt",
        about: "tokens of a prompt a second",
        digits: 1,
        unit: " tokens/s",
        more_is_better: Some(true),
        quality: false,
        of: |_, e| e.speed.as_ref()?.prompt.and_then(plain),
    },
    Fixed {
        name: "generation_tokens_per_second",
        title: "generation",
        about: "tokens of an answer a second",
        digits: 1,
        unit: " tokens/s",
        more_is_better: Some(true),
        quality: false,
        of: |_, e| e.speed.as_ref()?.generation.and_then(plain),
    },
    Fixed {
        name: "first_token_seconds",
        title: "first token",
        about: "from nothing to the first token of an answer to 20 tokens",
        digits: 3,
        unit: " s",
        more_is_better: Some(false),
        quality: false,
        of: |_, e| e.speed.as_ref()?.first_token.and_then(plain),
    },
    Fixed {
        name: "peak_resident_mib",
        title: "peak memory",
        about: "the most memory that was resident, mapped weights included",
        digits: 0,
        unit: " MiB",
        more_is_better: Some(false),
        quality: false,
        of: |_, e| e.speed.as_ref()?.peak_resident_bytes.and_then(|n| plain(n as f64 / MIB)),
    },
    Fixed {
        name: "anonymous_mib",
        title: "own memory",
        about: "memory of no file: what the system cannot take back",
        digits: 0,
        unit: " MiB",
        more_is_better: Some(false),
        quality: false,
        of: |_, e| e.speed.as_ref()?.anonymous_bytes.and_then(|n| plain(n as f64 / MIB)),
    },
];

fn column(fixed: &'static Fixed) -> Column {
    Column {
        name: fixed.name.to_string(),
        title: fixed.title.to_string(),
        about: fixed.about.to_string(),
        digits: fixed.digits,
        unit: fixed.unit,
        more_is_better: fixed.more_is_better,
        quality: fixed.quality,
        of: Box::new(fixed.of),
    }
}

fn task_columns(name: &str, metric: &str) -> [Column; 2] {
    let find = |name: String, metric: String| {
        move |e: &Entry| e.tasks.iter().find(|t| t.figure.name == name && t.figure.metric == metric).cloned()
    };
    let short = metric.rsplit(',').next().unwrap_or(metric);
    let make = |name: String, title: String, about: String, quality: bool, of: Of| Column {
        name,
        title,
        about,
        digits: 2,
        unit: " %",
        more_is_better: Some(true),
        quality,
        of,
    };
    let (of, beside) = (find(name.to_string(), metric.to_string()), find(name.to_string(), metric.to_string()));
    [
        make(
            format!("{name}_{}_percent", short.replace('-', "_")),
            format!("{name} {short}"),
            "the part of the questions that it answers right".to_string(),
            true,
            Box::new(move |_, e| of(e).and_then(|t| scaled(Some(Estimate { value: t.figure.value, stderr: t.figure.stderr }), 100.0))),
        ),
        make(
            format!("{name}_{}_difference_percent", short.replace('-', "_")),
            format!("{name}, difference"),
            "to the reference on the same questions, with the standard error of paired differences".to_string(),
            false,
            Box::new(move |c, e| match std::ptr::eq(c.reference(), e) {
                true => None,
                false => beside(e).and_then(|t| scaled(t.difference, 100.0)),
            }),
        ),
    ]
}

/// The columns that at least one model has a number in.
pub fn columns(comparison: &Comparison) -> Vec<Column> {
    let tasks = comparison.tasks().into_iter().flat_map(|(name, metric)| task_columns(&name, &metric));
    let all = BEFORE.iter().map(column).chain(tasks).chain(AFTER.iter().map(column));
    all.filter(|column| comparison.entries.iter().any(|e| column.cell(comparison, e).is_some())).collect()
}

impl Column {
    /// The cell of a model.
    pub fn cell(&self, comparison: &Comparison, entry: &Entry) -> Option<Cell> {
        (self.of)(comparison, entry)
    }

    /// The cell for people: `12.34 ± 0.05 %`; nothing where there is none.
    pub fn text(&self, comparison: &Comparison, entry: &Entry) -> String {
        let Some(cell) = self.cell(comparison, entry) else { return String::new() };
        let signed = self.name.contains("difference") && cell.value > 0.0;
        let stderr = cell.stderr.map_or_else(String::new, |se| format!(" ± {se:.*}", self.digits));
        format!("{}{:.*}{stderr}{}", if signed { "+" } else { "" }, self.digits, cell.value, self.unit)
    }
}

/// What the columns are: titles that share an explanation, and it.
pub fn legend(columns: &[Column]) -> Vec<(String, &str)> {
    let mut found: Vec<(String, &str)> = vec![];
    for column in columns {
        match found.iter_mut().find(|(_, about)| *about == column.about) {
            Some((titles, _)) => *titles = format!("{titles}; {}", column.title),
            None => found.push((column.title.clone(), &column.about)),
        }
    }
    found
}

/// Bytes for people.
pub fn gib(bytes: u64) -> String {
    match bytes as f64 {
        b if b >= GIB => format!("{:.2} GiB", b / GIB),
        b => format!("{:.1} MiB", b / MIB),
    }
}
