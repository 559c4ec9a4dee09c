"""Define the run document: what one run of the action judged, as versioned JSON.

It holds a result document for each candidate. Every view of a run (comment, summary, SARIF, JUnit,
annotations) is made of it alone, so that another job can make it again. That job trusts nothing in
it: it is data of whoever ran the first. What contradicts itself is refused here; what is a lie is
not seen.
"""

from __future__ import annotations

import json
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationError, model_validator

from sdi_gate.errors import UsageError
from sdi_gate.policy.format.spelling import visible
from sdi_gate.report.document import ResultDocument
from sdi_gate.report.entries import Part, Positive
from sdi_gate.report.judged import OriginEntry

SCHEMA: Literal["sdi-gate/run/v1"] = "sdi-gate/run/v1"
MAX_BYTES = 300_000_000
MAX_SUBJECTS = 200
# Codes of a gate that is closed, in the order in which one of them becomes the run's.
CLOSED = (10, 11)
_MAX_TOLD = 500
_HUB = "hf:"

Sha = Annotated[str, Field(pattern="^[0-9a-f]{40}$")]
Digest = Annotated[str, Field(pattern="^sha256:[0-9a-f]{64}$")]
Decision = Literal["none", "pass", "warn", "fail", "inconclusive", "error"]
SEVERITY: tuple[Decision, ...] = ("fail", "inconclusive", "error", "warn", "pass")


class ErrorEntry(Part):
    """Why something was not judged."""

    exit_code: Annotated[int, Field(ge=1, le=6, description="of the kind of error")]
    message: str
    hint: str = ""


class RunPolicyEntry(Part):
    """The policy of the run, as it was asked for and found."""

    reference: Annotated[str, Field(description="as the workflow names it")]
    key: Annotated[
        str,
        Field(pattern="^[0-9a-f]{16}$", description="names the policy's comment, whatever commit"),
    ]
    commit: Annotated[Sha | None, Field(description="of the file; null: not known")] = None
    name: str | None = None
    digest: Digest | None = None
    owner: str | None = None
    contact: str | None = None


class RunEventEntry(Part):
    """What the run was for."""

    name: str
    repository: str | None = None
    pull_request: Positive | None = None
    base_sha: Sha | None = None
    head_sha: Sha | None = None
    is_fork: bool = False
    run_url: str | None = None


class ProposedEntry(Part):
    """What the policy as the pull request edits it would make of one candidate."""

    status: Literal["pass", "warn", "fail", "inconclusive"]
    mode: Literal["enforce", "warn", "observe"]
    rule: str
    reason: str


class PolicyEditEntry(Part):
    """An edit of the policy in the same pull request, by which nothing is judged."""

    files: Annotated[tuple[str, ...], Field(min_length=1)]
    changes: Annotated[tuple[str, ...], Field(description="one sentence for each difference")] = ()
    loosens: Annotated[bool | None, Field(description="null: not known")] = None
    problem: Annotated[str | None, Field(description="why the edited policy cannot be used")] = None


class SubjectEntry(Part):
    """One candidate: what was asked, and what came of it; a result or an error, never both."""

    name: str
    base: Annotated[str | None, Field(description="null: the base that the adapter names")]
    candidate: str
    registered_name: str | None = None
    change: Annotated[
        Literal["named", "added", "changed", "present"],
        Field(
            description="named: by the workflow; added or changed: by the event; present: all of"
            " the manifest are judged"
        ),
    ]
    place: Annotated[OriginEntry | None, Field(description="in the manifest")] = None
    former_base: Annotated[str | None, Field(description="before the change, if it is another")] = (
        None
    )
    former_candidate: str | None = None
    result: Annotated[ResultDocument | None, Field(description="with its verdict")] = None
    error: ErrorEntry | None = None
    proposed: ProposedEntry | None = None

    @property
    def decision(self) -> Decision:
        """Return the status of the verdict, or ``error``."""
        verdict = None if self.result is None else self.result.verdict
        return "error" if verdict is None else verdict.status

    @property
    def exit_code(self) -> int:
        """Return the exit code of the verdict, which respects the policy's mode, or the error's."""
        if self.error is not None:
            return self.error.exit_code
        verdict = None if self.result is None else self.result.verdict
        assert verdict is not None, "a subject without an error has a verdict"  # noqa: S101 - a law
        return verdict.exit_code

    @model_validator(mode="after")
    def _is_judged_or_says_why_not(self) -> Self:
        if (self.result is None) == (self.error is None):
            known = "both" if self.result is not None else "neither"
            msg = f"{self.name}: expected a result or an error; got {known}"
            raise ValueError(msg)
        if self.result is not None and self.result.verdict is None:
            msg = f"{self.name}: expected a result with a verdict; it was judged by no policy"
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _is_of_what_was_asked(self) -> Self:
        if self.result is None:
            return self
        # A folder is found under the workspace; a name on the Hub is the same everywhere.
        pairs = (
            (self.candidate, self.result.candidate.reference),
            (self.base or "", self.result.base.reference),
        )
        for asked, measured in pairs:
            if asked.startswith(_HUB) and asked != measured:
                msg = f"{self.name}: {asked} was asked for, and {measured} was measured"
                raise ValueError(msg)
        return self


