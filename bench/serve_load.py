#!/usr/bin/env python3
"""Loads `nibble serve` and prints a page in Markdown for bench/record. Python's own library is all it needs.

    cargo build --release
    python3 bench/serve_load.py mixed MODEL.gguf [--clients 64] [--minutes 5]      nothing lost, nothing mixed up, memory flat
    python3 bench/serve_load.py streams MODEL.gguf [--streams 8] [--tokens 32]     together beside one after another
    python3 bench/serve_load.py prefix MODEL.gguf [--tokens 1000]                  the first token of a second request with the same beginning

`mixed`: each client asks one of 48 questions, streamed or whole, of either interface, now and then hanging up in the middle; every answer is compared with
what the server said to that question when nobody else asked. The resident memory of the server is read every second.
"""

import argparse
import asyncio
import datetime
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
MIB = 1 << 20


class Server:
    def __init__(self, program, model, *words):
        self.folder = tempfile.TemporaryDirectory()
        port = pathlib.Path(self.folder.name) / "port"
        environment = {**os.environ, "NIBBLE_MODELS": self.folder.name + "/models"}
        self.process = subprocess.Popen([program, "serve", "--port", "0", "--port-file", port, *words, model], env=environment, stderr=subprocess.DEVNULL)
        while not port.exists():
            if self.process.poll() is not None:
                sys.exit(f"nibble serve ended with {self.process.returncode}")
            time.sleep(0.02)
        self.port = int(port.read_text())

    def memory(self):
        """(resident, of no file), bytes."""
        text = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        of = lambda key: int(text.split(key + ":")[1].split()[0]) * 1024
        return of("VmRSS"), of("RssAnon")

    def stop(self):
        self.process.terminate()
        return self.process.wait()


