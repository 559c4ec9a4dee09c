"""Say in plain words what is wrong with a value or a key of a file."""

from __future__ import annotations

import difflib
import re
from decimal import Decimal
from typing import TYPE_CHECKING, Any, get_args

from sdi_gate.policy.format.places import quoted
from sdi_gate.policy.format.shape import field_of, homes_of, known_keys, same_spelling
from sdi_gate.policy.format.texts import EXPECTED

if TYPE_CHECKING:
    from pydantic import BaseModel

    from sdi_gate.policy.format.faults import Fault

_TYPES = {
    "bool_type": "true or false",
    "dict_type": "keys with values below it",
    "float_type": "a number",
    "int_type": "a whole number",
    "model_type": "keys with values below it",
    "string_type": "text",
    "tuple_type": "a list, such as [a, b]",
}
_BOUNDS = {
    "greater_than": ("gt", "more than"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "less than"),
    "less_than_equal": ("le", "at most"),
}
_LENGTHS = {
    "string_too_long": ("max_length", "at most", "character"),
    "string_too_short": ("min_length", "at least", "character"),
    "too_long": ("max_length", "at most", "entry"),
    "too_short": ("min_length", "at least", "entry"),
}
_PERCENT = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,6})?) ?%", re.ASCII)
_DECIMAL_COMMA = re.compile(r"0,[0-9]{1,6}", re.ASCII)
# More places than these do not help a reader.
_MAX_HOMES = 3


def message_of(fault: Fault, model: type[BaseModel] | None) -> str:
    """Return what is wrong with a value, or with a name that stands as a key.

    Args:
        fault: What was found.
        model: Model of the whole file; None if nothing need be looked up in it.

    Returns:
        One line without the place.
    """
    value, context = fault.value, fault.context
    match fault.kind:
        case "missing":
            return "the key is missing" + _what_to_write(fault, model)
        case "enum" | "literal_error":
            return _expected(context["expected"], value) + _nearest(value, context["expected"])
        case "union_type":
            advice = _advice("float_type", value) if "float_type" in fault.expected else ""
            return _expected(_one_of([_TYPES[kind] for kind in fault.expected]), value) + advice
        case kind if kind in _TYPES:
            return _expected(_TYPES[kind], value) + (_advice(kind, value) or _as_keys(fault, model))
        case "string_pattern_mismatch":
            pattern = context["pattern"]
            return _expected(EXPECTED.get(pattern, f"text that matches {pattern}"), value)
        case _:
            return _about_size(fault) or fault.said


def unknown_key(fault: Fault, model: type[BaseModel]) -> str:
    """Return what to do about a key that is not known where it stands.

    Args:
        fault: The fault, of kind ``extra_forbidden``.
        model: Model of the whole file.

    Returns:
        One line with the key that was meant, or the place where it belongs, or all known keys.
    """
    *above, key = fault.path
    known = known_keys(model, tuple(above))
    unknown = f"unknown key {quoted(key)}"
    if not above and key == "version" and "apiVersion" in known:
        return f"{unknown}; {_former_format(model)}"
    alike = [name for name in known if same_spelling(name, key)]
    homes = () if alike or len(key) > 60 else homes_of(model, key)
    near = alike or ([] if homes else difflib.get_close_matches(key, known, n=1))
    if near:
        return f"{unknown}; did you mean {quoted(near[0])}?"
    if 0 < len(homes) <= _MAX_HOMES:
        places = " or ".join(_home(path, spelt, key) for path, spelt in homes)
        return f"{unknown} here; it belongs {places}"
    near = difflib.get_close_matches(key, known, n=1)
    advice = f"did you mean {quoted(near[0])}?" if near else f"known here: {', '.join(known)}"
    return f"{unknown}; {advice}"


def _former_format(model: type[BaseModel]) -> str:
    (kind,) = get_args(model.model_fields["kind"].annotation)
    begin = f"write apiVersion: sdi-gate/v1 and kind: {kind} in its place"
    if "metadata" not in model.model_fields:
        return begin
    return f"{begin}, and name, owner and a version of your own below metadata"


def _home(path: str, spelt: str, key: str) -> str:
    if path.endswith("[]"):
        where = f"in an item of {path.removesuffix('[]')}"
    else:
        where = f"below {path}" if path else "at the top of the file"
    return where if spelt == key else f"{where} as {quoted(spelt)}"


def _what_to_write(fault: Fault, model: type[BaseModel] | None) -> str:
    annotation = None if model is None else field_of(model, fault.path)
    choices = get_args(annotation)
    if len(choices) == 1 and isinstance(choices[0], str):
        return f"; write {fault.path[-1]}: {choices[0]}"
    return ""


def _expected(expected: str, value: object) -> str:
    return f"expected {expected}, got {_shown(value)}"


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
    if kind in {"float_type", "int_type"} and isinstance(value, str):
        return _number_advice(value)
    return ""


def _as_keys(fault: Fault, model: type[BaseModel] | None) -> str:
    """Return how to write keys below a key, where a value stands beside it."""
    if fault.kind not in {"dict_type", "model_type"} or isinstance(fault.value, (bool, list)):
        return ""
    known = known_keys(model, fault.path) if model is not None else ()
    if isinstance(fault.value, str):
        key, colon, _ = fault.value.partition(":")
        return f"; write a blank after {quoted(key + colon)}" if colon and key in known else ""
    return f"; write fail: {fault.value} below it" if "fail" in known else ""


def _number_advice(text: str) -> str:
    percent = _PERCENT.fullmatch(text)
    if percent:
        return f"; write {_decimal(float(Decimal(percent[1]) / 100))}, which is {quoted(text)}"
    if _DECIMAL_COMMA.fullmatch(text):
        return f"; write {text.replace(',', '.')}, with a point"
    try:
        number = float(text)
    except ValueError:
        return ""
    if not (number == 0.0 or 1e-9 <= abs(number) <= 1e9):
        return "; write a finite decimal number such as 0.25"
    return f"; write {_decimal(number)}"


def _decimal(number: float) -> str:
    shortest = f"{number:.0f}" if number.is_integer() else repr(number)
    return format(Decimal(shortest), "f")


def _nearest(value: object, expected: str) -> str:
    if not isinstance(value, str) or len(value) > 60:
        return ""
    choices = expected.split("'")[1::2]
    near = difflib.get_close_matches(value.lower(), choices, n=1) if len(choices) > 1 else []
    return f"; did you mean {quoted(near[0])}?" if near else ""


def _one_of(types: list[str]) -> str:
    *others, last = types
    return f"{', '.join(others)} or {last}" if others else last


def _about_size(fault: Fault) -> str:
    """Return what is wrong with a size; nothing if the fault is another one."""
    context: Any = fault.context
    if fault.kind == "finite_number":
        return "must be a finite number; this one is too large"
    if fault.kind in _BOUNDS:
        key, side = _BOUNDS[fault.kind]
        return f"must be {side} {context[key]:g}, got {fault.value}"
    if fault.kind in _LENGTHS:
        key, side, noun = _LENGTHS[fault.kind]
        got = f", got {len(fault.value):,}" if fault.value else ""
        return f"must have {side} {_count(context[key], noun)}{got}"
    return ""


def _count(number: int, noun: str) -> str:
    plural = noun.removesuffix("y") + "ies" if noun.endswith("y") else noun + "s"
    return f"{number:,} {noun if number == 1 else plural}"
