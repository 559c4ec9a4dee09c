"""Read a YAML document as plain data with places, refusing whatever a policy has no use for.

The data are built from PyYAML's nodes, not by its constructors: an alias is never followed, a tag
never obeyed, a date stays text, and every value keeps its line and column. No anchor is accepted,
not even one: a demand of a policy stands where it holds.
"""

from __future__ import annotations

import re
import unicodedata
from itertools import islice
from typing import TYPE_CHECKING, Any

import yaml

from sdi_gate.policy.format.places import Document, Path, Place, Plain, Problem, dotted, quoted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from yaml.error import Mark

__all__ = [
    "MAX_DEPTH",
    "MAX_NODES",
    "Document",
    "Path",
    "Place",
    "Plain",
    "Problem",
    "dotted",
    "quoted",
    "read_document",
]

# A policy is eight levels deep.
MAX_DEPTH = 16
# Keys and values together. Two hundred waivers and a block for each of fifty families are 6,000.
MAX_NODES = 20_000

_TAG = "tag:yaml.org,2002:"
_ALIAS = "alias"
_TRUE = frozenset({"yes", "true", "on"})
# Base 8, 16 and 60 and digit groups are numbers to YAML 1.1 and traps to its readers.
_PLAIN_NUMBER = re.compile(r"[-+]?(0|[1-9][0-9]{0,17}|[0-9]*\.[0-9]*([eE][-+][0-9]+)?)")
# YAML ends a line at some characters at which an editor or a diff shows none, so that what looks
# like a comment could hold a demand; others turn the direction in which a line is shown.
_MAX_MISLEADING = 100
_MISLEADING = re.compile("[\x85\u2028\u2029\u202a-\u202e\u2066-\u2069]|\r(?!\n)")


def read_document(text: str) -> Document:
    """Read a YAML document.

    Args:
        text: The whole file.

    Returns:
        What was read, with every problem that was found.
    """
    document = Document(problems=list(_misleading(text)))
    if document.problems:
        return document
    try:
        node = _compose(text, document.problems)
    except yaml.reader.ReaderError as error:
        found = text.count("\n", 0, error.position)
        column = error.position - (text.rfind("\n", 0, error.position) + 1)
        message = f"the character U+{error.character:04X} is not allowed in YAML"
        document.problems.append(Problem(Place(found + 1, column + 1), message))
    except yaml.MarkedYAMLError as error:
        message = " ".join(part for part in (error.context, error.problem) if part)
        message = f"the file cannot be read as YAML: {message[:200]}{_remedy(error.problem)}"
        document.problems.append(Problem(_place(error.problem_mark), message))
    else:
        _read_root(node, document)
    return document


def _remedy(problem: str | None) -> str:
    """Return what to try; nothing where YAML's own words do not say what was meant."""
    said = problem or ""
    if "'\\t'" in said:
        return "; indent with blanks in place of tabs"
    if "mapping values are not allowed" in said:
        return "; indent the line like its neighbours, and put text that holds a colon in quotes"
    return ""


def _misleading(text: str) -> Iterator[Problem]:
    line, start = 1, 0
    for found in islice(_MISLEADING.finditer(text), _MAX_MISLEADING):
        line += text.count("\n", start, found.start())
        start = found.start()
        column = start - (text.rfind("\n", 0, start) + 1)
        character = f"U+{ord(found[0]):04X}"
        message = f"the character {character} is refused: it can make text look like another one"
        yield Problem(Place(line, column + 1), message)


def _compose(text: str, problems: list[Problem]) -> yaml.Node | None:
    loader = _StrictLoader(text, problems)
    try:
        node = loader.get_node() if loader.check_node() else None
        if loader.check_node():
            place = _place(loader.next_mark())
            problems.append(Problem(place, "the file is one document; here a second one starts"))
    # PyYAML passes any number in an escape to chr() and any number in a directive to int().
    except (ValueError, OverflowError) as error:
        raise yaml.MarkedYAMLError(
            problem=f"a number out of range ({error})", problem_mark=loader.get_mark()
        ) from error
    return node


def _place(mark: Mark | None) -> Place:
    return Place(mark.line + 1, mark.column + 1) if mark else Place(1, 1)


