//! Go templates of Ollama's models, translated by the store and rendered by the engine. The expected texts follow from Ollama's rules, by hand.

use nibble_engine::source::Source;
use nibble_engine::text::{Render, Template, Vocab};
use nibble_store::template::jinja;
use serde_json::{Value, json};
use std::path::Path;

/// A value of the engine's template language.
fn render_with(template: &str, messages: Value, tools: Value, extra: &[(&str, bool)]) -> String {
    let source = jinja(template).unwrap_or_else(|error| panic!("{template}: {error}"));
    let template = Template::new(&source, "<s>", "</s>").unwrap_or_else(|error| panic!("{source}\n{error}"));
    let render = Render {
        messages: serde_json::from_value(messages).unwrap(),
        tools: serde_json::from_value(tools).unwrap(),
        add_generation_prompt: true,
        extra: extra.iter().map(|(name, value)| (name.to_string(), serde_json::from_value(json!(value)).unwrap())).collect(),
        ..Render::default()
    };
    template.render(&render, None).unwrap_or_else(|error| panic!("{source}\n{error}")).text
}

fn render(template: &str, turns: &[(&str, &str)]) -> String {
    let messages: Vec<Value> = turns.iter().map(|(role, content)| json!({"role": role, "content": content})).collect();
    let text = render_with(template, json!(messages), Value::Null, &[]);
    text.strip_prefix("<s>").expect("the token that begins a text").to_string()
}

const LLAMA3: &str = "{{ if .System }}<|start_header_id|>system<|end_header_id|>\n\n{{ .System }}<|eot_id|>{{ end }}{{ if .Prompt }}<|start_header_id|>user<|end_header_id|>\n\n\
                      {{ .Prompt }}<|eot_id|>{{ end }}<|start_header_id|>assistant<|end_header_id|>\n\n{{ .Response }}<|eot_id|>";

const CHATML: &str = "{{- range $i, $_ := .Messages }}\n{{- $last := eq (len (slice $.Messages $i)) 1 }}\n<|im_start|>{{ .Role }}\n{{ .Content }}{{ if not $last }}<|im_end|>\n{{ end }}\n\
                      {{- if and $last (ne .Role \"assistant\") }}<|im_end|>\n<|im_start|>assistant\n{{ end }}\n{{- end }}";

#[test]
fn a_template_of_one_turn_is_rendered_for_each() {
    assert_eq!(
        render(LLAMA3, &[("system", "S"), ("user", "U1"), ("assistant", "A1"), ("user", "U2")]),
        "<|start_header_id|>system<|end_header_id|>\n\nS<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nU1<|eot_id|>\
         <|start_header_id|>assistant<|end_header_id|>\n\nA1<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nU2<|eot_id|>\
         <|start_header_id|>assistant<|end_header_id|>\n\n"
    );
    // What comes after the answer is not there where the model is to go on.
    assert_eq!(render("[INST] {{ .System }} {{ .Prompt }} [/INST]{{ .Response }}</s>\n", &[("user", "U")]), "[INST]  U [/INST]");
    // Nor is it where only a condition asks for the answer.
    assert_eq!(render("{{ if .Response }}x{{ end }}<{{ .Prompt }}>{{ .Response }}!", &[("user", "U")]), "<U>");
    // A template that says nothing of the answer ends with it.
    assert_eq!(render("### {{ .Prompt }}\n", &[("user", "U"), ("assistant", "A"), ("user", "V")]), "### U\nA### V\n");
    assert_eq!(render("{{ .Prompt }}{{ .Response }}", &[("user", "a"), ("user", "b")]), "a\n\nb", "neighbours of one role are one");
}

#[test]
fn a_template_over_messages_walks_over_them() {
    let text = render(CHATML, &[("system", "S"), ("user", "U1"), ("assistant", "A1"), ("user", "U2")]);
    let turn = |role: &str, text: &str| format!("\n<|im_start|>{role}\n{text}<|im_end|>\n");
    // The mark `{{-` before `$last` takes the line end before it, the text after it stays.
    let expected = format!("{}{}{}", turn("system", "S"), turn("user", "U1"), turn("assistant", "A1"));
    assert_eq!(text, format!("{expected}\n<|im_start|>user\nU2<|im_end|>\n<|im_start|>assistant\n"));
    assert!(
        render(CHATML, &[("user", "U"), ("assistant", "A")]).ends_with("<|im_start|>assistant\nA"),
        "an answer that is begun is gone on with"
    );
}

