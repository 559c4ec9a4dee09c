"""Read policies from a Git host that speaks GitHub's contents API, at a commit."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

from sdi_gate.errors import PolicyError
from sdi_gate.integrations.policy_transfer import (
    Answer,
    Bounds,
    TransferError,
    fetch,
    read_url,
)
from sdi_gate.policy.format.places import quoted

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx2

    from sdi_gate.policy.chain.references import PolicyRef

API_URL = "https://api.github.com"

_TOKEN = re.compile(r"[!-~]+")
_LONGEST_WAIT_S = 5.0
_SHOWN_DIGITS = 7
_ABSENT = (
    "check the path; a new policy has to be merged first; if the repository is private, the job"
    " needs contents: read"
)
_HEADERS = {
    "Accept": "application/vnd.github.raw+json",
    "User-Agent": "sdi-gate",
    "X-GitHub-Api-Version": "2022-11-28",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenWords:
    """Say in hints where a token comes from, and what it must be able to do.

    Attributes:
        name: What is set to the token.
        advice: How to get one that may read the repository.
        limits: What else to know where a repository cannot be seen with the token.
        is_own: Whether it reads the repository that the workflow runs in, which is there.
    """

    name: str = "GITHUB_TOKEN"
    advice: str = (
        "set GITHUB_TOKEN to a token with the permission contents: read on that repository"
    )
    limits: str = "the token of a workflow job reads its own repository only"
    is_own: bool = False


class GitPolicies:
    """Read policies from GitHub, or from a server of an organisation's own.

    Args:
        api_url: Root of the API; None for GitHub's.
        token: Token that may read the repositories, if any.
        words: Where the token comes from, for hints.
        bounds: Bounds of each transfer.
        sleep: Waits some seconds before the one second attempt.
    """

    def __init__(
        self,
        *,
        api_url: str | None = None,
        token: str | None = None,
        words: TokenWords | None = None,
        bounds: Bounds | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._api_url = api_url or API_URL
        # An Actions secret that is not set arrives as an empty string.
        self._token = token or None
        self._words = words or TokenWords()
        self._bounds = bounds or Bounds()
        self._sleep = sleep

    def __repr__(self) -> str:
        """Return the reader without its token."""
        return f"GitPolicies(token={'set' if self._token else 'none'})"

    def read(self, ref: PolicyRef) -> bytes:
        """See `PolicySources.read`.

        Args:
            ref: A reference with scheme ``git``.

        Returns:
            Content of the file at the commit.

        Raises:
            PolicyError: If it cannot be had.
        """
        try:
            url = self._url(ref)
            self._check_token()
            answer = self._ask(url)
            if answer.status == 404 and self._words.is_own:
                msg = f"{ref.repository} has no file {quoted(ref.path)} at"
                raise PolicyError(f"policy: {msg} {ref.commit[:_SHOWN_DIGITS]} (404)", hint=_ABSENT)
            return self._content(answer)
        except TransferError as exc:
            msg = f"{ref}: the policy cannot be had: {exc.message}"
            raise PolicyError(msg, hint=exc.hint) from exc

    def _url(self, ref: PolicyRef) -> httpx2.URL:
        root = read_url(self._api_url, "GITHUB_API_URL")
        segments = ["repos", *ref.repository.split("/"), "contents", *ref.path.split("/")]
        if any(segment in {"", ".", ".."} for segment in segments):
            msg = "a part of its path is empty, '.' or '..'"
            raise TransferError(msg, "write owner/repo//folder/policy.yml@COMMIT")
        path = "/".join(quote(segment, safe="") for segment in segments)
        # As bytes: the library would take an encoded slash in a text for one that separates.
        target = f"{root.path.rstrip('/')}/{path}?ref={quote(ref.commit, safe='')}"
        return root.copy_with(raw_path=target.encode())

    def _check_token(self) -> None:
        # Looked at before it is sent: the errors of the layers below would quote it.
        if self._token is not None and not _TOKEN.fullmatch(self._token):
            msg = "the token holds a space, a line break or another character that no token has"
            raise TransferError(msg, f"set {self._words.name} again, to the token alone")

    def _ask(self, url: httpx2.URL) -> Answer:
        answer = fetch(url, _HEADERS, token=self._token, bounds=self._bounds)
        wait_s = _wait_of(answer)
        if wait_s is None:
            return answer
        self._sleep(wait_s)
        return fetch(url, _HEADERS, token=self._token, bounds=self._bounds)

    def _content(self, answer: Answer) -> bytes:
        host, words = answer.host, self._words
        match answer.status:
            case 200:
                return _file_of(answer)
            case 401:
                msg = f"{host} refused the token (401)"
                raise TransferError(msg, f"{words.advice}; a token can have expired")
            case 404:
                raise TransferError(*self._not_found(host))
            case 403 | 429 if _is_limit(answer):
                msg = f"{host} limits requests and refused this one ({answer.status})"
                hint = f"wait some minutes and run again; with {words.name} set the limits are"
                raise TransferError(msg, f"{hint} higher")
            case 403:
                msg = f"{host} forbids to read it (403): contents: read is missing"
                hint = f"{words.advice}; authorise it for single sign-on if the owner asks for that"
                raise TransferError(msg, hint)
            case status:
                msg = f"{host} could not answer ({status})"
                raise TransferError(msg, "run again later; check GITHUB_API_URL")

    def _not_found(self, host: str) -> tuple[str, str]:
        msg = f"{host} has no such repository, commit or file, or it is private (404)"
        if self._token is None:
            return msg, f"check the name; if it is private, {self._words.advice}"
        return msg, (
            f"check the name; if it is private, {self._words.advice}: {self._words.limits}"
        )


def _wait_of(answer: Answer) -> float | None:
    # One more attempt, where a short wait can help.
    if answer.status != 429 and answer.status < 500:
        return None
    text = answer.headers.get("retry-after", "1")
    wait_s = float(text) if text.isdecimal() else _LONGEST_WAIT_S + 1
    return wait_s if wait_s <= _LONGEST_WAIT_S else None


def _is_limit(answer: Answer) -> bool:
    spent = answer.headers.get("x-ratelimit-remaining") == "0"
    return answer.status == 429 or spent or "retry-after" in answer.headers


def _file_of(answer: Answer) -> bytes:
    kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
    # A page for a person who shall sign in says 200, too; and no policy starts with "<".
    if kind in {"text/html", "application/xhtml+xml"} or answer.body.lstrip()[:1] == b"<":
        msg = f"{answer.host} answered with a web page, not with a file"
        raise TransferError(msg, "check GITHUB_API_URL; a proxy may ask for a sign-in")
    if kind == "application/json":
        msg = f"{answer.host} answered with a listing: the path is a folder or a submodule"
        raise TransferError(msg, "name a file; the host must know the raw media type of GitHub")
    return answer.body
