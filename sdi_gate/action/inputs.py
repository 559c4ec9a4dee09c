"""Read what a workflow gives the action, or say everything that is wrong with it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from sdi_gate.action.declared import KNOWN_INPUTS, forms_of, strangers
from sdi_gate.action.values import (
    InputError,
    as_author,
    as_budget,
    as_choice,
    as_digest,
    as_name,
    as_path,
    as_reference,
    as_switch,
    as_token,
    as_whole,
)
from sdi_gate.cli.options import DEVICES, MAX_THREADS, TIERS
from sdi_gate.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path
    from typing import TypeVar

    _T = TypeVar("_T")

__all__ = ["KNOWN_INPUTS", "ActionInputs", "Command", "CommentMode", "read_inputs"]

_MAX_REVISION = 10**9
_MODELS = ("base", "candidate", "registered-name", "manifest")
# Empty, they would mean that nothing is checked where somebody meant a check.
_CHECKS = ("expect-policy-digest", "minimum-policy-revision", "policy-public-key")
# A composite action hands on every input. Its default for these, so that a variable that is not set
# differs from an input that is not given.
_NO_CHECK = "none"


class Command(StrEnum):
    """Say what the action is to do."""

    JUDGE = "judge"
    COMMENT = "comment"


class CommentMode(StrEnum):
    """Say when a comment is written."""

    ALWAYS = "always"
    ON_FAILURE = "on-failure"
    NEVER = "never"


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionInputs:
    """Hold the inputs of the action, valid each and together; None where one was not given.

    Attributes:
        command: What to do.
        base: Reference of the base.
        candidate: Reference of the one candidate.
        registered_name: Its name in a registry.
        manifest: Path of the manifest in the repository.
        policy: Reference of the policy.
        expect_policy_digest: Digest that the policy must have.
        minimum_policy_revision: Revision that it must have at least.
        policy_public_key: Text of the key that must have signed it.
        policy_token: Token for a policy in another repository.
        github_token: Token of the job.
        hf_token: Token for the Hub.
        mlflow_tracking_uri: Address of the MLflow server, which can hold a password.
        mlflow_tracking_token: Token for it.
        tier: Highest tier to run.
        budget_s: Seconds for each candidate.
        device: Where to compute.
        threads: CPU threads.
        cache: Folder for models and profiles.
        comment: When to comment.
        comment_author: Login whose comments are ours; None for that of the token.
        out: Folder for the files.
        sarif: Whether to write SARIF.
        junit: Whether to write JUnit.
        check_run: Whether to make a check run.
        run: The run document of another job.
    """

    command: Command = Command.JUDGE
    base: str | None = None
    candidate: str | None = None
    registered_name: str | None = None
    manifest: str | None = None
    policy: str
    expect_policy_digest: str | None = None
    minimum_policy_revision: int | None = None
    policy_public_key: str | None = None
    policy_token: str | None = field(default=None, repr=False)
    github_token: str | None = field(default=None, repr=False)
    hf_token: str | None = field(default=None, repr=False)
    mlflow_tracking_uri: str | None = field(default=None, repr=False)
    mlflow_tracking_token: str | None = field(default=None, repr=False)
    tier: str = "auto"
    budget_s: float | None = None
    device: str = "auto"
    threads: int | None = None
    cache: Path | None = None
    comment: CommentMode = CommentMode.ALWAYS
    comment_author: str | None = None
    out: Path | None = None
    sarif: bool = False
    junit: bool = False
    check_run: bool = False
    run: Path | None = None


def read_inputs(environment: Mapping[str, str], command: str | None = None) -> ActionInputs:
    """Read the inputs.

    Args:
        environment: The process's, in which the runner has put them: ``INPUT_`` and the name in
            capitals, with dashes where the runner starts a container, else with underscores.
        command: What was given on the command line, if anything.

    Returns:
        The inputs.

    Raises:
        UsageError: If any cannot be used; the message lists all problems.
    """
    reader = _Reader(environment)
    inputs = _read(reader, command)
    problems = [*reader.problems, *_together(reader, inputs)]
    if not problems:
        return inputs
    head = problems[0] if len(problems) == 1 else f"{len(problems)} problems with the inputs:"
    rest = problems if len(problems) > 1 else []
    raise UsageError("\n".join((head, *rest)), hint="docs/action.md describes every input")


class _Reader:
    # Collects what is wrong, so that a workflow is corrected once and not once for each problem.
    def __init__(self, environment: Mapping[str, str]) -> None:
        self.problems: list[str] = []
        self._values: dict[str, str] = {}
        for name in KNOWN_INPUTS:
            self._take(name, environment)
        self.problems += strangers(environment)

    def _take(self, name: str, environment: Mapping[str, str]) -> None:
        dashed, underscored = forms_of(name)
        found = {environment[form].strip() for form in (dashed, underscored) if form in environment}
        if name in _CHECKS and "" in found:
            self.problems.append(
                f"{name}: given and empty, so that nothing would be checked; give it a value, or"
                f" leave it out (a variable of the workflow may not be set)"
            )
        values = found - ({"", _NO_CHECK} if name in _CHECKS else {""})
        if len(values) > 1:
            self.problems.append(
                f"{name}: given twice, as {dashed} and {underscored}, and not alike"
            )
        elif values:
            self._values[name] = values.pop()

    def text(self, name: str) -> str | None:
        return self._values.get(name)

    def read(self, name: str, convert: Callable[[str], _T], default: _T) -> _T:
        given = self._values.get(name)
        if given is None:
            return default
        try:
            return convert(given)
        except InputError as exc:
            self.problems.append(f"{name}: {exc}")
            return default


def _read(reader: _Reader, command: str | None) -> ActionInputs:
    chosen = reader.read("command", as_choice(Command), Command.JUDGE)
    inputs = ActionInputs(
        command=chosen if command is None else Command(command),
        policy=reader.text("policy") or "",
        expect_policy_digest=reader.read("expect-policy-digest", as_digest, None),
        minimum_policy_revision=reader.read(
            "minimum-policy-revision", as_whole(_MAX_REVISION), None
        ),
        policy_public_key=reader.text("policy-public-key"),
        comment=reader.read("comment", as_choice(CommentMode), CommentMode.ALWAYS),
        comment_author=reader.read("comment-author", as_author, None),
        cache=reader.read("cache", as_path, None),
        out=reader.read("out", as_path, None),
        sarif=reader.read("sarif", as_switch, default=False),
        junit=reader.read("junit", as_switch, default=False),
        check_run=reader.read("check-run", as_switch, default=False),
        run=reader.read("run", as_path, None),
    )
    return _with_access(reader, _with_models(reader, inputs))


def _with_models(reader: _Reader, inputs: ActionInputs) -> ActionInputs:
    return replace(
        inputs,
        base=reader.read("base", as_reference, None),
        candidate=reader.read("candidate", as_reference, None),
        registered_name=reader.read("registered-name", as_name, None),
        manifest=reader.text("manifest"),
        tier=reader.read("tier", as_choice(TIERS), "auto"),
        budget_s=reader.read("budget", as_budget, None),
        device=reader.read("device", as_choice(DEVICES), "auto"),
        threads=reader.read("threads", as_whole(MAX_THREADS), None),
    )


def _with_access(reader: _Reader, inputs: ActionInputs) -> ActionInputs:
    return replace(
        inputs,
        policy_token=reader.read("policy-token", as_token, None),
        github_token=reader.read("github-token", as_token, None),
        hf_token=reader.read("hf-token", as_token, None),
        mlflow_tracking_uri=reader.read("mlflow-tracking-uri", as_token, None),
        mlflow_tracking_token=reader.read("mlflow-tracking-token", as_token, None),
    )


def _together(reader: _Reader, inputs: ActionInputs) -> Iterator[str]:
    if not inputs.policy:
        yield "policy: required; name the file of the policy, such as policies/production.yml"
    if inputs.command is Command.COMMENT:
        yield from _together_for_a_comment(reader, inputs)
        return
    candidate, manifest = reader.text("candidate"), reader.text("manifest")
    if candidate and manifest:
        yield "candidate and manifest: give one of them"
    if not candidate:
        if not manifest:
            yield "candidate or manifest: one is required"
        # With a manifest the base is what every entry must have.
        if reader.text("base") and not manifest:
            yield "base: given without candidate"
        if reader.text("registered-name"):
            yield "registered-name: given without candidate"
    if inputs.run is not None:
        yield "run: only for command comment"


def _together_for_a_comment(reader: _Reader, inputs: ActionInputs) -> Iterator[str]:
    if inputs.run is None:
        yield "run: required for command comment; the run.json that the other job has stored"
    if inputs.github_token is None:
        yield "github-token: required for command comment"
    if inputs.comment is CommentMode.NEVER:
        yield "comment: never leaves nothing to do for command comment"
    # A check that is not made must not look like one.
    for name in (*_MODELS, *_CHECKS):
        if reader.text(name) is not None:
            yield f"{name}: not for command comment, which judges nothing"
