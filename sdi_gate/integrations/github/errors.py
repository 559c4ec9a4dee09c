"""Say why GitHub did not do what it was asked, without a word of its answer's body."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from sdi_gate.errors import SourceError
from sdi_gate.policy.format.spelling import visible

if TYPE_CHECKING:
    from sdi_gate.integrations.github.transport import Reply

_PERMISSION = re.compile(r"[a-z_]{1,40}=(read|write|admin)")
_MAX_PERMISSIONS = 6
_MAX_SHOWN = 120
_LATER = "run again later; proxies and firewalls between here and there may be in the way"
_GRANT = "grant it under `permissions:` of the job; forks and Dependabot get a token that reads"
_NOT_SEEN = "check the name; the token of a job sees its own repository only"
_REASONS = {
    401: ("it refused the token", "the token of a job ends with the job; check what was given"),
    404: ("there is nothing of that name, or the token may not see it", _NOT_SEEN),
    410: ("it was deleted", "nothing is left to do"),
    422: ("it was refused as invalid", "if the commit is new, run again; else report this"),
    429: ("requests are limited", "run again later"),
}


class GitHubError(SourceError):
    """Say that GitHub could not be asked, or did not do what it was asked.

    Attributes:
        status: Status of the answer; None if there was none that could be used.
    """

    def __init__(self, message: str, *, hint: str = "", status: int | None = None) -> None:
        super().__init__(message, hint=hint)
        self.status = status


class UnusableAnswerError(GitHubError):
    """Say that an answer says yes, and is not what was asked.

    Args:
        host: Who answered.
        what: What was asked, as the end of "did not let us ...".
        why: What is wrong, without words of the answer.
    """

    def __init__(self, host: str, what: str, why: str) -> None:
        msg = f"{host} did not let us {what}: the answer is not GitHub's: {why}"
        super().__init__(msg, hint="check GITHUB_API_URL; a proxy may answer in GitHub's place")


def shown(text: str) -> str:
    """Bring a name that others have chosen to one line of bounded length.

    Args:
        text: The name.

    Returns:
        The name with its unprintable characters spelt out, and its end left out if it is long.
    """
    text = visible(text)
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."


def refusal(host: str, what: str, reply: Reply) -> GitHubError:
    """Translate an answer that says no.

    Args:
        host: Who answered.
        what: What was asked, as the end of "did not let us ...".
        reply: The answer.

    Returns:
        The error, to be raised.
    """
    reason, hint = _reason(reply)
    message = f"{host} did not let us {what}: {reason} ({reply.status})"
    return GitHubError(message, hint=hint, status=reply.status)


def unreachable(host: str, what: str, why: str, hint: str = _LATER) -> GitHubError:
    """Say that there was no answer.

    Args:
        host: Who was asked.
        what: What was asked, as the end of "could not ...".
        why: What happened.
        hint: What to try.

    Returns:
        The error, to be raised.
    """
    return GitHubError(f"could not {what}: {host} {why}", hint=hint)


def is_limit(reply: Reply) -> bool:
    """Tell a refusal that time heals from one that only a permission does.

    Args:
        reply: The answer.

    Returns:
        Whether requests are limited.
    """
    if reply.status != 403:
        return reply.status == 429
    is_spent = reply.headers.get("x-ratelimit-remaining") == "0"
    # Of some limits only the words tell.
    is_said = "secondary rate limit" in reply.body
    return is_spent or is_said or "retry-after" in reply.headers


def _reason(reply: Reply) -> tuple[str, str]:
    status = reply.status
    if is_limit(reply):
        return _REASONS[429]
    if status == 403:
        wanted = _permissions(reply.headers.get("x-accepted-github-permissions", ""))
        missing = f"it is forbidden; the permission it asks for is {wanted}"
        # A conversation that is locked says the same, and its words are not for our messages.
        return (missing, _GRANT) if wanted else ("it is forbidden, or locked", _GRANT)
    if 300 <= status < 400:
        return "it has moved", "name the repository as it is called now; check GITHUB_API_URL"
    if status >= 500:
        return "the server failed", "run again later"
    return _REASONS.get(status, ("it was refused", "check GITHUB_API_URL"))


def _permissions(header: str) -> str:
    # "a=read,b=write; c=write": both of the first, or the one after the semicolon.
    ways = [[one.strip() for one in way.split(",")] for way in header.split(";")]
    kept = [way for way in ways if all(_PERMISSION.fullmatch(one) for one in way)]
    told = " or ".join(" and ".join(way[:_MAX_PERMISSIONS]) for way in kept[:_MAX_PERMISSIONS])
    # As a workflow writes them.
    return told.replace("_", "-").replace("=", ": ")
