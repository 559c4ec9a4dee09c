"""Read the policies that others extend from where they are: the Hub, or a Git host."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from sdi_gate.policy.chain.references import Scheme

if TYPE_CHECKING:
    from sdi_gate.policy.chain.references import PolicyRef


class RemotePolicies:
    """Read policies by their references (see `PolicySources`).

    The clients are imported where a reference first needs them: most policies need none.

    Args:
        git_api_url: Root of the Git host's API; None for GitHub's.
        git_token: Token for it, if any. The Hub's client finds its own.
    """

    def __init__(self, *, git_api_url: str | None = None, git_token: str | None = None) -> None:
        self._git_api_url = git_api_url
        self._git_token = git_token

    def __repr__(self) -> str:
        """Return the reader without its token."""
        return "RemotePolicies()"

    def read(self, ref: PolicyRef) -> bytes:
        """See `PolicySources.read`.

        Args:
            ref: A reference with scheme ``hf`` or ``git``; files are the loader's own business.

        Returns:
            Content of the file at the commit, of a size that the loader takes.

        Raises:
            ValueError: If it is a file.
            PolicyError: If it cannot be had.
        """  # noqa: DOC502 - the second is raised by the readers
        match ref.scheme:
            case Scheme.HUB:
                from sdi_gate.integrations.policy_hub import HubPolicies  # noqa: PLC0415

                return HubPolicies().read(ref)
            case Scheme.GIT:
                from sdi_gate.integrations.policy_git import GitPolicies  # noqa: PLC0415

                return GitPolicies(api_url=self._git_api_url, token=self._git_token).read(ref)
            case Scheme.FILE:
                msg = f"{ref} is a file; the loader reads it"
                raise ValueError(msg)
            case _:
                assert_never(ref.scheme)
