//! Where a model comes from and what belongs to it: an entry of the store, or a path that the server was started with.

use crate::error::Problem;
use crate::metrics::Metrics;
use crate::options::Options;
use axum::http::StatusCode;
use nibble_container::gguf::Value as GgufValue;
use nibble_engine::Lora;
use nibble_engine::arch::Meta;
use nibble_engine::source::{Kind, Source};
use nibble_engine::text::{Vocab, template_thinks};
use nibble_store::{Details, Entry, Error as StoreError, Modelfile, Name, ServerFault};
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::Relaxed;
use std::time::SystemTime;

/// A model that could be loaded.
#[derive(Debug, Clone)]
pub struct Origin {
    /// The name that clients see.
    pub name: String,
    /// Tells models apart, also where two names stand for one.
    pub key: String,
    /// Tells versions of a model apart.
    pub digest: String,
    /// What to open.
    pub path: PathBuf,
    /// Bytes on the disk.
    pub size: u64,
    /// When it was made.
    pub modified: SystemTime,
    /// Instead of the template in the file.
    pub template: Option<String>,
    /// The system message of conversations that bring none.
    pub system: Option<String>,
    /// Role and text of the first turns of every conversation.
    pub messages: Vec<(String, String)>,
    /// The Modelfile's settings.
    pub options: Options,
    /// The same as lines for people.
    pub parameters_text: String,
    /// Licences.
    pub licenses: Vec<String>,
    /// Adapters to run it with.
    pub adapters: Vec<Lora>,
    /// Known without opening it.
    pub details: Option<Details>,
    entry: Option<Box<Entry>>,
}

impl Origin {
    /// Of an entry of the store.
    pub fn of_entry(entry: Entry) -> Result<Origin, Problem> {
        let options = serde_json::from_value(entry.parameters.to_json())
            .map_err(|error| Problem::internal(format!("{}: a parameter cannot be used: {error}", entry.name)))?;
        let lines: Vec<String> = entry.parameters.lines().into_iter().map(|(name, text)| format!("{name:<30} {text}")).collect();
        Ok(Origin {
            name: entry.name.to_string(),
            key: entry.name.full(),
            digest: entry.digest.hex(),
            path: entry.model.clone(),
            size: entry.size,
            modified: entry.modified,
            template: entry.jinja().map_err(|error| of_store(&error))?,
            system: entry.system.clone().filter(|s| !s.is_empty()),
            messages: entry.messages.iter().map(|m| (m.role.clone(), m.content.clone())).collect(),
            options,
            parameters_text: lines.join("\n"),
            licenses: entry.licenses.clone(),
            adapters: entry.adapters.iter().map(Lora::new).collect(),
            details: Some(entry.details.clone()),
            entry: Some(Box::new(entry)),
        })
    }

    /// Of a path: a GGUF file or a checkpoint's directory, under the name of the file or directory; with adapters.
    pub fn of_path(path: &Path, adapters: &[Lora]) -> std::io::Result<Origin> {
        let path = path.canonicalize()?;
        let metadata = std::fs::metadata(&path)?;
        let modified = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
        let stem = if metadata.is_dir() { path.file_name() } else { path.file_stem() };
        let stem: String = stem.unwrap_or_default().to_string_lossy().chars().map(|c| if is_plain(c) { c } else { '-' }).collect();
        let size = match metadata.is_dir() {
            true => std::fs::read_dir(&path)?.flatten().filter_map(|e| e.metadata().ok()).filter(|m| m.is_file()).map(|m| m.len()).sum(),
            false => metadata.len(),
        };
        // Not of the contents, which would have to be read: of what changes with them.
        let print = format!("{}\n{size}\n{modified:?}", path.display());
        Ok(Origin {
            name: format!("{stem}:latest"),
            key: path.display().to_string(),
            digest: nibble_store::Digest::of(print.as_bytes()).hex(),
            path,
            size,
            modified,
            template: None,
            system: None,
            messages: vec![],
            options: Options::default(),
            parameters_text: String::new(),
            licenses: vec![],
            adapters: adapters.to_vec(),
            details: None,
            entry: None,
        })
    }

    /// Whether a client that says `asked` means this one: with or without `:latest`, in any case.
    pub fn is_called(&self, asked: &str) -> bool {
        let short = |name: &str| name.strip_suffix(":latest").unwrap_or(name).to_ascii_lowercase();
        short(asked) == short(&self.name)
    }

    /// A Modelfile that would make it again.
    pub fn modelfile(&self) -> String {
        let file = match &self.entry {
            Some(entry) => Modelfile::of(entry),
            None => {
                let adapters = self.adapters.iter().map(|lora| lora.path.display().to_string()).collect();
                Modelfile { from: self.path.display().to_string(), adapters, ..Modelfile::default() }
            }
        };
        format!("# Modelfile of {}, made by nibble\n{file}", self.name)
    }
}

fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')
}

/// What can be told of a model without loading it.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// Architecture, size and type.
    pub details: Details,
    /// What it can do: `completion`, `tools`, `thinking`.
    pub capabilities: Vec<&'static str>,
    /// Its template.
    pub template: String,
    /// Its metadata; arrays of the vocabulary are null unless `verbose` was asked for.
    pub info: Map<String, Value>,
}

