//! What form an answer must have: Ollama's `format`, OpenAI's `response_format`, vLLM's `structured_outputs`.

use crate::error::Problem;
use crate::openai::wire::Common;
use nibble_constrain::kind;
use serde_json::Value;

/// The form of an answer.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Format {
    /// Any text.
    #[default]
    Text,
    /// Any JSON object.
    Json,
    /// JSON that a schema describes.
    Schema(Value),
    /// A text that a regular expression matches.
    Regex(String),
    /// A text of a grammar, in llguidance's variant of Lark.
    Lark(String),
}

/// Ollama's: nothing or an empty text, `"json"`, or a schema.
pub fn of_ollama(value: Option<&Value>) -> Result<Format, Problem> {
    match value {
        None | Some(Value::Null) => Ok(Format::Text),
        Some(Value::String(text)) if text.is_empty() => Ok(Format::Text),
        Some(Value::String(text)) if text == "json" => Ok(Format::Json),
        Some(schema @ Value::Object(_)) => Ok(Format::Schema(schema.clone())),
        Some(other) => Err(Problem::bad(format!("format is {other}; expected \"json\" or a JSON schema")).param("format")),
    }
}

/// OpenAI's: `text`, `json_object`, `json_schema`. In `/v1/chat/completions` the schema stands in `json_schema.schema`, in `/v1/responses` in `schema`.
pub fn of_openai(value: Option<&Value>) -> Result<Format, Problem> {
    let Some(value) = value.filter(|v| !v.is_null()) else { return Ok(Format::Text) };
    let refuse = |what: String| Problem::bad(what).param("response_format");
    match value["type"].as_str() {
        Some("text") => Ok(Format::Text),
        Some("json_object") => Ok(Format::Json),
        Some("json_schema") => {
            let schema = value["json_schema"].get("schema").or(value.get("schema"));
            match schema {
                Some(schema @ Value::Object(_)) => Ok(Format::Schema(schema.clone())),
                _ => Err(refuse("response_format.json_schema.schema is missing or no object".into())),
            }
        }
        Some(other) => Err(refuse(format!("response_format.type is {other:?}; expected text, json_object or json_schema"))),
        None => Err(refuse("response_format has no type; expected text, json_object or json_schema".into())),
    }
}

/// vLLM's, which its clients send beside OpenAI's fields: `structured_outputs` with one of `json`, `json_object`, `regex`, `choice` and `grammar`, or the
/// older `guided_json`, `guided_regex`, `guided_choice` and `guided_grammar`. A grammar is one of Lark's.
pub fn of_vllm(common: &Common) -> Result<Format, Problem> {
    let older = [
        ("guided_json", "json", &common.guided_json),
        ("guided_regex", "regex", &common.guided_regex),
        ("guided_choice", "choice", &common.guided_choice),
        ("guided_grammar", "grammar", &common.guided_grammar),
    ];
    let newer = match &common.structured_outputs {
        None | Some(Value::Null) => None,
        Some(Value::Object(fields)) => Some(fields),
        Some(other) => {
            return Err(Problem::bad(format!("structured_outputs is {}; expected an object", kind(other))).param("structured_outputs"));
        }
    };
    let older = older.into_iter().filter_map(|(name, what, value)| Some((name.to_string(), what, value.as_ref()?)));
    let newer = newer.into_iter().flatten().map(|(what, value)| (format!("structured_outputs.{what}"), what.as_str(), value));
    let mut said = older.chain(newer).filter(|(_, _, value)| !value.is_null());
    let Some((name, what, value)) = said.next() else { return Ok(Format::Text) };
    if let Some((second, ..)) = said.next() {
        return Err(Problem::bad(format!("{name} and {second} cannot both be followed: send one")).param(second));
    }
    let refuse = |expected: &str| Problem::bad(format!("{name} is {}; expected {expected}", kind(value))).param(name.clone());
    match (what, value) {
        ("json", Value::Object(_)) => Ok(Format::Schema(value.clone())),
        ("json", Value::String(text)) => serde_json::from_str(text).map(Format::Schema).map_err(|_| refuse("a JSON schema")),
        ("json", _) => Err(refuse("a JSON schema")),
        ("json_object", Value::Bool(true)) => Ok(Format::Json),
        ("json_object", Value::Bool(false)) => Ok(Format::Text),
        ("regex", Value::String(text)) => Ok(Format::Regex(text.clone())),
        ("choice", Value::Array(texts)) if !texts.is_empty() && texts.iter().all(Value::is_string) => {
            Ok(Format::Regex(texts.iter().filter_map(Value::as_str).map(literally).collect::<Vec<_>>().join("|")))
        }
        ("choice", _) => Err(refuse("a list of texts")),
        ("grammar", Value::String(text)) => Ok(Format::Lark(text.clone())),
        ("regex" | "grammar", _) => Err(refuse("a text")),
        _ => Err(Problem::bad(format!("{name} is not supported; json, json_object, regex, choice and grammar are")).param(name)),
    }
}

