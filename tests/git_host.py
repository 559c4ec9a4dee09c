"""A Git host on loopback: as much of GitHub's contents API as policies need, with switches.

Use::

    with GitHost() as host:
        host.files["owner/repo", COMMIT, "policies/base.yml"] = b"..."
        GitPolicies(api_url=host.url)
        host.answers.append(Told(503))  # answers before those that are true
        [request.path for request in host.requests]
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Self
from urllib.parse import parse_qs, unquote, urlsplit

if TYPE_CHECKING:
    import ssl

RAW = "application/vnd.github.raw+json; charset=utf-8"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What the host was asked."""

    host: str
    path: str
    headers: dict[str, str]

    @property
    def token(self) -> str | None:
        return self.headers.get("authorization")


@dataclass(slots=True)
class Told:
    """An answer that is given whatever the question.

    Attributes:
        status: Its status.
        headers: Its headers.
        body: Its pieces.
        length: Whether to say how long it is.
        wait_s: How long to wait before each piece.
    """

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: list[bytes] = field(default_factory=list)
    length: bool = True
    wait_s: float = 0.0


class GitHost:
    """Serve files of repositories at commits."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self.files: dict[tuple[str, str, str], bytes] = {}
        self.token: str | None = None
        self.answers: list[Told] = []
        self.requests: list[Request] = []
        handler = type("Handler", (_Handler,), {"owner": self})
        self._server = _Server(("127.0.0.1", 0), handler)
        self._scheme = "http"
        if context is not None:
            self._scheme = "https"
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        )
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self.port}"

    @property
    def paths(self) -> list[str]:
        return [request.path for request in self.requests]

    @property
    def tokens(self) -> list[str | None]:
        return [request.token for request in self.requests]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: a client that hangs up is part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    owner: GitHost

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 the base's name
        """Say nothing: tests look at `GitHost.requests`."""

    def do_GET(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(host=headers.get("host", ""), path=self.path, headers=headers)
        self.owner.requests.append(request)
        self._send(self.owner.answers.pop(0) if self.owner.answers else self._file(request))

    def _file(self, request: Request) -> Told:
        owner = self.owner
        if owner.token is not None and request.token not in {None, f"Bearer {owner.token}"}:
            return Told(401)
        parts = urlsplit(request.path)
        segments = parts.path.split("/")
        commit = parse_qs(parts.query).get("ref", [""])[0]
        if segments[1] != "repos" or segments[4] != "contents":
            return Told(404)
        name = (f"{segments[2]}/{segments[3]}", commit, unquote("/".join(segments[5:])))
        # A private repository does not exist for those who may not read it.
        if name not in owner.files or (owner.token is not None and request.token is None):
            return Told(404)
        return Told(200, {"Content-Type": RAW}, [owner.files[name]])

    def _send(self, told: Told) -> None:
        self.send_response(told.status)
        for key, value in told.headers.items():
            self.send_header(key, value)
        if told.length:
            self.send_header("Content-Length", str(sum(map(len, told.body))))
        self.end_headers()
        for piece in told.body:
            time.sleep(told.wait_s)
            self.wfile.write(piece)
            self.wfile.flush()
