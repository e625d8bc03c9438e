//! `nibble run` with a prompt: streams, reproducibility, limits and refusals.

mod common;

use std::io::Read;
use std::process::Stdio;

use common::{arg, big_sparse, clothes, command, finish, nibble, nibble_reading, tiny};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

#[test]
fn greedy_and_seeded_answers_do_not_depend_on_threads() {
    let tiny = tiny();
    let run = |more: &[&str]| {
        let mut args = vec!["run", arg(&tiny), "--raw", "-n", "24", "Once upon a time"];
        args.extend(more);
        nibble(&args).exits(0).stdout
    };
    let greedy = run(&["--temp", "0", "--threads", "1"]);
    assert!(greedy.trim().len() > 20, "{greedy}");
    assert_eq!(greedy, run(&["--temp", "0", "--threads", "2"]));
    let seeded = run(&["--seed", "7", "--threads", "1"]);
    assert_eq!(seeded, run(&["--seed", "7", "--threads", "2"]));
    assert_ne!(seeded, run(&["--seed", "8"]));
}

#[test]
fn a_pipe_is_a_prompt() {
    let tiny = tiny();
    let args = ["run", arg(&tiny), "--raw", "--temp", "0", "-n", "8"];
    let piped = nibble_reading(&args, b"Once upon a time\n").exits(0).stdout;
    assert_eq!(piped, nibble(&[&args[..], &["Once upon a time"]].concat()).exits(0).stdout);
    assert_eq!(piped, nibble_reading(&[&args[..], &["-"]].concat(), b"Once upon a time").exits(0).stdout);
    nibble(&args).exits(2).says(&["no prompt", "try: nibble run"]);
    nibble_reading(&args, b"\xff\xfe").exits(1).says(&["UTF-8"]);
}

/// What Ollama and llama.cpp write for no limit, over a model's own; and what is wrong with a place is said before anything is computed.
#[test]
fn no_limit_is_written_as_elsewhere() {
    let dir = tempfile::tempdir().unwrap();
    let run = |args: &[&str]| finish(command(args).current_dir(dir.path()).env("NIBBLE_MODELS", dir.path().join("store")), None);
    std::fs::write(dir.path().join("Modelfile"), format!("FROM {}\nPARAMETER num_predict 3\n", tiny().display())).unwrap();
    run(&["create", "short", "-t", "q8_0"]).exits(0);
    let tokens = |more: &[&str]| {
        let args = [&["run", "short", "--raw", "--temp", "0", "-c", "40", "--json", "Once upon a time"], more].concat();
        run(&args).exits(0).json()["tokens"].as_u64().unwrap()
    };
    assert_eq!((tokens(&[]), tokens(&["-n", "4"])), (3, 4));
    assert!(tokens(&["-n", "-1"]) > 10);
    run(&["run", "short", "hi", "-n", "-2"]).exits(2);
    let said = run(&["run", "short", "hi", "--prompt-cache", "no/state"])
        .exits(1)
        .says(&["no/state: there is no directory no", "try: mkdir -p no"]);
    assert_eq!(said.stdout, "");
    run(&["quantize", arg(&tiny()), "-o", "no/"]).exits(1).says(&["no/: there is no directory no/", "try: mkdir -p no/"]);
    run(&["quantize", arg(&tiny()), "-o", "."]).exits(0).prints(&["tiny-Q4_K_M.gguf"]);
}

#[test]
fn json_tells_text_and_times() {
    let out = nibble(&["run", arg(&tiny()), "--raw", "--temp", "0", "-n", "9", "--json", "Once upon a time"]).exits(0);
    let answer = out.json();
    assert_eq!(answer["tokens"], 9, "{answer}");
    assert_eq!(answer["finish"], "length");
    assert!(answer["prompt_tokens"].as_u64().unwrap() >= 3);
    assert!(answer["timings"]["tokens_per_second"].as_f64().unwrap() > 0.0);
    let plain = nibble(&["run", arg(&tiny()), "--raw", "--temp", "0", "-n", "9", "Once upon a time", "--verbose"]).exits(0);
    assert_eq!(answer["text"].as_str().unwrap().trim(), plain.stdout.trim());
    plain.says(&["tokens/s", "9 tokens"]);
}

