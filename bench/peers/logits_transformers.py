#!/usr/bin/env python3
"""Our logits against transformers' in float32.

    cargo build --release -p nibble-engine --example logits
    python bench/peers/logits_transformers.py [--text FILE] DIR...

For each Hugging Face directory: 512 tokens of the text (of a formula where transformers has no tokenizer for it), in runs of the model's own context,
through both; prints the largest and the mean |difference| of all logits. KV cache in float32 on our side.
"""
import argparse
import pathlib
import subprocess
import tempfile

import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

ROOT = pathlib.Path(__file__).resolve().parents[2]
parser = argparse.ArgumentParser()
parser.add_argument("--text", help="UTF-8 text; without it the formula's tokens")
parser.add_argument("--tokens", type=int, default=512)
parser.add_argument("--nibble", default=str(ROOT / "target/release/examples/logits"))
parser.add_argument("dirs", nargs="+")
args = parser.parse_args()
torch.set_num_threads(2)
for path in args.dirs:
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32, attn_implementation="eager").eval()
    vocab, n = model.config.vocab_size, args.tokens
    ids, what = [(i * i * 31 + i * 7 + 3) % vocab for i in range(n)], "formula"
    if args.text:
        try:
            text = open(args.text, encoding="utf-8").read()[:20 * n]
            found = AutoTokenizer.from_pretrained(path)(text)["input_ids"]
            if len(found) >= n and max(found[:n]) < vocab:
                ids, what = found[:n], "text"
        except Exception as error:  # No tokenizer, or one that this transformers does not load.
            print(f"{path}: no tokenizer ({type(error).__name__})")
    run = min(n, model.config.max_position_embeddings)
    with tempfile.NamedTemporaryFile() as file:
        np.array(ids, dtype="<u4").tofile(file.name)
        ours = np.frombuffer(subprocess.run([args.nibble, path, file.name, "f32", str(run)], check=True, capture_output=True).stdout, dtype="<f4")
    ours = ours.reshape(n, vocab)
    with torch.no_grad():
        theirs = np.concatenate([model(torch.tensor([ids[i:i + run]])).logits[0].numpy() for i in range(0, n, run)])
    difference = np.abs(ours.astype(np.float64) - theirs)
    same = (ours.argmax(1) == theirs.argmax(1)).mean()
    print(f"{path}: {n} positions of {what}, {vocab} logits each: max |difference| {difference.max():.2e}, mean {difference.mean():.2e}, "
          f"same top token {same:.2%}, largest |logit| {np.abs(theirs).max():.1f}")
