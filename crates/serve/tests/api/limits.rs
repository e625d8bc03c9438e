//! What a server refuses, and how requests, connections and the server itself end.

use crate::client::{Answer, settings, start, usual};
use nibble_serve::{Guard, KeepAlive, ServeError, Server, Settings};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// An answer that goes on until the context is full: thousands of tokens.
fn endless() -> Value {
    // No end token and no likely text: the distribution is flattened.
    json!({"model": "tiny", "prompt": "Once upon a time", "raw": true, "options": {"temperature": 50, "top_k": 0, "top_p": 1, "min_p": 0, "seed": 1}})
}

#[test]
fn only_who_has_the_key_may_ask() {
    let guard = Guard { api_key: Some("secret".into()), ..Guard::default() };
    let server = start(Settings { guard, ..settings() });
    let answer = server.get("/api/tags").is(401);
    assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
    assert_eq!(server.get("/v1/models").is(401).json()["error"]["code"], "missing_api_key");
    server.open("GET", "/api/tags", &[("authorization", "Bearer wrong")], b"").is(401);
    server.open("GET", "/api/tags", &[("authorization", "Bearer secret")], b"").is(200);
    server.get("/nothing").is(401);
    // Monitors and the page, in which the key is typed.
    server.get("/health").is(200);
    server.open("GET", "/", &[("accept", "text/html")], b"").is(200);
    server.get("/sw.js").is(200);
}

#[test]
fn other_addresses_need_a_key_or_consent() {
    let everywhere = || Settings { host: IpAddr::V4(Ipv4Addr::UNSPECIFIED), ..settings() };
    assert!(matches!(Server::bind(everywhere()), Err(ServeError::Exposed { .. })));
    assert!(Server::bind(Settings { insecure: true, ..everywhere() }).is_ok());
    let key = |key: &str| Guard { api_key: Some(key.into()), ..Guard::default() };
    assert!(Server::bind(Settings { guard: key("k"), ..everywhere() }).is_ok());
    assert!(matches!(Server::bind(Settings { guard: key("a b"), ..settings() }), Err(ServeError::Key)));
    assert!(matches!(Server::bind(Settings { guard: key(""), ..settings() }), Err(ServeError::Key)));
    let server = usual();
    let taken = Server::bind(Settings { port: server.address.port(), ..settings() });
    assert!(matches!(taken, Err(ServeError::InUse { .. })));
}

#[test]
fn pages_of_other_sites_are_kept_out() {
    let server = usual();
    assert!(
        server.open("GET", "/api/tags", &[("host", "evil.example")], b"").is(403).json()["error"]
            .as_str()
            .unwrap()
            .contains("evil.example")
    );
    server.open("GET", "/", &[("host", "evil.example:11434"), ("accept", "text/html")], b"").is(403);
    server.open("POST", "/api/chat", &[("origin", "https://evil.example")], b"{}").is(403);
    server.open("OPTIONS", "/api/chat", &[("origin", "https://evil.example"), ("access-control-request-method", "POST")], b"").is(403);
    let preflight = [
        ("origin", "http://localhost:3000"),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "x-stainless-os"),
    ];
    let answer = server.open("OPTIONS", "/v1/chat/completions", &preflight, b"").is(204);
    assert_eq!(answer.header("access-control-allow-origin"), Some("http://localhost:3000"));
    assert_eq!(answer.header("access-control-allow-headers"), Some("x-stainless-os"));
    let answer = server.open("GET", "/api/tags", &[("origin", "http://localhost:3000")], b"").is(200);
    assert_eq!(answer.header("access-control-allow-origin"), Some("http://localhost:3000"));
    assert_eq!(server.get("/api/tags").header("access-control-allow-origin"), None);
}

