"""Load a policy, or say everything that is wrong with it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import ValidationError

from sdi_gate.errors import PolicyError
from sdi_gate.policy.nodes import Place, Problem, read_document
from sdi_gate.policy.problems import explain
from sdi_gate.policy.schema import Policy

if TYPE_CHECKING:
    import os

MAX_SIZE_BYTES = 1_000_000
# Enough for every mistake of a person; a file of another kind should not flood the log.
MAX_LISTED = 100

_HINT = "docs/policies.md and the comments in policies/default.yml say what a policy may demand."


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedPolicy:
    """Hold a policy with its identity.

    Attributes:
        policy: What is demanded.
        digest: ``sha256:…`` over the policy's meaning; see :func:`digest_of`.
        path: Where it was read from, for messages and reports.
    """

    policy: Policy
    digest: str
    path: str


def load_policy(path: str | os.PathLike[str]) -> LoadedPolicy:
    """Read a policy from a file.

    Args:
        path: The file.

    Returns:
        The policy, valid in every respect.

    Raises:
        PolicyError: If the file cannot be read or is not a policy; the message lists every
            problem with file, line and column.
    """
    try:
        with open(path, "rb") as stream:  # noqa: PTH123 - any path-like is welcome
            content = stream.read(MAX_SIZE_BYTES + 1)
    except OSError as exc:
        msg = f"{path}: the policy cannot be read: {exc.strerror}"
        raise PolicyError(msg, hint=_HINT) from exc
    return parse_policy(content, path=str(path))


def parse_policy(content: bytes, *, path: str) -> LoadedPolicy:
    """Read a policy from bytes, such as those of a file at another revision.

    Args:
        content: The whole file, UTF-8.
        path: Where it came from, for messages and reports.

    Returns:
        The policy, valid in every respect.

    Raises:
        PolicyError: If the bytes are not a policy; the message lists every problem with file,
            line and column.
    """
    text = _decoded(content, path)
    document = read_document(text)
    problems = document.problems
    if document.root is not None:
        try:
            policy = Policy.model_validate(document.root)
        except ValidationError as exc:
            problems += explain(exc, document)
    if problems:
        raise PolicyError(_listed(path, problems), hint=_HINT)
    return LoadedPolicy(policy=policy, digest=digest_of(policy), path=path)


def digest_of(policy: Policy) -> str:
    """Return the identity of a policy: equal for equal demands, however they are written.

    Args:
        policy: The policy.

    Returns:
        ``sha256:`` and the digest of its canonical JSON: keys sorted, defaults filled in, no
        spaces, ASCII. Comments, order and quoting style do not change it.
    """
    meaning = policy.model_dump(mode="json", by_alias=True)
    canonical = json.dumps(meaning, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return f"sha256:{hashlib.sha256(canonical.encode()).hexdigest()}"


def _decoded(content: bytes, path: str) -> str:
    if len(content) > MAX_SIZE_BYTES:
        msg = f"{path}: the policy is larger than {MAX_SIZE_BYTES:,} bytes"
        raise PolicyError(msg, hint=_HINT)
    try:
        return content.decode()
    except UnicodeDecodeError as exc:
        before = content[: exc.start].decode()
        column = len(before) - (before.rfind("\n") + 1)
        place = Place(before.count("\n") + 1, column + 1)
        message = f"the file is not UTF-8: byte 0x{content[exc.start]:02X}, {exc.reason}"
        raise PolicyError(_listed(path, [Problem(place, message)]), hint=_HINT) from exc


def _listed(path: str, problems: list[Problem]) -> str:
    count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    places = [
        f"{path}:{problem.place.line}:{problem.place.column}: {problem.message}"
        for problem in sorted(problems)[:MAX_LISTED]
    ]
    more = len(problems) - len(places)
    rest = [f"{path}: and {more} more {'problem' if more == 1 else 'problems'}"] if more else []
    return "\n".join((f"{path}: the policy cannot be used: {count}", *places, *rest))
