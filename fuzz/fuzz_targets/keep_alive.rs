//! Any text as a keep_alive: no panic, the same read as JSON, and an end that can be told.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nibble_serve::KeepAlive;
use std::time::Instant;

fuzz_target!(|text: &str| {
    let read = KeepAlive::parse(text);
    let json = serde_json::Value::from(text).to_string();
    assert_eq!(serde_json::from_str::<KeepAlive>(&json).ok(), read);
    if let Some(keep) = read {
        assert_eq!(keep.end(Instant::now()).is_none(), keep == KeepAlive::Forever);
        assert!(text.trim().starts_with('-') || keep != KeepAlive::Forever || text.len() > 4, "{text}");
    }
    let _ = serde_json::from_str::<KeepAlive>(text);
});
