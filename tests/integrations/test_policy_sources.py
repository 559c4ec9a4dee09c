"""Policies from a Git host and from the Hub, over real HTTP on loopback."""

from __future__ import annotations

import errno
import gzip
import os
import socket
import ssl
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import httpx2
import pytest
from certificates import own_certificate
from git_host import RAW, GitHost, Told
from hub_server import HubServer
from huggingface_hub import constants
from huggingface_hub.file_download import HfFileMetadata
from huggingface_hub.utils import close_session

from sdi_gate.errors import ExitCode, IntegrityError, PolicyError
from sdi_gate.integrations.policy_git import GitPolicies
from sdi_gate.integrations.policy_hub import HubPolicies, _checked
from sdi_gate.integrations.policy_sources import RemotePolicies
from sdi_gate.integrations.policy_transfer import Bounds, TransferError, _target
from sdi_gate.policy.chain.references import PolicyRef, Scheme, parse_reference
from sdi_gate.policy.loader import load_policy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

COMMIT = "0123456789abcdef0123456789abcdef01234567"
REF = parse_reference(f"owner/rules//policies/base.yml@{COMMIT}")
CONTENT = b"""apiVersion: sdi-gate/v1
kind: Policy
metadata: {name: parent}
limits:
  sdi: {fail: 0.5}
"""
CHILD = """apiVersion: sdi-gate/v1
kind: Policy
metadata: {name: child}
extends: REF
limits:
  sdi: {fail: 0.4}
"""
TOKEN = "ghp_not_a_real_token"  # noqa: S105 a test's
FILE = ("owner/rules", COMMIT, "policies/base.yml")


