"""Import the libraries that own quantised formats, all of them optional."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from huggingface_hub.errors import StrictDataclassError

from sdi_gate.errors import FormatError, IncomparableError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sdi_gate.models.ref import ModelRef

AGAIN = "copy or download the model again, every file of it"
_MAX_SHOWN = 80
# How libraries say that data do not please them; configurations of transformers have their own.
_REFUSALS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    RuntimeError,
    StrictDataclassError,
    TypeError,
    ValueError,
)


def owner(module: str, package: str, ref: ModelRef) -> Any:  # noqa: ANN401 - whatever it has
    """Import a module of the library that owns a format.

    Args:
        module: Dotted name of the module.
        package: Name under which the library is installed.
        ref: The model that needs it, for messages.

    Returns:
        The module.

    Raises:
        IncomparableError: If the library is not there, or cannot be loaded.
    """
    try:
        with _quiet(package):
            return import_module(module)
    except (ImportError, OSError) as exc:
        msg = f"{ref} is quantised, and {package!r}, which reads its format, cannot be loaded"
        hint = f"pip install 'sdi-gate[quantised]' ({type(exc).__name__}); or {REMEDY}"
        raise IncomparableError(msg, hint=hint) from exc


@contextmanager
def _quiet(package: str) -> Iterator[None]:
    # bitsandbytes warns of kernels for whole layers, which nobody asks for here.
    logger = logging.getLogger(package)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


REMEDY = "compare the model before it was quantised"


def version_of(package: str) -> str:
    """Return the version of an installed library.

    Args:
        package: Name under which it is installed.

    Returns:
        Its version, or ``unknown``.
    """
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"


def shown(text: object) -> str:
    """Return a name from a model as it may stand in a message.

    Args:
        text: The name.

    Returns:
        Its representation, cut.
    """
    plain = repr(text)
    return plain if len(plain) <= _MAX_SHOWN else f"{plain[:_MAX_SHOWN]}…"


@contextmanager
def library_errors(what: str, hint: str = AGAIN) -> Iterator[None]:
    """Translate what a library says about a stranger's data.

    Args:
        what: What was being done, for the message.
        hint: What to try next.

    Yields:
        Nothing; call the library inside the block.

    Raises:
        FormatError: If the library refuses the data.
    """
    try:
        yield
    except _REFUSALS as exc:
        msg = f"{what}: {type(exc).__name__}"
        raise FormatError(msg, hint=hint) from exc