class _StrictLoader(yaml.SafeLoader):
    """Compose nodes without anchors, aliases, tags or deep nesting."""

    def __init__(self, text: str, problems: list[Problem]) -> None:
        super().__init__(text)
        self.problems = problems
        self.depth = 0
        self.count = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]  # untyped in the stubs
        self.count += 1
        if self.count > MAX_NODES:
            problem = f"more than {MAX_NODES:,} keys and values"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)
        if self.check_event(yaml.AliasEvent):
            message = f"the alias {quoted(event.anchor)} is refused; write the value out"
            self._refuse(event.start_mark, message)
            self.get_event()  # type: ignore[no-untyped-call]  # untyped in the stubs
            return yaml.ScalarNode(_ALIAS, "", event.start_mark, event.end_mark)
        if event.anchor is not None:
            message = f"the anchor {quoted(event.anchor)} is refused; remove it"
            self._refuse(event.start_mark, message)
            event.anchor = None
        if event.tag is not None:
            message = f"the tag {quoted(event.tag)} is refused; write the value without it"
            self._refuse(event.start_mark, message)
            event.tag = None
            if self.check_event(yaml.ScalarEvent):
                event.implicit = (event.style is None, True)
        if self.depth == MAX_DEPTH:
            problem = f"nested deeper than {MAX_DEPTH} levels"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def next_mark(self) -> Mark:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]  # untyped in the stubs
        mark: Mark = event.start_mark
        return mark

    def _refuse(self, mark: Mark, message: str) -> None:
        self.problems.append(Problem(_place(mark), message))


def _read_root(node: yaml.Node | None, document: Document) -> None:
    document.keys[()] = document.values[()] = _place(node.start_mark if node else None)
    if isinstance(node, yaml.MappingNode):
        document.root = _mapping(node, (), document)
        return
    kind = "a list" if isinstance(node, yaml.SequenceNode) else "nothing but text"
    empty = node is None or (node.tag == f"{_TAG}null" and not node.value)
    got = "nothing" if empty else kind
    message = f"expected a mapping of keys to values; the file holds {got}"
    document.problems.append(Problem(document.values[()], message))


def _mapping(node: yaml.MappingNode, path: Path, document: Document) -> dict[str, Plain]:
    found: dict[str, Plain] = {}
    for key_node, value_node in node.value:
        place, inner = _place(key_node.start_mark), (*path, key_node.value)
        refusal = _why_not_a_key(key_node) or _why_not_again(inner, document)
        if refusal is not None:
            document.problems.append(Problem(place, dotted(path, refusal)))
            continue
        document.keys[inner] = place
        document.values[inner] = _place(value_node.start_mark)
        found[key_node.value] = _value(value_node, inner, document)
    return found


def _why_not_a_key(node: yaml.Node) -> str | None:
    if not isinstance(node, yaml.ScalarNode):
        return "a key is text; got a collection"
    match node.tag.removeprefix(_TAG):
        case "merge":
            return "the merge key << is refused; write the values out"
        case "bool":
            return f"the key {quoted(node.value)} is a truth value to YAML 1.1, not text"
        case "null" | "int" | "float" as kind:
            return f"a key is text; {quoted(node.value)} is a value of type {kind} to YAML"
        case "alias":
            return "a key is text; got an alias"
        case _:
            return _why_not_text(node.value)


def _why_not_again(path: Path, document: Document) -> str | None:
    if path not in document.keys:
        return None
    first = document.keys[path].line
    return f"the key {quoted(path[-1])} is there twice; it was given first in line {first}"


def _value(node: yaml.Node, path: Path, document: Document) -> Plain:
    if isinstance(node, yaml.MappingNode):
        return _mapping(node, path, document)
    if isinstance(node, yaml.SequenceNode):
        return _items(node, path, document)
    refusal = _why_not_a_value(node)
    if refusal is None:
        return _scalar(node)
    document.broken.add(path)
    if node.tag != _ALIAS:
        document.problems.append(Problem(document.values[path], dotted(path, refusal)))
    return None


def _items(node: yaml.SequenceNode, path: Path, document: Document) -> list[Plain]:
    found: list[Plain] = []
    for number, item in enumerate(node.value):
        inner = (*path, str(number))
        document.keys[inner] = document.values[inner] = _place(item.start_mark)
        found.append(_value(item, inner, document))
    return found


def _why_not_a_value(node: yaml.Node) -> str | None:
    match node.tag.removeprefix(_TAG):
        case "null":
            return "has no value; give one, or leave it out"
        case "int" | "float":
            if _PLAIN_NUMBER.fullmatch(node.value):
                return None
            number = quoted(node.value)
            return f"write a finite decimal number such as 0.25, or text in quotes; got {number}"
        case "alias":
            return "an alias"
        case _:
            return _why_not_text(node.value)


def _why_not_text(text: str) -> str | None:
    for character in text:
        # An escape in quotes writes what would be refused as it is.
        unreadable = unicodedata.category(character) in {"Cc", "Cs"} and character not in "\n\t"
        if unreadable or _MISLEADING.match(character):
            return f"text may not contain the character U+{ord(character):04X}"
    return None


def _scalar(node: yaml.Node) -> Plain:
    match node.tag.removeprefix(_TAG):
        case "bool":
            return node.value.lower() in _TRUE
        case "int":
            return int(node.value)
        case "float":
            return float(node.value)
        case _:
            return str(node.value)
