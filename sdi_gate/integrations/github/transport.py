"""Carry one request to GitHub through PyGithub, within bounds of size and time.

PyGithub signs requests, knows where an Enterprise Server keeps its API, and speaks HTTP through
its connection classes. Those classes are ours, by the hook that it has for that: PyGithub's own
read an answer of any size, wait without an end where a server says 202, and follow a redirect
without the query, so that a file at a commit becomes the file of the default branch.

Its objects (`Repository`, `CheckRun`) are not used: they go where the addresses inside an answer
tell them to, and fail with a `TypeError` where GitHub's own schema allows null.
"""

from __future__ import annotations

import logging
import queue
import threading
from dataclasses import dataclass
from http.client import HTTPException
from typing import TYPE_CHECKING

import requests
from github.Auth import Token
from github.Requester import (
    HTTPRequestsConnectionClass,
    HTTPSRequestsConnectionClass,
    Requester,
    RequestsResponse,
)
from urllib3.exceptions import HTTPError, ReadTimeoutError

if TYPE_CHECKING:
    from collections.abc import ItemsView, Mapping

_ANSWER_BYTES = 32 * 1024 * 1024
_CHUNK_BYTES = 64 * 1024
_NOT_READY = 202
_VERSION = "2022-11-28"
_USER_AGENT = "sdi-gate"
# What PyGithub and the layers below it raise; it reads numbers out of headers, too.
_FOREIGN = (requests.RequestException, HTTPError, HTTPException, OSError, ValueError, OverflowError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Hold one request.

    Attributes:
        method: ``GET``, ``POST`` or ``PATCH``.
        path: Path below the root of the API, with its parts quoted.
        query: What is asked for after the path.
        body: What is sent as JSON; None for nothing.
    """

    method: str
    path: str
    query: Mapping[str, str]
    body: Mapping[str, object] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """Hold what GitHub answered.

    Attributes:
        status: Status of the answer.
        headers: Its headers, with names in lower case.
        body: Its whole content.
    """

    status: int
    headers: Mapping[str, str]
    body: str


class BrokenLineError(Exception):
    """Say why there is no answer, without addresses and headers.

    Attributes:
        why: What happened, as the end of "the host ...".
    """

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class Transport:
    """Ask one server on behalf of one token.

    Args:
        api_url: Root of the API; who calls has seen to it that it is safe.
        token: Token of all requests, if any.
        timeout_s: Longest wait for a connection, and for each piece of an answer.
        total_s: Longest time for an answer as a whole.
    """

    def __init__(self, api_url: str, token: str | None, *, timeout_s: int, total_s: float) -> None:
        self._api_url = api_url
        self._token = token
        self._timeout_s = timeout_s
        self._total_s = total_s
        # Set on our own class, not on PyGithub's, which others in the process may use.
        _Requester.injectConnectionClasses(_Http, _Https)
        _Requester.injectLogger(_silent())

    def __repr__(self) -> str:
        """Return the transport without its token."""
        return f"Transport(token={'set' if self._token else 'none'})"

    def ask(self, question: Question) -> Reply:
        """Send a request once.

        Args:
            question: The request.

        Returns:
            The answer, whatever its status; a redirect is not followed.

        Raises:
            BrokenLineError: If there is no answer within the bounds.
        """
        outcomes: queue.SimpleQueue[Reply | Exception] = queue.SimpleQueue()

        def work() -> None:
            try:
                outcomes.put(self._ask(question))
            except Exception as exc:  # noqa: BLE001 - raised again by who waits for it
                outcomes.put(exc)

        # The layers below bound each piece that they read, not how many there are, and the time
        # for a name to be found not at all.
        threading.Thread(target=work, daemon=True).start()
        try:
            outcome = outcomes.get(timeout=self._total_s)
        except queue.Empty:
            msg = f"did not answer within {self._total_s:g} s"
            raise BrokenLineError(msg) from None
        if isinstance(outcome, _FOREIGN):
            raise BrokenLineError(_told(outcome, self._timeout_s)) from outcome
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def _ask(self, question: Question) -> Reply:
        requester = _Requester(
            auth=Token(self._token) if self._token else None,
            base_url=self._api_url,
            timeout=self._timeout_s,
            user_agent=_USER_AGENT,
            per_page=100,
            verify=True,
            retry=0,
            pool_size=1,
        )
        headers = {"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": _VERSION}
        try:
            status, told, body = requester.requestJson(
                question.method, question.path, dict(question.query), headers, question.body
            )
        finally:
            requester.close()
        return Reply(status=status, headers=told, body=body)


class _Requester(Requester):
    """Keep our connection classes and our silence apart from PyGithub's own class."""


class _Http(HTTPRequestsConnectionClass):
    def getresponse(self) -> RequestsResponse:
        return _response(self)


class _Https(HTTPSRequestsConnectionClass):
    def getresponse(self) -> RequestsResponse:
        return _response(self)


class _Read(RequestsResponse):
    """An answer that was read within its bounds."""

    def __init__(self, response: requests.Response, body: bytes) -> None:
        super().__init__(response)
        self._body = body

    def getheaders(self) -> ItemsView[str, str]:
        # Without an address PyGithub has nowhere to follow a redirect to.
        kept = {name: value for name, value in self.headers.items() if name.lower() != "location"}
        return kept.items()

    def read(self) -> str:
        return self._body.decode()


def _response(connection: _Http | _Https) -> _Read:
    host = f"[{connection.host}]" if ":" in connection.host else connection.host
    with connection.session.request(
        connection.verb,
        f"{connection.protocol}://{host}:{connection.port}{connection.url}",
        headers=connection.headers,
        data=connection.input,
        timeout=connection.timeout,
        verify=connection.verify,
        allow_redirects=False,
        stream=True,
    ) as response:
        if response.status_code == _NOT_READY:
            msg = "is still preparing its answer"
            raise BrokenLineError(msg)
        body = bytearray()
        for chunk in response.iter_content(_CHUNK_BYTES):
            body += chunk
            if len(body) > _ANSWER_BYTES:
                msg = f"answered with more than {_ANSWER_BYTES:,} bytes"
                raise BrokenLineError(msg)
        return _Read(response, bytes(body))


def _told(exc: Exception, timeout_s: int) -> str:
    match exc:
        case requests.exceptions.SSLError():
            return "is not secure: its certificate or TLS was refused (set REQUESTS_CA_BUNDLE)"
        case requests.Timeout() | requests.ConnectionError(args=[ReadTimeoutError()]):
            return f"did not answer within {timeout_s} s"
        case _:
            return f"broke the connection ({type(exc).__name__})"


def _silent() -> logging.Logger:
    # PyGithub logs whole answers; this logger has no parent and no handler.
    logger = logging.Logger(__name__)  # noqa: LOG001 - one that nobody can turn on by its name
    logger.disabled = True
    return logger
