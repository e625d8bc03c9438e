#!/usr/bin/env python3
"""Golden answers to tasks, from lm-evaluation-harness on transformers in float32.

    python tasks.py      # writes tasks.json beside it

The questions in questions/ are our own. They are given to the harness's own task definitions in place of the data sets of the same layout, so that its
prompts, examples, tokens, log-likelihoods, metrics and standard errors are all its own. The model is models/tiny.
"""
import csv
import json
import logging
import pathlib

import datasets
import torch
import lm_eval
from lm_eval.api.metrics import pooled_sample_stderr, unweighted_mean_stderr
from lm_eval.api.task import ConfigurableTask
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks._yaml_loader import load_yaml
from transformers import PreTrainedTokenizerFast

HERE = pathlib.Path(__file__).resolve().parent
TINY = HERE.parents[3] / "models/tiny"
YAML = pathlib.Path(lm_eval.__file__).parent / "tasks"
# The harness's definition, and the split that it evaluates.
TASKS = {
    "arc_challenge": ("arc/arc_challenge.yaml", "test"),
    "arc_easy": ("arc/arc_easy.yaml", "test"),
    "hellaswag": ("hellaswag/hellaswag.yaml", "validation"),
    "piqa": ("piqa/piqa.yaml", "validation"),
    "winogrande": ("winogrande/default.yaml", "validation"),
    "openbookqa": ("openbookqa/openbookqa.yaml", "test"),
    "boolq": ("super_glue/boolq/default.yaml", "validation"),
    "social_iqa": ("siqa/siqa.yaml", "validation"),
    "truthfulqa_mc1": ("truthfulqa/truthfulqa_mc1.yaml", "validation"),
    "truthfulqa_mc2": ("truthfulqa/truthfulqa_mc2.yaml", "validation"),
    "gsm8k": ("gsm8k/gsm8k.yaml", "test"),
}
FILES = {"truthfulqa_mc1": "truthfulqa", "truthfulqa_mc2": "truthfulqa"}


def mmlu_rows(path):
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    if rows[0][-1] == "answer":
        rows = rows[1:]
    number = lambda answer: "ABCD".index(answer) if answer in "ABCD" else int(answer)
    return [dict(question=r[0], choices=r[1:5], answer=number(r[5])) for r in rows]


def json_rows(path):
    return [json.loads(line) for line in open(path, encoding="utf-8")]


def task(yaml, splits):
    config = load_yaml(YAML / yaml)
    for field in ("tag", "task_alias"):
        config.pop(field, None)
    sets = {split: datasets.Dataset.from_list(rows) for split, rows in splits.items()}
    # Splits that are only trained on are not there.
    for split in ("training_split", "validation_split", "test_split", "fewshot_split"):
        if config.get(split) not in sets:
            config.pop(split, None)
    return ConfigurableTask(config={**config, "custom_dataset": lambda **_: datasets.DatasetDict(sets)})


def answers(lm, task, shots, limit=None):
    """Of every question: what was asked, the likelihoods, the metrics."""
    task.set_config("num_fewshot", shots)
    task.set_fewshot_seed(1234)
    task.build_all_requests(limit=limit)
    instances = task.instances
    function = lm.generate_until if task.OUTPUT_TYPE == "generate_until" else lm.loglikelihood
    for instance, response in zip(instances, function(instances)):
        instance.resps.append(response)
    task.apply_filters()
    found = []
    by_doc = {}
    for instance in instances:
        by_doc.setdefault(instance.doc_id, []).append(instance)
    for doc_id, group in sorted(by_doc.items()):
        group.sort(key=lambda i: i.idx)
        entry = dict(context=group[0].args[0])
        if task.OUTPUT_TYPE == "generate_until":
            entry["text"] = group[0].resps[0]
            entry["metrics"] = {f"exact_match,{name}": float(task.process_results(group[0].doc, [group[0].filtered_resps[name]])["exact_match"])
                                for name in ("strict-match", "flexible-extract")}
        else:
            entry["likelihoods"] = [i.resps[0][0] for i in group]
            entry["greedy"] = [i.resps[0][1] for i in group]
            entry["metrics"] = {k: float(v) for k, v in task.process_results(group[0].doc, [i.resps[0] for i in group]).items()}
        found.append(entry)
    return found


def figures(found):
    from lm_eval.api.metrics import mean, mean_stderr
    result = {}
    for metric in found[0]["metrics"]:
        values = [entry["metrics"][metric] for entry in found]
        result[metric] = [mean(values), mean_stderr(values) if len(values) > 1 else None]
    return result


def run(model, hub, mmlu, gsm8k, limit=None, names=None, batch_size=8):
    """Runs the tasks that there are files of. `hub`: a function from a task's name to its rows in the hub's layout, or None."""
    # tokenizer.json as it is: transformers 5 builds its LlamaTokenizer anew and loses what the vocabulary does not cover.
    tokenizer = PreTrainedTokenizerFast.from_pretrained(model)
    lm = HFLM(pretrained=str(model), tokenizer=tokenizer, dtype="float32", device="cpu", batch_size=batch_size)
    wanted = lambda name: names is None or name in names
    parts = {}
    if mmlu and wanted("mmlu"):
        for test in sorted(mmlu.glob("**/*_test.csv")):
            subject = test.name.removesuffix("_test.csv")
            dev = next(mmlu.glob(f"**/{subject}_dev.csv"))
            of = task(f"mmlu/default/mmlu_{subject}.yaml", dict(test=mmlu_rows(test), dev=mmlu_rows(dev)))
            parts[f"mmlu_{subject}"] = answers(lm, of, 5, limit)
    for name, (yaml, split) in TASKS.items():
        if name == "gsm8k":
            if gsm8k and wanted(name):
                of = task(yaml, dict(test=json_rows(gsm8k / "test.jsonl"), train=json_rows(gsm8k / "train.jsonl")))
                parts[name] = answers(lm, of, 5, limit)
        elif wanted(name) and (rows := hub(FILES.get(name, name))):
            parts[name] = answers(lm, task(yaml, {split: rows}), 0, limit)
    result = {name: dict(figures=figures(found), answers=found) for name, found in parts.items()}
    subjects = [(len(p["answers"]), *p["figures"]["acc"]) for name, p in result.items() if name.startswith("mmlu_")]
    if subjects:
        sizes, means, errors = zip(*subjects)
        result["mmlu"] = dict(figures={"acc": [sum(n * m for n, m, _ in subjects) / sum(sizes), float(pooled_sample_stderr(errors, sizes))]})
        result["mmlu_macro"] = dict(figures={"acc": [sum(means) / len(means), float(unweighted_mean_stderr(errors))]})
    return result


def main():
    logging.disable(logging.WARNING)
    torch.set_num_threads(2)
    questions = HERE / "questions"

    def hub(name):
        path = questions / f"hub/{name}.jsonl"
        rows = json_rows(path)
        # The hub's column is text.
        return [{**row, "label": str(row["label"])} if name == "hellaswag" else row for row in rows]

    result = run(TINY, hub, questions / "mmlu", questions / "gsm8k")
    text = json.dumps(result, indent=1, ensure_ascii=False)
    (HERE / "tasks.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
