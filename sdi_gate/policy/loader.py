"""Load a policy with all that it extends, or say everything that is wrong with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from sdi_gate.policy.chain.canonical import digest_of
from sdi_gate.policy.chain.extending import read_chain, read_file
from sdi_gate.policy.chain.levels import DEFAULT_WAIVER_DAYS, Level
from sdi_gate.policy.chain.references import PolicyRef, Scheme
from sdi_gate.policy.format.places import Place
from sdi_gate.policy.format.reading import MAX_LISTED, MAX_SIZE_BYTES

if TYPE_CHECKING:
    import os

    from sdi_gate.policy.chain.references import PolicySources
    from sdi_gate.policy.format.schema import Policy

__all__ = [
    "MAX_LISTED",
    "MAX_SIZE_BYTES",
    "Level",
    "LoadedPolicy",
    "load_policy",
    "load_policy_at",
    "parse_policy",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedPolicy:
    """Hold a policy with all that it extends, and its identity.

    Attributes:
        levels: The files, the root ancestor first, the policy itself last.
        digest: ``sha256:…`` over what they demand together; see
            :func:`sdi_gate.policy.chain.canonical.digest_of`.
        path: Where the policy itself was read from, for messages and reports.
        signed_by: Fingerprint of the verifier's key that was found to have signed it; None where
            no signature was checked.
    """

    levels: tuple[Level, ...]
    digest: str
    path: str
    signed_by: str | None = None

    @classmethod
    def of(cls, policy: Policy, *, path: str = "policy") -> Self:
        """Return a policy that was not read from a file.

        Args:
            policy: The policy; it extends nothing.
            path: What messages and reports call it.

        Returns:
            The policy as its only level, with every place in line 1.

        Raises:
            ValueError: If the policy extends another one.
        """
        if policy.extends is not None:
            msg = f"{path}: a policy that extends another one is read by load_policy"
            raise ValueError(msg)
        level = Level(
            policy=policy,
            file=path,
            places={(): Place(1, 1)},
            maximum_waiver_days=policy.maximum_waiver_days or DEFAULT_WAIVER_DAYS,
        )
        return cls(levels=(level,), digest=digest_of((level,)), path=path)

    @property
    def policy(self) -> Policy:
        """Return what the file itself says."""
        return self.levels[-1].policy

    @property
    def name(self) -> str:
        """Return the name of the policy."""
        return self.policy.metadata.name

    @property
    def revision(self) -> int | None:
        """Return the revision of the policy, if it gives one."""
        return self.policy.metadata.revision

    @property
    def documentation(self) -> dict[str, str]:
        """Return the texts for reports; of two with one name, that of the later level."""
        texts: dict[str, str] = {}
        for level in self.levels:
            texts |= level.policy.documentation or {}
        return texts


def load_policy(path: str | os.PathLike[str], sources: PolicySources | None = None) -> LoadedPolicy:
    """Read a policy from a file.

    Args:
        path: The file.
        sources: What fetches policies that it extends from elsewhere; None refuses them.

    Returns:
        The policy, valid in every respect.

    Raises:
        PolicyError: If a file cannot be read, is not a policy, or loosens what it extends; the
            message lists every problem of one file with line and column.
    """  # noqa: DOC502 - raised by the steps
    return parse_policy(read_file(path), path=str(path), sources=sources)


def load_policy_at(ref: PolicyRef, sources: PolicySources) -> LoadedPolicy:
    """Read a policy that is in another place than on this machine, at a commit.

    Args:
        ref: A reference with scheme ``hf`` or ``git``.
        sources: What fetches it, and policies that it extends.

    Returns:
        The policy, valid in every respect; its path is the reference. A file that it extends by a
        path is beside it, at the same commit.

    Raises:
        PolicyError: If a file cannot be had, is not a policy, or loosens what it extends.
        ValueError: If the reference is a file.
    """  # noqa: DOC502 - the first is raised by the steps
    if ref.scheme is Scheme.FILE:
        msg = f"{ref} is a file, which load_policy reads"
        raise ValueError(msg)
    return _loaded(sources.read(ref), ref, sources)


def parse_policy(
    content: bytes, *, path: str, sources: PolicySources | None = None
) -> LoadedPolicy:
    """Read a policy from bytes, such as those of a file at another revision.

    Args:
        content: The whole file, UTF-8.
        path: Where it came from, for messages and reports; files that it extends are beside it.
        sources: What fetches policies that it extends from elsewhere; None refuses them.

    Returns:
        The policy, valid in every respect.

    Raises:
        PolicyError: If the bytes are not a policy, or it loosens what it extends; the message
            lists every problem of one file with line and column.
    """  # noqa: DOC502 - raised by the steps
    return _loaded(content, PolicyRef(scheme=Scheme.FILE, path=path), sources)


def _loaded(content: bytes, ref: PolicyRef, sources: PolicySources | None) -> LoadedPolicy:
    levels = read_chain(content, ref, sources)
    return LoadedPolicy(levels=levels, digest=digest_of(levels), path=str(ref))
