//! Llama 1 to 3.2 and what shares its layers: TinyLlama, SmolLM2, Mistral.
//!
//! Each layer: x += wo · attention(norm(x)); x += down · (silu(gate · norm(x)) * up · norm(x)). Grouped queries, rotary positions, RMS norms.
//! Metadata and names are those of llama.cpp's converter (conversion/llama.py) and loader.

use super::fields::{Fields, Scalar};
use super::rope::{Rope, RopeScaling};
use super::{Activation, Arch, Biases, Config, LayerSpec, Meta, TensorSpec, limit};

/// Llama.
pub static LLAMA: Arch = Arch {
    name: "llama",
    hf: &["LlamaForCausalLM", "LLaMAForCausalLM"],
    model_types: &["llama"],
    from_json: llama_json,
    from_gguf,
    metadata,
    tensors,
    layer,
};

/// Mistral: Llama with a sliding window. In GGUF both are "llama", so this row is only found by its Hugging Face name.
pub static MISTRAL: Arch = Arch {
    name: "llama",
    hf: &["MistralForCausalLM"],
    model_types: &["mistral"],
    from_json: mistral_json,
    from_gguf,
    metadata,
    tensors,
    layer,
};

// Defaults of absent fields are those of transformers' LlamaConfig and MistralConfig.

fn llama_json(arch: &'static Arch, f: &mut Fields) -> Config {
    let mut config = common_json(arch, f, 2048, None);
    let biased = f.flag("attention_bias", false);
    config.biases = Biases { qkv: biased, attn_output: biased, ffn: f.flag("mlp_bias", false) };
    config
}

fn mistral_json(arch: &'static Arch, f: &mut Fields) -> Config {
    let mut config = common_json(arch, f, 4096 * 32, Some(8));
    config.window = if f.has("sliding_window") {
        f.get("sliding_window").map(|_| f.count("sliding_window", 1..=limit::CONTEXT, None))
    } else {
        Some(4096)
    };
    config
}

fn common_json(arch: &'static Arch, f: &mut Fields, context: usize, kv_heads: Option<usize>) -> Config {
    let dim = f.count("hidden_size", 1..=limit::DIM, None);
    let heads = f.count("num_attention_heads", 1..=limit::HEADS, None);
    let vocab = f.count("vocab_size", 1..=limit::VOCAB, None);
    // A present null means "as many as query heads"; only an absent field takes Mistral's default.
    let kv_default = if f.has("num_key_value_heads") { heads } else { kv_heads.unwrap_or(heads) };
    let kv_heads = f.count("num_key_value_heads", 1..=limit::HEADS, Some(kv_default));
    if f.faults.is_empty() && f.get("head_dim").is_none() && !dim.is_multiple_of(heads) {
        f.fault("num_attention_heads", heads, format!("a divisor of hidden_size, {dim}, as there is no head_dim"));
    }
    let head_dim = f.count("head_dim", 2..=limit::DIM, Some(dim / heads));
    if let Some(act) = f.text("hidden_act").filter(|a| a != "silu" && a != "swish") {
        f.fault("hidden_act", format!("\"{act}\""), "\"silu\"");
    }
    Config {
        arch,
        vocab,
        dim,
        layers: f.count("num_hidden_layers", 1..=limit::LAYERS, None),
        heads,
        kv_heads,
        head_dim,
        ffn: f.count("intermediate_size", 1..=limit::FFN, None),
        context: f.count("max_position_embeddings", 1..=limit::CONTEXT, Some(context)),
        eps: f.positive("rms_norm_eps", Some(1e-6)),
        rope: rope_json(f, head_dim),
        tied: f.flag("tie_word_embeddings", false),
        biases: Biases::default(),
        window: None,
        dtype: f.text("dtype").or_else(|| f.text("torch_dtype")),
        bos: f.ids("bos_token_id", vocab).first().copied(),
        eos: f.ids("eos_token_id", vocab),
        pad: f.ids("pad_token_id", vocab).first().copied(),
    }
}

