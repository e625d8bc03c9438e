//! What the end-to-end tests share: running the built program, and making small checkpoints to run it on.
#![allow(dead_code, reason = "each test file uses its part")]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What a finished program left behind.
pub struct Outcome {
    /// The exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
    line: String,
}

impl Outcome {
    /// Fails unless the program left with this code.
    #[track_caller]
    pub fn exits(self, code: i32) -> Outcome {
        assert_eq!(self.code, Some(code), "{}\nstdout: {}\nstderr: {}", self.line, self.stdout, self.stderr);
        self
    }

    /// Fails unless stderr holds each of the texts.
    #[track_caller]
    pub fn says(self, texts: &[&str]) -> Outcome {
        for text in texts {
            assert!(self.stderr.contains(text), "{}\nno {text:?} in stderr: {}", self.line, self.stderr);
        }
        self
    }

    /// Fails unless stdout holds each of the texts.
    #[track_caller]
    pub fn prints(self, texts: &[&str]) -> Outcome {
        for text in texts {
            assert!(self.stdout.contains(text), "{}\nno {text:?} in stdout: {}", self.line, self.stdout);
        }
        self
    }

    /// stdout as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("{}\n{e}: {}", self.line, self.stdout))
    }
}

/// The program with these arguments, its surroundings emptied of what could change a result.
pub fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nibble"));
    command.args(args).stdin(Stdio::null()).env_remove("TERM").env_remove("COLUMNS");
    // No model of the machine's own store, no token, no password, no hub and no proxy but those that a test gives.
    command.env("NIBBLE_MODELS", concat!(env!("CARGO_TARGET_TMPDIR"), "/no-models")).env("HF_HUB_OFFLINE", "1");
    command.env("DOCKER_CONFIG", concat!(env!("CARGO_TARGET_TMPDIR"), "/no-docker"));
    for name in [
        "HF_TOKEN",
        "HUGGING_FACE_HUB_TOKEN",
        "HF_TOKEN_PATH",
        "HF_HOME",
        "HF_ENDPOINT",
        "HTTP_PROXY",
        "http_proxy",
        "ALL_PROXY",
        "all_proxy",
    ] {
        command.env_remove(name);
    }
    command
}

/// Runs it to its end without stdin.
pub fn nibble(args: &[&str]) -> Outcome {
    finish(&mut command(args), None)
}

/// Runs it to its end in a directory.
pub fn nibble_in(dir: &Path, args: &[&str]) -> Outcome {
    finish(command(args).current_dir(dir), None)
}

/// Runs it to its end with a text piped in.
pub fn nibble_reading(args: &[&str], stdin: &[u8]) -> Outcome {
    finish(&mut command(args), Some(stdin))
}

/// Runs a prepared command to its end.
pub fn finish(command: &mut Command, stdin: Option<&[u8]>) -> Outcome {
    if stdin.is_some() {
        command.stdin(Stdio::piped());
    }
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts");
    if let Some(text) = stdin {
        // A program that fails early does not read it: that is no fault of the test.
        let _ = child.stdin.take().expect("piped").write_all(text);
    }
    let output = child.wait_with_output().expect("the program ends");
    Outcome {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).expect("stdout is UTF-8"),
        stderr: String::from_utf8(output.stderr).expect("stderr is UTF-8"),
        line: format!("{command:?}"),
    }
}

/// The checkpoint of this repository.
pub fn tiny() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/tiny").canonicalize().expect("models/tiny")
}

/// A path as an argument.
pub fn arg(path: &Path) -> &str {
    path.to_str().expect("test paths are UTF-8")
}

/// Every file below a directory, relative, sorted.
pub fn files_below(dir: &Path) -> Vec<String> {
    let mut found = vec![];
    for entry in std::fs::read_dir(dir).expect("the directory is there").flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        match entry.file_type().is_ok_and(|t| t.is_dir()) {
            true => found.extend(files_below(&entry.path()).into_iter().map(|below| format!("{name}/{below}"))),
            false => found.push(name),
        }
    }
    found.sort();
    found
}

/// A directory with the configuration and tokenizer of models/tiny.
pub fn clothes(dir: &Path) {
    for name in ["config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"] {
        std::fs::copy(tiny().join(name), dir.join(name)).expect("copies");
    }
}

/// A checkpoint with the vocabulary of models/tiny but many zero-weight layers, so that quantizing it takes a while. The weights are a hole in
/// the file: it takes no room on the disk.
pub fn big_sparse(dir: &Path, layers: usize) {
    clothes(dir);
    let (vocab, dim, ffn, heads, kv_heads, head) = (4096u64, 2048u64, 8192u64, 32u64, 8u64, 64u64);
    let mut config: serde_json::Value =
        serde_json::from_slice(&std::fs::read(dir.join("config.json")).expect("config.json")).expect("config.json is JSON");
    for (key, value) in [
        ("hidden_size", dim),
        ("intermediate_size", ffn),
        ("num_hidden_layers", layers as u64),
        ("num_attention_heads", heads),
        ("num_key_value_heads", kv_heads),
        ("head_dim", head),
        ("vocab_size", vocab),
    ] {
        config[key] = value.into();
    }
    std::fs::write(dir.join("config.json"), config.to_string()).expect("writes");
    let mut tensors = vec![("model.embed_tokens.weight".to_string(), vec![vocab, dim]), ("model.norm.weight".to_string(), vec![dim])];
    for i in 0..layers {
        let layer = |name: &str, shape: Vec<u64>| (format!("model.layers.{i}.{name}.weight"), shape);
        tensors.extend([
            layer("input_layernorm", vec![dim]),
            layer("mlp.down_proj", vec![dim, ffn]),
            layer("mlp.gate_proj", vec![ffn, dim]),
            layer("mlp.up_proj", vec![ffn, dim]),
            layer("post_attention_layernorm", vec![dim]),
            layer("self_attn.k_proj", vec![kv_heads * head, dim]),
            layer("self_attn.o_proj", vec![dim, heads * head]),
            layer("self_attn.q_proj", vec![heads * head, dim]),
            layer("self_attn.v_proj", vec![kv_heads * head, dim]),
        ]);
    }
    let mut header = serde_json::Map::new();
    let mut at = 0u64;
    for (name, shape) in tensors {
        let bytes = 2 * shape.iter().product::<u64>();
        header.insert(name, serde_json::json!({"dtype": "BF16", "shape": shape, "data_offsets": [at, at + bytes]}));
        at += bytes;
    }
    let header = serde_json::Value::Object(header).to_string();
    let mut file = std::fs::File::create(dir.join("model.safetensors")).expect("creates");
    file.write_all(&(header.len() as u64).to_le_bytes()).expect("writes");
    file.write_all(header.as_bytes()).expect("writes");
    file.set_len(8 + header.len() as u64 + at).expect("grows");
}
