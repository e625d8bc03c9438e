"""Continue a small Llama checkpoint on plain text, as a Hugging Face directory (see --help).

Starts from a checkpoint of begin.py's shape and keeps its tokenizer, so that held-out bits per byte stay comparable. Matrices of the layers learn
by Muon (momentum made orthogonal), everything else by AdamW. The learning rate warms up, stays, and falls to nothing over the last part of the
wall clock, so that the run ends when it was told to, whatever else the machine does. A file's weight is how often it is drawn for its size."""
import argparse, json, math, os, shutil, time
import torch
from tokenizers import Tokenizer
from transformers import LlamaForCausalLM

p = argparse.ArgumentParser()
p.add_argument("start"); p.add_argument("out")
p.add_argument("--text", nargs="+", required=True, help="FILE or FILE:WEIGHT")
p.add_argument("--held", nargs="*", default=[], help="texts of which the first 8,000 tokens are measured now and then")
p.add_argument("--minutes", type=float, default=150); p.add_argument("--ctx", type=int, default=256)
p.add_argument("--batch", type=int, default=16); p.add_argument("--lr", type=float, default=1e-3)
p.add_argument("--muon-lr", type=float, default=1e-2); p.add_argument("--decay", type=float, default=0.1)
p.add_argument("--fall", type=float, default=0.6, help="the part of the time in which the learning rate falls")
p.add_argument("--dropout", type=float, default=0.0, help="of what each half of a layer adds")
p.add_argument("--steps", type=int, help="stop after so many, to try the speed")
p.add_argument("--seed", type=int, default=2); p.add_argument("--threads", type=int, default=2)
p.add_argument("--compile", action="store_true")
a = p.parse_args()
torch.manual_seed(a.seed); torch.set_num_threads(a.threads); os.makedirs(a.out, exist_ok=True)
tok = Tokenizer.from_file(os.path.join(a.start, "tokenizer.json"))
bos = tok.token_to_id("<|begin_of_text|>"); eos = tok.token_to_id("<|end_of_text|>")

def encode(text):
    ids = []
    for i in range(0, len(text), 200_000): ids += tok.encode(text[i:i + 200_000], add_special_tokens=False).ids
    return ids

sets, weights = [], []
for f in a.text:
    f, _, w = f.partition(":")
    ids = encode(open(f, encoding="utf-8", errors="replace").read()) + [eos]
    sets.append(torch.tensor(ids)); weights.append(len(ids) * float(w or 1)); print(f, len(ids), flush=True)
weights = torch.tensor(weights)
held = []
for f in a.held:
    ids = encode(open(f, encoding="utf-8").read())[:8000]
    held.append((f, torch.tensor(ids), len(tok.decode(ids, skip_special_tokens=False).encode())))

model = LlamaForCausalLM.from_pretrained(a.start, dtype=torch.float32); model.train()
for layer in model.model.layers:
    for part in (layer.self_attn.o_proj, layer.mlp.down_proj):
        part.register_forward_hook(lambda m, _, y: torch.nn.functional.dropout(y, a.dropout, m.training))
matrices = [w for n, w in model.named_parameters() if w.dim() == 2 and "layers" in n]
tables = [w for n, w in model.named_parameters() if w.dim() == 2 and "layers" not in n]
rest = [w for w in model.parameters() if w.dim() < 2]
opts = [(torch.optim.Muon(matrices, lr=a.muon_lr, weight_decay=a.decay, momentum=0.95, adjust_lr_fn="original"), a.muon_lr),
        (torch.optim.AdamW([{"params": tables, "weight_decay": a.decay}, {"params": rest, "weight_decay": 0.0}], lr=a.lr, betas=(0.9, 0.95)), a.lr)]
if a.compile: model.config._attn_implementation = "eager"
forward = torch.compile(model) if a.compile else model

def save():
    tmp = a.out + ".new"; shutil.rmtree(tmp, ignore_errors=True)
    m = LlamaForCausalLM(model.config); m.load_state_dict(model.state_dict()); m.to(torch.bfloat16).save_pretrained(tmp)
    for f in ("tokenizer.json", "tokenizer_config.json"): shutil.copy(os.path.join(a.start, f), tmp)
    for f in os.listdir(tmp): os.replace(os.path.join(tmp, f), os.path.join(a.out, f))

def measure():
    model.eval(); said = []
    with torch.inference_mode():
        for f, ids, size in held:
            nats = 0.0
            for i in range(0, len(ids), 255):
                x = torch.cat([torch.tensor([bos]), ids[i:i + 255]])
                nats += torch.nn.functional.cross_entropy(model(x[None]).logits[0, :-1].float(), x[1:], reduction="sum").item()
            said.append(f"{os.path.basename(f)} {nats / math.log(2) / size:.3f}")
    model.train()
    return ", ".join(said)

t0 = time.time(); step = seen = 0; ema = None; cpu0 = time.process_time()
while (frac := (time.time() - t0) / (60 * a.minutes)) < 1 and step != a.steps:
    factor = min(1, (step + 1) / 100) * min(1, (1 - frac) / a.fall)
    for opt, lr in opts:
        for g in opt.param_groups: g["lr"] = lr * factor
    x, y = [], []
    for s in torch.multinomial(weights, a.batch, replacement=True).tolist():
        d = sets[s]; j = int(torch.randint(0, len(d) - a.ctx - 1, (1,)))
        x.append(torch.cat([torch.tensor([bos]), d[j:j + a.ctx - 1]])); y.append(d[j:j + a.ctx])
    x, y = torch.stack(x), torch.stack(y)
    with torch.autocast("cpu", dtype=torch.bfloat16): logits = forward(x).logits
    loss = torch.nn.functional.cross_entropy(logits.float().view(-1, logits.shape[-1]), y.view(-1))
    loss.backward(); torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for opt, _ in opts: opt.step(); opt.zero_grad(set_to_none=True)
    step += 1; seen += a.batch * a.ctx; ema = loss.item() if ema is None else 0.98 * ema + 0.02 * loss.item()
    if step % 25 == 0:
        print(f"step {step} tokens {seen:,} loss {ema:.3f} rate {factor:.3f} {100 * frac:.0f}% wall {(time.time() - t0) / 60:.1f} min "
              f"cpu {(time.process_time() - cpu0) / 60:.1f} min", flush=True)
    if step % 500 == 0: save(); print(f"held out, bits a byte: {measure()}", flush=True)
save(); print("done", step, seen, ema, measure(), flush=True)
