//! Any bytes as a manifest: no panic, and what is read is written as bytes that are read as the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nibble_store::Manifest;

fuzz_target!(|bytes: &[u8]| {
    let Ok(manifest) = Manifest::parse(bytes) else { return };
    let _ = manifest.size();
    assert_eq!(Manifest::parse(&manifest.to_json()).unwrap(), manifest);
});
