//! Calls of tools: every style read back from the template that teaches it, any cut of the text, any text at all.

mod common;

use common::shared;
use nibble_engine::text::{Clock, Render, Said, TOOL_STYLES, Template, ToolCall, ToolParser, ToolStyle, Value};
use proptest::prelude::*;
use serde_json::{Map, json};

fn style(name: &str) -> &'static ToolStyle {
    TOOL_STYLES.iter().find(|s| s.name == name).unwrap()
}

fn read(style: &'static ToolStyle, pieces: &[&str]) -> Said {
    let mut parser = ToolParser::new(style, vec!["weather".into(), "clock".into()]);
    let mut all = Said::default();
    let mut add = |said: Said| {
        all.text.push_str(&said.text);
        all.calls.extend(said.calls);
    };
    pieces.iter().for_each(|piece| add(parser.push(piece)));
    add(parser.finish());
    all
}

/// Reads a text whole, in two pieces cut at every byte, and byte by byte: all must agree.
#[track_caller]
fn every_cut(style: &'static ToolStyle, text: &str) -> Said {
    let whole = read(style, &[text]);
    let cuts: Vec<usize> = text.char_indices().map(|(i, _)| i).collect();
    for &cut in &cuts {
        assert_eq!(read(style, &[&text[..cut], &text[cut..]]), whole, "cut at {cut} of {text:?}");
    }
    let single: Vec<&str> = cuts.iter().zip(cuts.iter().skip(1).chain([&text.len()])).map(|(a, b)| &text[*a..*b]).collect();
    assert_eq!(read(style, &single), whole, "{text:?} character by character");
    whole
}

fn weather(arguments: serde_json::Value) -> ToolCall {
    ToolCall { name: "weather".into(), arguments: arguments.as_object().cloned().unwrap_or_else(Map::new) }
}

#[test]
fn every_style_is_read_with_any_cut() {
    let oslo = || weather(json!({"city": "Oslo </tool_call> } \" \\ é"}));
    let body = serde_json::to_string(&json!({"city": "Oslo </tool_call> } \" \\ é"})).unwrap();
    let named = |key: &str| format!("{{\"name\": \"weather\", \"{key}\": {body}}}");
    let cases = [
        (
            "hermes",
            format!("Let me see.\n<tool_call>\n{}\n</tool_call>\n<tool_call>\n{}\n</tool_call>", named("arguments"), named("arguments")),
        ),
        ("mistral", format!("Let me see.[TOOL_CALLS][{}, {}]", named("arguments"), named("arguments"))),
        ("firefunction", format!("Let me see. functools[{}, {}]", named("arguments"), named("arguments"))),
        ("functionary", format!("Let me see.<function=weather>{body}</function><function=weather>{body}</function>")),
        (
            "deepseek",
            format!(
                "Let me see.<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>weather\n```json\n{body}\n```<｜tool▁call▁end｜>\n\
                 <｜tool▁call▁begin｜>function<｜tool▁sep｜>weather\n```json\n{body}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>"
            ),
        ),
        (
            "command-r7b",
            format!(
                "Let me see.<|START_ACTION|>[{{\"tool_name\": \"weather\", \"parameters\": {body}}}, {}]<|END_ACTION|>",
                named("parameters")
            ),
        ),
        ("llama 3", format!("Let me see.<|python_tag|>{}; {}", named("parameters"), named("parameters"))),
    ];
    assert_eq!(cases.len(), TOOL_STYLES.len());
    for (name, text) in cases {
        let said = every_cut(style(name), &text);
        assert_eq!((said.text.as_str(), said.calls), ("Let me see.", vec![oslo(), oslo()]), "{name}");
    }
    // Llama 3 writes the object alone.
    let said = every_cut(style("llama 3"), &format!(" {}", named("parameters")));
    assert_eq!((said.text.as_str(), said.calls), ("", vec![oslo()]));
    // Arguments as a text, and none at all.
    let said = every_cut(
        style("hermes"),
        "<tool_call>{\"name\":\"weather\",\"arguments\":\"{\\\"a\\\":1}\"}</tool_call><tool_call>{\"name\":\"clock\"}</tool_call> Done.",
    );
    assert_eq!(said.calls, [weather(json!({"a": 1})), ToolCall { name: "clock".into(), arguments: Map::new() }]);
    assert_eq!(said.text, "Done.");
}

