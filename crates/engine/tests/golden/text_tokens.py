"""Writes tests/golden/text_tokens.json: ids that the `tokenizers` library gives for models/tiny.

    $NIBBLE_PEERS_PYTHON crates/engine/tests/golden/text_tokens.py

Strings are chosen by what they break: contractions in both cases, digits in threes, runs and kinds of white space, scripts, emoji joined to one,
combining marks, control characters, special tokens in text, words too long for a scan.
"""

import json
from pathlib import Path

from tokenizers import Tokenizer, __version__

ROOT = Path(__file__).resolve().parents[4]
STRINGS = [
    "", " ", "  ", "   ", "\n", "\n\n", " \n", "\n ", "\t", "\t\t x", "\r\n", "a\r\nb", " \u00a0 x", "\u3000", "\u2003y", "x   ", "x   y", "x \n  \n y", "\u0085z", "a\u200bb",
    "Hello", " Hello", "Hello world", "Hello, world!", "Once upon a time, there was a little girl named Lily.", "She said, \"I can't, I won't; we've, they'RE, I'M, he'LL, it'D\"",
    "'s", "'S", "'ſ", "''s", "'t's", "' s", "y'all", "don’t", "'lſ", "'rEx",
    "1", "12", "123", "1234", "12345", "1234567", "3.14159", "1,234,567.89", "v1.2.3", "²³½", "Ⅷ", "٣٤٥٦", "x1y2", "2026-11-24",
    "Привет, мир!", "こんにちは世界", "안녕하세요", "नमस्ते", "สวัสดีครับ", "مرحبا بالعالم", "שלום", "Việt Nam", "Führer", "naïve café", "e\u0301", "a\u0323\u0302", "ﬃ ǅ ſ", "İıI",
    "😀", "👨‍👩‍👧‍👦", "🏳️‍🌈", "1️⃣", "🇩🇪", "👍🏽 ok", "🦙.cpp", "😶‍🌫️", "\ufe0f", "a\u200db",
    "\u0000", "\u0001\u0002", "\u007f", "\u00ad", "\ufffd", "\ue000", "\U0010ffff", "\U000f0000", "\ufdd0", "\u202eabc",
    "<|begin_of_text|>", "a<|eot_id|>b", "<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>", "<|eot_id", "|eot_id|>", "<<|eot_id|>>", "<|eot_id|><|eot_id|>", "<|python_tag|>x", "<|nothing|>",
    "Ġ", "ĠĠ", "Ċ", "▁", "<0x0A>", "<unk>",
    "def f(x):\n    return x**2  # square\n", "for (int i = 0; i < n; ++i) { a[i] += b[i]; }", "<div class=\"x\">&amp;</div>", "http://example.com/a?b=c&d=%20", "snake_case CamelCase kebab-case",
    "!!!", "...", "?!", "-----", "=====", "/* ... */", "~~~~", "$100", "50%", "#tag", "@name", "a/b\\c", "[](){}", "\"quoted\"", "`code`", "``` \n",
]
STRINGS += [c * n for c in ["a", " ", "\n", "=", "0", "é", "ab", "😀"] for n in (7, 24, 25, 26, 100)]
STRINGS += [f"The {w} went to the {v}" + e for w, v, e in zip(["cat", "Big dog", "3 mice", "QUEEN", "old  man"], ["park.", "sea!", "moon?\n", "shop;", "end…"], ["", "\n\n", " ", "\t", "…"])]
STRINGS += [chr(a) + chr(b) for a in (0x20, 0x27, 0x41, 0x301) for b in (0x0A, 0x20, 0x31, 0x41, 0x7A, 0x301, 0x2E)]


def main():
    tokenizer = Tokenizer.from_file(str(ROOT / "models/tiny/tokenizer.json"))

    def ids(text, special):
        tokenizer.encode_special_tokens = not special
        return tokenizer.encode(text, add_special_tokens=False).ids

    rows = []
    for text in dict.fromkeys(STRINGS):
        plain, special = ids(text, False), ids(text, True)
        rows.append({"text": text, "plain": plain} | ({"special": special} if special != plain else {}))
    out = ROOT / "crates/engine/tests/golden/text_tokens.json"
    lines = ",\n".join(json.dumps(row, ensure_ascii=True) for row in rows)
    out.write_text(f'{{"made_by": "tokenizers {__version__}", "strings": [\n{lines}\n]}}\n')
    print(f"{out}: {len(rows)} strings")


main()
