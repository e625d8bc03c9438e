//! Calls of functions, through templates of two kinds that models are taught with: models/tiny has never heard of either, so its answers are made to be calls.

use crate::client::{Running, usual};
use crate::store::{empty, gguf, upload};
use serde_json::{Map, Value, json};

/// As Llama 3.2 is told of functions: in the first message of the user, and a call is a bare object.
const LLAMA: &str = r#"{{- bos_token }}
{%- for message in messages %}
{%- if message.role == 'tool' %}
{{- '<|start_header_id|>ipython<|end_header_id|>\n\n' + message.content + '<|eot_id|>' }}
{%- elif message.tool_calls %}
{{- '<|start_header_id|>assistant<|end_header_id|>\n\n{"name": "' + message.tool_calls[0].function.name + '", "parameters": ' }}
{{- message.tool_calls[0].function.arguments | tojson }}{{- '}<|eot_id|>' }}
{%- else %}
{{- '<|start_header_id|>' + message.role + '<|end_header_id|>\n\n' }}
{%- if tools and loop.first %}
{{- 'Answer with {"name": function name, "parameters": dictionary of arguments}.\n' }}
{%- for tool in tools %}{{- tool | tojson + '\n' }}{%- endfor %}
{%- endif %}
{{- message.content | trim + '<|eot_id|>' }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{%- endif %}"#;

/// As Qwen and Hermes are: in the system's message, and calls stand between tags.
const HERMES: &str = r#"{{- bos_token }}
{%- if tools %}
{{- '<|start_header_id|>system<|end_header_id|>\n\nWrite calls as <tool_call>\n{"name": ..., "arguments": ...}\n</tool_call>\n' }}
{%- for tool in tools %}{{- tool | tojson + '\n' }}{%- endfor %}
{{- '<|eot_id|>' }}
{%- endif %}
{%- for message in messages %}
{%- set role = 'user' if message.role == 'tool' else message.role %}
{{- '<|start_header_id|>' + role + '<|end_header_id|>\n\n' }}
{%- if message.role == 'tool' %}{{- '<tool_response>\n' + message.content + '\n</tool_response>' }}
{%- else %}{{- message.content or '' }}{%- endif %}
{%- for call in message.tool_calls or [] %}
{{- '\n<tool_call>\n' + {"name": call.function.name, "arguments": call.function.arguments} | tojson + '\n</tool_call>' }}
{%- endfor %}
{{- '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{%- endif %}"#;

/// One that opens a thought, and shows the model what it thought before.
const THINKER: &str = r#"{{- bos_token }}
{%- for message in messages %}
{{- '<|start_header_id|>' + message.role + '<|end_header_id|>\n\n' }}
{%- if message.reasoning_content %}{{- '<think>' + message.reasoning_content + '</think>' }}{%- endif %}
{{- message.content + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}
{%- if enable_thinking is not defined or enable_thinking %}{{- '<think>\n' }}{%- endif %}
{%- endif %}"#;

/// A template that knows tools, but no way to call them that is known.
const STRANGE: &str = "{{ bos_token }}{% if tools %}{{ tools | tojson }}{% endif %}{{ messages[-1].content }}";

fn tools() -> Value {
    json!([
        {"type": "function", "function": {"name": "weather", "description": "Tells the weather", "parameters": {
            "type": "object",
            "properties": {"city": {"enum": ["Oslo", "Rome"]}, "days": {"type": "integer", "minimum": 1, "maximum": 7}},
            "required": ["city", "days"], "additionalProperties": false}}},
        {"type": "function", "function": {"name": "ring", "parameters": {
            "type": "object", "properties": {"loud": {"type": "boolean"}}, "required": ["loud"], "additionalProperties": false}}},
    ])
}

/// Fails unless the call is one that the tools allow.
#[track_caller]
fn check(name: &str, arguments: &Value) {
    let arguments = arguments.as_object().unwrap();
    let keys: Vec<&str> = arguments.keys().map(String::as_str).collect();
    match name {
        "weather" => {
            assert_eq!(keys, ["city", "days"]);
            assert!(["Oslo", "Rome"].contains(&arguments["city"].as_str().unwrap()));
            assert!((1..=7).contains(&arguments["days"].as_i64().unwrap()));
        }
        "ring" => assert!(keys == ["loud"] && arguments["loud"].is_boolean()),
        other => panic!("{other} is none of the tools"),
    }
}

/// The calls of a message of OpenAI's, checked.
#[track_caller]
fn checked(message: &Value) -> Vec<(String, Value)> {
    let calls = message["tool_calls"].as_array().unwrap_or_else(|| panic!("no calls in {message}"));
    let read = |call: &Value| {
        assert_eq!(call["type"], "function");
        assert!(call["id"].as_str().unwrap().starts_with("call_"));
        let name = call["function"]["name"].as_str().unwrap().to_string();
        let arguments: Value = serde_json::from_str(call["function"]["arguments"].as_str().unwrap()).unwrap();
        check(&name, &arguments);
        (name, arguments)
    };
    calls.iter().map(read).collect()
}

/// A server with models/tiny under these templates.
fn server(dir: &tempfile::TempDir) -> Running {
    let server = empty(dir.path());
    let digest = upload(&server, &gguf(dir.path()));
    for (name, template) in [("llama", LLAMA), ("hermes", HERMES), ("strange", STRANGE), ("thinker", THINKER)] {
        let body = json!({"model": name, "files": {"tiny.gguf": digest}, "template": template, "parameters": {"num_ctx": 1024}});
        assert_eq!(server.post("/api/create", body).is(200).lines().last().unwrap()["status"], "success", "{name}");
    }
    server
}

fn ask(model: &str, choice: Value, more: Value) -> Value {
    let mut body = json!({
        "model": model, "messages": [{"role": "user", "content": "How is the weather in Oslo?"}], "tools": tools(), "tool_choice": choice,
        "seed": 3, "max_tokens": 200});
    body.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_else(Map::new));
    body
}

#[test]
fn an_answer_that_must_call_does() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(&dir);
    for model in ["llama", "hermes"] {
        let one = json!({"parallel_tool_calls": false});
        let whole = server.post("/v1/chat/completions", ask(model, json!("required"), one.clone())).is(200).json();
        let choice = &whole["choices"][0];
        let calls = checked(&choice["message"]);
        assert_eq!(
            (calls.len(), &choice["finish_reason"], &choice["message"]["content"]),
            (1, &json!("tool_calls"), &Value::Null),
            "{whole}"
        );

        // In pieces: the same call.
        let mut streamed = ask(model, json!("required"), one);
        streamed["stream"] = json!(true);
        let (pieces, done) = server.post("/v1/chat/completions", streamed).is(200).events();
        let deltas: Vec<&Value> = pieces.iter().filter_map(|p| p["choices"][0]["delta"].get("tool_calls")).collect();
        assert_eq!((done, deltas.len(), &deltas[0][0]["index"]), (true, 1, &json!(0)), "{pieces:?}");
        assert_eq!(checked(&json!({"tool_calls": deltas[0]})), calls);
        assert!(pieces.iter().all(|p| p["choices"][0]["delta"]["content"].as_str().unwrap_or_default().is_empty()), "{pieces:?}");
        assert_eq!(pieces.last().unwrap()["choices"][0]["finish_reason"], "tool_calls");

        // One that is cut is none, and its beginning is no text.
        let cut = server.post("/v1/chat/completions", ask(model, json!("required"), json!({"max_tokens": 6}))).is(200).json();
        let choice = &cut["choices"][0];
        assert_eq!((&choice["finish_reason"], &choice["message"]["content"]), (&json!("length"), &json!("")), "{cut}");
        assert!(choice["message"].get("tool_calls").is_none(), "{cut}");

        // By name, with several seeds; and as many calls as it likes, each of which is good.
        for seed in 0..3 {
            let named = json!({"type": "function", "function": {"name": "ring"}});
            let named = server.post("/v1/chat/completions", ask(model, named, json!({"seed": seed}))).is(200).json();
            let calls = checked(&named["choices"][0]["message"]);
            assert!(calls.len() == 1 && calls[0].0 == "ring", "{named}");
        }
        for seed in 0..3 {
            let ring = json!([{"type": "function", "function": {"name": "ring"}}]);
            let allowed = json!({"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": ring}});
            let more = json!({"seed": seed, "parallel_tool_calls": false});
            let answer = server.post("/v1/chat/completions", ask(model, allowed, more)).is(200).json();
            assert_eq!(checked(&answer["choices"][0]["message"])[0].0, "ring", "{answer}");
        }
        let several = server.post("/v1/chat/completions", ask(model, json!("required"), json!({"seed": 5}))).is(200).json();
        assert!(!checked(&several["choices"][0]["message"]).is_empty());

        // The newer interface has items and events for it.
        let mut body =
            ask(model, json!({"type": "function", "name": "weather"}), json!({"input": "How is the weather?", "max_output_tokens": 200}));
        body["tools"] = tools().as_array().unwrap().iter().map(|tool| tool["function"].clone()).collect();
        let answer = server.post("/v1/responses", body.clone()).is(200).json();
        let item = &answer["output"][0];
        assert_eq!((&item["type"], &item["name"], &answer["status"]), (&json!("function_call"), &json!("weather"), &json!("completed")));
        check("weather", &serde_json::from_str(item["arguments"].as_str().unwrap()).unwrap());
        body["stream"] = json!(true);
        let (events, _) = server.post("/v1/responses", body).is(200).events();
        assert!(events.iter().any(|e| e["type"] == "response.function_call_arguments.done" && e["name"] == "weather"), "{events:?}");
    }
}

/// What programs of 2023 send, and what they look for in the answer.
#[test]
fn functions_of_the_older_form_are_called_in_it() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(&dir);
    let functions: Vec<Value> = tools().as_array().unwrap().iter().map(|tool| tool["function"].clone()).collect();
    let ask = |more: Value| {
        let mut body = json!({"model": "hermes", "functions": functions, "function_call": {"name": "weather"}, "seed": 3, "max_tokens": 200,
            "messages": [{"role": "user", "content": "How is the weather in Oslo?"}]});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let whole = server.post("/v1/chat/completions", ask(json!({}))).is(200).json();
    let choice = &whole["choices"][0];
    let call = &choice["message"]["function_call"];
    assert_eq!((&choice["finish_reason"], &choice["message"]["content"]), (&json!("function_call"), &Value::Null), "{whole}");
    assert!(choice["message"].get("tool_calls").is_none(), "{whole}");
    let arguments = |call: &Value| serde_json::from_str::<Value>(call["arguments"].as_str().unwrap()).unwrap();
    check(call["name"].as_str().unwrap(), &arguments(call));

    let (pieces, done) = server.post("/v1/chat/completions", ask(json!({"stream": true}))).is(200).events();
    let called: Vec<&Value> = pieces.iter().filter_map(|p| p["choices"][0]["delta"].get("function_call")).collect();
    assert_eq!((done, called), (true, vec![call]), "{pieces:?}");
    assert_eq!(pieces.last().unwrap()["choices"][0]["finish_reason"], "function_call");

    // The call and its result come back as the template has them in the newer form.
    let prompt = |messages: Value| {
        let body = ask(json!({"messages": messages, "function_call": "none", "max_tokens": 1}));
        server.post("/v1/chat/completions", body).is(200).json()["usage"]["prompt_tokens"].clone()
    };
    let user = json!({"role": "user", "content": "How is the weather in Oslo?"});
    let older = json!([user, {"role": "assistant", "content": null, "function_call": call}, {"role": "function", "name": "weather", "content": "Sunny."}]);
    let newer = json!([user, {"role": "assistant", "content": null, "tool_calls": [{"id": "c1", "type": "function", "function": call}]},
        {"role": "tool", "tool_call_id": "c1", "name": "weather", "content": "Sunny."}]);
    assert_eq!(prompt(older), prompt(newer.clone()));
    assert_ne!(prompt(newer), prompt(json!([user])));
}

#[test]
fn a_call_and_its_result_go_through_the_template() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(&dir);
    let made = |arguments: Value| json!([{"id": "c1", "type": "function", "function": {"name": "weather", "arguments": arguments}}]);
    for (model, call, result) in [
        (
            "llama",
            "{\"name\": \"weather\", \"parameters\": {\"city\": \"Oslo\", \"days\": 2}}",
            "ipython<|end_header_id|>\n\nSunny<|eot_id|>",
        ),
        (
            "hermes",
            "<tool_call>\n{\"name\": \"weather\", \"arguments\": {\"city\": \"Oslo\", \"days\": 2}}\n</tool_call>",
            "<tool_response>\nSunny\n</tool_response>",
        ),
    ] {
        let messages = json!([
            {"role": "user", "content": "How is the weather?"},
            {"role": "assistant", "content": null, "tool_calls": made(json!("{\"city\": \"Oslo\", \"days\": 2}"))},
            {"role": "tool", "tool_call_id": "c1", "content": "Sunny"},
        ]);
        let prompt = server.post("/apply-template", json!({"model": model, "messages": messages, "tools": tools()})).is(200).json();
        let text = prompt["prompt"].as_str().unwrap();
        let at = |part: &str| text.find(part).unwrap_or_else(|| panic!("no {part:?} in {text}"));
        assert!(at(call) < at(result), "{text}");
        let answer =
            server.post("/v1/chat/completions", ask(model, json!("auto"), json!({"messages": messages, "max_tokens": 4}))).is(200).json();
        let count = answer["usage"]["prompt_tokens"].as_u64().unwrap();
        let none =
            server.post("/v1/chat/completions", ask(model, json!("none"), json!({"messages": messages, "max_tokens": 4}))).is(200).json();
        let bare =
            server.post("/v1/chat/completions", json!({"model": model, "messages": messages, "max_tokens": 4, "seed": 3})).is(200).json();
        // "none" keeps the functions out of the prompt.
        assert_eq!((&none["usage"]["prompt_tokens"], &none["choices"]), (&bare["usage"]["prompt_tokens"], &bare["choices"]));
        assert!(none["usage"]["prompt_tokens"].as_u64().unwrap() < count);

        // Ollama's form of the same conversation is the same prompt.
        let messages = json!([
            {"role": "user", "content": "How is the weather?"},
            {"role": "assistant", "content": "", "tool_calls": made(json!({"city": "Oslo", "days": 2}))},
            {"role": "tool", "tool_name": "weather", "content": "Sunny"},
        ]);
        let body = json!({"model": model, "messages": messages, "tools": tools(), "stream": false, "options": {"num_predict": 4}});
        assert_eq!(server.post("/api/chat", body).is(200).json()["prompt_eval_count"], count);
    }
}

