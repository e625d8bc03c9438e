//! Adapters end to end: given on the command line, by a Modelfile, merged by quantize, packed; the same text by every way.

mod common;
#[path = "common/terminal.rs"]
mod terminal;

use std::path::{Path, PathBuf};

use common::{Outcome, arg, command, finish, tiny};
use serde_json::{Value, json};
use terminal::Terminal;

/// The program in a directory, with a store of its own there.
fn run(dir: &Path, args: &[&str]) -> Outcome {
    finish(command(args).current_dir(dir).env("NIBBLE_MODELS", dir.join("store")), None)
}

/// A directory as PEFT saves it: rank 4, numbers of a fixed sequence, strong enough that the text is another one.
fn peft(dir: &Path) -> PathBuf {
    let dir = dir.join("lora");
    std::fs::create_dir_all(&dir).unwrap();
    let config = json!({"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "k_proj", "down_proj"], "bias": "none"});
    std::fs::write(dir.join("adapter_config.json"), config.to_string()).unwrap();
    let (mut header, mut data, mut state) = (serde_json::Map::new(), Vec::<u8>::new(), 1u32);
    for layer in 0..6 {
        for (module, rows, cols) in [("self_attn.q_proj", 256, 256), ("self_attn.k_proj", 128, 256), ("mlp.down_proj", 256, 768)] {
            for (side, shape) in [("A", [4, cols]), ("B", [rows, 4])] {
                let from = data.len();
                for _ in 0..shape[0] * shape[1] {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    data.extend((((state >> 8) as f32 / (1 << 23) as f32 - 1.0) * 0.1).to_le_bytes());
                }
                let name = format!("base_model.model.model.layers.{layer}.{module}.lora_{side}.weight");
                header.insert(name, json!({"dtype": "F32", "shape": shape, "data_offsets": [from, data.len()]}));
            }
        }
    }
    let header = Value::Object(header).to_string();
    let file = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &data].concat();
    std::fs::write(dir.join("adapter_model.safetensors"), file).unwrap();
    dir
}

/// What a model goes on with.
fn text(dir: &Path, model: &str, more: &[&str]) -> String {
    let args = [&["run", model, "Once upon a time", "--raw", "--temp", "0", "-n", "24", "--json", "--threads", "2"], more].concat();
    run(dir, &args).exits(0).json()["text"].as_str().unwrap().to_string()
}

#[test]
fn every_way_to_an_adapter_gives_the_same_text() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path();
    peft(dir);
    run(dir, &["quantize", arg(&tiny()), "-t", "f32", "-o", "base.gguf"]).exits(0);
    run(dir, &["quantize", arg(&tiny()), "-t", "f32", "-o", "merged.gguf", "--adapter", "lora"]).exits(0);
    let (base, adapted) = (text(dir, "base.gguf", &[]), text(dir, "merged.gguf", &[]));
    assert_ne!(base, adapted);
    assert_eq!(text(dir, "base.gguf", &["--adapter", "lora"]), adapted);
    assert_eq!(text(dir, arg(&tiny()), &["--lora", "lora/adapter_model.safetensors:1.0"]), adapted);
    assert_eq!(text(dir, "base.gguf", &["--adapter", "lora:0"]), base);
    assert_eq!(text(dir, "base.gguf", &["--adapter", "lora:0.25", "--adapter", "lora:0.75"]), adapted);

    // By a Modelfile: the directory becomes a GGUF file beside the model's.
    std::fs::write(dir.join("Modelfile"), "FROM ./base.gguf\nADAPTER ./lora\n").unwrap();
    run(dir, &["create", "mine"]).exits(0);
    run(dir, &["show", "mine"]).exits(0).prints(&["Adapters", "18 matrices, rank 4"]);
    assert_eq!(text(dir, "mine", &[]), adapted);
    assert_eq!(text(dir, "mine", &["--adapter", "lora:0"]), base, "the flag stands in the place of the Modelfile's");
    // Six layers of three pairs, rank 4, as floats.
    let told = run(dir, &["doctor", "--no-limits", "--json"]).exits(0).json();
    assert_eq!(told["models"][0]["adapters"], 6 * 4 * (256 + 256 + 128 + 256 + 256 + 768) * 4, "{told}");
    run(dir, &["doctor", "--no-limits"]).exits(0).prints(&["ADAPTERS", "180.0 KiB"]);
    let modelfile = run(dir, &["show", "mine", "--modelfile"]).exits(0).prints(&["ADAPTER "]).stdout;
    let file = modelfile.lines().find_map(|line| line.strip_prefix("ADAPTER ")).unwrap().trim_matches('"').to_string();
    assert_eq!(text(dir, "base.gguf", &["--adapter", &file]), adapted, "the store's file is an adapter like any other");
    // To another device and back.
    run(dir, &["pack", "mine", "-o", "mine.zip"]).exits(0);
    run(dir, &["unpack", "mine.zip", "theirs"]).exits(0);
    run(dir, &["rm", "mine"]).exits(0);
    assert_eq!(text(dir, "theirs", &[]), adapted);
    run(dir, &["verify"]).exits(0);
    // Damaged, it is not passed over: the model cannot be run.
    let adapter = run(dir, &["show", "theirs", "--modelfile"]).exits(0).stdout;
    let adapter = adapter.lines().find_map(|line| line.strip_prefix("ADAPTER ")).unwrap().trim_matches('"').to_string();
    let whole = std::fs::read(&adapter).unwrap();
    std::fs::write(&adapter, &whole[..whole.len() - 1]).unwrap();
    run(dir, &["doctor", "--no-limits"]).exits(0).says(&["theirs:latest cannot be run: ", "expected"]);
    std::fs::write(&adapter, whole).unwrap();

    // What is quantized is the sum, whoever names the adapter.
    run(dir, &["quantize", "theirs", "-t", "q8_0", "-o", "one.gguf"]).exits(0);
    run(dir, &["quantize", "merged.gguf", "-t", "q8_0", "-o", "two.gguf"]).exits(0);
    assert!(std::fs::read(dir.join("one.gguf")).unwrap() == std::fs::read(dir.join("two.gguf")).unwrap());
    // A quantized model is not quantized again unasked.
    run(dir, &["quantize", "one.gguf", "-t", "q8_0", "-o", "again.gguf", "--adapter", "lora"]).exits(1).says(&["--allow-requantize"]);
}

