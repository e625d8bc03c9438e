"""Writes activation.bin: rows of floats with the activations that llama.cpp makes of them on x86.

    cargo xtask golden activation       (numpy; NIBBLE_PEERS_LLAMA holds libggml-base.so and libggml-cpu.so, called through ctypes)

Layout: five rows of 512 floats; then the same rows as Q8_0 (34-byte blocks), Q8_1 (36) and Q8_K (292). All little endian.

And product.bin: random weights of each format, and what llama.cpp makes of their product with the first row. A record a format: u8 length and name,
the blocks of 512 weights, one f32.
"""
import ctypes
import os
import pathlib

import numpy as np

for name in ["libggml-base.so", "libggml-cpu.so"]:
    library = ctypes.CDLL(str(pathlib.Path(os.environ["NIBBLE_PEERS_LLAMA"]) / name), mode=ctypes.RTLD_GLOBAL)


class Traits(ctypes.Structure):
    _fields_ = [
        ("from_float", ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)),
        # n, result, stride, weights, stride, activations, stride, rows
        ("vec_dot", ctypes.CFUNCTYPE(None, ctypes.c_int, *[ctypes.c_void_p, ctypes.c_size_t] * 3, ctypes.c_int)),
        ("vec_dot_type", ctypes.c_int),
        ("nrows", ctypes.c_int64),
    ]


library.ggml_get_type_traits_cpu.restype = ctypes.POINTER(Traits)
library.ggml_cpu_init()

rng = np.random.default_rng(20261125)
n = 512
rows = np.stack([
    rng.standard_normal(n),
    rng.standard_normal(n) ** 5 * 1e-3,  # few large, many near zero
    np.where(np.arange(n) < 256, 0.0, rng.integers(-254, 255, n) / 2.0),  # a zero block, then ties
    rng.standard_normal(n) * 1e-7,  # the scale is a subnormal half
    np.tile([-3.0, 3.0, 1.5, -1.5], n // 4),  # the largest magnitude with both signs
]).astype(np.float32)
out = rows.tobytes()
for kind, length, size in [(8, 32, 34), (9, 32, 36), (15, 256, 292)]:
    for row in rows:
        row = np.ascontiguousarray(row)
        buffer = np.zeros(n // length * size, dtype=np.uint8)
        library.ggml_get_type_traits_cpu(kind).contents.from_float(row.ctypes.data, buffer.ctypes.data, n)
        out += buffer.tobytes()
path = pathlib.Path(__file__).with_name("activation.bin")
path.write_bytes(out)
print(f"{path}: {len(out)} bytes")

# Name, type number, bytes of a block, elements of a block, where its halves are; activations: type number and bytes of 512.
PRODUCTS = [
    ("Q4_0", 2, 18, 32, [0]), ("Q4_1", 3, 20, 32, [0, 2]), ("Q5_0", 6, 22, 32, [0]), ("Q5_1", 7, 24, 32, [0, 2]), ("Q8_0", 8, 34, 32, [0]),
    ("Q2_K", 10, 84, 256, [80, 82]), ("Q3_K", 11, 110, 256, [108]), ("Q4_K", 12, 144, 256, [0, 2]), ("Q5_K", 13, 176, 256, [0, 2]),
    ("Q6_K", 14, 210, 256, [208]), ("IQ4_NL", 20, 18, 32, [0]), ("IQ4_XS", 23, 136, 256, [0]), ("MXFP4", 39, 17, 32, []),
]
ROW_BYTES = {8: 16 * 34, 9: 16 * 36, 15: 2 * 292}
out = b""
for name, kind, size, length, halves in PRODUCTS:
    blocks = rng.integers(0, 256, (n // length, size), dtype=np.uint8)
    for at in halves:
        scales = (rng.standard_normal(len(blocks)) * 0.01).astype(np.float16)
        blocks[:, at : at + 2] = scales.view(np.uint8).reshape(-1, 2)
    if name == "MXFP4":
        blocks[:, 0] = rng.integers(118, 126, len(blocks))
    traits = library.ggml_get_type_traits_cpu(kind).contents
    row = np.ascontiguousarray(rows[0])
    act = np.zeros(ROW_BYTES[traits.vec_dot_type], dtype=np.uint8)
    library.ggml_get_type_traits_cpu(traits.vec_dot_type).contents.from_float(row.ctypes.data, act.ctypes.data, n)
    result = np.zeros(1, dtype=np.float32)
    weights = np.ascontiguousarray(blocks.reshape(-1))
    traits.vec_dot(n, result.ctypes.data, 0, weights.ctypes.data, 0, act.ctypes.data, 0, 1)
    out += bytes([len(name)]) + name.encode() + weights.tobytes() + result.tobytes()
path = pathlib.Path(__file__).with_name("product.bin")
path.write_bytes(out)
print(f"{path}: {len(out)} bytes")
