#!/usr/bin/env python3
"""Tensors quantized by bitsandbytes on the CPU, and what it dequantizes them to.

    python nf4.py      # writes nf4.safetensors and nf4.json beside it

Three feed-forward matrices of a model of width 64: nested scales in bfloat16 (more than 256 blocks, so two nested scales), plain ones in float16, and
plain ones in float32 whose rows are not whole blocks. The values are kept as the FNV-1a hash of their float32 bytes and the first eight.
"""
import json
import pathlib

import bitsandbytes.functional as F
import torch
from safetensors.torch import save_file

HERE = pathlib.Path(__file__).resolve().parent
torch.manual_seed(1)
tensors, expected = {}, {}
for name, shape, dtype, nested in [("up", (264, 64), torch.bfloat16, True), ("gate", (264, 64), torch.float16, False),
                                   ("down", (64, 264), torch.float32, False)]:
    key = f"model.layers.0.mlp.{name}_proj.weight"
    weight = (torch.randn(shape) * torch.rand(shape[0], 1) * 0.1).to(dtype)
    codes, state = F.quantize_4bit(weight, blocksize=64, quant_type="nf4", compress_statistics=nested)
    tensors[key] = codes
    for part, value in state.as_dict(packed=True).items():
        tensors[f"{key}.{part}"] = value
    values = F.dequantize_4bit(codes, state).float().contiguous()
    h = 0xCBF29CE484222325
    for b in values.numpy().tobytes():
        h = ((h ^ b) * 0x100000001B3) % 2**64
    expected[key] = {"hash": f"{h:016x}", "first": values.flatten()[:8].tolist()}
save_file(tensors, HERE / "nf4.safetensors")
(HERE / "nf4.json").write_text(json.dumps(expected, indent=1) + "\n")
