"""Golden tensor-type maps, made by llama-quantize itself.

For each shape it writes a sparse GGUF of the exact tensor names and sizes (no data), runs `llama-quantize --dry-run` for every
recipe and writes the chosen types to recipes.json; under "weighted" those that are others when there is an importance matrix.

    NIBBLE_PEERS_LLAMA=<folder of llama.cpp's binaries> python recipes.py [--out recipes.json]

needs gguf (gguf-py). The functions are used by bench/peers/plan_check.py too.
"""

import argparse
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

import gguf

RECIPES = ("F32 F16 BF16 Q2_K Q3_K_S Q3_K_M Q3_K_L Q4_0 Q4_1 Q4_K_S Q4_K_M Q5_0 Q5_1 Q5_K_S Q5_K_M Q6_K Q8_0 IQ4_NL IQ4_XS").split()

# One letter a format, so that a map of 560 tensors is a short text.
LETTERS = {
    "f32": "F", "f16": "H", "bf16": "B", "q4_0": "a", "q4_1": "b", "q5_0": "c", "q5_1": "d", "q8_0": "8",
    "q2_K": "2", "q3_K": "3", "q4_K": "4", "q5_K": "5", "q6_K": "6", "iq4_nl": "n", "iq4_xs": "x",
}


def shape(layers, hidden, ffn, heads, kv_heads, head_dim, vocab, tied):
    return dict(layers=layers, hidden=hidden, ffn=ffn, heads=heads, kv_heads=kv_heads, head_dim=head_dim, vocab=vocab, tied=tied)


SHAPES = {
    "llama-3.2-1b": shape(16, 2048, 8192, 32, 8, 64, 128256, True),
    "llama-3.2-3b": shape(28, 3072, 8192, 24, 8, 128, 128256, True),
    "llama-3.1-8b": shape(32, 4096, 14336, 32, 8, 128, 128256, False),
    "llama-3-70b": shape(80, 8192, 28672, 64, 8, 128, 128256, False),
    "llama-65b": shape(80, 8192, 22016, 64, 64, 128, 32000, False),
    "llama-2-7b": shape(32, 4096, 11008, 32, 32, 128, 32000, False),
    "llama-2-13b": shape(40, 5120, 13824, 40, 40, 128, 32000, False),
    "tinyllama": shape(22, 2048, 5632, 32, 4, 64, 32000, False),
    "mistral-7b": shape(32, 4096, 14336, 32, 8, 128, 32768, False),
    "smollm2-135m": shape(30, 576, 1536, 9, 3, 64, 49152, True),
    "smollm2-360m": shape(32, 960, 2560, 15, 5, 64, 49152, True),
    "smollm2-1.7b": shape(24, 2048, 8192, 32, 32, 64, 49152, True),
    "nibble-tiny": shape(6, 256, 768, 4, 2, 64, 4096, True),
    "tinystories-656k": shape(2, 128, 384, 8, 4, 16, 2048, True),
    "tiny1m": shape(4, 128, 352, 2, 2, 64, 512, False),
    "gqa-2": shape(9, 512, 1120, 8, 4, 64, 1000, True),
    "gqa-8": shape(11, 512, 1536, 8, 1, 64, 1000, False),
    "odd-tied": shape(5, 200, 500, 5, 5, 40, 1000, True),
    "odd-untied": shape(17, 200, 512, 5, 1, 40, 1000, False),
    "mixed-rows": shape(16, 480, 1000, 10, 5, 48, 1000, False),
    "one-layer": shape(1, 256, 512, 4, 4, 64, 300, True),
    "two-layer": shape(2, 256, 512, 4, 1, 64, 300, False),
}

LAYER_WEIGHTS = ["attn_k", "attn_output", "attn_q", "attn_v", "ffn_down", "ffn_gate", "ffn_up"]


def tensors(s):
    """(name, [outermost, .., row length]) of every tensor of the shape."""
    h, q, kv = s["hidden"], s["heads"] * s["head_dim"], s["kv_heads"] * s["head_dim"]
    out = [("token_embd.weight", [s["vocab"], h]), ("output_norm.weight", [h])]
    if not s["tied"]:
        out.append(("output.weight", [s["vocab"], h]))
    for i in range(s["layers"]):
        p = f"blk.{i}."
        out += [(p + "attn_norm.weight", [h]), (p + "ffn_norm.weight", [h]), (p + "attn_q.weight", [q, h]),
                (p + "attn_k.weight", [kv, h]), (p + "attn_v.weight", [kv, h]), (p + "attn_output.weight", [h, q]),
                (p + "ffn_gate.weight", [s["ffn"], h]), (p + "ffn_up.weight", [s["ffn"], h]), (p + "ffn_down.weight", [h, s["ffn"]])]
    return out


