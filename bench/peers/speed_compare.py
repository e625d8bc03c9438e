#!/usr/bin/env python3
"""Speed and memory of nibble and of llama.cpp on the same files, in turn: A B A B. Prints a page in Markdown for bench/record.

    cargo build --release
    eval "$(bench/peers/setup FOLDER)"
    python bench/peers/speed_compare.py MODEL.gguf... [--threads 1,2] [--pp 512] [--tg 64] [--depth 0,4096] [--rounds 5]

A round of a test is one process of each program, with the same file, threads and tokens (`nibble bench` and `llama-bench`; both feed tokens, neither
samples, and both do a small run first that does not count). A ratio is of one round, so that both had the same neighbours; shown is the
median of the rounds' ratios with the least and the greatest. Above 1, nibble is better, for times and memory too.

Load to first token is a whole process: `nibble run` beside `first_token.c`, which does the same with libllama (compiled here, with cc), on a prompt of about
20 tokens, after a run that does not count and leaves the file in the system's cache. Memory is that of the benchmarks' processes: the peak of
resident pages, mapped weights included, and of pages of no file (RssAnon, looked at every 20 ms); nibble's is that of one more run that does not measure the bandwidth, which needs a buffer.

A part of the limit is of one round too: of the median bandwidth or int8 rate that `nibble bench` measured just before and just after its test, the mean of the two. Shown is the median
of the rounds. What is said above a table is what the machine does in its best millisecond.

NIBBLE_PEERS_LLAMA and NIBBLE_PEERS_LLAMA_SOURCE name llama.cpp's programs and sources (`setup` prints both). NIBBLE_PEERS_IK, if it is set, names the
llama-bench of ik_llama.cpp, which then takes part as a third. `--nibble` is the program.
"""

import argparse
import datetime
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
MIB = 1 << 20


class Run:
    """A finished process: what it printed, its seconds, and its memory in bytes."""

    def __init__(self, words):
        self.words = [str(word) for word in words]
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            begin = time.monotonic()
            child = subprocess.Popen(self.words, stdin=subprocess.DEVNULL, stdout=out, stderr=err)
            self.anonymous = None
            while True:
                pid, self.status, usage = os.wait4(child.pid, os.WNOHANG)
                if pid:
                    break
                self.look(child.pid)
                time.sleep(0.02)
            # The last look may be 20 ms late: where that matters, `timed` is used.
            self.seconds = time.monotonic() - begin
            child.returncode = self.status
            self.resident = usage.ru_maxrss * 1024
            out.seek(0)
            err.seek(0)
            self.stdout, self.stderr = out.read().decode(errors="replace"), err.read().decode(errors="replace")

    def look(self, pid):
        try:
            lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
            kib = next(int(line.split()[1]) for line in lines if line.startswith("RssAnon:"))
            self.anonymous = max(self.anonymous or 0, kib * 1024)
        except (OSError, StopIteration):
            pass

    def checked(self):
        if self.status:
            sys.exit(f"{' '.join(self.words)}: status {self.status}\n{self.stderr[-2000:]}")
        return self


def timed(words):
    """Seconds of a whole process, without looking at it meanwhile."""
    begin = time.monotonic()
    done = subprocess.run([str(word) for word in words], stdin=subprocess.DEVNULL, capture_output=True)
    seconds = time.monotonic() - begin
    if done.returncode:
        sys.exit(f"{' '.join(map(str, words))}: {done.returncode}\n{done.stderr.decode(errors='replace')[-2000:]}")
    return seconds


def numbers(text):
    return [int(n) for n in text.split(",")]


def arguments():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("models", nargs="+", metavar="MODEL.gguf")
    args.add_argument("--threads", type=numbers, default=[1, 2])
    args.add_argument("--pp", type=numbers, default=[512], help="tokens of the prompts; 0 for none")
    args.add_argument("--tg", type=int, default=64, help="tokens to generate; 0 for none")
    args.add_argument("--depth", type=numbers, default=[0, 4096], help="tokens in the cache before generation")
    args.add_argument("--rounds", type=int, default=5)
    args.add_argument("--no-first-token", action="store_true", help="leave out load to first token")
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    args.add_argument("--nibble", default=str(target / "release/nibble"))
    args = args.parse_args()
    for name in ["NIBBLE_PEERS_LLAMA"] + ([] if args.no_first_token else ["NIBBLE_PEERS_LLAMA_SOURCE"]):
        if name not in os.environ:
            sys.exit(f'{name} is not set: eval "$(bench/peers/setup FOLDER)"')
    for path in [args.nibble, *args.models]:
        if not os.path.exists(path):
            sys.exit(f"{path} is not there")
    return args