async def post(port, path, body, first=None, hang_up_after=None):
    """The body of the answer, and its status. `first` is called when its first bytes come; None is returned where the client hung up."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 24)
    try:
        data = json.dumps(body).encode()
        head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\nConnection: close\r\n\r\n"
        writer.write(head.encode() + data)
        await writer.drain()
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        status = int(head.split()[1])
        length = next((int(line.split(":")[1]) for line in head.split("\r\n") if line.startswith("content-length:")), None)
        parts, chunks = [], 0
        if length is not None:
            parts.append(await reader.readexactly(length))
        while length is None:
            size = int((await reader.readline()).strip() or b"0", 16)
            chunk = await reader.readexactly(size)
            await reader.readline()
            if first and size:
                first()
                first = None
            if size == 0:
                break
            parts.append(chunk)
            chunks += 1
            if hang_up_after is not None and chunks >= hang_up_after:
                return status, None
        return status, b"".join(parts)
    finally:
        writer.close()


def questions():
    animals = ["fox", "bear", "hen", "mouse", "whale", "snail", "owl", "frog", "cat", "dog", "goat", "duck"]
    kinds = ["Tell me a story about a {}.", "What does a {} eat?", "A {} and a friend went out.", "Why is the {} sad?"]
    return [kind.format(animal) for kind in kinds for animal in animals]


def request(model, question, number, form):
    """(path, body, how to read the text of the answer)"""
    options = {"temperature": 0.9, "seed": number, "num_predict": 8 + number % 29}
    messages = [{"role": "user", "content": question}]
    lines = lambda data: [json.loads(line) for line in data.splitlines()]
    if form == 0:
        return "/api/chat", {"model": model, "messages": messages, "options": options, "stream": False}, lambda data: json.loads(data)["message"]["content"]
    if form == 1:
        body = {"model": model, "messages": messages, "options": options}
        return "/api/chat", body, lambda data: "".join(line["message"]["content"] for line in lines(data))
    body = {"model": model, "messages": messages, "temperature": 0.9, "seed": number, "max_tokens": 8 + number % 29, "top_p": 0.95, "stream": form == 3}
    if form == 2:
        return "/v1/chat/completions", body, lambda data: json.loads(data)["choices"][0]["message"]["content"]

    def events(data):
        texts = [line[6:] for line in data.decode().splitlines() if line.startswith("data: ") and line != "data: [DONE]"]
        return "".join(choice["delta"].get("content") or "" for text in texts for choice in json.loads(text)["choices"])

    return "/v1/chat/completions", body, events


async def mixed(server, model, clients, minutes):
    asked = questions()
    expected = {}
    for number, question in enumerate(asked):
        for form in range(4):
            path, body, read = request(model, question, number, form)
            status, data = await post(server.port, path, body)
            if status != 200:
                sys.exit(f"{path}: {status}: {data.decode()}")
            expected[number, form] = read(data)
    counts = {"right": 0, "wrong": 0, "failed": 0, "hung up": 0, "told to come again": 0}
    memory, end, began = [], time.monotonic() + minutes * 60, time.monotonic()

    async def client(seed):
        draw = random.Random(seed)
        while time.monotonic() < end:
            number, form = draw.randrange(len(asked)), draw.randrange(4)
            path, body, read = request(model, asked[number], number, form)
            hang_up = draw.randrange(1, 4) if form in (1, 3) and draw.random() < 0.05 else None
            try:
                status, data = await post(server.port, path, body, hang_up_after=hang_up)
            except (OSError, asyncio.IncompleteReadError, ValueError) as error:
                counts["failed"] += 1
                print(f"client {seed}: {error!r}", file=sys.stderr)
                continue
            if status == 429:
                counts["told to come again"] += 1
                await asyncio.sleep(0.5)
            elif data is None:
                counts["hung up"] += 1
            elif status == 200 and read(data) == expected[number, form]:
                counts["right"] += 1
            else:
                counts["wrong"] += 1
                print(f"client {seed}: {path} {status} {data[:300]!r}", file=sys.stderr)

    async def watch():
        while time.monotonic() < end:
            memory.append(server.memory())
            await asyncio.sleep(1)

    await asyncio.gather(watch(), *(client(seed) for seed in range(clients)))
    seconds = time.monotonic() - began
    print(f"{clients} clients, {seconds:.0f} s: " + ", ".join(f"{n} {what}" for what, n in counts.items()) + f"; {counts['right'] / seconds:.1f} answers/s")
    part = len(memory) // 5
    print("\n| of the time | anonymous memory, MiB: least .. most |\n|---|---|")
    for i in range(5):
        anonymous = [m[1] for m in memory[i * part : (i + 1) * part]]
        print(f"| {20 * i} to {20 * i + 20} % | {min(anonymous) / MIB:.1f} .. {max(anonymous) / MIB:.1f} |")
    return counts["wrong"] + counts["failed"] == 0


async def streams(server, model, count, tokens, rounds):
    def body(i):
        # Texts of their own, as long as each other.
        prompt = f"{i} {i} {i} Once upon a time there was a fox who lived in a wood and went out."
        return {"model": model, "prompt": prompt, "raw": True, "options": {"temperature": 0, "num_predict": tokens, "seed": 1}}

    await post(server.port, "/api/generate", body(99))
    ratios = []
    for _ in range(rounds):
        begin = time.monotonic()
        for i in range(count):
            await post(server.port, "/api/generate", body(i))
        alone = time.monotonic() - begin
        begin = time.monotonic()
        await asyncio.gather(*(post(server.port, "/api/generate", body(count + i)) for i in range(count)))
        together = time.monotonic() - begin
        ratios.append(alone / together)
        print(f"{count} streams of {tokens} tokens: one after another {count * tokens / alone:.1f} tokens/s, together {count * tokens / together:.1f}: {ratios[-1]:.2f} times", flush=True)
    return True


async def prefix(server, model, tokens, rounds):
    # Tokens of the words that are repeated: the model's own count.
    status, data = await post(server.port, "/tokenize", {"model": model, "content": " the little fox went on and" * 10})
    per = max(1, len(json.loads(data)["tokens"]) // 10)
    for i in range(rounds):
        text = f"{i} " + " ".join(["the little fox went on and"] * (tokens // per))
        times, last = [], None
        for end in (" home", " away"):
            begin = time.monotonic()
            body = {"model": model, "prompt": text + end, "raw": True, "options": {"temperature": 0, "num_predict": 2, "num_ctx": 2048}}
            _, data = await post(server.port, "/api/generate", body, first=lambda: times.append(time.monotonic() - begin))
            last = json.loads(data.splitlines()[-1])
            if "error" in last:
                sys.exit(last["error"])
        print(f"prompt of {last['prompt_eval_count']} tokens: first token after {times[0]:.3f} s, with the beginning read before {times[1]:.4f} s: {times[0] / times[1]:.0f} times sooner", flush=True)
    return True


def main():
    words = argparse.ArgumentParser()
    words.add_argument("what", choices=["mixed", "streams", "prefix"])
    words.add_argument("model")
    words.add_argument("--nibble", default=str(ROOT / "target/release/nibble"))
    words.add_argument("--clients", type=int, default=64)
    words.add_argument("--minutes", type=float, default=5)
    words.add_argument("--streams", type=int, default=8)
    words.add_argument("--tokens", type=int)
    words.add_argument("--rounds", type=int, default=3)
    words.add_argument("--threads", type=int)
    a = words.parse_args()
    options = ["--threads", str(a.threads)] if a.threads else []
    server = Server(a.nibble, a.model, "--queue", "256", "--ctx", "2048", "--keep-alive", "-1", *options)
    name = pathlib.Path(a.model).stem
    print(f"{datetime.date.today()}, `bench/serve_load.py {' '.join(sys.argv[1:])}`\n")
    if a.what == "mixed":
        work = mixed(server, name, a.clients, a.minutes)
    elif a.what == "streams":
        work = streams(server, name, a.streams, a.tokens or 32, a.rounds)
    else:
        work = prefix(server, name, a.tokens or 1000, a.rounds)
    good = asyncio.run(work)
    status = server.stop()
    sys.exit(0 if good and status == 0 else 1)


if __name__ == "__main__":
    main()
