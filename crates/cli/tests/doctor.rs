//! `nibble doctor`: what it says of models that are here, and of those that are not.

mod common;

use common::{arg, command, finish, nibble, tiny};

#[test]
fn what_fits_is_told_of_models_here_and_elsewhere() {
    let dir = tempfile::tempdir().unwrap();
    let run = |args: &[&str]| finish(command(args).env("NIBBLE_MODELS", dir.path()), None).exits(0);
    run(&["create", "story", "--from", arg(&tiny()), "-t", "q8_0"]);
    let json = run(&["doctor", "--no-limits", "--json"]).json();
    assert_eq!(json["models"][0]["model"], "story:latest");
    let shapes = json["shapes"].as_array().unwrap();
    let weights = |name: &str, kind: &str| {
        let row =
            shapes.iter().find(|row| row["name"] == name && row["type"] == kind).unwrap_or_else(|| panic!("no {name} {kind}: {json}"));
        assert!(row["memory"].as_u64() > row["weights"].as_u64() && row["source"].as_str().unwrap().contains('/'), "{row}");
        row["weights"].as_u64().unwrap()
    };
    assert!(weights("Llama 3.2 1B", "Q4_K_M") < weights("Llama 3.2 1B", "Q8_0"));
    assert!(weights("Llama 3.2 1B", "Q8_0") < weights("Llama 3.1 8B", "Q4_K_M"));
    run(&["doctor", "--no-limits"]).prints(&["story:latest", "WITH 4,096 TOKENS", "Llama 3.2 3B", "CONTEXT, Q8_0"]);
}

#[test]
fn a_device_without_models_gets_the_table_too() {
    nibble(&["doctor", "--no-limits", "--quiet"]).exits(0).prints(&["OF THE USUAL MODELS", "Mistral 7B v0.3"]);
}
