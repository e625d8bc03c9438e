"""Compares the tokenizers with the reference libraries on random and adversarial strings.

    cargo build --release -p nibble-engine --example tokenize
    $NIBBLE_PEERS_PYTHON bench/peers/tokenizer_fuzz.py [--count 100000] [--only NAME,NAME] [--shared DIR] [--tokenize PATH]

Needs: tokenizers, sentencepiece, and the shared tokenizers (DIR, default $NIBBLE_SHARED or ../shared). Prints one line a tokenizer: strings,
differences, load times, encoding speed on one thread of each. Times are CPU time, so that other work on the machine does not count; ours of
loading is that of a run without strings. Exits with 1 on any difference.
"""

import argparse
import os
import random
import resource
import struct
import subprocess
import sys
import tempfile
import time
import unicodedata
from pathlib import Path

os.environ["TOKENIZERS_PARALLELISM"] = "false"
import sentencepiece
import tokenizers
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

ROOT = Path(__file__).resolve().parents[2]

SPACES = [" ", "  ", "\t", "\n", "\r", "\r\n", "\n\n", "\u00a0", "\u2003", "\u3000", "\u2028", "\u0085", "\u200b", "\ufeff", "\x0b", "\x0c", "\x1c"]
WORDS = ("the of and Once upon a time there was little Hello World international counterrevolutionary don't I've we'RE 'S 'ſ 'Ve'll d'être o'clock naïve "
         "Führer straße Ωmega Привет мир こんにちは 世界 안녕하세요 नमस्ते สวัสดี مرحبا שלום ქართული Việt ı İ ﬃ ǅ x86_64 snake_case CamelCase http://a.b/c?d=e&f=%20 "
         "foo@bar.com 1,234.56 3.14e-10 0xdeadbeef ½ ² Ⅷ ٣ ४ ① 12345678 #!/bin/sh // /* */ := => -> ... !!! ?! \\n {} [] () <> << >> \"\" '' `` ~~ §1").split()
EMOJI = ["😀", "👨‍👩‍👧‍👦", "🏳️‍🌈", "🦙", "1️⃣", "🇩🇪", "👍🏽", "😶‍🌫️", "\ufe0f", "\u200d"]
COMBINING = ["\u0301", "\u0323", "\u0300\u0316", "e\u0301", "a\u0323\u0302", "\u1100\u1161\u11a8", "\uac00\u11a8", "\u0f71\u0f72", "\u212b", "\u2126", "\ufb1d", "\U0001d15e",
             "\u1acf", "\U000113b8", "\U0001e4ec", "\u0958", "\U00011935\U00011930"]
ODD = ["\0", "\x01", "\x7f", "\u0080", "\u00ad", "\ufffd", "\ufffe", "\ufdd0", "\ue000", "\U000f0000", "\U0010ffff", "\u202e", "\u2066", "▁", "▁▁", "<0x0A>", "Ġ", "Ċ", "<unk>",
       "\U00011de0", "\U00016ff4"]
SPECIALS = ["<|begin_of_text|>", "<|eot_id|>", "<|start_header_id|>", "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<s>", "</s>", "<|", "|>", "<|eot_id", "<<|eot_id|>>",
            "<repo_name>", "<|reserved_special_token_0|>", "[INST]"]


def categories():
    by = {}
    for c in range(0x110000):
        if not 0xD800 <= c < 0xE000:
            by.setdefault(unicodedata.category(chr(c)), []).append(chr(c))
    return by


BY_CATEGORY = categories()
NAMES = sorted(BY_CATEGORY)


def piece(r):
    k = r.random()
    if k < 0.28:
        return r.choice(WORDS)
    if k < 0.42:
        return r.choice(SPACES)
    if k < 0.52:
        return " "
    if k < 0.62:
        return r.choice(BY_CATEGORY[r.choice(NAMES)])
    if k < 0.68:
        return "".join(r.choice("0123456789") for _ in range(r.randint(1, 9)))
    if k < 0.73:
        return r.choice(EMOJI)
    if k < 0.78:
        return r.choice(COMBINING)
    if k < 0.83:
        return r.choice(SPECIALS)
    if k < 0.87:
        return r.choice(ODD)
    if k < 0.91:
        return r.choice(["'s", "'T", "'re", "'VE", "'m", "'LL", "'d", "'", "''", "’s", "'ſ", "'lſ"])
    if k < 0.95:
        return "".join(chr(r.randint(32, 126)) for _ in range(r.randint(1, 12)))
    if k < 0.985:
        return r.choice(SPACES + WORDS + EMOJI + COMBINING) * r.randint(2, 40)
    return "".join(r.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(r.randint(20, 400)))


def strings(count, texts):
    r = random.Random(20261124)
    out = [""]
    out += [c * n for c in [" ", "\n", "\t", "a", "▁", "\u00a0", "=", "0", "é", "😀"] for n in (1, 2, 3, 15, 16, 17, 255, 4000)]
    out += [chr(c) for c in range(0x300)]
    while len(out) < count * 8 // 10:
        out.append("".join(piece(r) for _ in range(r.choice([1, 2, 3, 5, 8, 13, 30]))))
    while len(out) < count:
        t = r.choice(texts)
        at = r.randrange(len(t))
        out.append(t[at : at + r.choice([20, 60, 200, 800])])
    return out[:count]


def sp(path):
    model = sentencepiece.SentencePieceProcessor(model_file=str(path))
    return lambda texts: [model.encode(t) for t in texts]


