#!/usr/bin/env python3
"""Golden logits for the engine's forward pass, from transformers in float32.

    python engine_logits.py      # writes engine_logits.json beside it

For models/tiny and for small random models. The random models' weights follow from _formula.py, so that none need to be kept: `uniform` times a scale,
plus 1 for norms.
"""
import json
import pathlib

import numpy as np
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM

from _formula import tokens, uniform

HERE = pathlib.Path(__file__).resolve().parent
TINY = HERE.parents[3] / "models/tiny"
BASE = dict(vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
            max_position_embeddings=16384, rms_norm_eps=1e-5, tie_word_embeddings=False, bos_token_id=None, eos_token_id=None, pad_token_id=None)
LLAMA3 = dict(rope_type="llama3", rope_theta=500000.0, factor=32.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=8192)
PLAIN = dict(rope_type="default", rope_theta=10000.0)
# name: class, config, tokens, positions whose logits are kept
MODELS = {
    "long": (LlamaForCausalLM, LlamaConfig, dict(BASE, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=1, rope_parameters=LLAMA3),
             8300, [0, 1, 31, 32, 299, 4097, 8191, 8192, 8298, 8299]),
    "window": (MistralForCausalLM, MistralConfig, dict(BASE, sliding_window=8, rope_parameters=PLAIN), 40, [0, 6, 7, 8, 9, 20, 39]),
    "biases": (LlamaForCausalLM, LlamaConfig, dict(BASE, hidden_size=48, num_attention_heads=6, head_dim=24, attention_bias=True, mlp_bias=True,
                                                   rope_parameters=PLAIN), 40, [0, 1, 5, 39]),
    "linear": (LlamaForCausalLM, LlamaConfig, dict(BASE, tie_word_embeddings=True, num_key_value_heads=4,
                                                   rope_parameters=dict(rope_type="linear", rope_theta=10000.0, factor=4.0)), 40, [0, 1, 5, 39]),
}


def weights(model):
    for name, p in model.named_parameters():
        x = torch.from_numpy(uniform(name, p.numel())).reshape(p.shape)
        # Queries and keys are large, so that attention is sharp and feels positions.
        scale = 0.5 if "q_proj.weight" in name or "k_proj.weight" in name else 0.25
        p.data = x * 0.25 + 1 if "norm" in name else x * scale


def logits(model, ids, positions, columns):
    with torch.no_grad():
        out = model(torch.tensor([ids])).logits[0]
    return {"positions": positions, "columns": columns, "argmax": [int(out[p].argmax()) for p in positions],
            "logits": [[float(np.float32(out[p, c].item())) for c in columns] for p in positions]}


def main():
    tiny = AutoModelForCausalLM.from_pretrained(TINY, dtype=torch.float32, attn_implementation="eager").eval()
    vocab = tiny.config.vocab_size
    ids = tokens(48, vocab)
    golden = {"tiny": dict(ids=len(ids), **logits(tiny, ids, list(range(0, 48, 2)), [(c * 257 + 5) % vocab for c in range(16)]))}
    for name, (cls, config, args, n, positions) in MODELS.items():
        model = cls(config(**args))
        model.set_attn_implementation("sdpa" if n > 1000 else "eager")
        weights(model.float().eval())
        golden[name] = dict(ids=n, **logits(model, tokens(n, args["vocab_size"]), positions, list(range(0, 64, 4))))
    lines = ",\n".join(f'"{k}": {json.dumps(v)}' for k, v in golden.items())
    (HERE / "engine_logits.json").write_text("{\n" + lines + "\n}\n")


main()