/// Ollama's interface cannot ask for a call. Where a call is an object and nothing else, a format can.
#[test]
fn calls_have_ollamas_form_too() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(&dir);
    let format = json!({"type": "object", "properties": {"name": {"const": "weather"}, "parameters": tools()[0]["function"]["parameters"]},
                        "required": ["name", "parameters"], "additionalProperties": false});
    let body = |stream: bool| {
        json!({"model": "llama", "messages": [{"role": "user", "content": "How is the weather?"}], "tools": tools(), "format": format,
               "stream": stream, "options": {"seed": 1, "num_predict": 200}})
    };
    let whole = server.post("/api/chat", body(false)).is(200).json();
    let call = &whole["message"]["tool_calls"][0]["function"];
    assert_eq!(
        (&call["name"], &whole["message"]["content"], &whole["done_reason"]),
        (&json!("weather"), &json!(""), &json!("stop")),
        "{whole}"
    );
    check("weather", &call["arguments"]);
    let pieces = server.post("/api/chat", body(true)).is(200).lines();
    let called: Vec<&Value> = pieces.iter().filter_map(|p| p["message"].get("tool_calls")).collect();
    assert_eq!(called.len(), 1, "{pieces:?}");
    assert_eq!(&called[0][0]["function"]["arguments"], &call["arguments"]);
    assert!(pieces.iter().all(|p| p["message"]["content"] == ""));
}