def hf(path, special):
    model = Tokenizer.from_file(str(path)) if isinstance(path, Path) else path()
    model.encode_special_tokens = not special
    return lambda texts: [e.ids for e in model.encode_batch(texts, add_special_tokens=False)]


def qwen2(base):
    """Qwen2Tokenizer from its two files, as transformers builds it."""

    def make():
        import json

        vocab = json.loads((base / "vocab.json").read_text(encoding="utf-8"))
        lines = (base / "merges.crlf.txt").read_bytes().decode().replace("\r\n", "\n").split("\n")
        merges = [tuple(line.split(" ")) for line in lines if line and not line.startswith("#version")]
        t = Tokenizer(models.BPE(vocab, merges))
        t.normalizer = normalizers.NFC()
        pattern = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
        t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
        return t

    return make


def spent():
    """CPU seconds of the programs run so far."""
    use = resource.getrusage(resource.RUSAGE_CHILDREN)
    return use.ru_utime + use.ru_stime


def ours(tokenize, source, mode, pre, texts):
    data = b"".join(struct.pack("<I", len(b)) + b for b in (t.encode() for t in texts))
    with tempfile.TemporaryFile() as f:
        f.write(data)
        f.seek(0)
        done = subprocess.run([tokenize, source, mode] + ([pre] if pre else []), stdin=f, capture_output=True, check=False)
    if done.returncode:
        sys.exit(done.stderr.decode())
    out, at, raw = [], 0, done.stdout
    words = struct.unpack(f"<{len(raw) // 4}I", raw)
    while at < len(words):
        n = words[at]
        out.append(list(words[at + 1 : at + 1 + n]))
        at += 1 + n
    return out


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--count", type=int, default=100_000)
    p.add_argument("--only")
    p.add_argument("--shared", type=Path, default=Path(os.environ.get("NIBBLE_SHARED", ROOT.parent / "shared")))
    p.add_argument("--tokenize", default=str(Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release/examples/tokenize"))
    a = p.parse_args()
    tk = a.shared / "data/tokenizers"
    md = a.shared / "data/models"
    tx = a.shared / "data/text"
    texts = [(tx / n).read_text(encoding="utf-8") for n in ("wiki.test.raw", "code.utf8", "multilingual.utf8")]
    cases = strings(a.count, texts)
    j = "tokenizer.json"
    rows = [
        # name, our source, mode, pre-tokenizer, the reference
        ("llama3 plain", tk / "llama3" / j, "plain", None, lambda: hf(tk / "llama3" / j, False)),
        ("llama3 special", tk / "llama3" / j, "special", None, lambda: hf(tk / "llama3" / j, True)),
        ("gpt2 plain", tk / "gpt2" / j, "plain", None, lambda: hf(tk / "gpt2" / j, False)),
        ("gpt2 special", tk / "gpt2" / j, "special", None, lambda: hf(tk / "gpt2" / j, True)),
        ("qwen2 plain", f"{tk}/qwen2/vocab.json,{tk}/qwen2/merges.crlf.txt", "plain", "qwen2", lambda: hf(qwen2(tk / "qwen2"), False)),
        ("smollm2 plain", tk / "smollm2" / j, "plain", None, lambda: hf(tk / "smollm2" / j, False)),
        ("smollm2 special", tk / "smollm2" / j, "special", None, lambda: hf(tk / "smollm2" / j, True)),
        ("models/tiny plain", ROOT / "models/tiny" / j, "plain", None, lambda: hf(ROOT / "models/tiny" / j, False)),
        ("models/tiny special", ROOT / "models/tiny" / j, "special", None, lambda: hf(ROOT / "models/tiny" / j, True)),
        ("llama2 json plain", tk / "llama2" / j, "plain", None, lambda: hf(tk / "llama2" / j, False)),
        ("llama2 model", tk / "llama2/tokenizer.model", "plain", None, lambda: sp(tk / "llama2/tokenizer.model")),
        ("TinyStories json", md / "TinyStories-656K" / j, "plain", None, lambda: hf(md / "TinyStories-656K" / j, False)),
        ("tok512 model", md / "stories260K/tok512.model", "plain", None, lambda: sp(md / "stories260K/tok512.model")),
    ]
    size = sum(len(c.encode()) for c in cases)
    print(f"{len(cases)} strings, {size / 1e6:.1f} MB; tokenizers {tokenizers.__version__}, sentencepiece {sentencepiece.__version__}")
    print("| tokenizer | strings | differences | load s (reference) | MB/s (reference) |\n|---|---|---|---|---|")
    bad = 0
    for name, source, mode, pre, reference in rows:
        if a.only and not any(only in name for only in a.only.split(",")):
            continue
        t = time.process_time()
        encode = reference()
        load_ref = time.process_time() - t
        t = spent()
        ours(a.tokenize, str(source), mode, pre, [])
        load, t = spent() - t, spent()
        mine = ours(a.tokenize, str(source), mode, pre, cases)
        seconds = max(spent() - t - load, 1e-3)
        t = time.process_time()
        theirs = encode(cases)
        seconds_ref = time.process_time() - t
        wrong = [i for i in range(len(cases)) if mine[i] != theirs[i]]
        bad += len(wrong)
        print(f"| {name} | {len(cases)} | {len(wrong)} | {load:.3f} ({load_ref:.3f}) | {size / seconds / 1e6:.1f} ({size / seconds_ref / 1e6:.1f}) |", flush=True)
        for i in sorted(wrong, key=lambda i: len(cases[i]))[:3]:
            print("   ", repr(cases[i])[:200], "\n      ours  ", mine[i][:40], "\n      theirs", theirs[i][:40])
    sys.exit(1 if bad else 0)


main()