/// Reads the facts. Opens the file, which for a large vocabulary takes some ten milliseconds.
pub fn facts(origin: &Origin, verbose: bool) -> Result<Facts, nibble_engine::Error> {
    let source = Source::open(&origin.path)?;
    let vocab = Vocab::of(&source)?;
    let template = origin.template.clone().or(vocab.chat_template).unwrap_or_default();
    let parameters: u64 = source.tensors().iter().map(|t| t.spec.shape.iter().map(|n| *n as u64).product::<u64>()).sum();
    let details = match (&origin.details, source.kind()) {
        (Some(details), _) if !details.format.is_empty() => details.clone(),
        (_, Kind::Gguf) => Details::of_gguf(&origin.path).unwrap_or_default(),
        (_, Kind::HuggingFace(_)) => Details {
            format: "safetensors".into(),
            family: source.config().arch.name.to_string(),
            families: vec![source.config().arch.name.to_string()],
            parameter_size: rounded(parameters),
            quantization_level: source.tensors().first().map_or(String::new(), |t| source.type_name(t).to_string()),
        },
    };
    let mut info = Map::new();
    match source.checkpoint().metadata() {
        Some(metadata) => {
            for (key, value) in metadata.iter() {
                info.insert(key.to_string(), gguf_json(value, verbose));
            }
        }
        None => {
            info.insert("general.architecture".into(), json!(source.config().arch.name));
            for (key, value) in source.config().metadata() {
                info.insert(key, meta_json(&value));
            }
        }
    }
    info.insert("general.parameter_count".into(), json!(parameters));
    Ok(Facts { details, capabilities: capabilities(&template), template, info })
}

/// What a template shows that a model can do.
pub fn capabilities(template: &str) -> Vec<&'static str> {
    let mut found = vec!["completion"];
    if template.contains("tools") {
        found.push("tools");
    }
    if template_thinks(template) {
        found.push("thinking");
    }
    found
}

fn meta_json(value: &Meta) -> Value {
    match value {
        Meta::U32(n) => json!(n),
        Meta::F32(x) => json!(x),
        Meta::Text(text) => json!(text),
    }
}

fn gguf_json(value: &GgufValue, verbose: bool) -> Value {
    match value {
        GgufValue::Bool(b) => json!(b),
        GgufValue::F32(x) => json!(x),
        GgufValue::F64(x) => json!(x),
        GgufValue::String(text) => json!(text),
        GgufValue::Array(array) if verbose => match (array.integers(), array) {
            (Some(list), _) => list.into_iter().map(|n| json!(i64::try_from(n).unwrap_or(i64::MAX))).collect(),
            (None, nibble_container::gguf::Array::String(list)) => json!(list),
            (None, nibble_container::gguf::Array::F32(list)) => json!(list),
            _ => Value::Null,
        },
        GgufValue::Array(_) => Value::Null,
        other => other.integer().map_or(Value::Null, |n| json!(i64::try_from(n).unwrap_or(i64::MAX))),
    }
}

/// `3.2B`, `5.77M`: parameters, as Ollama rounds.
fn rounded(n: u64) -> String {
    match n {
        1_000_000_000.. => format!("{:.1}B", n as f64 / 1e9),
        1_000_000.. => format!("{:.2}M", n as f64 / 1e6),
        _ => format!("{:.0}K", n as f64 / 1e3),
    }
}

/// A fault of the store in a client's words.
pub fn of_store(error: &StoreError) -> Problem {
    let text = error.to_string();
    match error {
        StoreError::NotFound { name, .. } => Problem::no_model(&name.to_string()),
        StoreError::NoPush { .. } => {
            Problem::bad(format!("{text}; /api/copy gives the model a name at another registry: HOST/NAMESPACE/MODEL"))
        }
        StoreError::Name { .. }
        | StoreError::Digest { .. }
        | StoreError::Ambiguous { .. }
        | StoreError::Modelfile { .. }
        | StoreError::Parameter { .. }
        | StoreError::NoParameter { .. }
        | StoreError::Template { .. }
        | StoreError::Adapter { .. }
        | StoreError::Mismatch { .. }
        | StoreError::NoBlob { .. }
        | StoreError::Source { .. } => Problem::bad(text),
        StoreError::Server { fault: ServerFault::NotFound, .. } => Problem::not_found(text),
        StoreError::Server { .. } => Problem::new(StatusCode::BAD_GATEWAY, text),
        error if error.is_full_disk() => Problem::new(StatusCode::INSUFFICIENT_STORAGE, text),
        // A type that there is not, or a file that is quantized already.
        StoreError::Convert { .. } => Problem::bad(text),
        _ => Problem::internal(text),
    }
}

/// A name of the store as a client gave it.
pub fn parse_name(text: &str) -> Result<Name, Problem> {
    text.parse().map_err(|error| of_store(&error))
}

/// Counts a load.
pub fn count_load(metrics: &Metrics, good: bool) {
    let counter = if good { &metrics.loads } else { &metrics.failed_loads };
    counter.fetch_add(1, Relaxed);
}
