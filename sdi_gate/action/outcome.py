"""Say what came of a run in the few words that a workflow can go by."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from sdi_gate.report.document import ResultDocument
    from sdi_gate.report.runs.document import RunDocument

REPORT = "report.md"
RUN = "run.json"
# In the order of action.yml.
OUTPUTS = (
    "decision",
    "sdi",
    "predicted-degradation",
    "candidates",
    "policy-digest",
    "report-path",
    "report-digest",
    "run-path",
    "run-digest",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """Name a file that was written whole.

    Attributes:
        path: Where it is.
        digest: ``sha256:…`` of its content.
    """

    path: Path
    digest: str

    @classmethod
    def of(cls, path: Path, content: bytes) -> Written:
        """Return the name of a file.

        Args:
            path: Where it is.
            content: All of it.

        Returns:
            The name.
        """
        return cls(path=path, digest=f"sha256:{hashlib.sha256(content).hexdigest()}")


def without_verdict() -> dict[str, str]:
    """Return the outputs of a run that ended before anything was judged.

    Returns:
        Each output; a condition of a later step that compares with any word but ``error`` is false.
    """
    return dict.fromkeys(OUTPUTS, "") | {"decision": "error", "candidates": "0"}


def outputs_of(run: RunDocument, files: Mapping[str, Written]) -> dict[str, str]:
    """Return the outputs of a run.

    Args:
        run: The run.
        files: The files that were written, by their names.

    Returns:
        Each output: one of a few words, a number, a digest, a path, or empty.
    """
    deciding = None if run.deciding is None else run.subjects[run.deciding].result
    report, document = files.get(REPORT), files.get(RUN)
    found = {
        "decision": run.decision,
        **_numbers_of(deciding),
        "candidates": str(sum(subject.result is not None for subject in run.subjects)),
        "policy-digest": run.policy.digest or "",
        "report-path": str(report.path) if report else "",
        "report-digest": report.digest if report else "",
        "run-path": str(document.path) if document else "",
        "run-digest": document.digest if document else "",
    }
    return {name: found[name] for name in OUTPUTS}


def _numbers_of(result: ResultDocument | None) -> dict[str, str]:
    sdi = None if result is None else result.sdi.estimate
    predicted = None if result is None else result.prediction
    return {
        "sdi": _number(None if sdi is None else sdi.value),
        "predicted-degradation": _number(None if predicted is None else predicted.value),
    }


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"
