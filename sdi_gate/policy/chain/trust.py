"""Hold a policy to what the verifier knows of it: its digest, its revision, who signed it.

What is expected comes from the verifier alone. Nothing in a policy, and nothing beside it, can say
that a check is not needed: see OPA's GHSA-g2pf-6v5v-qcc8, where bundles passed without signature.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sdi_gate.errors import PolicyError

if TYPE_CHECKING:
    from sdi_gate.policy.loader import LoadedPolicy

_HINT = (
    "do not use this policy before its owner says why; a signature is over the line that"
    " sdi-gate policy digest FILE prints, not over the file"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectations:
    """Hold what a verifier knows of a policy beforehand; what is None is not checked.

    Attributes:
        digest: The digest of the merged policy, ``sha256:…``.
        minimum_revision: The lowest revision that is not out of date.
        public_key: Content of the file with the key that must have signed it. That there is one
            makes a signature necessary.
        signature: Content of the signature file; None if there is none.
        public_key_file: Where the key came from, for messages.
        signature_file: Where the signature came from, or was looked for, for messages.
    """

    digest: str | None = None
    minimum_revision: int | None = None
    public_key: bytes | None = None
    signature: bytes | None = None
    public_key_file: str = "the public key"
    signature_file: str = "the signature file"


def signed_line(digest: str) -> bytes:
    """Return what a signature of a policy is over.

    Args:
        digest: Digest of the merged policy, ``sha256:…``.

    Returns:
        One line, with its line break.
    """
    return f"sdi-gate/v1 Policy {digest}\n".encode()


def check_trust(loaded: LoadedPolicy, expected: Expectations) -> None:
    """Refuse a policy that is not the one that was expected.

    Args:
        loaded: The policy.
        expected: What the verifier knows of it.

    Raises:
        PolicyError: If anything differs; the message lists all that does.
    """
    failures = (
        *_digest_failures(loaded, expected),
        *_revision_failures(loaded, expected),
        *_signature_failures(loaded, expected),
    )
    if failures:
        head = f"{loaded.path}: the policy is not the one that is expected"
        lines = (f"{loaded.path}: {failure}" for failure in failures)
        raise PolicyError("\n".join((head, *lines)), hint=_HINT)


def _digest_failures(loaded: LoadedPolicy, expected: Expectations) -> tuple[str, ...]:
    if expected.digest is None or expected.digest == loaded.digest:
        return ()
    return (f"digest: expected {expected.digest}, got {loaded.digest}",)


def _revision_failures(loaded: LoadedPolicy, expected: Expectations) -> tuple[str, ...]:
    if expected.minimum_revision is None:
        return ()
    if loaded.revision is None:
        return (f"revision: expected at least {expected.minimum_revision}, the policy has none",)
    if loaded.revision < expected.minimum_revision:
        return (f"revision: expected at least {expected.minimum_revision}, got {loaded.revision}",)
    return ()


def _signature_failures(loaded: LoadedPolicy, expected: Expectations) -> tuple[str, ...]:
    if expected.public_key is None:
        return ()
    # The library is loaded where there is something to check.
    from sdi_gate.policy.chain.signatures import (  # noqa: PLC0415
        SignatureError,
        read_public_key,
        verify,
    )

    try:
        read_public_key(expected.public_key)
    except SignatureError as exc:
        return (f"public key {expected.public_key_file}: {exc}",)
    if expected.signature is None:
        return (f"signature: required by the public key, and not at {expected.signature_file}",)
    try:
        verify(signed_line(loaded.digest), expected.signature, expected.public_key)
    except SignatureError as exc:
        return (f"signature {expected.signature_file}: {exc}",)
    return ()
