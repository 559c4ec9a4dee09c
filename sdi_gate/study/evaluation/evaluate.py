"""Evaluate a model on the axes, through EleutherAI's evaluation harness."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from sdi_gate.errors import UsageError
from sdi_gate.models.causal_lm import load_model
from sdi_gate.models.folder import FolderSource
from sdi_gate.models.opening import open_model
from sdi_gate.models.ref import ModelRef, Scheme
from sdi_gate.models.tokenizer import load_tokenizer
from sdi_gate.progress import NullProgress
from sdi_gate.study.evaluation.harness import fixed_random, quiet_harness, require_harness
from sdi_gate.study.evaluation.scores import AxisScore, AxisTask

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from transformers import PreTrainedModel, PreTrainedTokenizerBase

DEFAULT_BATCH_SIZE = 64
_FEWSHOT_SEED = 1234


def evaluate_model(
    folder: Path,
    tasks: Sequence[AxisTask],
    *,
    device: torch.device,
    batch_size: int = DEFAULT_BATCH_SIZE,
    limit: int | None = None,
) -> dict[str, AxisScore]:
    """Evaluate a model in a folder, in float32, running no code of the model's.

    Args:
        folder: The model with its tokenizer.
        tasks: One task for each axis.
        device: Where to compute.
        batch_size: Texts in a batch, at most.
        limit: Items of each harness task, counted from the first; all if None.

    Returns:
        The score of each axis.

    Raises:
        UsageError: If the tasks cannot be used, or the harness is not installed.
        SourceError: If the model cannot be loaded.
    """  # noqa: DOC502 - raised by the functions called
    require_harness()
    ref = ModelRef(scheme=Scheme.FILE, location=str(folder), revision=None)
    snapshot = FolderSource().fetch(ref, NullProgress())
    model = load_model(open_model(snapshot), device, torch.float32).model
    tokenizer = load_tokenizer(snapshot)
    return evaluate_loaded(model, tokenizer, tasks, batch_size=batch_size, limit=limit)


def evaluate_loaded(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    tasks: Sequence[AxisTask],
    *,
    batch_size: int = DEFAULT_BATCH_SIZE,
    limit: int | None = None,
) -> dict[str, AxisScore]:
    """Evaluate a model that is already loaded, where it lies and in its own type.

    Decoding is greedy and few-shot examples are fixed: the same model gives the same scores. No
    chat template is applied, to either endpoint of a pair.

    Args:
        model: The model.
        tokenizer: Its tokenizer.
        tasks: One task for each axis.
        batch_size: Texts in a batch, at most.
        limit: Items of each harness task, counted from the first; all if None.

    Returns:
        The score of each axis.

    Raises:
        UsageError: If two tasks are of one axis, an axis has fewer than two items, or the harness
            is not installed.
        FormatError: If the model gives likelihoods that are not finite.
    """  # noqa: DOC502 - raised by the functions called
    require_harness()
    if len({task.axis for task in tasks}) < len(tasks):
        raise UsageError(f"two tasks of one axis among {[task.axis for task in tasks]}")
    training = model.training
    try:
        results = _run(model, tokenizer, tasks, batch_size=batch_size, limit=limit)
    finally:
        model.train(training)
    return {task.axis: _score(task, results) for task in tasks}


def _run(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    tasks: Sequence[AxisTask],
    *,
    batch_size: int,
    limit: int | None,
) -> Mapping[str, Any]:
    from lm_eval.evaluator import evaluate  # noqa: PLC0415 - an extra

    from sdi_gate.study.evaluation.harness_model import HarnessModel  # noqa: PLC0415 - an extra

    harness_tasks = {name: task for axis in tasks for name, task in axis.tasks.items()}
    for task in harness_tasks.values():
        task.set_fewshot_seed(_FEWSHOT_SEED)
    with quiet_harness(), fixed_random():
        # One iteration, because at none the harness leaves out the standard errors that it has
        # in closed form too; no metric of ours is one that it bootstraps.
        results: Mapping[str, Any] = evaluate(
            lm=HarnessModel(model, tokenizer, batch_size=batch_size),
            task_dict={
                "tasks": harness_tasks,
                "groups": {name: group for axis in tasks for name, group in axis.groups.items()},
            },
            limit=limit,
            bootstrap_iters=1,
            log_samples=True,
        )
    return results


def _score(task: AxisTask, results: Mapping[str, Any]) -> AxisScore:
    found = results["results"][task.result]
    items = tuple(
        float(sample[task.metric]) for name in task.tasks for sample in results["samples"][name]
    )
    stderr = found[f"{task.metric}_stderr,none"]
    if not isinstance(stderr, float):
        msg = f"axis {task.axis!r} has no standard error over {len(items)} items"
        raise UsageError(msg, hint="use at least 2 items of each task")
    value = float(found[f"{task.metric},none"])
    return AxisScore(value=value, stderr=float(stderr), n=len(items), items=items)
