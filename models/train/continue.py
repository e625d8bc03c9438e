"""Continue a small Llama checkpoint on plain text (see --help), as a Hugging Face directory.

Starts from an existing checkpoint of begin.py's shape (same tokenizer, so held-out bits per byte stay comparable), and anneals the learning
rate to nothing by the wall clock. Stories weigh more than their size, so that the model tells one."""
import argparse, json, math, os, shutil, time
import torch
from tokenizers import Tokenizer
from transformers import LlamaForCausalLM
p = argparse.ArgumentParser()
p.add_argument("start"); p.add_argument("out")
p.add_argument("--text", nargs="+", required=True, help="FILE or FILE:WEIGHT")
p.add_argument("--minutes", type=float, default=150); p.add_argument("--ctx", type=int, default=256)
p.add_argument("--batch", type=int, default=16); p.add_argument("--lr", type=float, default=1e-3)
p.add_argument("--seed", type=int, default=2); p.add_argument("--threads", type=int, default=2)
a = p.parse_args()
torch.manual_seed(a.seed); torch.set_num_threads(a.threads); os.makedirs(a.out, exist_ok=True)
tok = Tokenizer.from_file(os.path.join(a.start, "tokenizer.json"))
bos = tok.token_to_id("<|begin_of_text|>"); eos = tok.token_to_id("<|end_of_text|>")
sets, weights = [], []
for f in a.text:
    f, _, w = f.partition(":")
    text = open(f, encoding="utf-8", errors="replace").read(); ids = []
    for i in range(0, len(text), 200_000): ids += tok.encode(text[i:i + 200_000], add_special_tokens=False).ids
    ids.append(eos); sets.append(torch.tensor(ids)); weights.append(len(ids) * float(w or 1)); print(f, len(ids), flush=True)
weights = torch.tensor(weights)
model = LlamaForCausalLM.from_pretrained(a.start, dtype=torch.float32); model.train()
decay = [w for w in model.parameters() if w.dim() > 1]; rest = [w for w in model.parameters() if w.dim() <= 1]
opt = torch.optim.AdamW([{"params": decay, "weight_decay": 0.1}, {"params": rest, "weight_decay": 0.0}], lr=a.lr, betas=(0.9, 0.95))
def save():
    tmp = a.out + ".new"; shutil.rmtree(tmp, ignore_errors=True)
    m = LlamaForCausalLM(model.config); m.load_state_dict(model.state_dict()); m.to(torch.bfloat16).save_pretrained(tmp)
    for f in ("tokenizer.json", "tokenizer_config.json"): shutil.copy(os.path.join(a.start, f), tmp)
    for f in os.listdir(tmp): os.replace(os.path.join(tmp, f), os.path.join(a.out, f))
t0 = time.time(); step = seen = 0; ema = None; cpu0 = time.process_time()
while (frac := (time.time() - t0) / (60 * a.minutes)) < 1:
    lr = a.lr * min(1, (step + 1) / 100) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * frac)))
    for g in opt.param_groups: g["lr"] = lr
    x, y = [], []
    for s in torch.multinomial(weights, a.batch, replacement=True).tolist():
        d = sets[s]; j = int(torch.randint(0, len(d) - a.ctx - 1, (1,)))
        x.append(torch.cat([torch.tensor([bos]), d[j:j + a.ctx - 1]])); y.append(d[j:j + a.ctx])
    with torch.autocast("cpu", dtype=torch.bfloat16): logits = model(torch.stack(x)).logits
    loss = torch.nn.functional.cross_entropy(logits.float().view(-1, logits.shape[-1]), torch.stack(y).view(-1))
    loss.backward(); torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0); opt.step(); opt.zero_grad(set_to_none=True)
    step += 1; seen += a.batch * a.ctx; ema = loss.item() if ema is None else 0.98 * ema + 0.02 * loss.item()
    if step % 25 == 0: print(f"step {step} tokens {seen:,} loss {ema:.3f} lr {lr:.2e} {100*frac:.0f}% wall {(time.time()-t0)/60:.1f} min cpu {(time.process_time()-cpu0)/60:.1f} min", flush=True)
    if step % 200 == 0: save()
save(); print("done", step, seen, ema, flush=True)
