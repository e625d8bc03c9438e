//! OpenAI's interface, as its clients rely on it.

use crate::client::usual;
use serde_json::{Value, json};

fn ask(more: Value) -> Value {
    let mut body =
        json!({"model": "tiny", "messages": [{"role": "user", "content": "Tell me a story about a rabbit."}], "seed": 7, "max_tokens": 12});
    for (name, value) in more.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

#[test]
fn models_are_listed() {
    let server = usual();
    let list = server.get("/v1/models").is(200).json();
    assert_eq!(
        (&list["object"], &list["data"][0]["id"], &list["data"][0]["object"]),
        (&json!("list"), &json!("tiny:latest"), &json!("model"))
    );
    assert_eq!(server.get("/v1/models/tiny").is(200).json()["id"], "tiny:latest");
    assert_eq!(server.get("/v1/models/a/b:c").is(404).json()["error"]["code"], "model_not_found");
}

/// What comes of joining paths to a base address that ends with a slash, and of clients that end all paths with one.
#[test]
fn paths_may_have_slashes_too_many() {
    let server = usual();
    for path in ["/v1/models/", "//v1/models", "/v1//models/"] {
        assert_eq!(server.get(path).is(200).json()["data"][0]["id"], "tiny:latest", "{path}");
    }
    assert_eq!(server.get("/v1/models/tiny/").is(200).json()["id"], "tiny:latest");
    let answer = server.post("//v1/chat/completions/", ask(json!({"max_tokens": 1}))).is(200).json();
    assert_eq!(answer["object"], "chat.completion");
    server.get("//api/tags/").is(200);
}

#[test]
fn a_chat_is_answered_whole_and_in_pieces() {
    let server = usual();
    let whole = server.post("/v1/chat/completions", ask(json!({}))).is(200).json();
    let choice = &whole["choices"][0];
    assert_eq!(
        (&whole["object"], &choice["finish_reason"], &choice["message"]["role"]),
        (&json!("chat.completion"), &json!("length"), &json!("assistant"))
    );
    let usage = &whole["usage"];
    assert_eq!(usage["completion_tokens"], 12);
    assert_eq!(usage["total_tokens"].as_u64().unwrap(), usage["prompt_tokens"].as_u64().unwrap() + 12);

    let body = ask(json!({"stream": true, "stream_options": {"include_usage": true}}));
    let (pieces, done) = server.post("/v1/chat/completions", body).is(200).events();
    assert!(done);
    let text: String = pieces.iter().filter_map(|p| p["choices"][0]["delta"]["content"].as_str()).collect();
    assert_eq!(text, choice["message"]["content"].as_str().unwrap());
    assert_eq!(pieces[0]["choices"][0]["delta"]["role"], "assistant");
    assert!(pieces.iter().all(|p| p["object"] == "chat.completion.chunk" && p["id"] == pieces[0]["id"]));
    let (last, before) = pieces.split_last().unwrap();
    assert_eq!((&last["choices"], &last["usage"]["completion_tokens"]), (&json!([]), &json!(12)));
    assert_eq!(before.last().unwrap()["choices"][0]["finish_reason"], "length");
    // The others say that theirs is yet to come.
    assert!(before.iter().all(|p| p.get("usage") == Some(&Value::Null)), "{pieces:?}");
    let (pieces, _) = server.post("/v1/chat/completions", ask(json!({"stream": true}))).is(200).events();
    assert!(pieces.iter().all(|p| p.get("usage").is_none()));
}

#[test]
fn several_answers_differ_and_can_be_had_again() {
    let server = usual();
    let body = ask(json!({"n": 3, "temperature": 1.5, "top_k": 0}));
    let first = server.post("/v1/chat/completions", body.clone()).is(200).json();
    let texts = |v: &Value| -> Vec<String> {
        v["choices"].as_array().unwrap().iter().map(|c| c["message"]["content"].as_str().unwrap().to_string()).collect()
    };
    let all = texts(&first);
    assert_eq!((all.len(), &first["usage"]["completion_tokens"]), (3, &json!(36)));
    assert!(all[0] != all[1] && all[1] != all[2], "{all:?}");
    assert_eq!(texts(&server.post("/v1/chat/completions", body).is(200).json()), all);
    let (pieces, done) = server.post("/v1/chat/completions", ask(json!({"n": 2, "stream": true}))).is(200).events();
    let ended: Vec<u64> = pieces
        .iter()
        .filter(|p| p["choices"][0]["finish_reason"] == "length")
        .map(|p| p["choices"][0]["index"].as_u64().unwrap())
        .collect();
    assert!(done && ended.len() == 2 && ended.contains(&0) && ended.contains(&1), "{ended:?}");
    server.post("/v1/chat/completions", ask(json!({"n": 0}))).is(400);
}

#[test]
fn contents_roles_and_the_newer_names_are_taken() {
    let server = usual();
    let parts = json!([{"role": "developer", "content": "Be short."}, {"role": "user", "content": [{"type": "text", "text": "Hi"}, {"type": "text", "text": "there"}]}]);
    let answer =
        server.post("/v1/chat/completions", ask(json!({"messages": parts, "max_tokens": null, "max_completion_tokens": 3}))).is(200).json();
    assert_eq!(answer["usage"]["completion_tokens"], 3);
    let system = json!([{"role": "system", "content": "Be short."}, {"role": "user", "content": "Hi\nthere"}]);
    let same = server.post("/v1/chat/completions", ask(json!({"messages": system, "max_tokens": 3}))).is(200).json();
    assert_eq!(same["choices"], answer["choices"]);
    let format = json!({"type": "json_schema", "json_schema": {"name": "x", "strict": true, "schema": {"type": "object", "properties": {"n": {"type": "boolean"}}, "required": ["n"], "additionalProperties": false}}});
    let answer = server.post("/v1/chat/completions", ask(json!({"response_format": format, "max_tokens": 100}))).is(200).json();
    let value: Value = serde_json::from_str(answer["choices"][0]["message"]["content"].as_str().unwrap()).unwrap();
    assert!(value["n"].is_boolean(), "{value}");
    let answer = server
        .post("/v1/chat/completions", ask(json!({"response_format": {"type": "json_object"}, "max_tokens": 200, "stop": "zzz"})))
        .is(200)
        .json();
    assert!(answer["choices"][0]["message"]["content"].as_str().unwrap().starts_with('{'));
}

#[test]
fn logits_can_be_biased() {
    let server = usual();
    let pieces = server.post("/tokenize", json!({"model": "tiny", "content": " rabbit", "with_pieces": true})).is(200).json();
    let (token, piece) = (pieces["tokens"][0]["id"].as_u64().unwrap(), &pieces["tokens"][0]["piece"]);
    let bias = json!({token.to_string(): 100});
    let body = ask(json!({"logit_bias": bias, "max_tokens": 3, "logprobs": true}));
    let answer = server.post("/v1/chat/completions", body).is(200).json();
    let tokens = answer["choices"][0]["logprobs"]["content"].as_array().unwrap();
    assert!(tokens.len() == 3 && tokens.iter().all(|t| &t["token"] == piece), "{answer}");
    server.post("/v1/chat/completions", ask(json!({"logit_bias": {"4000000": 1}}))).is(400);
    server.post("/v1/chat/completions", ask(json!({"logit_bias": {"x": 1}}))).is(400);
    server.post("/v1/chat/completions", ask(json!({"logit_bias": {"1": 101}}))).is(400);
}

#[test]
fn texts_are_continued() {
    let server = usual();
    let body = json!({"model": "tiny", "prompt": ["Once upon a time", "Then"], "max_tokens": 4, "temperature": 0, "logprobs": 2, "n": 1});
    let answer = server.post("/v1/completions", body).is(200).json();
    let choices = answer["choices"].as_array().unwrap();
    assert_eq!((choices.len(), &answer["object"], &answer["usage"]["completion_tokens"]), (2, &json!("text_completion"), &json!(8)));
    let logprobs = &choices[0]["logprobs"];
    assert_eq!((logprobs["tokens"].as_array().unwrap().len(), logprobs["top_logprobs"][0].as_object().unwrap().len()), (4, 2));
    // The same prompt as tokens.
    let tokens = server.post("/tokenize", json!({"model": "tiny", "content": "Once upon a time", "add_special": true})).is(200).json();
    let body = json!({"model": "tiny", "prompt": tokens["tokens"], "max_tokens": 4, "temperature": 0, "echo": true});
    let same = server.post("/v1/completions", body).is(200).json();
    assert_eq!(same["choices"][0]["text"], format!("Once upon a time{}", choices[0]["text"].as_str().unwrap()));
    let (pieces, done) = server
        .post("/v1/completions", json!({"model": "tiny", "prompt": "Once", "max_tokens": 4, "temperature": 0, "stream": true}))
        .is(200)
        .events();
    assert!(done && pieces.last().unwrap()["choices"][0]["finish_reason"] == "length");
    server.post("/v1/completions", json!({"model": "tiny", "prompt": "x", "suffix": "y"})).is(400);
    server.post("/v1/completions", json!({"model": "tiny", "prompt": ""})).is(200);
}

#[test]
fn texts_have_vectors_in_both_encodings() {
    let server = usual();
    let floats = server.post("/v1/embeddings", json!({"model": "tiny", "input": ["A rabbit.", "x"]})).is(200).json();
    assert_eq!((floats["data"].as_array().unwrap().len(), &floats["data"][1]["index"]), (2, &json!(1)));
    let coded = server.post("/v1/embeddings", json!({"model": "tiny", "input": "A rabbit.", "encoding_format": "base64"})).is(200).json();
    // 256 floats of four bytes.
    let text = coded["data"][0]["embedding"].as_str().unwrap();
    assert_eq!(text.len(), (256 * 4usize).div_ceil(3) * 4);
    let value = |c: u8| b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".iter().position(|x| *x == c).unwrap() as u32;
    let bits = text.bytes().take(6).fold(0u64, |bits, c| bits << 6 | u64::from(value(c)));
    let first = f32::from_le_bytes(((bits >> 4) as u32).to_be_bytes());
    assert_eq!(f64::from(first) as f32, floats["data"][0]["embedding"][0].as_f64().unwrap() as f32);
    server.post("/v1/embeddings", json!({"model": "tiny", "input": "x", "encoding_format": "hex"})).is(400);
}

#[test]
fn a_response_is_answered_whole_and_in_events() {
    let server = usual();
    let body = json!({"model": "tiny", "input": "Tell me a story.", "instructions": "Be short.", "max_output_tokens": 8, "temperature": 0});
    let whole = server.post("/v1/responses", body.clone()).is(200).json();
    assert_eq!(
        (&whole["object"], &whole["status"], &whole["incomplete_details"]["reason"]),
        (&json!("response"), &json!("incomplete"), &json!("max_output_tokens"))
    );
    let text = &whole["output"][0]["content"][0]["text"];
    let mut streamed = body;
    streamed["stream"] = json!(true);
    let (events, done) = server.post("/v1/responses", streamed).is(200).events();
    assert!(!done, "the events end by themselves");
    let deltas: String =
        events.iter().filter(|e| e["type"] == "response.output_text.delta").map(|e| e["delta"].as_str().unwrap()).collect();
    assert_eq!(&json!(deltas), text);
    let last = events.last().unwrap();
    assert_eq!((&last["type"], &last["response"]["output"][0]["content"][0]["text"]), (&json!("response.incomplete"), text));
    let ended = server
        .post("/v1/responses", json!({"model": "tiny", "input": [{"role": "user", "content": "Tell me a story."}], "seed": 1}))
        .is(200)
        .json();
    assert_eq!(ended["status"], "completed");
    server.post("/v1/responses", json!({"model": "tiny", "input": "x", "previous_response_id": "resp_1"})).is(400);
}

#[test]
fn faults_have_openais_form() {
    let server = usual();
    let fault = |path: &str, body: Value, status: u16| server.post(path, body).is(status).json()["error"].clone();
    let missing = fault("/v1/chat/completions", ask(json!({"model": "nope"})), 404);
    assert_eq!(
        (&missing["code"], &missing["param"], &missing["type"]),
        (&json!("model_not_found"), &json!("model"), &json!("not_found_error"))
    );
    let long =
        fault("/v1/chat/completions", ask(json!({"messages": [{"role": "user", "content": "word ".repeat(400)}], "num_ctx": 128})), 400);
    assert_eq!((&long["code"], &long["context"]), (&json!("context_length_exceeded"), &json!(128)));
    for (more, param) in [
        (json!({"temperature": -1}), "temperature"),
        (json!({"max_tokens": -5}), "max_tokens"),
        (json!({"messages": []}), "messages"),
        (json!({"tool_choice": "required"}), "tool_choice"),
        (json!({"response_format": {"type": "xml"}}), "response_format"),
        (json!({"functions": [{"name": "f"}], "tools": [{"type": "function", "function": {"name": "f"}}]}), "functions"),
        (json!({"functions": [{"description": "f"}]}), "functions[0]"),
        (json!({"functions": [{"name": "f"}], "function_call": {"name": "g"}}), "function_call"),
        (json!({"top_logprobs": 30}), "top_logprobs"),
        (json!({"logit_bias": [1]}), "logit_bias"),
    ] {
        assert_eq!(fault("/v1/chat/completions", ask(more), 400)["param"], param);
    }
    let image = json!([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:"}}]}]);
    let image = fault("/v1/chat/completions", ask(json!({"messages": image})), 400);
    assert_eq!((&image["param"], &image["code"]), (&json!("messages[0].content[0]"), &json!("images_not_supported")));
    let seen = json!([{"role": "user", "content": [{"type": "input_text", "text": "a"}, {"type": "input_image", "image_url": "data:"}]}]);
    let image = fault("/v1/responses", json!({"model": "tiny", "input": seen}), 400);
    assert_eq!((&image["param"], &image["code"]), (&json!("input[0].content[1]"), &json!("images_not_supported")));
    assert_eq!(fault("/v1/chat/completions", ask(json!({"seed": u64::MAX})), 400)["param"], "seed");
    let packed = server.open("POST", "/v1/chat/completions", &[("content-encoding", "gzip")], b"\x1f\x8b").is(415).json();
    assert!(packed["error"]["message"].as_str().unwrap().contains("gzip"), "{packed}");
    assert_eq!(server.get("/v1/nothing").is(404).json()["error"]["type"], "not_found_error");
    assert_eq!(server.get("/v1/nothing/").is(404).json()["error"]["type"], "not_found_error");
    assert_eq!(server.open("POST", "/v1/chat/completions", &[], b"{").is(400).json()["error"]["type"], "invalid_request_error");
}

#[test]
fn answers_of_the_newer_form_have_probabilities_where_they_are_wanted() {
    let server = usual();
    let ask = |more: Value| {
        let mut body = json!({"model": "tiny", "input": "Tell me a story.", "max_output_tokens": 5, "temperature": 0});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let include = json!({"include": ["message.output_text.logprobs"], "top_logprobs": 2});
    let whole = server.post("/v1/responses", ask(include.clone())).is(200).json();
    let tokens = whole["output"][0]["content"][0]["logprobs"].as_array().unwrap();
    assert!(tokens.len() == 5 && tokens.iter().all(|t| t["top_logprobs"].as_array().unwrap().len() == 2), "{whole}");
    let mut streamed = ask(include);
    streamed["stream"] = json!(true);
    let (events, _) = server.post("/v1/responses", streamed).is(200).events();
    let of = |kind: &str| {
        events.iter().filter(|e| e["type"] == kind).flat_map(|e| e["logprobs"].as_array().unwrap().clone()).collect::<Vec<_>>()
    };
    assert_eq!((&of("response.output_text.delta"), &of("response.output_text.done")), (tokens, tokens));
    let plain = server.post("/v1/responses", ask(json!({}))).is(200).json();
    assert_eq!(plain["output"][0]["content"][0]["logprobs"], json!([]));
    assert_eq!(server.post("/v1/responses", ask(json!({"top_logprobs": 21}))).is(400).json()["error"]["param"], "top_logprobs");
}

/// What harnesses that score given texts ask for: the prompt's tokens with their probabilities, and next to nothing of an answer.
#[test]
fn a_prompt_can_be_scored() {
    let server = usual();
    let tokens =
        server.post("/tokenize", json!({"content": "Once upon a time there was", "add_special": true})).is(200).json()["tokens"].clone();
    let n = tokens.as_array().unwrap().len();
    for most in [0, 1] {
        let body = json!({"model": "tiny", "prompt": [tokens, tokens], "max_tokens": most, "temperature": 0, "logprobs": 1, "echo": true});
        let answer = server.post("/v1/completions", body).is(200).json();
        let scored = &answer["choices"][0]["logprobs"];
        for name in ["tokens", "token_logprobs", "top_logprobs", "text_offset"] {
            assert_eq!(scored[name].as_array().unwrap().len(), n + most, "{name} in {answer}");
        }
        assert!(scored["token_logprobs"][0].is_null() && scored["top_logprobs"][0].is_null(), "{answer}");
        assert!(scored["token_logprobs"].as_array().unwrap()[1..].iter().all(|x| x.as_f64().unwrap() <= 0.0), "{answer}");
        assert_eq!(&answer["choices"][1]["logprobs"], scored, "the same text twice");
        assert!(answer["choices"][0]["text"].as_str().unwrap().contains("Once upon a time there was"), "{answer}");
        // The answer's own token is the likeliest, as its alternatives say.
        if most == 1 {
            let (token, top) = (scored["tokens"][n].as_str().unwrap(), &scored["top_logprobs"][n]);
            assert_eq!(top[token], scored["token_logprobs"][n], "{answer}");
        }
    }
    server.post("/v1/completions", json!({"model": "tiny", "prompt": "a", "logprobs": 1, "echo": true, "stream": true})).is(400);
}

#[test]
fn the_best_of_several_texts_are_given_and_several_are_streamed() {
    let server = usual();
    let ask = |more: Value| {
        let mut body = json!({"model": "tiny", "prompt": "Once", "max_tokens": 6, "seed": 3, "temperature": 1.5, "top_k": 0});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let mean = |choice: &Value| {
        let all: Vec<f64> = choice["logprobs"]["token_logprobs"].as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect();
        all.iter().sum::<f64>() / all.len() as f64
    };
    let all = server.post("/v1/completions", ask(json!({"n": 4, "logprobs": 0}))).is(200).json();
    let mut means: Vec<f64> = all["choices"].as_array().unwrap().iter().map(mean).collect();
    means.sort_by(|a, b| b.total_cmp(a));
    let best = server.post("/v1/completions", ask(json!({"n": 2, "best_of": 4, "logprobs": 0}))).is(200).json();
    let found: Vec<f64> = best["choices"].as_array().unwrap().iter().map(mean).collect();
    assert_eq!((found.as_slice(), &best["choices"][1]["index"]), (&means[..2], &json!(1)), "{best}");
    assert_eq!(best["usage"]["completion_tokens"], all["usage"]["completion_tokens"]);
    let plain = server.post("/v1/completions", ask(json!({"n": 2, "best_of": 4}))).is(200).json();
    assert!(plain["choices"][0]["logprobs"].is_null() && plain["choices"][0]["text"] == best["choices"][0]["text"]);
    for bad in [json!({"n": 2, "best_of": 1}), json!({"best_of": 99}), json!({"best_of": 2, "stream": true})] {
        assert_eq!(server.post("/v1/completions", ask(bad)).is(400).json()["error"]["param"], "best_of");
    }

    let whole = server.post("/v1/completions", ask(json!({"prompt": ["Once", "Then"], "n": 2}))).is(200).json();
    let body = ask(json!({"prompt": ["Once", "Then"], "n": 2, "stream": true, "stream_options": {"include_usage": true}}));
    let (pieces, done) = server.post("/v1/completions", body).is(200).events();
    let text = |i: usize| -> String {
        let choices = pieces.iter().filter_map(|p| p["choices"].get(0)).filter(|c| c["index"] == i);
        choices.map(|c| c["text"].as_str().unwrap()).collect()
    };
    for i in 0..4 {
        assert_eq!(text(i), whole["choices"][i]["text"].as_str().unwrap(), "answer {i}");
    }
    // How much of a prompt another slot had read already is a matter of time.
    let counts = |v: &Value| (v["usage"]["prompt_tokens"].clone(), v["usage"]["completion_tokens"].clone());
    let (last, before) = pieces.split_last().unwrap();
    assert_eq!((done, counts(last)), (true, counts(&whole)));
    assert!(before.iter().all(|p| p.get("usage") == Some(&Value::Null)), "{pieces:?}");
}

#[test]
fn forms_of_other_servers_are_followed() {
    let server = usual();
    let said = |path: &str, more: Value| {
        let mut body =
            json!({"model": "tiny", "prompt": "Once", "messages": [{"role": "user", "content": "Hi"}], "seed": 3, "max_tokens": 40});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let choice = server.post(path, body).is(200).json()["choices"][0].clone();
        choice.get("text").unwrap_or(&choice["message"]["content"]).as_str().unwrap().to_string()
    };
    for path in ["/v1/chat/completions", "/v1/completions"] {
        assert!(["yes!", "(no)"].contains(&said(path, json!({"guided_choice": ["yes!", "(no)"]})).as_str()));
        let digits = said(path, json!({"structured_outputs": {"regex": "[0-9]{3}"}}));
        assert!(digits.len() == 3 && digits.bytes().all(|b| b.is_ascii_digit()), "{digits}");
        assert_eq!(said(path, json!({"guided_grammar": "start: \"a\" \"b\""})), "ab");
        assert_eq!(said(path, json!({"guided_json": {"const": [1]}})).split_whitespace().collect::<String>(), "[1]");
    }
    let body = json!({"model": "tiny", "prompt": "Once", "guided_regex": "("});
    server.post("/v1/completions", body).is(400);
}

#[test]
fn llama_servers_extras_answer() {
    let server = usual();
    assert_eq!(server.get("/health").is(200).json(), json!({"status": "ok"}));
    let tokens = server.post("/tokenize", json!({"content": "Once upon a time"})).is(200).json()["tokens"].clone();
    assert_eq!(server.post("/detokenize", json!({"tokens": tokens})).is(200).json(), json!({"content": "Once upon a time"}));
    let pieces = server.post("/tokenize", json!({"content": "Once upon", "with_pieces": true})).is(200).json();
    let joined: String = pieces["tokens"].as_array().unwrap().iter().map(|t| t["piece"].as_str().unwrap()).collect();
    assert_eq!(joined, "Once upon");
    server.post("/detokenize", json!({"tokens": [4_000_000]})).is(400);
    let prompt = server.post("/apply-template", json!({"messages": [{"role": "user", "content": "Hi"}]})).is(200).json();
    assert!(prompt["prompt"].as_str().unwrap().ends_with("<|start_header_id|>assistant<|end_header_id|>\n\n"));
    let props = server.get("/props?model=tiny").is(200).json();
    assert!(props["chat_template"].as_str().unwrap().contains("start_header_id") && props["default_generation_settings"]["n_ctx"] == 4096);
    assert_eq!(server.get("/slots").is(200).json()[0]["model"], "tiny:latest");
    assert!(server.metric("nibble_model_loads_total") == 1.0);
}