#[test]
fn what_there_is_not_is_said() {
    let server = usual();
    let answer = server.get("/api/chat").is(405);
    assert_eq!(answer.header("allow"), Some("POST"));
    assert!(server.get("/api/nothing").is(404).json()["error"].as_str().unwrap().contains("/api/nothing"));
    let routes = server.get("/api").is(200).json();
    for route in routes["routes"].as_array().unwrap() {
        // Every row of the table is reached: nothing of it is answered by the fallback.
        let path = route["path"].as_str().unwrap().replace('…', "x");
        let answer = server.open(route["method"].as_str().unwrap(), &path, &[], b"");
        let text = answer.text();
        assert!(!text.contains("there is nothing at"), "{path}: {text}");
    }
}

#[test]
fn bodies_have_a_limit_of_size_and_of_time() {
    let server = start(Settings { body: 1000, idle_time: Duration::from_millis(200), ..settings() });
    assert!(server.open("POST", "/api/chat", &[], &[b' '; 1001]).is(413).json()["error"].as_str().unwrap().contains("1000"));
    // Without a length too.
    let mut stream = server.connect();
    let head = format!("POST /v1/chat/completions HTTP/1.1\r\nhost: {}\r\ntransfer-encoding: chunked\r\n\r\n", server.address);
    stream.write_all(head.as_bytes()).unwrap();
    for _ in 0..2 {
        stream.write_all(b"258\r\n").unwrap();
        stream.write_all(&[b' '; 600]).unwrap();
        stream.write_all(b"\r\n").unwrap();
    }
    assert_eq!(Answer::read_head(stream, false).is(413).json()["error"]["type"], "invalid_request_error");
    // A body that stands still.
    let mut stream = server.connect();
    let head = format!("POST /api/chat HTTP/1.1\r\nhost: {}\r\ncontent-length: 50\r\n\r\n{{", server.address);
    stream.write_all(head.as_bytes()).unwrap();
    Answer::read_head(stream, false).is(408);
}

#[test]
fn a_head_that_does_not_come_ends_the_connection() {
    let server = start(Settings { head_time: Duration::from_millis(200), ..settings() });
    for begun in [&b"GET / HTTP/1.1\r\nhost: "[..], b""] {
        let mut stream = server.connect();
        stream.write_all(begun).unwrap();
        let mut rest = vec![];
        // Ends, whether with an answer or without: the read times out after two minutes otherwise.
        stream.read_to_end(&mut rest).unwrap();
    }
}

