"""Plans of random shapes against llama-quantize --dry-run.

    NIBBLE_PEERS_LLAMA=<llama.cpp's binaries> python plan_check.py [--count N] [--seed S] [--binary target/release/examples/quantize]

Each shape is a sparse GGUF (see crates/compress/tests/golden/recipes.py) that both programs read; every recipe is compared, tensor by tensor.
Build the binary with `cargo build --release -p nibble-compress --example quantize`.
"""

import argparse
import os
import pathlib
import random
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "crates/compress/tests/golden"))
import recipes


def random_shape(r):
    heads = r.choice([1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 15, 16, 20, 24, 32, 40, 64])
    kv = r.choice([d for d in range(1, heads + 1) if heads % d == 0])
    head_dim = r.choice([16, 32, 40, 64, 80, 96, 128])
    hidden = r.choice([heads * head_dim, r.randrange(2, 80) * 16, r.randrange(2, 40) * 32, r.randrange(1, 20) * 256, r.randrange(3, 500) * 2])
    ffn = r.choice([r.randrange(2, 200) * 16, r.randrange(1, 40) * 256, r.randrange(3, 900) * 2])
    layers = r.choice([r.randrange(1, 100), r.choice([1, 2, 7, 8, 15, 16, 22, 26, 28, 30, 32, 40, 48, 60, 79, 80, 81, 126])])
    return recipes.shape(layers, hidden, ffn, heads, kv, head_dim, r.randrange(2, 5000), r.random() < 0.5)


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--count", type=int, default=40)
    args.add_argument("--seed", type=int, default=1)
    args.add_argument("--binary", default=str(pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release/examples/quantize"))
    args = args.parse_args()
    r = random.Random(args.seed)
    llama = recipes.binary()
    tensors = plans = different = 0
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "fake.gguf")
        for n in range(args.count):
            s = random_shape(r)
            recipes.write_fake(path, s)
            ours = subprocess.run([args.binary, path, ",".join(recipes.RECIPES)], capture_output=True, text=True)
            if ours.returncode:
                sys.exit(f"{s}: {ours.stderr}")
            table = {}
            for line in ours.stdout.splitlines():
                recipe, name, kind = line.split("\t")
                table.setdefault(recipe, {})[name] = kind
            for recipe in recipes.RECIPES:
                theirs, size = recipes.dry_run(llama, path, recipe)
                mine = table[recipe]
                total = int(mine.pop("total"))
                bad = [(k, v, mine.get(k)) for k, v in theirs.items() if mine.get(k, "").lower() != v.lower()]
                if bad or len(mine) != len(theirs) or f"{total / 2**20:.2f}" != size:
                    different += 1
                    print(f"DIFFERENT {recipe} of {s}: {bad[:5]} {total} {size}")
                plans += 1
                tensors += len(theirs)
    print(f"{args.count} shapes, {plans} plans, {tensors} tensors; {different} plans differ")
    sys.exit(different != 0)


if __name__ == "__main__":
    main()
