//! What would fit of the usual models, before one of them is fetched: sizes computed from their shapes.

use anyhow::Result;
use nibble_compress::recipe::Recipe;
use nibble_engine::arch::Config;
use nibble_engine::{DEFAULT_CONTEXT, KvType, Options, need_of};
use serde_json::{Value, json};

use super::{CACHES, Contexts, contexts};
use crate::terminal;
use crate::units;

/// A model that many have, by the numbers of its config.json.
pub struct Shape {
    /// What people call it.
    pub name: &'static str,
    /// The repository of the hub whose config.json has the numbers.
    pub source: &'static str,
    layers: u32,
    dim: u32,
    ffn: u32,
    heads: u32,
    kv_heads: u32,
    head_dim: u32,
    vocab: u32,
    tied: bool,
    context: u32,
}

/// The models, small ones first.
pub static SHAPES: &[Shape] = &[
    Shape {
        name: "Llama 3.2 1B",
        source: "meta-llama/Llama-3.2-1B",
        layers: 16,
        dim: 2048,
        ffn: 8192,
        heads: 32,
        kv_heads: 8,
        head_dim: 64,
        vocab: 128_256,
        tied: true,
        context: 131_072,
    },
    Shape {
        name: "SmolLM2 1.7B",
        source: "HuggingFaceTB/SmolLM2-1.7B",
        layers: 24,
        dim: 2048,
        ffn: 8192,
        heads: 32,
        kv_heads: 32,
        head_dim: 64,
        vocab: 49_152,
        tied: true,
        context: 8192,
    },
    Shape {
        name: "Llama 3.2 3B",
        source: "meta-llama/Llama-3.2-3B",
        layers: 28,
        dim: 3072,
        ffn: 8192,
        heads: 24,
        kv_heads: 8,
        head_dim: 128,
        vocab: 128_256,
        tied: true,
        context: 131_072,
    },
    Shape {
        name: "Mistral 7B v0.3",
        source: "mistralai/Mistral-7B-v0.3",
        layers: 32,
        dim: 4096,
        ffn: 14_336,
        heads: 32,
        kv_heads: 8,
        head_dim: 128,
        vocab: 32_768,
        tied: false,
        context: 32_768,
    },
    Shape {
        name: "Llama 3.1 8B",
        source: "meta-llama/Llama-3.1-8B",
        layers: 32,
        dim: 4096,
        ffn: 14_336,
        heads: 32,
        kv_heads: 8,
        head_dim: 128,
        vocab: 128_256,
        tied: false,
        context: 131_072,
    },
];

/// The types that are looked at: the usual one, and the one that is as good as the original.
const TYPES: [&str; 2] = ["Q4_K_M", "Q8_0"];

impl Shape {
    fn config(&self) -> Result<Config> {
        let json = json!({
            "architectures": ["LlamaForCausalLM"],
            "num_hidden_layers": self.layers,
            "hidden_size": self.dim,
            "intermediate_size": self.ffn,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads,
            "head_dim": self.head_dim,
            "vocab_size": self.vocab,
            "tie_word_embeddings": self.tied,
            "max_position_embeddings": self.context,
        });
        Ok(Config::from_json(self.source, &json)?)
    }
}

/// A shape in a type, and what of it fits.
pub struct Would {
    shape: &'static Shape,
    kind: &'static str,
    weights: u64,
    /// Memory with the context that nibble takes where none is asked for, in a cache of the first type.
    memory: u64,
    contexts: Contexts,
}

/// Every shape in every type, with what fits into so many bytes of memory; without them, all does.
pub fn would(available: Option<u64>) -> Result<Vec<Would>> {
    let mut rows = vec![];
    for shape in SHAPES {
        let config = shape.config()?;
        for recipe in TYPES.iter().filter_map(|kind| Recipe::by_name(kind)) {
            let weights = nibble_compress::size(&config, recipe);
            let need = |kv: KvType| need_of(&config, weights, &Options { kv, ..Options::default() }, kv);
            rows.push(Would {
                shape,
                kind: recipe.name,
                weights,
                memory: need(CACHES[0]).total(DEFAULT_CONTEXT),
                contexts: contexts(config.context as u64, config.head_dim, available, &need),
            });
        }
    }
    Ok(rows)
}

/// As a table.
pub fn table(rows: &[Would]) -> String {
    let tokens = units::grouped(DEFAULT_CONTEXT as u64);
    let mut header = vec!["OF THE USUAL MODELS".to_string(), "TYPE".into(), "WEIGHTS".into(), format!("WITH {tokens} TOKENS")];
    header.extend(CACHES.iter().map(|kv| super::context_title(*kv)));
    let header: Vec<&str> = header.iter().map(String::as_str).collect();
    let row = |would: &Would| {
        let mut row = vec![would.shape.name.to_string(), would.kind.to_string(), units::bytes(would.weights), units::bytes(would.memory)];
        row.extend(would.contexts.iter().map(|(_, tokens)| super::context_text(*tokens)));
        row
    };
    terminal::table(&header, &rows.iter().map(row).collect::<Vec<_>>())
}

/// As JSON.
pub fn to_json(rows: &[Would]) -> Value {
    let row = |would: &Would| {
        json!({
            "name": would.shape.name,
            "source": would.shape.source,
            "type": would.kind,
            "weights": would.weights,
            "context": DEFAULT_CONTEXT,
            "memory": would.memory,
            "longest_context": super::contexts_json(&would.contexts),
        })
    };
    rows.iter().map(row).collect()
}

/// The first shape's name and type that fit with the usual context, from the largest down: for the advice.
pub fn largest(rows: &[Would], available: u64) -> Option<String> {
    let fits = rows.iter().rev().find(|would| would.kind == TYPES[0] && would.memory <= available)?;
    Some(format!("{} in {}", fits.shape.name, fits.kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The number of weights that each repository's page names.
    #[test]
    fn shapes_have_the_published_number_of_weights() {
        let published = [1_235_814_400, 1_711_376_384, 3_212_749_824, 7_248_023_552, 8_030_261_248];
        assert_eq!(published.len(), SHAPES.len());
        for (shape, published) in SHAPES.iter().zip(published) {
            let specs = shape.config().unwrap().tensors();
            let weights: usize = specs.iter().map(|spec| spec.shape.iter().product::<usize>()).sum();
            assert_eq!(weights, published, "{}", shape.name);
        }
    }

    #[test]
    fn more_memory_holds_more() {
        const GIB: u64 = 1 << 30;
        let fits = |bytes| would(Some(bytes)).unwrap().iter().filter(|w| w.contexts[0].1.is_some()).count();
        assert_eq!((fits(0), fits(64 * GIB)), (0, SHAPES.len() * TYPES.len()));
        assert!(fits(2 * GIB) > 0 && fits(2 * GIB) < fits(6 * GIB));
        let rows = would(None).unwrap();
        assert!(rows.iter().all(|w| w.contexts.iter().all(|(_, tokens)| *tokens == Some(u64::from(w.shape.context)))));
        assert_eq!(largest(&rows, 64 * GIB).as_deref(), Some("Llama 3.1 8B in Q4_K_M"));
        assert_eq!(largest(&rows, 0), None);
        // A smaller cache holds a longer context in the same memory.
        for w in would(Some(3 * GIB)).unwrap() {
            assert!(w.contexts[0].1 <= w.contexts[1].1, "{} {}", w.shape.name, w.kind);
        }
    }
}
