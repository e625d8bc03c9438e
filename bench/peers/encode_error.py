"""The error of our encoders beside that of llama.cpp's own quantizer, without calibration data, on every 2-D tensor of the given checkpoints.

    cargo build --release -p nibble-kernels --example encode
    NIBBLE_PEERS_LLAMA=<folder of libggml-base.so> <python> bench/peers/encode_error.py [--record] [--types Q4_K,...] FILE.safetensors...

One thread each. A tensor is read as rows of 256, so that the K-quants take those whose own rows are not
multiples of 256 too: blocks never look at their neighbours. Both outputs are decoded by gguf-py.

Plain: the root mean square error. Weighted: with the weights of the squared error that llama.cpp's quantizer minimises for the type without an importance
matrix (ggml-quants.c): |x| for Q2_K, x^2 for Q3_K, Q6_K, IQ4_NL and IQ4_XS, rms of the 32 elements + |x| for Q4_K and Q5_K, and 1 for the rest. Its Q2_K
minimises the absolute error under that weight: "Q2_K abs" is that figure.
"""

import argparse
import ctypes
import datetime
import json
import os
import pathlib
import struct
import subprocess
import sys
import tempfile
import time

import gguf
import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]
TYPES = ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL", "IQ4_XS", "MXFP4"]
# Weights that are timed at once, as in the example: the best of several runs of each piece, since the machine may have other work.
PIECE = 65_536


def tensors(path):
    """(name, float32 array) of every 2-D tensor of a safetensors file."""
    data = pathlib.Path(path).read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    for name, info in json.loads(data[8 : 8 + length]).items():
        if name == "__metadata__" or len(info["shape"]) != 2:
            continue
        start, end = (8 + length + at for at in info["data_offsets"])
        if info["dtype"] == "F32":
            x = np.frombuffer(data[start:end], np.float32)
        elif info["dtype"] == "BF16":
            x = (np.frombuffer(data[start:end], np.uint16).astype(np.uint32) << 16).view(np.float32)
        else:
            sys.exit(f"{name}: {info['dtype']} is not read here")
        if x.size % 256 == 0:
            yield f"{pathlib.Path(path).parent.name}:{name}", x
        else:
            print(f"skipped {name}: {x.size} elements are not a multiple of 256", file=sys.stderr)


def weights(kind, x):
    """The weight of each squared error, float64."""
    x = x.astype(np.float64)
    if kind == "Q2_K":
        return np.abs(x)
    if kind in ("Q4_K", "Q5_K"):
        return np.sqrt((x.reshape(-1, 32) ** 2).mean(1)).repeat(32) + np.abs(x)
    if kind in ("Q3_K", "Q6_K", "IQ4_NL", "IQ4_XS"):
        return x * x
    return np.ones_like(x)


def figures(kind, x, y):
    """Plain and weighted root mean square error; for Q2_K also the mean weighted absolute one."""
    w, d = weights(kind, x), x.astype(np.float64) - y
    out = [np.sqrt((d * d).mean()), np.sqrt((w * d * d).sum() / w.sum())]
    return out + [(w * np.abs(d)).sum() / w.sum()] if kind == "Q2_K" else out


