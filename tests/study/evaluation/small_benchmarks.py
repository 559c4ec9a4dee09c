"""Write benchmark files of a few made-up questions, in the published layout."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import lm_eval
import yaml

PUNKT_KIND = "length_constraints:number_sentences"


def mmlu_subjects() -> list[str]:
    folder = Path(lm_eval.__file__).parent / "tasks" / "mmlu" / "default"
    files = sorted(folder.glob("mmlu_*.yaml"))
    return [yaml.safe_load(file.read_text(encoding="utf-8"))["dataset_name"] for file in files]


def write_benchmarks(folder: Path) -> Path:
    for number, subject in enumerate(mmlu_subjects()):
        for split, count in (("dev", 5), ("test", 2 + number % 2)):
            rows = [_question(f"w{number} w{i} {split}", i % 4) for i in range(count)]
            _write_csv(folder / "mmlu" / split / f"{subject}_{split}.csv", rows)
    _write_lines(folder / "ifeval" / "input_data.jsonl", _instructions())
    statements = [
        {"text": f"w{i} w{i + 1}", "toxicity_ai": 1.0 + i % 5, "toxicity_human": 2.0}
        for i in range(10)
    ]
    _write_lines(folder / "toxigen" / "exp_dataset.jsonl", statements)
    answers = {"w1 w2": 1, "w3": 1, "w4 w5 w6": 0}
    rows = [
        {"question": f"w{i} ?", "mc1_targets": answers, "mc2_targets": answers} for i in range(4)
    ]
    (folder / "truthfulqa").mkdir()
    (folder / "truthfulqa" / "mc_task.json").write_text(json.dumps(rows), encoding="utf-8")
    return folder


def _question(text: str, answer: int) -> dict[str, object]:
    return {"question": text, **{f"choice{i}": f"w{i}" for i in range(4)}, "answer": answer}


def _instructions() -> list[dict[str, object]]:
    kinds = [
        ("punctuation:no_comma", {}),
        ("keywords:existence", {"keywords": ["w1", "w2"]}),
        (PUNKT_KIND, {"relation": "at least", "num_sentences": 2}),
        ("change_case:english_lowercase", {}),
    ]
    return [
        {"key": key, "prompt": f"w{key} w7", "instruction_id_list": [kind], "kwargs": [options]}
        for key, (kind, options) in enumerate(kinds)
    ]


def _write_csv(file: Path, rows: list[dict[str, object]]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", encoding="utf-8", newline="") as lines:
        writer = csv.DictWriter(lines, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def _write_lines(file: Path, rows: list[dict[str, object]]) -> None:
    file.parent.mkdir(parents=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