@pytest.fixture(autouse=True)
def _environment_of_no_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    # The Hub's client reads the environment when it is imported; telemetry would leave loopback.
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    for name in ("HF_TOKEN", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    yield
    close_session()


@pytest.fixture
def host() -> Iterator[GitHost]:
    with GitHost() as server:
        server.files[FILE] = CONTENT
        yield server


@pytest.fixture
def read(host: GitHost) -> Callable[..., bytes]:
    """Read the policy with a fresh reader, whose waits are counted and not waited."""

    def run(ref: PolicyRef = REF, *, token: str | None = None, **bounds: float) -> bytes:
        limits = Bounds(**({"timeout_s": 5.0} | bounds))
        waits.clear()
        reader = GitPolicies(api_url=host.url, token=token, bounds=limits, sleep=waits.append)
        assert TOKEN not in repr(reader)
        return reader.read(ref)

    waits: list[float] = []
    run.waits = waits
    return run


def refused(call: Callable[[], bytes], words: str) -> PolicyError:
    with pytest.raises(PolicyError, match=words) as caught:
        call()
    shown = f"{caught.value.message}\n{caught.value.hint}"
    assert caught.value.exit_code is ExitCode.POLICY
    assert str(REF) in shown or "hf:" in shown
    assert caught.value.hint
    assert TOKEN not in shown
    return caught.value


# A Git host.


def test_a_file_is_read_at_its_commit(host, read):
    assert read() == CONTENT
    assert host.paths == [f"/repos/owner/rules/contents/policies/base.yml?ref={COMMIT}"]
    headers = host.requests[0].headers
    assert headers["accept"] == "application/vnd.github.raw+json"
    assert headers["accept-encoding"] == "identity"
    assert headers["user-agent"] == "sdi-gate"
    assert host.tokens == [None]


def test_another_commit_is_another_file(read):
    other = f"owner/rules//policies/base.yml@{'f' * 40}"
    with pytest.raises(PolicyError, match="404"):
        read(parse_reference(other))


def test_the_token_is_sent_to_the_host(host, read):
    host.token = TOKEN
    assert read(token=TOKEN) == CONTENT
    assert host.tokens == [f"Bearer {TOKEN}"]


def test_a_root_below_a_path_is_kept_as_an_own_server_has_it(host):
    with pytest.raises(PolicyError, match="404"):
        GitPolicies(api_url=f"{host.url}/api/v3/").read(REF)
    assert host.paths[0].startswith("/api/v3/repos/owner/rules/contents/")


HOSTILE = {
    "a-query": ("a?ref=main", "a%3Fref%3Dmain"),
    "a-fragment": ("a#b", "a%23b"),
    "an-encoded-slash": ("a%2Fb", "a%252Fb"),
    "encoded-dots": ("%2e%2e/x", "%252e%252e/x"),
    "a-line-break": ("a\r\nX-Y: z", "a%0D%0AX-Y%3A%20z"),
    "letters-of-other-scripts": ("é", "%C3%A9"),
    "a-backslash": ("..\\x", "..%5Cx"),
}


@pytest.mark.parametrize(("path", "sent"), HOSTILE.values(), ids=HOSTILE)
def test_no_path_becomes_a_query_or_another_request(path, sent, host, read):
    # No such path is a reference; the reader does not rely on that.
    ref = PolicyRef(scheme=Scheme.GIT, repository="owner/rules", commit=COMMIT, path=path)
    host.files["owner/rules", COMMIT, path] = CONTENT
    assert read(ref) == CONTENT
    assert host.paths == [f"/repos/owner/rules/contents/{sent}?ref={COMMIT}"]


@pytest.mark.parametrize("path", ["../x", "a/../../x", "a/./b", "a//b", "/a", ""])
def test_no_path_climbs_out_of_the_repository(path, host, read):
    ref = PolicyRef(scheme=Scheme.GIT, repository="owner/rules", commit=COMMIT, path=path)
    with pytest.raises(PolicyError, match="a part of its path is empty"):
        read(ref)
    assert host.paths == []


def test_no_commit_injects_a_query(host, read):
    ref = PolicyRef(scheme=Scheme.GIT, repository="o/r", commit="x&ref=main", path="a")
    with pytest.raises(PolicyError, match="404"):
        read(ref)
    assert host.paths == ["/repos/o/r/contents/a?ref=x%26ref%3Dmain"]


@pytest.mark.parametrize(
    "token", ["a b", "a\nX-Evil: 1", "a\r", "\u00e9"], ids=["space", "line", "return", "no-ascii"]
)
def test_a_token_that_is_none_is_not_sent(token, host, read):
    error = refused(lambda: read(token=token), "the token holds a space, a line break")
    assert token not in error.message
    assert host.requests == []


# What it answers instead.

REFUSALS = {
    "401": (Told(401), "refused the token", "contents: read"),
    "403": (Told(403), "403.*contents: read is missing", "single sign-on"),
    "403-limit": (Told(403, {"X-RateLimit-Remaining": "0"}), "limits requests", "wait"),
    "403-secondary": (Told(403, {"Retry-After": "60"}), "limits requests", "wait"),
    "404": (Told(404), r"no such repository, commit or file, or it is private \(404", "private"),
    "410": (Told(410), "410", "GITHUB_API_URL"),
    "304": (Told(304), "304", "GITHUB_API_URL"),
    "204": (Told(204), "204", "GITHUB_API_URL"),
    "429": (Told(429, {"Retry-After": "3600"}), "limits requests.*429", "wait"),
    "500-later": (Told(500, {"Retry-After": "3600"}), "500", "later"),
    "503-a-date": (Told(503, {"Retry-After": "Mon, 23 Nov 2026 00:00:00 GMT"}), "503", "later"),
    "html": (Told(200, {"Content-Type": "text/html"}, [b"<html>"]), "web page", "sign-in"),
    "html-as-raw": (Told(200, {"Content-Type": RAW}, [b"\n <!DOCTYPE"]), "web page", "sign-in"),
    "folder": (Told(200, {"Content-Type": "application/json"}, [b"[]"]), "a listing", "a file"),
    "compressed": (
        Told(200, {"Content-Encoding": "gzip"}, [gzip.compress(b"x" * 10**6)]),
        "compressed",
        "proxies",
    ),
    "no-length": (Told(200, {"Content-Type": RAW}, [CONTENT], False), "how long", "proxies"),
}


@pytest.mark.parametrize(("told", "words", "hint"), REFUSALS.values(), ids=REFUSALS)
def test_every_other_answer_is_one_clear_error_without_a_second_attempt(
    told, words, hint, host, read
):
    host.answers = [told]
    error = refused(lambda: read(token=TOKEN), words)
    assert hint in error.hint
    assert f"127.0.0.1:{host.port}" in error.message
    assert len(host.requests) == 1


def test_a_private_repository_without_a_token_is_explained(host, read):
    host.token = TOKEN
    without = refused(read, "or it is private")
    assert "set GITHUB_TOKEN to a token with the permission contents: read" in without.hint
    host.answers = [Told(404)]
    with_one = refused(lambda: read(token=TOKEN), "or it is private")
    assert "the token of a workflow job reads its own repository only" in with_one.hint


@pytest.mark.parametrize(
    ("headers", "waited"), [({}, 1.0), ({"Retry-After": "3"}, 3.0)], ids=["soon", "told"]
)
@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_one_second_attempt_is_made_where_a_short_wait_can_help(
    status, headers, waited, host, read
):
    host.answers = [Told(status, headers)]
    assert read() == CONTENT
    assert read.waits == [waited]
    host.answers = [Told(status, headers), Told(status, headers)]
    refused(read, str(status))
    assert len(host.requests) == 4


# Bounds.


def test_a_file_that_is_announced_too_large_is_not_read(host, read):
    headers = {"Content-Type": RAW, "Content-Length": "1000001"}
    host.answers = [Told(200, headers, [CONTENT], length=False)]
    refused(read, "larger than 1,000,000 bytes")
    host.files[FILE] = b"#" * 1_000_000
    assert len(read()) == 1_000_000


def test_a_file_that_never_ends_is_cut_off(host, read):
    chunk = b"10000\r\n" + b"#" * 65536 + b"\r\n"
    headers = {"Content-Type": RAW, "Transfer-Encoding": "chunked"}
    host.answers = [Told(200, headers, [chunk] * 200, length=False)]
    refused(read, "larger than 1,000,000 bytes")


def test_a_file_in_chunks_is_read_whole(host, read):
    pieces = [b"%x\r\n%s\r\n" % (len(line), line) for line in CONTENT.splitlines(keepends=True)]
    headers = {"Content-Type": RAW, "Transfer-Encoding": "chunked"}
    host.answers = [Told(200, headers, [*pieces, b"0\r\n\r\n"], length=False)]
    # http.server says HTTP/1.0, where chunks are none; the client looks at the header alone.
    assert read() == CONTENT


def test_a_file_that_is_cut_off_is_no_policy_with_fewer_limits(host, read):
    headers = {"Content-Type": RAW, "Content-Length": str(len(CONTENT) + 20)}
    host.answers = [Told(200, headers, [CONTENT], length=False)]
    refused(read, "no connection to 127.0.0.1")
    headers = {"Content-Type": RAW, "Transfer-Encoding": "chunked"}
    host.answers = [Told(200, headers, [b"5\r\nlimit\r\n"], length=False)]
    refused(read, "no connection to 127.0.0.1")


def test_a_silent_server_is_not_waited_for(host, read):
    host.answers = [Told(200, {"Content-Type": RAW}, [CONTENT], wait_s=1.0)]
    refused(lambda: read(timeout_s=0.1), "did not answer within 0.1 s")


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;why="


@contextmanager
def dripping(head: bytes, *, seconds: float) -> Iterator[str]:
    """Serve one answer that begins like this and then goes on with a byte now and then."""

    def serve() -> None:
        with suppress(OSError):
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(head)
                while not ended.wait(0.02):
                    connection.sendall(b"a")

    ended = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(seconds)
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}"
        finally:
            ended.set()
            thread.join()


