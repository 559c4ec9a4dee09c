"""Read the texts that inputs of the action are: there are no other types."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sdi_gate.cli.options import Duration, RegisteredName
from sdi_gate.errors import UsageError
from sdi_gate.models.ref import ModelRef
from sdi_gate.policy.format.spelling import visible

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import TypeVar

    _T = TypeVar("_T")
    _Word = TypeVar("_Word", bound=str)

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_WHOLE = re.compile(r"[0-9]{1,10}")
_LOGIN = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_-]{0,99})(?:\[bot\])?")
_MAX_SHOWN = 80


class InputError(ValueError):
    """Say what is wrong with the text of an input, and what was expected."""


def shown(text: str) -> str:
    """Return a text as a message may quote it.

    Args:
        text: Any text that is no secret.

    Returns:
        Its beginning in quotes, on one line.
    """
    return repr(visible(text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."))


def as_choice(choices: Iterable[_Word]) -> Callable[[str], _Word]:
    """Return a reader of one of several words.

    Args:
        choices: The words, or the members of an enumeration of words.

    Returns:
        The reader.
    """
    known = {str(choice): choice for choice in choices}

    def convert(text: str) -> _Word:
        if text not in known:
            *words, last = known
            msg = f"expected {', '.join(words)} or {last}; got {shown(text)}"
            raise InputError(msg)
        return known[text]

    return convert


def as_switch(text: str) -> bool:
    """Read ``true`` or ``false``.

    Args:
        text: The input.

    Returns:
        Its meaning.
    """
    return as_choice(("true", "false"))(text) == "true"


def as_whole(most: int) -> Callable[[str], int]:
    """Return a reader of whole numbers from 1.

    Args:
        most: The largest.

    Returns:
        The reader.
    """

    def convert(text: str) -> int:
        # Digits of other scripts are digits to Python, too.
        if not (text.isascii() and _WHOLE.fullmatch(text) and 1 <= int(text) <= most):
            msg = f"expected a whole number from 1 to {most}; got {shown(text)}"
            raise InputError(msg)
        return int(text)

    return convert


def as_digest(text: str) -> str:
    """Read the digest of a policy.

    Args:
        text: The input.

    Returns:
        The same.

    Raises:
        InputError: If it is none.
    """
    if not _DIGEST.fullmatch(text):
        msg = f"expected sha256: and 64 digits 0-9a-f; got {shown(text)}"
        raise InputError(msg)
    return text


def as_author(text: str) -> str:
    """Read a login of GitHub's, that of an app included.

    Args:
        text: The input.

    Returns:
        The same.

    Raises:
        InputError: If it is none.
    """
    if not _LOGIN.fullmatch(text):
        msg = f"expected a login such as github-actions[bot]; got {shown(text)}"
        raise InputError(msg)
    return text


def as_path(text: str) -> Path:
    """Read the path of a folder or a file.

    Args:
        text: The input.

    Returns:
        The path.

    Raises:
        InputError: If it can be none.
    """
    if not text.isprintable():
        msg = f"expected a path; got {shown(text)}"
        raise InputError(msg)
    return Path(text)


def as_token(text: str) -> str:
    """Read a secret, which no message quotes.

    Args:
        text: The input.

    Returns:
        The same.

    Raises:
        InputError: If it cannot be sent in a header.
    """
    if not (text.isascii() and text.isprintable()) or " " in text:
        msg = "holds spaces, line breaks or other characters that no token has"
        raise InputError(msg)
    return text


def as_reference(text: str) -> str:
    """Read a reference of a model.

    Args:
        text: The input.

    Returns:
        The same.

    Raises:
        InputError: If it is none.
    """
    try:
        ModelRef.parse(text)
    except UsageError as exc:
        msg = f"{visible(exc.message)}; {exc.hint}"
        raise InputError(msg) from exc
    return text


def as_name(text: str) -> str:
    """Read a name in a model registry.

    Args:
        text: The input.

    Returns:
        The same.
    """
    return _converted(RegisteredName(), text)


def as_budget(text: str) -> float:
    """Read a duration.

    Args:
        text: The input.

    Returns:
        Seconds.
    """
    return _converted(Duration(), text)


def _converted(kind: click.ParamType[_T], text: str) -> _T:
    try:
        return kind.convert(text, None, None)
    except click.BadParameter as exc:
        raise InputError(visible(exc.message)) from exc
