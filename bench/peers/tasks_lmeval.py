#!/usr/bin/env python3
"""Our answers to tasks against lm-evaluation-harness's, question by question, on the same model and files.

    cargo build --release -p nibble
    python bench/peers/tasks_lmeval.py --data FOLDER [--limit N] [--tasks NAME,NAME] MODEL...

MODEL: a Hugging Face directory. FOLDER: MMLU's CSV files, ARC-Easy.test.json and the like of LLM-Adapters (rows are given to the harness in the hub's
layout), gsm8k/test.jsonl with gsm8k/train.jsonl. Both sides compute in float32, KV cache included. Prints for each part the greatest difference of a
log-likelihood, and how many questions have another choice or another score; exits with 1 when one differs by more than 1e-3 or a choice is another.
"""
import argparse
import importlib.util
import json
import logging
import pathlib
import re
import subprocess
import sys
import tempfile

import torch

ROOT = pathlib.Path(__file__).resolve().parents[2]
spec = importlib.util.spec_from_file_location("tasks", ROOT / "crates/evaluate/tests/golden/tasks.py")
harness = importlib.util.module_from_spec(spec)
spec.loader.exec_module(harness)

FILES = {"arc_easy": "ARC-Easy", "arc_challenge": "ARC-Challenge", "piqa": "piqa", "openbookqa": "openbookqa", "winogrande": "winogrande",
         "social_iqa": "social_i_qa"}


def taken_apart(text):
    body, names = text.rsplit("Answer format: ", 1)
    names = names.strip().split("/")
    body = body.split(": ", 1)[1]
    labels = "|".join(re.escape(n[0].upper() + n[1:] + ": ") for n in names)
    pieces = re.split(labels, body)
    # A question that holds a label itself keeps it.
    while len(pieces) > len(names) + 1:
        pieces[:2] = [pieces[0] + pieces[1]]
    return pieces[0].rstrip(), [p.strip() for p in pieces[1:]], names


def hub_rows(data, name):
    """The rows of a task in the hub's layout."""
    path = next(data.glob(f"**/{FILES[name]}.test.json"), None) if name in FILES else None
    rows = []
    for row in json.load(open(path, encoding="utf-8")) if path else []:
        question, choices, names = taken_apart(row["instruction"])
        answer = names.index(row["answer"])
        if name in ("arc_easy", "arc_challenge", "openbookqa"):
            labels = list("ABCDE"[:len(choices)])
            rows.append({"question_stem" if name == "openbookqa" else "question": question, "choices": dict(text=choices, label=labels), "answerKey": labels[answer]})
        elif name == "piqa":
            rows.append(dict(goal=question, sol1=choices[0], sol2=choices[1], label=answer))
        elif name == "winogrande":
            rows.append(dict(sentence=question, option1=choices[0], option2=choices[1], answer=str(answer + 1)))
        else:
            context, last = question.rsplit(" ", 1)
            rows.append(dict(context=context, question=last, answerA=choices[0], answerB=choices[1], answerC=choices[2], label=str(answer + 1)))
    return rows


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--limit", type=int, default=5)
    parser.add_argument("--tasks", default="mmlu,arc_challenge,arc_easy,piqa,winogrande,openbookqa")
    parser.add_argument("--nibble", default=str(ROOT / "target/release/nibble"))
    parser.add_argument("models", nargs="+", type=pathlib.Path)
    args = parser.parse_args()
    logging.disable(logging.WARNING)
    torch.set_num_threads(2)
    names = args.tasks.split(",")
    gsm8k = next((p.parent for p in args.data.glob("**/gsm8k/train.jsonl")), None)
    failed = False
    for model in args.models:
        theirs = harness.run(model, lambda name: hub_rows(args.data, name), args.data, gsm8k, args.limit, names, batch_size=1)
        with tempfile.TemporaryDirectory() as folder:
            out = pathlib.Path(folder) / "ours.json"
            subprocess.run([args.nibble, "eval", "tasks", model, "--tasks", args.tasks, "--data", args.data, "--limit", str(args.limit), "--kv", "f32",
                            "--quiet", "-o", out], check=True, stdout=subprocess.DEVNULL)
            ours = json.loads(out.read_text())
        by_part = {}
        for answer in ours["answers"]:
            by_part.setdefault(answer["part"], []).append(answer)
        all_questions, all_worst, all_choices, cut = 0, 0.0, 0, sum(a.get("cut", 0) > 0 for a in ours["answers"])
        for part, answers in by_part.items():
            golden = theirs[part]["answers"]
            assert len(golden) == len(answers), part
            worst, choices = 0.0, 0
            for a, g in zip(answers, golden):
                if "text" in g:
                    choices += a["text"] != g["text"]
                    continue
                worst = max([worst] + [abs(x - y) for x, y in zip(a["likelihoods"], g["likelihoods"], strict=True)])
                choices += a["chosen"] != max(range(len(g["likelihoods"])), key=g["likelihoods"].__getitem__)
            print(f"  {part}: {len(answers)} questions, log-likelihoods within {worst:.1e}, {choices} other choices")
            all_questions, all_worst, all_choices = all_questions + len(answers), max(all_worst, worst), all_choices + choices
        figures = {(f["name"], f["metric"]): f for f in ours["figures"]}
        apart = [f"{name} {metric}" for name, part in theirs.items() for metric, (value, stderr) in part["figures"].items()
                 if abs(figures[name, metric]["value"] - value) > 1e-9 or (stderr is not None and abs(figures[name, metric]["stderr"] - stderr) > 1e-9)]
        print(f"{model}: {all_questions} questions ({cut} prompts cut), log-likelihoods within {all_worst:.1e}, {all_choices} other choices, "
              f"{len(apart)} figures or standard errors apart {' '.join(apart)}")
        failed |= all_worst > 1e-3 or all_choices > 0 or bool(apart)
    sys.exit(failed)


if __name__ == "__main__":
    main()