def test_a_server_that_drips_is_not_waited_for(host, read):
    drops = [bytes([byte]) for byte in CONTENT]
    host.answers = [Told(200, {"Content-Type": RAW}, drops, wait_s=0.02)]
    refused(lambda: read(total_s=0.2), "did not send the file within 0.2 s")


HEADS = {"head": b"HTTP/1.1 200 OK\r\nX-Why: ", "chunk": CHUNKED}


@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
def test_a_server_that_drips_its_head_is_not_waited_for(head):
    # No piece of the file arrives, between two of which the time could be looked at.
    with dripping(head, seconds=3.0) as url:
        reader = GitPolicies(api_url=url, bounds=Bounds(timeout_s=2.0, total_s=0.2))
        started = time.monotonic()
        refused(lambda: reader.read(REF), "did not send the file within 0.2 s")
        assert time.monotonic() - started < 2.0


def test_a_server_that_is_not_there_is_told():
    with GitHost() as gone:
        reader = GitPolicies(api_url=gone.url, token=TOKEN)
    refused(lambda: reader.read(REF), "no connection to 127.0.0.1")


# Redirects.


def redirect(to: str, status: int = 302) -> Told:
    return Told(status, {"Location": to})


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_within_the_host_is_followed_with_the_token(status, host, read):
    host.token = TOKEN
    target = f"/repos/owner/rules/contents/policies/base.yml?ref={COMMIT}&moved=1"
    host.answers = [redirect(target, status)]
    assert read(token=TOKEN) == CONTENT
    assert host.tokens == [f"Bearer {TOKEN}"] * 2


