//! Any bytes as a config.json: no panic, neither in reading it nor in asking for the layers and tensors that it speaks of.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nibble_engine::arch::Config;

fuzz_target!(|file: &[u8]| {
    let Ok(json) = serde_json::from_slice(file) else { return };
    let Ok(config) = Config::from_json("config.json", &json) else { return };
    let _ = (config.layer(0), config.metadata(), config.kv_dim());
});
