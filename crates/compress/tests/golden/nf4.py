"""Golden values for NF4, made by bitsandbytes on the CPU through transformers.

    python nf4.py [MODEL_DIR] [--out nf4.json] [--fixture bnb-one-layer]

nf4.json: for MODEL_DIR (models/tiny of the repository), with and without double quantization, the CRC-32 of each weight's tensors, the
nested offset, and transformers' quantization_config; means of made-up vectors in torch's order on one thread.
The fixture is a checkpoint of one layer with random weights, written by save_pretrained: what a user may give us to turn into GGUF.
"""

import argparse
import json
import os
import pathlib
import sys
import tempfile
import zlib

os.environ.setdefault("HF_HUB_OFFLINE", "1")
import numpy as np
import torch
from safetensors import safe_open
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, LlamaConfig, LlamaForCausalLM

torch.set_num_threads(1)  # the order of additions in a mean depends on it


def config(double):
    return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=double, bnb_4bit_compute_dtype=torch.bfloat16)


def quantize(model, double, out):
    AutoModelForCausalLM.from_pretrained(model, quantization_config=config(double), dtype="auto").save_pretrained(out)


def crc(t):
    return zlib.crc32(t.contiguous().view(torch.uint8).numpy().tobytes())


def digests(folder):
    out = {}
    with safe_open(os.path.join(folder, "model.safetensors"), "pt") as f:
        for name in f.keys():
            if not name.endswith(".quant_state.bitsandbytes__nf4"):
                continue
            weight = name.removesuffix(".quant_state.bitsandbytes__nf4")
            state = json.loads(bytes(f.get_tensor(name).numpy()))
            row = [crc(f.get_tensor(weight)), crc(f.get_tensor(weight + ".absmax"))]
            if "nested_offset" in state:
                row += [crc(f.get_tensor(weight + ".nested_absmax")), repr(state["nested_offset"])]
                maps = [crc(f.get_tensor(weight + ".quant_map")), crc(f.get_tensor(weight + ".nested_quant_map"))]
            else:
                maps = [crc(f.get_tensor(weight + ".quant_map"))]
            out[weight] = row
    return {"maps": maps, "state": state, "weights": out}


def vector(n, seed):
    """x[i] in (0, 1): a linear congruential generator that the test repeats."""
    out = np.empty(n, dtype=np.float32)
    s = seed
    for i in range(n):
        s = (s * 1664525 + 1013904223) % 2**32
        out[i] = np.float32(s >> 8) / np.float32(1 << 24)
    return out


def tokenizer(folder, size):
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    split = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(split), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    t.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=size, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), special_tokens=["<|begin_of_text|>", "<|end_of_text|>"], show_progress=False)
    t.train_from_iterator(["the little cat sat on the mat and the dog ran to the tree"], trainer)
    t.save(os.path.join(folder, "tokenizer.json"))
    with open(os.path.join(folder, "tokenizer_config.json"), "w") as f:
        json.dump({"bos_token": "<|begin_of_text|>", "eos_token": "<|end_of_text|>", "tokenizer_class": "PreTrainedTokenizerFast"}, f)
    return t.get_vocab_size(), t.token_to_id("<|begin_of_text|>"), t.token_to_id("<|end_of_text|>")


def fixture(out):
    torch.manual_seed(7)
    os.makedirs(out, exist_ok=True)
    vocab, bos, eos = tokenizer(out, 280)
    c = LlamaConfig(hidden_size=64, intermediate_size=128, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=1, vocab_size=vocab,
                    max_position_embeddings=128, tie_word_embeddings=True, bos_token_id=bos, eos_token_id=eos, dtype="bfloat16", initializer_range=0.2)
    with tempfile.TemporaryDirectory() as plain:
        LlamaForCausalLM(c).to(torch.bfloat16).save_pretrained(plain)
        quantize(plain, True, out)
    os.chmod(os.path.join(out, "model.safetensors"), 0o644)
    # What bitsandbytes itself makes of its weights, in the type that they had, as float32.
    import bitsandbytes.functional as F
    values = {}
    with safe_open(os.path.join(out, "model.safetensors"), "pt") as f:
        for name in f.keys():
            if name.endswith(".quant_state.bitsandbytes__nf4"):
                weight = name.removesuffix(".quant_state.bitsandbytes__nf4")
                parts = {k.removeprefix(weight + "."): f.get_tensor(k) for k in f.keys() if k.startswith(weight + ".")}
                state = F.QuantState.from_dict(parts, device="cpu")
                values[weight] = crc(F.dequantize_4bit(f.get_tensor(weight), state).float())
    return values


def main():
    here = pathlib.Path(__file__).parent
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("model", nargs="?", default=str(pathlib.Path(__file__).resolve().parents[4] / "models/tiny"))
    args.add_argument("--out", default=str(here / "nf4.json"))
    args.add_argument("--fixture", default=str(here / "bnb-one-layer"))
    args = args.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        golden = {}
        for key, double in (("double", True), ("plain", False)):
            out = os.path.join(folder, key)
            quantize(args.model, double, out)
            golden[key] = digests(out)
            golden[key]["quantization_config"] = json.load(open(os.path.join(out, "config.json")))["quantization_config"]
        golden["means"] = [[n, n + 1, torch.from_numpy(vector(n, n + 1)).mean().item()] for n in (1, 3, 8, 31, 32, 100, 768, 5000, 32767, 50000, 147456)]
        golden["fixture"] = fixture(args.fixture)
    with open(args.out, "w") as f:
        f.write("{\n" + ",\n".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in golden.items()) + "\n}\n")


if __name__ == "__main__":
    main()
