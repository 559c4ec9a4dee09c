"""The GitHub of the tests has GitHub's rules, and reads what it is sent."""

import json
import urllib.error
import urllib.request

import github
import node_packages
import pytest
from github_server import (
    JOB_LOGIN,
    JOB_TOKEN,
    Account,
    GitHubServer,
    PullRequest,
    commit_named,
    refused,
)

from sdi_gate.integrations.policy_git import GitPolicies
from sdi_gate.policy.chain.references import PolicyRef, Scheme

REPO = "org/repo"
AT_ONCE = {"seconds_between_requests": 0, "seconds_between_writes": 0}


@pytest.fixture
def server():
    with GitHubServer(prefix="/api/v3") as server:
        base = server.commit(REPO, {"a": b"1", "f/b": b"2"}, branch="main")
        head = server.commit(REPO, {"a": b"1", "f/b": b"3", "c": b""}, parents=(base,), branch="t")
        server.pull_requests[REPO, 7] = PullRequest(base_sha=base, head_sha=head, head="org:t")
        yield server


def client_of(server, token=JOB_TOKEN):
    auth = github.Auth.Token(token)
    return github.Github(auth=auth, base_url=server.url, retry=None, **AT_ONCE)


def post(server, path, body, **headers):
    request = urllib.request.Request(  # noqa: S310 - loopback
        f"{server.url}{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    for name, value in headers.items():
        request.add_header(name, value)
    try:
        with urllib.request.urlopen(request) as answer:  # noqa: S310 - loopback
            return answer.status
    except urllib.error.HTTPError as exc:
        with exc:
            return exc.code


def test_requests_and_answers_are_held_to_the_description_that_github_publishes(server):
    node_packages.node_folder()  # skips by name where the packages are absent
    assert server.description is not None
    post(server, f"/repos/{REPO}/issues/7/comments", {"body": "x", "bodi": "y"})
    post(server, f"/repos/{REPO}/issues/x/comments", {"body": "x"})
    post(server, f"/repos/{REPO}/check-runs?q=1", {"name": "x", "head_sha": "y"})
    post(server, f"/repos/{REPO}/check-runs", {"head_sha": "y", "conclusion": "failed"})
    with pytest.raises(github.GithubException):
        client_of(server).get_repo(REPO).get_labels()[0]
    seen, server.violations = "\n".join(server.violations), []
    assert "unknown field bodi" in seen
    assert "Path parameter error: issue_number" in seen
    assert "unknown query parameter q" in seen
    assert "'failed' is not one of" in seen
    assert f"no such operation: GET /api/v3/repos/{REPO}/labels" in seen


def test_a_violation_ends_the_test_that_made_it():
    with pytest.raises(AssertionError, match="no such operation"), GitHubServer() as server:
        post(server, "/nothing", {})


def test_an_independent_client_is_content_with_every_answer(server):
    repo = client_of(server).get_repo(REPO)
    pull = repo.get_pull(7)
    base, head = pull.base.sha, pull.head.sha
    assert repo.default_branch == "main"
    assert repo.get_commit("heads/main").sha == base
    assert repo.compare(base, head).merge_base_commit.sha == base
    assert [file.filename for file in repo.compare(base, head).files] == ["c", "f/b"]
    assert repo.get_contents("f/b", ref=head).decoded_content == b"3"
    assert pull.changed_files == 2
    assert [file.filename for file in pull.get_files()] == ["c", "f/b"]
    assert [found.number for found in repo.get_pulls(head="org:t")] == [7]
    assert [found.number for found in repo.get_commit(head).get_pulls()] == [7]
    run = repo.create_check_run("x", head, status="completed", conclusion="success")
    run.edit(output={"title": "t", "summary": "s"})
    assert server.check_runs[0]["output"]["title"] == "t"


def test_lists_have_pages_of_thirty_and_links(server):
    for number in range(64):
        server.comment(REPO, 7, "somebody", f"comment {number}")
    comments = list(client_of(server).get_repo(REPO).get_pull(7).get_issue_comments())
    assert [comment.body for comment in comments] == [f"comment {n}" for n in range(64)]
    asked = [one.query for one in server.requests if one.line.endswith("/issues/7/comments")]
    assert len(asked) == 3


def test_a_comment_is_by_who_owns_the_token_and_nobody_else_may_edit_it(server):
    server.accounts["other"] = Account(login="somebody", is_app=False)
    pull = client_of(server).get_repo(REPO).get_pull(7)
    made = pull.create_issue_comment("x" * 65_536)
    assert made.user.login == JOB_LOGIN
    with pytest.raises(github.GithubException, match="422"):
        made.edit("x" * 65_537)
    theirs = client_of(server, "other").get_repo(REPO).get_pull(7)
    with pytest.raises(github.GithubException, match="403"):
        theirs.get_issue_comments()[0].edit("mine now")


def test_what_a_job_may_not_do_is_refused_with_the_permission_that_is_missing(server):
    server.accounts[JOB_TOKEN].permissions = {"contents": "read"}
    pull = client_of(server).get_repo(REPO).get_pull(7)
    with pytest.raises(github.GithubException) as caught:
        pull.create_issue_comment("x")
    assert caught.value.status == 403
    wanted = "issues=write; pull_requests=write"
    assert caught.value.headers["x-accepted-github-permissions"] == wanted


def test_a_check_that_has_ended_has_a_conclusion(server):
    head = server.branches[REPO, "t"]
    body = {"name": "x", "head_sha": head, "status": "completed"}
    token = f"Bearer {JOB_TOKEN}"
    assert post(server, f"/repos/{REPO}/check-runs", body, Authorization=token) == 422


def test_a_private_repository_is_not_there_for_those_who_may_not_see_it(server):
    server.private.add(REPO)
    with pytest.raises(github.UnknownObjectException):
        client_of(server).get_repo(REPO)
    server.accounts[JOB_TOKEN].repositories = frozenset({REPO})
    assert client_of(server).get_repo(REPO).default_branch == "main"


def test_a_token_that_nobody_has_is_refused(server):
    with pytest.raises(github.BadCredentialsException):
        client_of(server, "nobody").get_repo(REPO)


def test_switches_come_before_what_is_true(server):
    server.answers.append(refused(503, "down"))
    server.before = lambda request: refused(502, "x") if "pulls" in request.path else None
    client = client_of(server)
    with pytest.raises(github.GithubException, match="503"):
        client.get_repo(REPO)
    repo = client.get_repo(REPO)
    with pytest.raises(github.GithubException, match="502"):
        repo.get_pull(7)


def test_policies_are_read_from_here_too(server):
    commit = commit_named("policy")
    server.files[REPO, commit, "policies/base.yml"] = b"version: 1\n"
    ref = PolicyRef(scheme=Scheme.GIT, repository=REPO, commit=commit, path="policies/base.yml")
    assert GitPolicies(api_url=server.url, token=JOB_TOKEN).read(ref) == b"version: 1\n"
