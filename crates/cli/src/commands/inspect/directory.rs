//! What the small files beside the safetensors say: config.json, the tokenizer's files, the chat template. None of them has to be there, and one
//! that is broken is told as broken: inspecting is for finding out.

use std::path::Path;

use serde_json::{Value, json};

use super::report::Report;

/// Fills in what the files of a checkpoint's directory say.
pub fn describe(folder: &Path, report: &mut Report) {
    if let Some(config) = json_file(&folder.join("config.json"), report) {
        report.architecture = config["architectures"][0].as_str().map(str::to_string);
        report.declared_type = declared_type(&config);
        if let Value::Object(fields) = config {
            report.config = fields.into_iter().collect();
        }
    }
    for name in ["tokenizer.json", "tokenizer.model", "vocab.json"] {
        if folder.join(name).is_file() {
            report.tokenizer.push(("file".into(), json!(name)));
            break;
        }
    }
    if let Some(tokenizer) = json_file(&folder.join("tokenizer.json"), report) {
        let model = &tokenizer["model"];
        report.tokenizer.push(("model".into(), model["type"].clone()));
        let words = model["vocab"].as_object().map(|v| v.len()).or(model["vocab"].as_array().map(Vec::len)).unwrap_or(0);
        report.tokenizer.push(("vocabulary".into(), json!(words)));
        report.tokenizer.push(("added tokens".into(), json!(tokenizer["added_tokens"].as_array().map_or(0, Vec::len))));
    }
    if let Some(config) = json_file(&folder.join("tokenizer_config.json"), report) {
        for key in ["tokenizer_class", "bos_token", "eos_token", "pad_token", "add_bos_token"] {
            let value = config[key].get("content").unwrap_or(&config[key]);
            if !value.is_null() {
                report.tokenizer.push((key.into(), value.clone()));
            }
        }
        report.chat_template = match &config["chat_template"] {
            Value::String(text) => Some(text.clone()),
            // Several, by name: the one called "default" is used.
            Value::Array(list) => list.iter().find(|t| t["name"] == "default").and_then(|t| t["template"].as_str()).map(str::to_string),
            _ => None,
        };
    }
    if let Ok(text) = std::fs::read_to_string(folder.join("chat_template.jinja")) {
        report.chat_template = Some(text);
    }
    if let Some(Value::Object(fields)) = json_file(&folder.join("generation_config.json"), report) {
        report.metadata.extend(fields.into_iter().map(|(key, value)| (format!("generation.{key}"), value)));
    }
}

fn declared_type(config: &Value) -> Option<String> {
    let quantization = &config["quantization_config"];
    match quantization["quant_method"].as_str() {
        Some("bitsandbytes") => Some(match (quantization["bnb_4bit_quant_type"].as_str(), quantization["load_in_8bit"].as_bool()) {
            (_, Some(true)) => "bitsandbytes int8".into(),
            (kind, _) => {
                let double = if quantization["bnb_4bit_use_double_quant"] == true { ", double quantization" } else { "" };
                format!("bitsandbytes {}{double}", kind.unwrap_or("fp4").to_uppercase())
            }
        }),
        Some(method) => Some(method.to_uppercase()),
        None => config["torch_dtype"].as_str().or(config["dtype"].as_str()).map(str::to_string),
    }
}

/// A JSON file; one that cannot be read is noted, one that is not there is not.
fn json_file(path: &Path, report: &mut Report) -> Option<Value> {
    let name = path.file_name()?.to_string_lossy().into_owned();
    match std::fs::read(path) {
        Ok(bytes) => match serde_json::from_slice(&bytes) {
            Ok(value) => Some(value),
            Err(error) => {
                report.metadata.push((name, json!(format!("not JSON: {error}"))));
                None
            }
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => {
            report.metadata.push((name, json!(format!("cannot be read: {error}"))));
            None
        }
    }
}
