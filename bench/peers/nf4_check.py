"""NF4 directories that nibble writes, against bitsandbytes through transformers.

    python nf4_check.py MODEL_DIR... [--binary target/release/nibble]

For each model, with double quantization: transformers quantizes it itself and saves it; every tensor of its file is compared byte by byte with
ours; ours is opened with from_pretrained, and its logits are compared with those of transformers' own 4-bit load. `--binary` is the program, or the
example `quantize` of the crate nibble-compress.
"""

import argparse
import os
import pathlib
import subprocess
import sys
import tempfile

os.environ.setdefault("HF_HUB_OFFLINE", "1")
import torch
from safetensors import safe_open
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

ROOT = pathlib.Path(__file__).resolve().parents[2]
torch.set_num_threads(1)  # the order of additions in the mean of the scales depends on it


def command(binary, source, out):
    if pathlib.Path(binary).stem == "nibble":
        return [binary, "quantize", source, "-t", "nf4", "-o", out]
    return [binary, source, "nf4", out]


def tensors(folder):
    with safe_open(os.path.join(folder, "model.safetensors"), "pt") as f:
        return {k: f.get_tensor(k) for k in f.keys()}


def check(model, binary):
    with tempfile.TemporaryDirectory() as folder:
        ours, theirs = os.path.join(folder, "ours"), os.path.join(folder, "theirs")
        subprocess.run(command(binary, model, ours), check=True, stdout=subprocess.DEVNULL)
        config = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True)
        config.bnb_4bit_compute_dtype = AutoModelForCausalLM.from_pretrained(model, dtype="auto").dtype
        loaded = AutoModelForCausalLM.from_pretrained(model, quantization_config=config, dtype="auto")
        loaded.save_pretrained(theirs)
        a, b = tensors(ours), tensors(theirs)
        missing = sorted(set(a) ^ set(b))
        different = [k for k in a if k in b and (a[k].dtype != b[k].dtype or a[k].shape != b[k].shape or not torch.equal(a[k].view(torch.uint8), b[k].view(torch.uint8)))]
        opened = AutoModelForCausalLM.from_pretrained(ours, dtype="auto")
        ids = torch.randint(0, opened.config.vocab_size, (1, 100), generator=torch.Generator().manual_seed(1))
        try:
            with torch.no_grad():
                reference = loaded(ids).logits
        except RuntimeError as error:  # bitsandbytes on the CPU cannot multiply matrices whose rows are not whole blocks
            print(f"{model}: {len(a)} tensors, only on one side {missing}, different {different}; bitsandbytes itself cannot run it: {error}")
            return not missing and not different
        with torch.no_grad():
            distance = (opened(ids).logits - reference).abs().max().item()
        kinds = sum(type(m).__name__ == "Linear4bit" for m in opened.modules())
        same_config = opened.config.quantization_config.to_dict() == loaded.config.quantization_config.to_dict()
        print(f"{model}: {len(a)} tensors, only on one side {missing}, different {different}; {kinds} Linear4bit; "
              f"quantization_config equal: {same_config}; largest difference of logits {distance}")
        return not missing and not different and distance == 0.0 and same_config


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("models", nargs="+")
    args.add_argument("--binary", default=str(pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release/nibble"))
    args = args.parse_args()
    sys.exit(not all([check(m, args.binary) for m in args.models]))


if __name__ == "__main__":
    main()
