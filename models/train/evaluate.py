"""Held-out bits per byte of Hugging Face checkpoints, float32, windows of 256 tokens: evaluate.py TEXT[:TOKENS] MODEL_DIR..."""
import math, sys, torch
from tokenizers import Tokenizer
from transformers import LlamaForCausalLM

torch.set_num_threads(2)
text_file, _, limit = sys.argv[1].partition(":")
text = open(text_file, encoding="utf-8").read()
for directory in sys.argv[2:]:
    tokenizer = Tokenizer.from_file(f"{directory}/tokenizer.json")
    ids = tokenizer.encode(text, add_special_tokens=False).ids[: int(limit) if limit else None]
    bos = tokenizer.token_to_id("<|begin_of_text|>")
    size = len(tokenizer.decode(ids, skip_special_tokens=False).encode())
    model = LlamaForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()
    nats = 0.0
    with torch.inference_mode():
        for i in range(0, len(ids), 255):
            window = torch.tensor([[bos] + ids[i : i + 255]])
            logits = model(window).logits[0, :-1]
            nats += torch.nn.functional.cross_entropy(logits, window[0, 1:], reduction="sum").item()
    print(f"{directory}: {len(ids)} tokens, {size} bytes, perplexity {math.exp(nats / len(ids)):.2f}, {nats / math.log(2) / size:.3f} bits a byte", flush=True)
