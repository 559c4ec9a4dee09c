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

_ANOTHER = (
    "the policy, or a file that it extends, was changed, or the digest is that of another one; do"
    " not use it before its owner says why"
)
_OUT_OF_DATE = "this may be an old policy that was put back; get the latest one from its owner"
_NO_KEY = "give the public key of the policy's owner with --policy-public-key"
_NO_SIGNATURE = (
    "get the signature file from the policy's owner; --policy-signature names it where it is not"
    " beside the policy"
)
_NOT_SIGNED = (
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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Mismatch:
    told: str
    hint: str


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
        PolicyError: If anything differs; the message lists all that does, and the hint says what
            to do about each.
    """
    checked = (
        _digest_mismatch(loaded, expected),
        _revision_mismatch(loaded, expected),
        _signature_mismatch(loaded, expected),
    )
    found = [mismatch for mismatch in checked if mismatch is not None]
    if found:
        head = f"{loaded.path}: the policy is not the one that is expected"
        lines = (f"{loaded.path}: {mismatch.told}" for mismatch in found)
        hints = (mismatch.hint for mismatch in found)
        raise PolicyError("\n".join((head, *lines)), hint="; ".join(hints))


def _digest_mismatch(loaded: LoadedPolicy, expected: Expectations) -> _Mismatch | None:
    if expected.digest is None or expected.digest == loaded.digest:
        return None
    told = f"digest: expected {expected.digest}, got {loaded.digest}"
    return _Mismatch(told=told, hint=_ANOTHER)


def _revision_mismatch(loaded: LoadedPolicy, expected: Expectations) -> _Mismatch | None:
    least, revision = expected.minimum_revision, loaded.revision
    if least is None or (revision is not None and revision >= least):
        return None
    got = "the policy has none" if revision is None else f"got {revision}"
    return _Mismatch(told=f"revision: expected at least {least}, {got}", hint=_OUT_OF_DATE)


def _signature_mismatch(loaded: LoadedPolicy, expected: Expectations) -> _Mismatch | None:
    if expected.public_key is None:
        return None
    # The library is loaded where there is something to check.
    from sdi_gate.policy.chain.signatures import (  # noqa: PLC0415
        SignatureError,
        read_public_key,
        verify,
    )

    try:
        read_public_key(expected.public_key)
    except SignatureError as exc:
        return _Mismatch(told=f"public key {expected.public_key_file}: {exc}", hint=_NO_KEY)
    if expected.signature is None:
        told = f"signature: required by the public key, and not at {expected.signature_file}"
        return _Mismatch(told=told, hint=_NO_SIGNATURE)
    try:
        verify(signed_line(loaded.digest), expected.signature, expected.public_key)
    except SignatureError as exc:
        return _Mismatch(told=f"signature {expected.signature_file}: {exc}", hint=_NOT_SIGNED)
    return None
