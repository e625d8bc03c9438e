//! Models that come and go through the interface: uploads, create, copy, delete, pull.

use crate::client::{Running, settings, start, tiny};
use nibble_compress::recipe::Recipe;
use nibble_container::gguf::{GgufWriter, Metadata, Value as GgufValue};
use nibble_container::{Declared, Dtype};
use nibble_engine::source::Source;
use nibble_serve::Settings;
use nibble_store::{Digest, Hub};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::atomic::AtomicBool;

/// models/tiny as a GGUF file.
pub fn gguf(dir: &Path) -> Vec<u8> {
    let source = Source::open(&tiny()).unwrap();
    let plan = nibble_compress::plan(&source, Recipe::by_name("q4_0").unwrap(), nibble_compress::Options::default()).unwrap();
    let out = dir.join("tiny.gguf");
    let cancel = AtomicBool::new(false);
    nibble_compress::run(&source, &plan, &out, nibble_compress::Control { threads: 1, progress: &mut |_| {}, cancel: &cancel }).unwrap();
    std::fs::read(out).unwrap()
}

/// Converts as the program does.
struct Converting;

impl nibble_store::Convert for Converting {
    fn convert(
        &self,
        input: &Path,
        kind: &str,
        out: &Path,
        _: nibble_store::Listener,
        cancel: &AtomicBool,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let source = Source::open(input)?;
        let recipe = Recipe::by_name(kind).ok_or("no such type")?;
        let plan = nibble_compress::plan(&source, recipe, nibble_compress::Options::default())?;
        nibble_compress::run(&source, &plan, out, nibble_compress::Control { threads: 1, progress: &mut |_| {}, cancel })?;
        Ok(())
    }

    fn adapter(&self, base: &Path, adapter: &Path, out: &Path) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let source = Source::open(base)?;
        let opened = nibble_engine::Adapter::open(&nibble_engine::Lora::new(adapter), &source)?;
        if nibble_engine::Adapter::is_directory(adapter) {
            opened.write(&source, out)?;
        }
        Ok(())
    }
}

/// Quantizes nothing, for a reason that lies in what it was asked for.
struct Refusing;

impl nibble_store::Convert for Refusing {
    fn convert(
        &self,
        _: &Path,
        kind: &str,
        _: &Path,
        _: nibble_store::Listener,
        _: &AtomicBool,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        Err(format!("{kind} is no type").into())
    }

    fn adapter(&self, _: &Path, _: &Path, _: &Path) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        Err("no adapter was asked for".into())
    }
}

#[test]
fn a_type_that_there_is_not_is_the_requests_fault() {
    let dir = tempfile::tempdir().unwrap();
    let hub = Hub { offline: true, ..Hub::default() };
    let convert = Some(std::sync::Arc::new(Refusing) as _);
    let server = start(Settings { store: Some(dir.path().join("store")), models: vec![], hub, convert, ..settings() });
    let digest = upload(&server, &gguf(dir.path()));
    let body = json!({"model": "x", "files": {"tiny.gguf": digest}, "quantize": "q9_z", "stream": false});
    let refused = server.post("/api/create", body).is(400).json();
    assert!(refused["error"].as_str().unwrap().contains("q9_z is no type"), "{refused}");
    assert_eq!(server.get("/api/tags").json()["models"], json!([]));
}

/// A server with an empty store and nothing else, which fetches nothing.
pub fn empty(dir: &Path) -> Running {
    let hub = Hub { offline: true, ..Hub::default() };
    start(Settings { store: Some(dir.join("store")), models: vec![], hub, ..settings() })
}

pub fn upload(server: &Running, bytes: &[u8]) -> String {
    let digest = Digest::of(bytes).to_string();
    let path = format!("/api/blobs/{digest}");
    server.open("HEAD", &path, &[], b"").is(404);
    server.open("POST", &path, &[], bytes).is(201);
    server.open("HEAD", &path, &[], b"").is(200);
    digest
}

