"""Escape untrusted text for Markdown, for HTML inside Markdown, and for mermaid."""

from __future__ import annotations

import html
import re
from typing import NewType

# Text that may go into a document as it is: a renderer made it, or escaped it.
SafeText = NewType("SafeText", str)

# A zero-width space. GitHub looks for mentions and issues after it has resolved references, so one
# has to stand between the sign and the name; as a character it is shorter than as a reference.
_BREAK = "\u200b"
# Numeric references work in text, in table cells and in HTML, and never as structure.
_REFERENCES = {
    "&": "&amp;",
    "<": "&lt;",
    ">": "&gt;",
    "|": "&#124;",
    "@": f"@{_BREAK}",
    "#": f"\\#{_BREAK}",
    **{char: f"\\{char}" for char in "\\`*[]~$"},
}
# What GitHub looks for in the text that HTML gives, where a backslash escapes nothing.
_IN_HTML = re.compile(r"[]@#$]")
_SPECIAL = re.compile("|".join(map(re.escape, _REFERENCES)))
# Underscores inside a word never start emphasis; elsewhere they can.
_UNDERSCORE = re.compile(r"(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")
# Bare addresses, issue keys and emoji names become links and pictures on GitHub.
_LINKS = (
    (re.compile(r":(?=//)"), f":{_BREAK}"),
    (re.compile(r"(?i)\bwww(?=\.)"), rf"\g<0>{_BREAK}"),
    (re.compile(r"(?i)\bgh(?=-\d)"), rf"\g<0>{_BREAK}"),
    (re.compile(r"(?<!\d):(?=[A-Za-z0-9_+-]+:)"), f":{_BREAK}"),
)
# What would start a list, a heading or a rule at the start of a line.
_LINE_START = re.compile(r"^(?:([-+=])(?![0-9.])|(\d{1,9})([.)])(?=\s|$))")
_UNFIT_FOR_MERMAID = re.compile(r"[^A-Za-z0-9 ._,()-]")


def escape_markdown(text: str) -> SafeText:
    """Escape text for any place in GitHub's Markdown, table cells and HTML elements included.

    Args:
        text: One line of text.

    Returns:
        Text that is shown as it was, and is neither HTML, a link, a mention nor structure.
    """
    escaped = text
    for pattern, replacement in _LINKS:
        escaped = pattern.sub(replacement, escaped)
    escaped = _SPECIAL.sub(lambda match: _REFERENCES[match[0]], escaped)
    escaped = _UNDERSCORE.sub(r"\\_", escaped)
    escaped = _LINE_START.sub(_at_line_start, escaped)
    return SafeText(escaped)


def escape_html(text: str) -> SafeText:
    """Escape text for an HTML element in GitHub's Markdown in which Markdown means nothing.

    Args:
        text: One line of text.

    Returns:
        Text that is shown as it was, and is neither HTML, a link nor a mention.
    """
    escaped = text
    for pattern, replacement in _LINKS:
        escaped = pattern.sub(replacement, escaped)
    return SafeText(html.escape(_IN_HTML.sub(rf"\g<0>{_BREAK}", escaped), quote=False))


def escape_mermaid(text: str) -> SafeText:
    """Escape text for a quoted label of a mermaid chart.

    Mermaid has no escapes inside quotes, so everything but plain characters becomes ``_``.

    Args:
        text: Any text.

    Returns:
        The label without its quotes; never empty.
    """
    return SafeText(_UNFIT_FOR_MERMAID.sub("_", text) or "_")


def _at_line_start(match: re.Match[str]) -> str:
    sign, digits, delimiter = match.groups()
    return f"\\{sign}" if sign else f"{digits}\\{delimiter}"
