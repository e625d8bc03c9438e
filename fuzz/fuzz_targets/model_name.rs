//! Any text as a model's name: no panic, and what is read is printed as a text that is read as the same; its parts never leave a directory.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nibble_store::{Name, Source};

fuzz_target!(|text: &str| {
    let _ = Source::parse(text);
    let Ok(name) = text.parse::<Name>() else { return };
    assert_eq!(name.to_string().parse::<Name>().unwrap(), name);
    assert_eq!(name.full().parse::<Name>().unwrap(), name);
    for part in [name.host(), name.namespace(), name.model(), name.tag()] {
        assert!(!part.is_empty() && !part.starts_with('.') && !part.contains(['/', '\\', '\0']));
    }
});
