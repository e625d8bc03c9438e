//! Synthetic checkpoints: real shapes and a tokenizer of the real size, with random BF16 weights. For measuring, where a published
//! checkpoint is too big to keep or may not be copied.
//!
//! The weights are close to a normal distribution of standard deviation 0.02, as trained ones are, so that a quantizer does the same work.

mod tokenizer;

use serde_json::{Map, Value, json};
use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::thread;

/// The shape of a Llama model.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// What `xtask synth` calls it.
    pub name: &'static str,
    /// Number of layers.
    pub layers: usize,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Width of the feed-forward network.
    pub ffn: usize,
    /// Query heads.
    pub heads: usize,
    /// Key/value heads.
    pub kv_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// Number of tokens, special ones included.
    pub vocab: usize,
    /// Whether the embedding is the output matrix too.
    pub tied: bool,
}

/// The shapes that `xtask synth` offers.
pub static SHAPES: &[Shape] = &[
    Shape { name: "tiny", layers: 2, hidden: 256, ffn: 512, heads: 4, kv_heads: 2, head_dim: 64, vocab: 1024, tied: true },
    Shape { name: "llama-3.2-1b", layers: 16, hidden: 2048, ffn: 8192, heads: 32, kv_heads: 8, head_dim: 64, vocab: 128_256, tied: true },
    Shape { name: "llama-3.2-3b", layers: 28, hidden: 3072, ffn: 8192, heads: 24, kv_heads: 8, head_dim: 128, vocab: 128_256, tied: true },
    Shape {
        name: "llama-3.1-8b",
        layers: 32,
        hidden: 4096,
        ffn: 14336,
        heads: 32,
        kv_heads: 8,
        head_dim: 128,
        vocab: 128_256,
        tied: false,
    },
    // Of the Llama architecture too, in the widths of others: few key-value heads, a hidden width of six blocks of 256, wide heads of nine.
    Shape {
        name: "qwen2.5-1.5b-widths",
        layers: 28,
        hidden: 1536,
        ffn: 8960,
        heads: 12,
        kv_heads: 2,
        head_dim: 128,
        vocab: 151_936,
        tied: true,
    },
    Shape {
        name: "gemma-2-2b-widths",
        layers: 26,
        hidden: 2304,
        ffn: 9216,
        heads: 8,
        kv_heads: 4,
        head_dim: 256,
        vocab: 256_000,
        tied: true,
    },
];

/// A shard is closed before it would grow past this, as published checkpoints are.
const SHARD_BYTES: u64 = 5_000_000_000;

/// Weights made at a time by each thread.
const PIECE: usize = 1 << 20;

impl Shape {
    /// The shape of that name. `NAME:LAYERS` is the same with another number of layers: what grows with them can be told from what does not, without
    /// running all of a large model.
    pub fn by_name(name: &str) -> Option<Shape> {
        let (name, layers) = match name.split_once(':') {
            Some((name, layers)) => (name, Some(layers.parse().ok().filter(|&n| n > 0)?)),
            None => (name, None),
        };
        let shape = SHAPES.iter().find(|s| s.name == name)?;
        Some(Shape { layers: layers.unwrap_or(shape.layers), ..*shape })
    }

    /// Every tensor as a checkpoint names it, with its shape, outermost first.
    fn tensors(&self) -> Vec<(String, Vec<usize>)> {
        let (h, q, kv) = (self.hidden, self.heads * self.head_dim, self.kv_heads * self.head_dim);
        let mut all = vec![("model.embed_tokens.weight".to_owned(), vec![self.vocab, h])];
        for i in 0..self.layers {
            let mut push = |name: &str, shape: &[usize]| all.push((format!("model.layers.{i}.{name}.weight"), shape.to_vec()));
            push("input_layernorm", &[h]);
            push("mlp.down_proj", &[h, self.ffn]);
            push("mlp.gate_proj", &[self.ffn, h]);
            push("mlp.up_proj", &[self.ffn, h]);
            push("post_attention_layernorm", &[h]);
            push("self_attn.k_proj", &[kv, h]);
            push("self_attn.o_proj", &[h, q]);
            push("self_attn.q_proj", &[q, h]);
            push("self_attn.v_proj", &[kv, h]);
        }
        all.push(("model.norm.weight".to_owned(), vec![h]));
        if !self.tied {
            all.push(("lm_head.weight".to_owned(), vec![self.vocab, h]));
        }
        all
    }

    fn config(&self) -> Value {
        let (bos, eos) = tokenizer::ends(self.vocab);
        json!({
            "architectures": ["LlamaForCausalLM"], "attention_bias": false, "bos_token_id": bos, "eos_token_id": eos, "head_dim": self.head_dim,
            "hidden_act": "silu", "hidden_size": self.hidden, "intermediate_size": self.ffn, "max_position_embeddings": 131_072, "mlp_bias": false,
            "model_type": "llama", "num_attention_heads": self.heads, "num_hidden_layers": self.layers, "num_key_value_heads": self.kv_heads,
            "rms_norm_eps": 1e-5, "rope_theta": 500_000.0, "tie_word_embeddings": self.tied, "torch_dtype": "bfloat16", "vocab_size": self.vocab,
            "rope_scaling": {"factor": 32.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0, "original_max_position_embeddings": 8192, "rope_type": "llama3"},
        })
    }
}