def cpu():
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":")[1].strip()
    return "unknown"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("files", nargs="+")
    parser.add_argument("--types", default=",".join(TYPES))
    parser.add_argument("--scale", type=float, default=1.0, help="multiplies every weight: small ones have subnormal f16 scales")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--record", action="store_true", help="write bench/record/DATE-encode-error.md")
    parser.add_argument("--encoder", default=None, help="the example binary")
    args = parser.parse_args()
    kinds = args.types.split(",")
    folder = os.environ.get("NIBBLE_PEERS_LLAMA")
    if folder is None:
        sys.exit("set NIBBLE_PEERS_LLAMA to the folder of libggml-base.so")
    ggml = ctypes.CDLL(str(pathlib.Path(folder) / "libggml-base.so"))
    ggml.ggml_quantize_chunk.restype = ctypes.c_size_t
    ggml.ggml_quantize_chunk.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p] + 3 * [ctypes.c_int64] + [ctypes.c_void_p]
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    encoder = args.encoder or target / "release/examples/encode"

    named = [pair for path in args.files for pair in tensors(path)]
    named = [(name, x * np.float32(args.scale)) for name, x in named]
    x = np.concatenate([x for _, x in named])
    bounds = np.cumsum([0] + [x.size for _, x in named])
    lines = []
    bad = []
    with tempfile.TemporaryDirectory() as temp:
        x.tofile(f"{temp}/x")
        command = [str(encoder), str(args.runs), f"{temp}/x"] + [part for kind in kinds for part in (kind, f"{temp}/{kind}")]
        ours_ns = dict(line.split() for line in subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines())
        for kind in kinds:
            quantization = gguf.GGMLQuantizationType[kind]
            block, size = gguf.GGML_QUANT_SIZES[quantization]
            theirs = np.zeros(x.size // block * size, np.uint8)
            seconds = 0.0
            for at in range(0, x.size, PIECE):
                part, out = x[at : at + PIECE], theirs[at // block * size :]
                best = float("inf")
                for _ in range(args.runs if args.record else 1):
                    start = time.perf_counter()
                    ggml.ggml_quantize_chunk(quantization, part.ctypes.data, out.ctypes.data, 0, part.size // 256, 256, None)
                    best = min(best, time.perf_counter() - start)
                seconds += best
            theirs_ns = seconds / x.size * 1e9
            ours = gguf.quants.dequantize(np.fromfile(f"{temp}/{kind}", np.uint8), quantization)
            theirs = gguf.quants.dequantize(theirs, quantization)
            of_all = [figures(kind, x, y) for y in (ours, theirs)]
            # (ratio, tensor) of the worst tensor, for each figure.
            worst = [(0.0, "")] * len(of_all[0])
            for (name, part), start, end in zip(named, bounds, bounds[1:]):
                pairs = zip(figures(kind, part, ours[start:end]), figures(kind, part, theirs[start:end]))
                for i, (a, b) in enumerate(pairs):
                    worst[i] = max(worst[i], (a / b, name))
            for i, label in enumerate(["plain", "weighted", "abs"][: len(worst)]):
                a, b = of_all[0][i], of_all[1][i]
                ratio, name = worst[i]
                times = f"{float(ours_ns[kind]):.1f} | {theirs_ns:.1f}" if i == 0 else " | "
                lines.append(f"| {kind} {label} | {a:.4e} | {b:.4e} | {a / b:.4f} | {ratio:.4f} | {name} | {times} |")
                if ratio > 1.0:
                    bad.append(f"{kind} {label}: {ratio:.4f} on {name}")
                print(lines[-1], flush=True)
    verdict = "Every type is at or below 1.000 on every tensor." if not bad else "Above 1.000: " + "; ".join(bad) + "."
    print(verdict)
    if args.record:
        date = datetime.date.today().isoformat()
        ids = " ".join("/".join(pathlib.Path(path).parts[-2:]) for path in args.files)
        text = [
            "# Error and speed of encoding, beside llama.cpp's quantizer",
            "",
            f"{date}. CPU: {cpu()}. {len(named)} tensors, {x.size} weights: {ids}. One thread; best of {args.runs} runs of each 65,536 weights.",
            f"Command: `bench/peers/encode_error.py --record {ids}`.",
            "",
            "Errors are root mean squares over all tensors (plain, and with the weights that llama.cpp's quantizer minimises; see the script). The worst tensor is",
            "the one with the largest ratio of ours to theirs.",
            "",
            "| type, error | ours | llama.cpp | ratio | ratio of the worst tensor | worst tensor | ours, ns a weight | llama.cpp, ns a weight |",
            "|---|---|---|---|---|---|---|---|",
            *lines,
            "",
            verdict,
        ]
        (ROOT / f"bench/record/{date}-encode-error.md").write_text("\n".join(text) + "\n")


if __name__ == "__main__":
    main()
