"""Read a YAML document with lists as plain data, every key and value with its line and column."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

import yaml

from sdi_gate.errors import UsageError
from sdi_gate.policy.format.nodes import Place, Problem, quoted

if TYPE_CHECKING:
    from pydantic import ValidationError
    from yaml.error import Mark

Plain: TypeAlias = "str | int | float | bool | list[Plain] | dict[str, Plain] | None"
Path: TypeAlias = tuple[str | int, ...]

MAX_LISTED = 100
_TAG = "tag:yaml.org,2002:"
_SCALARS = frozenset({"str", "int", "float", "bool", "null"})
_TRUE = frozenset({"yes", "true", "on"})
_MAX_DEPTH = 32


@dataclass(slots=True)
class Places:
    """Hold where each key and each value of a document stands.

    Attributes:
        keys: Place of the key, or of the item of a list.
        values: Place of the value.
    """

    keys: dict[Path, Place] = field(default_factory=dict)
    values: dict[Path, Place] = field(default_factory=dict)

    def nearest(self, path: Path) -> Place:
        """Return where something stands, or the innermost thing around it that is there.

        Args:
            path: Keys and indices from the top.

        Returns:
            The place.
        """
        while path and path not in self.values:
            path = path[:-1]
        return self.values.get(path, Place(1, 1))


class DocumentError(UsageError):
    """Say that a file of the study cannot be used; the message lists every problem found."""


def read_yaml(text: str, where: str) -> tuple[Plain, Places]:
    """Read one YAML document without anchors, aliases, tags or keys that are there twice.

    Args:
        text: The whole file.
        where: Name of the file, for messages.

    Returns:
        The document as plain data, and where everything in it stands.

    Raises:
        DocumentError: If the text is not such a document.
    """
    problems: list[Problem] = []
    places = Places()
    plain: Plain = None
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        plain = _Reader(places, problems).value(node, ())
    except yaml.MarkedYAMLError as error:
        message = " ".join(part for part in (error.context, error.problem) if part)
        problems.append(Problem(_place(error.problem_mark), f"not YAML: {message[:200]}"))
    except (yaml.reader.ReaderError, ValueError, OverflowError, RecursionError) as error:
        problems.append(Problem(Place(1, 1), f"not YAML: {str(error).splitlines()[0][:200]}"))
    if problems:
        raise DocumentError(listed(where, problems))
    return plain, places


def explain(error: ValidationError, places: Places) -> list[Problem]:
    """Say where each thing stands that a validation refused.

    Args:
        error: What pydantic found.
        places: Where everything stands.

    Returns:
        One problem for each place and message.
    """
    found = set()
    for details in error.errors(include_url=False, include_input=False):
        path = tuple(details["loc"])
        place = places.nearest(path)
        message = details["msg"]
        if details["type"] == "extra_forbidden":
            place = places.keys.get(path, place)
            path, message = path[:-1], f"unknown key {quoted(str(path[-1]))}"
        shown = ".".join(str(part) for part in path)
        found.add(Problem(place, f"{shown}: {message}" if shown else message))
    return sorted(found)


def listed(where: str, problems: list[Problem]) -> str:
    """List problems, each with file, line and column.

    Args:
        where: Name of the file.
        problems: What is wrong; at least one.

    Returns:
        A message of some lines.
    """
    shown = [
        f"{where}:{problem.place.line}:{problem.place.column}: {problem.message}"
        for problem in sorted(problems)[:MAX_LISTED]
    ]
    more = len(problems) - len(shown)
    rest = [f"{where}: and {more} more"] if more else []
    count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    return "\n".join((f"{where}: the file cannot be used: {count}", *shown, *rest))


def _place(mark: Mark | None) -> Place:
    return Place(mark.line + 1, mark.column + 1) if mark else Place(1, 1)


class _Reader:
    """Build plain data from nodes."""

    def __init__(self, places: Places, problems: list[Problem]) -> None:
        self._places = places
        self._problems = problems
        self._seen: set[int] = set()

    def value(self, node: yaml.Node | None, path: Path) -> Plain:
        place = _place(node.start_mark if node else None)
        self._places.values[path] = place
        self._places.keys.setdefault(path, place)
        if node is None:
            return None
        # An alias is the node of its anchor again.
        if id(node) in self._seen or len(path) > _MAX_DEPTH:
            self._refuse(place, "anchors, aliases and deep nesting are refused; write it out")
            return None
        self._seen.add(id(node))
        match node:
            case yaml.MappingNode():
                return self._mapping(node, path)
            case yaml.SequenceNode():
                return [self.value(item, (*path, i)) for i, item in enumerate(node.value)]
            case _:
                return self._scalar(node, place)

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Plain]:
        found: dict[str, Plain] = {}
        for key, value in node.value:
            place = _place(key.start_mark)
            if not isinstance(key, yaml.ScalarNode) or key.tag != f"{_TAG}str":
                self._refuse(place, "a key is text")
            elif key.value in found:
                self._refuse(place, f"the key {quoted(key.value)} is there twice")
            else:
                inner = (*path, key.value)
                self._places.keys[inner] = place
                found[key.value] = self.value(value, inner)
        return found

    def _scalar(self, node: yaml.Node, place: Place) -> Plain:
        kind = node.tag.removeprefix(_TAG)
        if kind not in _SCALARS:
            self._refuse(place, f"the value {quoted(str(node.value))} is of type {kind}; quote it")
            return None
        match kind:
            case "null":
                return None
            case "bool":
                return node.value.lower() in _TRUE
            case "int" | "float":
                return self._number(node.value, place)
            case _:
                return str(node.value)

    def _number(self, text: str, place: Place) -> Plain:
        try:
            number = float(text)
            whole = int(text) if text.lstrip("+-").isdigit() else None
        except ValueError:
            number, whole = math.nan, None
        if not math.isfinite(number) or (whole is not None and _is_octal(text)):
            self._refuse(place, f"expected a finite decimal number, got {quoted(text)}")
            return None
        return number if whole is None else whole

    def _refuse(self, place: Place, message: str) -> None:
        self._problems.append(Problem(place, message))


def _is_octal(text: str) -> bool:
    digits = text.lstrip("+-")
    return len(digits) > 1 and digits.startswith("0")
