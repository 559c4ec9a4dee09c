"""Bound what a stranger's configuration can make of a model: modules, and memory."""

from __future__ import annotations

import resource
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from torch.nn.modules.module import (
    register_module_module_registration_hook,
    register_module_parameter_registration_hook,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import nn

_PAGE_BYTES = resource.getpagesize()
_STATM = Path("/proc/self/statm")


class TooManyModulesError(Exception):
    """Say that a model has more modules than its weights can account for."""


@contextmanager
def bounded_modules(limit: int) -> Iterator[None]:
    """Let a block register only so many modules and parameters.

    Args:
        limit: How many, of all models that are built inside.

    Yields:
        Nothing; build inside.

    Raises:
        TooManyModulesError: From inside, at the first module too many.
    """  # noqa: DOC502 - raised by the hook
    count = 0

    def hook(_parent: nn.Module, _name: str, _child: object) -> None:
        nonlocal count
        count += 1
        if count > limit:
            msg = f"more than {limit} modules and parameters"
            raise TooManyModulesError(msg)

    # A list of leaves is made before its modules are registered; their parameters are at once.
    handles = [
        register_module_module_registration_hook(hook),
        register_module_parameter_registration_hook(hook),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def bounded_memory(more_bytes: int) -> Iterator[None]:
    """Let a block map only so much memory more, where the system can be asked to see to it.

    Args:
        more_bytes: How much more than is mapped now.

    Yields:
        Nothing. Inside, an allocation beyond the bound fails as it does where memory is short.
    """
    if not sys.platform.startswith("linux") or not _STATM.exists():
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    mapped = int(_STATM.read_text("ascii").split()[0]) * _PAGE_BYTES
    bound = mapped + more_bytes
    known = [limit for limit in (soft, hard) if limit != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_AS, (min([bound, *known]), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
