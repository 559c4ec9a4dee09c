"""Say in words, and at a line and column, what pydantic found wrong with a policy."""

from __future__ import annotations

import difflib
from decimal import Decimal
from typing import TYPE_CHECKING

from sdi_gate.policy.nodes import Problem, dotted, quoted
from sdi_gate.policy.schema import keys_at

if TYPE_CHECKING:
    from pydantic import ValidationError
    from pydantic_core import ErrorDetails

    from sdi_gate.policy.nodes import Document, Path, Place

_EXPECTED = {
    "float_type": "a number",
    "string_type": "text",
    "model_type": "keys with values below it",
}


def explain(error: ValidationError, document: Document) -> list[Problem]:
    """Return the problems that a validation found, without those that follow from others.

    Args:
        error: What pydantic found.
        document: The document that was validated.

    Returns:
        One problem for each error of pydantic's that is not about a value already refused.
    """
    return [
        Problem(_place(details, document), dotted(*_path_and_message(details)))
        for details in error.errors(include_url=False)
        if not _follows_from_a_refusal(details, document)
    ]


def _path(details: ErrorDetails) -> Path:
    return tuple(str(key) for key in details["loc"])


def _follows_from_a_refusal(details: ErrorDetails, document: Document) -> bool:
    path = _path(details)
    if details["type"] == "empty":
        return any(broken[: len(path)] == path for broken in document.broken)
    return path in document.broken and details["type"] != "extra_forbidden"


def _place(details: ErrorDetails, document: Document) -> Place:
    path = _path(details)
    match details["type"]:
        case "missing":
            return document.keys[path[:-1]]
        case "extra_forbidden" | "empty" | "order":
            return document.keys[path]
        case _:
            return document.values[path]


def _path_and_message(details: ErrorDetails) -> tuple[Path, str]:
    path = _path(details)
    if details["type"] == "extra_forbidden":
        return path[:-1], _unknown_key(path)
    return path, _message(details)


def _unknown_key(path: Path) -> str:
    known = keys_at(path[:-1])
    near = difflib.get_close_matches(path[-1], known, n=1)
    advice = f"did you mean {quoted(near[0])}?" if near else f"known here: {', '.join(known)}"
    return f"unknown key {quoted(path[-1])}; {advice}"


def _message(details: ErrorDetails) -> str:
    value, context = details["input"], details.get("ctx", {})
    match details["type"]:
        case "missing":
            return "the key is missing"
        case "float_type" | "string_type" | "model_type" | "enum" as kind:
            expected = _EXPECTED.get(kind) or context["expected"]
            return f"expected {expected}, got {_shown(value)}{_advice(kind, value)}"
        case "greater_than_equal":
            return f"must be at least {context['ge']:g}, got {value}"
        case "less_than_equal":
            return f"must be at most {context['le']:g}, got {value}"
        case "string_pattern_mismatch":
            return f"expected lower-case letters, digits and hyphens, got {_shown(value)}"
        case _:
            return details["msg"]


def _shown(value: object) -> str:
    match value:
        case bool():
            return "a truth value (to YAML 1.1, yes, no, on and off are truth values too)"
        case str():
            return f"the text {quoted(value)}"
        case int() | float():
            return f"the number {value}"
        case list():
            return "a list"
        case _:
            return "keys with values below it"


def _advice(kind: str, value: object) -> str:
    if kind == "string_type" and not isinstance(value, (list, dict)):
        return "; put it in quotes"
    if kind == "float_type" and isinstance(value, str):
        return _number_advice(value)
    return ""


def _number_advice(text: str) -> str:
    try:
        number = float(text)
    except ValueError:
        return ""
    if not (number == 0.0 or 1e-9 <= abs(number) <= 1e9):
        return "; write a finite decimal number such as 0.25"
    return f"; write {_decimal(number)}"


def _decimal(number: float) -> str:
    return format(Decimal(repr(number)), "f")
