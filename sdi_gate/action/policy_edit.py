"""Tell what an edit of the policy would do; nothing is judged by it before it is merged."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sdi_gate.action.documents import one_line
from sdi_gate.action.edit_words import sentences_of
from sdi_gate.action.policies import check_expected, expectations
from sdi_gate.errors import PolicyError, SdiGateError
from sdi_gate.policy.chain.references import PolicyRef, Scheme, parse_reference
from sdi_gate.policy.evaluate import judge
from sdi_gate.policy.loader import LoadedPolicy, load_policy_at
from sdi_gate.policy.telling.differing import diff, num_comparisons
from sdi_gate.report.recorded import facts_of
from sdi_gate.report.runs.document import PolicyEditEntry, ProposedEntry

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from sdi_gate.action.difference import Difference
    from sdi_gate.action.inputs import ActionInputs
    from sdi_gate.action.policies import LocatedPolicy
    from sdi_gate.integrations.runner.event import Event
    from sdi_gate.policy.chain.references import PolicySources
    from sdi_gate.report.document import ResultDocument

_logger = logging.getLogger(__name__)

MAX_COMPARISONS = 5_000


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyEdit:
    """Hold what an edit of the policy comes to.

    Attributes:
        entry: What the run document says of it.
        loaded: The policy as it is edited; None if it cannot be used.
    """

    entry: PolicyEditEntry
    loaded: LoadedPolicy | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class InForce:
    """Hold the policy that judges, and how it was opened.

    Attributes:
        located: Where it is.
        loaded: The policy, with all that it extends.
        inputs: What the workflow gives.
        sources: What reads policies.
    """

    located: LocatedPolicy
    loaded: LoadedPolicy
    inputs: ActionInputs
    sources: PolicySources


@dataclass(frozen=True, slots=True, kw_only=True)
class _Proposed:
    # Reads what the policy in force extends, and its own repository at the head. What a pull
    # request names besides is not fetched with the tokens of the base side.
    sources: PolicySources
    agreed: frozenset[str]
    repository: str
    head_sha: str

    def read(self, ref: PolicyRef) -> bytes:
        is_own = ref.scheme is Scheme.GIT and ref.repository.lower() == self.repository.lower()
        if str(ref) in self.agreed or (is_own and ref.commit == self.head_sha):
            return self.sources.read(ref)
        msg = f"{ref} is extended by the edited policy alone; it is read once the edit is merged"
        raise PolicyError(msg)


def proposed_policy(
    in_force: InForce, event: Event, difference: Difference | None
) -> PolicyEdit | None:
    """Tell what an edit of the policy, or of a file beside it that it extends, would do.

    Args:
        in_force: The policy that judges.
        event: What the workflow runs for.
        difference: What the event changes.

    Returns:
        What the edit comes to; None if there is none, if the policy is in another repository, or
        if the edited policy is the one in force. Whatever is wrong with the edit is a sentence.
    """
    located = in_force.located.ref
    is_own = located.scheme is Scheme.GIT and _same(located.repository, event.repository)
    if difference is None or not is_own or located.commit == event.head_sha:
        return None
    paths = [ref.path for ref in _refs(in_force.loaded) if ref.commit == located.commit]
    files = _edited(paths, in_force, event, difference)
    if not files:
        return None
    try:
        return _compared(files, in_force, event)
    except SdiGateError as exc:
        return _unusable(files, exc.message)
    except (ValueError, ArithmeticError, LookupError, RecursionError) as exc:
        # Whatever an edit can bring about, it does not end the run, which is not judged by it.
        _logger.debug("the edited policy", exc_info=exc)
        return _unusable(files, f"it cannot be compared ({type(exc).__name__})")


def propose(loaded: LoadedPolicy, document: ResultDocument, now: datetime) -> ProposedEntry:
    """Judge a result once more, by a policy as it is edited.

    Args:
        loaded: The edited policy.
        document: The result.
        now: The time of the judgement, with a time zone.

    Returns:
        What the verdict would be.
    """
    verdict = judge(loaded, facts_of(document), now=now)
    deciding = verdict.deciding
    return ProposedEntry(
        status=verdict.status.value,
        mode=verdict.mode.value,
        rule=deciding.rule,
        reason=deciding.reason,
    )


def _refs(loaded: LoadedPolicy) -> Iterator[PolicyRef]:
    """Yield the references to the files of a policy, the policy itself last."""
    for level in loaded.levels:
        yield parse_reference(level.file)


def _edited(
    paths: list[str], in_force: InForce, event: Event, difference: Difference
) -> tuple[str, ...]:
    if difference.files is not None:
        return tuple(path for path in paths if path in difference.files)
    # Too many files changed for a list: each is looked at.
    return tuple(path for path in paths if _differs(path, in_force, event, difference))


def _differs(path: str, in_force: InForce, event: Event, difference: Difference) -> bool:
    commits = (difference.merge_base, event.head_sha)
    contents = []
    for commit in commits:
        ref = parse_reference(f"{event.repository}//{path}@{commit}")
        try:
            contents.append(in_force.sources.read(ref))
        except PolicyError:
            contents.append(b"")
    return contents[0] != contents[1]


def _compared(files: tuple[str, ...], in_force: InForce, event: Event) -> PolicyEdit | None:
    ref = parse_reference(f"{event.repository}//{in_force.located.ref.path}@{event.head_sha}")
    sources = _Proposed(
        sources=in_force.sources,
        agreed=frozenset(level.file for level in in_force.loaded.levels),
        repository=event.repository,
        head_sha=event.head_sha,
    )
    proposed = load_policy_at(ref, sources)
    before = [level.policy for level in in_force.loaded.levels]
    if [level.policy for level in proposed.levels] == before:
        return None  # the base side has the edit already
    problem = _refusal(proposed, ref, in_force, sources)
    if num_comparisons(in_force.loaded, proposed) > MAX_COMPARISONS:
        why = "it tells too many kinds of candidates and days of waivers apart to be compared here"
        return PolicyEdit(entry=PolicyEditEntry(files=files, problem=problem or why))
    found = diff(in_force.loaded, proposed)
    entry = PolicyEditEntry(
        files=files,
        changes=sentences_of(found),
        loosens=not found.never_looser,
        problem=problem,
    )
    return PolicyEdit(entry=entry, loaded=proposed)


def _refusal(
    proposed: LoadedPolicy, ref: PolicyRef, in_force: InForce, sources: PolicySources
) -> str | None:
    # Its digest, its revision or its signature can keep the workflow from using it.
    try:
        check_expected(proposed, expectations(ref, in_force.inputs, sources))
    except PolicyError as exc:
        return f"the workflow would refuse it: {one_line(exc.message)}"
    return None


def _unusable(files: tuple[str, ...], why: str) -> PolicyEdit:
    return PolicyEdit(entry=PolicyEditEntry(files=files, problem=one_line(why)))


def _same(one: str, other: str) -> bool:
    return one.lower() == other.lower()
