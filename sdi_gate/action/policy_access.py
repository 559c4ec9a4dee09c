"""Read policies as the action may: each repository with the token that is meant for it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, assert_never

from sdi_gate.integrations.policy_git import GitPolicies, TokenWords
from sdi_gate.policy.chain.references import Scheme

if TYPE_CHECKING:
    from sdi_gate.policy.chain.references import PolicyRef

_OWN = TokenWords(
    name="the input github-token",
    advice=(
        "give the job permissions: contents: read, and leave the input github-token as it is, or"
        " set it to a token with that permission"
    ),
    is_own=True,
)
_OTHER = TokenWords(
    name="the input policy-token",
    advice=(
        "set the input policy-token to a token with the permission contents: read on that"
        " repository"
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyAccess:
    """Read policies by their references (see `PolicySources`).

    Attributes:
        repository: ``owner/name`` of the repository that the workflow runs in.
        api_url: Root of the Git host's API; None for GitHub's.
        github_token: Token of the job, which reads its own repository.
        policy_token: Token for other repositories; None to try with that of the job.
        hf_token: Token for the Hub; None for what its client finds.
    """

    repository: str
    api_url: str | None = None
    github_token: str | None = field(default=None, repr=False)
    policy_token: str | None = field(default=None, repr=False)
    hf_token: str | None = field(default=None, repr=False)

    def read(self, ref: PolicyRef) -> bytes:
        """See `PolicySources.read`.

        Args:
            ref: A reference with scheme ``hf`` or ``git``.

        Returns:
            Content of the file at the commit.

        Raises:
            PolicyError: If it cannot be had; the hint names the input that could help.
            ValueError: If it is a file.
        """  # noqa: DOC502 - the first is raised by the readers
        match ref.scheme:
            case Scheme.HUB:
                # Its client is slow to load, and few policies are there.
                from sdi_gate.integrations.policy_hub import HubPolicies  # noqa: PLC0415

                return HubPolicies(token=self.hf_token).read(ref)
            case Scheme.GIT:
                return self._git(ref).read(ref)
            case Scheme.FILE:
                msg = f"{ref} is a file; nothing is read from a checkout"
                raise ValueError(msg)
            case _:
                assert_never(ref.scheme)

    def is_own(self, ref: PolicyRef) -> bool:
        """Say whether a file is in the repository that the workflow runs in.

        Args:
            ref: The reference to it.

        Returns:
            True if it is; names of repositories are the same in any case of letters.
        """
        return ref.scheme is Scheme.GIT and ref.repository.lower() == self.repository.lower()

    def _git(self, ref: PolicyRef) -> GitPolicies:
        if self.is_own(ref):
            return GitPolicies(api_url=self.api_url, token=self.github_token, words=_OWN)
        token = self.policy_token or self.github_token
        return GitPolicies(api_url=self.api_url, token=token, words=_OTHER)