def test_the_token_does_not_follow_to_another_host_nor_back(host, read):
    path = f"/repos/owner/rules/contents/policies/base.yml?ref={COMMIT}"
    with GitHost() as other:
        other.files[FILE] = CONTENT
        host.answers = [redirect(f"{other.url}{path}")]
        assert read(token=TOKEN) == CONTENT
        # The same machine under another name, and another port: both are other origins.
        host.answers = [redirect(f"http://localhost:{host.port}{path}")]
        assert read(token=TOKEN) == CONTENT
        assert other.tokens == [None]
        assert host.tokens == [f"Bearer {TOKEN}", f"Bearer {TOKEN}", None]


def test_three_redirects_are_followed_and_no_fourth(host, read):
    path = f"/repos/owner/rules/contents/policies/base.yml?ref={COMMIT}"
    host.answers = [redirect(path)] * 3
    assert read() == CONTENT
    host.answers = [redirect(path)] * 4
    refused(read, "redirects more than 3 times")
    host.answers.clear()
    assert len(host.requests) == 8


TARGETS = {
    "plain-http": ("http://example.org/x", "not an address with https"),
    "a-file": ("file:///etc/passwd", "without the name of a host"),
    "a-password": ("https://user:secret@example.org/", "an address with a user name"),
    "no-url": ("https://[secret", "without the name of a host"),
    "no-port": ("https://example.org:secret/", "no connection to"),
    "another-scheme": ("ftp://example.org/x", "not an address with https"),
}


@pytest.mark.parametrize(("target", "words"), TARGETS.values(), ids=TARGETS)
def test_no_redirect_leads_to_a_place_that_may_not_be_asked(target, words, host, read):
    host.answers = [redirect(target)]
    error = refused(lambda: read(token=TOKEN), words)
    assert "secret" not in error.message
    assert len(host.requests) == 1