#[test]
fn measurements_are_of_the_model_with_its_adapter() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path();
    peft(dir);
    run(dir, &["quantize", arg(&tiny()), "-t", "f32", "-o", "base.gguf"]).exits(0);
    run(dir, &["quantize", arg(&tiny()), "-t", "f32", "-o", "merged.gguf", "--adapter", "lora"]).exits(0);
    std::fs::write(dir.join("text"), "Once upon a time there was a small house near the sea. ".repeat(12)).unwrap();
    let perplexity = |model: &str, more: &[&str]| {
        let args = [&["eval", "perplexity", model, "--text", "text", "-c", "64", "--chunks", "1", "--json"], more].concat();
        run(dir, &args).exits(0).json()["perplexity"]["perplexity"]["value"].as_f64().unwrap()
    };
    let (base, merged, beside) =
        (perplexity("base.gguf", &[]), perplexity("merged.gguf", &[]), perplexity("base.gguf", &["--adapter", "lora"]));
    assert!((merged - beside).abs() < 1e-3 * merged && (base - merged).abs() > 0.01 * base, "{base} {merged} {beside}");
    // What was quantized with an adapter is held against the original with it: then only the rounding is left.
    run(dir, &["quantize", "base.gguf", "-t", "q8_0", "-o", "q8.gguf", "--adapter", "lora"]).exits(0);
    let hurt = |more: &[&str]| {
        let args =
            [&["eval", "tensors", "q8.gguf", "--original", "base.gguf", "--text", "text", "-c", "64", "--chunks", "1", "--json"], more]
                .concat();
        let told = run(dir, &args).exits(0).json();
        let worst = told["tensors"].as_array().unwrap().iter().map(|t| t["error"].as_f64().unwrap()).fold(0.0, f64::max);
        (worst, told["kl"].as_f64().unwrap())
    };
    let ((with, kl_with), (without, kl_without)) = (hurt(&["--adapter", "lora"]), hurt(&[]));
    assert!(with < 0.02 && without > 0.1 && kl_with < 0.1 * kl_without, "{with} {kl_with}, {without} {kl_without}");
    // The reference of a divergence stays as it is.
    let args = ["eval", "kl", "base.gguf", "--reference", "merged.gguf", "--text", "text", "-c", "64", "--chunks", "1", "--json"];
    let kl = |more: &[&str]| run(dir, &[&args[..], more].concat()).exits(0).json()["divergence"]["kl"]["value"].as_f64().unwrap();
    assert!(kl(&["--adapter", "lora"]).abs() < 1e-6 && kl(&[]) > 1e-3);
}

