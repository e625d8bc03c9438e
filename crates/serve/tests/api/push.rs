//! Models that are published through the interface, at a stand-in for a registry.

#[path = "../../../store/tests/registry/mod.rs"]
mod registry;

use crate::client::{Running, settings, start};
use crate::store::{gguf, upload};
use nibble_serve::Settings;
use nibble_store::{Digest, Hub, Login};
use registry::{Door, Registry};
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;

/// A server with an empty store, whose retries do not wait.
fn server(dir: &Path, store: &str, hub: Hub) -> Running {
    let hub = Hub { run: 100_000, backoff: Duration::from_millis(1), ..hub };
    start(Settings { store: Some(dir.join(store)), models: vec![], hub, ..settings() })
}

/// One with a model that has a name at the registry.
fn with_model(dir: &Path, registry: &Registry, hub: Hub) -> (Running, String) {
    let server = server(dir, "store", hub);
    let digest = upload(&server, &gguf(dir));
    server.post("/api/create", json!({"model": "story", "files": {"tiny.gguf": digest}, "stream": false})).is(200);
    let name = format!("{}/me/story:q4", registry.address);
    server.post("/api/copy", json!({"source": "story", "destination": name})).is(200);
    (server, name)
}

fn error(value: &Value) -> &str {
    value["error"].as_str().unwrap_or_else(|| panic!("no error: {value}"))
}

#[test]
fn a_model_goes_from_one_server_to_another() {
    let dir = tempfile::tempdir().unwrap();
    let registry = Registry::start();
    let (here, name) = with_model(dir.path(), &registry, Hub::default());
    let lines = here.post("/api/push", json!({"model": name})).is(200).lines();
    assert_eq!(lines[0], json!({"status": "retrieving manifest"}));
    assert_eq!(lines[lines.len() - 2..], [json!({"status": "pushing manifest"}), json!({"status": "success"})]);
    let digest = Digest::of(&gguf(dir.path()));
    let of_model: Vec<&Value> = lines.iter().filter(|line| line["digest"] == digest.to_string()).collect();
    let last = of_model.last().unwrap();
    assert_eq!(last["status"], format!("pushing {}", digest.short()));
    assert!(last["completed"] == last["total"] && last["total"].as_u64() > Some(100_000), "{last}");
    // Older clients say name; and what is there is not sent again.
    let before = registry.uploaded();
    let whole = here.post("/api/push", json!({"name": name, "stream": false})).is(200).json();
    assert_eq!((whole, registry.uploaded()), (json!({"status": "success"}), before));

    let there = server(dir.path(), "there", Hub::default());
    let lines = there.post("/api/pull", json!({"model": name})).is(200).lines();
    assert_eq!(lines.last().unwrap(), &json!({"status": "success"}));
    let id = |server: &Running| {
        let tags = server.get("/api/tags").json();
        let model = tags["models"].as_array().unwrap().iter().find(|model| model["name"] == name.as_str()).cloned();
        model.unwrap_or_else(|| panic!("{name} is not in {tags}"))["digest"].clone()
    };
    assert_eq!(id(&here), id(&there));
}

#[test]
fn what_cannot_be_published_says_so_in_either_form() {
    let dir = tempfile::tempdir().unwrap();
    let registry = Registry::start();
    let (server, name) = with_model(dir.path(), &registry, Hub::default());
    for stream in [true, false] {
        let refused = server.post("/api/push", json!({"model": "story", "stream": stream})).is(400).json();
        assert!(error(&refused).contains("registry.ollama.ai") && error(&refused).contains("/api/copy"), "{refused}");
        let refused = server.post("/api/push", json!({"model": "none", "stream": stream})).is(404).json();
        assert!(error(&refused).contains("model 'none:latest' not found"), "{refused}");
        server.post("/api/push", json!({"stream": stream})).is(400);
    }
    registry.door(Door::Basic("Basic bWU6cHc=".into()));
    let words = "the registry wants a user and password (401)";
    let lines = server.post("/api/push", json!({"model": name})).is(200).lines();
    assert!(error(lines.last().unwrap()).contains(words), "{lines:?}");
    let whole = server.post("/api/push", json!({"model": name, "stream": false})).is(502).json();
    assert!(error(&whole).contains(words), "{whole}");
    assert!(registry.is_empty());
}

#[test]
fn users_and_passwords_are_the_servers() {
    let dir = tempfile::tempdir().unwrap();
    let registry = Registry::start();
    registry.door(Door::Basic("Basic bWU6cHc=".into()));
    let mut hub = Hub::default();
    hub.logins.add(&registry.address.to_string(), Login::new("me", "pw"));
    let (server, name) = with_model(dir.path(), &registry, hub);
    server.post("/api/push", json!({"model": name, "stream": false})).is(200);
    assert!(!registry.is_empty());
}

#[cfg(unix)]
#[test]
fn without_tls_only_who_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let registry = Registry::start();
    let (server, _) = with_model(dir.path(), &registry, Hub::default());
    // An address that leads to this device and is not known to do so.
    let name = format!("0.0.0.0:{}/me/story", registry.address.port());
    server.post("/api/copy", json!({"source": "story", "destination": name})).is(200);
    for path in ["/api/push", "/api/pull"] {
        let refused = server.post(path, json!({"model": name, "stream": false})).is(502).json();
        assert!(error(&refused).contains("does not speak TLS"), "{refused}");
        server.post(path, json!({"model": name, "insecure": true, "stream": false})).is(200);
    }
}

#[test]
fn who_goes_away_publishes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let registry = Registry::start();
    let (server, name) = with_model(dir.path(), &registry, Hub::default());
    registry.hold();
    let mut answer = server.post("/api/push", json!({"model": name})).is(200);
    assert!(answer.piece().unwrap().contains("retrieving manifest"));
    registry.wait_for_held();
    drop(answer);
    server.wait_for("nibble_requests_in_flight", |n| n == 1.0);
    registry.release();
    // The server itself ends only when nothing is under way any more.
    assert!(server.stop());
    assert!(registry.is_empty());
}
