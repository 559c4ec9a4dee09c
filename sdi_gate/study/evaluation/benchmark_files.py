"""Read the public benchmarks from a folder, in the columns of their datasets on the Hub."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING, Any

from sdi_gate.errors import UsageError
from sdi_gate.study.evaluation.items import Rows

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_HINT = (
    "the folder holds mmlu/{dev,test}/SUBJECT_{dev,test}.csv, ifeval/input_data.jsonl,"
    " toxigen/exp_dataset.jsonl and truthfulqa/mc_task.json"
)


def read_dataset(folder: Path, path: str, name: str | None) -> dict[str, Rows]:
    """Read what a harness task asks of the Hub from the benchmark files instead.

    Args:
        folder: Holds ``mmlu/{dev,test}/SUBJECT_{dev,test}.csv``, ``ifeval/input_data.jsonl``,
            ``toxigen/exp_dataset.jsonl`` and ``truthfulqa/mc_task.json``, as their authors
            published them.
        path: The dataset on the Hub.
        name: Its configuration; for MMLU the subject.

    Returns:
        Rows by split.

    Raises:
        UsageError: If there is no such dataset, or its file cannot be read.
    """
    readers: dict[str, Callable[[], dict[str, Rows]]] = {
        "cais/mmlu": lambda: _mmlu(folder / "mmlu", str(name)),
        "google/IFEval": lambda: {"train": _json_lines(folder / "ifeval" / "input_data.jsonl")},
        # The train split is for few-shot examples, of which the task has none.
        "skg/toxigen-data": lambda: {
            "train": Rows(),
            "test": _json_lines(folder / "toxigen" / "exp_dataset.jsonl"),
        },
        "truthfulqa/truthful_qa": lambda: _truthfulqa(folder / "truthfulqa" / "mc_task.json"),
    }
    if path not in readers:
        raise UsageError(f"no benchmark file stands for the dataset {path!r}")
    try:
        return readers[path]()
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as exc:
        msg = f"cannot read the benchmark {path} in {folder}: {type(exc).__name__}: {exc}"
        raise UsageError(msg, hint=_HINT) from exc


def _mmlu(folder: Path, subject: str) -> dict[str, Rows]:
    return {
        split: Rows(_questions(folder / split / f"{subject}_{split}.csv", subject))
        for split in ("dev", "test")
    }


def _questions(file: Path, subject: str) -> list[dict[str, Any]]:
    with file.open(encoding="utf-8", newline="") as lines:
        return [
            {
                "question": row["question"],
                "subject": subject,
                "choices": [row[f"choice{i}"] for i in range(4)],
                "answer": int(row["answer"]),
            }
            for row in csv.DictReader(lines)
        ]


def _json_lines(file: Path) -> Rows:
    return Rows(json.loads(line) for line in file.read_text(encoding="utf-8").splitlines())


def _truthfulqa(file: Path) -> dict[str, Rows]:
    rows = json.loads(file.read_text(encoding="utf-8"))
    return {
        "validation": Rows(
            {
                "question": row["question"],
                "mc1_targets": _targets(row["mc1_targets"]),
                "mc2_targets": _targets(row["mc2_targets"]),
            }
            for row in rows
        )
    }


def _targets(answers: dict[str, int]) -> dict[str, list[Any]]:
    return {"choices": list(answers), "labels": list(answers.values())}
