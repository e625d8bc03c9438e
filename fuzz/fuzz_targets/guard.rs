//! Any bytes as Host and Origin: no panic, and what passes is a name or an address of this machine, an app's own scheme, or the very server.
#![no_main]

use http::{HeaderMap, HeaderValue, header};
use libfuzzer_sys::fuzz_target;
use nibble_serve::Guard;
use std::net::IpAddr;

/// The host of an authority, by another way than the guard's.
fn host(authority: &str) -> String {
    let end = authority.rfind(':').filter(|at| !authority[*at..].contains(']')).unwrap_or(authority.len());
    let host = authority[..end].trim_end_matches('.').to_ascii_lowercase();
    // Only an address in brackets has a zone.
    match host.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')) {
        Some(inner) => inner.split('%').next().unwrap_or(inner).to_string(),
        None => host,
    }
}

fn is_local(host: &str) -> bool {
    host == "localhost" || host.ends_with(".localhost") || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fuzz_target!(|input: &[u8]| {
    let mut parts = input.split(|byte| *byte == b'\n');
    let mut headers = HeaderMap::new();
    for name in [header::HOST, header::ORIGIN, header::AUTHORIZATION] {
        if let Some(Ok(value)) = parts.next().map(HeaderValue::from_bytes) {
            headers.append(name, value);
        }
    }
    let text = |name| headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let guard = Guard::default();
    if let (Ok(()), Some(name)) = (guard.check_host(&headers, None), text(header::HOST)) {
        let host = host(&name);
        assert!(is_local(&host) || host.parse::<IpAddr>().is_ok(), "{name}");
    }
    if let (Ok(Some(_)), Some(origin)) = (guard.check_origin(&headers), text(header::ORIGIN)) {
        let (scheme, authority) = origin.split_once("://").unwrap();
        let app = ["app", "file", "tauri", "vscode-webview", "vscode-file"].contains(&scheme);
        let same = text(header::HOST).is_some_and(|host| host.eq_ignore_ascii_case(authority));
        assert!(app || (scheme == "http" || scheme == "https") && (same || is_local(&host(authority))), "{origin}");
    }
    let locked = Guard { api_key: Some("key".into()), ..Guard::default() };
    if locked.check_key(&headers).is_ok() {
        let given = text(header::AUTHORIZATION).unwrap();
        assert!(given.to_ascii_lowercase().starts_with("bearer ") && given[7..].trim() == "key", "{given}");
    }
});
