"""Make harness tasks of items that the project wrote itself."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sdi_gate.errors import UsageError
from sdi_gate.study.evaluation.harness import quiet_harness, require_harness
from sdi_gate.study.evaluation.scores import AxisTask

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

DEFAULT_MAX_GEN_TOKS = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class ChoiceItem:
    """Hold a prompt with its possible continuations.

    Attributes:
        prompt: What comes before; empty for a minimal pair, whose choices are whole sentences.
        choices: Two continuations or more, without a leading blank.
        answer: Position of the right one.
    """

    prompt: str
    choices: tuple[str, ...]
    answer: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationItem:
    """Hold a prompt with the text that a model shall generate.

    Attributes:
        prompt: The prompt.
        expected: The expected text, as the tokenizer decodes it.
    """

    prompt: str
    expected: str


def choice_task(axis: str, items: Sequence[ChoiceItem]) -> AxisTask:
    """Make a multiple-choice task: right is the item whose likeliest choice is the answer.

    Args:
        axis: Name of the axis.
        items: Its items, all with a prompt or all without.

    Returns:
        The task, scored by the harness's ``acc``.

    Raises:
        UsageError: If an item cannot be used, or the harness is not installed.
    """
    for number, item in enumerate(items, start=1):
        _check_choices(axis, number, item)
    prompted = {bool(item.prompt) for item in items}
    if len(prompted) == 2:
        raise UsageError(f"axis {axis!r}: some items have a prompt and some have none")
    config = {
        "output_type": "multiple_choice",
        "doc_to_choice": "choices",
        "doc_to_target": "answer",
        "target_delimiter": " " if True in prompted else "",
    }
    rows = [
        {"prompt": item.prompt, "choices": list(item.choices), "answer": item.answer}
        for item in items
    ]
    return _task(axis, rows, config, metric="acc")


def generation_task(
    axis: str,
    items: Sequence[GenerationItem],
    *,
    max_gen_toks: int = DEFAULT_MAX_GEN_TOKS,
    first_words: bool = False,
) -> AxisTask:
    r"""Make a generation task: right is the item whose greedy generation is the expected text.

    A generation ends at the tokenizer's eos, at a line break or after ``max_gen_toks`` tokens;
    blanks around it do not count.

    Args:
        axis: Name of the axis.
        items: Its items.
        max_gen_toks: Tokens to generate, at most.
        first_words: Whether the expected words are enough if others follow them.

    Returns:
        The task, scored by ``exact_match``.

    Raises:
        UsageError: If an item cannot be used, or the harness is not installed.
    """
    for number, item in enumerate(items, start=1):
        if not item.prompt.strip() or not item.expected.strip():
            raise UsageError(f"axis {axis!r}, item {number}: needs a prompt and an expected text")
    config = {
        "output_type": "generate_until",
        "doc_to_target": "expected",
        "generation_kwargs": {
            "until": ["\n"],
            "do_sample": False,
            "max_gen_toks": max_gen_toks,
        },
        "process_results": _begins_with if first_words else _exact_match,
    }
    rows = [{"prompt": item.prompt, "expected": item.expected} for item in items]
    return _task(axis, rows, config, metric="exact_match")


def read_task(axis: str, path: Path, *, max_gen_toks: int = DEFAULT_MAX_GEN_TOKS) -> AxisTask:
    """Make a task of a file of items, one JSON object a line.

    Args:
        axis: Name of the axis.
        path: The file. All items are choices (``prompt``, ``choices``, ``answer``), or all are
            generations (``prompt``, ``expected``).
        max_gen_toks: Tokens to generate, at most; of no meaning for choices.

    Returns:
        The task.

    Raises:
        UsageError: If the file cannot be read, an item cannot be used, or the harness is not
            installed.
    """
    items = [_item(row, f"{path}:{number}") for number, row in enumerate(_rows(path), start=1)]
    choices = [item for item in items if isinstance(item, ChoiceItem)]
    generations = [item for item in items if isinstance(item, GenerationItem)]
    if choices and generations:
        raise UsageError(f"{path} mixes items with choices and items with an expected text")
    if generations:
        return generation_task(axis, generations, max_gen_toks=max_gen_toks)
    return choice_task(axis, choices)


def _rows(path: Path) -> Iterable[Any]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as exc:
        raise UsageError(f"cannot read the items in {path}: {exc}") from exc
    for number, line in enumerate(lines, start=1):
        try:
            yield json.loads(line)
        except ValueError as exc:
            raise UsageError(f"{path}:{number}: not a line of JSON: {exc}") from exc


def _item(row: object, where: str) -> ChoiceItem | GenerationItem:
    match row:
        case {"prompt": str(prompt), "choices": [*choices], "answer": int(answer), **rest}:
            strings = all(isinstance(choice, str) for choice in choices)
            if strings and not rest and not isinstance(answer, bool):
                return ChoiceItem(prompt=prompt, choices=tuple(choices), answer=answer)
        case {"prompt": str(prompt), "expected": str(expected), **rest}:
            if not rest:
                return GenerationItem(prompt=prompt, expected=expected)
    hint = 'expected {"prompt", "choices", "answer"} or {"prompt", "expected"}'
    raise UsageError(f"{where}: not an item", hint=hint)


def _check_choices(axis: str, number: int, item: ChoiceItem) -> None:
    where = f"axis {axis!r}, item {number}"
    if len(item.choices) < 2 or not all(choice.strip() for choice in item.choices):
        raise UsageError(f"{where}: needs two choices or more, none of them empty")
    if len(set(item.choices)) < len(item.choices):
        raise UsageError(f"{where}: has the same choice twice")
    if not 0 <= item.answer < len(item.choices):
        msg = f"{where}: the answer {item.answer} is none of {len(item.choices)} choices"
        raise UsageError(msg, hint="the first choice is 0")


def _exact_match(doc: dict[str, str], results: list[str]) -> dict[str, float]:
    return {"exact_match": float(results[0].strip() == doc["expected"].strip())}


def _begins_with(doc: dict[str, str], results: list[str]) -> dict[str, float]:
    expected = doc["expected"].split()
    return {"exact_match": float(results[0].split()[: len(expected)] == expected)}


class Rows(list[dict[str, Any]]):
    """Hold the rows of a dataset in memory, with the one attribute that the harness asks of it."""

    @property
    def features(self) -> dict[str, None]:
        """Return the columns."""
        return dict.fromkeys(self[0])


def _task(axis: str, rows: list[dict[str, Any]], config: dict[str, Any], metric: str) -> AxisTask:
    if len(rows) < 2:
        raise UsageError(f"axis {axis!r} has {len(rows)} items; expected at least 2")
    require_harness()
    from lm_eval.api.task import ConfigurableTask  # noqa: PLC0415 - an extra

    name = f"organism_{axis}"
    common = {
        "task": name,
        "custom_dataset": lambda **_options: {"test": Rows(rows)},
        "test_split": "test",
        "doc_to_text": "prompt",
        "num_fewshot": 0,
        "metric_list": [{"metric": metric, "aggregation": "mean", "higher_is_better": True}],
    }
    with quiet_harness():
        task = ConfigurableTask(config=common | config)
    return AxisTask(axis=axis, result=name, metric=metric, tasks={name: task}, groups={})
