"""Declare how far a policy is trusted, and open it: the options of every command that reads one."""

from __future__ import annotations

import functools
import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sdi_gate.cli.options import PATH
from sdi_gate.errors import PolicyError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from sdi_gate.policy.chain.references import PolicySources
    from sdi_gate.policy.chain.trust import Expectations
    from sdi_gate.policy.loader import LoadedPolicy

_PUBLIC_KEY = "SDI_GATE_POLICY_PUBLIC_KEY"
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


class _PolicyDigest(click.ParamType[str]):
    """Read ``sha256:`` and 64 hex digits."""

    name = "DIGEST"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> str:
        text = str(value)
        if not _DIGEST.fullmatch(text):
            self.fail(f"expected sha256: and 64 digits 0-9a-f, got {text!r}", param, ctx)
        return text


_DECLARATIONS = (
    click.option(
        "--expect-policy-digest",
        type=_PolicyDigest(),
        help="Refuse a policy with another digest.",
    ),
    click.option(
        "--policy-public-key",
        type=PATH,
        metavar="FILE",
        envvar=_PUBLIC_KEY,
        show_envvar=True,
        help="Refuse a policy that this Ed25519 key has not signed (PEM or OpenSSH).",
    ),
    click.option(
        "--policy-signature",
        type=PATH,
        metavar="FILE",
        help="Where the signature is; default: the policy's file name and .sig.",
    ),
    click.option(
        "--minimum-policy-revision",
        type=click.IntRange(min=1),
        metavar="N",
        help="Refuse a policy of a lower metadata.revision, or of none.",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustOptions:
    """Hold what the verifier knows of a policy beforehand.

    Attributes:
        expect_policy_digest: The digest that it must have.
        policy_public_key: File of the key that must have signed it.
        policy_signature: File of the signature; None for the policy's own name and ``.sig``.
        minimum_policy_revision: The revision that it must have at least.
    """

    expect_policy_digest: str | None = None
    policy_public_key: Path | None = None
    policy_signature: Path | None = None
    minimum_policy_revision: int | None = None


def trust_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Declare the options on a command, which receives them as one `TrustOptions`.

    Args:
        function: The command, with a keyword parameter ``trust``.

    Returns:
        The command with its options.
    """
    names = TrustOptions.__dataclass_fields__

    @functools.wraps(function)
    def command(*args: Any, **given: Any) -> Any:  # noqa: ANN401 - click's calling convention
        own = {key: value for key, value in given.items() if key not in names}
        trust = TrustOptions(**{key: given[key] for key in names})
        _check_usage(trust)
        return function(*args, trust=trust, **own)

    # Options are shown in the order in which decorators are written: the last is applied first.
    decorated: Callable[..., Any] = command
    for declaration in reversed(_DECLARATIONS):
        decorated = declaration(decorated)
    return decorated


def _check_usage(trust: TrustOptions) -> None:
    if trust.policy_public_key is not None:
        return
    # A variable that is set and empty is a key that was meant and is not there.
    if os.environ.get(_PUBLIC_KEY) == "":
        msg = f"{_PUBLIC_KEY} is set and empty; no signature would be checked"
        raise UsageError(msg, hint="name the file of the public key, or unset the variable")
    if trust.policy_signature is not None:
        msg = "--policy-signature was given without a key to check it with"
        raise UsageError(msg, hint="give --policy-public-key, too, or leave out the signature")


def open_policy(path: Path, trust: TrustOptions) -> LoadedPolicy:
    """Load a policy with all that it extends, and refuse one that is not the one expected.

    Args:
        path: File of the policy.
        trust: What is known of it.

    Returns:
        The policy, valid and trusted, with the key that has signed it where there is one to check.

    Raises:
        PolicyError: If it cannot be had, is not valid, or is not the one that was expected.
    """  # noqa: DOC502 - raised by the loader and by check_trust()
    from sdi_gate.policy.chain.trust import check_trust  # noqa: PLC0415
    from sdi_gate.policy.loader import load_policy  # noqa: PLC0415 - not needed for --help

    # The key first: a verifier that is set up wrongly is told so whatever the policy holds.
    expected = _expectations(path, trust)
    loaded = load_policy(path, policy_sources())
    check_trust(loaded, expected)
    if expected.public_key is None:
        return loaded
    from sdi_gate.policy.chain.signatures import fingerprint_of  # noqa: PLC0415

    # Of the bytes that the signature was checked with, whatever the file holds by now.
    return replace(loaded, signed_by=fingerprint_of(expected.public_key))


def signature_line(loaded: LoadedPolicy, trust: TrustOptions) -> str:
    """Return what a reader must know of the signature of a policy that was opened.

    Args:
        loaded: The policy.
        trust: What it was opened with.

    Returns:
        A line without its break; empty if there is no signature and none was asked for.
    """
    if loaded.signed_by is not None:
        return f"Signature: verified with {trust.policy_public_key}, key {loaded.signed_by}"
    file = Path(f"{loaded.path}.sig")
    if not file.exists():
        return ""
    return f"Signature: not checked; {file} is there, and no --policy-public-key was given"


def policy_sources() -> PolicySources:
    """Return the readers of policies that are not files, as the environment configures them.

    Returns:
        Readers that are made, and their libraries loaded, when a reference first needs them.
    """
    from sdi_gate.integrations.policy_sources import RemotePolicies  # noqa: PLC0415

    return RemotePolicies(
        git_api_url=os.environ.get("GITHUB_API_URL") or None,
        # An Actions secret that is not set arrives as an empty string.
        git_token=os.environ.get("GITHUB_TOKEN") or os.environ.get("GH_TOKEN") or None,
    )


def _expectations(path: Path, trust: TrustOptions) -> Expectations:
    from sdi_gate.policy.chain.trust import Expectations  # noqa: PLC0415

    expected = Expectations(
        digest=trust.expect_policy_digest, minimum_revision=trust.minimum_policy_revision
    )
    if trust.policy_public_key is None:
        return expected
    from sdi_gate.files import read_at_most  # noqa: PLC0415
    from sdi_gate.policy.chain.signatures import MAX_KEY_BYTES, MAX_SIGNATURE_BYTES  # noqa: PLC0415

    try:
        public_key = read_at_most(trust.policy_public_key, MAX_KEY_BYTES)
    except OSError as exc:
        msg = f"{trust.policy_public_key}: the public key cannot be read: {exc.strerror}"
        raise PolicyError(msg, hint="--policy-public-key names the file of the key") from exc
    file = trust.policy_signature or Path(f"{path}.sig")
    try:
        signature, why = read_at_most(file, MAX_SIGNATURE_BYTES), ""
    except OSError as exc:
        signature, why = None, f" ({exc.strerror})"
    return Expectations(
        digest=expected.digest,
        minimum_revision=expected.minimum_revision,
        public_key=public_key,
        public_key_file=str(trust.policy_public_key),
        signature=signature,
        signature_file=f"{file}{why}",
    )
