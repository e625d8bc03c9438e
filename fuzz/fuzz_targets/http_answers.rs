//! Any JSON as a request for text, of a server with models/tiny: no panic, no fault of the server's but for a guide that cannot go on, and JSON in every piece.
//! The model's name and the answer's length are set, so that there is something to answer and an end to it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nibble_serve::{KeepAlive, Local, Settings};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::LazyLock;

const PATHS: [&str; 8] = [
    "/api/generate",
    "/api/chat",
    "/api/embed",
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/embeddings",
    "/v1/responses",
    "/apply-template",
];

static SERVER: LazyLock<Local> = LazyLock::new(|| {
    let tiny = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/tiny");
    let engine = nibble_engine::Options { threads: Some(1), context: Some(256), ..nibble_engine::Options::default() };
    Local::new(Settings { models: vec![tiny], engine, keep_alive: KeepAlive::Forever, ..Settings::default() }).unwrap()
});

fuzz_target!(|input: &[u8]| {
    let Some((first, body)) = input.split_first() else { return };
    let Ok(Value::Object(mut body)) = serde_json::from_slice::<Value>(body) else { return };
    let path = PATHS[*first as usize % PATHS.len()];
    body.insert("model".into(), json!("tiny"));
    body.remove("keep_alive");
    body.remove("num_ctx");
    for length in ["max_tokens", "max_completion_tokens", "max_output_tokens"] {
        body.insert(length.into(), json!(2));
    }
    match body.get_mut("options") {
        Some(Value::Object(options)) => {
            options.insert("num_predict".into(), json!(2));
            options.remove("num_ctx");
        }
        _ => _ = body.insert("options".into(), json!({"num_predict": 2})),
    }
    let body = Value::Object(body).to_string();
    let request = format!("POST {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let heard = String::from_utf8(SERVER.connection(request.as_bytes())).unwrap();
    let status: u16 = heard.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap();
    let (head, told) = heard.split_once("\r\n\r\n").unwrap();
    let fault =
        status >= 500 && status != 501 && !told.contains("the grammar cannot be followed") && !told.contains("no token is possible");
    assert!(!fault, "{body}\n{heard}");
    if head.contains("content-length") {
        serde_json::from_str::<Value>(told).unwrap();
    } else {
        for line in told.lines() {
            let line = line.strip_prefix("data: ").unwrap_or(line);
            if line.starts_with('{') {
                serde_json::from_str::<Value>(line).unwrap();
            }
        }
    }
});