/// Rope in its two spellings: `rope_theta` with `rope_scaling` beside it (transformers 4), or all in `rope_parameters` (transformers 5).
fn rope_json(f: &mut Fields, head_dim: usize) -> Rope {
    let object = ["rope_parameters", "rope_scaling"].into_iter().find(|o| f.get(o).is_some());
    let inside = |name: &str| object.map(|o| format!("{o}.{name}"));
    let own_theta = inside("rope_theta").filter(|k| f.get(k).is_some());
    let theta = f.positive(own_theta.as_deref().unwrap_or("rope_theta"), Some(10000.0));
    for key in [Some("partial_rotary_factor".to_string()), inside("partial_rotary_factor")].into_iter().flatten() {
        let part = f.positive(&key, Some(1.0));
        if part != 1.0 {
            f.fault(&key, part, "1: every element of a head is rotated");
        }
    }
    let scaling = match object {
        None => RopeScaling::None,
        Some(object) => rope_scaling_json(f, object),
    };
    Rope { theta, dims: head_dim, interleaved: false, scaling }
}

fn rope_scaling_json(f: &mut Fields, object: &str) -> RopeScaling {
    if f.get(object) != Some(Scalar::Other("an object")) {
        let found = f.get(object).unwrap_or(Scalar::Null);
        f.fault(object, found, "an object or null");
        return RopeScaling::None;
    }
    let key = |name: &str| format!("{object}.{name}");
    // Old files say `type`; where both are there they agree.
    let (spelt, kind) = match f.text(&key("rope_type")) {
        Some(k) => (key("rope_type"), Some(k)),
        None => (key("type"), f.text(&key("type"))),
    };
    match kind.as_deref() {
        None | Some("default") => RopeScaling::None,
        Some("linear") => RopeScaling::Linear { factor: f.positive(&key("factor"), None) },
        Some("llama3") => {
            let scaling = (
                f.positive(&key("factor"), None),
                f.positive(&key("low_freq_factor"), None),
                f.positive(&key("high_freq_factor"), None),
                f.positive(&key("original_max_position_embeddings"), None),
            );
            let (factor, low, high, original_context) = scaling;
            if high <= low {
                f.fault(&key("high_freq_factor"), high, format!("more than low_freq_factor, {low}"));
            }
            RopeScaling::Llama3 { factor, low, high, original_context }
        }
        Some(other) => {
            f.fault(&spelt, format!("\"{other}\""), "one of: default, linear, llama3");
            RopeScaling::None
        }
    }
}

fn from_gguf(arch: &'static Arch, f: &mut Fields, has_tensor: &dyn Fn(&str) -> bool) -> Config {
    let key = |name: &str| format!("{}.{name}", arch.name);
    let dim = f.count(&key("embedding_length"), 1..=limit::DIM, None);
    let heads = per_layer(f, &key("attention.head_count"), limit::HEADS, None);
    let kv_heads = per_layer(f, &key("attention.head_count_kv"), limit::HEADS, Some(heads));
    let ffn = per_layer(f, &key("feed_forward_length"), limit::FFN, None);
    let tokens = match f.get("tokenizer.ggml.tokens") {
        Some(Scalar::Counted(n)) if n > 0 => Some(n),
        _ => None,
    };
    let vocab = f.count(&key("vocab_size"), 1..=limit::VOCAB, tokens);
    if f.faults.is_empty() && f.get(&key("attention.key_length")).is_none() && !dim.is_multiple_of(heads) {
        f.fault(&key("attention.head_count"), heads, format!("a divisor of embedding_length, {dim}, as there is no attention.key_length"));
    }
    let head_dim = f.count(&key("attention.key_length"), 2..=limit::DIM, Some(dim / heads));
    let value_length = f.count(&key("attention.value_length"), 2..=limit::DIM, Some(head_dim));
    if value_length != head_dim {
        f.fault(&key("attention.value_length"), value_length, format!("the length of keys, {head_dim}"));
    }
    if f.get(&key("expert_count")).is_some_and(|n| n != Scalar::Int(0)) {
        let found = f.get(&key("expert_count")).unwrap_or(Scalar::Null);
        f.fault(&key("expert_count"), found, "0: mixtures of experts are not supported");
    }
    let window_key = key("attention.sliding_window");
    let window = match f.get(&window_key) {
        None | Some(Scalar::Int(0)) => None,
        Some(_) => Some(f.count(&window_key, 1..=limit::CONTEXT, None)),
    };
    let ids = |f: &mut Fields, name: &str| f.ids(&format!("tokenizer.ggml.{name}_token_id"), vocab).first().copied();
    let (bos, eos, pad) = (ids(f, "bos"), ids(f, "eos"), ids(f, "padding"));
    Config {
        arch,
        vocab,
        dim,
        layers: f.count(&key("block_count"), 1..=limit::LAYERS, None),
        heads,
        kv_heads,
        head_dim,
        ffn,
        context: f.count(&key("context_length"), 1..=limit::CONTEXT, None),
        eps: f.positive(&key("attention.layer_norm_rms_epsilon"), None),
        rope: rope_gguf(f, &key, head_dim),
        tied: !has_tensor("output.weight"),
        biases: Biases {
            qkv: has_tensor("blk.0.attn_q.bias"),
            attn_output: has_tensor("blk.0.attn_output.bias"),
            ffn: has_tensor("blk.0.ffn_gate.bias"),
        },
        window,
        dtype: None,
        bos,
        eos: eos.into_iter().collect(),
        pad,
    }
}

