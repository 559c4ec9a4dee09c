"""Share what the answers of the commands on policies have in common, as text and as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sdi_gate.policy.telling.history import outcome_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sdi_gate.policy.chain.demands import Sourced
    from sdi_gate.policy.loader import LoadedPolicy
    from sdi_gate.policy.origins import Origin
    from sdi_gate.policy.telling.history import Judged
    from sdi_gate.policy.telling.wording import DemandRow
    from sdi_gate.policy.verdict import Finding, Status, Verdict


def policy_json(loaded: LoadedPolicy) -> dict[str, Any]:
    """Return which policy it was.

    Args:
        loaded: The policy.

    Returns:
        Name, revision, digest and file, whether its signature was checked and by which key, and
        the files that it extends, the root ancestor first.
    """
    return {
        "name": loaded.policy.metadata.name,
        "revision": loaded.policy.metadata.revision,
        "digest": loaded.digest,
        "file": loaded.path,
        "signature": "not-checked" if loaded.signed_by is None else "verified",
        "signature_key": loaded.signed_by,
        "levels": [level.file for level in loaded.levels],
    }


def origin_json(origin: Origin) -> dict[str, Any]:
    """Return where something stands.

    Args:
        origin: Where.

    Returns:
        File, line, column and match block; null for a default that no file states.
    """
    stated = bool(origin.line)
    return {
        "default": not stated,
        "file": origin.file if stated else None,
        "line": origin.line if stated else None,
        "column": origin.column if stated else None,
        "block": origin.block or None,
    }


def sourced_json(sourced: Sourced[float] | None) -> dict[str, Any] | None:
    """Return a number with its place.

    Args:
        sourced: The number.

    Returns:
        Value and origin; None if there is none.
    """
    if sourced is None:
        return None
    return {"value": sourced.value, "origin": origin_json(sourced.origin)}


def row_json(row: DemandRow | None) -> dict[str, Any] | None:
    """Return what a rule demands.

    Args:
        row: The demand.

    Returns:
        Words, steps and places; None if nothing is demanded.
    """
    if row is None:
        return None
    limit = row.limit
    return {
        "demand": row.words,
        "bound": limit and limit.bound.value,
        "warn": limit and sourced_json(limit.warn),
        "fail": limit and sourced_json(limit.fail),
        "confidence": limit and sourced_json(limit.confidence),
        "waiver": limit and limit.waiver,
        "without_waiver": limit and sourced_json(limit.waived),
        "origins": [origin_json(origin) for origin in row.origins],
    }


def finding_json(finding: Finding) -> dict[str, Any]:
    """Return a finding.

    Args:
        finding: The finding.

    Returns:
        Everything that it holds.
    """
    return {
        "rule": finding.rule,
        "metric": finding.metric,
        "status": finding.status.value,
        "reason": finding.reason,
        "observed": finding.observed,
        "stderr": finding.stderr,
        "judged": finding.judged,
        "warn": finding.warn,
        "fail": finding.fail,
        "bound": finding.bound and finding.bound.value,
        "margin": finding.margin,
        "layer": finding.layer,
        "stratum": finding.stratum,
        "waiver": finding.waiver,
        "waived_limit": finding.waived_limit,
        "origin": finding.origin and origin_json(finding.origin),
    }


def verdict_json(verdict: Verdict | None) -> dict[str, Any] | None:
    """Return what a verdict comes to.

    Args:
        verdict: The verdict.

    Returns:
        Status, what follows, and the deciding rule; None if there is none.
    """
    if verdict is None:
        return None
    _, closed = outcome_of(verdict)
    return {
        "status": verdict.status.value,
        "mode": verdict.mode.value,
        "gate": "closed" if closed else "open",
        "exit_code": int(verdict.exit_code),
        "decided_by": verdict.deciding.rule,
        "reason": verdict.deciding.reason,
    }


def judged_json(judged: Judged) -> dict[str, Any]:
    """Return a recorded result with its verdicts.

    Args:
        judged: The result.

    Returns:
        File, candidate, times, the recorded verdict, the verdicts before and after, and what
        changed.
    """
    facts, recorded = judged.recorded.facts, judged.recorded.verdict
    then = recorded and {
        "status": recorded.status.value,
        "gate": "closed" if recorded.closed else "open",
        "decided_by": recorded.rule,
        "policy_name": recorded.policy_name,
        "policy_digest": recorded.policy_digest,
    }
    return {
        "file": judged.recorded.path,
        "duplicates": list(judged.recorded.duplicates),
        "candidate": judged.recorded.label,
        "candidate_digest": facts.candidate and facts.candidate.digest,
        "family": facts.family,
        "measured_at": facts.measured_at and facts.measured_at.isoformat(),
        "judged_at": judged.at.isoformat(),
        "recorded": then,
        "before": verdict_json(judged.before),
        "after": verdict_json(judged.after),
        "changed": judged.changed,
        "because": judged.because,
    }


def outcome(status: Status, *, closed: bool) -> str:
    """Say how a verdict came out.

    Args:
        status: Its status.
        closed: Whether it closes the gate.

    Returns:
        Such as ``FAIL (gate closed)``.
    """
    return f"{status.upper()} (gate {'closed' if closed else 'open'})"


def short_names(*policies: LoadedPolicy) -> dict[str, str]:
    """Name the files of policies in few columns, and no two alike.

    Args:
        policies: The policies.

    Returns:
        For each file of their levels the last part of its path; as many parts as it takes where
        another file ends in the same.
    """
    files = dict.fromkeys(level.file for loaded in policies for level in loaded.levels)
    return {file: _short_name(file, [other for other in files if other != file]) for file in files}


def _short_name(file: str, others: Sequence[str]) -> str:
    parts = file.split("/")
    for count in range(1, len(parts)):
        tail = parts[-count:]
        # The parts between two slashes of a repository's path are no name.
        if tail[0] and all(other.split("/")[-count:] != tail for other in others):
            return "/".join(tail)
    return file


def short_place(origins: Iterable[Origin], names: Mapping[str, str]) -> str:
    """Say where a demand stands, in few columns.

    Args:
        origins: The places of its parts.
        names: What to call the files; see `short_names`.

    Returns:
        Such as ``base.yml:12,13 (family llama)``.
    """
    lines: dict[tuple[str, str], list[str]] = {}
    for origin in origins:
        name = names.get(origin.file, origin.file) if origin.line else "default"
        found = lines.setdefault((name, origin.block), [])
        if origin.line and str(origin.line) not in found:
            found.append(str(origin.line))
    return "; ".join(
        name + (f":{','.join(found)}" if found else "") + (f" ({block})" if block else "")
        for (name, block), found in lines.items()
    )


def identity_lines(loaded: LoadedPolicy) -> list[str]:
    """Say which policy it is.

    Args:
        loaded: The policy.

    Returns:
        Lines with name, revision, files and digest.
    """
    metadata = loaded.policy.metadata
    revision = f", revision {metadata.revision}" if metadata.revision else ""
    parents = "".join(f", which extends {level.file}" for level in reversed(loaded.levels[:-1]))
    return [
        f"Policy {metadata.name}{revision}: {loaded.path}{parents}",
        f"Digest {loaded.digest}",
    ]
