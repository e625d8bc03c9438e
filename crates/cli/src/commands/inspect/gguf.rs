//! What a GGUF's metadata say, sorted into configuration, tokenizer and the rest.

use nibble_compress::recipe::RECIPES;
use nibble_container::gguf::{Array, Metadata, Value};
use serde_json::{Value as Json, json};

use super::report::Report;

/// Lists longer than this are told as their length and first elements.
const SHORT: usize = 16;

/// Fills in what the metadata say.
pub fn describe(version: u32, metadata: &Metadata, report: &mut Report) {
    report.container = format!("GGUF v{version}");
    let text = |key: &str| match metadata.value(key) {
        Some(Value::String(text)) => Some(text.clone()),
        _ => None,
    };
    report.architecture = text("general.architecture");
    report.name = text("general.name");
    report.chat_template = text("tokenizer.chat_template");
    report.declared_type = metadata.value("general.file_type").and_then(Value::integer).map(file_type);
    let own = report.architecture.as_ref().map(|a| format!("{a}."));
    for (key, value) in metadata.iter() {
        match key {
            "general.architecture" | "general.name" | "tokenizer.chat_template" => {}
            _ if own.as_ref().is_some_and(|own| key.starts_with(own)) => report.config.push((key.to_string(), to_json(value))),
            _ => match key.strip_prefix("tokenizer.") {
                Some(rest) => report.tokenizer.push((rest.strip_prefix("ggml.").unwrap_or(rest).to_string(), to_json(value))),
                None => report.metadata.push((key.to_string(), to_json(value))),
            },
        }
    }
}

/// The recipe of a `general.file_type`.
pub fn file_type(number: i128) -> String {
    // llama.cpp sets bit 10 where it guessed the type from the tensors.
    let (guessed, number) = (number & 1024 != 0, number & !1024);
    let name = RECIPES.iter().find(|r| r.file_type.is_some_and(|t| i128::from(t) == number)).map(|r| r.name.to_string());
    format!("{}{}", name.unwrap_or_else(|| format!("file type {number}")), if guessed { " (guessed)" } else { "" })
}

/// A value as JSON; a long list as an object with its length and first elements.
fn to_json(value: &Value) -> Json {
    match value {
        Value::Array(array) => list(array),
        Value::Bool(x) => json!(x),
        Value::String(x) => json!(x),
        // By its shortest decimal, not by the digits of the next double.
        Value::F32(x) => x.to_string().parse::<f64>().map_or(Json::Null, |x| json!(x)),
        Value::F64(x) => json!(x),
        Value::U64(x) => json!(x),
        other => other.integer().and_then(|x| i64::try_from(x).ok()).map_or(Json::Null, |x| json!(x)),
    }
}

fn list(array: &Array) -> Json {
    let n = array.len().min(SHORT);
    let first: Vec<Json> = match array {
        Array::String(v) => v[..n].iter().map(|x| json!(x)).collect(),
        Array::F32(v) => v[..n].iter().map(|x| to_json(&Value::F32(*x))).collect(),
        Array::F64(v) => v[..n].iter().map(|x| json!(x)).collect(),
        Array::Bool(v) => v[..n].iter().map(|x| json!(x)).collect(),
        Array::Array(v) => v[..n].iter().map(list).collect(),
        Array::U64(v) => v[..n].iter().map(|x| json!(x)).collect(),
        _ => array.integers().unwrap_or_default()[..n].iter().map(|x| json!(*x as i64)).collect(),
    };
    match array.len() > SHORT {
        true => json!({"length": array.len(), "first": first}),
        false => Json::Array(first),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_of_an_unknown_architecture_is_sorted_too() {
        let mut metadata = Metadata::new();
        metadata.set("general.architecture", "hyena9".into());
        metadata.set("general.file_type", 15u32.into());
        metadata.set("hyena9.block_count", 3u32.into());
        metadata.set("hyena9.eps", 1e-5f32.into());
        metadata.set("tokenizer.ggml.tokens", vec!["a".to_string(); 40].into());
        metadata.set("split.count", Value::U16(0));
        let mut report = Report::default();
        describe(3, &metadata, &mut report);
        assert_eq!(report.declared_type.as_deref(), Some("Q4_K_M"));
        assert_eq!(report.config, [("hyena9.block_count".to_string(), json!(3)), ("hyena9.eps".to_string(), json!(1e-5))]);
        assert_eq!((report.tokenizer[0].0.as_str(), &report.tokenizer[0].1["length"]), ("tokens", &json!(40)));
        assert_eq!(report.metadata[1], ("split.count".to_string(), json!(0)));
        assert_eq!(file_type(1024 + 2), "Q4_0 (guessed)");
        assert_eq!(file_type(999_999), "file type 999999");
    }
}
