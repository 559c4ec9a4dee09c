"""Write a run as SARIF 2.1.0, as code scanning reads it.

Rules are those of the policy, and results are findings that are not a pass; what could not be
judged is no result but a notification. Two runs under one policy replace each other, and runs
under two policies do not. An upload to code scanning never decides anything: the exit code does.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

from sdi_gate.report.judgement import finding_sentence
from sdi_gate.report.numbers import plural
from sdi_gate.report.parts import clean
from sdi_gate.report.runs.locations import (
    Location,
    is_inside,
    manifest_location,
    place_words,
    policy_location,
)
from sdi_gate.report.runs.remarks import LEVELS, MESSAGE_LIMIT, error_text, level_of, not_passed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sdi_gate.report.document import FindingEntry, ResultDocument, VerdictEntry
    from sdi_gate.report.runs.document import RunDocument, SubjectEntry
    from sdi_gate.report.runs.remarks import Level

MAX_RESULTS = 5000
_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
_ROOT = "%SRCROOT%"
_RULE_LIMIT = 200
_COMMIT = re.compile(r"@[0-9a-f]{40}")
_LEVELS: dict[Level, str] = {"error": "error", "warning": "warning", "notice": "note"}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Result:
    subject: SubjectEntry
    document: ResultDocument
    verdict: VerdictEntry
    finding: FindingEntry
    level: Level

    @property
    def rule(self) -> str:
        return clean(self.finding.rule, _RULE_LIMIT)

    @property
    def rank(self) -> tuple[int, bool]:
        is_deciding = self.finding is self.verdict.findings[self.verdict.deciding]
        return LEVELS.index(self.level), not is_deciding


def render_sarif(run: RunDocument) -> bytes:
    """Write a run as SARIF 2.1.0.

    Args:
        run: The run.

    Returns:
        UTF-8; equal documents give equal bytes. Every finding that is not a pass is one result,
        up to the 5,000 most important ones; a notification says how many were left out.
    """
    found = sorted(_results(run), key=lambda each: each.rank)
    shown = found[:MAX_RESULTS]
    rules = tuple(dict.fromkeys((*(each.rule for each in shown), *_passed(run))))[:MAX_RESULTS]
    indices = {rule: i for i, rule in enumerate(rules)}
    plain: dict[str, object] = {
        "$schema": _SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {"driver": _driver(run, rules)},
                # What is before the last slash is the category: uploads of one replace each other.
                "automationDetails": {"id": f"sdi-gate/{run.policy.key}/"},
                "invocations": [_invocation(run, omitted=len(found) - len(shown))],
                "columnKind": "unicodeCodePoints",
                "properties": _facts(run),
                "results": [_result(each, indices[each.rule], run) for each in shown],
            }
        ],
    }
    return (json.dumps(plain, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _results(run: RunDocument) -> Iterator[_Result]:
    for subject in (run.subjects[index] for index in run.ranked):
        document = subject.result
        if document is None or document.verdict is None:
            continue
        for finding in not_passed(document.verdict):
            level = level_of(finding.status, document.verdict.mode)
            if level is not None:
                yield _Result(
                    subject=subject,
                    document=document,
                    verdict=document.verdict,
                    finding=finding,
                    level=level,
                )


def _passed(run: RunDocument) -> Iterator[str]:
    for subject in run.subjects:
        verdict = None if subject.result is None else subject.result.verdict
        for finding in () if verdict is None else verdict.findings:
            yield clean(finding.rule, _RULE_LIMIT)


def _driver(run: RunDocument, rules: tuple[str, ...]) -> dict[str, object]:
    policy = "" if run.policy.name is None else f" {clean(run.policy.name)}"
    told = "A finding says which number was held against which limit, and where it is largest."
    return {
        "name": "sdi-gate",
        "version": clean(run.version),
        "rules": [
            {
                "id": rule,
                "shortDescription": {"text": f"Policy rule {rule}"},
                "fullDescription": {"text": f"Rule {rule} of the policy{policy}."},
                "help": {"text": f"Rule {rule} of the policy{policy}. {told}"},
                "defaultConfiguration": {"level": "warning"},
                "properties": {"tags": ["sdi-gate"]},
            }
            for rule in rules
        ],
    }


def _facts(run: RunDocument) -> dict[str, object]:
    return {
        "decision": run.decision,
        "exitCode": run.exit_code,
        "candidates": len(run.subjects),
        "policyKey": run.policy.key,
        "policyDigest": run.policy.digest,
    }


def _invocation(run: RunDocument, *, omitted: int) -> dict[str, object]:
    errors = [subject for subject in run.subjects if subject.error is not None]
    whole = [] if run.error is None else [_notification(error_text(run.error), "error", None)]
    notifications = [
        *whole,
        *(
            _notification(
                f"{clean(subject.name)}: {error_text(subject.error)}",
                "error",
                manifest_location(subject),
            )
            for subject in errors
            if subject.error is not None
        ),
    ]
    if omitted:
        told = f"{plural(omitted, 'result')} left out: code scanning keeps {MAX_RESULTS}."
        notifications.append(_notification(told, "warning", None))
    return {
        "executionSuccessful": run.error is None and not errors,
        "exitCode": run.exit_code,
        "toolExecutionNotifications": notifications,
    }


def _notification(text: str, level: str, place: Location | None) -> dict[str, object]:
    located = {} if place is None else {"locations": [_physical(place)]}
    return {"level": level, "message": {"text": clean(text, MESSAGE_LIMIT)}, **located}


def _result(result: _Result, index: int, run: RunDocument) -> dict[str, object]:
    finding = result.finding
    place = policy_location(finding.origin, run)
    stands = place_words(finding.origin) if place is None else ""
    told = (
        f"{clean(result.subject.name)}: {finding.status.upper()}: "
        f"{finding_sentence(finding, result.document)}"
    )
    text = f"{told} The rule stands at {stands}." if stands else told
    fingerprint = _fingerprint(result, run)
    return {
        "ruleId": result.rule,
        "ruleIndex": index,
        "level": _LEVELS[result.level],
        "message": {"text": clean(text, MESSAGE_LIMIT)},
        "locations": [_physical(place or _stand_in(result, run))],
        # Code scanning goes by the first alone, which else would be of the line: one alert for all
        # candidates.
        "partialFingerprints": {
            "primaryLocationLineHash": f"{fingerprint[:16]}:1",
            "sdiGateFinding/v1": fingerprint,
        },
        "properties": _numbers(result),
    }


def _stand_in(result: _Result, run: RunDocument) -> Location:
    # Code scanning refuses a result without a file in it.
    manifest = manifest_location(result.subject)
    if manifest is not None:
        return manifest
    origin = result.finding.origin
    named = run.policy.reference if origin is None or not origin.line else origin.file
    path = _COMMIT.sub("", named).replace("//", "/")
    line = 1 if origin is None else max(1, origin.line)
    return Location(file=path if is_inside(path) else "policy", line=line)


def _physical(place: Location) -> dict[str, object]:
    column = {} if place.column is None else {"startColumn": place.column}
    return {
        "physicalLocation": {
            "artifactLocation": {"uri": quote(place.file, safe="/"), "uriBaseId": _ROOT},
            "region": {"startLine": place.line, **column},
        }
    }


def _fingerprint(result: _Result, run: RunDocument) -> str:
    # It stays while the numbers, the place and the policy's commit change.
    finding = result.finding
    alike = [
        each
        for each in result.verdict.findings
        if (each.rule, each.metric) == (finding.rule, finding.metric)
    ]
    ordinal = next(i for i, each in enumerate(alike) if each is finding)
    known = [run.policy.key, result.subject.name, finding.rule, finding.metric, ordinal]
    return hashlib.sha256(json.dumps(known).encode()).hexdigest()


def _numbers(result: _Result) -> dict[str, object]:
    finding, document = result.finding, result.document
    sdi = document.sdi.estimate
    texts = {
        "subject": result.subject.name,
        "candidate": document.candidate.reference,
        "base": document.base.reference,
        "metric": finding.metric,
        "layer": finding.layer,
        "stratum": finding.stratum,
        "waiver": finding.waiver,
    }
    facts: dict[str, object] = {
        "status": finding.status,
        "mode": result.verdict.mode,
        "observed": finding.observed,
        "stderr": finding.stderr,
        "judged": finding.judged,
        "warn": finding.warn,
        "fail": finding.fail,
        "bound": finding.bound,
        "margin": finding.margin,
        "sdi": None if sdi is None else sdi.value,
        **{key: None if text is None else clean(text) for key, text in texts.items()},
    }
    return {key: value for key, value in facts.items() if value is not None}
