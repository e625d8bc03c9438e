//! `nibble push` end to end: a name at a registry, there, and back in another store.

mod common;
#[path = "../../store/tests/hub/mod.rs"]
mod hub;
#[path = "../../store/tests/registry/mod.rs"]
mod registry;

use std::path::Path;
use std::process::Command;

use common::{Outcome, arg, command, finish, tiny};
use registry::{Door, Registry};

/// The program with a store of its own, and the network.
fn with(dir: &Path, args: &[&str]) -> Command {
    let mut command = command(args);
    command.current_dir(dir).env("NIBBLE_MODELS", dir.join("store")).env("HF_HOME", dir.join("hf")).env_remove("HF_HUB_OFFLINE");
    command
}

fn run(dir: &Path, args: &[&str]) -> Outcome {
    finish(&mut with(dir, args), None)
}

#[test]
fn a_model_is_handed_round_by_a_registry() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path();
    let registry = Registry::start();
    let name = format!("{}/me/story:q4", registry.address);
    run(dir, &["create", "story", "--from", arg(&tiny()), "-t", "q4_0"]).exits(0);
    // Each way that does not lead there says which does.
    run(dir, &["push", "story"]).exits(1).says(&[
        "story:latest cannot be pushed: a name without a host is one of registry.ollama.ai",
        "try: a name at a registry of your own: nibble cp story:latest HOST/NAMESPACE/story:latest, then nibble push HOST/NAMESPACE/story:latest",
    ]);
    run(dir, &["push", &name]).exits(1).says(&["no model 127.0.0.1:", &format!("try: nibble cp story:latest {name}")]);
    assert!(registry.state.requests.lock().unwrap().is_empty());
    run(dir, &["cp", "story", &name]).exits(0).says(&[&format!("story:latest is {name} too")]);
    finish(with(dir, &["push", &name]).env("HF_HUB_OFFLINE", "1"), None)
        .exits(1)
        .says(&["offline mode is on", "try: unset HF_HUB_OFFLINE"]);
    let outcome = run(dir, &["push", &name]).exits(0).says(&[&format!("{name} is at {}, id ", registry.address), "2 of 2 files sent, "]);
    assert_eq!(outcome.stdout, "");
    let absent = format!("{}/me/none:latest", registry.address);
    run(dir, &["pull", &absent]).exits(1).says(&["no such model at 127.0.0.1:", &format!("try: another name, or nibble push {absent}")]);
    run(dir, &["push", &name]).exits(0).says(&["all its files were there already"]);
    let pushed = run(dir, &["push", &name, "--json"]).exits(0).json();
    assert_eq!(
        (&pushed["name"], &pushed["blobs"], &pushed["sent"]),
        (&serde_json::json!(name), &serde_json::json!(2), &serde_json::json!(0))
    );

    let there = |args: &[&str]| finish(with(dir, args).env("NIBBLE_MODELS", dir.join("there")), None);
    there(&["pull", &name]).exits(0).says(&[&name, "Q4_0"]);
    let listed = there(&["list", "--json"]).exits(0).json();
    assert_eq!((&listed[0]["name"], &listed[0]["digest"]), (&pushed["name"], &pushed["digest"]), "the id is the same");
    let prompt = ["Once upon a time", "-n", "8", "--temp", "0"];
    let here = run(dir, &[&["run", "story"][..], &prompt].concat()).exits(0).stdout;
    assert_eq!(there(&[&["run", &name][..], &prompt].concat()).exits(0).stdout, here);
}

#[test]
fn passwords_are_found_where_docker_keeps_them_and_never_shown() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path();
    let registry = Registry::start();
    let host = registry.address.to_string();
    let name = format!("{host}/me/m");
    // me:hunter2
    registry.door(Door::Bearer { realm: format!("{}/token", registry.endpoint()), login: Some("Basic bWU6aHVudGVyMg==".into()) });
    std::fs::write(dir.join("m.gguf"), hub::gguf(1, 20_000)).unwrap();
    run(dir, &["create", &name, "--from", "m.gguf"]).exits(0);
    let config = |text: &str| {
        std::fs::create_dir_all(dir.join("docker")).unwrap();
        std::fs::write(dir.join("docker/config.json"), text).unwrap();
    };
    let docker = |args: &[&str]| {
        let outcome = finish(with(dir, args).env("DOCKER_CONFIG", dir.join("docker")), None);
        assert!(!outcome.stderr.contains("hunter") && !outcome.stderr.contains("aHVudGVy"), "{}", outcome.stderr);
        outcome
    };
    docker(&["push", &name])
        .exits(1)
        .says(&["the registry wants a user and password (401)", &format!("try: docker login {host}, or {{\"auths\"")]);
    config("{\"auths\": ");
    docker(&["push", &name]).exits(1).says(&["(401)", "try: mend ", "docker/config.json: it is not JSON"]);
    config(&format!(r#"{{"auths": {{"{host}": {{}}}}, "credsStore": "desktop"}}"#));
    docker(&["push", &name]).exits(1).says(&["(401)", "docker-credential-desktop, which nibble does not run"]);
    config(&format!(r#"{{"auths": {{"{host}": {{"auth": "bWU6aHVudGVyMw=="}}}}}}"#));
    docker(&["push", &name]).exits(1).says(&["does not accept the user and password given for it (401)", "try: docker login"]);
    config(&format!(r#"{{"auths": {{"{host}": {{"auth": "bWU6aHVudGVyMg=="}}}}}}"#));
    docker(&["push", &name]).exits(0).says(&["2 of 2 files sent"]);
    docker(&["rm", &name]).exits(0);
    docker(&["pull", &name]).exits(0).says(&[&name]);
    run(dir, &["pull", &name]).exits(1).says(&["the registry wants a user and password (401)", "docker login"]);
}

/// What registries and the way to them refuse.
#[test]
fn refusals_say_what_to_try() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path();
    let registry = Registry::start();
    std::fs::write(dir.join("m.gguf"), hub::gguf(1, 20_000)).unwrap();
    let push = |name: &str, flags: &[&str]| {
        run(dir, &["create", name, "--from", "m.gguf"]).exits(0);
        run(dir, &[&["push", name][..], flags].concat())
    };
    let answer = |method, part, status, body| registry.faults(|faults| faults.answers = [(method, part, status, vec![], body)].into());
    let name = format!("{}/me/m", registry.address);
    answer("POST", "/uploads/", 403, r#"{"errors":[{"code":"DENIED","message":"not yours"}]}"#);
    push(&name, &[]).exits(1).says(&["the registry does not allow it (403): not yours (DENIED)", "try: docker login 127.0.0.1:"]);
    answer("POST", "/uploads/", 400, r#"{"errors":[{"code":"NAME_INVALID","message":"invalid repository name"}]}"#);
    push(&format!("{}/Me/m", registry.address), &[])
        .exits(1)
        .says(&["invalid repository name (NAME_INVALID)", "try: a name in small letters"]);
    registry.faults(|faults| faults.largest = Some((100, false)));
    push(&name, &[]).exits(1).says(&["the server answered 413", "client_max_body_size"]);
    registry.faults(|faults| faults.largest = None);
    // An address that leads to this device and is not known to do so.
    let far = format!("0.0.0.0:{}/me/m", registry.address.port());
    push(&far, &[]).exits(1).says(&["does not speak TLS", "try: --insecure"]);
    push(&far, &["--insecure"]).exits(0);
    run(dir, &["pull", &far]).exits(1).says(&["does not speak TLS", "try: --insecure"]);
    run(dir, &["pull", &far, "--insecure", "--name", "near"]).exits(0).says(&["near:latest"]);
}