def ours(args, model, threads, pp, tg, depth, *more):
    words = [args.nibble, "bench", model, "--pp", pp, "--tg", tg, "--depth", depth, "--threads", threads, "-r", 1, "--json", "-q", *more]
    run = Run(words).checked()
    report = json.loads(run.stdout)
    wanted = "prompt" if pp else "generation"
    result = next((r for r in report["results"] if r["test"] == wanted), None)
    if result is None:
        sys.exit(f"{' '.join(run.words)}: {report['skipped'][0]['why']}")
    return result["median"], run, result


def theirs(program, model, threads, pp, tg, depth):
    words = [program, "-m", model, "-p", pp, "-n", tg, "-t", threads, "-r", 1, "-o", "json"]
    run = Run(words + (["-d", depth] if depth else []))
    try:
        row = json.loads(run.stdout)[-1]
        return row["samples_ts"][0], run, row
    except (ValueError, LookupError):
        return None, run, None


def spread(values, digits=3):
    shown = [f"{x:.{digits}g}" if x < 1000 else f"{x:.0f}" for x in (statistics.median(values), min(values), max(values))]
    return f"{shown[0]} ({shown[1]} .. {shown[2]})"


def table(header, rows):
    rows = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows) + "\n"


def say(text):
    print(text, file=sys.stderr, flush=True)


def compile_first_token(folder):
    here, source = pathlib.Path(__file__).parent, pathlib.Path(os.environ["NIBBLE_PEERS_LLAMA_SOURCE"])
    libraries, out = os.environ["NIBBLE_PEERS_LLAMA"], pathlib.Path(folder) / "first_token"
    words = ["cc", "-O2", f"-I{source}/include", f"-I{source}/ggml/include", here / "first_token.c", "-o", out, f"-L{libraries}"]
    words += ["-lllama", "-lggml", "-lggml-base", f"-Wl,-rpath,{libraries}", f"-Wl,-rpath-link,{libraries}"]
    Run(words).checked()
    return out


def first_token(args, model, threads, program):
    """Seconds to the first token, nibble and libllama in turn. Returns both lists, the prompt's tokens, and the memory of one more run of each."""
    text = "Once"
    count = 0
    while count < 20:
        text += " upon"
        count = int(Run([program, model, 0, 0, text]).checked().stdout)
    # The tokens of both must be the same ones, or at least as many.
    nibble = [args.nibble, "run", model, "--raw", "--temp", 0, "-n", 1, "--threads", threads, text]
    llama = [program, model, threads, 4096, text]
    told = json.loads(Run(nibble + ["--json"]).checked().stdout)["prompt_tokens"]
    if told != count:
        sys.exit(f"{model}: the prompt is {told} tokens to nibble and {count} to llama.cpp")
    timed(llama)
    a, b = [], []
    for n in range(args.rounds):
        a.append(timed(nibble))
        b.append(timed(llama))
        say(f"  first token, {threads} threads, round {n + 1}: {a[-1]:.2f} s, {b[-1]:.2f} s")
    return a, b, count, Run(nibble).checked(), Run(llama).checked()


def memory_row(test, threads, runs):
    cells = []
    for run in runs:
        anonymous = "?" if run.anonymous is None else f"{run.anonymous / MIB:.0f}"
        cells.append(f"{run.resident / MIB:.0f} / {anonymous}" if run.status == 0 else "-")
    return [test, str(threads), *cells]


