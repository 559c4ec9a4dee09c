"""Render the document as GitHub's Markdown."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from jinja2 import PackageLoader, StrictUndefined
from jinja2.sandbox import SandboxedEnvironment

from sdi_gate.report.escaping import escape_markdown
from sdi_gate.report.parts import clean

if TYPE_CHECKING:
    from sdi_gate.study.document.parts import Table
    from sdi_gate.study.document.view import StudyView

_TEMPLATE = "study.md.j2"
_SENTENCE_LIMIT = 4000


def render_markdown(view: StudyView, figures: str) -> str:
    """Render the document.

    Args:
        view: What it says.
        figures: Where the figures are, seen from the document.

    Returns:
        Its text. Whatever came from rows is escaped: it is shown as it was, and is no structure.
    """
    environment = SandboxedEnvironment(
        loader=PackageLoader("sdi_gate.study.document"),
        autoescape=False,  # HTML is not Markdown; `finalize` escapes every value
        finalize=_finalize,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["table"] = _table
    environment.filters["address"] = _address
    return environment.get_template(_TEMPLATE).render(view=view, figures=figures)


class _Rendered(str):
    """Mark text that a filter made, which is escaped already."""

    __slots__ = ()


def _finalize(value: object) -> str:
    return value if isinstance(value, _Rendered) else _escaped(str(value))


def _table(table: Table) -> _Rendered:
    rule = ("--:" if title.startswith(">") else "---" for title in table.head)
    head = tuple(title.removeprefix(">") for title in table.head)
    lines = [_row(head), f"|{'|'.join(rule)}|", *map(_row, table.rows)]
    return _Rendered("\n".join(lines))


def _address(path: str) -> _Rendered:
    return _Rendered(quote(path, safe="/.-_"))


def _row(cells: tuple[str, ...]) -> str:
    return f"| {' | '.join(map(_escaped, cells))} |"


def _escaped(text: str) -> str:
    return escape_markdown(clean(text, _SENTENCE_LIMIT)) if text else ""