#[test]
fn there_is_a_limit_of_connections() {
    let server = start(Settings { connections: 2, ..settings() });
    let held: Vec<_> = (0..2).map(|_| server.connect()).collect();
    // The server has taken these two before the third: it takes them in order.
    let third = Answer::read_head(server.connect(), false).is(503);
    assert_eq!(third.header("retry-after"), Some("1"));
    drop(held);
    let mut tries = 0;
    while server.connect().write_all(b"GET /health HTTP/1.0\r\n\r\n").is_err() || Answer::read_head(probe(&server), false).status != 200 {
        tries += 1;
        assert!(tries < 1000, "the places are not given back");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn probe(server: &crate::client::Running) -> std::net::TcpStream {
    let mut stream = server.connect();
    let _ = stream.write_all(b"GET /health HTTP/1.0\r\n\r\n");
    stream
}

#[test]
fn a_client_that_goes_away_is_not_answered_on() {
    let server = usual();
    let mut answer = server.post("/api/generate", endless()).is(200);
    assert!(answer.piece().is_some());
    server.wait_for("nibble_model_requests_running", |n| n == 1.0);
    drop(answer);
    server.wait_for("nibble_model_requests_running", |n| n == 0.0);
    server.wait_for("nibble_cancelled_requests_total", |n| n == 1.0);
    // The same for one that waits for the whole.
    let mut whole = endless();
    whole["stream"] = json!(false);
    let mut stream = server.connect();
    let body = whole.to_string();
    let head = format!("POST /api/generate HTTP/1.1\r\nhost: {}\r\ncontent-length: {}\r\n\r\n{body}", server.address, body.len());
    stream.write_all(head.as_bytes()).unwrap();
    server.wait_for("nibble_model_requests_running", |n| n == 1.0);
    drop(stream);
    server.wait_for("nibble_model_requests_running", |n| n == 0.0);
}

#[test]
fn a_full_queue_refuses() {
    let server = start(Settings { parallel: 1, queue: 0, ..settings() });
    let mut first = server.post("/api/generate", endless()).is(200);
    assert!(first.piece().is_some());
    let refused = server.post("/api/generate", endless()).is(429);
    assert!(refused.header("retry-after").unwrap().parse::<u64>().unwrap() >= 1);
    let open = server.post("/v1/chat/completions", json!({"model": "tiny", "messages": [{"role": "user", "content": "x"}]})).is(429).json();
    assert_eq!((&open["error"]["type"], &open["error"]["code"]), (&json!("rate_limit_error"), &json!("rate_limit_exceeded")));
    assert_eq!(server.metric("nibble_refused_requests_total"), 2.0);
    drop(first);
    server.wait_for("nibble_model_requests_running", |n| n == 0.0);
    let mut again = endless();
    (again["stream"], again["options"]["num_predict"]) = (json!(false), json!(2));
    server.post("/api/generate", again).is(200);
}

#[test]
fn many_at_once_get_their_own_answers() {
    let server = usual();
    let one = |i: u64| json!({"model": "tiny", "prompt": format!("Number {i} said"), "raw": true, "stream": false, "options": {"seed": i, "num_predict": 16}});
    let alone: Vec<Value> = (0..6).map(|i| server.post("/api/generate", one(i)).is(200).json()["response"].clone()).collect();
    let together: Vec<Value> = std::thread::scope(|scope| {
        let asked: Vec<_> = (0..6)
            .map(|i| {
                (
                    i,
                    scope.spawn({
                        let server = &server;
                        move || server.post("/api/generate", one(i)).is(200).json()["response"].clone()
                    }),
                )
            })
            .collect();
        asked.into_iter().map(|(_, thread)| thread.join().unwrap()).collect()
    });
    assert_eq!(alone, together);
    // However many came at once, the model was loaded once.
    assert_eq!(server.metric("nibble_model_loads_total"), 1.0);
}

#[test]
fn first_requests_share_one_load() {
    let server = usual();
    let body = json!({"model": "tiny", "prompt": "Once", "stream": false, "options": {"num_predict": 1}});
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| server.post("/api/generate", body.clone()).is(200));
        }
    });
    assert_eq!(server.metric("nibble_model_loads_total"), 1.0);
}

#[test]
fn a_model_goes_when_its_time_is_over() {
    let server = start(Settings { keep_alive: KeepAlive::For(Duration::from_millis(100)), ..settings() });
    let body = |keep: Value| json!({"model": "tiny", "prompt": "Once", "stream": false, "keep_alive": keep, "options": {"num_predict": 1}});
    server.post("/api/generate", body(Value::Null)).is(200);
    server.wait_for("nibble_models_loaded", |n| n == 0.0);
    server.post("/api/generate", body(json!(0))).is(200);
    server.wait_for("nibble_models_loaded", |n| n == 0.0);
    server.post("/api/generate", body(json!("1h"))).is(200);
    assert_eq!(server.metric("nibble_models_loaded"), 1.0);
    // A longer context is another load; a shorter one is not.
    let wide = json!({"model": "tiny", "prompt": "Once", "stream": false, "options": {"num_predict": 1, "num_ctx": 8192}});
    let loads = server.metric("nibble_model_loads_total");
    server.post("/api/generate", wide).is(200);
    assert_eq!(server.metric("nibble_model_loads_total"), loads + 1.0);
    assert_eq!(server.get("/api/ps").json()["models"][0]["context_length"], 8192);
    server.post("/api/generate", body(json!("1h"))).is(200);
    assert_eq!(server.metric("nibble_model_loads_total"), loads + 1.0);
}

#[test]
fn a_model_that_does_not_fit_says_why() {
    let mut tight = settings();
    tight.engine.memory = Some(1 << 20);
    let server = start(tight);
    let body = json!({"model": "tiny", "messages": [{"role": "user", "content": "x"}]});
    for _ in 0..2 {
        let error = server.post("/api/chat", body.clone()).is(500).json();
        assert!(error["error"].as_str().unwrap().contains("are available"), "{error}");
    }
    assert_eq!(server.metric("nibble_model_load_failures_total"), 2.0);
    server.get("/health").is(200);
}

