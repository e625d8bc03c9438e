"""How far quantized models are from the original, by method: nibble's beside llama-quantize's, with the importance of the same text.

    . <what bench/peers/setup printed>
    CARGO_PROFILE_RELEASE_LTO=false cargo build --release -p nibble-compress --example methods
    python bench/peers/methods.py MODEL TEXT... [--type Q4_K_M] [--chunks 40] [--work FOLDER] [--no-nf4] [--no-gptq] [--more NAME:key=value,key=value ...]

MODEL: a Hugging Face directory. TEXTs: held-out ones; none may be part of the calibration text, which is the one that ships with nibble. For each text a table:
mean KL divergence from MODEL over the second halves of chunks of 512 tokens, the ratio to llama-quantize with importance (to bitsandbytes for NF4) and its 95 % interval by
bootstrap over chunks, paired. --more adds runs of gptq with other constants, or of another method with method=NAME first (see the head of crates/compress/examples/methods.rs).
llama.cpp's files are evaluated by nibble, as nibble's are.
"""

import argparse
import os
import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
TEXT = ROOT / "crates/compress/src/calibrate/text.txt"


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("model")
    args.add_argument("texts", nargs="+")
    args.add_argument("--type", default="Q4_K_M")
    args.add_argument("--chunks", default="40")
    args.add_argument("--work")
    args.add_argument("--more", nargs="*", default=[])
    args.add_argument("--no-nf4", action="store_true")
    args.add_argument("--no-gptq", action="store_true")
    args.add_argument("--binary", default=str(pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release/examples/methods"))
    args = args.parse_args()
    llama = pathlib.Path(os.environ["NIBBLE_PEERS_LLAMA"])

    def ours(*words):
        return run([args.binary, *words])

    def run(words):
        done = subprocess.run([str(w) for w in words], capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"{' '.join(map(str, words))}:\n{done.stdout[-1000:]}{done.stderr[-2000:]}")
        return done.stdout.strip()

    with tempfile.TemporaryDirectory(dir=args.work) as folder:
        at = lambda name: os.path.join(folder, name)
        ours("quantize", args.model, "bf16", "rtn", at("bf16.gguf"))
        run([llama / "llama-imatrix", "-m", at("bf16.gguf"), "-f", TEXT, "-o", at("stats.gguf"), "--no-ppl", "-b", "512", "-t", "2"])
        made = []  # (file, what, seconds)
        kind = args.type.lower()

        def add(file, what, words):
            made.append((at(file), what, ours("quantize", args.model, *words[:2], at(file), *words[2:]).splitlines()[-1]))

        for file, what, options in (("l-imatrix.gguf", "llama-quantize --imatrix", ["--imatrix", at("stats.gguf")]), ("l.gguf", "llama-quantize", [])):
            run([llama / "llama-quantize", *options, at("bf16.gguf"), at(file), args.type, "2"])
            made.append((at(file), what, ""))
        add("rtn.gguf", "nibble rtn", [kind, "rtn"])
        add("imatrix.gguf", "nibble imatrix, the same file", [kind, "imatrix", "imatrix=" + at("stats.gguf")])
        for more in args.more:
            name, _, options = more.partition(":")
            words = [o.replace("+", ",") for o in options.split(",")]
            method = words.pop(0).removeprefix("method=") if words[0].startswith("method=") else "gptq"
            add(f"m-{name}.gguf", ", ".join([f"nibble {method}", *words]), [kind, method, *words])
        if not args.no_gptq:
            add("gptq.gguf", "nibble gptq", [kind, "gptq"])
            add("best.gguf", "nibble best", [kind, "best"])
        nf4 = []
        if not args.no_nf4:
            for method, what in (("rtn", "NF4, bitsandbytes' own codes"), ("gptq", "NF4, nibble gptq")):
                nf4.append((at(f"nf4-{method}"), what, ours("quantize", args.model, "nf4", method, at(f"nf4-{method}"))))
        print(f"{args.model}, {args.type}: " + ", ".join(f"{w} {os.path.getsize(f):,} bytes" for f, w, _ in made[:1] + made[-2:]))
        for text in args.texts:
            ppl = [perplexity(llama, f, text, args.chunks) for f in (at("bf16.gguf"), made[0][0], made[-1][0])]
            print(f"\nllama-perplexity: BF16 {ppl[0]}, {made[0][1]} {ppl[1]}, {made[-1][1]} {ppl[2]}")
            print(f"\n{pathlib.Path(text).name}, {args.chunks} chunks at most\n\n| what | mean KL | same top | ratio | 95 % | time to make |\n|---|---|---|---|---|---|")
            for group in (made, nf4):
                if not group:
                    continue
                lines = ours("kl", args.model, text, args.chunks, *(f for f, _, _ in group)).splitlines()
                for line, (_, what, seconds) in zip(lines, group):
                    parts = line.split("\t") + ["ratio 1 [1, 1]"]
                    ratio, _, interval = parts[3].removeprefix("ratio ").partition(" ")
                    print(f"| {what} | {parts[1]} | {parts[2].removeprefix('same top ')} | {ratio} | {interval.strip('[]')} | {seconds} |", flush=True)


def perplexity(llama, file, text, chunks):
    """llama.cpp must read the file and compute with it: its own perplexity of the text."""
    words = [llama / "llama-perplexity", "-m", file, "-f", text, "-c", "512", "--chunks", chunks, "-t", "2"]
    done = subprocess.run([str(w) for w in words], capture_output=True, text=True)
    found = re.search(r"Final estimate: PPL = ([0-9.]+)", done.stdout + done.stderr)
    if done.returncode or not found:
        sys.exit(f"llama.cpp does not read {file}:\n{done.stderr[-2000:]}")
    return found[1]


if __name__ == "__main__":
    main()