@pytest.mark.parametrize("target", ["http://127.0.0.1:1/", "http://localhost/", "https://[::1]/"])
def test_no_server_elsewhere_redirects_to_this_machine(target):
    asked = httpx2.URL("https://git.example.org/x")
    told = httpx2.Response(302, headers={"Location": target})
    with pytest.raises(TransferError, match=r"git\.example\.org redirects to this machine"):
        _target(told, asked)
    assert _target(told, httpx2.URL("http://127.0.0.1:2/x")) == httpx2.URL(target)


# The address of the host.

ADDRESSES = {
    "plain-http": "http://git.example.org",
    "a-password": "https://user:secret@git.example.org",
    "a-query": "https://git.example.org?x=secret",
    "a-fragment": "https://git.example.org#secret",
    "no-scheme": "git.example.org",
    "another-scheme": "ftp://git.example.org",
    "no-host": "https://",
    "no-url": "https://[secret",
    "no-port": "https://git.example.org:secret",
}


@pytest.mark.parametrize("address", ADDRESSES.values(), ids=ADDRESSES)
def test_only_https_and_loopback_are_asked(address):
    reader = GitPolicies(api_url=address, token=TOKEN)
    error = refused(lambda: reader.read(REF), "GITHUB_API_URL is")
    assert "secret" not in f"{error.message}{error.hint}"


def test_a_certificate_that_nobody_vouches_for_is_refused(tmp_path):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(own_certificate(tmp_path))
    with GitHost(context) as server:
        server.files[FILE] = CONTENT
        reader = GitPolicies(api_url=server.url, token=TOKEN, sleep=pytest.fail)
        error = refused(lambda: reader.read(REF), "certificate or TLS was refused")
        assert "SSL_CERT_FILE" in error.hint
        assert server.requests == []


# The Hub.


@pytest.fixture
def hub() -> Iterator[HubServer]:
    with HubServer() as server:
        yield server


@pytest.fixture
def on_hub(hub: HubServer, tmp_path: Path) -> PolicyRef:
    folder = tmp_path / "repository"
    (folder / "policies").mkdir(parents=True)
    (folder / "policies" / "base.yml").write_bytes(CONTENT)
    return parse_reference(f"hf:org/rules@{hub.commit('org/rules', folder)}//policies/base.yml")


@pytest.fixture
def read_hub(hub: HubServer, on_hub: PolicyRef, tmp_path: Path) -> Callable[..., bytes]:
    """Read the policy with a fresh reader, as a fresh process would."""

    def run(ref: PolicyRef = on_hub, **options: object) -> bytes:
        given = {"timeout_s": 5.0} | options
        reader = HubPolicies(endpoint=hub.url, cache_folder=tmp_path / "cache", **given)
        assert TOKEN not in repr(reader)
        return reader.read(ref)

    return run


def test_a_file_of_the_hub_is_read_at_its_commit(hub, on_hub, read_hub):
    assert read_hub() == CONTENT
    path = f"/org/rules/resolve/{on_hub.commit}/policies/base.yml"
    assert set(hub.paths()) == {path}


def test_the_hub_is_asked_each_time_and_the_file_fetched_once(hub, read_hub):
    assert read_hub() == read_hub() == CONTENT
    assert len(hub.paths("GET")) == 1


def test_offline_the_cache_is_enough_and_is_held_to_its_digest(hub, read_hub, tmp_path):
    refused(lambda: read_hub(offline=True), "offline, and .* is not in the cache")
    read_hub()
    asked = len(hub.requests)
    assert read_hub(offline=True) == CONTENT
    (blob,) = (tmp_path / "cache" / "models--org--rules" / "blobs").iterdir()
    blob.write_bytes(CONTENT.replace(b"0.5", b"0.9"))
    refused(lambda: read_hub(offline=True), "does not hold what was promised")
    assert len(hub.requests) == asked
    assert read_hub() == CONTENT


