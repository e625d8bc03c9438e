"""What the Python tests share: the model under test, made once through the interface."""

import os

import ollama

URL = os.environ["NIBBLE_TEST_URL"]
MODEL = "tiny"
GREEDY = {"temperature": 0, "seed": 7, "num_predict": 24}
# Small contexts load quickly; every test uses the same one, so that the model is loaded once.
CONTEXT = 2048


def client():
    return ollama.Client(host=URL)


def ensure_model():
    """The model of NIBBLE_TEST_GGUF in the server's store, as `ollama create` would put it there: blob, then manifest."""
    c = client()
    if any(m.model == f"{MODEL}:latest" for m in c.list().models):
        return
    digest = c.create_blob(os.environ["NIBBLE_TEST_GGUF"])
    answer = c.create(model=MODEL, files={"model.gguf": digest}, parameters={"num_ctx": CONTEXT})
    assert answer.status == "success", answer
