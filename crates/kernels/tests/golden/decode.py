"""Writes decode.bin: blocks of every format with the values that an independent implementation decodes from them.

    NIBBLE_PEERS_PYTHON tests/golden/decode.py        (gguf 0.19, bitsandbytes, torch on the CPU)

GGUF formats by gguf-py's `dequantize`, NF4 by bitsandbytes' `dequantize_4bit`. The codes are random; the scales are random for one block and then
walk through the halves that catch bugs: the smallest subnormal, the largest finite one of either sign, both zeros.
Layout, a record a format: u8 length and name, u32 bytes, the blocks, u32 elements, the values as f32. All little endian.
"""
import pathlib
import struct
import warnings

import bitsandbytes.functional as bnb
import gguf
import numpy as np
import torch

warnings.simplefilter("ignore")
rng = np.random.default_rng(20261124)
HALVES = [0x2E66, 0xA99A, 0x0001, 0x8003, 0x03FF, 0x7BFF, 0xFBFF, 0x0000, 0x8000]
# Where a block keeps its halves.
SCALES = {
    "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0], "Q2_K": [80, 82], "Q3_K": [108], "Q4_K": [0, 2], "Q5_K": [0, 2],
    "Q6_K": [208], "IQ4_NL": [0], "IQ4_XS": [0], "MXFP4": [], "F32": [], "F16": [], "BF16": [],
}


def finite_floats(kind, n):
    """Random bit patterns that are numbers."""
    x = rng.integers(0, 256, n * kind.itemsize * 2, dtype=np.uint8).view(kind if kind.itemsize == 4 else np.uint16)
    wide = {2: lambda v: v.view(np.float16).astype(np.float32), 4: lambda v: v.view(np.float32)}[kind.itemsize](x)
    return x[np.isfinite(wide)][:n].view(np.uint8)


def record(name, blocks, values):
    blocks, values = blocks.tobytes(), np.ascontiguousarray(values, dtype=np.float32).tobytes()
    return struct.pack("<B", len(name)) + name.encode() + struct.pack("<I", len(blocks)) + blocks + struct.pack("<I", len(values) // 4) + values


out = b""
for name, at in SCALES.items():
    kind = gguf.GGMLQuantizationType[name]
    length, size = gguf.GGML_QUANT_SIZES[kind]
    if name == "F32":
        blocks = finite_floats(np.dtype(np.float32), 64)
    elif name == "F16":
        blocks = np.concatenate([np.array(HALVES, dtype=np.uint16).view(np.uint8), finite_floats(np.dtype(np.float16), 64)])
    elif name == "BF16":
        x = rng.integers(0, 1 << 16, 96, dtype=np.uint16)
        blocks = x[(x & 0x7F80) != 0x7F80][:64].view(np.uint8)
    else:
        count = len(HALVES) if at else 8
        blocks = rng.integers(0, 256, (count, size), dtype=np.uint8)
        for i in range(count):
            for j, o in enumerate(at):
                blocks[i, o : o + 2] = np.array([HALVES[(i + 3 * j) % len(HALVES)]], dtype=np.uint16).view(np.uint8)
        if name == "MXFP4":
            blocks[:, 0] = [0, 1, 2, 100, 127, 128, 140, 254]
        blocks = blocks.reshape(-1)
    values = gguf.quants.dequantize(blocks if kind.value > 1 else blocks.view(np.float32 if name == "F32" else np.float16), kind)
    out += record(name, blocks, values.reshape(-1))

absmax = np.array([0.037, 1.0, 1e-38, 3e38, 0.0, 1e-42], dtype=np.float32)
packed = rng.integers(0, 256, (len(absmax), 32), dtype=np.uint8)
state = bnb.QuantState(
    absmax=torch.tensor(absmax), shape=torch.Size([len(absmax), 64]), code=bnb.get_4bit_type("nf4", device="cpu"), blocksize=64, quant_type="nf4",
    dtype=torch.float32,
)
values = bnb.dequantize_4bit(torch.tensor(packed.reshape(-1, 1)), state).numpy().reshape(-1)
blocks = np.concatenate([absmax.view(np.uint8).reshape(-1, 4), packed], axis=1)
out += record("NF4", blocks, values)

path = pathlib.Path(__file__).with_name("decode.bin")
path.write_bytes(out)
print(f"{path}: {len(out)} bytes")
