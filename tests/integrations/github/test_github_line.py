"""GitHub is asked within bounds, by whom it shall see, and its refusals are told in our words."""

import logging
import ssl
import time
import traceback

import pytest
from certificates import own_certificate
from git_host import GitHost, Told
from github_server import JOB_TOKEN, GitHubServer, refused, told

from sdi_gate.errors import ExitCode, SourceError
from sdi_gate.integrations.github.client import GitHub
from sdi_gate.integrations.github.errors import GitHubError
from sdi_gate.integrations.github.line import Bounds

REPO = "org/repo"
HOSTILE = "::error::x\n##[add-mask]y @everyone <script>"


def test_every_request_says_who_asks_and_in_which_version(client, server):
    client.default_branch(REPO)
    (request,) = server.requests
    assert request.headers["user-agent"] == "sdi-gate"
    assert request.headers["x-github-api-version"] == "2022-11-28"
    assert request.headers["accept"] == "application/vnd.github+json"
    assert request.token.split(" ")[1] == JOB_TOKEN


@pytest.mark.parametrize("token", [None, ""])
def test_without_a_token_none_is_sent(client_of, server, token):
    assert client_of(server, token=token).default_branch(REPO) == "main"
    assert server.requests[0].token is None


@pytest.mark.parametrize("slash", ["", "/"])
def test_an_enterprise_server_is_asked_below_its_prefix(client_of, slash):
    with GitHubServer(prefix="/api/v3") as server:
        server.commit(REPO, {"a": b"1"}, branch="main")
        client = client_of(server, url=f"{server.url}{slash}")
        assert client.default_branch(REPO) == "main"
        assert server.lines == [f"GET /api/v3/repos/{REPO}"]


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("http://github.example/api/v3", "not an address with https"),
        ("https://user:pass@github.example", "more than scheme, host and path"),
        ("ftp://127.0.0.1", "not an address with https"),
        ("github", "more than scheme, host and path"),
    ],
)
def test_an_address_that_would_give_the_token_away_is_refused(url, told):
    with pytest.raises(GitHubError, match=told) as caught:
        GitHub(api_url=url, token=JOB_TOKEN)
    assert "pass" not in caught.value.message
    assert caught.value.exit_code is ExitCode.SOURCE
    assert isinstance(caught.value, SourceError)


def test_without_an_address_it_is_githubs_own():
    assert GitHub().host == "api.github.com"


def test_a_token_with_a_line_break_is_refused_and_not_told():
    with pytest.raises(GitHubError, match="line break") as caught:
        GitHub(token="secret\nvalue")  # noqa: S106 - none
    assert "secret" not in f"{caught.value} {caught.value.hint} {caught.value.__context__}"


def test_the_token_is_in_no_representation(client):
    shown = f"{client!r} {client} {client._line._transport!r}"
    assert JOB_TOKEN not in shown
    assert "token=set" in shown


@pytest.mark.parametrize("status", [401, 403, 404, 410, 418, 422, 301, 302, 307, 308, 500, 503])
def test_a_refusal_is_told_with_the_host_and_the_status_and_without_its_words(
    client, server, status
):
    hostile = {"X-Accepted-GitHub-Permissions": "::error::", "Location": "https://evil.example"}
    server.before = lambda _: refused(status, HOSTILE, **hostile)
    with pytest.raises(GitHubError) as caught:
        client.default_branch(REPO)
    assert caught.value.status == status
    assert f"({status})" in caught.value.message
    assert f"127.0.0.1:{server.port} did not let us look up the default branch of org/repo" in (
        caught.value.message
    )
    assert caught.value.hint
    everything = "".join(traceback.format_exception(caught.value)) + caught.value.hint
    for word in (JOB_TOKEN, "evil", "everyone", "add-mask", "::error"):
        assert word not in everything