#[test]
fn tools_and_calls_are_written_as_json() {
    let template = "{{- if .Tools }}<tools>\n{{- range .Tools }}\n{{ json .Function }}\n{{- end }}\n</tools>\n{{ end }}\
                    {{- range .Messages }}{{ if .ToolCalls }}{{ range .ToolCalls }}<call>{\"name\": \"{{ .Function.Name }}\", \"arguments\": {{ .Function.Arguments }}}</call>{{ end }}\
                    {{ else if eq .Role \"tool\" }}<result>{{ .Content }}</result>{{ else }}[{{ .Content }}]{{ end }}{{ end }}";
    let messages = json!([
        {"role": "user", "content": "U"},
        {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": {"name": "f", "arguments": {"x": 1}}}]},
        {"role": "tool", "content": "2"},
        {"role": "tool", "content": "3"},
    ]);
    let tools = json!([{"type": "function", "function": {"name": "f", "parameters": {}}}]);
    assert_eq!(
        render_with(template, messages, tools, &[]),
        "<s><tools>\n{\"name\": \"f\", \"parameters\": {}}\n</tools>\n[U]<call>{\"name\": \"f\", \"arguments\": {\"x\": 1}}</call><result>2</result><result>3</result>"
    );
}

#[test]
fn variables_scopes_and_functions_are_gos() {
    let user = &[("user", "U")];
    let over = |body: &str| format!("{body}{{{{ range .Messages }}}}{{{{ end }}}}");
    for (template, expected) in [
        // Changed in a block, it stays changed; begun in a block, it ends with it.
        ("{{ $x := 1 }}{{ if true }}{{ $x = 2 }}{{ end }}{{ $x }}", "2"),
        ("{{ $x := 1 }}{{ if true }}{{ $x := 2 }}{{ $x }}{{ end }}{{ $x }}", "21"),
        ("{{ $n := 0 }}{{ range $i, $m := .Messages }}{{ $n = $i }}{{ $m.Role }}{{ end }}{{ $n }}", "user0"),
        ("{{ with .System }}a{{ else }}b{{ end }}", "b"),
        ("{{ with index .Messages 0 }}{{ .Content }}{{ $.System }}{{ end }}", "U"),
        ("{{ if and (eq 1 1) (or false (not false)) }}y{{ end }}", "y"),
        ("{{ if eq \"c\" \"a\" \"b\" \"c\" }}y{{ end }}", "y"),
        ("{{ if (lt 1 2) }}a{{ end }}{{ if ge 1 2 }}b{{ else if le 1 1 }}c{{ else }}d{{ end }}", "ac"),
        ("{{ len .Messages }}{{ .Messages | len }}", "11"),
        ("a {{- /* comment */ -}} b {{- \" c\" }}{{ `{{d}}` }}\t{{ \"\\\"e\\u0041\" }}", "ab c{{d}}\t\"eA"),
        ("{{ range .Messages }}x{{ break }}y{{ end }}{{ range .Messages }}{{ continue }}z{{ end }}", "x"),
        ("{{ range .Tools }}x{{ else }}none{{ end }}", "none"),
        ("100% {# no comment #} %}", "100% {# no comment #} %}"),
        ("{{ if and (lt -.5 0) (eq 1. 1) (eq 007 7) (lt -1 0) }}y{{ end }}", "y"),
        ("{{ .NoSuchThing }}{{ nil }}", ""),
    ] {
        assert_eq!(render(&over(template), user), expected, "{template}");
    }
}

#[test]
fn the_token_that_begins_a_text_is_left_out_where_the_model_wants_none() {
    let messages = json!([{"role": "user", "content": "U"}]);
    assert_eq!(render_with("{{ .Prompt }}", messages.clone(), Value::Null, &[("add_bos_token", false)]), "U");
    assert_eq!(render_with("{{ .Prompt }}", messages, Value::Null, &[("add_bos_token", true)]), "<s>U");
}

/// The variable comes from the vocabulary by itself: as a model is run, nobody has to think of it.
#[test]
fn a_vocabulary_tells_whether_its_texts_have_a_beginning() {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/tiny");
    let mut vocab = Vocab::of(&Source::open(&model).unwrap()).unwrap();
    let source = jinja("{{ .Prompt }}").unwrap();
    for (adds, expected) in [(true, "<|begin_of_text|>U"), (false, "U")] {
        vocab.add_bos = Some(adds);
        let template = Template::with(&source, &vocab).unwrap();
        let render = Render { add_generation_prompt: true, ..Render::turns([("user", "U")]) };
        assert_eq!(template.render(&render, None).unwrap().text, expected);
    }
}

#[test]
fn whatever_is_translated_compiles_and_ends() {
    const WORDS: &[&str] = &[
        "{{ ",
        " }}",
        "{{- ",
        " -}}",
        "if ",
        "else ",
        "end",
        "range ",
        "with ",
        "$x := ",
        "$x",
        "$i, $m := ",
        ".Messages",
        ".Response",
        ".Prompt ",
        ". ",
        "$ ",
        "(",
        ")",
        " | ",
        "eq ",
        "len ",
        "slice ",
        "index ",
        "json ",
        "\"a\" ",
        "`%}` ",
        "1 ",
        "-2.5 ",
        "nil ",
        "true ",
        "break",
        "text\n",
        "{% x %}",
        "{#",
        "\"",
    ];
    // SplitMix64.
    let mut state = 7u64;
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) as usize
    };
    let mut translated = 0;
    for _ in 0..20_000 {
        // Mostly whole actions, so that many are translated.
        let mut source = "{{ .Prompt }}".to_string();
        for _ in 0..next() % 8 {
            match next() % 4 {
                0 => source.push_str(WORDS[next() % WORDS.len()]),
                1 => source.push_str(
                    ["{{ if .System }}", "{{ range $i, $m := .Messages }}", "{{ with .Tools }}", "{{ $x := .Response }}"][next() % 4],
                ),
                2 => source.push_str(["{{ end }}", "{{ else }}", "{{ $x }}{{ $m.Role }}", "{{ .Content }}"][next() % 4]),
                _ => {
                    let action: String = (0..next() % 4).map(|_| WORDS[4 + next() % (WORDS.len() - 4)]).collect();
                    source.push_str(&format!("{{{{ {action} }}}}"));
                }
            }
        }
        if source.contains("{%") {
            continue;
        }
        let Ok(jinja) = jinja(&source) else { continue };
        translated += 1;
        let template = Template::new(&jinja, "<s>", "</s>").unwrap_or_else(|error| panic!("{source}\n{jinja}\n{error}"));
        let _ = template.render(&Render { add_generation_prompt: true, ..Render::turns([("system", "S"), ("user", "U")]) }, None);
    }
    assert!(translated > 1000, "{translated}");
}
