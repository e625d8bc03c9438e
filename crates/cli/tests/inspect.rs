//! `nibble inspect` on everything that can be opened.

mod common;

use common::{arg, clothes, nibble, tiny};

#[test]
fn a_checkpoint_directory_is_shown() {
    nibble(&["inspect", arg(&tiny())]).exits(0).prints(&[
        "LlamaForCausalLM",
        "BF16",
        "5,770,496",
        "16.0",
        "num_hidden_layers",
        "chat template",
    ]);
    nibble(&["inspect", arg(&tiny()), "--tensors"]).exits(0).prints(&["model.layers.5.mlp.down_proj.weight", "256 x 768"]);
    let report = nibble(&["inspect", arg(&tiny()), "--json"]).exits(0).json();
    assert_eq!(report["parameters"], 5_770_496);
    assert_eq!(report["bits_per_weight"], 16.0);
    assert_eq!(report["tensor_bytes"], 2 * 5_770_496);
    assert!(report["chat_template"].as_str().unwrap().contains("<|start_header_id|>"));
    assert!(report["tensors"].as_array().unwrap().len() > 50);
}

#[test]
fn a_file_of_tensors_is_shown() {
    let file = tiny().join("model.safetensors");
    nibble(&["inspect", arg(&file)]).exits(0).prints(&["safetensors", "5,770,496", "BF16"]);
}

#[test]
fn an_architecture_that_cannot_be_run_is_shown() {
    let dir = tempfile::tempdir().unwrap();
    clothes(dir.path());
    std::fs::copy(tiny().join("model.safetensors"), dir.path().join("model.safetensors")).unwrap();
    let config = std::fs::read_to_string(dir.path().join("config.json")).unwrap();
    std::fs::write(dir.path().join("config.json"), config.replace("LlamaForCausalLM", "Mamba9ForCausalLM")).unwrap();
    nibble(&["inspect", arg(dir.path())]).exits(0).prints(&["Mamba9ForCausalLM", "5,770,496"]);
}

#[test]
fn what_is_no_model_is_refused_with_a_reason() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    nibble(&["inspect", arg(dir.path())]).exits(1).says(&["config.json", "try: "]);
    std::fs::write(at("pytorch_model.bin"), "PK").unwrap();
    nibble(&["inspect", arg(&at("pytorch_model.bin"))]).exits(1).says(&["PyTorch pickle", "safetensors"]);
    std::fs::write(at("model.gguf"), "GGML not really").unwrap();
    nibble(&["inspect", arg(&at("model.gguf"))]).exits(1).says(&["nibble: error: ", "model.gguf"]);
    nibble(&["inspect", arg(&at("modle.gguf"))]).exits(1).says(&["does not exist", "model.gguf"]);
    let whole = std::fs::read(tiny().join("model.safetensors")).unwrap();
    std::fs::write(at("short.safetensors"), &whole[..whole.len() - 1]).unwrap();
    nibble(&["inspect", arg(&at("short.safetensors"))]).exits(1).says(&["short.safetensors"]);
}