@pytest.mark.parametrize(
    ("header", "told"),
    [
        ("issues=write; pull_requests=write", "asks for is issues: write or pull-requests: write"),
        ("contents=read,issues=write", "asks for is contents: read and issues: write"),
        ("issues=write; ::error::x", "asks for is issues: write ("),
        ("<script>", "forbidden, or locked"),
        ("", "forbidden, or locked"),
    ],
)
def test_a_permission_that_is_missing_is_named(client, server, header, told):
    server.before = lambda _: refused(403, "x", X_Accepted_GitHub_Permissions=header)
    with pytest.raises(GitHubError) as caught:
        client.default_branch(REPO)
    assert told in caught.value.message
    assert "permissions:" in caught.value.hint


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_server_that_fails_is_asked_twice_more(client, server, clock, status):
    server.answers = [refused(status, "x"), refused(status, "x")]
    assert client.default_branch(REPO) == "main"
    assert clock.slept == [1.0, 3.0]
    server.answers = [refused(status, "x")] * 3
    with pytest.raises(GitHubError, match="the server failed"):
        client.default_branch(REPO)
    assert server.answers == []


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 410, 422])
def test_what_will_not_change_is_not_asked_again(client, server, clock, status):
    server.before = lambda _: refused(status, "x")
    with pytest.raises(GitHubError):
        client.default_branch(REPO)
    assert (len(server.requests), clock.slept) == (1, [])


LIMITS = {
    "429 with a time": (refused(429, "x", Retry_After="7"), [7.0]),
    "429 without": (refused(429, "x"), [60.0]),
    "403 with a time": (refused(403, "x", Retry_After="7"), [7.0]),
    "no time at all": (refused(429, "x", Retry_After="0"), [1.0]),
    "a time that is none": (refused(429, "x", Retry_After="soon"), [60.0]),
    "spent": (
        refused(403, "x", X_RateLimit_Remaining="0", X_RateLimit_Reset="1000010"),
        [11.0],
    ),
    "spent, reset long ago": (
        refused(403, "x", X_RateLimit_Remaining="0", X_RateLimit_Reset="5"),
        [1.0],
    ),
    "by its words": (refused(403, "You have exceeded a secondary rate limit"), [60.0]),
}


@pytest.mark.parametrize(("answer", "waits"), LIMITS.values(), ids=LIMITS.keys())
def test_a_limit_is_waited_for(client, server, clock, answer, waits):
    server.answers = [answer]
    assert client.default_branch(REPO) == "main"
    assert clock.slept == waits


def test_a_long_wait_is_not_begun(client, server, clock):
    server.answers = [refused(403, "x", X_RateLimit_Remaining="0", X_RateLimit_Reset="1003600")]
    with pytest.raises(GitHubError, match="requests are limited") as caught:
        client.default_branch(REPO)
    assert (caught.value.status, clock.slept) == (403, [])


def test_all_waits_together_are_bounded(client, server, clock):
    for _ in range(3):
        server.answers.append(refused(429, "x", Retry_After="25"))
        if sum(clock.slept) < 50:
            client.default_branch(REPO)
    with pytest.raises(GitHubError, match="requests are limited"):
        client.default_branch(REPO)
    assert clock.slept == [25.0, 25.0]


def test_a_limit_that_stays_is_given_up(client, server, clock):
    server.before = lambda _: refused(429, "x", Retry_After="2")
    with pytest.raises(GitHubError, match="429"):
        client.default_branch(REPO)
    assert clock.slept == [2.0, 2.0]


def test_a_call_has_an_end_however_often_it_may_ask(client_of, server):
    client = client_of(server, call_s=0.5)
    server.before = lambda _: refused(503, "x")
    with pytest.raises(GitHubError, match=r"was given 0.5 s, and did not end"):
        client.default_branch(REPO)
    assert len(server.requests) == 1


def test_a_server_that_is_not_there_is_one_clear_error(client_of, server, clock):
    with GitHost() as gone:
        url = gone.url
    with pytest.raises(GitHubError, match="broke the connection") as caught:
        client_of(server, url=url).default_branch(REPO)
    assert (caught.value.status, clock.slept) == (None, [1.0, 3.0])
    assert JOB_TOKEN not in "".join(traceback.format_exception(caught.value))


def test_a_slow_server_is_not_waited_for(client_of, server):
    client = client_of(server, timeout_s=1)
    server.before = lambda _: Told(200, {}, [b"{}"], wait_s=1.5)
    with pytest.raises(GitHubError, match="did not answer within 1 s"):
        client.default_branch(REPO)