#[test]
fn a_stop_text_ends_the_answer_and_is_not_printed() {
    let run = |more: &[&str]| {
        let tiny = tiny();
        let mut args = vec!["run", arg(&tiny), "--raw", "--temp", "0", "-n", "24", "--json", "Once upon a time"];
        args.extend(more);
        nibble(&args).exits(0).json()
    };
    let whole = run(&[])["text"].as_str().unwrap().to_string();
    // Two characters from the middle, which no token boundary need respect.
    let middle: String = whole.chars().skip(20).take(2).collect();
    let cut = run(&["--stop", &middle]);
    assert_eq!(cut["text"].as_str().unwrap(), &whole[..whole.find(&middle).unwrap()]);
    assert_eq!(cut["finish"], "stop");
}

#[test]
fn the_template_makes_the_prompt_a_message() {
    let tiny = tiny();
    let tokens = |more: &[&str]| {
        let mut args = vec!["run", arg(&tiny), "--temp", "0", "-n", "1", "--json", "Hello"];
        args.extend(more);
        nibble(&args).exits(0).json()["prompt_tokens"].as_u64().unwrap()
    };
    let (raw, chat, system) = (tokens(&["--raw"]), tokens(&[]), tokens(&["--system", "You are a fox."]));
    assert!(raw < chat && chat < system, "{raw} {chat} {system}");
    assert_eq!(raw, tokens(&["--complete"]));
    // What the user types stays text: the end token in it is spelt in letters, and so takes more than one token.
    let typed =
        nibble(&["run", arg(&tiny), "--raw", "-n", "1", "--json", "Hello<|eot_id|>"]).exits(0).json()["prompt_tokens"].as_u64().unwrap();
    assert!(typed > raw + 2, "{typed} {raw}");
    let typed = nibble(&["run", arg(&tiny), "-n", "1", "--json", "Hello<|eot_id|>"]).exits(0).json()["prompt_tokens"].as_u64().unwrap();
    assert!(typed > chat + 2, "{typed} {chat}");
}

#[test]
fn a_prompt_is_never_cut() {
    let long = "Once upon a time there was a fox. ".repeat(40);
    nibble(&["run", arg(&tiny()), "--raw", "--ctx", "64", &long]).exits(1).says(&["64", "try: ", "--ctx"]);
}

#[test]
fn a_context_that_fits_nowhere_is_refused_before_loading() {
    let dir = tempfile::tempdir().unwrap();
    // 64 GiB of keys and values for the 131072 tokens that the model allows.
    big_sparse(dir.path(), 2);
    let mut config: serde_json::Value = serde_json::from_slice(&std::fs::read(dir.path().join("config.json")).unwrap()).unwrap();
    config["max_position_embeddings"] = (1u64 << 30).into();
    std::fs::write(dir.path().join("config.json"), config.to_string()).unwrap();
    nibble(&["run", arg(dir.path()), "--raw", "--ctx", "1000000000", "Hello"]).exits(1).says(&[
        "1000000000",
        "GiB",
        "available",
        "try: --ctx",
    ]);
}

#[test]
fn settings_out_of_range_are_a_wrong_command_line() {
    for wrong in ["--temp=-1", "--top-p=1.5", "--repeat-penalty=0", "--min-p=nan", "--ctx=0"] {
        nibble(&["run", arg(&tiny()), "x", wrong]).exits(2).says(&[wrong.split('=').next().unwrap()]);
    }
}

#[test]
fn other_quantizers_checkpoints_are_refused_by_name() {
    for method in ["gptq", "awq"] {
        let dir = tempfile::tempdir().unwrap();
        clothes(dir.path());
        std::fs::copy(tiny().join("model.safetensors"), dir.path().join("model.safetensors")).unwrap();
        let mut config: serde_json::Value = serde_json::from_slice(&std::fs::read(dir.path().join("config.json")).unwrap()).unwrap();
        config["quantization_config"] = serde_json::json!({"quant_method": method, "bits": 4});
        std::fs::write(dir.path().join("config.json"), config.to_string()).unwrap();
        nibble(&["run", arg(dir.path()), "--raw", "x"]).exits(1).says(&[method]);
    }
}

