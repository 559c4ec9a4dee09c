"""A GitHub on loopback: it remembers, it has GitHub's rules, and it reads every request.

Each request and each answer is held to GitHub's own description of its API where the npm
packages are there (`make test` installs them); what does not keep to it gets into
`violations`, and the end of the `with` block raises. Use::

    with GitHubServer() as server:                      # prefix="/api/v3": an Enterprise Server
        base = server.commit("org/repo", {"policy.yml": b"..."}, branch="main")
        head = server.commit("org/repo", {...}, parents=(base,), branch="topic")
        server.pull_requests["org/repo", 7] = PullRequest(
            base_sha=base, head_sha=head, head="org:topic"
        )
        server.comment("org/repo", 7, "somebody", "a comment")
        client_of(server.url, token=JOB_TOKEN)          # GITHUB_API_URL is server.url

        server.accounts[JOB_TOKEN].permissions = {"contents": "read"}   # what a fork gets
        server.accounts["other"] = Account(login="a-user", is_app=False)
        server.private.add("org/repo")                  # 404 but for accounts with it
        server.pull_requests["org/repo", 7].locked = True
        server.gone.add(("org/repo", 7))                # 410
        server.answers.append(refused(503, "down"))     # the next answer, whatever is asked
        server.before = lambda request: refused(502, "x") if request.method == "POST" else None

        server.comments, server.check_runs              # what there is now
        [request.line for request in server.requests]   # "GET /repos/org/repo/pulls/7"

Files at a commit are also `server.files["org/repo", COMMIT, "path"] = b"..."`; the contents API
sends them raw, too, so that policies can be read from here (`integrations/policy_git.py`).
What a state is made of: `github_state.py`. What is answered: `github_answers.py`.
"""

from __future__ import annotations

import json
import re
import threading
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import parse_qsl, unquote, urlsplit

import node_packages
import pytest
from git_host import Told
from github_answers import OPERATIONS, Answers
from github_description import Description, Question, description_in
from github_state import (
    JOB_LOGIN,
    JOB_TOKEN,
    Account,
    Change,
    Comment,
    PullRequest,
    State,
    commit_named,
    refused,
    told,
)

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "JOB_LOGIN",
    "JOB_TOKEN",
    "Account",
    "Change",
    "Comment",
    "GitHubServer",
    "PullRequest",
    "Request",
    "Told",
    "commit_named",
    "refused",
    "told",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What the server was asked; `path` is as it was sent, without the query."""

    method: str
    host: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    @property
    def line(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def token(self) -> str | None:
        return self.headers.get("authorization")

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def described() -> Description | None:
    """Return GitHub's description; None where the npm packages are absent."""
    try:
        return description_in(node_packages.node_folder())
    except pytest.skip.Exception:
        # One test that needs it says by name that it was skipped; the rules hold without it.
        return None


class GitHubServer(State):
    """Serve a state, and see to it that it is asked as GitHub would have it."""

    def __init__(self, *, prefix: str = "") -> None:
        super().__init__()
        self.prefix = prefix
        self.description = described()
        self.answers: list[Told] = []
        self.before: Callable[[Request], Told | None] = lambda _: None
        self.requests: list[Request] = []
        self.violations: list[str] = []
        self.lock = threading.Lock()
        handler = type("Handler", (_Handler,), {"owner": self})
        self._server = _Server(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        )
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{self.prefix}"

    @property
    def lines(self) -> list[str]:
        return [request.line for request in self.requests]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        self.close()
        if kind is None:
            assert not self.violations, "\n".join(self.violations)

    def answer(self, request: Request) -> Told:
        """Answer as GitHub would, after whatever a test has put before that."""
        self.requests.append(request)
        question = self._question(request)
        if question is not None and self.description is not None:
            self.violations += self.description.problems_of_request(question)
        if self.answers:
            return self.answers.pop(0)
        if (first := self.before(request)) is not None:
            return first
        if question is None:
            self.violations.append(f"no such operation: {request.line}")
            return refused(404, "Not Found")
        if request.token is None:
            return self._true_answer(question, None)
        _, _, token = request.token.partition(" ")
        if token not in self.accounts:
            return refused(401, "Bad credentials")
        return self._true_answer(question, self.accounts[token])

    def _true_answer(self, question: Question, account: Account | None) -> Told:
        whole = (lambda _, fields: fields) if self.description is None else self.description.whole
        answers = Answers(state=self, question=question, account=account, url=self.url, whole=whole)
        answer = answers.answer()
        is_json = answer.headers["Content-Type"].startswith("application/json")
        # Of a refusal the description often says nothing: its form is the same everywhere.
        if self.description is not None and is_json and answer.status < 300:
            body = b"".join(answer.body)
            self.violations += self.description.problems_of_answer(question, answer.status, body)
        return answer

    def _question(self, request: Request) -> Question | None:
        path = request.path.removeprefix(self.prefix)
        for method, template in OPERATIONS:
            pattern = re.sub(r"\{(\w+)\}", _group, template)
            found = re.fullmatch(pattern, path)
            if found and method == request.method.lower():
                return Question(
                    method=method,
                    template=template,
                    values={k: unquote(v) for k, v in found.groupdict().items()},
                    query=request.query,
                    headers=request.headers,
                    body=request.body,
                )
        return None


def _group(found: re.Match[str]) -> str:
    return f"(?P<{found[1]}>.+)" if found[1] == "path" else f"(?P<{found[1]}>[^/]+)"


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: a client that hangs up is part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    owner: GitHubServer

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 the base's name
        """Say nothing: tests look at `GitHubServer.requests`."""

    def do_GET(self) -> None:
        self._handle()

    def do_POST(self) -> None:
        self._handle()

    def do_PATCH(self) -> None:
        self._handle()

    def _handle(self) -> None:
        parts = urlsplit(self.path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(
            method=self.command,
            host=headers.get("host", ""),
            path=parts.path,
            query=dict(parse_qsl(parts.query, keep_blank_values=True)),
            headers=headers,
            body=self.rfile.read(int(headers.get("content-length", "0"))),
        )
        with self.owner.lock:
            try:
                answer = self.owner.answer(request)
            except Exception as exc:  # noqa: BLE001 - told at the end of the test
                self.owner.violations.append(f"{request.line}: {type(exc).__name__}: {exc}")
                answer = refused(500, "the fake is broken")
        self._send(answer)

    def _send(self, answer: Told) -> None:
        self.send_response(answer.status)
        for key, value in answer.headers.items():
            self.send_header(key, value)
        if answer.length:
            self.send_header("Content-Length", str(sum(map(len, answer.body))))
        self.end_headers()
        for piece in answer.body:
            time.sleep(answer.wait_s)
            self.wfile.write(piece)
            self.wfile.flush()
