//! Any bytes as an index of safetensors files: no panic, and every file that it names is a plain name.
#![no_main]

use std::path::{Component, Path};

use libfuzzer_sys::fuzz_target;
use nibble_container::safetensors::Index;

fuzz_target!(|file: &[u8]| {
    let Ok(index) = Index::parse(file) else { return };
    assert!(!index.weight_map.is_empty());
    for name in index.files() {
        let mut parts = Path::new(name).components();
        assert!(matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None)));
    }
});
