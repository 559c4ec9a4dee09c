"""Say which policy judged, in which mode, and what its authors had copied into the report."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from sdi_gate.report.parts import Section, Statement, clean, listed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sdi_gate.report.document import OriginEntry, ResultDocument, StatementEntry, VerdictEntry

_TITLE = "Statements of the policy's authors"
_NOTE = (
    "Copied from the policy, word for word. They are its authors' statements: sdi-gate has checked "
    "none of them, and claims no compliance with any law, standard or rule."
)
_MAX_STATEMENTS = 40
_MAX_PARAGRAPHS = 20
_PARAGRAPH_LIMIT = 2000
_MAX_BLOCKS = 4
_MAX_FILES = 3
# Short enough for the longest report that is cut wherever it can be.
_LIST_LIMIT = 100
_NAME = 60
_FIRST_CLOSED_CODE = 10
_PARAGRAPHS = re.compile(r"\n[^\S\n]*\n")


def mode_words(verdict: VerdictEntry) -> str:
    """Say in the first line what does not follow from a verdict.

    Args:
        verdict: The verdict.

    Returns:
        Such as `` (observe mode, not enforced)``; empty for one that is enforced.
    """
    match verdict.mode:
        case "enforce":
            return ""
        case "observe":
            return " (observe mode, not enforced)"
        case "warn" if verdict.would_close:
            return " (warn mode, the gate would have been closed)"
        case "warn":
            return " (warn mode, not enforced)"


def consequence(verdict: VerdictEntry) -> str:
    """Say what follows for the gate.

    Args:
        verdict: The verdict.

    Returns:
        One sentence, with the policy and its match blocks that hold; then its digest.
    """
    # Last, and without a full stop: it is there to be copied.
    return f"{_gate(verdict)} Policy digest: {clean(verdict.policy_digest)}"


def _gate(verdict: VerdictEntry) -> str:
    named = listed(verdict.blocks, _MAX_BLOCKS, _LIST_LIMIT)
    held = f", with what it says for {named}," if verdict.blocks else ""
    policy = f"policy {clean(verdict.policy_name)}{held}"
    if verdict.mode == "enforce":
        gate = "closed" if verdict.exit_code >= _FIRST_CLOSED_CODE else "open"
        return f"Under the {policy} the gate is {gate} (exit code {verdict.exit_code})."
    if verdict.mode == "warn" and verdict.would_close:
        return (
            f"The {policy} is in warn mode: in enforce mode the gate would have been closed, and "
            "now it stays open."
        )
    return (
        f"The {policy} is in {verdict.mode} mode: the verdict is reported, and the gate stays open."
    )


def standing_at(origin: OriginEntry | None) -> str:
    """Say where a demand of a policy stands.

    Args:
        origin: Its place, if it is known.

    Returns:
        Such as ``policies/default.yml:54`` or ``default.yml:54, for family llama``; empty for a
        default, which no file states.
    """
    if origin is None or not origin.line:
        return ""
    block = f", for {clean(origin.block, _NAME)}" if origin.block else ""
    return f"{clean(origin.file, _NAME)}:{origin.line}{block}"


def policy_facts(verdict: VerdictEntry) -> Iterator[tuple[str, str]]:
    """Say which policy it was, for the table of everything that a result depends on.

    Args:
        verdict: The verdict.

    Yields:
        Names and values, as far as they are known.
    """
    version = verdict.policy_version
    revision = verdict.policy_revision
    named = (
        clean(verdict.policy_name),
        *(() if version is None else (f"version {clean(version, _NAME)}",)),
        *(() if revision is None else (f"revision {revision}",)),
    )
    yield "policy", ", ".join(named)
    yield "policy digest", clean(verdict.policy_digest)
    if verdict.signature is not None:
        yield "policy signature", _signature(verdict)
    yield "policy mode", verdict.mode
    if verdict.policy_file is not None:
        yield "policy file", clean(verdict.policy_file, _NAME)
    if verdict.policy_extends:
        yield "policy extends", listed(verdict.policy_extends, _MAX_FILES, _LIST_LIMIT)
    if verdict.blocks:
        yield "match blocks", listed(verdict.blocks, _MAX_BLOCKS, _LIST_LIMIT)
    for name, text in (
        ("policy owner", verdict.policy_owner),
        ("policy contact", verdict.policy_contact),
    ):
        if text is not None:
            yield name, clean(text, _NAME)


def _signature(verdict: VerdictEntry) -> str:
    if verdict.signature_key is None:
        return "not checked"
    return f"verified with key {clean(verdict.signature_key, _NAME)}"


def documentation_section(document: ResultDocument) -> Section:
    """Return the texts that the policy's authors had copied into every report.

    Args:
        document: The result.

    Returns:
        The section; empty if there are none.
    """
    found = () if document.verdict is None else document.verdict.documentation
    if not found:
        return Section(title=_TITLE)
    more = len(found) - _MAX_STATEMENTS
    omitted = (f"{more} of {len(found)} are not shown; result.json has all.",) if more > 0 else ()
    return Section(
        title=_TITLE,
        sentences=(_NOTE, *omitted),
        statements=tuple(map(_statement, found[:_MAX_STATEMENTS])),
    )


def _statement(entry: StatementEntry) -> Statement:
    paragraphs = _PARAGRAPHS.split(entry.text.strip())[:_MAX_PARAGRAPHS]
    return Statement(
        title=clean(entry.title),
        paragraphs=tuple(clean(paragraph, _PARAGRAPH_LIMIT) for paragraph in paragraphs),
    )