/// Writes a checkpoint of that shape into `dir`, which is created. The same seed gives the same bytes, however many threads there are.
pub fn write(dir: &Path, shape: &Shape, seed: u64, threads: usize) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    let pretty = |v: &Value| serde_json::to_vec_pretty(v).map_err(io::Error::other);
    fs::write(dir.join("config.json"), pretty(&shape.config())?)?;
    let (bos, eos) = tokenizer::ends(shape.vocab);
    fs::write(dir.join("generation_config.json"), pretty(&json!({"bos_token_id": bos, "eos_token_id": eos}))?)?;
    fs::write(dir.join("tokenizer.json"), serde_json::to_vec(&tokenizer::json(shape.vocab)).map_err(io::Error::other)?)?;
    fs::write(dir.join("tokenizer_config.json"), pretty(&tokenizer::config())?)?;

    let mut shards: Vec<Vec<(String, Vec<usize>)>> = vec![Vec::new()];
    let mut filled = 0;
    for tensor in shape.tensors() {
        let size = bytes(&tensor.1);
        if filled > 0 && filled + size > SHARD_BYTES {
            shards.push(Vec::new());
            filled = 0;
        }
        filled += size;
        shards.last_mut().expect("there is always one").push(tensor);
    }
    let mut map = Map::new();
    let count = shards.len();
    for (i, tensors) in shards.iter().enumerate() {
        let file = if count == 1 { "model.safetensors".to_owned() } else { format!("model-{:05}-of-{count:05}.safetensors", i + 1) };
        write_shard(&dir.join(&file), tensors, seed ^ (i as u64) << 56, threads.max(1))?;
        map.extend(tensors.iter().map(|(name, _)| (name.clone(), json!(file))));
    }
    if count > 1 {
        let total: u64 = shards.iter().flatten().map(|(_, s)| bytes(s)).sum();
        fs::write(dir.join("model.safetensors.index.json"), pretty(&json!({"metadata": {"total_size": total}, "weight_map": map}))?)?;
    }
    Ok(())
}

/// Bytes of a BF16 tensor.
fn bytes(shape: &[usize]) -> u64 {
    shape.iter().map(|&n| n as u64).product::<u64>() * 2
}

fn write_shard(path: &Path, tensors: &[(String, Vec<usize>)], seed: u64, threads: usize) -> io::Result<()> {
    let mut header = Map::new();
    header.insert("__metadata__".into(), json!({"format": "pt"}));
    let mut at = 0;
    for (name, shape) in tensors {
        let end = at + bytes(shape);
        header.insert(name.clone(), json!({"dtype": "BF16", "shape": shape, "data_offsets": [at, end]}));
        at = end;
    }
    let mut header = serde_json::to_vec(&header).map_err(io::Error::other)?;
    header.resize(header.len().next_multiple_of(8), b' ');
    let mut file = fs::File::create(path)?;
    file.write_all(&(header.len() as u64).to_le_bytes())?;
    file.write_all(&header)?;

    let mut buffer = vec![0u8; 2 * PIECE * threads];
    for (t, (_, shape)) in tensors.iter().enumerate() {
        let base = if shape.len() == 1 { 1.0 } else { 0.0 }; // a norm's weights lie around one
        let size = bytes(shape) as usize;
        for (round, start) in (0..size).step_by(buffer.len()).enumerate() {
            let part = (size - start).min(buffer.len());
            thread::scope(|scope| {
                for (k, piece) in buffer[..part].chunks_mut(2 * PIECE).enumerate() {
                    let place = (t as u64) << 32 | (round * threads + k) as u64;
                    scope.spawn(move || fill(piece, seed, place, base));
                }
            });
            file.write_all(&buffer[..part])?;
        }
    }
    Ok(())
}

/// BF16 weights around `base`: the sum of four random bytes is nearly normal, and cheap.
fn fill(out: &mut [u8], seed: u64, place: u64, base: f32) {
    let mut state = (seed ^ place.wrapping_mul(0xD129_0D3A_9B4B_5C6F)).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    // Four uniform bytes have a standard deviation of 147.8.
    let scale = 0.02 / 147.8;
    for quad in out.chunks_mut(4) {
        // xorshift64*
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        let bits = state.wrapping_mul(0x2545_F491_4F6C_DD1D).to_le_bytes();
        for (pair, b) in quad.chunks_exact_mut(2).zip(bits.as_chunks::<4>().0) {
            let sum: i32 = b.iter().map(|&b| b as i32).sum();
            let value = base + (sum - 510) as f32 * scale;
            pair.copy_from_slice(&((value.to_bits() >> 16) as u16).to_le_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shape_may_have_other_layers() {
        let (whole, two) = (Shape::by_name("llama-3.2-3b").unwrap(), Shape::by_name("llama-3.2-3b:2").unwrap());
        assert_eq!((whole.layers, two.layers), (28, 2));
        assert_eq!(two.config()["num_hidden_layers"], 2);
        let of_layers = |shape: &Shape| shape.tensors().iter().filter(|(name, _)| name.starts_with("model.layers.")).count();
        assert_eq!(of_layers(&whole), 14 * of_layers(&two));
        assert_eq!(whole.tensors().len() - of_layers(&whole), two.tensors().len() - of_layers(&two));
        for bad in ["llama-3.2-3b:", "llama-3.2-3b:0", "llama-3.2-3b:x", "llama-3.2-3b:2:2", ":2", "none"] {
            assert!(Shape::by_name(bad).is_none(), "{bad}");
        }
    }
}
