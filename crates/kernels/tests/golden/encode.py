"""Writes encode.bin: weights of models/tiny, the errors that llama.cpp's quantizer makes on them, and what bitsandbytes' NF4 makes of hard numbers.

    cargo xtask golden encode       (gguf 0.19, bitsandbytes, torch on the CPU; NIBBLE_PEERS_LLAMA holds libggml-base.so, called through ctypes)

Layout, all little endian: u32 n, n weights as bf16; u32 types; a record a type: u8 length and name, f64 sum of squared errors, f64 weighted sum of squared
errors (the weights of bench/peers/encode_error.py); u32 blocks, then a block: 64 f32, f32 absmax, 32 packed bytes.
"""
import ctypes
import os
import pathlib
import struct
import sys
import warnings

import bitsandbytes.functional as bnb
import gguf
import numpy as np
import torch

warnings.simplefilter("ignore")
HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[3]
sys.path.insert(0, str(ROOT / "bench/peers"))
import encode_error  # noqa: E402

ggml = ctypes.CDLL(str(pathlib.Path(os.environ["NIBBLE_PEERS_LLAMA"]) / "libggml-base.so"))
ggml.ggml_quantize_chunk.restype = ctypes.c_size_t
ggml.ggml_quantize_chunk.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p] + 3 * [ctypes.c_int64] + [ctypes.c_void_p]

# One super-block out of each of the tensors of five layers and the embedding, so that every kind of tensor is there.
x = [x[256 * 40 : 256 * 41] for name, x in encode_error.tensors(ROOT / "models/tiny/model.safetensors") if "layers.5" not in name]
x = np.ascontiguousarray(np.concatenate(x))
out = struct.pack("<I", x.size) + (x.view(np.uint32) >> 16).astype(np.uint16).tobytes() + struct.pack("<I", len(encode_error.TYPES))
for name in encode_error.TYPES:
    kind = gguf.GGMLQuantizationType[name]
    length, size = gguf.GGML_QUANT_SIZES[kind]
    blocks = np.zeros(x.size // length * size, np.uint8)
    ggml.ggml_quantize_chunk(kind, x.ctypes.data, blocks.ctypes.data, 0, x.size // 256, 256, None)
    d = gguf.quants.dequantize(blocks, kind).astype(np.float64) - x
    out += struct.pack("<B", len(name)) + name.encode() + struct.pack("<dd", (d * d).sum(), (encode_error.weights(name, x) * d * d).sum())

# NF4: weights, then multiples of the codes and of their midpoints, one float above and below: where a wrong comparison or one rounding more shows.
rng = np.random.default_rng(20261124)
code = np.array(bnb.get_4bit_type("nf4", device="cpu"), dtype=np.float32)
edges = np.concatenate([code, (code[1:] + code[:-1]) / 2])
blocks = [x[:256].reshape(-1, 64), rng.standard_normal((4, 64)).astype(np.float32)]
for absmax in [1.0, 0.0371, 3e-7, 1234.5]:
    block = np.concatenate([edges, np.nextafter(edges[16:], np.float32(2)), np.nextafter(edges[16:], np.float32(-2)), [1, -1, 0]]).astype(np.float32)
    blocks.append((block[:64] * np.float32(absmax)).reshape(1, 64))
blocks += [np.zeros((1, 64), np.float32), np.full((1, 64), 1e-40, np.float32)]
blocks = np.concatenate(blocks).astype(np.float32)
packed, state = bnb.quantize_4bit(torch.tensor(blocks), blocksize=64, quant_type="nf4", compress_statistics=False)
packed, absmax = packed.numpy().reshape(-1, 32), state.absmax.numpy().astype(np.float32)
out += struct.pack("<I", len(blocks))
for block, a, p in zip(blocks, absmax, packed):
    out += block.tobytes() + a.tobytes() + p.tobytes()

path = HERE / "encode.bin"
path.write_bytes(out)
print(f"{path}: {len(out)} bytes")
