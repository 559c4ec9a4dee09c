"""Fetch one small file over HTTP within bounds: size, time, redirects, and who sees the token."""

from __future__ import annotations

import ipaddress
import queue
import re
import ssl
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import httpx2

from sdi_gate.policy.format.reading import MAX_SIZE_BYTES

if TYPE_CHECKING:
    from collections.abc import Mapping

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_OK = 200
_HOST = re.compile(rb"[A-Za-z0-9._-]+|[0-9a-fA-F:.]+")
_LATER = "run again later; proxies and firewalls between here and there may be in the way"


class TransferError(Exception):
    """Say why a file could not be fetched, without headers, bodies or addresses in full.

    Attributes:
        message: What happened, with the host.
        hint: What to try.
    """

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Bound one transfer.

    Attributes:
        size_bytes: Largest file that is read.
        timeout_s: Longest wait for a connection, and for each piece of the answer.
        total_s: Longest time for all of it: a server that sends a byte now and then ends too.
        redirects: How many redirects are followed.
    """

    size_bytes: int = MAX_SIZE_BYTES
    timeout_s: float = 10.0
    total_s: float = 30.0
    redirects: int = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Hold what a server answered.

    Attributes:
        status: Status, never a redirect.
        headers: Headers, with names in lower case.
        body: The whole content where the status is 200; empty elsewhere.
        host: Who answered, fit to be shown.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    host: str


def read_url(text: str, what: str) -> httpx2.URL:
    """Read an address that may be asked.

    Args:
        text: The address.
        what: What it is the address of, for messages, which never quote it: it can hold a password.

    Returns:
        An address with scheme https, or http on this machine.

    Raises:
        TransferError: If it is anything else, or holds a user name, a query or a fragment.
    """
    try:
        url = httpx2.URL(text)
    except (httpx2.InvalidURL, ValueError) as exc:
        msg = f"{what} is not a URL"
        raise TransferError(msg, "give a URL such as https://api.github.com") from exc
    if url.userinfo or url.query or url.fragment or not url.host:
        msg = f"{what} is more than scheme, host and path, or less"
        raise TransferError(msg, "give a URL such as https://api.github.com")
    _check_safe(url, what)
    return url


def host_of(url: httpx2.URL) -> str:
    """Return the part of an address that may be shown.

    Args:
        url: The address.

    Returns:
        Host, and port if it is not the scheme's own.
    """
    return f"{url.host}:{url.port}" if url.port else url.host


def fetch(
    url: httpx2.URL, headers: Mapping[str, str], *, token: str | None, bounds: Bounds
) -> Answer:
    """Get a file.

    Args:
        url: Its address, as `read_url` allows it.
        headers: Headers of every request.
        token: Sent to the origin of the address only, whatever it redirects to.
        bounds: Bounds of size, time and redirects.

    Returns:
        The answer of the last server.

    Raises:
        TransferError: If there is no answer, or one beyond the bounds.
    """
    outcomes: queue.SimpleQueue[Answer | Exception] = queue.SimpleQueue()

    def work() -> None:
        try:
            outcomes.put(_fetch(url, headers, token, bounds))
        except Exception as exc:  # noqa: BLE001 - raised again by who waits for it
            outcomes.put(exc)

    # The library bounds each piece that it reads, and of an answer's head and of the sizes of
    # chunks there are many; the time for a name to be found it does not bound at all.
    threading.Thread(target=work, daemon=True).start()
    try:
        outcome = outcomes.get(timeout=bounds.total_s)
    except queue.Empty:
        raise TransferError(_slow(host_of(url), bounds), _LATER) from None
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


def _fetch(
    url: httpx2.URL, headers: Mapping[str, str], token: str | None, bounds: Bounds
) -> Answer:
    deadline = time.monotonic() + bounds.total_s
    asked = url
    try:
        with httpx2.Client(timeout=bounds.timeout_s) as client:
            for _ in range(bounds.redirects + 1):
                sent = dict(headers) | {"Accept-Encoding": "identity"}
                if token and _origin(asked) == _origin(url):
                    sent["Authorization"] = f"Bearer {token}"
                with client.stream("GET", asked, headers=sent) as response:
                    if response.status_code not in _REDIRECTS:
                        return _answer(response, asked, bounds, deadline)
                    asked = _target(response, asked)
    except (httpx2.HTTPError, httpx2.InvalidURL, httpx2.StreamError, OSError, ValueError) as exc:
        raise TransferError(*_told(exc, host_of(asked), bounds)) from exc
    msg = f"{host_of(url)} redirects more than {bounds.redirects} times"
    raise TransferError(msg, "check the address; name the repository as it is called now")


def _answer(
    response: httpx2.Response, asked: httpx2.URL, bounds: Bounds, deadline: float
) -> Answer:
    host = host_of(asked)
    headers = {name.lower(): value for name, value in response.headers.items()}
    ok = response.status_code == _OK
    body = _body(response, host, bounds, deadline) if ok else b""
    return Answer(status=response.status_code, headers=headers, body=body, host=host)


def _body(response: httpx2.Response, host: str, bounds: Bounds, deadline: float) -> bytes:
    headers = response.headers
    if headers.get("Content-Encoding", "identity") != "identity":
        msg = f"{host} sends the file compressed, which was not asked for"
        raise TransferError(msg, _LATER)
    # Of an answer that just ends, nobody can say that it ended where it should: a policy that is
    # cut off after a line can be a policy still, with fewer limits.
    if "Content-Length" not in headers and "Transfer-Encoding" not in headers:
        msg = f"{host} does not say how long the file is, so that its end could be missing"
        raise TransferError(msg, _LATER)
    size = headers.get("Content-Length", "0")
    body = bytearray()
    if not size.isdecimal() or int(size) > bounds.size_bytes:
        raise _too_large(host, bounds)
    for chunk in response.iter_raw():
        body += chunk
        if len(body) > bounds.size_bytes:
            raise _too_large(host, bounds)
        if time.monotonic() > deadline:
            raise TransferError(_slow(host, bounds), _LATER)
    return bytes(body)


def _slow(host: str, bounds: Bounds) -> str:
    return f"{host} did not send the file within {bounds.total_s:g} s"


def _too_large(host: str, bounds: Bounds) -> TransferError:
    msg = f"the file at {host} is larger than {bounds.size_bytes:,} bytes"
    return TransferError(msg, "name the file of a policy")


def _target(response: httpx2.Response, asked: httpx2.URL) -> httpx2.URL:
    host = host_of(asked)
    target = asked.join(response.headers.get("Location", ""))
    if target.userinfo:
        msg = f"{host} redirects to an address with a user name"
        raise TransferError(msg, "do not trust this server")
    _check_safe(target, f"the address that {host} redirects to")
    if _is_loopback(target) and not _is_loopback(asked):
        msg = f"{host} redirects to this machine"
        raise TransferError(msg, "do not trust this server")
    return target


def _check_safe(url: httpx2.URL, what: str) -> None:
    # The library takes what is no name of a host for one, with its signs encoded.
    if not _HOST.fullmatch(url.raw_host):
        msg = f"{what} is without the name of a host"
        raise TransferError(msg, "give a URL such as https://api.github.com")
    if url.scheme != "https" and not (url.scheme == "http" and _is_loopback(url)):
        msg = f"{what} is not an address with https"
        raise TransferError(msg, "a policy, and the token for it, are not sent in the clear")


def _is_loopback(url: httpx2.URL) -> bool:
    if url.host == "localhost":
        return True
    try:
        return ipaddress.ip_address(url.host).is_loopback
    except ValueError:
        return False


def _origin(url: httpx2.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port


def _told(exc: Exception, host: str, bounds: Bounds) -> tuple[str, str]:
    if isinstance(exc, httpx2.TimeoutException):
        return f"{host} did not answer within {bounds.timeout_s:g} s", _LATER
    if _is_about_tls(exc):
        msg = f"the connection to {host} is not secure: its certificate or TLS was refused"
        return msg, "set SSL_CERT_FILE if your organisation has its own authority"
    return f"no connection to {host} ({type(exc).__name__})", _LATER


def _is_about_tls(exc: BaseException | None) -> bool:
    while exc is not None:
        if isinstance(exc, ssl.SSLError):
            return True
        exc = exc.__cause__ or exc.__context__
    return False
