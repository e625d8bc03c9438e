//! Bodies and heads that nobody sensible sends: never a panic, always an answer that says what is wrong.

use crate::client::{Answer, Running, settings, start};
use nibble_serve::Settings;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};
use std::io::Write;

/// Addresses that take a JSON body.
const PATHS: &[&str] = &[
    "/api/generate",
    "/api/chat",
    "/api/embed",
    "/api/embeddings",
    "/api/show",
    "/api/create",
    "/api/copy",
    "/api/pull",
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/embeddings",
    "/v1/responses",
    "/v1/responses/input_tokens",
    "/tokenize",
    "/detokenize",
    "/apply-template",
];

/// No store and a model that is not there: what passes all checks ends with 404, and nothing is computed.
fn server() -> Running {
    start(Settings { models: vec![], ..settings() })
}

/// Fails unless the answer is an error in JSON.
fn refused(path: &str, answer: Answer, body: &[u8]) {
    let status = answer.status;
    let text = answer.text();
    let shown = String::from_utf8_lossy(body);
    assert!((400..500).contains(&status) || status == 501, "{path} {shown}: {status} {text}");
    let value: Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{path} {shown}: {e}: {text}"));
    let message = if path.starts_with("/v1") { &value["error"]["message"] } else { &value["error"] };
    assert!(message.as_str().is_some_and(|m| !m.is_empty()), "{path} {shown}: {text}");
}

/// Any JSON, not too deep.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(|x| json!(x)),
        "\\PC{0,12}".prop_map(Value::from),
        Just(json!("user")),
        Just(json!("nope")),
        Just(json!("function")),
        Just(json!("5m")),
    ];
    leaf.prop_recursive(4, 24, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map(field(), inner, 0..5).prop_map(|map| map.into_iter().collect()),
        ]
    })
}

/// The names of fields, so that values reach the code behind them.
fn field() -> impl Strategy<Value = String> {
    const KNOWN: &[&str] = &[
        "model",
        "messages",
        "role",
        "content",
        "tool_calls",
        "function",
        "name",
        "arguments",
        "options",
        "temperature",
        "num_ctx",
        "stop",
        "format",
        "keep_alive",
        "think",
        "prompt",
        "context",
        "input",
        "tools",
        "tool_choice",
        "response_format",
        "type",
        "json_schema",
        "schema",
        "logit_bias",
        "n",
        "logprobs",
        "top_logprobs",
        "stream",
        "stream_options",
        "truncate",
        "shift",
        "images",
        "suffix",
        "template",
        "system",
        "dimensions",
        "encoding_format",
        "source",
        "destination",
        "from",
        "files",
        "parameters",
        "license",
        "tokens",
        "text",
        "reasoning",
        "effort",
        "functions",
        "function_call",
        "store",
        "previous_response_id",
        "id",
    ];
    prop_oneof![9 => prop::sample::select(KNOWN).prop_map(str::to_string), 1 => "\\PC{0,8}"]
}

/// A body with a model, so that the other fields are looked at.
fn body() -> impl Strategy<Value = Value> {
    prop::collection::hash_map(field(), any_json(), 0..8).prop_map(|map| {
        let mut value: Value = map.into_iter().collect();
        value["model"] = json!("nope");
        value
    })
}

#[test]
fn any_json_is_answered() {
    let server = server();
    let mut runner = TestRunner::new(Config { cases: 400, failure_persistence: None, ..Config::default() });
    let cases = (prop::sample::select(PATHS), prop_oneof![4 => body(), 1 => any_json()]);
    let run = runner.run(&cases, |(path, body)| {
        let bytes = body.to_string().into_bytes();
        refused(path, server.open("POST", path, &[], &bytes), &bytes);
        Ok(())
    });
    run.unwrap();
}

#[test]
fn any_bytes_are_answered() {
    let server = server();
    let mut runner = TestRunner::new(Config { cases: 200, failure_persistence: None, ..Config::default() });
    let cases = (prop::sample::select(PATHS), prop::collection::vec(any::<u8>(), 0..200));
    let run = runner.run(&cases, |(path, bytes)| {
        refused(path, server.open("POST", path, &[], &bytes), &bytes);
        Ok(())
    });
    run.unwrap();
    let deep = "[".repeat(200_000);
    refused("/api/chat", server.open("POST", "/api/chat", &[], deep.as_bytes()), b"[[[...");
}

#[test]
fn heads_that_are_no_http_end_the_connection() {
    let server = server();
    for head in
        ["\0\0\0\0\r\n\r\n", "GET\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", "POST /api/chat HTTP/1.1\r\nhost: a\r\ncontent-length: x\r\n\r\n"]
    {
        let mut stream = server.connect();
        stream.write_all(head.as_bytes()).unwrap();
        assert_eq!(Answer::read_head(stream, true).status, 400, "{head:?}");
    }
    let long = format!("GET /{} HTTP/1.1\r\nhost: localhost\r\n\r\n", "a".repeat(200_000));
    let mut stream = server.connect();
    // The server may close before it has read all of it.
    let _ = stream.write_all(long.as_bytes());
    let mut rest = vec![];
    let _ = std::io::Read::read_to_end(&mut stream, &mut rest);
    server.get("/health").is(200);
}
