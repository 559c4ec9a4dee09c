"""Open the policy that a run judges by: that of the base side, by API, at a commit."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sdi_gate.errors import PolicyError, UsageError
from sdi_gate.integrations.github.errors import GitHubError
from sdi_gate.manifest.references import path_problem
from sdi_gate.policy.chain.references import PolicyRef, ReferenceFormError, Scheme, parse_reference
from sdi_gate.policy.chain.trust import Expectations, check_trust
from sdi_gate.policy.format.places import quoted
from sdi_gate.policy.loader import load_policy_at

if TYPE_CHECKING:
    from sdi_gate.action.inputs import ActionInputs
    from sdi_gate.integrations.github.client import GitHub
    from sdi_gate.integrations.runner.event import Event
    from sdi_gate.policy.chain.references import PolicySources
    from sdi_gate.policy.loader import LoadedPolicy

_KEY_DIGITS = 16
_FORMS = (
    "the input policy is the path of a file in this repository (policies/default.yml),"
    " owner/repo//path.yml@COMMIT or hf:org/name@COMMIT//path.yml"
)
_EXPECTED = (
    "expect-policy-digest, minimum-policy-revision and policy-public-key say what is expected, and"
    " a signature is beside the policy, at the same commit, under its name and .sig; if the policy"
    " was changed, do not use it before its owner says why"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LocatedPolicy:
    """Say where the policy of a run is.

    Attributes:
        ref: The file, at a commit.
        reference: What the workflow gives.
    """

    ref: PolicyRef
    reference: str

    @property
    def key(self) -> str:
        """Return what marks the comments under this policy, whatever its commit."""
        return key_of(self.ref)


def key_of(ref: PolicyRef) -> str:
    """Return what marks the comments under a policy, whatever its commit.

    Args:
        ref: The policy's file.

    Returns:
        16 hex digits; the same for each way to name one file.
    """
    where = "hf:" if ref.scheme is Scheme.HUB else ""
    named = f"{where}{ref.repository.lower()}//{ref.path}"
    return hashlib.sha256(named.encode()).hexdigest()[:_KEY_DIGITS]


def locate_policy(text: str, event: Event, github: GitHub) -> LocatedPolicy:
    """Say where the policy of a run is.

    Args:
        text: What the workflow gives: the path of a file in its repository, or a reference.
        event: The event, whose base side's policy holds.
        github: Looks up the head of the default branch, where the event names no commit.

    Returns:
        The file at a commit that no branch moves.

    Raises:
        UsageError: If the text is none of these.
        PolicyError: If the default branch cannot be looked up.
    """  # noqa: DOC502 - the second is raised by the look-up
    try:
        ref = parse_reference(text)
        if ref.scheme is Scheme.FILE:
            ref = parse_reference(f"{event.repository}//{_path(text)}@{_commit(event, github)}")
    except ReferenceFormError as exc:
        msg = f"policy: {exc}"
        raise UsageError(msg, hint=_FORMS) from exc
    return LocatedPolicy(ref=ref, reference=text)


def _path(text: str) -> str:
    path = text.removeprefix("./")
    problem = path_problem(path)
    if path.startswith("file:"):
        problem = f"{quoted(text)} is not a path: leave out 'file:'"
    elif path.startswith("/"):
        problem = f"{quoted(text)} is not a path in the repository: leave out '/' at its start"
    if problem is not None:
        msg = f"policy: {problem}; no policy is read from the checkout, which a change can alter"
        raise UsageError(msg, hint=_FORMS)
    return path


def _commit(event: Event, github: GitHub) -> str:
    if event.policy_sha is not None:
        return event.policy_sha
    try:
        branch = event.default_branch or github.default_branch(event.repository)
        return github.commit_of(event.repository, f"heads/{branch}")
    except GitHubError as exc:
        msg = f"the policy cannot be had: the head of the default branch is not known: {exc}"
        raise PolicyError(msg, hint=exc.hint) from exc


def open_policy(
    located: LocatedPolicy, inputs: ActionInputs, sources: PolicySources
) -> LoadedPolicy:
    """Load the policy with all that it extends, and refuse one that is not the one expected.

    Args:
        located: Where it is.
        inputs: What the workflow knows of it beforehand.
        sources: What reads it.

    Returns:
        The policy, valid and trusted, with the key that has signed it where there is one to check.

    Raises:
        PolicyError: If it cannot be had, is not valid, or is not the one that was expected.
    """  # noqa: DOC502 - raised by the steps
    loaded = load_policy_at(located.ref, sources)
    expected = expectations(located.ref, inputs, sources)
    check_expected(loaded, expected)
    if expected.public_key is None:
        return loaded
    # The library is loaded where there is a key.
    from sdi_gate.policy.chain.signatures import fingerprint_of  # noqa: PLC0415

    return replace(loaded, signed_by=fingerprint_of(expected.public_key))


def check_expected(loaded: LoadedPolicy, expected: Expectations) -> None:
    """Refuse a policy that is not the one that was expected, in the words of a workflow.

    Args:
        loaded: The policy.
        expected: What the workflow knows of it.

    Raises:
        PolicyError: If anything differs.
    """
    try:
        check_trust(loaded, expected)
    except PolicyError as exc:
        raise PolicyError(exc.message, hint=_EXPECTED) from exc


def expectations(ref: PolicyRef, inputs: ActionInputs, sources: PolicySources) -> Expectations:
    """Return what a workflow knows of a policy, and the signature that is beside it.

    Args:
        ref: The policy's file.
        inputs: What the workflow gives.
        sources: What reads the signature, if a key makes one necessary.

    Returns:
        What to hold the policy to; a signature that cannot be had is none, and said to be.
    """
    expected = Expectations(
        digest=inputs.expect_policy_digest, minimum_revision=inputs.minimum_policy_revision
    )
    if inputs.policy_public_key is None:
        return expected
    signature_ref = replace(ref, path=f"{ref.path}.sig")
    try:
        signature, why = sources.read(signature_ref), ""
    except PolicyError as exc:
        told = exc.message.removeprefix(f"{signature_ref}: ")
        signature, why = None, f" ({told})"
    return replace(
        expected,
        public_key=inputs.policy_public_key.encode(),
        public_key_file="of the input policy-public-key",
        signature=signature,
        signature_file=f"{signature_ref}{why}",
    )
