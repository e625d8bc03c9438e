//! Any bytes as a session's saved state: no panic, and what is read lies within the file. The sum is mended, so that the fuzzer gets past it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nibble_engine::state::{State, Sum};

fuzz_target!(|file: &[u8]| {
    let _ = State::parse(file);
    let mut file = file.to_vec();
    if let Some(body) = file.len().checked_sub(8) {
        let mut sum = Sum::new();
        sum.bytes(&file[..body]);
        file[body..].copy_from_slice(&sum.value().to_le_bytes());
    }
    let Ok(state) = State::parse(&file) else { return };
    let held: usize = state.layers.iter().map(|layer| layer.len()).sum();
    assert!(4 * state.tokens.len() + held <= file.len());
});
