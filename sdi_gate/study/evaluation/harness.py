"""Keep the evaluation harness quiet, and say how to get it where it is missing."""

from __future__ import annotations

import logging
import random
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, TypeVar

from sdi_gate.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_T = TypeVar("_T")
INSTALL = "pip install 'sdi-gate[study]'"
_NEEDED = ("lm_eval", "accelerate")
_LOGGERS = ("lm_eval", "transformers")


def require_harness() -> None:
    """Check that the evaluation harness is installed.

    Raises:
        UsageError: If it is not.
    """
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        msg = f"evaluation needs the Python package {missing[0]!r}, which is not installed"
        raise UsageError(msg, hint=INSTALL)


@contextmanager
def quiet_harness() -> Iterator[None]:
    """Silence the harness: its progress bars, and its log messages below errors.

    Yields:
        Nothing; build or run harness tasks inside.
    """
    from lm_eval.api import task  # noqa: PLC0415 - an extra

    loggers = [logging.getLogger(name) for name in _LOGGERS]
    levels = [logger.level for logger in loggers]
    # The bar over the documents of a task cannot be switched off from outside.
    bar, task.tqdm = task.tqdm, _plain
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        task.tqdm = bar
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@contextmanager
def fixed_random() -> Iterator[None]:
    """Let Python's own random numbers, which some harness metrics draw, be the same each time.

    Yields:
        Nothing; afterwards the numbers go on as if nothing had been drawn.
    """
    state = random.getstate()
    random.seed(0)
    try:
        yield
    finally:
        random.setstate(state)


def _plain(items: Iterable[_T], **_options: object) -> Iterable[_T]:
    return items
