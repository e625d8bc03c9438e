#!/usr/bin/env python3
"""Golden logits of models/tiny with LoRA adapters, from PEFT in float32 and from llama.cpp.

    NIBBLE_PEERS_LLAMA_SOURCE=<llama.cpp's source> python adapter.py      # writes adapter.json beside it

The adapters' weights follow from _formula.py: element i of tensor NAME is 0.1 times `uniform`.
Kept are adapter_config.json as PEFT writes it, the tensors' shapes, and logits. llama.cpp runs the F32 file of its own converter with the file that
convert_lora_to_gguf.py makes of the same adapter; the metadata and tensors of that file are kept too, with the CRC-32 of each.
"""
import json
import os
import pathlib
import runpy
import sys
import tempfile
import zlib

import numpy as np
import torch
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict
from transformers import AutoModelForCausalLM

from _formula import tokens, uniform

HERE = pathlib.Path(__file__).resolve().parent
TINY = HERE.parents[3] / "models/tiny"
SOURCE = os.environ["NIBBLE_PEERS_LLAMA_SOURCE"]
N = 24
ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
CASES = {
    # Ranks and alphas of their own for some modules.
    "linear": dict(r=4, lora_alpha=8, target_modules=ALL, rank_pattern={"model.layers.0.self_attn.q_proj": 6, "up_proj": 2},
                   alpha_pattern={"layers.5.mlp.down_proj": 3}),
    "rslora": dict(r=9, lora_alpha=4, use_rslora=True, target_modules=["q_proj", "k_proj"], layers_to_transform=[1, 3]),
    # The embedding is the head too here: PEFT changes the look-up alone, and the head by its own pair.
    "outside": dict(r=5, lora_alpha=5, target_modules=["embed_tokens", "lm_head", "down_proj"]),
}


def kept(logits, positions, columns):
    return {"argmax": [int(logits[p].argmax()) for p in positions], "logits": [[float(np.float32(logits[p, c])) for c in columns] for p in positions]}


def convert(script, *args):
    """Runs one of llama.cpp's converters, which know a vocabulary by a hash that models/tiny is not among."""
    sys.path[:0] = [SOURCE, os.path.join(SOURCE, "gguf-py")]
    import conversion.base as base
    base.TextModel.get_vocab_base_pre = lambda self, tokenizer: "llama-bpe"
    argv, sys.argv = sys.argv, [script, *map(str, args)]
    try:
        runpy.run_path(os.path.join(SOURCE, script), run_name="__main__")
    finally:
        sys.argv = argv


def describe(path):
    import gguf
    reader = gguf.GGUFReader(path)
    keys = {name: field.contents() for name, field in reader.fields.items() if name.startswith(("general.type", "general.arch", "adapter."))}
    tensors = {t.name: [t.tensor_type.name, [int(d) for d in reversed(t.shape)], zlib.crc32(t.data.tobytes())] for t in reader.tensors}
    return {"keys": keys, "tensors": tensors}


def main():
    ids = tokens(N, 4096)
    positions, columns = list(range(0, N, 3)), [(c * 257 + 5) % 4096 for c in range(16)]
    golden = {"ids": N, "positions": positions, "columns": columns}
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        for name, config in CASES.items():
            torch.manual_seed(0)
            base = AutoModelForCausalLM.from_pretrained(TINY, dtype=torch.float32, attn_implementation="eager")
            model = get_peft_model(base, LoraConfig(task_type="CAUSAL_LM", **config)).eval()
            state = get_peft_model_state_dict(model, save_embedding_layers=False)
            with torch.no_grad():
                for key, value in state.items():
                    value.copy_(torch.from_numpy(uniform(key, value.numel()) * np.float32(0.1)).reshape(value.shape))
                logits = model(torch.tensor([ids])).logits[0].numpy()
            model.save_pretrained(folder / name, save_embedding_layers=False)
            written = json.loads((folder / name / "adapter_config.json").read_text())
            written["base_model_name_or_path"] = "tiny"
            written["target_modules"] = sorted(written["target_modules"])
            golden[name] = {"config": {k: written[k] for k in sorted(written)}, "tensors": {k: list(v.shape) for k, v in sorted(state.items())},
                            **kept(logits, positions, columns)}

        # llama.cpp
        convert("convert_hf_to_gguf.py", TINY, "--outtype", "f32", "--outfile", folder / "tiny.gguf")
        for name, scale in [("linear", 0.5)]:
            # Its format has one alpha, so what PEFT's patterns say is lost on the way: a case of its own, without them.
            config = folder / name / "adapter_config.json"
            written = json.loads(config.read_text())
            config.write_text(json.dumps(written | {"rank_pattern": {}, "alpha_pattern": {}}))
            convert("convert_lora_to_gguf.py", folder / name, "--base", TINY, "--outtype", "f32", "--outfile", folder / "lora.gguf")
            import llama_cpp
            model = llama_cpp.Llama(str(folder / "tiny.gguf"), lora_path=str(folder / "lora.gguf"), lora_scale=scale, n_ctx=64, logits_all=True,
                                    type_k=0, type_v=0, flash_attn=False, verbose=False)
            model.eval(ids)
            golden["llama"] = {"of": name, "scale": scale, **describe(folder / "lora.gguf"), **kept(model.scores[:N], positions, columns)}
    lines = ",\n".join(f'"{k}": {json.dumps(v)}' for k, v in golden.items())
    (HERE / "adapter.json").write_text("{\n" + lines + "\n}\n")


main()