#[test]
fn idle_models_make_room_and_busy_ones_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let second = dir.path().join("second");
    std::fs::create_dir(&second).unwrap();
    for file in std::fs::read_dir(crate::client::tiny()).unwrap().flatten() {
        std::fs::copy(file.path(), second.join(file.file_name())).unwrap();
    }
    let mut both = Settings { most_models: 1, ..settings() };
    both.models.push(second);
    let server = start(both);
    let mut first = server.post("/api/generate", endless()).is(200);
    assert!(first.piece().is_some());
    let mut body = endless();
    body["model"] = json!("second");
    (body["stream"], body["options"]["num_predict"]) = (json!(false), json!(1));
    let refused = server.post("/api/generate", body.clone()).is(503).json();
    assert!(refused["error"].as_str().unwrap().contains("tiny:latest (1 requests"), "{refused}");
    drop(first);
    server.wait_for("nibble_model_requests_running", |n| n == 0.0);
    // The lease goes with the request's task, a moment after the worker is free.
    let mut answered = server.post("/api/generate", body.clone());
    for _ in 0..1000 {
        if answered.status == 200 {
            break;
        }
        std::thread::sleep(Duration::from_millis(5));
        answered = server.post("/api/generate", body.clone());
    }
    answered.is(200);
    assert_eq!(server.get("/api/ps").json()["models"].as_array().unwrap().len(), 1);
}

#[test]
fn answers_finish_when_the_server_is_asked_to_stop() {
    let server = usual();
    let mut body = endless();
    body["options"]["num_predict"] = json!(100);
    let mut answer = server.post("/api/generate", body).is(200);
    assert!(answer.piece().is_some());
    server.ask_to_stop();
    let mut last = String::new();
    while let Some(piece) = answer.piece() {
        last = piece;
    }
    assert!(last.contains("\"done\":true"), "{last}");
    assert!(server.stop());
}

#[test]
fn answers_that_take_too_long_are_told_that_it_ends() {
    let server = start(Settings { grace: Duration::ZERO, ..settings() });
    let mut answer = server.post("/api/generate", endless()).is(200);
    assert!(answer.piece().is_some());
    server.ask_to_stop();
    let mut last = String::new();
    while let Some(piece) = answer.piece() {
        last = piece;
    }
    assert!(last.contains("\"error\":\"the server is stopping"), "{last}");
    assert!(!server.stop());
}

#[test]
fn each_request_is_logged() {
    let lines = Arc::new(Mutex::new(vec![]));
    let into = lines.clone();
    let log: nibble_serve::Log = Arc::new(move |line| into.lock().unwrap().push(line.clone()));
    let server = start(Settings { log: Some(log), ..settings() });
    server.post("/api/generate", json!({"model": "tiny", "prompt": "Once", "options": {"num_predict": 3, "seed": 1}})).is(200).lines();
    server.get("/api/nothing?secret=1").is(404);
    // An option that there is not is passed over, as by Ollama, and said.
    server.post("/api/chat", json!({"model": "tiny", "messages": [], "options": {"temprature": 0, "top_k": 1, "num_gpu": 1}})).is(200);
    server.stop();
    let lines = lines.lock().unwrap();
    let first = lines.iter().find(|l| l.path == "/api/generate").unwrap();
    assert_eq!(
        (first.method.as_str(), first.status, first.model.as_deref(), first.tokens, first.cut),
        ("POST", 200, Some("tiny:latest"), 3, false)
    );
    assert!(first.prompt_tokens > 3 && first.time > Duration::ZERO && first.peer.starts_with("127.0.0.1:"));
    let second = lines.iter().find(|l| l.path == "/api/nothing").unwrap();
    assert_eq!((second.status, second.model.as_deref()), (404, None));
    let third = lines.iter().find(|l| l.path == "/api/chat").unwrap();
    assert_eq!(third.notes, ["options: no parameter temprature; did you mean temperature?"]);
    assert!(first.notes.is_empty());
}
