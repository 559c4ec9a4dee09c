"""Write texts and numbers of a policy so that nobody is misled by them."""

from __future__ import annotations


def visible(text: str) -> str:
    """Make every character visible, line breaks among them, so that no text can forge a line.

    Args:
        text: Any text.

    Returns:
        One line in which what cannot be printed is escaped.
    """
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def plain(value: float) -> str:
    """Write a number of a policy in full.

    Args:
        value: A finite number.

    Returns:
        The shortest text that reads back as the same number, a whole number without its point.
    """
    return repr(float(value)).removesuffix(".0")
