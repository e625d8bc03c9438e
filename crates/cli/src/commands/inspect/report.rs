//! What there is to tell about a model, and how it is told to people and to scripts.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use crate::terminal::{printable, table};
use crate::units;

/// Everything about one model. Serialised as it stands for `--json`.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// The path as it was given.
    pub path: String,
    /// `GGUF v3`, `safetensors`, `Hugging Face directory`.
    pub container: String,
    /// Every file that was opened, with its bytes.
    pub files: Vec<File>,
    /// `general.architecture`, or `architectures[0]`.
    pub architecture: Option<String>,
    /// `general.name`, or the directory's own name.
    pub name: Option<String>,
    /// What the file says of its own type: `general.file_type`'s name, or `quantization_config`'s method.
    pub declared_type: Option<String>,
    /// Weights, with packed ones counted as what they stand for.
    pub parameters: u64,
    /// Number of tensors as stored.
    pub tensor_count: u64,
    /// Their bytes.
    pub tensor_bytes: u64,
    /// Bytes of all files.
    pub file_bytes: u64,
    /// 8 * tensor_bytes / parameters.
    pub bits_per_weight: f64,
    /// By type, the most bytes first.
    pub types: Vec<Type>,
    /// The model's configuration: `{architecture}.*` of GGUF, or config.json.
    pub config: Vec<(String, Value)>,
    /// The tokenizer, as far as the files tell.
    pub tokenizer: Vec<(String, Value)>,
    /// The chat template.
    pub chat_template: Option<String>,
    /// All other metadata; long lists are told as their length.
    pub metadata: Vec<(String, Value)>,
    /// Every tensor, in file order.
    pub tensors: Vec<Tensor>,
}

/// One file of the model.
#[derive(Debug, Serialize)]
pub struct File {
    /// Its name.
    pub name: String,
    /// Its length.
    pub bytes: u64,
}

/// The tensors of one type.
#[derive(Debug, Serialize)]
pub struct Type {
    /// `Q4_K`, `BF16`, `NF4`.
    #[serde(rename = "type")]
    pub name: String,
    /// How many.
    pub tensors: u64,
    /// Their weights.
    pub parameters: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// One tensor.
#[derive(Debug, Serialize)]
pub struct Tensor {
    /// Its name.
    pub name: String,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: String,
    /// Outermost first: `[rows, cols]`.
    pub shape: Vec<u64>,
    /// Its bytes, those of its scales included.
    pub bytes: u64,
    /// The weights that it stands for.
    #[serde(skip)]
    pub parameters: u64,
}

impl Report {
    /// Sums up the tensors and files.
    pub fn finish(mut self) -> Report {
        let mut types: BTreeMap<&str, Type> = BTreeMap::new();
        for t in &self.tensors {
            let name = t.kind.as_str();
            let row = types.entry(name).or_insert_with(|| Type { name: name.to_string(), tensors: 0, parameters: 0, bytes: 0 });
            row.tensors += 1;
            row.parameters = row.parameters.saturating_add(t.parameters);
            row.bytes = row.bytes.saturating_add(t.bytes);
        }
        self.types = types.into_values().collect();
        self.types.sort_by_key(|t| std::cmp::Reverse(t.bytes));
        self.parameters = self.types.iter().map(|t| t.parameters).fold(0, u64::saturating_add);
        self.tensor_bytes = self.types.iter().map(|t| t.bytes).fold(0, u64::saturating_add);
        self.tensor_count = self.tensors.len() as u64;
        self.file_bytes = self.files.iter().map(|f| f.bytes).sum();
        self.bits_per_weight = bits_per_weight(self.tensor_bytes, self.parameters);
        self
    }

