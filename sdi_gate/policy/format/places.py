"""Define where things stand in a file, what is wrong there, and how a message names them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

Plain: TypeAlias = "str | int | float | bool | list[Plain] | dict[str, Plain] | None"
Path: TypeAlias = tuple[str, ...]


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Point into a file; line and column count from 1."""

    line: int
    column: int


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """Say what is wrong, and where."""

    place: Place
    message: str


@dataclass(slots=True, kw_only=True)
class Document:
    """Hold what was read, and what is wrong with it.

    A path names the items of a list by their positions from 0: ``("waivers", "0", "id")``.

    Attributes:
        root: The top-level mapping; None if there is none, and then ``problems`` says why.
        keys: Where each key stands, and where each item of a list starts; the empty path is the
            top.
        values: Where each value starts; the empty path is the top.
        broken: Paths whose value was refused; in ``root`` it is None.
        problems: What was refused.
    """

    root: dict[str, Plain] | None = None
    keys: dict[Path, Place] = field(default_factory=dict)
    values: dict[Path, Place] = field(default_factory=dict)
    broken: set[Path] = field(default_factory=set)
    problems: list[Problem] = field(default_factory=list)


def quoted(text: str) -> str:
    """Return text in quotes, escaped and shortened, fit for one line of a message.

    Args:
        text: Any text from a file.

    Returns:
        At most some 60 characters of it.
    """
    return repr(text if len(text) <= 60 else text[:57] + "...")


def dotted(path: Path, message: str) -> str:
    """Return a message that starts with the place in the file that it is about.

    Args:
        path: Keys from the top; empty for the whole document.
        message: What to say.

    Returns:
        ``limits.sdi: message``.
    """
    shown = (key if key.isprintable() and len(key) <= 60 else quoted(key) for key in path)
    return f"{'.'.join(shown)}: {message}" if path else message
