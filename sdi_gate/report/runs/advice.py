"""Say what to do next: by decision, for the worst candidate of each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sdi_gate.report.parts import ABSENT, Section, clean
from sdi_gate.report.places import worst_layers
from sdi_gate.report.runs.candidates import NAME, verdict_of
from sdi_gate.report.words import where

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sdi_gate.report.document import FindingEntry, ResultDocument
    from sdi_gate.report.runs.document import Decision, RunDocument, SubjectEntry

_TITLE = "What to do next"
_HINT = 400
_MAX_LAYERS = 3
_TELLING: tuple[Decision, ...] = ("fail", "inconclusive", "error", "warn")
_CONCLUSIVE = {
    "required-tier": (
        "Run at the tier that the policy requires: give the job a GPU or more memory, and see that "
        "the inputs tier and budget do not hold it back."
    ),
    "required-calibration": (
        "Use a calibration that was fitted to models like these, or ask the policy's owner whether "
        "the uncalibrated index may stand for them."
    ),
    "maximum-age": "Measure again: the numbers are older than the policy accepts.",
    "defect": "Repair the candidate, or export it again: what is damaged cannot be judged.",
}
_MEASURE_MORE = (
    "Measure more: a higher tier, a larger budget, or more probe texts give the missing number, "
    "or one that is far enough from the limit to be judged."
)
_PARAMETERS = "Run with the parameters that the policy names, or ask its owner whether others do."
_REPAIRS = {
    1: "This is a bug of sdi-gate: report it with the log of the run. No verdict was reached.",
    2: "Correct the entry of the manifest or the inputs of the workflow, as the message says.",
    3: "Correct the policy where it stands, on the base branch: no candidate is judged without it.",
    4: (
        "See that the model is there under this name and commit, that hf-token may read it, and "
        "that it is stored as safetensors; then run the job again."
    ),
    5: "Name the base that the candidate was made from: these two cannot be compared.",
    6: "See that the job may write its output folder and has room there; then run it again.",
}
_LIMITS = "limits."


def next_steps(run: RunDocument) -> Section:
    """Return what to do next.

    Args:
        run: The run.

    Returns:
        The section, a step each.
    """
    return Section(title=_TITLE, sentences=tuple(_steps(run)))


def _steps(run: RunDocument) -> Iterator[str]:
    if run.error is not None:
        yield _REPAIRS[run.error.exit_code]
        return
    ranked = [run.subjects[index] for index in run.ranked]
    worst = {subject.decision: subject for subject in reversed(ranked)}
    told = [worst[decision] for decision in _TELLING if decision in worst]
    for subject in told:
        named = f"{clean(subject.name, NAME)}: " if len(run.subjects) > 1 else ""
        for step in _steps_for(subject):
            yield f"{named}{step}"
    if {"fail", "inconclusive"} & worst.keys():
        yield _waiver(run)
    if not told:
        yield (
            "Nothing: every candidate keeps the policy."
            if ranked
            else "Nothing: there is no change to judge."
        )


def _steps_for(subject: SubjectEntry) -> Iterator[str]:
    result, verdict = subject.result, verdict_of(subject)
    if result is None or verdict is None:
        assert subject.error is not None, "what has no verdict has an error"  # noqa: S101 - a law
        yield _REPAIRS[subject.error.exit_code]
        if subject.error.hint:
            yield f"Hint: {clean(subject.error.hint, _HINT)}"
        return
    finding = verdict.findings[verdict.deciding]
    if subject.decision == "fail":
        yield from _failed(result, finding)
    elif subject.decision == "inconclusive":
        yield _conclusive(finding)
    else:
        yield _warned(finding)


def _failed(result: ResultDocument, finding: FindingEntry) -> Iterator[str]:
    if finding.observed is None:
        yield "Change the candidate so that the rule is met: no number can outweigh it."
        return
    place = where(finding.layer, finding.stratum)
    layers = [bar.label for bar in worst_layers(result)[:_MAX_LAYERS]]
    places = [f"the number is largest in {place}"] if place != ABSENT else []
    places += [f"{', '.join(layers)} add most to sdi"] if layers else []
    yield f"Look at where the change is: {'; '.join(places) or 'see the tables'}."
    yield (
        "If it is not meant, train more gently and push again: a lower learning rate, fewer steps "
        "or a smaller rank, those layer groups frozen, or texts like those of the worst stratum "
        "mixed in."
    )


def _conclusive(finding: FindingEntry) -> str:
    if finding.rule.startswith("required-parameters."):
        return _PARAMETERS
    return f"{_CONCLUSIVE.get(finding.rule, _MEASURE_MORE)} What is inconclusive does not pass."


def _warned(finding: FindingEntry) -> str:
    if finding.is_saved:
        return "Nothing now. Without its waiver it would fail: see when that ends."
    rule = clean(finding.rule.removeprefix(_LIMITS), NAME)
    return f"Nothing is blocked. Look at {rule} before you merge: the next change starts from here."


def _waiver(run: RunDocument) -> str:
    owner = run.policy.owner
    who = "the policy's owner" if owner is None else clean(owner, NAME)
    contact = "" if run.policy.contact is None else f" ({clean(run.policy.contact, NAME)})"
    return (
        f"If the change is meant, ask {who}{contact} for a waiver: an entry under waivers of the "
        "policy, for this model and limit, with owner, approval, reason and last day. It counts "
        "once it is on the base branch; an edit of the policy beside the candidate changes nothing."
    )
