"""Read a file of the policy's formats, or say everything that is wrong with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar, get_args

from pydantic import ValidationError

from sdi_gate.errors import PolicyError
from sdi_gate.policy.format.nodes import Place, Problem, read_document
from sdi_gate.policy.format.problems import explain
from sdi_gate.policy.format.section import Section
from sdi_gate.policy.format.spelling import visible

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sdi_gate.policy.format.nodes import Document

MAX_SIZE_BYTES = 1_000_000
# Enough for every mistake of a person; a file of another kind should not flood the log.
MAX_LISTED = 100

# By ``kind``: what a file is called, and what reads it.
_KINDS = {
    "Policy": ("policy", "sdi-gate policy validate reads it"),
    "PolicyTest": ("policy test", "sdi-gate policy test reads it"),
    "Candidates": (
        "manifest of candidates",
        "the GitHub Action reads it, by the name that its input manifest gives",
    ),
}

M = TypeVar("M", bound=Section)


def read_model(content: bytes, *, path: str, model: type[M], hint: str) -> tuple[M, Document]:
    """Read a file as a model: strict YAML first, then the model's own rules.

    Args:
        content: The whole file, UTF-8.
        path: Where it came from, for messages.
        model: What the file must be, such as the policy's schema.
        hint: Where a reader finds what the file may hold.

    Returns:
        The model, valid in every respect, and the document with the place of every key and value.

    Raises:
        PolicyError: If the bytes are not such a file; the message lists every problem with file,
            line and column.
    """
    document = read_document(_decoded(content, path, model.called, hint))
    problems = document.problems
    if document.root is not None:
        _refuse_another_kind(document, path, model)
        try:
            found = model.model_validate(document.root)
        except ValidationError as exc:
            problems += explain(exc, document, model)
    if problems:
        raise PolicyError(listed(path, problems, what=model.called), hint=hint)
    return found, document


def _refuse_another_kind(document: Document, path: str, model: type[Section]) -> None:
    # All that it holds would be unknown here; one sentence says more than a list of that.
    wanted = model.model_fields.get("kind")
    kind = None if document.root is None else document.root.get("kind")
    if wanted is None or kind not in _KINDS or kind in get_args(wanted.annotation):
        return
    called, hint = _KINDS[str(kind)]
    problem = Problem(document.values["kind",], f"kind: this is a {called}, not a {model.called}")
    raise PolicyError(listed(path, [problem], what=model.called), hint=hint)


def listed(path: str, problems: Iterable[Problem], *, what: str = "policy") -> str:
    """Return the message that lists the problems of a file in the order of its lines.

    Args:
        path: Where the file came from.
        problems: What is wrong with it; one of them is listed once, however often it is given.
        what: What the file should have been.

    Returns:
        A line with the number of problems, and a line with place and message for each of the
        first hundred.
    """
    ordered = sorted(set(problems))
    path = visible(path)
    count = "1 problem" if len(ordered) == 1 else f"{len(ordered)} problems"
    places = [
        f"{path}:{problem.place.line}:{problem.place.column}: {problem.message}"
        for problem in ordered[:MAX_LISTED]
    ]
    more = len(ordered) - len(places)
    rest = [f"{path}: and {more} more {'problem' if more == 1 else 'problems'}"] if more else []
    return "\n".join((f"{path}: the {what} cannot be used: {count}", *places, *rest))


def _decoded(content: bytes, path: str, what: str, hint: str) -> str:
    if len(content) > MAX_SIZE_BYTES:
        msg = f"{path}: the {what} is larger than {MAX_SIZE_BYTES:,} bytes"
        raise PolicyError(msg, hint=hint)
    try:
        return content.decode()
    except UnicodeDecodeError as exc:
        before = content[: exc.start].decode()
        column = len(before) - (before.rfind("\n") + 1)
        place = Place(before.count("\n") + 1, column + 1)
        message = f"the file is not UTF-8: byte 0x{content[exc.start]:02X}, {exc.reason}"
        raise PolicyError(listed(path, [Problem(place, message)], what=what), hint=hint) from exc
