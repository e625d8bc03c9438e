"""Writes src/text/unicode.rs: the character classes of the reference library, asked of it character by character.

The `tokenizers` library brings two Unicode tables of different ages (its regular expressions, its digits) and a third, much older one for NFC.
Tokens differ where the tables do, so the classes are measured and not taken from a newer standard.

    $NIBBLE_PEERS_PYTHON crates/engine/tests/golden/unicode_classes.py

Needs: tokenizers. `unicodedata` only tells which characters NFC could touch; those that it does not know (newer than its own table) come from
NEWER below, which lists the ones that the crate `unicode-normalization` treats as combining or composing.
"""

import contextlib
import io
import unicodedata
from pathlib import Path

from tokenizers import Regex, __version__, normalizers, pre_tokenizers

CODEPOINTS = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
# Assigned after the Unicode version of Python's own table; checked by bench/peers/tokenizer_fuzz.py.
NEWER = [
    0x5c8, 0x5c9, 0x897, 0x1acf, 0x1ad0, 0x1ad1, 0x1ad2, 0x1ad3, 0x1ad4, 0x1ad5, 0x1ad6, 0x1ad7, 0x1ad8, 0x1ad9, 0x1ada, 0x1adb,
    0x1adc, 0x1add, 0x1ade, 0x1adf, 0x1ae0, 0x1ae1, 0x1ae2, 0x1ae3, 0x1ae4, 0x1ae5, 0x1ae6, 0x1ae7, 0x1ae8, 0x1ae9, 0x1aea, 0x1aeb,
    0x1aec, 0x1aed, 0x1aee, 0x1aef, 0x1af0, 0x105c9, 0x105e4, 0x10d69, 0x10d6a, 0x10d6b, 0x10d6c, 0x10d6d, 0x10ecb, 0x10ecc, 0x10ecd,
    0x10ece, 0x10ecf, 0x10ef0, 0x10ef1, 0x10ef2, 0x10ef3, 0x10ef4, 0x10ef5, 0x10ef6, 0x10ef7, 0x10ef8, 0x10ef9, 0x10efa, 0x10efb,
    0x10efd, 0x10efe, 0x10eff, 0x11383, 0x11385, 0x1138e, 0x11391, 0x113b8, 0x113bb, 0x113c2, 0x113c5, 0x113c7, 0x113c8, 0x113c9,
    0x113ce, 0x113cf, 0x113d0, 0x11f41, 0x11f42, 0x1611e, 0x1611f, 0x16120, 0x16121, 0x16122, 0x16123, 0x16124, 0x16125, 0x16126,
    0x16127, 0x16128, 0x16129, 0x1612f, 0x16d67, 0x16d68, 0x16d69, 0x16d6a, 0x1d127, 0x1d128, 0x1d250, 0x1d251, 0x1d252, 0x1d25b,
    0x1d25c, 0x1d25f, 0x1d280, 0x1d281, 0x1e08f, 0x1e4ec, 0x1e4ed, 0x1e4ee, 0x1e4ef, 0x1e5ee, 0x1e5ef, 0x1e6e3, 0x1e6e6, 0x1e6ee,
    0x1e6ef, 0x1e6f5,
]


def matching(pattern):
    split = pre_tokenizers.Split(Regex(pattern), "removed")
    hits = set()
    for i in range(0, len(CODEPOINTS), 4096):
        block = CODEPOINTS[i : i + 4096]
        kept = {ch for piece, _ in split.pre_tokenize_str("".join(map(chr, block))) for ch in piece}
        hits |= {c for c in block if chr(c) not in kept}
    return hits


def ranges(points):
    out = []
    for c in sorted(points):
        if out and out[-1][1] == c - 1:
            out[-1][1] = c
        else:
            out.append([c, c])
    return out


def table(name, doc, points):
    print(f"\n/// {doc}\npub(super) static {name}: &[(u32, u32)] = &[")
    line = "   "
    for a, b in ranges(points):
        item = f" (0x{a:x}, 0x{b:x}),"
        if len(line) + len(item) > 140:
            print(line)
            line = "   "
        line += item
    print(line + "\n];")


letters, numbers = matching(r"\p{L}"), matching(r"\p{N}")
digits = pre_tokenizers.Digits(individual_digits=True)
split_digits = {c for c in CODEPOINTS if len(digits.pre_tokenize_str(f"a{chr(c)}a")) == 3}
assert numbers <= split_digits and matching(r"\s") == {c for c in CODEPOINTS if chr(c).isspace()} - {0x1C, 0x1D, 0x1E, 0x1F}
nfc = normalizers.NFC()
inert = set(NEWER)
for c in CODEPOINTS:
    ch = chr(c)
    for text in (ch, "a" + ch, f"a{ch}\u0323", f"a\u0301{ch}\u0323", f"q\u0301{ch}\u0323", ch + "\u0338"):
        if nfc.normalize_str(text) != unicodedata.normalize("NFC", text):
            inert.add(c)
    pair = unicodedata.decomposition(ch).split()
    if len(pair) == 2 and not pair[0].startswith("<"):
        text = "".join(chr(int(p, 16)) for p in pair)
        if nfc.normalize_str(text) != unicodedata.normalize("NFC", text):
            inert.add(int(pair[1], 16))

out = io.StringIO()
with contextlib.redirect_stdout(out):
    print("//! Character classes as the reference library sees them. Generated; do not edit.")
    print("//!")
    print("//! The regular expressions of published tokenizers were run by the `tokenizers` library, so its tables decide what a letter is. Made by")
    print(f"//! `tests/golden/unicode_classes.py` from tokenizers {__version__}.")
    print("#![cfg_attr(rustfmt, rustfmt_skip)]")
    table("LETTERS", r"`\p{L}`: first and last of each range.", letters)
    table("NUMBERS", r"`\p{N}`.", numbers)
    table("NEWER_DIGITS", r"Digits to the pre-tokenizer `Digits`, whose table is newer, that `\p{N}` does not hold.", split_digits - numbers)
    table("NFC_INERT", "Characters newer than the library's NFC table: neither composed nor reordered, so they part the text for NFC.", inert)
target = Path(__file__).resolve().parents[2] / "src/text/unicode.rs"
target.write_text(out.getvalue())
print(target)
