#!/usr/bin/env python3
"""What the guesses of `nibble serve` are worth: two servers of one model, one that guesses and one that does not, asked the same in turn. Prints a page in
Markdown for bench/record. Python's own library is all it needs.

    cargo build --release
    python3 bench/serve_guesses.py MODEL.gguf [--cases edit,loop,turns,random,four] [--pairs 5] [--tokens 96] [--threads 2] [--program nibble]

The cases suit a model with random weights: what it says is decided by the case, not by what it knows.

    edit     the answer is the prompt's own text, which a schema of one constant makes it be
    loop     temperature 0, which in such a model soon repeats itself
    turns    one of six tokens each time, at random: there is always something to guess, and it is mostly wrong
    random   any token, at random: nothing comes twice
    four     `loop` by four clients at once

Of each pair the texts must be the same. Rates are tokens of answers a second: of the server's own clock where one answers, of the wall's with four.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[1]
PROSE = "The small boat left the harbour at dawn and the small boat came back to the harbour at dusk. "
LINE = "fn read(session: &mut Session) -> usize { session.len() + session.rest() }\n"


class Server:
    def __init__(self, args, how):
        self.folder = tempfile.TemporaryDirectory()
        port = pathlib.Path(self.folder.name) / "port"
        words = ["--port", "0", "--port-file", port, "--threads", str(args.threads), "--ctx", "2048", "--speculate", how]
        environment = {**os.environ, "NIBBLE_MODELS": self.folder.name + "/models"}
        self.process = subprocess.Popen([args.program, "serve", *words, args.model], env=environment, stderr=subprocess.DEVNULL)
        while not port.exists():
            if self.process.poll() is not None:
                sys.exit(f"nibble serve ended with {self.process.returncode}")
            time.sleep(0.02)
        self.url = f"http://127.0.0.1:{port.read_text().strip()}"
        self.model = pathlib.Path(args.model).stem

    def ask(self, path, body):
        data = json.dumps({"model": self.model, "stream": False, **body}).encode()
        with urllib.request.urlopen(urllib.request.Request(self.url + path, data, {"Content-Type": "application/json"})) as answer:
            return json.load(answer)

    def guesses(self):
        with urllib.request.urlopen(self.url + "/metrics") as answer:
            values = dict(line.rsplit(" ", 1) for line in answer.read().decode().splitlines() if not line.startswith("#"))
        return [int(float(values[name])) for name in ("nibble_guessed_tokens_total", "nibble_guessed_tokens_right_total")]

    def generate(self, prompt, tokens, **more):
        options = {"num_predict": tokens, "seed": 1, "temperature": 0, **more.pop("options", {})}
        answer = self.ask("/api/generate", {"prompt": prompt, "raw": True, "options": options, **more})
        return answer["eval_count"], answer["eval_duration"] / 1e9, answer["response"]


def edit(server, i, tokens):
    text = (LINE.replace("Session", f"Session{i}") * 6)[:400]
    return server.generate(text + "\n", tokens, format={"const": text})


def loop(server, i, tokens):
    return server.generate(PROSE * 4 + str(i), tokens)


def turns(server, i, tokens):
    began, bias = time.time(), {str(token): 100 for token in range(300, 306)}
    body = {"prompt": PROSE + str(i), "max_tokens": tokens, "temperature": 1.0, "top_p": 1, "seed": i, "logit_bias": bias}
    answer = server.ask("/v1/completions", body)
    return answer["usage"]["completion_tokens"], time.time() - began, answer["choices"][0]["text"]


def random(server, i, tokens):
    return server.generate(PROSE + str(i), tokens, options={"temperature": 1.0, "top_k": 0, "top_p": 1, "seed": i})


def four(server, i, tokens):
    answers = [None] * 4

    def one(k):
        answers[k] = loop(server, 10 * i + k, tokens)

    threads, began = [threading.Thread(target=one, args=(k,)) for k in range(4)], time.time()
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    return sum(count for count, _, _ in answers), time.time() - began, [text for _, _, text in answers]


CASES = {case.__name__: case for case in (edit, loop, turns, random, four)}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("--cases", default=",".join(CASES))
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=96)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--program", default=ROOT / "target/release/nibble")
    args = parser.parse_args()
    servers = {how: Server(args, how) for how in ("off", "ngram")}
    print("| case | off, tokens/s | guessing | guessed, right | ratio: median, least .. greatest |\n|---|---|---|---|---|")
    try:
        for server in servers.values():
            server.generate("x", 8)
        for name in args.cases.split(","):
            rates, ratios, guessed = {how: [] for how in servers}, [], [0, 0]
            for i in range(args.pairs):
                texts = []
                # Who goes first changes, so that a machine that slows down favours neither.
                for how in list(servers)[:: 1 if i % 2 == 0 else -1]:
                    before = servers[how].guesses()
                    count, seconds, text = CASES[name](servers[how], i, args.tokens)
                    guessed = [sum + after - first for sum, after, first in zip(guessed, servers[how].guesses(), before)]
                    rates[how].append(count / seconds)
                    texts.append(text)
                if texts[0] != texts[1]:
                    sys.exit(f"{name} {i}: guessing changed the text: {texts}")
                ratios.append(rates["ngram"][-1] / rates["off"][-1])
            off, on, ratio = (statistics.median(list) for list in (rates["off"], rates["ngram"], ratios))
            counts = f"{guessed[0]}, {guessed[1]} of {args.pairs * args.tokens * (4 if name == 'four' else 1)}"
            print(f"| {name} | {off:.1f} | {on:.1f} | {counts} | {ratio:.2f}, {min(ratios):.2f} .. {max(ratios):.2f} |", flush=True)
    finally:
        for server in servers.values():
            server.process.terminate()
            server.process.wait()


main()
