#!/usr/bin/env python3
"""Our logits against llama.cpp's on the same quantized files.

    cargo build --release -p nibble-engine --example logits
    python bench/peers/logits_llamacpp.py --text FILE --quantize COMMAND MODEL --types Q4_K_M,Q8_0,Q4_0

MODEL: a GGUF, quantized to each type by `COMMAND MODEL OUTPUT TYPE` (llama-quantize's arguments; without --quantize MODEL is run as it is). 2,000 tokens of
the text, in runs of --context, through llama-cpp-python and through ours, both with the same type of KV cache (f16, its default). Prints the mean and the largest
KL(llama.cpp || ours) of the next token's distribution, and at how many positions the likeliest token is the same.
"""
import argparse
import pathlib
import shlex
import subprocess
import tempfile

import numpy as np
from llama_cpp import Llama

ROOT = pathlib.Path(__file__).resolve().parents[2]
parser = argparse.ArgumentParser()
parser.add_argument("--text", required=True)
parser.add_argument("--types", default="Q4_K_M,Q8_0,Q4_0")
parser.add_argument("--tokens", type=int, default=2000)
parser.add_argument("--context", type=int, default=500)
parser.add_argument("--quantize", help="llama-quantize, or a command with its arguments")
parser.add_argument("--flash", action="store_true", help="llama.cpp with flash attention")
parser.add_argument("--cache", choices=["f16", "f32"], default="f16", help="the KV cache of both")
parser.add_argument("--nibble", default=str(ROOT / "target/release/examples/logits"))
parser.add_argument("model")
args = parser.parse_args()


def log_softmax(x):
    x = x.astype(np.float64)
    x = x - x.max(axis=1, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=1, keepdims=True))


for kind in args.types.split(","):
    with tempfile.TemporaryDirectory() as folder:
        path = args.model
        if args.quantize:
            path = f"{folder}/{kind}.gguf"
            subprocess.run(shlex.split(args.quantize) + [args.model, path, kind], check=True, capture_output=True)
        llama = Llama(path, n_ctx=args.context, n_batch=args.context, logits_all=True, verbose=False, n_threads=2, flash_attn=args.flash,
                      type_k={"f32": 0, "f16": 1}[args.cache], type_v={"f32": 0, "f16": 1}[args.cache])
        text = open(args.text, encoding="utf-8").read()[:20 * args.tokens]
        ids = llama.tokenize(text.encode(), add_bos=False, special=False)[:args.tokens]
        theirs = []
        for i in range(0, len(ids), args.context):
            llama.reset()
            run = ids[i:i + args.context]
            llama.eval(run)
            theirs.append(np.array(llama.scores[:len(run)]))
        theirs = np.concatenate(theirs)
        np.array(ids, dtype="<u4").tofile(f"{folder}/ids")
        out = subprocess.run([args.nibble, path, f"{folder}/ids", args.cache, str(args.context)], check=True, capture_output=True).stdout
        ours = np.frombuffer(out, dtype="<f4").reshape(theirs.shape)
        p, q = log_softmax(theirs), log_softmax(ours)
        kl = (np.exp(p) * (p - q)).sum(axis=1)
        same = (ours.argmax(1) == theirs.argmax(1)).mean()
        print(f"{pathlib.Path(args.model).name} {kind}: {len(ids)} positions: mean KL {kl.mean():.2e}, largest {kl.max():.2e}, same top token {same:.2%}, "
              f"mean |difference| {np.abs(ours - theirs).mean():.2e}", flush=True)
