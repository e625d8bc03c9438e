#!/usr/bin/env python3
"""The innermost loops with `sdot` or `smmla` of a program, and how many cycles a static analyser gives them on several cores: a table in Markdown.

usage: mca.py PROGRAM FUNCTION...    (regular expressions of mangled names; PROGRAM from count.sh or peer.sh; needs llvm-mca-19)

Like counting instructions a proxy for comparing variants: loads always hit, nothing outside the loop counts. neoverse-n1 stands for Cortex-A76, A77, A78
and X1, whose pipes it shares; neoverse-n2 for A710, X2 and later.
"""

import re
import subprocess
import sys

CORES = ["cortex-a55", "neoverse-n1", "cortex-a510", "neoverse-n2"]
ITERATIONS = 200


def functions(program):
    """Name and lines (address, instruction) of each function."""
    text = subprocess.run(["aarch64-linux-gnu-objdump", "-d", "--no-show-raw-insn", program], capture_output=True, text=True, check=True).stdout
    for part in text.split("\n\n"):
        head, *body = part.strip().split("\n")
        name = re.match(r"[0-9a-f]+ <(.+)>:$", head)
        if name:
            yield name[1], [(int(a, 16), i.split("//")[0].strip()) for a, i in re.findall(r"^ *([0-9a-f]+):\t(.*)$", "\n".join(body), re.M)]


def products(lines):
    """Multiplications of a piece of code."""
    return sum({"sdot": 16, "smmla": 32}.get(i.split()[0], 0) for _, i in lines)


def loops(lines):
    """The loops that multiply and hold no other loop that does."""
    at = {address: n for n, (address, _) in enumerate(lines)}
    found = []
    for n, (_, i) in enumerate(lines):
        jump = re.match(r"(?:b|b\.\w+|cbn?z \S+,|tbn?z \S+ \S+,)\s+([0-9a-f]+) <", re.sub(r"\t", " ", i))
        if jump and at.get(int(jump[1], 16), n + 1) <= n:
            found.append((at[int(jump[1], 16)], n))
    # Not those that call something: the way for the end of a row.
    found = [(a, b) for a, b in found if products(lines[a : b + 1]) and not any(i.startswith("bl\t") for _, i in lines[a : b + 1])]
    inner = [(a, b) for a, b in found if not any((c, d) != (a, b) and a <= c and d <= b for c, d in found)]
    return [lines[a : b + 1] for a, b in inner]


def cycles(loop, core):
    """Cycles an iteration."""
    loop = [(a, i) for a, i in loop if not i.startswith(("ret", "bl\t", "adrp"))]
    text = "\n".join(re.sub(r"(^(?:b|b\.\w+|cbn?z|tbn?z)\b.*)\b[0-9a-f]+ <.*>", r"\1 0", i.replace("\t", " ")) for _, i in loop)
    command = ["llvm-mca-19", "-mtriple=aarch64", f"-mcpu={core}", f"-iterations={ITERATIONS}", "-instruction-info=0", "-resource-pressure=0"]
    run = subprocess.run([*command, "-"], input=text, capture_output=True, text=True)
    total = re.search(r"Total Cycles: +(\d+)", run.stdout)
    return int(total[1]) / ITERATIONS if total and "error" not in run.stderr else None


def main():
    program, *wanted = sys.argv[1:]
    print("| function | products | instructions | " + " | ".join(f"{core}" for core in CORES) + " |")
    print("|---|---|---|" + "---|" * len(CORES))
    for name, lines in functions(program):
        if not any(re.search(w, name) for w in wanted):
            continue
        # A function that is written out has no loop: all of it.
        for loop in loops(lines) or [lines] * bool(products(lines)):
            per = products(loop) / 256
            row = [f"{len(loop) / per:.1f}"]
            row += ["" if c is None else f"{c / per:.1f}" for c in (cycles(loop, core) for core in CORES)]
            short = "_".join(re.findall(r"(?:few|many|arm|dotprod|i8mm|rows256|rows32|isums256Kj\d|blocks32|q\d_k|iq4_xs|iq4_nl|q\d_0|ggml_\w+)", name))
            print(f"| {short or name} | {products(loop)} | " + " | ".join(row) + " |")


main()
