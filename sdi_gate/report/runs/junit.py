"""Write a run as JUnit XML, for CI systems that read it.

A candidate is a test suite and a finding a test case, so that what gates on the file and what
gates on the exit code agree: a case is a failure or an error only where it closes the gate, or
where something was not judged. Where the policy is in mode warn or observe, its cases pass, and
say in ``system-out`` what would have happened. Nothing is ever skipped: most systems count that
as fine.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import fsum
from typing import TYPE_CHECKING, Literal
from xml.etree import ElementTree as ET

from sdi_gate.report.judgement import finding_sentence
from sdi_gate.report.parts import SENTENCE_LIMIT, clean
from sdi_gate.report.runs.headings import lead
from sdi_gate.report.runs.locations import place_words
from sdi_gate.report.runs.remarks import MESSAGE_LIMIT, error_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sdi_gate.report.document import FindingEntry, ResultDocument
    from sdi_gate.report.runs.document import RunDocument, SubjectEntry

_NAME = "sdi-gate"
_RUN = "run"
# Printable for Unicode, and no character of XML 1.0; `clean` takes out the others.
_NOT_XML = re.compile("[\ufffe\uffff]")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|\+00:00)?", re.ASCII)

_Outcome = Literal["passed", "failure", "error"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Case:
    name: str
    outcome: _Outcome
    kind: str
    text: str


def render_junit(run: RunDocument) -> bytes:
    """Write a run as JUnit XML.

    Args:
        run: The run.

    Returns:
        UTF-8; equal documents give equal bytes. There is a case that did not pass if and only if
        the run's exit code is not 0.
    """
    root = ET.Element("testsuites", name=_NAME)
    if run.error is not None:
        root.append(_suite(_RUN, (_error("judged", error_text(run.error)),)))
    elif not run.subjects:
        root.append(_suite(_RUN, (_nothing(run),)))
    root.extend([_subject(subject) for subject in run.subjects])
    for key in ("tests", "failures", "errors", "skipped"):
        root.set(key, str(sum(int(suite.get(key, "0")) for suite in root)))
    root.set("time", _seconds(fsum(float(suite.get("time", "0")) for suite in root)))
    ET.indent(root)
    written: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return written + b"\n"


def _nothing(run: RunDocument) -> _Case:
    return _Case(name="candidates", outcome="passed", kind="none", text=" ".join(lead(run)))


def _error(name: str, text: str) -> _Case:
    return _Case(name=name, outcome="error", kind="not-judged", text=text)


def _subject(subject: SubjectEntry) -> ET.Element:
    document = subject.result
    if subject.error is not None or document is None or document.verdict is None:
        reason = "no verdict was reached" if subject.error is None else error_text(subject.error)
        suite = _suite(subject.name, (_error("judged", reason),))
    else:
        suite = _suite(subject.name, tuple(_cases(document)))
        _time(suite, document)
    facts = {"base": subject.base, "candidate": subject.candidate, "change": subject.change}
    properties = ET.Element("properties")
    for name, value in facts.items():
        if value is not None:
            ET.SubElement(properties, "property", name=name, value=_text(value, SENTENCE_LIMIT))
    suite.insert(0, properties)
    return suite


def _time(suite: ET.Element, document: ResultDocument) -> None:
    # A part of a stage, named stage/part, is in the time of the stage.
    whole = (each.seconds for each in document.cost.stages if "/" not in each.stage)
    suite.set("time", _seconds(fsum(whole)))
    if _TIME.fullmatch(document.cost.started_at):
        suite.set("timestamp", document.cost.started_at)


def _cases(document: ResultDocument) -> Iterator[_Case]:
    verdict = document.verdict
    assert verdict is not None, "a finding is of a verdict"  # noqa: S101 - a law
    seen: dict[str, int] = {}
    for finding in verdict.findings:
        rule = clean(finding.rule)
        seen[rule] = seen.get(rule, 0) + 1
        # Several findings can be of one rule, and cases are known by their names.
        name = rule if seen[rule] == 1 else f"{rule} [{seen[rule]}]"
        outcome = _outcome(finding) if verdict.mode == "enforce" else "passed"
        would = f"{_would(finding)} under mode enforce; the policy is in mode {verdict.mode}. "
        held_back = outcome != _outcome(finding)
        text = f"{finding.status.upper()}. {would if held_back else ''}{_told(finding, document)}"
        yield _Case(name=name, outcome=outcome, kind=finding.status, text=text)


def _outcome(finding: FindingEntry) -> _Outcome:
    match finding.status:
        case "fail":
            return "failure"
        case "inconclusive":
            return "error"
        case "warn" | "pass":
            return "passed"


def _would(finding: FindingEntry) -> str:
    return "It would have failed" if finding.status == "fail" else "It would have been an error"


def _told(finding: FindingEntry, document: ResultDocument) -> str:
    stands = place_words(finding.origin)
    place = f" The rule stands at {stands}." if stands else ""
    return f"{finding_sentence(finding, document)}{place}"


def _suite(name: str, cases: tuple[_Case, ...]) -> ET.Element:
    told = _text(name)
    counts = {
        "tests": len(cases),
        "failures": sum(case.outcome == "failure" for case in cases),
        "errors": sum(case.outcome == "error" for case in cases),
        "skipped": 0,
    }
    attributes = {key: str(value) for key, value in counts.items()}
    suite = ET.Element("testsuite", {"name": told, **attributes, "time": "0"})
    for case in cases:
        element = ET.SubElement(
            suite, "testcase", classname=f"{_NAME}.{told}", name=_text(case.name), time="0"
        )
        text = _text(case.text, MESSAGE_LIMIT)
        if case.outcome == "passed":
            ET.SubElement(element, "system-out").text = text
        else:
            short = _text(case.text, SENTENCE_LIMIT)
            ET.SubElement(element, case.outcome, type=case.kind, message=short).text = text
    return suite


def _text(text: str, limit: int = SENTENCE_LIMIT) -> str:
    return _NOT_XML.sub("\ufffd", clean(text, limit))


def _seconds(value: float) -> str:
    return f"{value:.3f}"