def test_an_answer_in_drops_is_not_waited_for_either(client_of, server):
    client = client_of(server, answer_s=0.3)
    server.before = lambda _: Told(200, {}, [b" "] * 20, wait_s=0.1)
    start = time.monotonic()
    with pytest.raises(GitHubError, match=r"did not answer within 0.3 s"):
        client.default_branch(REPO)
    assert time.monotonic() - start < 2


def test_an_answer_without_an_end_is_left(client, server):
    server.before = lambda _: Told(200, {}, [b" " * 1024 * 1024] * 33)
    with pytest.raises(GitHubError, match="more than 33,554,432 bytes"):
        client.default_branch(REPO)


def test_an_answer_that_is_being_prepared_is_not_waited_for_without_an_end(client, server):
    server.before = lambda _: told(202, {})
    with pytest.raises(GitHubError, match="still preparing"):
        client.default_branch(REPO)
    assert len(server.requests) == 3


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_redirect_is_followed_and_the_token_stays_here(client, server, status):
    with GitHost() as other:
        url = other.url.replace("127.0.0.1", "localhost")
        server.before = lambda _: told(status, {}, Location=f"{url}/repos/org/repo")
        with pytest.raises(GitHubError, match=r"it has moved \(3"):
            client.default_branch(REPO)
        server.before = lambda _: told(status, {}, Location=f"{server.url}/repositories/5")
        with pytest.raises(GitHubError, match=r"it has moved \(3"):
            client.default_branch(REPO)
        assert other.requests == []
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("body", "told_"),
    [
        (b"<html>sign in", "not JSON"),
        (b"", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"\xff\xfe", "broke the connection"),
        (b"[]", "not an object"),
        (b"{}", "default_branch is not a text"),
        (b'{"default_branch": 5}', "default_branch is not a text"),
        (b'{"default_branch": ""}', "no name that can be printed"),
        (b'{"default_branch": "a\\nb"}', "no name that can be printed"),
    ],
    ids=["page", "nothing", "deep", "no text", "list", "without", "number", "empty", "lines"],
)
def test_an_answer_that_is_not_githubs_is_told_as_that(client, server, body, told_):
    server.before = lambda _: Told(200, {}, [body])
    with pytest.raises(GitHubError, match=told_):
        client.default_branch(REPO)


def test_numbers_in_headers_that_are_none_are_one_clear_error(client, server):
    server.before = lambda _: told(200, {}, X_RateLimit_Reset="x", X_RateLimit_Remaining="inf")
    with pytest.raises(GitHubError, match="broke the connection"):
        client.default_branch(REPO)


def test_a_certificate_that_nobody_knows_is_told_as_that(client_of, server, tmp_path):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(own_certificate(tmp_path))
    with GitHost(context) as host, pytest.raises(GitHubError, match="certificate or TLS"):
        client_of(server, url=host.url).default_branch(REPO)


def test_an_address_in_brackets_is_understood(client_of, server):
    with pytest.raises(GitHubError, match="broke the connection"):
        client_of(server, url="http://[::1]:9").default_branch(REPO)


def test_nothing_is_logged_whatever_happens(client, server, caplog, capfd):
    caplog.set_level(logging.DEBUG, logger="github")
    server.answers = [refused(403, "x", Retry_After="1"), refused(503, "x")]
    client.default_branch(REPO)
    assert [record for record in caplog.records if record.name.startswith("github")] == []
    assert capfd.readouterr() == ("", "")


def test_other_users_of_the_library_keep_its_connections(client, server):
    import github  # noqa: PLC0415 - not before ours

    client.default_branch(REPO)
    other = github.Github(base_url=server.url, retry=None)
    other.get_repo(REPO)
    kept = other.requester._Requester__connection
    assert type(kept).__module__ == "github.Requester"


@pytest.mark.parametrize("name", ["", "org", "a/b/c", "../x", "a/..", "a b/c", "a/b?x", "a\nb/c"])
def test_a_name_of_a_repository_leads_nowhere_else(client, server, name):
    with pytest.raises(GitHubError, match="not the name of a repository") as caught:
        client.default_branch(name)
    assert "\n" not in caught.value.message
    assert server.requests == []


def test_the_bounds_are_those_that_are_promised():
    bounds = Bounds()
    assert (bounds.timeout_s, bounds.waits_s) == (10, 60.0)