/// A count that some files give per layer; only lists of equal values are supported.
fn per_layer(f: &mut Fields, key: &str, most: usize, default: Option<usize>) -> usize {
    if let Some(Scalar::List(l)) = f.get(key) {
        match l.first() {
            Some(Scalar::Int(n)) if l.iter().all(|v| v == &l[0]) && (1..=most as i128).contains(n) => return *n as usize,
            _ => {
                f.fault(key, Scalar::List(l), format!("one whole number from 1 to {most}, the same for every layer"));
                return 1;
            }
        }
    }
    f.count(key, 1..=most, default)
}

fn rope_gguf(f: &mut Fields, key: &dyn Fn(&str) -> String, head_dim: usize) -> Rope {
    let theta = f.positive(&key("rope.freq_base"), Some(10000.0));
    let dims = f.count(&key("rope.dimension_count"), 2..=limit::DIM, Some(head_dim));
    let kind_key = key("rope.scaling.type");
    // Before there was a type, a factor alone meant linear scaling.
    let old = f.get(&key("rope.scale_linear")).map(|_| f.positive(&key("rope.scale_linear"), None)).filter(|x| *x != 1.0);
    let scaling = match f.text(&kind_key).as_deref() {
        None => old.map_or(RopeScaling::None, |factor| RopeScaling::Linear { factor }),
        Some("none") => RopeScaling::None,
        Some("linear") => RopeScaling::Linear { factor: f.positive(&key("rope.scaling.factor"), Some(1.0)) },
        Some(other) => {
            f.fault(&kind_key, format!("\"{other}\""), "one of: none, linear (llama3's is the tensor rope_freqs.weight)");
            RopeScaling::None
        }
    };
    Rope { theta, dims, interleaved: true, scaling }
}

fn metadata(c: &Config) -> Vec<(String, Meta)> {
    let u = |n: usize| Meta::U32(n.try_into().unwrap_or(u32::MAX));
    let mut all = vec![
        ("block_count", u(c.layers)),
        ("context_length", u(c.context)),
        ("embedding_length", u(c.dim)),
        ("feed_forward_length", u(c.ffn)),
        ("attention.head_count", u(c.heads)),
        ("attention.head_count_kv", u(c.kv_heads)),
    ];
    if let RopeScaling::Linear { factor } = c.rope.scaling {
        all.push(("rope.scaling.type", Meta::Text("linear".into())));
        all.push(("rope.scaling.factor", Meta::F32(factor)));
    }
    all.extend([
        ("rope.freq_base", Meta::F32(c.rope.theta)),
        ("attention.layer_norm_rms_epsilon", Meta::F32(c.eps)),
        ("attention.key_length", u(c.head_dim)),
        ("attention.value_length", u(c.head_dim)),
    ]);
    // llama.cpp neither writes nor reads this one for "llama"; without it Mistral's window would be lost on the way.
    if let Some(window) = c.window {
        all.push(("attention.sliding_window", u(window)));
    }
    all.extend([("vocab_size", u(c.vocab)), ("rope.dimension_count", u(c.rope.dims))]);
    all.into_iter().map(|(k, v)| (format!("{}.{k}", c.arch.name), v)).collect()
}

