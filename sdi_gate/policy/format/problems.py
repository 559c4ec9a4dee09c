"""Say at a line and column what pydantic found wrong with a file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sdi_gate.policy.format.faults import faults_of
from sdi_gate.policy.format.messages import message_of, unknown_key
from sdi_gate.policy.format.places import Problem, dotted, quoted

if TYPE_CHECKING:
    from pydantic import BaseModel, ValidationError

    from sdi_gate.policy.format.faults import Fault
    from sdi_gate.policy.format.places import Document, Place

# The search for the nearest key takes a millisecond, and a hostile file has thousands of keys.
_MAX_ADVISED = 100


def explain(error: ValidationError, document: Document, model: type[BaseModel]) -> list[Problem]:
    """Return the problems that a validation found, without those that follow from others.

    Args:
        error: What pydantic found.
        document: The document that was validated.
        model: Model of the whole file.

    Returns:
        One problem for each mistake that was not refused before, in the order of the file.
    """
    placed = [(_place(fault, document), fault) for fault in faults_of(error, document)]
    placed.sort(key=lambda pair: pair[0])
    return [
        Problem(place, _sentence(fault, document, model if number < _MAX_ADVISED else None))
        for number, (place, fault) in enumerate(placed)
    ]


def _place(fault: Fault, document: Document) -> Place:
    places = document.keys if fault.is_about_key else document.values
    return places[fault.path[:-1] if fault.kind == "missing" else fault.path]


def _sentence(fault: Fault, document: Document, model: type[BaseModel] | None) -> str:
    if fault.kind == "extra_forbidden":
        if model is None:
            return dotted(fault.path[:-1], f"unknown key {quoted(fault.path[-1])}")
        return dotted(fault.path[:-1], unknown_key(fault, model))
    if fault.kind == "duplicate":
        first = document.values[(*fault.path[:-1], str(fault.context["first"]))]
        return dotted(fault.path, f"is in the list already; it was given in line {first.line}")
    if fault.is_key:
        return dotted(fault.path[:-1], f"the key is refused: {message_of(fault, model)}")
    return dotted(fault.path, message_of(fault, model))
