"""Ask GitHub until it answers, within bounds of attempts, waits and time."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import quote

from sdi_gate.integrations.github.errors import (
    GitHubError,
    is_limit,
    refusal,
    shown,
    unreachable,
)
from sdi_gate.integrations.github.fields import Fields, is_sha, listed, parsed, single
from sdi_gate.integrations.github.transport import BrokenLineError, Question, Reply, Transport
from sdi_gate.integrations.policy_transfer import TransferError, host_of, read_url

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

PAGE_SIZE = 100

_TOKEN = re.compile(r"[!-~]+")
_REPOSITORY = re.compile(r"(?!\.+/)[A-Za-z0-9_.-]{1,100}/(?!\.+$)[A-Za-z0-9_.-]{1,100}")
_NEXT = re.compile(r';\s*rel="?next"?')
_PAUSES_S = (1.0, 3.0)
# What GitHub asks for where it does not say how long.
_UNSAID_WAIT_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Bound what is spent on GitHub.

    Attributes:
        timeout_s: Longest wait for a connection, and for each piece of an answer.
        answer_s: Longest time for one answer as a whole.
        call_s: Longest time for all requests of one call.
        waits_s: Longest time for all waits of all calls, where requests are limited.
        num_pages: Most pages of a list that are read.
    """

    timeout_s: int = 10
    answer_s: float = 30.0
    call_s: float = 180.0
    waits_s: float = 60.0
    num_pages: int = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """Tell the time, and let it pass.

    Attributes:
        sleep: Waits some seconds.
        monotonic: Seconds since some moment.
        now: Seconds since 1970, to which GitHub's resets refer.
    """

    sleep: Callable[[float], None] = field(default=time.sleep)
    monotonic: Callable[[], float] = field(default=time.monotonic)
    now: Callable[[], float] = field(default=time.time)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """Hold what is asked.

    Attributes:
        what: The same in words, as the end of "did not let us ...".
        path: Path below the root of the API, made by `path_to`.
        query: What is asked for after the path.
        method: ``GET``, ``POST`` or ``PATCH``.
        body: What is sent as JSON.
        is_repeatable: Whether it may be sent again although it may have been carried out.
    """

    what: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    method: str = "GET"
    body: Mapping[str, object] | None = None
    is_repeatable: bool = True


