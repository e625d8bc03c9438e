//! Any bytes as the body of a request to each address that takes JSON, of a server without models: no panic and no fault of the server's, and a refusal has
//! the form of its interface.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nibble_serve::{Local, Settings};
use std::sync::LazyLock;

const PATHS: [&str; 17] = [
    "/api/generate",
    "/api/chat",
    "/api/embed",
    "/api/embeddings",
    "/api/show",
    "/api/create",
    "/api/copy",
    "/api/delete",
    "/api/pull",
    "/api/push",
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/embeddings",
    "/v1/responses",
    "/v1/responses/input_tokens",
    "/tokenize",
    "/apply-template",
];

static SERVER: LazyLock<Local> = LazyLock::new(|| Local::new(Settings::default()).unwrap());

fuzz_target!(|input: &[u8]| {
    let Some((first, body)) = input.split_first() else { return };
    let path = PATHS[*first as usize % PATHS.len()];
    let method = if path == "/api/delete" { "DELETE" } else { "POST" };
    let mut request =
        format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len()).into_bytes();
    request.extend_from_slice(body);
    let heard = String::from_utf8(SERVER.connection(&request)).unwrap();
    let status: u16 = heard.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap();
    assert!((400..500).contains(&status) || status == 501, "{heard}");
    let (_, body) = heard.split_once("\r\n\r\n").unwrap();
    let error: serde_json::Value = serde_json::from_str(body).unwrap();
    let words = if path.starts_with("/v1/") { &error["error"]["message"] } else { &error["error"] };
    assert!(words.as_str().is_some_and(|words| !words.is_empty()), "{heard}");
});