#[test]
fn a_thought_has_the_names_that_clients_look_for_and_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(&dir);
    let ask = |more: Value| {
        let mut body = json!({"model": "thinker", "messages": [{"role": "user", "content": "Hi"}], "seed": 3, "max_tokens": 12});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let whole = server.post("/v1/chat/completions", ask(json!({}))).is(200).json();
    let message = &whole["choices"][0]["message"];
    assert!(message["reasoning"] == message["reasoning_content"] && !message["reasoning"].as_str().unwrap().is_empty(), "{whole}");
    assert_eq!(
        (&message["content"], &whole["usage"]["completion_tokens_details"]["reasoning_tokens"]),
        (&json!(""), &json!(12)),
        "{whole}"
    );
    let (pieces, _) = server.post("/v1/chat/completions", ask(json!({"stream": true}))).is(200).events();
    let joined = |name: &str| pieces.iter().filter_map(|p| p["choices"][0]["delta"][name].as_str()).collect::<String>();
    assert_eq!(
        (joined("reasoning"), joined("reasoning_content")),
        (joined("reasoning_content"), message["reasoning"].as_str().unwrap().into())
    );
    let none = server.post("/v1/chat/completions", ask(json!({"reasoning_effort": "none"}))).is(200).json();
    assert!(none["choices"][0]["message"].get("reasoning").is_none(), "{none}");
    assert_eq!(none["usage"]["completion_tokens_details"]["reasoning_tokens"], 0);
    let responses = server.post("/v1/responses", json!({"model": "thinker", "input": "Hi", "max_output_tokens": 12})).is(200).json();
    assert_eq!(responses["usage"]["output_tokens_details"]["reasoning_tokens"], 12, "{responses}");
    // What was thought comes back to the template, in either name.
    let count = |turn: Value| {
        let messages = json!([{"role": "user", "content": "Hi"}, turn, {"role": "user", "content": "Hi"}]);
        server.post("/v1/chat/completions", ask(json!({"messages": messages}))).is(200).json()["usage"]["prompt_tokens"].as_u64().unwrap()
    };
    let [bare, one, other] = [json!({}), json!({"reasoning_content": "Hm, a fox"}), json!({"reasoning": "Hm, a fox"})].map(|more| {
        let mut turn = json!({"role": "assistant", "content": "Ho"});
        turn.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        count(turn)
    });
    assert!(one > bare && one == other, "{bare} {one} {other}");
}

