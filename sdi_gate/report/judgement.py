"""Put the verdict into words: the first lines of the report, and the findings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sdi_gate.report.numbers import exact, number, with_error
from sdi_gate.report.parts import (
    ABSENT,
    FindingLine,
    Section,
    Table,
    clean,
)
from sdi_gate.report.policies import consequence, mode_words, standing_at
from sdi_gate.report.waivers import opened_by, remarks_on
from sdi_gate.report.words import index_label, is_index, unit, where

if TYPE_CHECKING:
    from sdi_gate.report.document import FindingEntry, ResultDocument

_MAX_FINDINGS = 40
_SEVERITY = ("fail", "inconclusive", "warn", "pass")
# Long enough for a tier of which every part was cut.
_REASON_LIMIT = 600
# Beyond this a standard error says only that the call is not close.
_MANY_ERRORS = 100
_PREDICTED = "limits.predicted-degradation."


def headline(document: ResultDocument) -> str:
    """Return the first line: the verdict and the two models.

    Args:
        document: The result.

    Returns:
        Such as ``FAIL: hf:org/tune against hf:org/base``.
    """
    models = f"{clean(document.candidate.reference)} against {clean(document.base.reference)}"
    verdict = document.verdict
    if verdict is None:
        return f"MEASURED, NOT JUDGED: {models}"
    return f"{verdict.status.upper()}{mode_words(verdict)}: {models}"


def deciding(document: ResultDocument) -> tuple[str, ...]:
    """Return the rule that decided, by how much, and what follows for the gate.

    Args:
        document: The result.

    Returns:
        One or two paragraphs, and one for each waiver without which the gate would be closed.
    """
    verdict = document.verdict
    if verdict is None:
        return ("No policy was given: the numbers below were held against no limit.",)
    finding = verdict.findings[verdict.deciding]
    verb = "Nothing crossed a limit; closest is" if verdict.status == "pass" else "Decided by"
    place = _place(finding)
    largest = f" It is largest in {place}." if place != ABSENT else ""
    stands = standing_at(finding.origin)
    line = f" The rule stands at {stands}." if stands else ""
    return (
        f"{verb} {_rule(finding)}: {finding_sentence(finding, document)}{largest}{line}",
        consequence(verdict),
        *opened_by(verdict),
    )


def finding_lines(document: ResultDocument) -> tuple[FindingLine, ...]:
    """Return one line per finding, the deciding one first, then the worst.

    Args:
        document: The result.

    Returns:
        At most 40 lines; none without a policy.
    """
    return tuple(
        FindingLine(
            status=finding.status.upper(),
            rule=_rule(finding),
            sentence=finding_sentence(finding, document),
        )
        for finding in _ranked(document)[:_MAX_FINDINGS]
    )


def findings(document: ResultDocument) -> Section:
    """Return the findings as a table, the deciding one first, then the worst.

    Args:
        document: The result.

    Returns:
        The section; a sentence without a policy.
    """
    ranked = _ranked(document)
    if not ranked:
        return Section(title="Findings", sentences=("There are none: no policy was given.",))
    rows = tuple(_row(finding, document) for finding in ranked[:_MAX_FINDINGS])
    table = Table(
        key="findings",
        nouns="findings",
        head=("Result", "Rule", "Observed", "Limit", "Margin", "Largest in"),
        rows=rows,
        total=len(ranked),
        essential=6,
        is_numeric=(False,) * 6,
    )
    return Section(title="Findings", tables=(table,))


def _ranked(document: ResultDocument) -> list[FindingEntry]:
    if document.verdict is None:
        return []
    entries = document.verdict.findings
    first = entries[document.verdict.deciding]
    return sorted(entries, key=lambda entry: (entry is not first, _SEVERITY.index(entry.status)))


def _row(finding: FindingEntry, document: ResultDocument) -> tuple[str, ...]:
    status, rule, limits = finding.status.upper(), _rule(finding), _limits(finding)
    if finding.observed is None or finding.margin is None:
        reason = finding_sentence(finding, document)
        return (status, rule, reason, limits, ABSENT, _place(finding))
    value = _observed(finding.observed, finding)
    if finding.judged is not None:
        value += f", held as {_held(finding.judged, finding)}"
    label = _label(finding, document)
    observed = value if label in rule else f"{label} {value}"
    room = "over" if finding.margin < 0 else "left"
    margin = f"{number(abs(finding.margin))} {room}"
    return (status, rule, observed, limits, margin, _place(finding))


def finding_sentence(finding: FindingEntry, document: ResultDocument) -> str:
    """Say what came of one rule of the policy.

    Args:
        finding: One of the document's findings.
        document: The result.

    Returns:
        Its number beside its limit, or its reason; and what waivers have to do with it.
    """
    remarks = () if document.verdict is None else remarks_on(finding, document.verdict)
    return " ".join((_comparison(finding, document), *remarks))


def _comparison(finding: FindingEntry, document: ResultDocument) -> str:
    limit, label = _limit(finding), _label(finding, document)
    if finding.observed is None or finding.margin is None or limit is None:
        reason = clean(finding.reason, _REASON_LIMIT)
        return f"{label}: {reason}" if is_index(finding.metric) else reason
    kind = "warning" if limit == finding.warn and finding.status != "fail" else "failing"
    beyond = "below" if finding.bound == "lower" else "above"
    place = "within" if finding.margin >= 0 else beyond
    amount = number(abs(finding.margin))
    observed = f"{label} is {_observed(finding.observed, finding)}"
    if finding.judged is not None:
        observed += f", held as {_held(finding.judged, finding)}"
    if not finding.margin:
        return f"{observed}, exactly at the {kind} limit, which it keeps."
    errors = _in_errors(finding.margin, finding)
    return f"{observed}, {place} the {kind} limit of {exact(limit)} by {amount}{errors}."


def _in_errors(margin: float, finding: FindingEntry) -> str:
    # Where standard errors were added, what is left is no distance from the value any more.
    if not finding.stderr or finding.judged is not None:
        return ""
    errors = abs(margin) / finding.stderr
    shown = number(errors) if errors <= _MANY_ERRORS else f"more than {_MANY_ERRORS}"
    return f" ({shown} standard errors)"


def _held(judged: float, finding: FindingEntry) -> str:
    against = [limit for limit in (finding.warn, finding.fail) if limit is not None]
    why = "standard errors added" if finding.stderr else "the worse end of its interval"
    return f"{number(judged, against)} ({why})"


def _observed(value: float, finding: FindingEntry) -> str:
    against = [limit for limit in (finding.warn, finding.fail) if limit is not None]
    return f"{with_error(value, finding.stderr, against)} {unit(finding.metric)}".rstrip()


def _limit(finding: FindingEntry) -> float | None:
    """Return the limit that was crossed or, if none was, the nearer one."""
    if finding.status == "fail" or finding.warn is None:
        return finding.fail
    return finding.warn


def _limits(finding: FindingEntry) -> str:
    beyond = "below" if finding.bound == "lower" else "above"
    levels = (("warns", finding.warn), ("fails", finding.fail))
    known = [f"{verb} {beyond} {exact(level)}" for verb, level in levels if level is not None]
    told = ", ".join(known) or ABSENT
    if finding.waived_limit is None:
        return told
    waiver = clean(finding.waiver or "", 60)
    return f"{told} ({exact(finding.waived_limit)} without waiver {waiver})"


def _label(finding: FindingEntry, document: ResultDocument) -> str:
    if is_index(finding.metric):
        return index_label(finding.metric, document)
    metric = clean(finding.metric, 60)
    return f"predicted degradation ({metric})" if finding.rule.startswith(_PREDICTED) else metric


def _rule(finding: FindingEntry) -> str:
    return clean(finding.rule.removeprefix("limits."), 60)


def _place(finding: FindingEntry) -> str:
    return where(finding.layer, finding.stratum)
