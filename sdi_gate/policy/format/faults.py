"""Take a validation error of pydantic's apart into faults, each at its path in the document."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, get_args

from pydantic_core import core_schema

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from pydantic import ValidationError
    from pydantic_core import ErrorDetails

    from sdi_gate.policy.format.places import Document, Path

# What pydantic puts after a key of a mapping whose fault is the key.
_KEY = "[key]"
_BUILT_IN = frozenset(get_args(core_schema.ErrorType))
_ABOUT_KEYS = frozenset({"missing", "extra_forbidden"})
# A collection begins below its key, as a rule; of its size a reader thinks at the key.
_AT_KEYS = _ABOUT_KEYS | {"too_long", "too_short"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Hold one error of pydantic's.

    Attributes:
        kind: Its type, pydantic's own or that of a check of the model's; ``union_type`` where a
            value is of none of several types.
        path: Path in the document; for a missing key, where it should be.
        value: What was given.
        context: Figures that the error names.
        said: The error's own sentence.
        is_key: Whether the last key of the path is at fault, and not what it holds.
        union: Path of the union in which it was found, and the name of the union's member.
        expected: For ``union_type``: the kinds of error that name the types.
    """

    kind: str
    path: Path
    value: Any
    context: Mapping[str, Any] = field(default_factory=dict)
    said: str = ""
    is_key: bool = False
    union: tuple[Path, str] | None = None
    expected: tuple[str, ...] = ()

    @property
    def is_own(self) -> bool:
        """Return whether a check of the model's found it, which saw the whole value."""
        return self.kind not in _BUILT_IN and self.kind != "union_type"

    @property
    def is_about_key(self) -> bool:
        """Return whether a reader finds the mistake at the key."""
        about_section = self.is_own and not isinstance(self.value, (str, int, float))
        return self.is_key or self.kind in _AT_KEYS or about_section


def faults_of(error: ValidationError, document: Document) -> Iterator[Fault]:
    """Return the faults of a document, without those that follow from others.

    Args:
        error: What pydantic found.
        document: The document that was validated.

    Yields:
        One fault for each mistake.
    """
    found = [_located(details, document) for details in error.errors(include_url=False)]
    for fault in _without_unions(found):
        if not _follows(fault, document):
            yield fault


def _located(details: ErrorDetails, document: Document) -> Fault:
    kind, loc = details["type"], details["loc"]
    path: Path = ()
    is_key, union = False, None
    for number, step in enumerate(loc):
        inner = (*path, str(step))
        is_missing = kind == "missing" and number == len(loc) - 1
        if inner in document.values or is_missing:
            path = inner
        elif step == _KEY:
            is_key = True
        else:  # not in the document: the name of a member of a union
            union = union or (path, str(step))
    context = details.get("ctx", {})
    if kind == "duplicate":
        path = (*path, str(context["item"]))
    return Fault(
        kind=kind,
        path=path,
        value=details["input"],
        context=context,
        said=details["msg"],
        is_key=is_key,
        union=union,
    )


def _without_unions(found: Iterable[Fault]) -> Iterator[Fault]:
    # Of a union there stays what its fitting member found, or of which types the value is none.
    unions: dict[Path, dict[str, list[Fault]]] = {}
    for fault in found:
        if fault.union is None:
            yield fault
        else:
            path, member = fault.union
            unions.setdefault(path, {}).setdefault(member, []).append(fault)
    for path, members in unions.items():
        fitting = [faults for faults in members.values() if not _is_of_another_type(faults, path)]
        if fitting:
            yield from min(fitting, key=len)
        else:
            kinds = tuple(faults[0].kind for faults in members.values())
            first = next(iter(members.values()))[0]
            yield replace(first, kind="union_type", expected=tuple(dict.fromkeys(kinds)))


def _is_of_another_type(faults: list[Fault], path: Path) -> bool:
    return any(fault.path == path and fault.kind.endswith("_type") for fault in faults)


def _follows(fault: Fault, document: Document) -> bool:
    # Whether a fault is there only because a value was refused before.
    if fault.kind == "too_short" and len(fault.value) >= fault.context["min_length"]:
        return True  # pydantic counts the items that are valid
    if fault.kind in _ABOUT_KEYS or fault.is_key:
        return False
    if fault.path in document.broken:
        return True
    around = fault.path[:-1] if fault.kind == "duplicate" else fault.path
    return fault.is_own and any(path[: len(around)] == around for path in document.broken)
