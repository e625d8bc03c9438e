//! Any bytes as what a client says over a connection: no panic, and what comes back is answers in HTTP.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nibble_serve::{Local, Settings};
use std::sync::LazyLock;

static SERVER: LazyLock<Local> = LazyLock::new(|| Local::new(Settings::default()).unwrap());

fuzz_target!(|bytes: &[u8]| {
    let heard = SERVER.connection(bytes);
    assert!(heard.is_empty() || heard.starts_with(b"HTTP/1."), "{}", String::from_utf8_lossy(&heard));
});