def write_fake(path, s):
    """A GGUF with the header of the shape in BF16 (1-D in F32) and a hole where the data would be."""
    import numpy as np
    w = gguf.GGUFWriter(path, "llama")
    w.add_block_count(s["layers"])
    w.add_context_length(2048)
    w.add_embedding_length(s["hidden"])
    w.add_feed_forward_length(s["ffn"])
    w.add_head_count(s["heads"])
    w.add_head_count_kv(s["kv_heads"])
    w.add_key_length(s["head_dim"])
    w.add_value_length(s["head_dim"])
    w.add_rope_dimension_count(s["head_dim"])
    w.add_layer_norm_rms_eps(1e-5)
    w.add_vocab_size(s["vocab"])
    w.add_file_type(32)
    size = 0
    for name, dims in tensors(s):
        n = 1
        for d in dims:
            n *= d
        one = len(dims) == 1
        nbytes = n * (4 if one else 2)
        kind = gguf.GGMLQuantizationType.F32 if one else gguf.GGMLQuantizationType.BF16
        w.add_tensor_info(name, dims, np.dtype(np.float32) if one else np.dtype(np.float16), nbytes, raw_dtype=kind)
        size += gguf.GGUFWriter.ggml_pad(nbytes, 32)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_ti_data_to_file()
    w.fout[0].flush()
    end = gguf.GGUFWriter.ggml_pad(os.path.getsize(path), 32)
    w.close()
    os.truncate(path, end + size)


LINE = re.compile(r"^\[ *\d+/ *\d+\] (\S+) +- \[.*\], type = +(\S+), size =.*?(?:\((\S+)\))?$")


def write_imatrix(path):
    """An importance matrix of one entry: the choice of types asks only whether there is one."""
    import numpy as np
    w = gguf.GGUFWriter(path, "none")
    w.add_type("imatrix")
    w.add_array("imatrix.datasets", ["none"])
    w.add_uint32("imatrix.chunk_count", 1)
    w.add_uint32("imatrix.chunk_size", 512)
    w.add_tensor("blk.0.none.weight.in_sum2", np.ones((1, 32), np.float32))
    w.add_tensor("blk.0.none.weight.counts", np.ones((1, 1), np.float32))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def dry_run(binary, path, recipe, *options):
    """{tensor: ggml type} and the size line, as llama-quantize prints them."""
    done = subprocess.run([binary, "--dry-run", *options, path, recipe], capture_output=True, text=True)
    text = done.stdout + done.stderr
    if done.returncode:
        sys.exit(f"llama-quantize failed on {path} {recipe}:\n{text[-2000:]}")
    types = {}
    pending = ""
    for line in text.splitlines():
        # A fallback's warning is printed before the line of its tensor or in another line: only lines of the list count.
        m = LINE.match(line.strip())
        if m:
            types[m.group(1)] = m.group(3) or m.group(2)
    size = re.search(r"quant size += +([0-9.]+) MiB", text)
    return types, size.group(1)


def encode(s, types):
    """The map as text: the heads, then the layers' seven weights, equal neighbours counted: `o6 e4 4446444*2 ..`."""
    parts = []
    if not s["tied"]:
        parts.append("o" + LETTERS[types["output.weight"]])
    parts.append("e" + LETTERS[types["token_embd.weight"]])
    last, count = None, 0
    for i in range(s["layers"] + 1):
        code = "".join(LETTERS[types[f"blk.{i}.{w}.weight"]] for w in LAYER_WEIGHTS) if i < s["layers"] else None
        if code == last:
            count += 1
            continue
        if last is not None:
            parts.append(last if count == 1 else f"{last}*{count}")
        last, count = code, 1
    for name, dims in tensors(s):
        assert len(dims) > 1 or types[name] == "f32", name
    return " ".join(parts)


def binary():
    folder = os.environ.get("NIBBLE_PEERS_LLAMA")
    if not folder:
        sys.exit("set NIBBLE_PEERS_LLAMA to the folder of llama.cpp's binaries")
    return str(pathlib.Path(folder) / "llama-quantize")


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--out", default=str(pathlib.Path(__file__).with_name("recipes.json")))
    args = args.parse_args()
    quantize = binary()
    maps, weighted = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        imatrix = os.path.join(folder, "imatrix.gguf")
        write_imatrix(imatrix)
        for name, s in SHAPES.items():
            path = os.path.join(folder, "fake.gguf")
            write_fake(path, s)
            maps[name] = {}
            for recipe in RECIPES:
                types, size = dry_run(quantize, path, recipe)
                maps[name][recipe] = [encode(s, types), size]
                types, size = dry_run(quantize, path, recipe, "--imatrix", imatrix)
                if [encode(s, types), size] != maps[name][recipe]:
                    weighted.setdefault(name, {})[recipe] = [encode(s, types), size]
            os.remove(path)
    with open(args.out, "w") as f:
        f.write('{"letters": ' + json.dumps({v: k.upper() for k, v in LETTERS.items()}) + ',\n"shapes": {\n')
        f.write(",\n".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in SHAPES.items()))
        for title, table in (("maps", maps), ("weighted", weighted)):
            f.write(f'\n}},\n"{title}": {{\n')
            f.write(",\n".join(f"{json.dumps(k)}: {{\n" + ",\n".join(f" {json.dumps(r)}: {json.dumps(m)}" for r, m in v.items()) + "}" for k, v in table.items()))
        f.write("\n}}\n")


if __name__ == "__main__":
    main()