def test_whoever_writes_to_the_cache_does_not_write_the_policy(on_hub, read_hub, tmp_path):
    read_hub()
    repo = tmp_path / "cache" / "models--org--rules"
    link = repo / "snapshots" / on_hub.commit / "policies" / "base.yml"
    link.unlink()
    link.write_bytes(CONTENT.replace(b"0.5", b"0.9"))
    refused(read_hub, "does not hold what was promised")
    assert read_hub() == CONTENT


def test_the_hub_gets_the_token_and_shows_no_private_repository_without_it(hub, read_hub):
    hub.repos["org/rules"].tokens = frozenset({TOKEN})
    error = refused(read_hub, "was not found on 127.0.0.1.*or it is private")
    assert "HF_TOKEN" in error.hint
    assert read_hub(token=TOKEN) == CONTENT
    error = refused(lambda: read_hub(token=f"{TOKEN} \n"), "the token for .* holds a space")


HUB_REFUSALS = {
    "gated": ({"gated": True, "tokens": frozenset({"another"})}, {}, "is gated on"),
    "disabled": ({"disabled": True}, {}, "was disabled on"),
    "down": ({}, {"file_status": 503}, r"could not answer.*503"),
    "limited": ({}, {"file_status": 429}, "limits requests"),
    "forbidden": ({}, {"file_status": 403}, "forbids"),
    "no-metadata": ({}, {"no_metadata": True}, "another commit"),
    "rotten": ({}, {"rotten": {"policies/base.yml"}}, "does not hold what was promised"),
    "credentials": ({}, {"invalid_credentials": True}, "401"),
}


@pytest.mark.parametrize(("repo", "faults", "words"), HUB_REFUSALS.values(), ids=HUB_REFUSALS)
def test_every_other_answer_of_the_hub_is_one_clear_error(
    repo, faults, words, hub, read_hub, monkeypatch
):
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    for changed, changes in ((hub.repos["org/rules"], repo), (hub.faults, faults)):
        for name, value in changes.items():
            setattr(changed, name, value)
    refused(lambda: read_hub(token=TOKEN), words)


def test_a_silent_hub_is_not_waited_for(hub, read_hub):
    hub.faults.wait = threading.Event()
    refused(lambda: read_hub(timeout_s=0.2), "did not answer in time")


def test_a_path_or_a_commit_that_is_not_on_the_hub_is_told(on_hub, read_hub):
    missing = parse_reference(f"hf:org/rules@{on_hub.commit}//other.yml")
    refused(lambda: read_hub(missing), "has no file 'other.yml'")
    moved = parse_reference(f"hf:org/rules@{COMMIT}//policies/base.yml")
    refused(lambda: read_hub(moved), "no revision")


def test_a_hub_that_answers_for_another_commit_is_not_believed(hub, on_hub, read_hub):
    repo = hub.repos["org/rules"]
    repo.branches[COMMIT] = on_hub.commit
    pinned = parse_reference(f"hf:org/rules@{COMMIT}//policies/base.yml")
    refused(lambda: read_hub(pinned), f"answered for another commit: '{on_hub.commit}'")


def test_a_large_file_of_the_hub_is_not_fetched(hub, read_hub, tmp_path):
    (tmp_path / "repository" / "policies" / "large.yml").write_bytes(b"#" * 1_000_001)
    commit = hub.commit("org/rules", tmp_path / "repository")
    ref = parse_reference(f"hf:org/rules@{commit}//policies/large.yml")
    refused(lambda: read_hub(ref), "larger than 1,000,000 bytes")
    assert hub.paths("GET") == []


PROMISES = {
    "no-size": {"size": None, "etag": "0" * 40},
    "no-digest": {"size": 10, "etag": None},
    "no-such-digest": {"size": 10, "etag": "W/1"},
}


@pytest.mark.parametrize("promise", PROMISES.values(), ids=PROMISES)
def test_a_hub_that_promises_no_size_or_no_digest_is_not_believed(promise, on_hub):
    found = HfFileMetadata(commit_hash=on_hub.commit, location="", xet_file_data=None, **promise)
    with pytest.raises(IntegrityError, match="promises no size or no digest"):
        _checked(found, on_hub)