fn tensors(c: &Config) -> Vec<TensorSpec> {
    let spec =
        |gguf: String, hf: Vec<String>, shape: &[usize], permute: Option<usize>| TensorSpec { gguf, hf, shape: shape.to_vec(), permute };
    let one = |gguf: &str, hf: &str, shape: &[usize]| spec(gguf.into(), vec![hf.into()], shape, None);
    let mut embed = one("token_embd.weight", "model.embed_tokens.weight", &[c.vocab, c.dim]);
    if c.tied {
        // Some checkpoints keep a tied matrix under the head's name only.
        embed.hf.push("lm_head.weight".into());
    }
    let mut all = vec![embed];
    let (q, kv) = (c.heads * c.head_dim, c.kv_dim());
    for i in 0..c.layers {
        let mut part = |gguf: &str, hf: &str, shape: &[usize], permute: Option<usize>| {
            all.push(spec(format!("blk.{i}.{gguf}"), vec![format!("model.layers.{i}.{hf}")], shape, permute));
        };
        part("attn_norm.weight", "input_layernorm.weight", &[c.dim], None);
        part("attn_q.weight", "self_attn.q_proj.weight", &[q, c.dim], Some(c.heads));
        part("attn_k.weight", "self_attn.k_proj.weight", &[kv, c.dim], Some(c.kv_heads));
        part("attn_v.weight", "self_attn.v_proj.weight", &[kv, c.dim], None);
        part("attn_output.weight", "self_attn.o_proj.weight", &[c.dim, q], None);
        part("ffn_norm.weight", "post_attention_layernorm.weight", &[c.dim], None);
        part("ffn_gate.weight", "mlp.gate_proj.weight", &[c.ffn, c.dim], None);
        part("ffn_up.weight", "mlp.up_proj.weight", &[c.ffn, c.dim], None);
        part("ffn_down.weight", "mlp.down_proj.weight", &[c.dim, c.ffn], None);
        if c.biases.qkv {
            part("attn_q.bias", "self_attn.q_proj.bias", &[q], Some(c.heads));
            part("attn_k.bias", "self_attn.k_proj.bias", &[kv], Some(c.kv_heads));
            part("attn_v.bias", "self_attn.v_proj.bias", &[kv], None);
        }
        if c.biases.attn_output {
            part("attn_output.bias", "self_attn.o_proj.bias", &[c.dim], None);
        }
        if c.biases.ffn {
            part("ffn_gate.bias", "mlp.gate_proj.bias", &[c.ffn], None);
            part("ffn_up.bias", "mlp.up_proj.bias", &[c.ffn], None);
            part("ffn_down.bias", "mlp.down_proj.bias", &[c.dim], None);
        }
    }
    all.push(one("output_norm.weight", "model.norm.weight", &[c.dim]));
    if !c.tied {
        all.push(one("output.weight", "lm_head.weight", &[c.vocab, c.dim]));
    }
    all
}

fn layer(c: &Config, _i: usize) -> LayerSpec {
    LayerSpec {
        heads: c.heads,
        kv_heads: c.kv_heads,
        head_dim: c.head_dim,
        ffn: c.ffn,
        eps: c.eps,
        scale: 1.0 / (c.head_dim as f32).sqrt(),
        rope: Some(c.rope),
        window: c.window,
        biases: c.biases,
        activation: Activation::SwiGlu,
    }
}
