//! `--format`: what an answer must follow.

use std::path::Path;

use anyhow::{Context, Result};
use nibble_constrain::Grammar;

use crate::exit::Problem;

/// Understands `json`, a JSON schema, or the name of a file that holds one.
pub fn grammar(text: &str) -> Result<Grammar> {
    let text = text.trim();
    if text.eq_ignore_ascii_case("json") {
        return Ok(Grammar::json());
    }
    let inline = text.starts_with('{');
    let (source, schema) = match inline {
        true => ("the schema".to_string(), text.to_string()),
        false if !Path::new(text).exists() => {
            return Err(Problem::usage(format!("--format {text}: there is no such file"))
                .hint("--format json, a schema's file, or '{...}'")
                .into());
        }
        false => (text.to_string(), std::fs::read_to_string(text).with_context(|| text.to_string())?),
    };
    let schema: serde_json::Value =
        serde_json::from_str(&schema).map_err(|error| Problem::failure(format!("{source} is not JSON: {error}")).hint("--format json"))?;
    Grammar::json_schema(&schema).with_context(|| source)
}
