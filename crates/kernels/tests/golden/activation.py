"""Writes activation.bin: rows of floats with the activations that llama.cpp makes of them on x86.

    cargo xtask golden activation       (numpy; NIBBLE_PEERS_LLAMA holds libggml-base.so and libggml-cpu.so, called through ctypes)

Layout: five rows of 512 floats; then the same rows as Q8_0 (34-byte blocks), Q8_1 (36) and Q8_K (292). All little endian.
"""
import ctypes
import os
import pathlib

import numpy as np

for name in ["libggml-base.so", "libggml-cpu.so"]:
    library = ctypes.CDLL(str(pathlib.Path(os.environ["NIBBLE_PEERS_LLAMA"]) / name), mode=ctypes.RTLD_GLOBAL)


class Traits(ctypes.Structure):
    _fields_ = [("from_float", ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64))]


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