#[test]
fn what_cannot_be_called_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(&dir);
    let refused = |body: Value, status: u16, words: &str| {
        let error = server.post("/v1/chat/completions", body).is(status).json()["error"]["message"].as_str().unwrap().to_string();
        assert!(error.contains(words), "{error}");
    };
    refused(ask("strange", json!("required"), json!({})), 501, "how it writes calls");
    refused(ask("llama", json!({"type": "function", "function": {"name": "fly"}}), json!({})), 400, "fly");
    refused(ask("llama", json!("sometimes"), json!({})), 400, "tool_choice");
    let fly =
        json!({"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [{"type": "function", "function": {"name": "fly"}}]}});
    refused(ask("llama", fly, json!({})), 400, "fly");
    refused(ask("llama", json!("required"), json!({"tools": []})), 400, "no");
    let odd = |parameters: Value| json!({"tools": [{"type": "function", "function": {"name": "odd", "parameters": parameters}}]});
    refused(
        ask("hermes", json!("required"), odd(json!({"properties": {"x": {"uniqueItems": true}}}))),
        400,
        "the parameters of odd: the JSON schema's \"uniqueItems\"",
    );
    refused(ask("hermes", json!("required"), odd(json!({"type": "array"}))), 400, "odd");
    // What is only told to the model may be anything.
    server
        .post(
            "/v1/chat/completions",
            ask(
                "hermes",
                json!("auto"),
                json!({"tools": odd(json!({"properties": {"x": {"uniqueItems": true}}}))["tools"], "max_tokens": 2}),
            ),
        )
        .is(200);
    let plain = usual();
    let error = plain.post("/v1/chat/completions", ask("tiny", json!("required"), json!({}))).is(400).json();
    assert!(error["error"]["message"].as_str().unwrap().contains("does not support tools"), "{error}");
}
