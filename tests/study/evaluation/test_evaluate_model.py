"""Models in folders: the same path, in float32, without a sound, a file or the network."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import util

import pytest
import torch
from tiny_models import CPU, edit_json
from word_models import word_model, word_tokenizer

from sdi_gate.errors import NotFoundError, SourceError, UsageError
from sdi_gate.study.evaluation import harness
from sdi_gate.study.evaluation.evaluate import evaluate_loaded, evaluate_model
from sdi_gate.study.evaluation.items import ChoiceItem, GenerationItem, choice_task, generation_task

ITEMS = [
    ChoiceItem(prompt="w1 w2", choices=("w3", "w4"), answer=0),
    ChoiceItem(prompt="w5", choices=("w6", "w7"), answer=1),
    ChoiceItem(prompt="w8 w9", choices=("w2", "w1"), answer=0),
]
TEXTS = [GenerationItem(prompt="w1", expected="w2"), GenerationItem(prompt="w3", expected="w4")]


@pytest.fixture
def saved(tmp_path):
    folder = tmp_path / "model"
    word_model().save_pretrained(folder)
    word_tokenizer().save_pretrained(folder)
    return folder


def test_a_folder_scores_as_the_model_that_was_saved_there(saved):
    tasks = [choice_task("knowledge", ITEMS), generation_task("instruction", TEXTS)]
    scores = evaluate_model(saved, tasks, device=CPU)
    assert scores == evaluate_loaded(word_model(), word_tokenizer(), tasks)


def test_a_bfloat16_checkpoint_is_evaluated_in_float32(tmp_path):
    model = word_model().bfloat16()
    model.save_pretrained(tmp_path)
    word_tokenizer().save_pretrained(tmp_path)
    task = choice_task("knowledge", ITEMS)
    scores = evaluate_model(tmp_path, [task], device=CPU)
    assert scores == evaluate_loaded(model.float(), word_tokenizer(), [task])


def test_no_code_of_the_model_runs(saved):
    edit_json(saved / "config.json", model_type="own", auto_map={"AutoConfig": "own.Config"})
    (saved / "own.py").write_text("raise SystemExit('ran')", encoding="utf-8")
    with pytest.raises(SourceError):
        evaluate_model(saved, [choice_task("knowledge", ITEMS)], device=CPU)


def test_a_folder_that_is_not_there_is_not_looked_for_on_the_hub(tmp_path):
    with pytest.raises(NotFoundError, match="no such folder"):
        evaluate_model(tmp_path / "absent", [choice_task("knowledge", ITEMS)], device=CPU)


@pytest.mark.parametrize("name", ["lm_eval", "accelerate"])
def test_a_missing_extra_is_named_with_its_command(monkeypatch, saved, name):
    monkeypatch.setattr(
        harness, "find_spec", lambda asked: None if asked == name else util.find_spec(asked)
    )
    with pytest.raises(UsageError, match=f"needs the Python package '{name}'") as caught:
        evaluate_model(saved, [], device=CPU)
    assert caught.value.hint == "pip install 'sdi-gate[study]'"


PROGRAM = """
import json, sys
from pathlib import Path
import torch
from sdi_gate.study.evaluation.evaluate import evaluate_loaded
from sdi_gate.study.evaluation.items import read_task
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging
assert "lm_eval" not in sys.modules
logging.disable_progress_bar()
folder = Path(sys.argv[1])
model, tokenizer = (kind.from_pretrained(folder) for kind in (AutoModelForCausalLM, AutoTokenizer))
tasks = [read_task(axis, folder / f"{axis}.jsonl") for axis in ("knowledge", "instruction")]
evaluate_loaded(model, tokenizer, tasks)
"""


def test_an_evaluation_loads_the_harness_late_prints_nothing_and_writes_nothing(saved, tmp_path):
    choices = [{"prompt": i.prompt, "choices": i.choices, "answer": i.answer} for i in ITEMS]
    texts = [{"prompt": i.prompt, "expected": i.expected} for i in TEXTS]
    for name, rows in (("knowledge", choices), ("instruction", texts)):
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (saved / f"{name}.jsonl").write_text(lines, encoding="utf-8")
    home = tmp_path / "home"
    home.mkdir()
    done = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-c", PROGRAM, str(saved)],
        env={"HOME": str(home), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"},
        cwd=home,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list(home.iterdir()) == []


def test_the_type_and_place_of_a_loaded_model_are_kept():
    model = word_model().to(torch.float64)
    evaluate_loaded(model, word_tokenizer(), [choice_task("knowledge", ITEMS)])
    assert model.dtype == torch.float64
