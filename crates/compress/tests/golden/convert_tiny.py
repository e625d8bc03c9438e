"""Golden metadata and tensors of a conversion to GGUF, made by llama.cpp's convert_hf_to_gguf.py.

    NIBBLE_PEERS_LLAMA_SOURCE=<llama.cpp's source> python convert_tiny.py [MODEL_DIR] [--out convert_tiny.json]

The converter knows pre-tokenizers by a hash of what they do to one text, so that it refuses a vocabulary that it has not met. MODEL_DIR
(models/tiny of the repository) splits text as Llama 3 does; the script says so in the converter's place, and changes nothing else.
Written: every key with its type and value (long arrays as a CRC-32 of their JSON), every tensor with its type, shape and the CRC-32 of its bytes.
"""

import argparse
import json
import os
import pathlib
import runpy
import sys
import tempfile
import zlib


def convert(source, model, kind, out):
    sys.path[:0] = [source, os.path.join(source, "gguf-py")]
    import conversion.base as base
    base.TextModel.get_vocab_base_pre = lambda self, tokenizer: "llama-bpe"
    argv = sys.argv
    sys.argv = ["convert_hf_to_gguf.py", model, "--outtype", kind, "--outfile", out]
    try:
        runpy.run_path(os.path.join(source, "convert_hf_to_gguf.py"), run_name="__main__")
    finally:
        sys.argv = argv


def describe(path):
    import gguf
    r = gguf.GGUFReader(path)
    keys = {}
    for name, field in r.fields.items():
        if name.startswith("GGUF."):
            continue
        value = field.contents()
        kind = "/".join(t.name for t in field.types[:2])
        if isinstance(value, list) and len(value) > 8:
            value = f"crc {zlib.crc32(json.dumps(value, ensure_ascii=False, separators=(',', ':')).encode())} of {len(value)}"
        keys[name] = [kind, value]
    tensors = {t.name: [t.tensor_type.name, [int(d) for d in reversed(t.shape)], zlib.crc32(t.data.tobytes())] for t in r.tensors}
    return keys, tensors


FOLDERS = [("Llama-3.2-1B-Instruct", 1235814400), ("Llama-3.2-3B", 3212749824), ("SmolLM2-135M-Instruct", 134515008), ("TinyLlama-1.1B-Chat-v1.0", 1100048384),
           ("Mistral-7B-Instruct-v0.3", 7248023552), ("Mistral-7B-v0.1", 7241732096), ("tiny", 5770496), ("nibble-tiny", 5770496), ("TinyStories-656K", 656000),
           ("bloom-7b1", 7069016064), ("Phi-3-mini-128k-instruct", 3821079552), ("Llama-2-7b-hf", 6738415616), ("my model", 1000), ("stories15M-body", 5975712),
           ("gpt2-large", 774030080), ("Yi-1.5-34B-Chat-16K", 34388917248), ("model_v2", 10), ("v2", 12345), ("llama-q4_k_m", 99999), ("Qwen2.5-0.5B", 494032768),
           ("Meta-Llama-3-70B-Instruct-bf16", 70553706496), ("snapshot", 1499500), ("Mixtral-8x7B-v0.1", 46702792704), ("Foo-7_5B-xl", 7500000000), ("-x-", 999)]


def names():
    """The general.* fields that the converter would take from a folder's name and a count of weights."""
    import gguf
    out = {}
    for folder, weights in FOLDERS:
        name, _, basename, finetune, version, size = gguf.Metadata.get_model_id_components(folder, weights)
        out[folder] = [weights, gguf.Metadata.id_to_title(name), basename, finetune, version, size or gguf.size_label(weights, 0, 0, 0)]
    return out


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("model", nargs="?", default=str(pathlib.Path(__file__).resolve().parents[4] / "models/tiny"))
    args.add_argument("--out", default=str(pathlib.Path(__file__).with_name("convert_tiny.json")))
    args = args.parse_args()
    source = os.environ.get("NIBBLE_PEERS_LLAMA_SOURCE")
    if not source:
        sys.exit("set NIBBLE_PEERS_LLAMA_SOURCE to llama.cpp's source folder")
    golden = {}
    with tempfile.TemporaryDirectory() as folder:
        for kind in ("f32", "f16", "bf16"):
            path = os.path.join(folder, f"{kind}.gguf")
            convert(source, args.model, kind, path)
            keys, tensors = describe(path)
            golden[kind] = {"keys": keys, "tensors": tensors}
    names_ = names()
    with open(args.out, "w") as f:
        f.write("{\n\"names\": {\n" + ",\n".join(f" {json.dumps(k)}: {json.dumps(v)}" for k, v in names_.items()) + "},\n")
        f.write(",\n".join(json.dumps(k) + ": {\n" + ",\n".join(f' {json.dumps(p)}: {{\n' + ",\n".join(f"  {json.dumps(n)}: {json.dumps(x)}" for n, x in q.items()) + "}" for p, q in v.items()) + "}" for k, v in golden.items()))
        f.write("\n}\n")


if __name__ == "__main__":
    main()
