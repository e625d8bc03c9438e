//! What a token costs: the bytes that generation has to read for it, and the multiplications that a prompt has to do.

use nibble_engine::Model;

/// Counted from a model's shapes and the bytes in its file.
#[derive(Debug, Clone, PartialEq)]
pub struct Cost {
    /// Weights of the model, each once.
    pub parameters: u64,
    /// Bytes of weights that one token reads: every layer's, the last norm and the output matrix, which may be the embedding. Of an embedding
    /// that is only looked up in, one row. As stored: NF4 is put together on loading and then takes up to a tenth more.
    pub weight_bytes: u64,
    /// Multiplications of weights for one token in the layers.
    pub layer_macs: u64,
    /// Those of them that a prompt needs for its last token only: of the last layer all but keys and values.
    pub last_macs: u64,
    /// The same in the output matrix, which a prompt needs for its last token only too.
    pub output_macs: u64,
    /// Bytes of keys and values of one position in one layer.
    cache_bytes: f64,
    /// The layers' windows: the most positions that a token reads there.
    windows: Vec<usize>,
}

impl Cost {
    /// Of a model with the cache that it was opened with.
    pub fn of(model: &Model) -> Cost {
        let (source, config) = (model.source(), model.config());
        let (embedding, output) = ("token_embd.weight", if config.tied { "token_embd.weight" } else { "output.weight" });
        let mut cost = Cost {
            parameters: 0,
            weight_bytes: 0,
            layer_macs: 0,
            last_macs: 0,
            output_macs: 0,
            cache_bytes: model.need().token as f64 / config.layers.max(1) as f64,
            windows: (0..config.layers).map(|i| config.layer(i).window.unwrap_or(usize::MAX)).collect(),
        };
        let last = format!("blk.{}.", config.layers.saturating_sub(1));
        for tensor in source.tensors() {
            let (name, bytes) = (tensor.spec.gguf.as_str(), source.stored_bytes(tensor));
            let weights = (tensor.rows() * tensor.cols()) as u64;
            cost.parameters += weights;
            if name == output {
                cost.output_macs += weights;
            } else if name != embedding && tensor.spec.shape.len() > 1 {
                cost.layer_macs += weights;
                if name.strip_prefix(&last).is_some_and(|name| !["attn_k.weight", "attn_v.weight"].contains(&name)) {
                    cost.last_macs += weights;
                }
            }
            cost.weight_bytes += if name == embedding && name != output { bytes / tensor.rows().max(1) as u64 } else { bytes };
        }
        cost
    }

    /// Bytes read for one token, the mean over `tokens` tokens generated one after the other from `depth` on: the weights, and the keys and values
    /// of the positions before and its own.
    pub fn generation_bytes(&self, depth: usize, tokens: usize) -> f64 {
        let positions: f64 = (depth..depth + tokens).map(|at| self.windows.iter().map(|&w| w.min(at + 1) as f64).sum::<f64>()).sum();
        self.weight_bytes as f64 + self.cache_bytes * positions / tokens.max(1) as f64
    }

    /// Multiplications of weights for one token of a prompt, the mean over its `tokens`. Attention's are not among them: they are not of integers.
    pub fn prompt_macs(&self, tokens: usize) -> f64 {
        (self.layer_macs - self.last_macs) as f64 + (self.last_macs + self.output_macs) as f64 / tokens.max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_bounds_what_is_read_of_the_cache() {
        let cost = Cost {
            parameters: 0,
            weight_bytes: 1000,
            layer_macs: 50,
            last_macs: 8,
            output_macs: 40,
            cache_bytes: 2.0,
            windows: vec![usize::MAX, 3],
        };
        assert_eq!(cost.generation_bytes(0, 1), 1000.0 + 2.0 * 2.0);
        assert_eq!(cost.generation_bytes(10, 1), 1000.0 + 2.0 * (11.0 + 3.0));
        // Positions 1, 2 (of both layers) and 3, 3.
        assert_eq!(cost.generation_bytes(1, 2), 1000.0 + 2.0 * ((2.0 + 2.0) + (3.0 + 3.0)) / 2.0);
        assert_eq!(cost.prompt_macs(4), 42.0 + 12.0);
        assert_eq!(cost.prompt_macs(1), 90.0);
    }

    #[test]
    fn the_last_layer_gives_keys_and_values_to_all_tokens_and_the_rest_to_one() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/tiny");
        let model = Model::open(&path, nibble_engine::Options { threads: Some(1), ..Default::default() }).unwrap();
        let (cost, config) = (Cost::of(&model), model.config());
        let spec = config.layer(config.layers - 1);
        let [q, kv] = [spec.heads, spec.kv_heads].map(|heads| heads * spec.head_dim * config.dim);
        let rest = 2 * q + 3 * spec.ffn * config.dim;
        assert_eq!(cost.last_macs, rest as u64);
        assert_eq!(cost.layer_macs, (config.layers * (rest + 2 * kv)) as u64);
    }
}
