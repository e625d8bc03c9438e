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


# As Hermes and Qwen are taught: the functions in the system's message, calls between tags.
TOOLS_TEMPLATE = """{{- bos_token }}
{%- if tools %}{{- '<|start_header_id|>system<|end_header_id|>\\n\\nCalls: <tool_call>...</tool_call>\\n' }}
{%- for tool in tools %}{{- tool | tojson + '\\n' }}{%- endfor %}{{- '<|eot_id|>' }}{%- endif %}
{%- for message in messages %}
{{- '<|start_header_id|>' + message.role + '<|end_header_id|>\\n\\n' + (message.content or '') }}
{%- for call in message.tool_calls or [] %}
{{- '<tool_call>\\n' + {"name": call.function.name, "arguments": call.function.arguments} | tojson + '\\n</tool_call>' }}
{%- endfor %}{{- '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{%- endif %}"""


def make_tools_model(name):
    """The model once more, with a template that knows functions."""
    ensure_model()
    assert client().create(model=name, from_=MODEL, template=TOOLS_TEMPLATE).status == "success"
