//! `nibble quantize`, and that what it writes can be inspected and run.

mod common;

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use common::{arg, big_sparse, command, files_below, nibble, nibble_in, tiny};
use nibble_compress::recipe::{RECIPES, Target};
use nibble_container::gguf::{GgufWriter, Metadata, Value};
use nibble_container::whole::AtomicFile;
use nibble_container::{Checkpoint, Declared};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Greedy words from a model.
#[track_caller]
fn words(model: &Path, n: &str) -> String {
    let out = nibble(&["run", arg(model), "--raw", "--temp", "0", "-n", n, "Once upon a time"]).exits(0);
    assert!(!out.stdout.trim().is_empty(), "{} says nothing: {}", model.display(), out.stderr);
    out.stdout
}

#[test]
fn every_type_is_written_inspected_and_run() {
    let dir = tempfile::tempdir().unwrap();
    for recipe in RECIPES.iter().filter(|r| r.target == Target::Gguf) {
        let file = dir.path().join(format!("{}.gguf", recipe.name));
        let kind = recipe.name.to_lowercase();
        let out = nibble(&["quantize", arg(&tiny()), "-t", &kind, "-o", arg(&file)]).exits(0);
        assert!(out.stdout.contains(arg(&file)) && out.stdout.contains("bits per weight"), "{}", out.stdout);
        let report = nibble(&["inspect", arg(&file), "--json"]).exits(0).json();
        assert_eq!(report["declared_type"], recipe.name, "{report}");
        assert_eq!(report["parameters"], 5_770_496 + report_rope_freqs(&report), "{}", recipe.name);
        words(&file, "4");
        std::fs::remove_file(&file).unwrap();
    }
}

/// The rope factors are a tensor in the file but no parameters of the checkpoint.
fn report_rope_freqs(report: &serde_json::Value) -> u64 {
    let tensors = report["tensors"].as_array().expect("tensors");
    tensors.iter().filter(|t| t["name"] == "rope_freqs.weight").map(|t| t["shape"][0].as_u64().expect("a length")).sum()
}

#[test]
fn nf4_both_ways() {
    let dir = tempfile::tempdir().unwrap();
    for (flags, name, absmax) in [(&[][..], "nested", "U8"), (&["--no-double-quant"][..], "plain", "F32")] {
        let nf4 = dir.path().join(name);
        let tiny = tiny();
        let mut args = vec!["quantize", arg(&tiny), "-t", "nf4", "-o", arg(&nf4)];
        args.extend(flags);
        nibble(&args).exits(0);
        for needed in ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"] {
            assert!(nf4.join(needed).is_file(), "{needed} in {:?}", files_below(&nf4));
        }
        let report = nibble(&["inspect", arg(&nf4), "--json"]).exits(0).json();
        assert_eq!(report["parameters"], 5_770_496, "{name}");
        assert!(report["types"].as_array().unwrap().iter().any(|t| t["type"] == "NF4"), "{report}");
        let header = std::fs::read(nf4.join("model.safetensors")).unwrap();
        let length = u64::from_le_bytes(header[..8].try_into().unwrap()) as usize;
        // Written again over itself: only with --force, and then it is whole again.
        nibble(&args).exits(1).says(&["exists already", "--force"]);
        nibble(&[&args[..], &["--force"]].concat()).exits(0);
        assert!(!files_below(dir.path()).iter().any(|f| f.contains(".old-") || f.contains(".new-")));
        let header: serde_json::Value = serde_json::from_slice(&header[8..8 + length]).unwrap();
        assert_eq!(header["model.layers.0.mlp.up_proj.weight.absmax"]["dtype"], absmax);
        words(&nf4, "3");
        // What llama.cpp refuses: GGUF from NF4. It is no second quantization of what was thrown away before, so that no flag is asked for.
        let gguf = dir.path().join(format!("{name}.gguf"));
        nibble(&["quantize", arg(&nf4), "-o", arg(&gguf)]).exits(0);
        words(&gguf, "3");
    }
}

