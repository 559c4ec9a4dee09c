"""Define the parts of the document: text that is not escaped yet, tables and figures."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Hold a table.

    Law: every row has as many cells as ``head``.

    Attributes:
        head: Titles of the columns; one that begins with ``>`` is over numbers.
        rows: The rows.
    """

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """Hold a figure and what is told of it.

    Attributes:
        name: Name of its file.
        title: What is seen, in one clause: heading and alternative text.
        caption: How to read it.
        svg: The picture.
    """

    name: str
    title: str
    caption: str
    svg: bytes