#[test]
fn a_model_is_made_used_copied_and_removed() {
    let dir = tempfile::tempdir().unwrap();
    let server = empty(dir.path());
    assert_eq!(server.get("/api/tags").is(200).json(), json!({"models": []}));
    let digest = upload(&server, &gguf(dir.path()));
    let body = json!({"model": "story:q4", "files": {"tiny.gguf": digest}, "system": "Be short.", "parameters": {"temperature": 0, "num_predict": 5},
                      "messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}], "license": "MIT"});
    let lines = server.post("/api/create", body).is(200).lines();
    assert_eq!(lines.last().unwrap(), &json!({"status": "success"}));
    let tags = server.get("/api/tags").is(200).json();
    let model = &tags["models"][0];
    assert_eq!(
        (&model["name"], &model["details"]["quantization_level"], &model["details"]["format"]),
        (&json!("story:q4"), &json!("Q4_0"), &json!("gguf"))
    );

    let shown = server.post("/api/show", json!({"model": "story:q4"})).is(200).json();
    assert_eq!((&shown["system"], &shown["license"]), (&json!("Be short."), &json!("MIT")));
    assert!(shown["parameters"].as_str().unwrap().contains("num_predict"));
    assert!(shown["modelfile"].as_str().unwrap().contains("SYSTEM"));
    assert_eq!(shown["model_info"]["general.architecture"], "llama");
    assert_eq!(shown["model_info"]["tokenizer.ggml.tokens"], Value::Null);
    let verbose = server.post("/api/show", json!({"model": "story:q4", "verbose": true})).is(200).json();
    assert!(verbose["model_info"]["tokenizer.ggml.tokens"].as_array().unwrap().len() > 1000);

    // The Modelfile's parameters, system message and first turns count.
    let chat = |name: &str, messages: Value| {
        let body = json!({"model": name, "messages": messages, "stream": false});
        server.post("/api/chat", body).is(200).json()
    };
    let answer = chat("story:q4", json!([{"role": "user", "content": "x"}]));
    assert_eq!(answer["eval_count"], 5);
    let with_own = chat("story:q4", json!([{"role": "system", "content": "y"}, {"role": "user", "content": "x"}]));
    assert!(with_own["prompt_eval_count"].as_u64() < answer["prompt_eval_count"].as_u64());
    assert_eq!(chat("STORY:Q4", json!([{"role": "user", "content": "x"}]))["message"], answer["message"]);

    let said = server.post("/api/copy", json!({"source": "stroy:q4", "destination": "copy"})).is(404).json();
    assert_eq!(said["error"], "model 'stroy:q4' not found; did you mean story:q4?");
    server.post("/api/copy", json!({"source": "story:q4", "destination": "copy"})).is(200);
    assert_eq!(server.get("/v1/models").json()["data"].as_array().unwrap().len(), 2);
    // A model made of another.
    let lines = server.post("/api/create", json!({"model": "loud", "from": "copy", "system": "SHOUT."})).is(200).lines();
    assert_eq!(lines.last().unwrap()["status"], "success");
    let body = json!({"model": "wrong", "from": "copy", "template": "{% if %}", "stream": false});
    let refused = server.post("/api/create", body);
    let status = refused.status;
    assert_eq!(status, 400, "{}", refused.text());
    let nothing = server.post("/api/create", json!({"model": "wrong", "stream": false})).is(400).json();
    assert!(nothing["error"].as_str().unwrap().contains("from or files"), "{nothing}");
    // In a Modelfile too.
    let body = json!({"model": "wrong", "modelfile": "FROM copy\nTEMPLATE \"{% if %}\"\n", "stream": false});
    let refused = server.post("/api/create", body);
    let status = refused.status;
    assert_eq!(status, 400, "{}", refused.text());

    server.open("DELETE", "/api/delete", &[], json!({"model": "copy"}).to_string().as_bytes()).is(200);
    server.open("DELETE", "/api/delete", &[], json!({"model": "copy"}).to_string().as_bytes()).is(404);
    // A part of a name finds a model to use, not one to remove.
    server.post("/api/show", json!({"model": "story"})).is(200);
    server.open("DELETE", "/api/delete", &[], json!({"model": "story"}).to_string().as_bytes()).is(404);
    server.open("DELETE", "/api/delete", &[], json!({"name": "story:q4"}).to_string().as_bytes()).is(200);
    assert_eq!(chat("loud", json!([{"role": "user", "content": "x"}]))["done"], true);
}

/// An adapter of models/tiny, strong enough that the text is another one.
fn adapter(dir: &Path) -> Vec<u8> {
    let mut metadata = Metadata::new();
    for (key, value) in [("general.type", "adapter"), ("general.architecture", "llama"), ("adapter.type", "lora")] {
        metadata.set(key, GgufValue::from(value));
    }
    metadata.set("adapter.lora.alpha", GgufValue::F32(8.0));
    let tensors = [("blk.1.ffn_down.weight.lora_a", [4u64, 768]), ("blk.1.ffn_down.weight.lora_b", [256, 4])];
    let declared: Vec<_> = tensors.iter().map(|(name, shape)| Declared::new(*name, shape, Dtype::Ggml(0))).collect();
    let mut writer = GgufWriter::start(Vec::new(), &metadata, &declared).unwrap();
    let mut state = 1u32;
    for (name, shape) in tensors {
        let mut number = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        };
        let bytes: Vec<u8> = (0..shape[0] * shape[1]).flat_map(|_| number().to_le_bytes()).collect();
        writer.tensor(name, &bytes).unwrap();
    }
    let bytes = writer.finish().unwrap();
    std::fs::write(dir.join("lora.gguf"), &bytes).unwrap();
    bytes
}

/// An uploaded adapter, one of an older client's Modelfile and one of the command line give one text, which is not the model's own.
#[test]
fn adapters_are_run() {
    let dir = tempfile::tempdir().unwrap();
    let server = empty(dir.path());
    let (digest, lora) = (upload(&server, &gguf(dir.path())), upload(&server, &adapter(dir.path())));
    let create = |body: Value| server.post("/api/create", body).is(200).lines().last().unwrap().clone();
    let success = json!({"status": "success"});
    assert_eq!(create(json!({"model": "plain", "files": {"tiny.gguf": digest}})), success);
    assert_eq!(create(json!({"model": "adapted", "from": "plain", "adapters": {"lora.gguf": lora}})), success);
    assert_eq!(create(json!({"model": "older", "modelfile": format!("FROM plain\nADAPTER @{lora}")})), success);
    let shown = server.post("/api/show", json!({"model": "adapted"})).is(200).json();
    assert!(shown["modelfile"].as_str().unwrap().contains("ADAPTER "), "{shown}");
    let text = |server: &Running, model: &str| {
        let options = json!({"temperature": 0, "num_predict": 16});
        let body = json!({"model": model, "prompt": "Once upon a time", "raw": true, "stream": false, "options": options});
        server.post("/api/generate", body).is(200).json()["response"].as_str().unwrap().to_string()
    };
    let adapted = text(&server, "adapted");
    assert_ne!(adapted, text(&server, "plain"));
    assert_eq!(text(&server, "older"), adapted);
    let adapters = vec![nibble_engine::Lora::new(dir.path().join("lora.gguf"))];
    let other = start(Settings { models: vec![dir.path().join("tiny.gguf")], adapters, ..settings() });
    assert_eq!(text(&other, "tiny"), adapted);
    // What does not fit is told, and nothing is made of a directory's files.
    let body = json!({"model": "x", "files": {"tiny.gguf": digest}, "adapters": {"tiny.gguf": digest}, "stream": false});
    let said = server.post("/api/create", body).is(400).json();
    assert!(said["error"].as_str().unwrap().contains("not an adapter: its general.type is"), "{said}");
    let body = json!({"model": "x", "from": "plain", "adapters": {"adapter_config.json": lora}, "stream": false});
    let said = server.post("/api/create", body).is(400).json();
    assert!(said["error"].as_str().unwrap().contains("an adapter of PEFT cannot be made into a GGUF file here"), "{said}");
}

/// The two files of an adapter as PEFT saves it, with the numbers of [`adapter`].
fn peft(dir: &Path) -> [Vec<u8>; 2] {
    adapter(dir);
    let opened = nibble_container::Checkpoint::open(dir.join("lora.gguf")).unwrap();
    let tensors: Vec<_> = opened.tensors().collect();
    let (mut header, mut data) = (serde_json::Map::new(), vec![]);
    for tensor in tensors {
        let side = if tensor.name.ends_with("lora_a") { "A" } else { "B" };
        let from = data.len();
        data.extend_from_slice(tensor.bytes);
        let name = format!("base_model.model.model.layers.1.mlp.down_proj.lora_{side}.weight");
        header.insert(name, json!({"dtype": "F32", "shape": tensor.shape, "data_offsets": [from, data.len()]}));
    }
    let header = Value::Object(header).to_string();
    let config = json!({"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["down_proj"], "bias": "none"});
    [config.to_string().into_bytes(), [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &data].concat()]
}

/// What Ollama's own client sends for ADAPTER and FROM of a directory: every file as a blob, under its name.
#[test]
fn directories_come_file_by_file() {
    let dir = tempfile::tempdir().unwrap();
    let hub = Hub { offline: true, ..Hub::default() };
    let convert = Some(std::sync::Arc::new(Converting) as _);
    let server = start(Settings { store: Some(dir.path().join("store")), models: vec![], hub, convert, ..settings() });
    let create = |body: Value| server.post("/api/create", body).is(200).lines().last().unwrap().clone();
    let success = json!({"status": "success"});
    let mut files = serde_json::Map::new();
    for name in ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"] {
        let bytes = std::fs::read(tiny().join(name)).unwrap();
        files.insert(name.into(), upload(&server, &bytes).into());
    }
    assert_eq!(create(json!({"model": "plain", "files": files, "quantize": "q4_0"})), success);
    assert_eq!(server.post("/api/show", json!({"model": "plain"})).is(200).json()["details"]["quantization_level"], "Q4_0");

    let gguf = upload(&server, &adapter(dir.path()));
    let [config, weights] = peft(dir.path()).map(|bytes| upload(&server, &bytes));
    let of = |weights: &str| json!({"adapter_config.json": config, "some/where/adapter_model.safetensors": weights});
    assert_eq!(create(json!({"model": "one", "from": "plain", "adapters": {"lora.gguf": gguf}})), success);
    assert_eq!(create(json!({"model": "two", "from": "plain", "adapters": of(&weights)})), success);
    let text = |model: &str| {
        let options = json!({"temperature": 0, "num_predict": 16});
        let body = json!({"model": model, "prompt": "Once upon a time", "raw": true, "stream": false, "options": options});
        server.post("/api/generate", body).is(200).json()["response"].as_str().unwrap().to_string()
    };
    assert_eq!(text("two"), text("one"));
    assert_ne!(text("two"), text("plain"));

    // What is missing or odd is the request's fault, by name; nothing is left of it.
    let refused = |body: Value| server.post("/api/create", body).is(400).json()["error"].as_str().unwrap().to_string();
    let said = refused(json!({"model": "x", "from": "plain", "adapters": {"adapter_config.json": config}, "stream": false}));
    assert!(said.contains("adapter_model.safetensors"), "{said}");
    let absent = Digest::of(b"absent").to_string();
    let said = refused(json!({"model": "x", "from": "plain", "adapters": of(&absent), "stream": false}));
    assert!(said.contains(&absent), "{said}");
    let said = refused(json!({"model": "x", "files": {"config.json": config, "a/..": weights}, "stream": false}));
    assert!(said.contains("\"..\" is not the name of a file"), "{said}");
    let said = refused(json!({"model": "x", "files": {"lora.gguf": gguf}, "stream": false}));
    assert!(said.contains("an adapter, not a model"), "{said}");
    assert_eq!(server.get("/api/tags").json()["models"].as_array().unwrap().len(), 3);
    let left = std::fs::read_dir(dir.path().join("store/staging")).unwrap().count();
    assert_eq!(left, 0);
}

#[test]
fn a_model_that_is_removed_leaves_the_memory_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let server = empty(dir.path());
    let digest = upload(&server, &gguf(dir.path()));
    server.post("/api/create", json!({"model": "gone", "files": {"tiny.gguf": digest}, "stream": false})).is(200);
    server.post("/api/generate", json!({"model": "gone", "keep_alive": -1})).is(200);
    assert_eq!(server.get("/api/ps").json()["models"].as_array().unwrap().len(), 1);
    // An answer under way goes on to its end.
    let body = json!({"model": "gone", "prompt": "Tell me a story.", "options": {"num_predict": 60, "seed": 1}});
    let mut answer = server.post("/api/generate", body).is(200);
    answer.piece().expect("it has begun");
    server.open("DELETE", "/api/delete", &[], json!({"model": "GONE"}).to_string().as_bytes()).is(200);
    assert_eq!(server.get("/api/ps").json(), json!({"models": []}));
    server.post("/api/generate", json!({"model": "gone", "prompt": "x"})).is(404);
    let mut last = String::new();
    while let Some(piece) = answer.piece() {
        last = piece;
    }
    assert!(last.contains("\"done\":true") && last.contains("eval_count"), "{last}");
}

#[test]
fn half_an_upload_and_a_wrong_one_leave_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let server = empty(dir.path());
    let path = format!("/api/blobs/{}", Digest::of(b"right"));
    let refused = server.open("POST", &path, &[], b"wrong").is(400).json();
    assert!(refused["error"].as_str().unwrap().contains("SHA-256"), "{refused}");
    let mut stream = server.connect();
    let head = format!("POST {path} HTTP/1.1\r\nhost: {}\r\ncontent-length: 5\r\n\r\nrig", server.address);
    std::io::Write::write_all(&mut stream, head.as_bytes()).unwrap();
    drop(stream);
    server.wait_for("nibble_requests_in_flight", |n| n == 1.0);
    server.open("HEAD", &path, &[], b"").is(404);
    server.open("HEAD", "/api/blobs/sha256:../../etc/passwd", &[], b"").is(400);
    let left = std::fs::read_dir(dir.path().join("store/blobs")).map_or(0, |entries| entries.count());
    assert_eq!(left, 0);
}