#[test]
fn from_gguf_and_back_is_the_same_as_from_the_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let [bf16, direct, through] = ["tiny-BF16.gguf", "direct.gguf", "through.gguf"].map(|n| dir.path().join(n));
    nibble(&["quantize", arg(&tiny()), "-t", "bf16", "-o", arg(&bf16)]).exits(0);
    nibble(&["quantize", arg(&tiny()), "-t", "q4_k_s", "-o", arg(&direct), "--threads", "1"]).exits(0);
    nibble(&["quantize", arg(&bf16), "-t", "q4_k_s", "-o", arg(&through), "--threads", "2"]).exits(0);
    let tensors = |path: &Path| nibble(&["inspect", arg(path), "--json"]).exits(0).json()["tensors"].to_string();
    assert_eq!(tensors(&direct), tensors(&through));
    assert_eq!(words(&direct, "12"), words(&through, "12"));
    // The same command gives the same bytes, on one thread or two.
    let again = dir.path().join("again.gguf");
    nibble(&["quantize", arg(&tiny()), "-t", "q4_k_s", "-o", arg(&again), "--threads", "2"]).exits(0);
    assert!(std::fs::read(&direct).unwrap() == std::fs::read(&again).unwrap(), "one thread and two differ");
    // What is quantized already is quantized again only when that is wanted.
    let worse = dir.path().join("worse.gguf");
    nibble(&["quantize", arg(&direct), "-t", "q3_k_s", "-o", arg(&worse)]).exits(1).says(&["nibble: error: ", "--allow-requantize"]);
    assert!(!worse.exists());
    nibble(&["quantize", arg(&direct), "-t", "q3_k_s", "-o", arg(&worse), "--allow-requantize"]).exits(0);
    assert!(worse.exists());
}

/// Cuts a GGUF into two parts, as llama-gguf-split does: the metadata stand in the first.
fn split(file: &Path, stem: &Path) -> Vec<PathBuf> {
    let whole = Checkpoint::open(file).unwrap();
    let tensors: Vec<_> = whole.tensors().collect();
    let halves = [&tensors[..tensors.len() / 2], &tensors[tensors.len() / 2..]];
    let mut paths = vec![];
    for (no, half) in halves.into_iter().enumerate() {
        let mut metadata = if no == 0 { whole.metadata().unwrap().clone() } else { Metadata::new() };
        metadata.set("split.no", Value::U16(no as u16));
        metadata.set("split.count", Value::U16(2));
        metadata.set("split.tensors.count", Value::I32(tensors.len() as i32));
        let declared: Vec<Declared> = half.iter().map(|t| Declared::new(t.name, t.shape, t.dtype)).collect();
        let path = PathBuf::from(format!("{}-{:05}-of-00002.gguf", arg(stem), no + 1));
        let mut writer = GgufWriter::start(AtomicFile::create(&path).unwrap(), &metadata, &declared).unwrap();
        for tensor in half {
            writer.piece(tensor.bytes).unwrap();
        }
        writer.finish().unwrap().commit().unwrap();
        paths.push(path);
    }
    paths
}

#[test]
fn a_split_file_is_read_by_any_of_its_parts() {
    let dir = tempfile::tempdir().unwrap();
    let [bf16, whole, from_parts] = ["tiny-BF16.gguf", "whole.gguf", "from-parts.gguf"].map(|n| dir.path().join(n));
    nibble(&["quantize", arg(&tiny()), "-t", "bf16", "-o", arg(&bf16)]).exits(0);
    nibble(&["quantize", arg(&bf16), "-t", "q4_0", "-o", arg(&whole)]).exits(0);
    let parts = split(&bf16, &dir.path().join("tiny-BF16"));
    for part in &parts {
        let report = nibble(&["inspect", arg(part), "--json"]).exits(0).json();
        assert_eq!((report["files"].as_array().unwrap().len(), &report["tensor_count"]), (2, &57.into()));
        nibble(&["quantize", arg(part), "-t", "q4_0", "-o", arg(&from_parts), "--force"]).exits(0);
        assert!(std::fs::read(&whole).unwrap() == std::fs::read(&from_parts).unwrap(), "from {}", part.display());
    }
    assert_eq!(words(&parts[1], "6"), words(&bf16, "6"));
    // The parts are the input, each of them.
    nibble(&["quantize", arg(&parts[0]), "-t", "q4_0", "-o", arg(&parts[1]), "--force"]).exits(1).says(&["read from", "try: "]);
    std::fs::remove_file(&parts[1]).unwrap();
    nibble(&["inspect", arg(&parts[0])]).exits(1).says(&["tiny-BF16-00002-of-00002.gguf"]);
    // The name for a part leaves out its number.
    nibble_in(dir.path(), &["quantize", arg(&whole), "--dry-run", "--allow-requantize"]).exits(0).prints(&["whole-Q4_K_M.gguf"]);
}

