//! Any text as a chat template: no panic, and its rendering ends within what it may cost.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nibble_engine::text::{Render, Template, Value};

fuzz_target!(|source: &str| {
    let Ok(template) = Template::new(source, "<s>", "</s>") else { return };
    let messages = serde_json::json!([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why? {{ x }} <s>"}]);
    let render = Render { messages: Value::from_serialize(&messages), add_generation_prompt: true, ..Render::default() };
    let _ = template.render(&render, None);
});
