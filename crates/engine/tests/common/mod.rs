//! What the tests of the engine share: checkpoints written from a formula, golden values, the shared test material.
#![allow(dead_code, missing_docs)] // Each test uses its part.

use nibble_container::Dtype;
use nibble_container::gguf::{GgufWriter, Metadata, Value as GgufValue};
use nibble_engine::arch::Meta;
use nibble_engine::source::Source;
use nibble_kernels::{Format, format};
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};

/// Tests run under emulation, some fifty times slower, are cut down.
pub fn emulated() -> bool {
    std::env::var_os("NIBBLE_EMULATED").is_some()
}

pub fn tiny() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/tiny")
}

/// The shared test material, or a printed skip.
pub fn shared() -> Option<PathBuf> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    let found = std::env::var_os("NIBBLE_SHARED").map(PathBuf::from).into_iter().chain([own]).find(|p| p.is_dir());
    if found.is_none() {
        eprintln!("skipped: no shared test material");
    }
    found
}

/// Element i of tensor `name`, as golden/_formula.py computes it: uniform in [-1, 1).
pub fn uniform(name: &str, n: usize) -> Vec<f32> {
    let h = name.bytes().fold(0xcbf2_9ce4_8422_2325u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
    (0..n as u64)
        .map(|i| {
            let mut z = i.wrapping_add(h).wrapping_add(0x9e37_79b9_7f4a_7c15);
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^= z >> 31;
            (z >> 40) as f32 / 8_388_608.0 - 1.0
        })
        .collect()
}

/// The tokens of every golden prompt.
pub fn tokens(n: usize, vocab: usize) -> Vec<u32> {
    (0..n).map(|i| ((i * i * 31 + i * 7 + 3) % vocab) as u32).collect()
}

/// The weights of the golden random models, as engine_logits.py scales them.
pub fn weight(name: &str, n: usize) -> Vec<f32> {
    let mut x = uniform(name, n);
    let sharp = name.contains("q_proj.weight") || name.contains("k_proj.weight");
    let (scale, plus) = if name.contains("norm") {
        (0.25, 1.0)
    } else if sharp {
        (0.5, 0.0)
    } else {
        (0.25, 0.0)
    };
    x.iter_mut().for_each(|x| *x = *x * scale + plus);
    x
}

/// Writes a safetensors file of F32 tensors.
pub fn write_safetensors(path: &Path, tensors: &[(String, Vec<usize>, Vec<f32>)]) {
    let parts: Vec<_> = tensors
        .iter()
        .map(|(name, shape, data)| (name.clone(), "F32", shape.clone(), data.iter().flat_map(|x| x.to_le_bytes()).collect()))
        .collect();
    write_raw(path, &parts);
}

/// Writes a safetensors file of tensors of any type.
pub fn write_raw(path: &Path, tensors: &[(String, &str, Vec<usize>, Vec<u8>)]) {
    let (mut header, mut data) = (Map::new(), Vec::new());
    for (name, dtype, shape, bytes) in tensors {
        let start = data.len();
        data.extend(bytes);
        header.insert(name.clone(), json!({"dtype": dtype, "shape": shape, "data_offsets": [start, data.len()]}));
    }
    let mut text = serde_json::to_vec(&Value::Object(header)).unwrap();
    text.resize(text.len().next_multiple_of(8), b' ');
    let file = [&(text.len() as u64).to_le_bytes()[..], &text, &data].concat();
    std::fs::write(path, file).unwrap();
}

/// A directory with `config` and the tensors that it calls for, from the formula.
pub fn write_model(folder: &Path, config: &Value) {
    let parsed = nibble_engine::arch::Config::from_json("config.json", config).unwrap();
    let tensors: Vec<_> = parsed
        .tensors()
        .into_iter()
        .map(|t| {
            let n = t.shape.iter().product();
            (t.hf[0].clone(), t.shape, weight(&t.hf[0], n))
        })
        .collect();
    std::fs::write(folder.join("config.json"), serde_json::to_vec(config).unwrap()).unwrap();
    write_safetensors(&folder.join("model.safetensors"), &tensors);
}

/// The configurations of the golden random models.
pub fn golden_config(name: &str) -> Value {
    let mut c = json!({"architectures": ["LlamaForCausalLM"], "vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 16384, "rms_norm_eps": 1e-5,
        "tie_word_embeddings": false, "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}});
    let change = match name {
        "long" => {
            json!({"num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1, "rope_parameters": {"rope_type": "llama3",
            "rope_theta": 500000.0, "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}})
        }
        "window" => json!({"architectures": ["MistralForCausalLM"], "sliding_window": 8}),
        "biases" => json!({"hidden_size": 48, "num_attention_heads": 6, "head_dim": 24, "attention_bias": true, "mlp_bias": true}),
        "linear" => json!({"tie_word_embeddings": true, "num_key_value_heads": 4,
            "rope_parameters": {"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0}}),
        other => panic!("no golden model {other}"),
    };
    change.as_object().unwrap().iter().for_each(|(k, v)| c[k] = v.clone());
    c
}

pub fn golden() -> Value {
    serde_json::from_str(include_str!("../golden/engine_logits.json")).unwrap()
}

/// Name, shape, GGML id, bytes.
pub type Tensor = (String, Vec<u64>, u32, Vec<u8>);
/// All of a file.
pub type Tensors = Vec<Tensor>;

/// Metadata and tensors of a Hugging Face model as GGUF has them, matrices in `matrices`, the rest in F32.
pub fn convert(source: &Source, matrices: &'static Format) -> (Metadata, Tensors) {
    convert_with(source, matrices, &format::F32, &|_, _, _| {})
}

/// The same with vectors in `vectors` (but for the rope's factors, which are F32 always). `change` may change a tensor's values: its name, its columns.
pub fn convert_with(
    source: &Source,
    matrices: &'static Format,
    vectors: &'static Format,
    change: &dyn Fn(&str, usize, &mut [f32]),
) -> (Metadata, Tensors) {
    let mut metadata = Metadata::new();
    metadata.set("general.architecture", GgufValue::from(source.config().arch.name));
    for (key, value) in source.config().metadata() {
        let value = match value {
            Meta::U32(x) => GgufValue::from(x),
            Meta::F32(x) => GgufValue::from(x),
            Meta::Text(x) => GgufValue::from(x),
        };
        metadata.set(&key, value);
    }
    let encode = |format: &'static Format, cols: usize, x: &[f32]| {
        let row = format.row_bytes(cols).unwrap();
        let mut out = vec![0; x.len() / cols * row];
        x.chunks_exact(cols).zip(out.chunks_exact_mut(row)).for_each(|(x, out)| (format.encode)(x, None, out));
        out
    };
    let mut tensors: Tensors = Vec::new();
    for t in source.tensors() {
        let mut x = vec![0.0; t.rows() * t.cols()];
        source.read_rows(t, 0..t.rows(), &mut x);
        change(&t.spec.gguf, t.cols(), &mut x);
        let format = if t.spec.shape.len() == 2 { matrices } else { vectors };
        let shape = t.spec.shape.iter().map(|&n| n as u64).collect();
        tensors.push((t.spec.gguf.clone(), shape, format.gguf_id.unwrap(), encode(format, *t.spec.shape.last().unwrap(), &x)));
    }
    if let Some(factors) = source.config().rope.factors() {
        let bytes = factors.iter().flat_map(|x| x.to_le_bytes()).collect();
        tensors.push(("rope_freqs.weight".into(), vec![factors.len() as u64], 0, bytes));
    }
    (metadata, tensors)
}

/// Writes a GGUF file.
pub fn write_gguf(path: &Path, metadata: &Metadata, tensors: &Tensors) {
    let declared: Vec<_> =
        tensors.iter().map(|(name, shape, id, _)| nibble_container::Declared::new(name.clone(), shape, Dtype::Ggml(*id))).collect();
    let mut writer = GgufWriter::start(std::fs::File::create(path).unwrap(), metadata, &declared).unwrap();
    tensors.iter().for_each(|(name, _, _, bytes)| writer.tensor(name, bytes).unwrap());
    writer.finish().unwrap();
}
