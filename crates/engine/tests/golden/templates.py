"""Writes tests/golden/templates.json: what transformers' set-up of Jinja renders.

    $NIBBLE_PEERS_PYTHON crates/engine/tests/golden/templates.py

Of the shared chat templates (not ours to copy) only the SHA-256 of each rendering is kept, of models/tiny's own template and of a few small ones
written here the whole text. Renderings that fail keep the message of `raise_exception`, or "error" for any other. The environment is the one
of transformers' `chat_template_utils`; other errors are Python's, where an engine may do better; the clock is fixed. Needs: transformers; the shared material (NIBBLE_SHARED, else ../shared).
"""

import hashlib
import json
import os
from datetime import datetime
from pathlib import Path

import jinja2
import transformers
from transformers.utils import chat_template_utils

ROOT = Path(__file__).resolve().parents[4]
SHARED = Path(os.environ.get("NIBBLE_SHARED", ROOT.parent / "shared"))
NOW = datetime(2026, 11, 24, 9, 5, 7)

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Gives the weather of a place. Uses \"°C\" & <b>HTML</b>.",
        "parameters": {
            "type": "object",
            "properties": {
                "place": {"type": "string", "description": "A city, e.g. Zürich"},
                "days": {"type": "integer", "description": "How many days"},
                "unit": {"type": "string", "enum": ["celsius", "fahrenheit"], "description": "The unit"},
            },
            "required": ["place"],
        },
        "return": {"type": "string", "description": "A sentence"},
    },
}
ADD = {
    "type": "function",
    "function": {
        "name": "add",
        "description": "Adds",
        "parameters": {"type": "object", "properties": {"a": {"type": "number", "description": "One"}, "b": {"type": "number", "description": "Other"}}, "required": ["a", "b"]},
    },
}
CALL = {"id": "abcdefghi", "type": "function", "function": {"name": "get_weather", "arguments": {"place": "Zürich", "days": 2, "deep": {"x": [1, 2.5, None, True], "y": "a'b\"c"}}}}
CALL_TEXT = {"id": "abcdefghi", "type": "function", "function": {"name": "get_weather", "arguments": "{\"place\": \"Zürich\"}"}}
USER = {"role": "user", "content": "  What's the weather in Zürich?\n"}
SYSTEM = {"role": "system", "content": "You are brief.\n"}
ANSWER = {"role": "assistant", "content": " Sunny.\n"}
RESULT = {"role": "tool", "name": "get_weather", "tool_call_id": "abcdefghi", "content": "{\"sky\": \"clear\", \"t\": 21.5}"}