#[test]
fn what_is_no_adapter_of_the_model_is_refused_by_name() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path();
    peft(dir);
    run(dir, &["quantize", arg(&tiny()), "-t", "q4_0", "-o", "base.gguf"]).exits(0);
    let with = |adapter: &str| run(dir, &["run", "base.gguf", "Hi", "--raw", "-n", "1", "--adapter", adapter]);
    with("none.gguf").exits(1).says(&["none.gguf"]);
    with("base.gguf").exits(1).says(&[
        "base.gguf: the adapter cannot be used with this model",
        "general.type: found \"model\"",
        "try: nibble inspect base.gguf",
    ]);
    with("lora:strong").exits(2).says(&["\"strong\" after the last colon is no scale"]);
    // A state of the model without it is another model's.
    let state = ["run", "base.gguf", "Hi", "--raw", "-n", "2", "--prompt-cache", "state"];
    run(dir, &[&state[..], &["--adapter", "lora"]].concat()).exits(0);
    run(dir, &state).exits(1).says(&["other adapters"]);
    run(dir, &["serve", "--adapter", "lora"]).exits(2).says(&["--adapter is for one MODEL"]);
    let config = dir.join("lora/adapter_config.json");
    let dora = std::fs::read_to_string(&config).unwrap().replace("\"bias\"", "\"use_dora\":true,\"bias\"");
    std::fs::write(&config, dora).unwrap();
    with("lora").exits(1).says(&["use_dora: found true", "try: merge it into its model with PEFT"]);
    std::fs::write(dir.join("Modelfile"), "FROM ./base.gguf\nADAPTER ./lora\n").unwrap();
    run(dir, &["create", "mine"]).exits(1).says(&["ADAPTER ./lora: ", "use_dora: found true", "merge_and_unload"]);
    run(dir, &["list"]).exits(0).says(&["no models yet"]);
}

/// A chat with an adapter becomes a model with it, as often as it is saved; at another strength, which a Modelfile cannot say, it does not.
#[test]
fn a_session_keeps_its_adapter() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path();
    peft(dir);
    run(dir, &["quantize", arg(&tiny()), "-t", "f32", "-o", "base.gguf"]).exits(0);
    let chat = |model: &str, more: &[&str]| {
        let mut command = command(&[&["run", model, "--temp", "0", "-n", "4", "--threads", "1"], more].concat());
        let mut chat = Terminal::start(command.current_dir(dir).env("NIBBLE_MODELS", dir.join("store")).env("XDG_STATE_HOME", dir));
        chat.shows(">>> ");
        chat
    };
    let ask = |chat: &mut Terminal, line: &str| {
        chat.types(line);
        chat.shows(">>> ")
    };
    let mut first = chat("base.gguf", &["--adapter", "lora"]);
    assert!(ask(&mut first, "/save mine").contains("made mine:latest"));
    assert!(ask(&mut first, "/save mine").contains("made mine:latest"));
    first.types("/bye");
    assert!(first.ends().success());
    let (mine, merged) = (text(dir, "mine", &[]), text(dir, "base.gguf", &["--adapter", "lora"]));
    assert_eq!(mine, merged);
    for model in ["base.gguf", "mine"] {
        let mut other = chat(model, &["--adapter", "lora:0.5"]);
        assert!(ask(&mut other, "/save other").contains("a session with --adapter cannot become a model"));
        other.types("/bye");
        assert!(other.ends().success());
    }
}