#[test]
fn a_client_cannot_read_this_machines_files() {
    let dir = tempfile::tempdir().unwrap();
    let server = empty(dir.path());
    let digest = upload(&server, &gguf(dir.path()));
    let path = dir.path().join("tiny.gguf").display().to_string();
    for body in [
        json!({"model": "x", "from": path, "stream": false}),
        json!({"model": "x", "modelfile": format!("FROM {path}"), "stream": false}),
        json!({"model": "x", "files": {"a": path}, "stream": false}),
        json!({"model": "x", "files": {"a": digest}, "adapters": {"a": path}, "stream": false}),
        json!({"model": "x", "modelfile": format!("FROM {digest}\nADAPTER {path}"), "stream": false}),
    ] {
        let refused = server.post("/api/create", body.clone());
        let status = refused.status;
        assert_eq!(status, 400, "{body}: {}", refused.text());
    }
    let refused = server.post("/api/pull", json!({"model": path, "stream": false}));
    let status = refused.status;
    assert!(status >= 400, "{}", refused.text());
    assert_eq!(server.get("/api/tags").json(), json!({"models": []}));
}

#[test]
fn a_pull_that_fails_says_so_in_either_form() {
    let dir = tempfile::tempdir().unwrap();
    let server = empty(dir.path());
    let whole = server.post("/api/pull", json!({"model": "org/repo", "stream": false}));
    let status = whole.status;
    assert!(status >= 400, "{}", whole.text());
    let lines = server.post("/api/pull", json!({"name": "org/repo"})).is(200).lines();
    assert!(lines.last().unwrap()["error"].as_str().unwrap().contains("offline"), "{lines:?}");
    server.post("/api/pull", json!({"model": "a b"})).is(400);
    server.post("/api/copy", json!({"source": "nope", "destination": "x"})).is(404);
}

#[test]
fn without_a_store_there_is_nothing_to_manage() {
    let server = crate::client::usual();
    let said = server.post("/api/copy", json!({"source": "tiny", "destination": "x"})).is(501).json();
    assert!(said["error"].as_str().unwrap().contains("no store"), "{said}");
}
