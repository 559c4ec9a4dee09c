"""What the tests of GitHub share: a server, a pull request on it, a client, and a clock."""

import pytest
from github_server import JOB_TOKEN, GitHubServer, PullRequest

from sdi_gate.integrations.github.client import GitHub
from sdi_gate.integrations.github.line import Bounds, Clock

REPO = "org/repo"


class Time:
    """A clock that passes when somebody sleeps, and only then."""

    def __init__(self):
        self.slept = []

    def sleep(self, seconds):
        self.slept.append(seconds)

    def now(self):
        return 1_000_000.0 + sum(self.slept)

    @property
    def clock(self):
        return Clock(sleep=self.sleep, monotonic=self.now, now=self.now)


@pytest.fixture
def clock():
    return Time()


@pytest.fixture
def server():
    with GitHubServer() as server:
        base = server.commit(REPO, {"sdi.yml": b"a", "old": b"x"}, branch="main")
        files = {"sdi.yml": b"b", "new": b"y"}
        head = server.commit(REPO, files, parents=(base,), branch="topic")
        server.pull_requests[REPO, 7] = PullRequest(base_sha=base, head_sha=head, head="org:topic")
        server.base, server.head = base, head
        yield server


@pytest.fixture
def client_of(clock):
    def make(server, *, token=JOB_TOKEN, url=None, **bounds):
        bounds = Bounds(**{"timeout_s": 5, **bounds})
        url = server.url if url is None else url
        return GitHub(api_url=url, token=token, bounds=bounds, clock=clock.clock)

    return make


@pytest.fixture
def client(client_of, server):
    return client_of(server)