/// A text as a regular expression that matches it alone.
fn literally(text: &str) -> String {
    text.chars().flat_map(|c| r"\.+*?()|[]{}^$#&-~/".contains(c).then_some('\\').into_iter().chain([c])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn both_interfaces_are_read() {
        assert_eq!(of_ollama(None).unwrap(), Format::Text);
        assert_eq!(of_ollama(Some(&json!(""))).unwrap(), Format::Text);
        assert_eq!(of_ollama(Some(&json!("json"))).unwrap(), Format::Json);
        assert_eq!(of_ollama(Some(&json!({"type": "object"}))).unwrap(), Format::Schema(json!({"type": "object"})));
        assert!(of_ollama(Some(&json!("xml"))).is_err());
        assert_eq!(of_openai(Some(&json!({"type": "json_object"}))).unwrap(), Format::Json);
        let chat = json!({"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "array"}}});
        assert_eq!(of_openai(Some(&chat)).unwrap(), Format::Schema(json!({"type": "array"})));
        let responses = json!({"type": "json_schema", "name": "x", "schema": {"type": "array"}});
        assert_eq!(of_openai(Some(&responses)).unwrap(), Format::Schema(json!({"type": "array"})));
        for bad in [json!({}), json!("json"), json!({"type": "xml"}), json!({"type": "json_schema"})] {
            assert!(of_openai(Some(&bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn forms_of_vllm_are_read() {
        let read = |value: Value| of_vllm(&crate::body::read_fields(&value).unwrap());
        assert_eq!(read(json!({})).unwrap(), Format::Text);
        assert_eq!(read(json!({"guided_json": "{\"type\": \"array\"}"})).unwrap(), Format::Schema(json!({"type": "array"})));
        assert_eq!(
            read(json!({"structured_outputs": {"json": {"type": "array"}, "regex": null}})).unwrap(),
            Format::Schema(json!({"type": "array"}))
        );
        assert_eq!(read(json!({"guided_regex": "a+"})).unwrap(), Format::Regex("a+".into()));
        assert_eq!(read(json!({"guided_choice": ["a.b", "c"]})).unwrap(), Format::Regex(r"a\.b|c".into()));
        assert_eq!(read(json!({"structured_outputs": {"grammar": "start: \"a\""}})).unwrap(), Format::Lark("start: \"a\"".into()));
        for (bad, name) in [
            (json!({"guided_regex": 5}), "guided_regex"),
            (json!({"guided_choice": []}), "guided_choice"),
            (json!({"structured_outputs": {"structural_tag": "x"}}), "structured_outputs.structural_tag"),
            (json!({"structured_outputs": "x"}), "structured_outputs"),
            (json!({"guided_regex": "a", "guided_choice": ["a"]}), "guided_choice"),
        ] {
            assert_eq!(read(bad.clone()).unwrap_err().param.as_deref(), Some(name), "{bad}");
        }
    }
}
