"""A Hub on loopback: the protocol that huggingface_hub 2.4.0 speaks, with a switch per failure.

Large files are redirected to another origin (``localhost`` instead of ``127.0.0.1``), as the
real Hub redirects to its content network; the client must not send its token there.

Use::

    with HubServer() as hub:
        commit = hub.commit("org/model", folder)
        HubSource(endpoint=hub.url, ...)
        hub.repos["org/model"].gated = True
        hub.faults.status = 503
        [request.path for request in hub.requests]
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LARGE_SUFFIXES = (".safetensors", ".bin", ".gguf", ".model")
_INFO = re.compile(r"/api/models/(?P<repo>.+?)(/revision/(?P<revision>.+))?")
_TREE = re.compile(r"/api/models/(?P<repo>.+?)/tree/(?P<revision>[^/]+)(/(?P<under>.*))?")
_FILE = re.compile(r"/(?P<repo>[^/]+(/[^/]+)?)/resolve/(?P<revision>[^/]+)/(?P<name>.+)")
_BLOB = re.compile(r"/cdn/(?P<digest>[0-9a-f]{64})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What the server was asked."""

    method: str
    host: str
    path: str
    token: str | None


@dataclass(slots=True, kw_only=True)
class Repo:
    """A repository: immutable commits, movable branches, and who may read it."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    tokens: frozenset[str] | None = None  # None: everyone may read
    gated: bool = False
    disabled: bool = False

    def resolve(self, revision: str) -> str | None:
        revision = self.branches.get(revision, revision)
        return revision if revision in self.commits else None


@dataclass(slots=True, kw_only=True)
class Faults:
    """Switches; each is off by default.

    Attributes:
        status: Answer every question about a model (``/api``) with this status.
        file_status: Answer every question about a file with this status.
        rotten: Names of files whose bytes are served wrong, in the right size.
        short: Names of files that are served with one byte less than announced.
        wait: Wait for this event before answering; set by ``close`` at the latest.
        info: Change the answer about a model before it is sent.
        after_info: Called after an answer about a model was made.
        body: Send these bytes as the answer about a model.
        no_metadata: Leave out the headers that the client needs for a file.
        invalid_credentials: Say 401 as the Hub says it of a bad token.
    """

    status: int | None = None
    file_status: int | None = None
    rotten: set[str] = field(default_factory=set)
    short: set[str] = field(default_factory=set)
    wait: threading.Event | None = None
    info: Callable[[dict[str, Any]], None] | None = None
    after_info: Callable[[], None] | None = None
    body: bytes | None = None
    no_metadata: bool = False
    invalid_credentials: bool = False


class HubServer:
    """Serve repositories made from plain folders."""

    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}
        self.called: dict[str, str] = {}
        self.faults = Faults()
        self.requests: list[Request] = []
        handler = type("Handler", (_Handler,), {"hub": self})
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
        return f"http://127.0.0.1:{self.port}"

    @property
    def cdn_url(self) -> str:
        return f"http://localhost:{self.port}/cdn"

    def commit(self, name: str, folder: Path, *, branch: str = "main") -> str:
        """Copy a folder into a repository as the new head of a branch; return the commit."""
        files = {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }
        text = "".join(f"{branch} {name} {sha256(data)}" for name, data in files.items())
        commit = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
        repo = self.repos.setdefault(name, Repo())
        repo.commits[commit] = files
        repo.branches[branch] = commit
        return commit

    def answer_to(self, typed: str, name: str) -> None:
        """Answer to another name for a repository, too, and call it by its own."""
        self.repos[typed] = self.repos[name]
        self.called[typed] = name

    def paths(self, method: str | None = None) -> list[str]:
        """Return the paths that were asked for, without those of the client's telemetry."""
        return [
            request.path
            for request in self.requests
            if request.method == (method or request.method)
            and not request.path.startswith("/api/agent-harnesses")
        ]

    def close(self) -> None:
        if self.faults.wait is not None:
            self.faults.wait.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def git_sha1(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def is_large(name: str) -> bool:
    return name.endswith(LARGE_SUFFIXES)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: a client that hangs up is part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    hub: HubServer

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 the base's name
        """Say nothing: tests look at `HubServer.requests`."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        self.hub.requests.append(
            Request(
                method=self.command,
                host=self.headers.get("Host", ""),
                path=self.path,
                token=self.headers.get("Authorization"),
            )
        )
        if self.hub.faults.wait is not None:
            self.hub.faults.wait.wait()
        path = unquote(urlsplit(self.path).path)
        for pattern, answer in (
            (_BLOB, self._blob),
            (_TREE, self._tree),
            (_INFO, self._info),
            (_FILE, self._file),
        ):
            if match := pattern.fullmatch(path):
                answer(**{key: value for key, value in match.groupdict().items() if value})
                return
        self._send(404, {"X-Error-Code": "RepoNotFound"})

    def _info(self, repo: str, revision: str = "main") -> None:
        faults = self.hub.faults
        if faults.body is not None:
            self._send(200, {"Content-Type": "application/json"}, faults.body)
        elif faults.status is not None:
            self._send(faults.status)
        elif (found := self._commit_of(repo, revision)) is not None:
            files = self.hub.repos[repo].commits[found]
            siblings = [_sibling(name, data) for name, data in files.items()]
            name = self.hub.called.get(repo, repo)
            answer: dict[str, Any] = {"id": name, "modelId": name, "sha": found}
            answer |= {"siblings": siblings, "tags": [], "private": False}
            if faults.info is not None:
                faults.info(answer)
            if faults.after_info is not None:
                faults.after_info()
            self._send_json(answer)

    def _tree(self, repo: str, revision: str, under: str = "") -> None:
        found = self._commit_of(repo, revision)
        if found is None:
            return
        files = self.hub.repos[repo].commits[found].items()
        entries = [_tree_entry(name, data) for name, data in files if name.startswith(under)]
        if under and not entries:
            self._send(404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": found})
        else:
            self._send_json(entries)

    def _file(self, repo: str, revision: str, name: str) -> None:
        faults = self.hub.faults
        if faults.file_status is not None:
            self._send(faults.file_status)
            return
        found = self._commit_of(repo, revision)
        if found is None:
            return
        data = self.hub.repos[repo].commits[found].get(name)
        headers = {"X-Repo-Commit": found}
        if data is None:
            self._send(404, headers | {"X-Error-Code": "EntryNotFound"})
        elif faults.no_metadata:
            self._send(200, {}, data)
        elif is_large(name):
            headers |= {"X-Linked-Etag": f'"{sha256(data)}"', "X-Linked-Size": str(len(data))}
            location = f"{self.hub.cdn_url}/{sha256(data)}?signature=of-the-link"
            self._send(302, headers | {"Location": location})
        else:
            headers |= {"ETag": f'"{git_sha1(data)}"'}
            self._send_bytes(name, data, headers)

    def _blob(self, digest: str) -> None:
        for repo in self.hub.repos.values():
            for files in repo.commits.values():
                for name, data in files.items():
                    if is_large(name) and sha256(data) == digest:
                        self._send_bytes(name, data, {})
                        return
        self._send(404)

    def _commit_of(self, name: str, revision: str) -> str | None:
        repo = self.hub.repos.get(name)
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        if self.hub.faults.invalid_credentials:
            self._send(401, {"X-Error-Message": "Invalid credentials in Authorization header"})
        elif repo is None or (repo.tokens is not None and token not in repo.tokens):
            status, code = (403, "GatedRepo") if repo and repo.gated else (401, "RepoNotFound")
            self._send(status, {"X-Error-Code": code})
        elif repo.disabled:
            self._send(403, {"X-Error-Message": "Access to this resource is disabled."})
        elif (commit := repo.resolve(revision)) is None:
            self._send(404, {"X-Error-Code": "RevisionNotFound"})
        else:
            return commit
        return None

    def _send_bytes(self, name: str, data: bytes, headers: dict[str, str]) -> None:
        if name in self.hub.faults.rotten:
            data = bytes([data[0] ^ 1]) + data[1:]
        headers = headers | {"Accept-Ranges": "bytes"}
        status, start = 200, 0
        if match := re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", "")):
            status, start = 206, int(match.group(1))
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        short = self.command == "GET" and name in self.hub.faults.short
        self._send(status, headers, data[start : len(data) - 1 if short else None])

    def _send_json(self, answer: object) -> None:
        self._send(200, {"Content-Type": "application/json"}, json.dumps(answer).encode())

    def _send(self, status: int, headers: dict[str, str] | None = None, body: bytes = b"") -> None:
        self.send_response(status)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _sibling(name: str, data: bytes) -> dict[str, Any]:
    sibling: dict[str, Any] = {"rfilename": name, "size": len(data), "blobId": git_sha1(data)}
    if is_large(name):
        pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256(data)}\n"
        sibling["blobId"] = git_sha1(pointer.encode())
        sibling["lfs"] = {"size": len(data), "sha256": sha256(data), "pointerSize": len(pointer)}
    return sibling


def _tree_entry(name: str, data: bytes) -> dict[str, Any]:
    sibling = _sibling(name, data)
    entry = {"type": "file", "path": name, "size": len(data), "oid": sibling["blobId"]}
    if "lfs" in sibling:
        lfs = sibling["lfs"]
        entry["lfs"] = {
            "oid": lfs["sha256"],
            "size": lfs["size"],
            "pointerSize": lfs["pointerSize"],
        }
    return entry
