"""Write the commands that judge a candidate again, of arguments that mislead nobody."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sdi_gate.errors import UsageError
from sdi_gate.models.ref import ModelRef, Scheme
from sdi_gate.policy.chain.references import PolicyRef, ReferenceFormError, parse_reference
from sdi_gate.policy.chain.references import Scheme as PolicyScheme
from sdi_gate.report.runs.candidates import verdict_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sdi_gate.report.document import ModelEntry, ResultDocument
    from sdi_gate.report.runs.document import RunDocument, SubjectEntry

_SOURCE = "../sdi-gate-policy"
# Nothing else stands in a command that a reader copies: no quote, no fence, no sign that hides.
_PLAIN = re.compile(r"[A-Za-z0-9 _./:@+=,~-]{1,300}")
_PATH = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_.-]+)*")
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]{0,99}/[A-Za-z0-9_.][\w.-]{0,99}", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}")
_TYPES = frozenset({"float32", "bfloat16"})


class _NotShownError(Exception):
    """Say which argument cannot be shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Commands:
    """Hold the commands that judge a candidate again.

    Attributes:
        sentences: What a reader must know of them.
        text: Their lines, of plain characters; empty if they cannot be shown.
    """

    sentences: tuple[str, ...]
    text: str


def reproduce(run: RunDocument, subject: SubjectEntry) -> Commands | None:
    """Return the commands that measure and judge a candidate again.

    Args:
        run: The run.
        subject: The candidate.

    Returns:
        The commands, with models and policy pinned as far as they are known; None for what was
        not judged.
    """
    result, verdict = subject.result, verdict_of(subject)
    if result is None or verdict is None:
        return None
    sentences = tuple(_sentences(run, result))
    try:
        lines = [*_policy_lines(run), _check(run, subject, result)]
    except _NotShownError as exc:
        return Commands(sentences=(f"The command is not shown: {exc}.",), text="")
    return Commands(sentences=sentences, text="\n".join(lines))


def _check(run: RunDocument, subject: SubjectEntry, result: ResultDocument) -> str:
    arguments = [
        ("--policy", _policy_file(run)),
        ("--expect-policy-digest", run.policy.digest or ""),
        ("--base", _model(subject.base, result.base)),
        ("--candidate", _model(subject.candidate, result.candidate)),
        ("--tier", result.tier.ran),
        *_unusual(subject, result),
    ]
    words = [f"{option} {_quoted(option, value)}" for option, value in arguments]
    return " \\\n  ".join(["sdi-gate check", *words])


def _unusual(subject: SubjectEntry, result: ResultDocument) -> Iterator[tuple[str, str]]:
    if subject.registered_name is not None:
        yield "--registered-name", subject.registered_name
    if result.environment.compute_dtype in _TYPES:
        yield "--dtype", result.environment.compute_dtype
    if result.environment.seed:
        yield "--seed", str(result.environment.seed)


def _quoted(option: str, value: str) -> str:
    if not _PLAIN.fullmatch(value) or value.startswith("-"):
        msg = f"the value of {option} holds characters that could mislead whoever copies it"
        raise _NotShownError(msg)
    return shlex.quote(value)


def _model(asked: str | None, model: ModelEntry) -> str:
    text = model.reference if asked is None else asked
    try:
        ref = ModelRef.parse(text)
    except UsageError as exc:
        msg = "a model's reference is not one"
        raise _NotShownError(msg) from exc
    if ref.scheme is Scheme.HUB and _COMMIT.fullmatch(model.commit or ""):
        return f"{ref.scheme}:{ref.location}@{model.commit}"
    return str(ref)


def _policy(run: RunDocument) -> PolicyRef:
    try:
        return parse_reference(run.policy.reference)
    except ReferenceFormError as exc:
        msg = "the policy's reference is not one"
        raise _NotShownError(msg) from exc


def _policy_file(run: RunDocument) -> str:
    path = _policy(run).path
    if not _PATH.fullmatch(path) or {".", ".."} & set(path.split("/")):
        msg = "the path of the policy is not one inside a repository"
        raise _NotShownError(msg)
    return f"{_SOURCE}/{path}"


def _policy_lines(run: RunDocument) -> Iterator[str]:
    ref = _policy(run)
    commit = ref.commit or run.policy.commit
    if ref.scheme is PolicyScheme.HUB:
        source = shlex.join((ref.repository, _policy_file(run).removeprefix(f"{_SOURCE}/")))
        yield f"hf download {source} --revision {commit} --local-dir {_SOURCE}"
        return
    repository = ref.repository or run.event.repository or ""
    known = _REPOSITORY.fullmatch(repository)
    yield f"# in a clone of {repository if known else 'the repository of the policy'}"
    yield f"git worktree add --detach {_SOURCE} {commit or 'HEAD'}"


def _sentences(run: RunDocument, result: ResultDocument) -> Iterator[str]:
    if Scheme.FILE in (
        model.reference.partition(":")[0] for model in (result.base, result.candidate)
    ):
        head = run.event.head_sha
        yield f"Folders are those of commit {head}." if head else "Folders are the repository's."
    if run.policy.commit is None and _plain_path(run):
        yield "The commit of the policy is not known; its digest says whether it is the same."
    if result.tier.cuts:
        yield "The budget cut what was measured; without it the numbers may be others."
    yield "Numbers repeat on the same machine with the same versions, and nearly so on others."


def _plain_path(run: RunDocument) -> bool:
    return "//" not in run.policy.reference