CASES = {
    "one": {"messages": [USER]},
    "one, asked": {"messages": [USER], "add_generation_prompt": True},
    "system": {"messages": [SYSTEM, USER, ANSWER, {"role": "user", "content": "Thanks 😀"}], "add_generation_prompt": True},
    "two users": {"messages": [USER, USER]},
    "assistant first": {"messages": [ANSWER, USER]},
    "empty": {"messages": []},
    "empty content": {"messages": [{"role": "user", "content": ""}], "add_generation_prompt": True},
    "tools": {"messages": [USER], "tools": [WEATHER, ADD], "add_generation_prompt": True},
    "system and tools": {"messages": [SYSTEM, USER], "tools": [WEATHER], "add_generation_prompt": True},
    "tool call": {"messages": [SYSTEM, USER, {"role": "assistant", "content": "", "tool_calls": [CALL]}, RESULT], "tools": [WEATHER], "add_generation_prompt": True},
    "tool call, text arguments": {"messages": [USER, {"role": "assistant", "content": None, "tool_calls": [CALL_TEXT]}, RESULT, ANSWER], "tools": [WEATHER, ADD]},
    "two tool calls": {"messages": [USER, {"role": "assistant", "tool_calls": [CALL, CALL]}, RESULT, RESULT], "tools": [WEATHER, ADD], "add_generation_prompt": True},
    "ipython": {"messages": [USER, {"role": "assistant", "content": "x"}, {"role": "ipython", "content": {"output": [1, 2]}}], "add_generation_prompt": True},
    "thinking": {"messages": [USER, {"role": "assistant", "content": "<think>\nHm.\n</think>\n\nSunny."}, USER], "add_generation_prompt": True},
    "odd role": {"messages": [{"role": "narrator", "content": "x"}]},
    "multi-part": {"messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}]},
    "functions": {"messages": [SYSTEM, USER, ANSWER, USER], "functions": "[{\"name\": \"f\"}]", "datetime": "2026-11-24 09:05", "add_generation_prompt": True},
    "documents": {"messages": [SYSTEM, USER], "documents": [{"title": "T", "text": "Long."}], "date_string": "1 May 2025", "add_generation_prompt": True},
}

OWN = {
    "values": "{{ true }}|{{ none }}|{{ 1.0 }}|{{ 1e20 }}|{{ 0.00001 }}|{{ [1, 'a', \"it's\", none, {'k': false}] }}|{{ missing }}|{{ 7 // 2 }}|{{ 7 / 2 }}|{{ 2 ** 8 }}|{{ -7 % 3 }}",
    "tojson": "{{ messages | tojson }}\n{{ messages[0] | tojson(indent=2) }}\n{{ [] | tojson(indent=2) }}{{ 'é<>&\\'\\u2028' | tojson }}{{ 'é' | tojson(ensure_ascii=True) }}{{ {'b': 1, 'a': 2.0} | tojson(sort_keys=true) }}",
    "whitespace": "a\n  {% if true %}\n  b\n  {% endif %}\n  {#- c -#}\n d {{- ' e' -}}\n f\n{%- for i in [1, 2, 3] %}\n {{ i }}\n{%- endfor %}\n\n",
    "methods": "{{ ' x '.strip() }}|{{ 'a,b'.split(',')[-1] }}|{{ 'abc'.startswith('ab') }}|{{ 'abc'.endswith('x') }}|{{ 'abc'.upper() }}|{{ 'abc'.replace('b', 'd') }}|{{ {'a': 1}.get('b', 'no') }}|{{ 'a\\n'.rstrip('\\n') }}|{{ 'Hello'.find('l') }}|{{ 'hello world'.title() }}|{{ {'a': 1}.keys() | list }}",
    "namespace": "{% set ns = namespace(n=0, found=false) %}{% for m in messages %}{% if m.role == 'user' %}{% set ns.n = ns.n + 1 %}{% set ns.found = true %}{% endif %}{% endfor %}{{ ns.n }} {{ ns.found }}",
    "loops": "{% for i in range(10) %}{% if i == 2 %}{% continue %}{% endif %}{% if i == 5 %}{% break %}{% endif %}{{ loop.index }}{{ loop.first }}{{ loop.last }},{% endfor %}{% for k, v in {'a': 1, 'b': 2}.items() %}{{ k }}={{ v }}{{ '' if loop.last else ';' }}{% endfor %}",
    "slices": "{{ messages[1:] | length }}{{ messages[::-1][0].role }}{{ 'abcdef'[1:4] }}{{ 'abcdef'[-2:] }}{{ (messages | selectattr('role', 'equalto', 'user') | list | length) }}",
    "macro": "{% macro f(x, y='d') %}<{{ x }}-{{ y }}>{% endmacro %}{{ f('a') }}{{ f('b', y=1) }}",
    "tests": "{{ messages is iterable }}{{ messages[0] is mapping }}{{ 'x' is string }}{{ missing is defined }}{{ none is none }}{{ 1 is number }}{{ 'role' in messages[0] }}{{ missing is undefined }}{{ true is boolean }}{{ 'ab' in 'cab' }}{{ 3 is integer }}",
    "date": "{{ strftime_now('%d %b %Y') }} {{ strftime_now('%A %-d %B %y %H:%M:%S %j %p') }}",
    "refusal": "{{ raise_exception('Conversation roles must alternate user/assistant!') }}",
    "generation": "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}|{%- generation -%} x {%- endgeneration -%} |",
    "filters": "{{ '{\\n' | indent(4, first=true) }}|{{ 'a\\n\\nb\\n' | indent(2) }}|{{ 'a\\n\\nb' | indent(1, true, true) }}|{{ 'a<' | safe + 'b<' }}|{{ [1, 2] | join(', ') }}|{{ 'x' | upper }}|{{ 'a b' | replace(' ', '_') }}|{{ missing | default('d') }}|{{ [3, 1, 2] | sort | list }}|{{ ['a', 'b'] | first }}|{{ ['a', 'b'] | last }}|{{ 'x' ~ 1 ~ 'y' }}|{{ messages | map(attribute='role') | join(' ') }}|{{ '12' | int + 1 }}|{{ 'a\nb' | indent(2) }}|{{ true | string }}{{ 1 | string }}|{{ [1, 2, 3] | sum }}|{{ ' t ' | trim }}|{{ 'abc' | length }}|{{ [1,2,3] | reverse | list }}|{{ 'a' | safe }}",
}


def render(source, case):
    compiled = chat_template_utils._compile_jinja_template(source)
    compiled.globals["strftime_now"] = NOW.strftime
    case = dict(case)
    values = {"messages": case.pop("messages"), "tools": case.pop("tools", None), "documents": case.pop("documents", None), "add_generation_prompt": case.pop("add_generation_prompt", False)}
    try:
        return {"text": compiled.render(**values, bos_token="<|begin_of_text|>", eos_token="<|eot_id|>", **case)}
    except jinja2.exceptions.TemplateError as e:
        return {"refused": str(e)} if type(e) is jinja2.exceptions.TemplateError else {"error": f"{type(e).__name__}: {e}"}
    except Exception as e:
        return {"error": f"{type(e).__name__}: {e}"}


def main():
    tiny = json.loads((ROOT / "models/tiny/tokenizer_config.json").read_text())["chat_template"]
    full = [{"template": name, "source": source, "case": "system"} | render(source, CASES["system"]) for name, source in OWN.items()]
    full += [{"template": "models/tiny", "case": case} | render(tiny, values) for case, values in CASES.items()]
    digests = []
    for path in sorted((SHARED / "data/tokenizers/chat-templates").glob("*.jinja")):
        for case, values in CASES.items():
            row = {"template": path.name, "case": case} | render(path.read_text(encoding="utf-8"), values)
            if "text" in row:
                row["sha256"] = hashlib.sha256(row.pop("text").encode()).hexdigest()
            if "error" in row:
                row["error"] = True
            digests.append(row)
    clock = int((NOW - datetime(1970, 1, 1)).total_seconds())
    lines = lambda rows: ",\n".join(json.dumps(row) for row in rows)
    out = ROOT / "crates/engine/tests/golden/templates.json"
    made = f"transformers {transformers.__version__}, jinja2 {jinja2.__version__}"
    cases = ",\n".join(f"{json.dumps(name)}: {json.dumps(case)}" for name, case in CASES.items())
    out.write_text(f'{{"made_by": "{made}", "now": {clock}, "cases": {{\n{cases}\n}},\n"full": [\n{lines(full)}\n],\n"digests": [\n{lines(digests)}\n]}}\n')
    print(f"{out}: {len(full)} texts, {len(digests)} digests")


main()
