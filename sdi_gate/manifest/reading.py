"""Read a manifest, or say everything that is wrong with it."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sdi_gate.errors import PolicyError, UsageError
from sdi_gate.manifest.references import same_model
from sdi_gate.manifest.schema import Manifest
from sdi_gate.policy.format.places import Place, Problem, quoted
from sdi_gate.policy.format.reading import listed, read_model
from sdi_gate.policy.origins import Origin

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sdi_gate.policy.format.places import Document

HINT = "docs/action.md says what a manifest may hold."


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadEntry:
    """Hold one candidate of a manifest, with what the manifest says for all.

    Attributes:
        name: What reports call it; no other entry of the manifest has it.
        base: Reference of the model that it was made from; None for the one that the adapter names.
        candidate: Its reference.
        registered_name: Its name in a registry, if it has one.
        origin: Where the entry stands.
    """

    name: str
    base: str | None
    candidate: str
    registered_name: str | None
    origin: Origin

    @property
    def judged(self) -> tuple[str | None, str, str | None]:
        """Return everything on which a verdict on it depends, wherever it stands."""
        return self.base, self.candidate, self.registered_name


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadManifest:
    """Hold a manifest, valid in every respect.

    Attributes:
        path: Where it came from.
        entries: One to 200, in its own order.
    """

    path: str
    entries: tuple[ReadEntry, ...]


def parse_manifest(content: bytes, path: str) -> ReadManifest:
    """Read a manifest.

    Args:
        content: The whole file, UTF-8.
        path: Where it came from, for messages and places.

    Returns:
        The manifest.

    Raises:
        UsageError: If the bytes are not a manifest; the message lists every problem with file,
            line and column.
    """
    try:
        manifest, document = read_model(content, path=path, model=Manifest, hint=HINT)
    except PolicyError as exc:
        raise UsageError(exc.message, hint=exc.hint) from exc
    entries = tuple(_entries(manifest, document, path))
    problems = [*_name_problems(entries, document), *_pair_problems(entries, document)]
    if problems:
        raise UsageError(listed(path, problems, what=Manifest.called), hint=HINT)
    return ReadManifest(path=path, entries=entries)


def with_base(manifest: ReadManifest, base: str) -> ReadManifest:
    """Give the entries that name no base one.

    Args:
        manifest: The manifest.
        base: The base.

    Returns:
        The manifest, in which every entry has a base.
    """
    entries = (replace(entry, base=entry.base or base) for entry in manifest.entries)
    return replace(manifest, entries=tuple(entries))


def check_base(manifest: ReadManifest, base: str) -> None:
    """Refuse a manifest in which an entry has another base than a workflow gives.

    Args:
        manifest: The manifest, in which every entry has a base.
        base: The base.

    Raises:
        UsageError: If an entry has another one, or is that base; the message lists all.
    """
    problems = []
    for entry in manifest.entries:
        place = Place(entry.origin.line, entry.origin.column)
        same = same_model(base, entry.candidate)
        if entry.base != base:
            got = quoted(entry.base or "")
            why = f"the workflow's input base is {quoted(base)}, and the entry's is {got}"
            problems.append(Problem(place, f"{quoted(entry.name)}: {why}"))
        elif same is not None:
            why = f"the candidate is the base that the workflow gives: {same}"
            problems.append(Problem(place, f"{quoted(entry.name)}: {why}"))
    if problems:
        hint = "an input only tightens: leave base out of the workflow, or out of the manifest"
        raise UsageError(listed(manifest.path, problems, what=Manifest.called), hint=hint)


def _entries(manifest: Manifest, document: Document, path: str) -> Iterator[ReadEntry]:
    for number, entry in enumerate(manifest.candidates):
        place = document.values["candidates", str(number)]
        yield ReadEntry(
            name=entry.name,
            base=entry.base or manifest.base,
            candidate=entry.candidate,
            registered_name=entry.registered_name,
            origin=Origin(file=path, line=place.line, column=place.column),
        )


def _name_problems(entries: tuple[ReadEntry, ...], document: Document) -> Iterator[Problem]:
    first: dict[str, ReadEntry] = {}
    for number, entry in enumerate(entries):
        # Names that differ in case or in how a letter is composed are one to a reader.
        key = unicodedata.normalize("NFKC", entry.name).casefold()
        other = first.setdefault(key, entry)
        if other is not entry:
            alike = "" if other.name == entry.name else f", which reads like {quoted(other.name)}"
            why = f"the name {quoted(entry.name)}{alike} is there twice"
            yield _problem(document, number, "name", f"{why}; first in line {other.origin.line}")


def _pair_problems(entries: tuple[ReadEntry, ...], document: Document) -> Iterator[Problem]:
    for number, entry in enumerate(entries):
        why = None if entry.base is None else same_model(entry.base, entry.candidate)
        if why is not None:
            message = f"base and candidate are one model, which would always pass: {why}"
            yield _problem(document, number, "candidate", message)


def _problem(document: Document, number: int, key: str, message: str) -> Problem:
    path = ("candidates", str(number), key)
    return Problem(document.values[path], f"{'.'.join(path)}: {message}")
