//! Any text as a chat template: no panic, and its rendering ends within what it may cost.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nibble_engine::text::{Render, Template, Value};

fuzz_target!(|source: &str| {
    let Ok(template) = Template::new(source, "<s>", "</s>") else { return };
    let turn = |role: &str, content: &str| Value::from_pairs([("role", Value::from(role)), ("content", Value::from(content))]);
    let messages = [turn("system", "Be brief."), turn("user", "Why? {{ x }} <s>")].into_iter().collect();
    let render = Render { messages, add_generation_prompt: true, ..Render::default() };
    let _ = template.render(&render, None);
});
