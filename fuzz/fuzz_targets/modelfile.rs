//! Any text as a Modelfile: no panic, and what is read is printed as a text that is read as the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nibble_store::Modelfile;

fuzz_target!(|text: &str| {
    let Ok(file) = Modelfile::parse(text) else { return };
    let printed = file.to_string();
    // The one text that cannot be quoted is one that holds three quotes itself.
    if !text.contains("\"\"\"") {
        assert_eq!(Modelfile::parse(&printed).unwrap(), file, "{printed}");
    }
});