def measure(args, model, others, program):
    """One file's tables."""
    names = ["nibble", *others]
    words = [args.nibble, "bench", model, "--pp", 0, "--tg", 0, "-r", 1, "--threads", ",".join(map(str, args.threads)), "--json", "-q"]
    base = json.loads(Run(words).checked().stdout)
    limits = {limit["threads"]: limit for limit in base["limits"]}
    speeds, memories, build = [], [], {}
    tests = [("prompt", pp, 0, 0) for pp in args.pp if pp] + [("generation", 0, args.tg, depth) for depth in args.depth if args.tg]
    for threads in args.threads:
        for kind, pp, tg, depth in tests:
            label = f"prompt {pp}" if pp else f"generation {tg} at depth {depth}"
            values, parts, last = {name: [] for name in names}, {name: [] for name in names}, {}
            for n in range(args.rounds):
                value, _, result = ours(args, model, threads, pp, tg, depth)
                values["nibble"].append(value)
                # What the machine does now, in this test's tokens a second.
                most = statistics.mean(result["rates"]) / result["work_per_token"] if result["rates"] else None
                for name, other in others.items():
                    value, last[name], row = theirs(other, model, threads, pp, tg, depth)
                    if value is not None:
                        values[name].append(value)
                        build[name] = row.get("build_commit", "?")
                for name in names:
                    if most and len(values[name]) > n:
                        parts[name].append(values[name][n] / most)
                say(f"  {label}, {threads} threads, round {n + 1}: " + ", ".join(f"{k} {v[-1]:.2f}" if v else f"{k} -" for k, v in values.items()))
            # Memory is that of a run by itself: the buffer for the bandwidth would count.
            _, last["nibble"], _ = ours(args, model, threads, pp, tg, depth, "--no-limits")
            part = lambda name: f"{100 * statistics.median(parts[name]):.0f} %" if parts[name] else "-"
            ratios = []
            for name in others:
                whole = len(values[name]) == args.rounds
                ratios.append(spread([a / b for a, b in zip(values["nibble"], values[name])]) if whole else "no result")
            shown = [spread(values[name]) if values[name] else "-" for name in names]
            speeds.append([label, str(threads), *shown, *ratios, *[part(name) for name in names]])
            memories.append(memory_row(label, threads, [last[name] for name in names]))
    head = ["test, tokens/s", "threads", *names, *[f"nibble / {name}" for name in others], *[f"{name}, of the limit" for name in names]]
    facts = base["model"]
    out = [f"\n## {pathlib.Path(model).name}: {facts['type']}, {facts['file_bytes'] / MIB:.0f} MiB, {facts['parameters'] / 1e6:.0f} million parameters\n"]
    for threads, limit in limits.items():
        read = limit["read_bytes_per_second"]
        read = f"{read / 1e9:.1f} GB/s" if read else "unknown"
        int8 = limit["int8_macs_per_second"] / 1e9
        plural = "s" * (threads != 1)
        out.append(f"The machine with {threads} thread{plural}: reads {read}, multiplies {int8:.0f} G 8-bit integers/s ({limit['instruction_set']}).")
    out.append("")
    out.append(table(head, speeds))
    if program:
        rows = []
        for threads in args.threads:
            a, b, count, run_a, run_b = first_token(args, model, threads, program)
            rows.append([f"load to first token, prompt {count}", str(threads), spread(a), spread(b), spread([x / y for x, y in zip(b, a)])])
            cells = memory_row("first token", threads, [run_a, run_b])
            memories.append(cells + ["-"] * (len(names) - 2))
        out.append(table(["whole process, s", "threads", "nibble", "llama.cpp", "times as fast"], rows))
    out.append(table(["MiB: peak resident / anonymous", "threads", *names], memories))
    return "\n".join(out), build, base


def main():
    args = arguments()
    others = {"llama.cpp": str(pathlib.Path(os.environ["NIBBLE_PEERS_LLAMA"]) / "llama-bench")}
    if os.environ.get("NIBBLE_PEERS_IK"):
        others["ik_llama.cpp"] = os.environ["NIBBLE_PEERS_IK"]
    with tempfile.TemporaryDirectory() as folder:
        program = None if args.no_first_token else compile_first_token(folder)
        pages, build, base = [], {}, None
        for model in args.models:
            say(model)
            page, found, base = measure(args, model, others, program)
            pages.append(page)
            build.update(found)
    commit = subprocess.run(["git", "-C", ROOT, "describe", "--always", "--dirty"], capture_output=True, text=True).stdout.strip()
    machine = base["machine"]
    peers = ", ".join(f"{name} {build.get(name, '?')}" for name in others)
    print(f"# Speed beside {' and '.join(others)}\n")
    print(f"{datetime.date.today()}, nibble {commit or base['nibble']}, {peers}. {machine['cpu']}, {machine['cores']} cores.\n")
    print(f"    bench/peers/speed_compare.py {' '.join(sys.argv[1:])}\n")
    print(f"Medians of {args.rounds} rounds, in turn, with the least and the greatest; ratios are of one round. Load average at the end: {os.getloadavg()[1]:.1f}.")
    print("\n".join(pages), end="")


if __name__ == "__main__":
    main()
