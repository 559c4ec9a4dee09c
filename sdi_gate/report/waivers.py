"""Say which waivers of the policy name this model, and what became of each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sdi_gate.report.numbers import exact, plural
from sdi_gate.report.parts import ABSENT, Section, Table, clean

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sdi_gate.report.document import FindingEntry, ResultDocument, VerdictEntry, WaiverEntry

_TITLE = "Waivers"
_MAX_WAIVERS = 40
_MAX_TOLD = 2
# Short enough for the longest report that is cut wherever it can be.
_NAME = 60
_REASON = 160
# What opens the gate first; what has no effect today last.
_ORDER = (
    "waived",
    "exceeded",
    "expired",
    "unused",
    "not-yet",
    "clock-behind",
    "other-digest",
    "no-limit",
)
_STATES = {
    "waived": "waived: beyond the limit, within the waiver's",
    "exceeded": "exceeded: beyond the waiver's limit, too",
    "expired": "expired: it has no effect",
    "unused": "unused: the limit is kept without it",
    "not-yet": "not yet in force",
    "clock-behind": "without effect: the clock is behind the scan",
    "other-digest": "for other weights of this model: it has no effect",
    "no-limit": "no such limit holds for this model, or there is no value",
}

# Why a waiver did not keep a finding from failing.
_LAPSED = {
    "expired": "expired on {}",
    "exceeded": "does not reach so far",
    "not-yet": "is not yet in force",
    "clock-behind": "does not hold, for the clock is behind the scan",
    "other-digest": "is for other weights of this model",
}


def waivers_section(document: ResultDocument) -> Section:
    """Return every waiver that names this model as a table, those with an effect first.

    Args:
        document: The result.

    Returns:
        The section; empty if there is no waiver.
    """
    found = _ranked(document)
    if not found:
        return Section(title=_TITLE)
    table = Table(
        key="waivers",
        nouns="waivers",
        head=("Waiver", "State", "Raises", "Until", "Owner", "Approved by", "Ticket", "Reason"),
        rows=tuple(_row(waiver) for waiver in found[:_MAX_WAIVERS]),
        total=len(found),
        essential=8,
        is_numeric=(False,) * 8,
    )
    return Section(title=_TITLE, tables=(table,))


def waivers_brief(document: ResultDocument) -> Section:
    """Return every waiver that names this model, a sentence each.

    Args:
        document: The result.

    Returns:
        The section; empty if there is no waiver.
    """
    found = _ranked(document)
    more = len(found) - _MAX_WAIVERS
    omitted = (f"{plural(more, 'waiver')} not shown; result.json has all.",) if more > 0 else ()
    told = tuple(_sentence(waiver) for waiver in found[:_MAX_WAIVERS])
    return Section(title=_TITLE, sentences=(*told, *omitted))


def opened_by(verdict: VerdictEntry) -> tuple[str, ...]:
    """Name the waivers without which the verdict would be another one.

    Args:
        verdict: The verdict.

    Returns:
        A sentence for each, at most two and one on the rest; none if the verdict would close
        the gate with the waivers, too.
    """
    if verdict.would_close:
        return ()
    saved = [finding for finding in verdict.findings if finding.is_saved]
    more = len(saved) - _MAX_TOLD
    rest = (f"{plural(more, 'further limit')} would fail without a waiver.",) if more > 0 else ()
    return (*(_told(finding, verdict) for finding in saved[:_MAX_TOLD]), *rest)


def remarks_on(finding: FindingEntry, verdict: VerdictEntry) -> Iterator[str]:
    """Say what waivers have to do with a finding.

    Args:
        finding: The finding.
        verdict: Its verdict.

    Yields:
        A sentence on the waiver that raised its limit, if that matters, and, where it failed, one
        on each that is for this limit and did not help.
    """
    if finding.is_saved and finding.waived_limit is not None and finding.fail is not None:
        yield (
            f"Without waiver {clean(finding.waiver or '', _NAME)}, which raises the failing limit "
            f"from {exact(finding.waived_limit)} to {exact(finding.fail)}, it would fail."
        )
    if finding.status != "fail":
        return
    for waiver in verdict.waivers[:_MAX_WAIVERS]:
        lapsed = _LAPSED.get(waiver.state)
        if lapsed is not None and finding.rule == f"limits.{waiver.metric}":
            yield f"Waiver {clean(waiver.id, _NAME)} {lapsed.format(clean(waiver.expires, _NAME))}."


def _ranked(document: ResultDocument) -> list[WaiverEntry]:
    if document.verdict is None:
        return []
    return sorted(document.verdict.waivers, key=lambda waiver: _ORDER.index(waiver.state))


def _told(finding: FindingEntry, verdict: VerdictEntry) -> str:
    waiver = next(
        each for each in verdict.waivers if each.id == finding.waiver and each.state == "waived"
    )
    return (
        f"Not a FAIL by waiver {clean(waiver.id, _NAME)}: it raises the failing limit of "
        f"{_metric(waiver)} {_until(waiver)}. Owner: {clean(waiver.owner, _NAME)}. Approved by: "
        f"{clean(waiver.approved_by, _NAME)}."
    )


def _row(waiver: WaiverEntry) -> tuple[str, ...]:
    return (
        clean(waiver.id, _NAME),
        _state(waiver),
        f"{_metric(waiver)} to {exact(waiver.limit)}",
        f"{clean(waiver.expires, _NAME)} ({_days(waiver)})",
        clean(waiver.owner, _NAME),
        clean(waiver.approved_by, _NAME),
        ABSENT if waiver.ticket is None else clean(waiver.ticket, _NAME),
        clean(waiver.reason, _REASON),
    )


def _sentence(waiver: WaiverEntry) -> str:
    ticket = "" if waiver.ticket is None else f" Ticket: {clean(waiver.ticket, _NAME)}."
    return (
        f"{clean(waiver.id, _NAME)} ({_state(waiver)}) raises {_metric(waiver)} to "
        f"{exact(waiver.limit)} {_until(waiver)}. Owner: {clean(waiver.owner, _NAME)}. "
        f"Approved by: {clean(waiver.approved_by, _NAME)}.{ticket} "
        f"Reason: {clean(waiver.reason, _REASON)}"
    )


def _state(waiver: WaiverEntry) -> str:
    soon = "; it expires soon" if waiver.expiring else ""
    return f"{_STATES[waiver.state]}{soon}"


def _metric(waiver: WaiverEntry) -> str:
    return clean(waiver.metric, _NAME)


def _until(waiver: WaiverEntry) -> str:
    return f"until {clean(waiver.expires, _NAME)} ({_days(waiver)})"


def _days(waiver: WaiverEntry) -> str:
    if waiver.days_left < 0:
        return f"{plural(-waiver.days_left, 'day')} ago"
    return f"{plural(waiver.days_left, 'day')} left"