#[test]
fn what_is_no_call_is_text_to_the_last_byte() {
    for (name, text) in [
        ("hermes", "I would write <tool_call> here, or <tool_ca"),
        ("hermes", "<tool_call>{\"name\": \"weather\", \"arguments\": {\"city\": \"Os"),
        ("hermes", "<tool_call>{\"name\": 5}</tool_call>\n"),
        ("hermes", "a\n\n<tool_call>{broken}</tool_call>"),
        ("mistral", "[TOOL_CALLS] are written so; [TOOL_CALLS][]"),
        ("functionary", "<function=>{}</function> <function=a<b>{} and <function="),
        ("llama 3", "{\"answer\": 42}"),
        // JSON that was asked for, and no tool of this name was given.
        ("llama 3", "{\"name\": \"Ada\", \"parameters\": {}} is an object"),
        ("llama 3", "  \n"),
        ("deepseek", "<｜tool▁call▁begin｜>function<｜tool▁sep｜>weather\n{}"),
    ] {
        let said = every_cut(style(name), text);
        let kept = |s: &str| s.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(kept(&said.text), kept(text), "{name}");
        assert!(said.calls.is_empty(), "{name}: {text}");
    }
}

/// What answers that must be calls are held to is what the parser reads.
#[test]
fn what_a_style_writes_it_reads() {
    let calls = [
        weather(json!({"city": "Oslo </tool_call> } \" \\ é", "days": [1, {"a": null}]})),
        ToolCall { name: "clock".into(), arguments: Map::new() },
        weather(json!({})),
    ];
    for style in TOOL_STYLES {
        for n in 1..=calls.len() {
            let said = every_cut(style, &style.write(&calls[..n]));
            assert_eq!((said.text.trim(), said.calls.as_slice()), ("", &calls[..n]), "{}", style.name);
        }
    }
}

/// The templates of published models write calls that were made before; the parser reads exactly these back.
#[test]
fn what_published_templates_write_is_read_back() {
    let Some(folder) = shared() else { return };
    let mut read_back = vec![];
    let mut files: Vec<_> = std::fs::read_dir(folder.join("data/tokenizers/chat-templates")).unwrap().flatten().map(|e| e.path()).collect();
    files.sort();
    for file in files {
        let source = std::fs::read_to_string(&file).unwrap();
        let Some(style) = ToolStyle::of(&source) else { continue };
        let template = Template::new(&source, "<s>", "</s>").unwrap();
        let tools = json!([{"type": "function", "function": {"name": "weather", "description": "Tells it", "parameters": {
            "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}}]);
        // Some templates write what they are given, some serialise it: an object, or OpenAI's text.
        for arguments in [json!({"city": "Oslo"}), json!("{\"city\": \"Oslo\"}")] {
            let call = json!({"id": "abcdefghi", "type": "function", "function": {"name": "weather", "arguments": arguments}});
            for content in [json!(null), json!("")] {
                let messages = json!([{"role": "user", "content": "How is it in Oslo?"}, {"role": "assistant", "content": content, "tool_calls": [call.clone()]}]);
                let render = Render {
                    messages: serde_json::from_value::<Value>(messages.clone()).unwrap(),
                    tools: serde_json::from_value::<Value>(tools.clone()).unwrap(),
                    now: Clock { seconds: 0 },
                    ..Render::default()
                };
                let Ok(prompt) = template.render(&render, None) else { continue };
                // Only what the assistant says: the template teaches by example before it.
                let said = prompt.text.rsplit_once("How is it in Oslo?").unwrap().1.replace("<|eot_id|>", "");
                let said = said.rsplit_once("<|end_header_id|>\n\n").map_or(said.as_str(), |(_, said)| said);
                if every_cut(style, said).calls == [weather(json!({"city": "Oslo"}))] {
                    read_back.push((style.name, file.file_stem().unwrap().to_string_lossy().into_owned()));
                }
            }
        }
    }
    let of = |name: &str| read_back.iter().any(|(style, _)| *style == name);
    for name in ["hermes", "mistral", "llama 3", "deepseek", "functionary", "command-r7b"] {
        assert!(of(name), "{name} is in {read_back:?}");
    }
}

proptest! {
    #[test]
    fn any_text_in_any_style_with_any_cut(
        n in 0..TOOL_STYLES.len(),
        text in r#"(<tool_call>|</tool_call>|<function=|weather>|</function>|\[TOOL_CALLS\]|functools|<\|python_tag\|>|<｜tool▁call▁begin｜>|<｜tool▁sep｜>|```json|\{"name": "weather", "parameters": \{\}\}|\{|\}|\[|\]|"|\\| |
|;|é|a){0,24}"#,
    ) {
        every_cut(&TOOL_STYLES[n], &text);
    }
}
