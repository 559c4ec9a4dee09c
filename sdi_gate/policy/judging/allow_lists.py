"""Judge whether the models of a scan are on the lists of what a policy allows.

What is known and not allowed fails; what is not known is inconclusive.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sdi_gate.policy.chain.allowing import covers_quantisation
from sdi_gate.policy.verdict import Finding, Status

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from sdi_gate.policy.chain.demands import Demands, Sourced
    from sdi_gate.policy.facts import Facts, ModelIdentity
    from sdi_gate.policy.format.provisions import AllowedBase
    from sdi_gate.policy.origins import Origin

_ABOUT = {
    "accepted-formats": ("format", "The format of the candidate"),
    "allowed-bases": ("base", "The base"),
    "allowed-families": ("family", "The family of the models"),
    "allowed-quantisations": ("quantisation", "The quantisation of the candidate"),
}


def judge_allow_lists(demands: Demands, facts: Facts) -> Iterator[Finding]:
    """Judge which models a scan was of.

    Args:
        demands: What is demanded.
        facts: What a scan found.

    Yields:
        One finding for each list that there is.
    """
    candidate = facts.candidate
    if demands.formats is not None:
        known = None if candidate is None else candidate.format
        yield _listed("accepted-formats", demands.formats, known, str.__eq__)
    if demands.bases is not None:
        yield _judge_base(demands.bases, facts.base)
    if demands.families is not None:
        yield _listed("allowed-families", demands.families, facts.family, str.__eq__)
    if demands.quantisations is not None:
        known = None if candidate is None else candidate.quantisation
        yield _listed("allowed-quantisations", demands.quantisations, known, covers_quantisation)


def allows_base(entry: AllowedBase, base: ModelIdentity) -> bool | None:
    """Say whether a base is the one that an entry of the list of allowed bases means.

    Args:
        entry: What is allowed; all that it gives must agree.
        base: What is known of the base.

    Returns:
        Whether it is; None if what is known does not tell.
    """
    wanted = ((entry.name, base.name), (entry.revision, base.commit), (entry.digest, base.digest))
    pairs = [(allowed, known) for allowed, known in wanted if allowed is not None]
    if any(known is not None and known != allowed for allowed, known in pairs):
        return False
    return None if any(known is None for _, known in pairs) else True


def _listed(
    rule: str,
    allowed: Sourced[frozenset[str]],
    known: str | None,
    allows: Callable[[str, str], bool],
) -> Finding:
    entries = sorted(allowed.value)
    is_allowed = None if known is None else any(allows(entry, known) for entry in entries)
    return _of_list(rule, is_allowed, known, entries, allowed.origin)


def _judge_base(allowed: Sourced[tuple[AllowedBase, ...]], base: ModelIdentity | None) -> Finding:
    answers = [None if base is None else allows_base(entry, base) for entry in allowed.value]
    is_allowed = True if True in answers else None if None in answers else False
    entries = [_words(entry.name, entry.revision, entry.digest) for entry in allowed.value]
    known = None if base is None else _words(base.name, base.commit, base.digest)
    return _of_list("allowed-bases", is_allowed, known, entries, allowed.origin)


def _words(name: str | None, revision: str | None, digest: str | None) -> str:
    known = (name, revision and f"at {revision}", digest and f"with weights {digest}")
    return " ".join(part for part in known if part) or "a model without a name"


def _of_list(
    rule: str, is_allowed: bool | None, known: str | None, entries: Collection[str], origin: Origin
) -> Finding:
    metric, subject = _ABOUT[rule]
    only = ", ".join(entries) or "none"
    if is_allowed:
        status, reason = Status.PASS, f"{subject} is {known}, which the policy allows."
    elif is_allowed is None:
        told = "not known" if known is None else f"{known}, which does not tell whether it is meant"
        status, reason = Status.INCONCLUSIVE, f"{subject} is {told}; the policy allows {only}."
    else:
        told = f"{known}, which the policy does not allow"
        status, reason = Status.FAIL, f"{subject} is {told}; it allows {only}."
    return Finding(rule=rule, metric=metric, status=status, reason=reason, origin=origin)
