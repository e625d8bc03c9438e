//! What form an answer must have: Ollama's `format`, OpenAI's `response_format`.

use crate::error::Problem;
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
}