#[test]
fn a_reader_that_goes_away_ends_the_answer_quietly() {
    let mut child = command(&["run", arg(&tiny()), "--raw", "--temp", "0", "-n", "200", "Once upon a time"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut some = [0; 4];
    child.stdout.take().unwrap().read_exact(&mut some).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(0), ""));
}

#[test]
fn a_file_that_shrinks_while_it_is_mapped_ends_with_74() {
    let dir = tempfile::tempdir().unwrap();
    clothes(dir.path());
    let file = dir.path().join("model.safetensors");
    std::fs::copy(tiny().join("model.safetensors"), &file).unwrap();
    // At such a temperature all tokens are about as likely, so that an end is far away.
    let mut child = command(&["run", arg(dir.path()), "--raw", "--temp", "100", "--top-k", "0", "--seed", "1", "Once upon a time"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut some = [0; 4];
    let mut out = child.stdout.take().unwrap();
    out.read_exact(&mut some).unwrap();
    std::fs::OpenOptions::new().write(true).open(&file).unwrap().set_len(4096).unwrap();
    // The answer goes on until a lost page is touched.
    let mut rest = vec![];
    out.read_to_end(&mut rest).unwrap();
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(74), "{stderr}");
    assert!(stderr.contains("model.safetensors"), "{stderr}");
}

#[test]
fn ctrl_c_ends_an_answer_with_130() {
    let mut child = command(&["run", arg(&tiny()), "--raw", "--temp", "100", "--top-k", "0", "--seed", "1", "Once upon a time"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut some = [0; 4];
    let mut out = child.stdout.take().unwrap();
    out.read_exact(&mut some).unwrap();
    kill(Pid::from_raw(child.id() as i32), Signal::SIGINT).unwrap();
    let mut rest = vec![];
    out.read_to_end(&mut rest).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(130), ""));
}

#[test]
fn a_format_is_followed_and_a_cut_answer_is_no_success() {
    let dir = tempfile::tempdir().unwrap();
    let schema = dir.path().join("schema.json");
    let text = r#"{"type": "object", "properties": {"name": {"type": "string", "maxLength": 9}, "legs": {"type": "integer", "minimum": 0, "maximum": 8}},
        "required": ["name", "legs"], "additionalProperties": false}"#;
    std::fs::write(&schema, text).unwrap();
    for format in [arg(&schema), text] {
        let value = nibble(&["run", arg(&tiny()), "--temp", "0", "--format", format, "A fox"]).exits(0).json();
        let keys: Vec<&String> = value.as_object().unwrap().keys().collect();
        assert_eq!(keys.len(), 2, "{value}");
        assert!(value["name"].as_str().unwrap().chars().count() <= 9 && (0..=8).contains(&value["legs"].as_i64().unwrap()), "{value}");
    }
    // With speculation or without, the same answer.
    let answer = |who: &str| nibble(&["run", arg(&tiny()), "--temp", "0", "--format", text, "--speculate", who, "A fox"]).exits(0).stdout;
    assert_eq!(answer("off"), answer("ngram"));
    let object = nibble(&["run", arg(&tiny()), "--temp", "0", "--format", "json", "-n", "100", "A fox"]);
    assert!(object.code == Some(1) || object.json().is_object(), "{}", object.stdout);
    nibble(&["run", arg(&tiny()), "--temp", "0", "--format", "{\"type\": \"string\", \"minLength\": 50}", "-n", "3", "A fox"])
        .exits(1)
        .says(&["cut", "try: "]);
    nibble(&["run", arg(&tiny()), "--format", "{\"type\": \"array\", \"uniqueItems\": true}", "x"]).exits(1).says(&["uniqueItems"]);
    nibble(&["run", arg(&tiny()), "--format", "missing.json", "x"]).exits(2).says(&["missing.json", "try: "]);
    nibble(&["run", arg(&tiny()), "--format", "{broken", "x"]).exits(1).says(&["not JSON"]);
}
