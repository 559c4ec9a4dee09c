"""Say what became of policy tests, as text and as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sdi_gate.cli.policy_history_output import policy_json
from sdi_gate.policy.format.spelling import visible
from sdi_gate.policy.testing.expecting import gate_of
from sdi_gate.report.numbers import plural

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sdi_gate.policy.testing.case_outcomes import (
        CaseOutcome,
        FileOutcome,
        TestedPolicy,
        TestRun,
    )
    from sdi_gate.policy.testing.expecting import Mismatch
    from sdi_gate.policy.verdict import Verdict

SCHEMA = "sdi-gate/policy-test/v1"


def run_text(run: TestRun) -> str:
    """Return what became of a run, for a person at a terminal.

    Args:
        run: The run.

    Returns:
        Lines of plain text; no text of a file can forge one of them.
    """
    lines = [line for file in run.files for line in _file_lines(file)]
    lines += [line for tested in run.policies for line in _policy_lines(tested)]
    return "\n".join((*lines, _summary(run))) + "\n"


def run_json(run: TestRun) -> dict[str, Any]:
    """Return what became of a run, as plain data.

    Args:
        run: The run.

    Returns:
        One object: counts, the policies, and the files with their cases.
    """
    return {
        "schema": SCHEMA,
        "num_cases": len(run.cases),
        "num_failed": run.failed,
        "num_errors": len(run.errors),
        "policies": [
            {**policy_json(tested.policy), "not_crossed": list(tested.not_crossed)}
            for tested in run.policies
        ],
        "files": [_file_json(file) for file in run.files],
    }


def _file_lines(file: FileOutcome) -> Iterator[str]:
    path = visible(str(file.path))
    if file.policy is None:
        yield f"{path}: cannot be used"
        return
    failing = [case for case in file.cases if not case.held]
    came = f"{len(failing)} not as expected" if failing else "all as expected"
    yield f"{path}: {plural(len(file.cases), 'case')} of policy {file.policy.name}, {came}"
    for case in failing:
        yield f"{path}:{case.line}: {visible(case.name)}"
        yield from (f"    {line}" for line in _case_lines(case))


def _case_lines(case: CaseOutcome) -> Iterator[str]:
    if case.error is not None:
        yield f"cannot be judged: {visible(case.error.message)}"
    for mismatch in case.mismatches:
        near = f"; did you mean {visible(mismatch.advice)}?" if mismatch.advice else ""
        got = f"expected {visible(mismatch.expected)}, got {visible(mismatch.got)}"
        yield f"{visible(mismatch.key)}: {got}{near}"
    if case.verdict is not None:
        yield f"decided by {_decided(case.verdict)}"


def _decided(verdict: Verdict) -> str:
    deciding = verdict.deciding
    place = f" ({deciding.origin})" if deciding.origin is not None else ""
    return visible(f"{deciding.rule}{place}: {deciding.reason}")


def _policy_lines(tested: TestedPolicy) -> Iterator[str]:
    policy = tested.policy
    yield f"Policy {policy.name} at {visible(policy.path)}, {policy.digest}"
    if tested.not_crossed:
        yield f"    not crossed by any case: {visible(', '.join(tested.not_crossed))}"


def _summary(run: TestRun) -> str:
    policies = f"{len(run.policies)} {'policy' if len(run.policies) == 1 else 'policies'}"
    parts = []
    if run.failed:
        parts.append(f"{run.failed} not as expected")
    if run.errors:
        parts.append(f"{plural(len(run.errors), 'error')}")
    told = ", ".join(parts) or "all as expected"
    return f"{plural(len(run.cases), 'case')} of {policies}: {told}"


def _file_json(file: FileOutcome) -> dict[str, Any]:
    return {
        "file": str(file.path),
        "policy": None if file.policy is None else policy_json(file.policy),
        "error": None if file.error is None else file.error.message,
        "cases": [_case_json(case) for case in file.cases],
    }


def _case_json(case: CaseOutcome) -> dict[str, Any]:
    return {
        "name": case.name,
        "line": case.line,
        "as_expected": case.held,
        "verdict": None if case.verdict is None else _verdict_json(case.verdict),
        "mismatches": [_mismatch_json(mismatch) for mismatch in case.mismatches],
        "error": None if case.error is None else case.error.message,
    }


def _verdict_json(verdict: Verdict) -> dict[str, Any]:
    return {
        "status": str(verdict.status),
        "gate": gate_of(verdict),
        "decided_by": verdict.deciding.rule,
        "reason": verdict.deciding.reason,
    }


def _mismatch_json(mismatch: Mismatch) -> dict[str, Any]:
    return {"key": mismatch.key, "expected": mismatch.expected, "got": mismatch.got}