    /// The report for people.
    pub fn to_text(&self, tensors: bool) -> String {
        let mut text = String::new();
        let mut line = |key: &str, value: &str| text.push_str(&format!("{key:<22} {}\n", shorten(&printable(value))));
        line("path", &self.path);
        line("container", &self.container);
        match self.files.as_slice() {
            [_] => line("file", &format!("{} ({} bytes)", units::bytes(self.file_bytes), units::grouped(self.file_bytes))),
            files => {
                line("files", &format!("{}, {} ({} bytes)", files.len(), units::bytes(self.file_bytes), units::grouped(self.file_bytes)));
                for file in files {
                    line("", &format!("{} {}", file.name, units::bytes(file.bytes)));
                }
            }
        }
        for (key, value) in [("name", &self.name), ("architecture", &self.architecture), ("declared type", &self.declared_type)] {
            if let Some(value) = value {
                line(key, value);
            }
        }
        line("parameters", &format!("{} ({})", units::count(self.parameters), units::grouped(self.parameters)));
        line("tensors", &format!("{}, {} bytes", self.tensor_count, units::grouped(self.tensor_bytes)));
        line("bits per weight", &format!("{:.3}", self.bits_per_weight));
        line("chat template", &self.chat_template.as_ref().map_or("none".to_string(), |t| format!("{} characters", t.chars().count())));
        for (title, pairs) in [("configuration", &self.config), ("tokenizer", &self.tokenizer), ("metadata", &self.metadata)] {
            if !pairs.is_empty() {
                text.push_str(&format!("\n{title}\n"));
                let width = pairs.iter().map(|(key, _)| key.chars().count()).max().unwrap_or(0).min(60);
                for (key, value) in pairs {
                    text.push_str(&format!("  {:<width$}  {}\n", printable(key), shorten(&shown(value))));
                }
            }
        }
        text.push('\n');
        text.push_str(&self.types_table());
        if tensors {
            text.push('\n');
            text.push_str(&self.tensors_table());
        }
        text
    }

    fn types_table(&self) -> String {
        let rows: Vec<Vec<String>> = self
            .types
            .iter()
            .map(|t| {
                let share = 100.0 * t.bytes as f64 / self.tensor_bytes.max(1) as f64;
                let bits = bits_per_weight(t.bytes, t.parameters);
                vec![
                    t.name.clone(),
                    t.tensors.to_string(),
                    units::grouped(t.parameters),
                    units::grouped(t.bytes),
                    format!("{bits:.3}"),
                    format!("{share:.1} %"),
                ]
            })
            .collect();
        table(&["type", "tensors", "weights", "bytes", "bits each", "of all"], &rows)
    }

    fn tensors_table(&self) -> String {
        let shape = |t: &Tensor| t.shape.iter().map(u64::to_string).collect::<Vec<_>>().join(" x ");
        let rows: Vec<Vec<String>> =
            self.tensors.iter().map(|t| vec![printable(&t.name), t.kind.clone(), shape(t), units::grouped(t.bytes)]).collect();
        table(&["tensor", "type", "shape", "bytes"], &rows)
    }
}

fn bits_per_weight(bytes: u64, weights: u64) -> f64 {
    match weights {
        0 => 0.0,
        n => 8.0 * bytes as f64 / n as f64,
    }
}

/// A JSON value in a line: a text without its quotes, the rest as JSON.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => printable(text),
        // A long list, as gguf.rs tells it.
        Value::Object(list) if list.len() == 2 && list.contains_key("length") && list.contains_key("first") => {
            printable(&format!("{} entries: {}", list["length"], list["first"]))
        }
        other => printable(&other.to_string()),
    }
}

/// The first 100 characters, with a sign that there is more.
fn shorten(text: &str) -> String {
    match text.char_indices().nth(100) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_and_histogram() {
        let tensor = |name: &str, kind: &str, parameters, bytes| Tensor {
            name: name.into(),
            kind: kind.into(),
            shape: vec![parameters],
            bytes,
            parameters,
        };
        let report = Report {
            path: "m.gguf".into(),
            tensors: vec![tensor("a", "Q4_K", 512, 288), tensor("b", "F32", 2, 8), tensor("evil\x1b[31m", "Q4_K", 256, 144)],
            files: vec![File { name: "m.gguf".into(), bytes: 1000 }],
            ..Report::default()
        }
        .finish();
        assert_eq!((report.parameters, report.tensor_bytes, report.tensor_count), (770, 440, 3));
        assert_eq!(report.types[0].name, "Q4_K");
        let text = report.to_text(true);
        assert!(text.contains("Q4_K        2      768    432      4.500  98.2 %"), "{text}");
        assert!(!text.contains('\x1b'), "{text}");
        assert!(serde_json::to_value(&report).unwrap()["bits_per_weight"].as_f64().unwrap() > 4.5);
    }

    #[test]
    fn an_empty_model_divides_by_nothing() {
        let report = Report::default().finish();
        assert_eq!(report.bits_per_weight, 0.0);
        assert!(report.to_text(true).contains("tensors"));
    }
}
