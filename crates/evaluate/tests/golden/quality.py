#!/usr/bin/env python3
"""Golden perplexities and divergences of models/tiny on quality.txt, from transformers in float32.

    python quality.py      # writes quality.json beside it

Chunks as llama-perplexity cuts them (BOS in place of each chunk's first token, the second half scored), sliding windows as transformers' own page on perplexity
describes them, and KL(model || a model whose last norm is scaled by 0.9) on the same chunks.
"""
import json
import pathlib

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

HERE = pathlib.Path(__file__).resolve().parent
TINY = HERE.parents[3] / "models/tiny"
CONTEXT, STRIDE = 64, 24

torch.manual_seed(0)
tokenizer = AutoTokenizer.from_pretrained(TINY)
model = AutoModelForCausalLM.from_pretrained(TINY, dtype=torch.float32).eval()
text = (HERE / "quality.txt").read_text(encoding="utf-8").removesuffix("\n")
bos = tokenizer.convert_tokens_to_ids(tokenizer.bos_token)
ids = [bos] + tokenizer(text, add_special_tokens=False)["input_ids"]


def log_probs(window, scale=1.0):
    with torch.no_grad():
        hidden = model.model(torch.tensor([window])).last_hidden_state[0]
        return torch.log_softmax((model.lm_head(hidden) * scale).double(), -1)


chunks, divergences, same = [], [], []
first = CONTEXT // 2
for start in range(0, len(ids) - CONTEXT + 1, CONTEXT):
    window = [bos] + ids[start + 1:start + CONTEXT]
    p, q = log_probs(window), log_probs(window, 0.9)
    chunks.append([-p[i, window[i + 1]].item() for i in range(first, CONTEXT - 1)])
    divergences.append((p.exp() * (p - q))[first:CONTEXT - 1].sum(-1).tolist())

sliding, end = [], 1
for start in range(0, len(ids), STRIDE):
    window = ids[start:start + CONTEXT]
    p = log_probs(window)
    sliding += [-p[t - 1 - start, ids[t]].item() for t in range(end, start + len(window))]
    end = start + len(window)
    if end == len(ids):
        break

golden = {
    "context": CONTEXT, "stride": STRIDE, "tokens": len(ids), "bytes": len(text.encode()),
    "chunks": [[round(x, 5) for x in chunk] for chunk in chunks],
    "sliding": [round(x, 5) for x in sliding],
    "scaled_kl": [[round(x, 6) for x in chunk] for chunk in divergences],
}
(HERE / "quality.json").write_text(json.dumps(golden, separators=(",", ":")).replace('"chunks"', '\n"chunks"').replace('"sliding"', '\n"sliding"')
                                   .replace('"scaled_kl"', '\n"scaled_kl"') + "\n")
