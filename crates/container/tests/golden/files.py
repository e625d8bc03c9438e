"""Small files by the reference libraries: safetensors (numpy), gguf-py; and gguf-py's table of types. Read by tests/golden.rs.

Run with a Python that has safetensors, numpy and gguf (see bench/peers/requirements.txt); it writes beside itself.
"""

import json
from pathlib import Path

import gguf
import numpy as np
from safetensors.numpy import save_file

here = Path(__file__).parent


def ramp(count, dtype):
    return np.arange(count).astype(dtype)


# Names and types in an order that is not the one in which they end up.
tensors = {
    "b.u8": ramp(3, np.uint8),
    "z": ramp(6, np.float32).reshape(2, 3),
    "a.half": ramp(5, np.float16),
    "é \"quoted\"": ramp(2, np.int64),
    "empty": np.zeros((0, 4), np.float32),
    "scalar": np.array(7, np.float64),
    "flag": np.array([True, False]),
    "c": ramp(4, np.float32),
    "d.i32": ramp(2, np.int32),
    "e.i16": ramp(1, np.int16),
    "f.u64": ramp(1, np.uint64),
    "g.u32": ramp(1, np.uint32),
    "h.u16": ramp(1, np.uint16),
    "i.i8": ramp(1, np.int8),
}
save_file(tensors, here / "reference.safetensors", metadata={"format": "pt"})

writer = gguf.GGUFWriter(here / "reference.gguf", "llama")
writer.add_uint8("v.u8", 200)
writer.add_int8("v.i8", -100)
writer.add_uint16("v.u16", 60000)
writer.add_int16("v.i16", -30000)
writer.add_uint32("v.u32", 4000000000)
writer.add_int32("v.i32", -2000000000)
writer.add_float32("v.f32", 0.1)
writer.add_bool("v.bool", True)
writer.add_string("v.string", "é, \U0001f600")
writer.add_uint64("v.u64", 2**63 + 1)
writer.add_int64("v.i64", -(2**62))
writer.add_float64("v.f64", 0.1)
writer.add_array("a.strings", ["one", "", "drei"])
writer.add_array("a.i32", [1, -2, 3])
writer.add_array("a.f32", [0.5, 1.5])
writer.add_array("a.bool", [True, False])
writer.add_array("a.nested", [[1, 2], [3]])
writer.add_tensor("f32", ramp(6, np.float32).reshape(2, 3))
writer.add_tensor("f16", ramp(5, np.float16))
blocks = ramp(3 * 34, np.uint8).reshape(3, 34)
writer.add_tensor("q8_0", blocks, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
writer.add_tensor("i32", ramp(3, np.int32))
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()

types = [[int(t), t.name, *gguf.GGML_QUANT_SIZES[t]] for t in gguf.GGMLQuantizationType]
(here / "types.json").write_text(json.dumps(sorted(types)).replace("], [", "],\n [") + "\n")
