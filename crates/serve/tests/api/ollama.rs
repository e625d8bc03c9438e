//! Ollama's interface, as its clients rely on it.

use crate::client::{Running, settings, start, usual};
use nibble_serve::Settings;
use serde_json::{Value, json};

const STORY: &str = "Tell me a story about a rabbit.";

fn ask(more: Value) -> Value {
    let mut body = json!({"model": "tiny", "messages": [{"role": "user", "content": STORY}], "options": {"seed": 7, "num_predict": 12}});
    for (name, value) in more.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

#[test]
fn programs_find_that_it_is_there() {
    let server = usual();
    let root = server.get("/").is(200);
    assert_eq!(root.header("content-type"), Some("text/plain; charset=utf-8"));
    assert_eq!(root.text(), "Ollama is running");
    let head = server.open("HEAD", "/", &[], b"").is(200);
    assert_eq!(head.header("content-length"), Some("17"));
    assert_eq!(head.text(), "");
    let version = server.get("/api/version").is(200).json();
    let parts: Vec<u32> = version["version"].as_str().unwrap().split('.').map(|n| n.parse().unwrap()).collect();
    assert_eq!(parts.len(), 3);
    assert_eq!(version["nibble"], env!("CARGO_PKG_VERSION"));
}

#[test]
fn the_page_is_for_browsers() {
    let server = usual();
    let page = server.open("GET", "/", &[("accept", "text/html,application/xhtml+xml,*/*;q=0.8")], b"").is(200);
    assert!(page.header("content-type").unwrap().starts_with("text/html"));
    assert!(page.header("content-security-policy").unwrap().contains("default-src 'none'"));
    let tag = page.header("etag").unwrap().to_string();
    assert!(page.text().contains("<html"));
    let again = server.open("GET", "/", &[("accept", "text/html"), ("if-none-match", &tag)], b"").is(304);
    assert_eq!(again.text(), "");
    assert_eq!(server.get("/sw.js").is(200).header("content-type"), Some("text/javascript; charset=utf-8"));
    server.get("/ui/nothing.js").is(404);
}

#[test]
fn a_comparison_is_told_of_and_served_as_a_page_that_can_do_nothing() {
    let page: &[u8] = b"<!doctype html><title>x</title>";
    let server = start(Settings { compare: vec![("tiny:latest".into(), page.into())], ..settings() });
    for name in ["tiny", "tiny:latest"] {
        let shown = server.post("/api/show", json!({ "model": name })).is(200).json();
        assert_eq!(shown["compare"], json!(format!("/compare/{name}")));
        let answer = server.get(shown["compare"].as_str().unwrap()).is(200);
        assert_eq!(answer.header("content-type"), Some("text/html; charset=utf-8"));
        assert!(answer.header("content-security-policy").unwrap().contains("sandbox"));
        assert_eq!(answer.text().as_bytes(), page);
    }
    server.get("/compare/other").is(404);
    assert!(usual().post("/api/show", json!({"model": "tiny"})).is(200).json().get("compare").is_none());
}

#[test]
fn models_are_listed_shown_and_seen_in_memory() {
    let server = usual();
    let tags = server.get("/api/tags").is(200).json();
    let model = &tags["models"][0];
    assert_eq!((&model["name"], &model["model"]), (&json!("tiny:latest"), &json!("tiny:latest")));
    assert_eq!(model["details"]["family"], "llama");
    assert_eq!(model["digest"].as_str().unwrap().len(), 64);
    assert!(model["size"].as_u64().unwrap() > 1_000_000);
    assert!(model["modified_at"].as_str().unwrap().ends_with('Z'));

    let shown = server.post("/api/show", json!({"model": "tiny"})).is(200).json();
    assert!(shown["template"].as_str().unwrap().contains("start_header_id"));
    assert_eq!(shown["model_info"]["general.architecture"], "llama");
    assert_eq!(shown["capabilities"], json!(["completion"]));
    assert!(shown["modelfile"].as_str().unwrap().contains("FROM "));
    // Older clients say name, some say both.
    server.post("/api/show", json!({"name": "tiny:latest"})).is(200);
    server.post("/api/show", json!({"name": "x", "model": "TINY"})).is(200);

    assert_eq!(server.get("/api/ps").is(200).json(), json!({"models": []}));
    let loaded = server.post("/api/generate", json!({"model": "tiny", "keep_alive": -1})).is(200).json();
    assert_eq!((&loaded["done"], &loaded["done_reason"], &loaded["response"]), (&json!(true), &json!("load"), &json!("")));
    let running = server.get("/api/ps").is(200).json();
    assert_eq!((&running["models"][0]["name"], &running["models"][0]["context_length"]), (&json!("tiny:latest"), &json!(4096)));
    assert!(running["models"][0]["expires_at"].as_str().unwrap() > "2100", "{running}");
    let unloaded = server.post("/api/chat", json!({"model": "tiny", "messages": [], "keep_alive": 0})).is(200).json();
    assert_eq!((&unloaded["done_reason"], &unloaded["message"]["content"]), (&json!("unload"), &json!("")));
    server.wait_for("nibble_models_loaded", |n| n == 0.0);
}

#[test]
fn a_chat_is_answered_whole_and_in_pieces() {
    let server = usual();
    let whole = server.post("/api/chat", ask(json!({"stream": false}))).is(200).json();
    assert_eq!((&whole["message"]["role"], &whole["done"], &whole["done_reason"]), (&json!("assistant"), &json!(true), &json!("length")));
    assert_eq!(whole["eval_count"], 12);
    for duration in ["total_duration", "prompt_eval_duration", "eval_duration"] {
        assert!(whole[duration].as_u64().unwrap() > 0, "{duration}");
    }
    let pieces = server.post("/api/chat", ask(json!({}))).is(200).lines();
    let text: String = pieces.iter().map(|p| p["message"]["content"].as_str().unwrap()).collect();
    assert_eq!(text, whole["message"]["content"].as_str().unwrap());
    assert!(pieces.len() > 4, "{} pieces", pieces.len());
    let (last, before) = pieces.split_last().unwrap();
    assert!(before.iter().all(|p| p["done"] == false && p.get("eval_count").is_none()));
    assert_eq!((&last["done"], &last["prompt_eval_count"], &last["eval_count"]), (&json!(true), &whole["prompt_eval_count"], &json!(12)));
    // Without a limit the story ends by itself.
    let story = server.post("/api/chat", ask(json!({"stream": false, "options": {"seed": 7}}))).is(200).json();
    assert_eq!(story["done_reason"], "stop");
}

#[test]
fn generation_goes_on_from_a_context() {
    let server = usual();
    let body = |more: Value| {
        let mut body = json!({"model": "tiny", "prompt": STORY, "stream": false, "options": {"temperature": 0, "num_predict": 8}});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let first = server.post("/api/generate", body(json!({}))).is(200).json();
    let context = first["context"].as_array().unwrap();
    assert_eq!(context.len() as u64, first["prompt_eval_count"].as_u64().unwrap() + 8);
    let second = server.post("/api/generate", body(json!({"context": context, "prompt": "More!"}))).is(200).json();
    assert!(second["prompt_eval_count"].as_u64().unwrap() > context.len() as u64);
    assert_eq!(&second["context"].as_array().unwrap()[..context.len()], &context[..]);
    let raw = server.post("/api/generate", body(json!({"raw": true, "prompt": "Once upon a time"}))).is(200).json();
    assert_eq!(raw.get("context"), None);
    let system = server.post("/api/generate", body(json!({"system": "Be short."}))).is(200).json();
    assert!(system["prompt_eval_count"].as_u64() > first["prompt_eval_count"].as_u64());
    let template = server.post("/api/generate", body(json!({"template": "{{ messages[0].content }}!"}))).is(200).json();
    assert!(template["prompt_eval_count"].as_u64() < first["prompt_eval_count"].as_u64());
    server.post("/api/generate", body(json!({"context": [4_000_000]}))).is(400);
    server.post("/api/generate", body(json!({"raw": true, "system": "x"}))).is(400);
}

#[test]
fn stop_texts_end_an_answer_and_are_not_in_it() {
    let server = usual();
    let plain = server.post("/api/chat", ask(json!({"stream": false}))).is(200).json();
    let text = plain["message"]["content"].as_str().unwrap();
    let word = text.split(' ').nth(3).unwrap();
    let options = json!({"seed": 7, "num_predict": 12, "stop": [word]});
    let stopped = server.post("/api/chat", ask(json!({"stream": false, "options": options}))).is(200).json();
    let cut = stopped["message"]["content"].as_str().unwrap();
    assert_eq!(stopped["done_reason"], "stop");
    assert!(text.starts_with(cut) && !cut.contains(word) && cut.len() < text.len(), "{cut:?} of {text:?}");
}

#[test]
fn an_answer_follows_a_schema() {
    let server = usual();
    let schema = json!({"type": "object", "properties": {"name": {"enum": ["Owen", "Mia"]}, "old": {"type": "boolean"}},
                        "required": ["name", "old"], "additionalProperties": false});
    for seed in 0..3 {
        let body = ask(json!({"stream": false, "format": schema, "options": {"seed": seed, "num_predict": 200}}));
        let answer = server.post("/api/chat", body).is(200).json();
        let value: Value = serde_json::from_str(answer["message"]["content"].as_str().unwrap()).unwrap();
        assert!(["Owen", "Mia"].contains(&value["name"].as_str().unwrap()) && value["old"].is_boolean(), "{value}");
        assert_eq!((value.as_object().unwrap().len(), &answer["done_reason"]), (2, &json!("stop")));
    }
    let refused = server.post("/api/chat", ask(json!({"format": {"type": "object", "uniqueItems": 5}}))).is(400).json();
    assert!(refused["error"].as_str().unwrap().contains("uniqueItems"), "{refused}");
    server.post("/api/chat", ask(json!({"format": "xml"}))).is(400);
}

#[test]
fn log_probabilities_are_those_of_the_tokens() {
    let server = usual();
    let body = ask(json!({"stream": false, "logprobs": true, "top_logprobs": 3, "options": {"temperature": 0, "num_predict": 6}}));
    let answer = server.post("/api/chat", body).is(200).json();
    let tokens = answer["logprobs"].as_array().unwrap();
    assert_eq!(tokens.len(), 6);
    let text: String = tokens.iter().map(|t| t["token"].as_str().unwrap()).collect();
    assert_eq!(text.trim_start(), answer["message"]["content"].as_str().unwrap());
    for token in tokens {
        // At temperature 0 the likeliest is taken.
        let top = token["top_logprobs"].as_array().unwrap();
        assert_eq!((top.len(), &top[0]["token"], &top[0]["logprob"]), (3, &token["token"], &token["logprob"]));
        assert!(token["logprob"].as_f64().unwrap() <= 0.0);
        assert!(top.windows(2).all(|w| w[0]["logprob"].as_f64() >= w[1]["logprob"].as_f64()));
    }
    server.post("/api/chat", ask(json!({"logprobs": true, "top_logprobs": 21}))).is(400);
    server.post("/api/chat", ask(json!({"top_logprobs": 2}))).is(400);
}

#[test]
fn a_prompt_that_is_too_long_is_never_cut_unsaid() {
    let server = usual();
    let long = |turns: usize, words: usize| -> Vec<Value> {
        let role = |i: usize| if i.is_multiple_of(2) { "user" } else { "assistant" };
        (0..turns).map(|i| json!({"role": role(i), "content": format!("{i} {}", "word ".repeat(words))})).collect()
    };
    let options = json!({"num_ctx": 256, "num_predict": 4});
    let refused = server.post("/api/chat", ask(json!({"messages": long(9, 40), "options": options}))).is(400).json();
    let (tokens, context) = (refused["prompt_tokens"].as_u64().unwrap(), refused["context"].as_u64().unwrap());
    assert_eq!((context, &refused["excess"]), (256, &json!(tokens - 256)));
    assert!(refused["error"].as_str().unwrap().contains(&tokens.to_string()), "{refused}");

    let body = ask(json!({"messages": long(9, 40), "options": options, "truncate": true, "stream": false}));
    let cut = server.post("/api/chat", body).is(200).json();
    let left = cut["prompt_eval_count"].as_u64().unwrap();
    assert_eq!(cut["truncated"]["tokens"], tokens - left);
    assert!(left <= 252 && cut["truncated"]["messages"].as_u64().unwrap().is_multiple_of(2), "{cut}");
    // A message that is too long by itself cannot be left out.
    let alone = ask(json!({"messages": long(1, 400), "options": options, "truncate": true}));
    assert!(server.post("/api/chat", alone).is(400).json()["error"].as_str().unwrap().contains("too long by itself"));

    let text = json!({"model": "tiny", "prompt": "word ".repeat(600), "raw": true, "stream": false, "options": options});
    server.post("/api/generate", text.clone()).is(400);
    let mut shortened = text;
    shortened["truncate"] = json!(true);
    let cut = server.post("/api/generate", shortened).is(200).json();
    assert!(cut["truncated"]["tokens"].as_u64().unwrap() > 300 && cut["prompt_eval_count"].as_u64().unwrap() <= 252, "{cut}");
    let fits = server.post("/api/chat", ask(json!({"stream": false}))).is(200).json();
    assert_eq!(fits.get("truncated"), None);
}

#[test]
fn an_answer_goes_on_in_a_full_context_where_that_is_wished_and_says_so() {
    let server = usual();
    let turns = |count: usize| -> Vec<Value> {
        let role = |i: usize| if i.is_multiple_of(2) { "user" } else { "assistant" };
        let system = json!({"role": "system", "content": "You know stories."});
        [system].into_iter().chain((0..count).map(|i| json!({"role": role(i), "content": format!("{i} {}", "word ".repeat(12))}))).collect()
    };
    // Its own ends are taken from the model, so that it has to go on.
    let body = |count: usize, shift: bool, most: i64| {
        ask(json!({"messages": turns(count), "shift": shift, "stream": false, "format": endless(),
                   "options": {"num_ctx": 192, "num_predict": most, "seed": 4}}))
    };
    let plain = server.post("/api/chat", body(7, false, 400)).is(200).json();
    assert_eq!((&plain["done_reason"], plain.get("shifted")), (&json!("length"), None));
    let (prompt, held) = (plain["prompt_eval_count"].as_u64().unwrap(), plain["eval_count"].as_u64().unwrap());
    assert_eq!(prompt + held, 193);
    let shifted = server.post("/api/chat", body(7, true, 400)).is(200).json();
    assert_eq!(
        (&shifted["eval_count"], &shifted["prompt_eval_count"], &shifted["done_reason"]),
        (&json!(400), &json!(prompt), &json!("length"))
    );
    // All turns but the last have gone, which are three of the user's with their answers; then the beginning of the answer.
    assert_eq!(shifted["shifted"]["messages"], 6, "{shifted}");
    assert!(shifted["shifted"]["tokens"].as_u64().unwrap() > prompt + 400 - 192 - 48, "{shifted}");
    let text = |answer: &Value| answer["message"]["content"].as_str().unwrap().to_string();
    assert!(text(&shifted).starts_with(&text(&plain)) && text(&shifted).len() > text(&plain).len());
    // The first room is that of whole turns.
    let some = server.post("/api/chat", body(7, true, held as i64 + 1)).is(200).json();
    assert!([2, 4].contains(&some["shifted"]["messages"].as_u64().unwrap()), "{some}");
    // In pieces the end says it, and nothing is lost.
    let mut streamed = body(7, true, 400);
    streamed["stream"] = json!(true);
    let pieces = server.post("/api/chat", streamed).is(200).lines();
    let joined: String = pieces.iter().map(|p| p["message"]["content"].as_str().unwrap()).collect();
    assert_eq!((joined, &pieces.last().unwrap()["shifted"]), (text(&shifted), &shifted["shifted"]));
    // What fits is as ever.
    assert_eq!(server.post("/api/chat", body(1, true, 5)).is(200).json().get("shifted"), None);

    // A text: half of what is held goes, but for its beginning.
    let text = json!({"model": "tiny", "prompt": "Once upon a time", "stream": false, "shift": true, "format": endless(),
                      "options": {"num_ctx": 64, "num_predict": 200, "num_keep": 3, "seed": 4}});
    let long = server.post("/api/generate", text).is(200).json();
    assert_eq!((&long["eval_count"], &long["shifted"]["messages"]), (&json!(200), &json!(0)), "{long}");
    assert!(long["context"].as_array().unwrap().len() <= 65, "{long}");
    let held = long["prompt_eval_count"].as_u64().unwrap() + 200;
    assert_eq!(long["shifted"]["tokens"].as_u64().unwrap(), held - long["context"].as_array().unwrap().len() as u64);
    // OpenAI's clients can ask for it too.
    let body = json!({"model": "tiny", "prompt": "Once upon a time", "shift": true, "num_ctx": 64, "max_tokens": 100, "temperature": 0,
                      "logit_bias": ends(&server)});
    let long = server.post("/v1/completions", body).is(200).json();
    assert_eq!(long["usage"]["completion_tokens"], 100);
    assert!(long["shifted"]["tokens"].as_u64().unwrap() > 0);
}

/// A form that an answer cannot come to the end of.
fn endless() -> Value {
    json!({"type": "string", "minLength": 5000})
}

/// A bias that keeps an answer from its ends.
fn ends(server: &crate::client::Running) -> Value {
    let text = "<|eot_id|><|end_of_text|>";
    let body = json!({"model": "tiny", "content": text, "parse_special": true});
    let tokens = server.post("/tokenize", body).is(200).json()["tokens"].clone();
    tokens.as_array().unwrap().iter().map(|token| (token.to_string(), json!(-100))).collect::<serde_json::Map<_, _>>().into()
}

#[test]
fn what_cannot_be_done_is_said() {
    let server = usual();
    let said = |path: &str, body: Value, status: u16, words: &str| {
        let error = server.post(path, body).is(status).json();
        assert!(error["error"].as_str().unwrap().contains(words), "{error}");
    };
    let user = json!([{"role": "user", "content": "x"}]);
    said("/api/chat", json!({"model": "nope", "messages": user}), 404, "model 'nope' not found");
    said("/api/chat", json!({"model": "tniy", "messages": user}), 404, "model 'tniy' not found; did you mean tiny:latest?");
    said("/api/generate", json!({"model": "../../etc/passwd", "prompt": "x"}), 404, "not found");
    said("/api/chat", json!({"messages": user}), 400, "model is required");
    said("/api/chat", ask(json!({"messages": "x"})), 400, "messages: invalid type: string \"x\", expected a list");
    said("/api/chat", ask(json!({"messages": [{"role": "robot", "content": "x"}]})), 400, "messages[0].role");
    said(
        "/api/chat",
        ask(json!({"messages": [{"role": "user", "content": "x", "images": ["aGk="]}]})),
        400,
        "messages[0].images: images cannot be read",
    );
    said("/api/generate", json!({"model": "tiny", "prompt": "x", "images": ["aGk="]}), 400, "images: images cannot be read");
    said("/api/chat", ask(json!({"tools": [{"type": "function", "function": {"name": "f"}}]})), 400, "does not support tools");
    said("/api/chat", ask(json!({"think": true})), 400, "does not support thinking");
    said("/api/chat", ask(json!({"options": {"temperature": "hot"}})), 400, "options.temperature");
    said("/api/chat", ask(json!({"options": {"top_p": 7}})), 400, "top_p");
    said("/api/chat", ask(json!({"keep_alive": "soon"})), 400, "keep_alive");
    said("/api/generate", json!({"model": "tiny", "prompt": "x", "suffix": "y"}), 400, "does not support insert");
    said("/api/push", json!({"model": "tiny"}), 501, "no store");
    // What tells nothing is no fault.
    server.post("/api/chat", ask(json!({"think": false, "tools": [], "format": "", "stream": false, "unknown": 1}))).is(200);
}

#[test]
fn guesses_can_be_switched_off() {
    let (with, without) = (usual(), start(Settings { speculate: false, ..settings() }));
    let body =
        ask(json!({"messages": [{"role": "user", "content": "the cat and the dog and the cat and the dog and the"}], "stream": false}));
    let said = |server: &Running| server.post("/api/chat", body.clone()).is(200).json()["message"].clone();
    assert_eq!(said(&with), said(&without));
    assert_eq!(without.metric("nibble_guessed_tokens_total"), 0.0);
}

#[test]
fn texts_have_vectors() {
    let server = usual();
    let made =
        server.post("/api/embed", json!({"model": "tiny", "input": ["A rabbit.", "A rabbit.", "The deep sea at night"]})).is(200).json();
    let vectors: Vec<Vec<f64>> = serde_json::from_value(made["embeddings"].clone()).unwrap();
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f64>();
    assert_eq!((vectors.len(), vectors[0].len()), (3, 256));
    assert!(vectors.iter().all(|v| (dot(v, v) - 1.0).abs() < 1e-5));
    assert!((dot(&vectors[0], &vectors[1]) - 1.0).abs() < 1e-5 && dot(&vectors[0], &vectors[2]) < 0.99);
    assert!(made["prompt_eval_count"].as_u64().unwrap() > 6);
    let short = server.post("/api/embed", json!({"model": "tiny", "input": "A rabbit.", "dimensions": 8})).is(200).json();
    let short: Vec<f64> = serde_json::from_value(short["embeddings"][0].clone()).unwrap();
    assert!(short.len() == 8 && (dot(&short, &short) - 1.0).abs() < 1e-5);
    server.post("/api/embed", json!({"model": "tiny", "input": "x", "dimensions": 257})).is(400);
    let old = server.post("/api/embeddings", json!({"model": "tiny", "prompt": "A rabbit."})).is(200).json();
    let old: Vec<f64> = serde_json::from_value(old["embedding"].clone()).unwrap();
    assert!((dot(&old, &vectors[0]) / dot(&old, &old).sqrt() - 1.0).abs() < 1e-5);
    let long = json!({"model": "tiny", "input": "word ".repeat(500), "options": {"num_ctx": 64}});
    assert!(server.post("/api/embed", long.clone()).is(400).json()["excess"].as_u64().unwrap() > 400);
    let mut cut = long;
    cut["truncate"] = json!(true);
    assert!(server.post("/api/embed", cut).is(200).json()["truncated"]["tokens"].as_u64().unwrap() > 400);
}