class RunDocument(Part):
    """What one run of the action judged."""

    schema_: Literal["sdi-gate/run/v1"] = Field(alias="schema")
    version: Annotated[str, Field(description="of sdi-gate")]
    event: RunEventEntry
    policy: RunPolicyEntry
    manifest: Annotated[str | None, Field(description="its path, if there is one")] = None
    num_unchanged: Annotated[int, Field(ge=0, description="of the manifest, not judged")] = 0
    subjects: Annotated[
        tuple[SubjectEntry, ...],
        Field(max_length=MAX_SUBJECTS, description="with names that differ; none: see error"),
    ] = ()
    edit: PolicyEditEntry | None = None
    error: Annotated[ErrorEntry | None, Field(description="why nothing could be judged")] = None

    @property
    def decision(self) -> Decision:
        """Return the worst decision: fail, inconclusive, error, warn, pass; none without any."""
        if self.error is not None:
            return "error"
        return "none" if self.deciding is None else self.subjects[self.deciding].decision

    @property
    def deciding(self) -> int | None:
        """Return the index of the worst subject, of equals one that closes; None without any."""
        return next(iter(self.ranked), None)

    @property
    def ranked(self) -> tuple[int, ...]:
        """Return the indices of the subjects, the worst first, and else in their order."""

        def rank(index: int) -> tuple[int, bool]:
            subject = self.subjects[index]
            return SEVERITY.index(subject.decision), subject.exit_code not in CLOSED

        return tuple(sorted(range(len(self.subjects)), key=rank))

    @property
    def exit_code(self) -> int:
        """Return the exit code: 10 or 11 of a verdict, else the least of an error, else 0."""
        if self.error is not None:
            return self.error.exit_code
        codes = {subject.exit_code for subject in self.subjects} - {0}
        closed = next((code for code in CLOSED if code in codes), None)
        return min(codes, default=0) if closed is None else closed

    @model_validator(mode="after")
    def _is_one_run(self) -> Self:
        names = [subject.name for subject in self.subjects]
        if len(set(names)) < len(names):
            msg = "every candidate has a name of its own; got one twice"
            raise ValueError(msg)
        if self.error is not None and self.subjects:
            msg = f"an error of the whole run leaves nothing judged; got {len(names)} candidates"
            raise ValueError(msg)
        if self.edit is None and any(subject.proposed is not None for subject in self.subjects):
            msg = "an edited policy is proposed, and the run says nothing of an edit"
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _is_judged_by_its_policy(self) -> Self:
        expected = (self.policy.name, self.policy.digest)
        for subject in self.subjects:
            verdict = None if subject.result is None else subject.result.verdict
            if verdict is None:
                continue
            found = (verdict.policy_name, verdict.policy_digest)
            if found != expected:
                msg = f"{subject.name}: judged by policy {found}; the run's is {expected}"
                raise ValueError(msg)
        return self


def dump(document: RunDocument) -> bytes:
    """Write a run document as JSON.

    Args:
        document: The document.

    Returns:
        UTF-8 with a fixed order of keys: equal documents give equal bytes.
    """
    plain = document.model_dump(mode="json", by_alias=True)
    return (json.dumps(plain, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def load(data: bytes, where: str) -> RunDocument:
    """Read a run document, which whoever ran the first job may have forged.

    Args:
        data: JSON text.
        where: Name of the file, for messages.

    Returns:
        The document.

    Raises:
        UsageError: If the text is not a run document of this version, or contradicts itself.
    """
    if len(data) > MAX_BYTES:
        msg = f"{where}: not a run document: {len(data)} bytes, at most {MAX_BYTES} expected"
        raise UsageError(msg)
    try:
        return RunDocument.model_validate_json(data)
    except ValidationError as exc:
        first = exc.errors(include_url=False, include_input=False)[0]
        path = ".".join(str(part) for part in first["loc"]) or "document"
        # Keys and texts of the file are in both, and whoever wrote it may be hostile.
        told = visible(f"{path}: {first['msg']}")
        shown = told if len(told) <= _MAX_TOLD else f"{told[:_MAX_TOLD]}..."
        msg = f"{where}: not a run document ({SCHEMA}): {shown}"
        raise UsageError(msg, hint="give the run.json that sdi-gate-action wrote") from exc


def json_schema() -> dict[str, object]:
    """Return the JSON Schema of the run document.

    Returns:
        A draft 2020-12 schema with its dialect and identifier.
    """
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:sdi-gate:schema:run-v1",
        **RunDocument.model_json_schema(by_alias=True),
    }
