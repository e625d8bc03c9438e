#!/usr/bin/env python3
"""Perplexity and KL divergence beside llama-perplexity, on the same files and the same text.

    cargo build --release
    python bench/peers/perplexity_compare.py --text FILE [--chunks 100] [--context 512] --original F32.gguf MODEL.gguf ...

For each file: both perplexities and how far they are apart. Then each program writes a base of the original, and both programs read both bases with each other
model: four divergences that should be one but for what the two engines compute differently. The compact base stands beside, with its size.
"""
import argparse
import json
import os
import pathlib
import re
import subprocess
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
parser = argparse.ArgumentParser()
parser.add_argument("--text", required=True)
parser.add_argument("--chunks", type=int, default=100)
parser.add_argument("--context", type=int, default=512)
parser.add_argument("--original", required=True)
parser.add_argument("--llama", default=os.environ.get("NIBBLE_PEERS_LLAMA", "") + "/llama-perplexity")
parser.add_argument("--nibble", default=str(ROOT / "target/release/nibble"))
parser.add_argument("models", nargs="*")
args = parser.parse_args()
NUMBER = r"(-?[\d.]+)"


def llama(*words, line):
    """Its output. On a busy machine it sometimes ends, without an error, before its last lines are written: then once more."""
    for _ in range(5):
        out = subprocess.run([args.llama, *words], check=True, capture_output=True, text=True)
        if line in out.stdout + out.stderr:
            break
    return out.stdout + out.stderr


def nibble(*words):
    return json.loads(subprocess.run([args.nibble, "eval", *words, "--json", "-q", "-f"], check=True, capture_output=True, text=True).stdout)


def theirs(text):
    def find(name):
        return float(re.search(name + r"\s*:\s*" + NUMBER, text)[1])
    return {"kl": find("Mean    KLD"), "median": find("Median  KLD"), "p99": find(r"99\.0%   KLD"), "ln": find(r"Mean ln\(PPL\(Q\)/PPL\(base\)\)"),
            "rms": find("RMS Δp    "), "same": find("Same top p")}


def ours(run):
    d = run["divergence"]
    at = dict(d["kl_percentiles"])
    return {"kl": d["kl"]["value"], "median": at["median"], "p99": at["99 %"], "ln": d["ln_ratio"]["value"],
            "rms": 100 * d["delta_p_rms"]["value"], "same": 100 * d["same_top"]["value"], "error": d.get("kl_base_error")}


print("| file | nibble | llama-perplexity | apart |\n|---|---|---|---|")
for model in [args.original, *args.models]:
    name = pathlib.Path(model).name
    own = nibble("perplexity", model, "--text", args.text, "--chunks", str(args.chunks), "-c", str(args.context))["perplexity"]["perplexity"]
    out = llama("-m", model, "-f", args.text, "--chunks", str(args.chunks), "-c", str(args.context), line="Final estimate")
    found = re.search(rf"Final estimate: PPL = {NUMBER} \+/- {NUMBER}", out)
    peer = float(found[1])
    print(f"| {name} | {own['value']:.4f} ± {own['error']:.5f} | {peer:.4f} ± {float(found[2]):.5f} | {own['value'] / peer - 1:+.4%} |", flush=True)

with tempfile.TemporaryDirectory() as folder:
    bases = {kind: f"{folder}/{kind}" for kind in ("llama-perplexity's", "nibble's", "compact")}
    cut = ["--chunks", str(args.chunks), "-c", str(args.context)]
    llama("-m", args.original, "-f", args.text, *cut, "--kl-divergence-base", bases["llama-perplexity's"], line="Final estimate")
    for kind, more in (("nibble's", []), ("compact", ["--compact"])):
        nibble("perplexity", args.original, "--text", args.text, *cut, "--save-base", bases[kind], *more)
    size = {kind: os.path.getsize(path) for kind, path in bases.items()}
    print(f"\nBases: " + ", ".join(f"{kind} {n} bytes" for kind, n in size.items())
          + f"; compact is {size['llama-perplexity' + chr(39) + 's'] / size['compact']:.1f} times smaller")
    print("\n| model | base | read by | mean KL | median | 99 % | ln PPL ratio | RMS delta p | same top |\n|---|---|---|---|---|---|---|---|---|")
    for model in args.models:
        for kind, path in bases.items():
            rows = [("nibble", ours(nibble("kl", model, "--base", path)))]
            if kind != "compact":
                rows.append(("llama-perplexity", theirs(llama("-m", model, "--kl-divergence", "--kl-divergence-base", path, "-c", str(args.context), line="Same top p:"))))
            for reader, f in rows:
                error = f" ± {2 * f['error']:.6f}" if f.get("error") else ""
                print(f"| {pathlib.Path(model).name} | {kind} | {reader} | {f['kl']:.6f}{error} | {f['median']:.6f} | {f['p99']:.6f} | {f['ln']:.6f} "
                      f"| {f['rms']:.3f} % | {f['same']:.3f} % |", flush=True)
