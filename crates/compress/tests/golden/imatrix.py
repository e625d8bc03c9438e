"""Golden importance: what llama-imatrix gathers from models/tiny on the first four chunks of the calibration text that ships.

    NIBBLE_PEERS_LLAMA=<llama.cpp's binaries, llama-imatrix among them> NIBBLE_PEERS_LLAMA_SOURCE=<its sources> python imatrix.py [--out imatrix.json]

The model is converted to F32 by llama.cpp's own converter, since with BF16 weights llama.cpp rounds activations to BF16. One chunk a batch (`-b 512`): with four,
llama.cpp cuts batches so that six tokens are left over, and llama-imatrix takes no batch below sixteen. Every sixteenth column is kept, and the sum of all.
"""

import argparse
import json
import os
import pathlib
import subprocess
import tempfile

import numpy as np
from convert_tiny import convert

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[3]
TEXT = ROOT / "crates/compress/src/calibrate/text.txt"


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--out", default=HERE / "imatrix.json")
    out = args.parse_args().out
    llama, source = pathlib.Path(os.environ["NIBBLE_PEERS_LLAMA"]), os.environ["NIBBLE_PEERS_LLAMA_SOURCE"]
    with tempfile.TemporaryDirectory() as folder:
        f32, stats = os.path.join(folder, "f32.gguf"), os.path.join(folder, "stats.gguf")
        convert(source, str(ROOT / "models/tiny"), "f32", f32)
        from gguf import GGUFReader  # the converter brings its own, and must come first

        words = [llama / "llama-imatrix", "-m", f32, "-f", TEXT, "-o", stats, "--chunks", "4", "-b", "512", "-c", "512", "--no-ppl", "-t", "2"]
        subprocess.run(words, check=True)
        reader = GGUFReader(stats)
        fields = {k: f.contents() for k, f in reader.fields.items()}
        tensors = {t.name: np.array(t.data, dtype=np.float32) for t in reader.tensors}
    entries = {}
    for name, sums in tensors.items():
        if name.endswith(".in_sum2"):
            base = name.removesuffix(".in_sum2")
            sums = sums.reshape(-1)
            entries[base] = {"count": float(tensors[base + ".counts"].reshape(-1)[0]), "columns": len(sums), "total": float(sums.sum(dtype=np.float64)),
                             "every16": [float(f"{x:.7g}") for x in sums[::16]]}
    golden = {"chunks": fields["imatrix.chunk_count"], "chunk_size": fields["imatrix.chunk_size"], "entries": entries}
    pathlib.Path(out).write_text(json.dumps(golden, separators=(",", ":")).replace('},"blk', '},\n"blk') + "\n")


if __name__ == "__main__":
    main()
