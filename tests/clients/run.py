"""Runs the official clients against `nibble serve`, as an app would.

usage: run.py NIBBLE GGUF [FOLDER]

NIBBLE is the program, GGUF a model with a chat template, FOLDER what `.ci/clients.sh FOLDER` filled (a Python environment, and node_modules);
without it the clients of this very Python are used and the JavaScript ones skipped. The closing line is that of a test runner.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

HERE = Path(__file__).resolve().parent
PAGE = HERE.parents[1] / "crates/serve/tests/web"


class Server:
    """`nibble serve` with a store of its own, on a port that the system chose."""

    def __init__(self, nibble, folder, *arguments):
        self.folder = folder
        self.log = open(folder / "serve.log", "ab")
        port = folder / "port"
        port.unlink(missing_ok=True)
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("NIBBLE_", "OLLAMA_", "OPENAI_"))}
        environment["NIBBLE_MODELS"] = str(folder / "models")
        self.process = subprocess.Popen(
            [nibble, "serve", "--port", "0", "--port-file", str(port), *arguments],
            env=environment, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log,
        )
        # The file appears whole, once the server listens.
        while not port.exists():
            if self.process.poll() is not None:
                raise RuntimeError(f"nibble serve ended with {self.process.returncode}:\n{self.tail()}")
            time.sleep(0.02)
        self.url = f"http://127.0.0.1:{port.read_text().strip()}"

    def tail(self):
        return (self.folder / "serve.log").read_text(errors="replace")[-4000:]

    def stop(self):
        """Asks it to end, and gives its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait()


def python_tests():
    """(passed, failed, skipped)"""
    suite = unittest.defaultTestLoader.discover(str(HERE), pattern="test_*.py")
    result = unittest.TextTestRunner(verbosity=2, stream=sys.stdout).run(suite)
    failed = len(result.failures) + len(result.errors) + len(result.unexpectedSuccesses)
    # An error in setUpClass counts as a failure of no test.
    return max(result.testsRun - failed - len(result.skipped), 0), failed, len(result.skipped)


def node_tests(folder):
    """(passed, failed, skipped). Node finds packages beside the file that imports them, so the tests are copied beside them."""
    there = Path(tempfile.mkdtemp(dir=folder))
    try:
        for file in HERE.glob("*.test.mjs"):
            shutil.copy(file, there)
        # The page against this server; `cargo xtask test web` tries everything else of it against a stand-in.
        files = [*sorted(str(file) for file in there.glob("*.test.mjs")), str(PAGE / "page.test.mjs")]
        run = subprocess.run(["node", "--test", "--test-reporter=tap", *files], stdout=subprocess.PIPE, text=True)
    finally:
        shutil.rmtree(there)
    print(run.stdout)
    figure = lambda name: int((re.search(rf"^# {name} (\d+)$", run.stdout, re.M) or [0, "0"])[1])
    passed, failed = figure("pass"), figure("fail")
    if run.returncode != 0 or passed == 0:
        failed = max(failed, 1)
    return passed, failed, figure("skipped")


def main():
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    nibble, gguf = sys.argv[1], Path(sys.argv[2]).resolve()
    folder = Path(sys.argv[3]).resolve() if len(sys.argv) == 4 else None
    with tempfile.TemporaryDirectory() as store:
        server = Server(nibble, Path(store))
        os.environ.update(OLLAMA_HOST=server.url, NIBBLE_TEST_URL=server.url, NIBBLE_TEST_GGUF=str(gguf), NIBBLE_TEST_PROGRAM=nibble)
        os.environ.pop("OPENAI_API_KEY", None)
        try:
            counts = [python_tests()]
            if folder:
                counts.append(node_tests(folder))
        finally:
            status = server.stop()
        if any(failed for _, failed, _ in counts):
            print(server.tail())
    passed, failed, skipped = (sum(column) for column in zip(*counts))
    if status not in (0, 143):
        print(f"nibble serve ended with {status}")
        failed += 1
    print(f"\ntest result: {'FAILED' if failed else 'ok'}. {passed} passed; {failed} failed; {skipped} ignored")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
