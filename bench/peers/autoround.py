"""AutoRound's Q4_K_M of a model, calibrated on the text that ships with nibble, to be put beside nibble's files by `methods kl`.

    pip install auto-round==0.16.1     (in an environment of its own, on top of the peers' pins)
    python bench/peers/autoround.py MODEL OUT [ITERATIONS]

ITERATIONS 0 is its search without training, which its authors advise for GGUF at 4 bits (docs/gguf_alg_ext_acc.md, formats/backends/gguf.py). Its export knows tokenizers by a list of
hashes and refuses others; for ours, whose pre-tokenizer is Llama 3's, let get_vocab_base_pre in auto_round/export/export_to_gguf/conversion/base.py return "llama-bpe".
"""

import pathlib
import sys

import torch
from auto_round import AutoRound
from transformers import AutoModelForCausalLM, AutoTokenizer

ROOT = pathlib.Path(__file__).resolve().parents[2]
TEXT = ROOT / "crates/compress/src/calibrate/text.txt"
CONTEXT = 512


def main():
    model, out, *iterations = sys.argv[1:]
    tokenizer = AutoTokenizer.from_pretrained(model)
    network = AutoModelForCausalLM.from_pretrained(model, dtype=torch.bfloat16)
    # Chunks as llama-imatrix and nibble cut them: each begins with BOS.
    bos = tokenizer.bos_token_id
    ids = [bos] + tokenizer(TEXT.read_text(), add_special_tokens=False)["input_ids"]
    chunks = [[bos] + ids[i + 1 : i + CONTEXT] for i in range(0, len(ids) - CONTEXT + 1, CONTEXT)]
    data = [{"input_ids": torch.tensor([c]), "attention_mask": torch.ones(1, CONTEXT, dtype=torch.long)} for c in chunks]
    rounding = AutoRound(
        network, tokenizer, scheme="gguf:q4_k_m", iters=int(iterations[0]) if iterations else 0,
        dataset=data, seqlen=CONTEXT, nsamples=len(chunks), batch_size=8, device_map="cpu",
    )
    rounding.quantize_and_save(out, format="gguf:q4_k_m")


if __name__ == "__main__":
    main()
