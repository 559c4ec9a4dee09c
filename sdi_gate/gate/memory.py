"""Run a step again, smaller, where a device has no memory left for it."""

from __future__ import annotations

import ctypes
import gc
import logging
import sys
from typing import TYPE_CHECKING, TypeVar

import torch

from sdi_gate.models.out_of_memory import is_out_of_memory

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_logger = logging.getLogger(__name__)
# M_ARENA_MAX of malloc.h.
_MAX_ARENAS = -8
_T = TypeVar("_T")
_Attempt = TypeVar("_Attempt")


class ShortOfMemory(Exception):  # noqa: N818 - nobody did anything wrong
    """Say that a step had no memory even when it was made smaller; caught within this floor."""


def with_less_memory(
    step: str, run: Callable[[_Attempt], _T], attempts: Sequence[_Attempt]
) -> tuple[_T, _Attempt]:
    """Run a step, once more for each smaller plan, until memory suffices.

    Args:
        step: Its name, for the message.
        run: The step. What it has allocated must be free once it has raised.
        attempts: What the step is run by, in the order in which it is tried, each smaller than the
            one before.

    Returns:
        What the step returned, and what it ran by.

    Raises:
        ShortOfMemory: If memory ran out at each attempt. Every other exception passes.
    """  # noqa: DOC501 - the step's own
    for attempt in attempts:
        try:
            return run(attempt), attempt
        except (MemoryError, RuntimeError) as exc:
            if not is_out_of_memory(exc):
                raise
            _logger.warning("%s ran out of memory", step)
        # Outside the handler: while it is at work, the exception keeps the step's frames alive,
        # and with them all that the step had allocated.
        release()
    again = " even with a smaller plan" if len(attempts) > 1 else ""
    msg = f"{step} ran out of memory{again}"
    raise ShortOfMemory(msg)


def release() -> None:
    """Give back what nobody holds any more: hooks and graphs of autograd make cycles."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    # The C library keeps what was freed between two blocks that are in use: hundreds of megabytes
    # after a model.
    trim = _of_glibc("malloc_trim")
    if trim is not None:
        trim(0)


def share_one_heap() -> None:
    """Let all threads take memory from one heap: each of several keeps what was freed there."""
    set_option = _of_glibc("mallopt")
    if set_option is not None:
        set_option(_MAX_ARENAS, 1)


def _of_glibc(name: str) -> Callable[..., int] | None:
    # Other C libraries have no such function, and need none.
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None
