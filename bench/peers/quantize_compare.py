"""Quantizes a checkpoint with nibble and with llama-quantize: wall time, processor time and peak resident memory of each.

    NIBBLE_PEERS_LLAMA=<llama.cpp's binaries> python quantize_compare.py DIR [--type Q4_K_M] [--threads 2] [--rounds 3] [--work FOLDER] [--binary PATH]

DIR is a Hugging Face directory, as `cargo xtask synth` writes it. The BF16 GGUF for llama-quantize is made from it by nibble. The runs
alternate, so that neither has the quieter machine. Resident memory counts the pages of mapped files too. `--binary` is the program, or the
example `quantize` of the crate nibble-compress.
"""

import argparse
import os
import pathlib
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]


def measure(words):
    begin = time.monotonic()
    child = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    wall = time.monotonic() - begin
    if status:
        sys.exit(f"{' '.join(words)}: status {status}")
    return wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("model")
    args.add_argument("--type", default="Q4_K_M")
    args.add_argument("--threads", type=int, default=2)
    args.add_argument("--rounds", type=int, default=3)
    args.add_argument("--work", default=None)
    args.add_argument("--binary", default=str(pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release/nibble"))
    args = args.parse_args()
    llama = str(pathlib.Path(os.environ["NIBBLE_PEERS_LLAMA"]) / "llama-quantize")
    program = pathlib.Path(args.binary).stem == "nibble"

    def ours(source, kind, out):
        if program:
            return [args.binary, "quantize", source, "-t", kind.lower(), "-o", out, "--force", "--threads", str(args.threads)]
        return [args.binary, source, kind, out, str(args.threads)]

    if args.work:
        os.makedirs(args.work, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=args.work) as folder:
        at = lambda name: os.path.join(folder, name)
        bf16 = at("bf16.gguf")
        print("to BF16 GGUF: %.1f s, %.1f s of processor, %.0f MiB" % measure(ours(args.model, "BF16", bf16)), flush=True)
        runs = {
            "nibble from the directory": ours(args.model, args.type, at("a.gguf")),
            "nibble from the BF16 GGUF": ours(bf16, args.type, at("b.gguf")),
            "llama-quantize from the BF16 GGUF": [llama, bf16, at("c.gguf"), args.type, str(args.threads)],
        }
        best = {}
        for n in range(args.rounds):
            for name, words in runs.items():
                result = measure(words)
                print(f"round {n + 1}, {name}: %.1f s, %.1f s of processor, %.0f MiB" % result, flush=True)
                best[name] = [min(a, b) for a, b in zip(best.get(name, result), result[:2])] + [max(best.get(name, result)[2], result[2])]
        print(f"best of {args.rounds}, peak of all:")
        for name, (wall, cpu, rss) in best.items():
            print(f"  {name}: {wall:.1f} s, {cpu:.1f} s of processor, {rss:.0f} MiB")
        print("sizes:", [os.path.getsize(at(f"{x}.gguf")) for x in "abc"])


if __name__ == "__main__":
    main()