class Line:
    """Ask one server, and translate all that can go wrong into `GitHubError`.

    Args:
        api_url: Root of the API.
        token: Token of all requests, if any.
        bounds: What may be spent.
        clock: Time.

    Raises:
        GitHubError: If the address or the token cannot be used.
    """

    def __init__(self, api_url: str, token: str | None, bounds: Bounds, clock: Clock) -> None:
        try:
            url = read_url(api_url, "GITHUB_API_URL")
        except TransferError as exc:
            raise GitHubError(exc.message, hint=exc.hint) from exc
        # Looked at before it is sent: the errors of the layers below would quote it.
        if token and not _TOKEN.fullmatch(token):
            msg = "the token for GitHub holds a space, a line break or another strange character"
            raise GitHubError(msg, hint="give the token alone")
        self.host = host_of(url)
        self._bounds = bounds
        self._clock = clock
        self._waits_left_s = bounds.waits_s
        self._ends = clock.monotonic() + bounds.call_s
        self._transport = Transport(
            str(url), token or None, timeout_s=bounds.timeout_s, total_s=bounds.answer_s
        )

    def begin(self) -> None:
        """Start the time of a call anew."""
        self._ends = self._clock.monotonic() + self._bounds.call_s

    def pause(self, num_failures: int) -> None:
        """Wait a little before something is tried again.

        Args:
            num_failures: How often it has failed, less one.
        """
        self._clock.sleep(_PAUSES_S[num_failures])

    def one(self, request: Request) -> Fields:
        """Ask for one object.

        Args:
            request: What is asked.

        Returns:
            The object.
        """
        reply = self._ask(request)
        return single(parsed(reply.body, self.host, request.what), self.host, request.what)

    def any(self, request: Request) -> Fields | list[Fields]:
        """Ask for what may be one object or a list.

        Args:
            request: What is asked.

        Returns:
            The object, or the objects of the list.
        """
        value = parsed(self._ask(request).body, self.host, request.what)
        if isinstance(value, list):
            return listed(value, self.host, request.what)
        return single(value, self.host, request.what)

    def all(self, request: Request) -> Iterator[Fields]:
        """Ask for a list, page by page as it is looked at.

        Args:
            request: What is asked.

        Yields:
            The objects of all pages.

        Raises:
            GitHubError: If there are more pages than may be read, or a page cannot be had.
        """
        for page in range(1, self._bounds.num_pages + 1):
            numbered = {**request.query, "per_page": str(PAGE_SIZE), "page": str(page)}
            reply = self._ask(_with_query(request, numbered))
            items = listed(parsed(reply.body, self.host, request.what), self.host, request.what)
            yield from items
            if not (len(items) >= PAGE_SIZE or _NEXT.search(reply.headers.get("link", ""))):
                return
        msg = f"could not {request.what}: more than {self._bounds.num_pages} pages"
        raise GitHubError(msg, hint="so long a list is not looked through")

    def _ask(self, request: Request) -> Reply:
        question = Question(
            method=request.method, path=request.path, query=request.query, body=request.body
        )
        num_failures = 0
        while True:
            self._check_time(request)
            reply, error = self._attempt(question, request)
            if error is None:
                return reply
            pause_s = self._pause(reply, num_failures, request)
            num_failures += 1
            if pause_s is None:
                raise error
            self._clock.sleep(pause_s)

    def _attempt(self, question: Question, request: Request) -> tuple[Reply, GitHubError | None]:
        try:
            reply = self._transport.ask(question)
        except BrokenLineError as exc:
            error = unreachable(self.host, request.what, exc.why)
            error.__cause__ = exc
            return Reply(status=0, headers={}, body=""), error
        if 200 <= reply.status < 300:
            return reply, None
        return reply, refusal(self.host, request.what, reply)

    def _pause(self, reply: Reply, num_failures: int, request: Request) -> float | None:
        if num_failures >= len(_PAUSES_S):
            return None
        if is_limit(reply):
            pause_s = max(1.0, self._wanted_wait(reply.headers))
            if pause_s > self._waits_left_s:
                return None
            self._waits_left_s -= pause_s
            return pause_s
        may_heal = reply.status == 0 or reply.status >= 500
        return _PAUSES_S[num_failures] if may_heal and request.is_repeatable else None

    def _wanted_wait(self, headers: Mapping[str, str]) -> float:
        after, reset = headers.get("retry-after", ""), headers.get("x-ratelimit-reset", "")
        if after.isdecimal() and len(after) < 10:
            return float(after)
        if headers.get("x-ratelimit-remaining") == "0" and reset.isdecimal() and len(reset) < 12:
            return float(reset) + 1 - self._clock.now()
        return _UNSAID_WAIT_S

    def _check_time(self, request: Request) -> None:
        if self._clock.monotonic() > self._ends:
            raise unreachable(
                self.host, request.what, f"was given {self._bounds.call_s:g} s, and did not end"
            )


def path_to(repository: str, *parts: str) -> str:
    """Make a path of the API.

    Args:
        repository: ``owner/name``.
        *parts: What follows; a part may be anything, and stays one part.

    Returns:
        The path, with its parts quoted.

    Raises:
        GitHubError: If it is not the name of a repository.
    """
    if not _REPOSITORY.fullmatch(repository):
        msg = f"{shown(repository)!r} is not the name of a repository; expected owner/name"
        raise GitHubError(msg, hint="in a workflow, GITHUB_REPOSITORY is one")
    quoted = (quote(part, safe="") for part in parts)
    return "/".join(["/repos", repository, *quoted])


def commit_in(text: str) -> str:
    """Check the full name of a commit.

    Args:
        text: The name.

    Returns:
        The same.

    Raises:
        GitHubError: If it is anything but 40 hex digits.
    """
    if not is_sha(text):
        msg = f"{shown(text)!r} is not a commit; expected 40 hex digits"
        raise GitHubError(msg, hint="a branch or a shortened name can come to mean something else")
    return text


def _with_query(request: Request, query: Mapping[str, str]) -> Request:
    return Request(what=request.what, path=request.path, query=query)
