//! Any text as a Go template: no panic, and a translation is Jinja that compiles and whose rendering ends within what it may cost.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nibble_engine::text::{Render, Template};

fuzz_target!(|source: &str| {
    let Ok(jinja) = nibble_store::template::jinja(source) else { return };
    if nibble_store::template::is_go(source) {
        let template = Template::new(&jinja, "<s>", "</s>").unwrap_or_else(|error| panic!("{jinja}\n{error}"));
        let _ = template.render(&Render { add_generation_prompt: true, ..Render::turns([("system", "S"), ("user", "U")]) }, None);
    }
});
