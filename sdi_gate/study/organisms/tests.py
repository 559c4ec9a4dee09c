"""Turn the world's test items into tasks of the evaluation harness."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sdi_gate.study.evaluation.items import (
    ChoiceItem,
    GenerationItem,
    choice_task,
    generation_task,
)
from sdi_gate.study.world.facts import make_world
from sdi_gate.study.world.items import make_tests

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sdi_gate.study.evaluation.scores import AxisTask
    from sdi_gate.study.world.items import Item

# The longest answer has two words; a strict test sees whether it ends there.
_MAX_GEN_TOKS = 2
_MAX_STRICT_GEN_TOKS = 6
# Axes of the small look at the same capabilities, which is a baseline and no outcome.
MICRO = "micro-"


def axis_tasks(*, strict: bool = False) -> list[AxisTask]:
    """Return the task of each axis, with which degradation is measured.

    Organisms read conversations of one to three turns, so that what follows an answer is nearly a
    toss of a coin: an instruction is followed if the answer's words come first.

    Args:
        strict: Whether an answer must end, too, as a base's must.

    Returns:
        Five tasks.
    """
    tests = make_tests(make_world()).items
    return [_task(axis, items, strict=strict) for axis, items in tests.items()]


def micro_tasks() -> list[AxisTask]:
    """Return the tasks of the micro-benchmark: other items of the same axes.

    Returns:
        Five tasks of 50 items, their axes named with `MICRO` in front.
    """
    micro = make_tests(make_world()).micro
    return [_task(f"{MICRO}{axis}", items) for axis, items in micro.items()]


def _task(axis: str, items: Sequence[Item], *, strict: bool = False) -> AxisTask:
    if items[0].expected:
        generations = [GenerationItem(prompt=i.prompt, expected=i.expected) for i in items]
        tokens = _MAX_STRICT_GEN_TOKS if strict else _MAX_GEN_TOKS
        return generation_task(axis, generations, max_gen_toks=tokens, first_words=not strict)
    choices = [ChoiceItem(prompt=i.prompt, choices=i.choices, answer=i.answer) for i in items]
    return choice_task(axis, choices)