#[test]
fn the_plan_is_printed_and_nothing_written() {
    let dir = tempfile::tempdir().unwrap();
    let out = nibble_in(dir.path(), &["quantize", arg(&tiny()), "--dry-run"]).exits(0);
    let out = out.prints(&["token_embd.weight", "blk.5.ffn_down.weight", "Q6_K", "Q4_K", "bits per weight"]);
    assert!(files_below(dir.path()).is_empty(), "{}", out.stdout);
    let plan = nibble_in(dir.path(), &["quantize", arg(&tiny()), "--dry-run", "--json", "-t", "Q8_0"]).exits(0).json();
    assert_eq!(plan["type"], "Q8_0");
    let tensors = plan["tensors"].as_array().unwrap();
    assert!(tensors.iter().any(|t| t["name"] == "blk.0.attn_q.weight" && t["type"] == "Q8_0" && t["bytes"] == 256 * 8 * 34), "{plan}");
    assert!(files_below(dir.path()).is_empty());
}

#[test]
fn the_summary_and_the_name_when_none_is_given() {
    let dir = tempfile::tempdir().unwrap();
    let out = nibble_in(dir.path(), &["quantize", arg(&tiny()), "-t", "q4_0", "--json"]).exits(0);
    let summary = out.json();
    let file = dir.path().join("tiny-Q4_0.gguf");
    assert_eq!(files_below(dir.path()), ["tiny-Q4_0.gguf"]);
    assert_eq!(summary["output"], "tiny-Q4_0.gguf");
    assert_eq!(summary["bytes_after"], std::fs::metadata(&file).unwrap().len());
    assert!(summary["bits_per_weight"].as_f64().unwrap() > 4.0);
    // It is not written over without --force, and a refusal leaves it as it is.
    std::fs::write(&file, "mine").unwrap();
    nibble_in(dir.path(), &["quantize", arg(&tiny()), "-t", "q4_0"]).exits(1).says(&["tiny-Q4_0.gguf", "--force"]);
    assert_eq!(std::fs::read(&file).unwrap(), b"mine");
    nibble_in(dir.path(), &["quantize", arg(&tiny()), "-t", "q4_0", "--force", "--quiet"]).exits(0);
    // From a GGUF the type in the name is replaced, and the input is never the output.
    nibble_in(dir.path(), &["quantize", "tiny-Q4_0.gguf", "-t", "f16", "--allow-requantize"]).exits(0).prints(&["tiny-F16.gguf"]);
    nibble_in(dir.path(), &["quantize", "tiny-F16.gguf", "-t", "f16", "--force"]).exits(1).says(&["is the input"]);
    // A directory as the output gets the file.
    std::fs::create_dir(dir.path().join("out")).unwrap();
    nibble_in(dir.path(), &["quantize", "tiny-F16.gguf", "-t", "q8_0", "-o", "out"]).exits(0);
    assert!(dir.path().join("out/tiny-Q8_0.gguf").is_file());
}

#[test]
fn mistakes_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let to = dir.path().join("x.gguf");
    nibble(&["quantize", arg(&tiny()), "-t", "q4km", "-o", arg(&to)]).exits(2).says(&["q4km", "q4_k_m"]);
    nibble(&["quantize", arg(&tiny()), "-t", "q8_0", "-o", arg(&dir.path().join("no/such/x.gguf"))]).exits(1).says(&["no/such", "try: "]);
    nibble(&["quantize", arg(&dir.path().join("nothing"))]).exits(1).says(&["nothing does not exist", "try: "]);
    nibble(&["quantize", arg(&tiny()), "-t", "q8_0", "--no-double-quant"]).exits(2).says(&["--no-double-quant", "nf4"]);
    assert!(files_below(dir.path()).is_empty());
}

#[test]
fn ctrl_c_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let model = dir.path().join("model");
    std::fs::create_dir(&model).unwrap();
    big_sparse(&model, 24);
    let before = files_below(dir.path());
    for (kind, out) in [("q4_k_m", "out.gguf"), ("nf4", "out-nf4")] {
        let out = dir.path().join(out);
        let mut quantize = command(&["quantize", arg(&model), "-t", kind, "-o", arg(&out)]);
        let mut child = quantize.stderr(Stdio::piped()).spawn().unwrap();
        // Until it has begun to write.
        let start = Instant::now();
        while files_below(dir.path()) == before {
            assert!(child.try_wait().unwrap().is_none() && start.elapsed() < Duration::from_secs(60), "it never began to write");
            std::thread::sleep(Duration::from_millis(5));
        }
        kill(Pid::from_raw(child.id() as i32), Signal::SIGINT).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(130), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(files_below(dir.path()), before);
    }
}