@pytest.fixture
def plain_cache(on_hub, tmp_path):
    """The file in a cache without links, as Windows has it."""
    repo = tmp_path / "cache" / "models--org--rules"
    path = repo / "snapshots" / on_hub.commit / "policies" / "base.yml"
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT)
    return path


def test_offline_a_cache_without_links_is_read(read_hub, plain_cache):
    assert read_hub(offline=True) == CONTENT
    plain_cache.write_bytes(b"#" * 1_000_001)
    refused(lambda: read_hub(offline=True), "larger than 1,000,000 bytes")


def test_a_cache_that_cannot_be_read_is_told(read_hub, plain_cache, monkeypatch):
    def refuse(self, *_rest):
        assert self == plain_cache
        raise OSError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "open", refuse)
    refused(lambda: read_hub(offline=True), "the cache cannot be read: Permission denied")


# Both, as a policy sees them.


def test_a_policy_extends_one_of_a_git_host(host, tmp_path):
    path = tmp_path / "child.yml"
    path.write_text(CHILD.replace("REF", str(REF)), encoding="utf-8")
    loaded = load_policy(path, RemotePolicies(git_api_url=host.url))
    assert [level.policy.metadata.name for level in loaded.levels] == ["parent", "child"]
    path.write_text(CHILD.replace("REF", str(REF)).replace("0.4", "0.6"), encoding="utf-8")
    with pytest.raises(PolicyError, match="looser") as caught:
        load_policy(path, RemotePolicies(git_api_url=host.url))
    assert str(REF) in caught.value.message


def test_a_policy_extends_one_of_the_hub(hub, on_hub, tmp_path):
    hub.repos["org/rules"].tokens = frozenset({TOKEN})
    path = tmp_path / "child.yml"
    path.write_text(CHILD.replace("REF", str(on_hub)), encoding="utf-8")
    code = (
        "from sdi_gate.policy.loader import load_policy;"
        "from sdi_gate.integrations.policy_sources import RemotePolicies;"
        f"print(*(level.file for level in load_policy({str(path)!r}, RemotePolicies()).levels))"
    )
    # In a process of its own: the client reads the environment once.
    env = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    env |= {"HF_ENDPOINT": hub.url, "HF_TOKEN": TOKEN, "HF_HOME": str(tmp_path / "home")}
    env |= {"HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_XET": "1"}
    for more in ({}, {"HF_HUB_OFFLINE": "1"}):
        done = subprocess.run(  # noqa: S603 - the arguments are ours
            [sys.executable, "-c", code], check=True, env=env | more, capture_output=True, text=True
        )
        assert done.stdout.split() == [str(on_hub), str(path)]


def test_the_remote_reader_leaves_offline_mode_and_cache_to_the_client(
    plain_cache, on_hub, tmp_path, monkeypatch
):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    sources = RemotePolicies(git_token=TOKEN)
    assert sources.read(on_hub) == plain_cache.read_bytes()
    assert TOKEN not in repr(sources)


def test_a_file_is_not_read_by_the_remote_reader():
    with pytest.raises(ValueError, match="the loader reads it"):
        RemotePolicies().read(parse_reference("./base.yml"))


def test_no_client_is_loaded_where_nothing_is_remote():
    code = (
        "import sys; from sdi_gate.policy.loader import load_policy;"
        "from sdi_gate.integrations.policy_sources import RemotePolicies;"
        "load_policy('policies/default.yml', RemotePolicies());"
        "sys.exit(bool({'httpx2', 'huggingface_hub', 'torch'} & set(sys.modules)))"
    )
    done = subprocess.run(  # noqa: S603 - the arguments are ours
        [sys.executable, "-c", code], check=False, cwd=Path(__file__).parents[2]
    )
    assert done.returncode == 0
