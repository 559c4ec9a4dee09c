"""Commits, files and pull requests are read from GitHub, and what cannot be known is an error."""

import base64

import pytest
from github_server import Account, Change, PullRequest, commit_named, refused, told
from github_state import blob_id

from sdi_gate.integrations.github.errors import GitHubError

REPO = "org/repo"
OTHER = commit_named("another")


def read(client, path, commit, **more):
    return client.read_file(REPO, path, commit, **{"max_bytes": 1000, **more})


def changed(client, server, **more):
    about = {"pull_request": 7, "base_sha": server.base, "head_sha": server.head}
    return client.changed_files(REPO, **{**about, **more})


def found(client, server, head="org:topic"):
    return client.pull_request_of(REPO, head=head, head_sha=server.head)


def test_a_branch_means_its_newest_commit(client, server):
    server.branches[REPO, "a/b c#?"] = server.head
    assert client.commit_of(REPO, "heads/main") == server.base
    assert client.commit_of(REPO, "heads/a/b c#?") == server.head
    assert client.commit_of(REPO, server.base) == server.base
    assert server.requests[1].path == f"/repos/{REPO}/commits/heads%2Fa%2Fb%20c%23%3F"


@pytest.mark.parametrize("ref", ["", "..", "a/../b", "/a", "a/", "a//b", "./a", "a\nb"])
def test_a_name_that_no_branch_has_is_not_asked_for(client, server, ref):
    with pytest.raises(GitHubError, match="not the name of a branch or a commit"):
        client.commit_of(REPO, ref)
    assert server.requests == []


def test_a_commit_that_is_not_there_is_an_error(client):
    with pytest.raises(GitHubError, match="422") as caught:
        client.commit_of(REPO, OTHER)
    assert caught.value.status == 422


def test_a_branch_that_is_called_like_a_commit_does_not_stand_for_it(client, server):
    server.branches[REPO, OTHER] = server.head
    with pytest.raises(GitHubError, match="it is about another commit"):
        client.commit_of(REPO, OTHER)


@pytest.mark.parametrize("sha", [None, 5, "abc", "A" * 40, "x" * 40])
def test_what_is_no_commit_is_not_taken_for_one(client, server, sha):
    server.before = lambda _: told(200, {"sha": sha})
    with pytest.raises(GitHubError, match="sha is not 40 hex digits"):
        client.commit_of(REPO, "heads/main")


def test_the_merge_base_is_where_the_histories_part(client, server):
    main = server.commit(REPO, {"z": b"1"}, parents=(server.base,), branch="main")
    assert client.merge_base(REPO, main, server.head) == server.base
    with pytest.raises(GitHubError, match="404"):
        client.merge_base(REPO, server.commit(REPO, {}), server.head)


@pytest.mark.parametrize("commit", ["main", "", "ABC", "a" * 39])
def test_only_commits_in_full_are_compared_and_read(client, server, commit):
    for ask in (
        lambda: client.merge_base(REPO, commit, server.head),
        lambda: client.merge_base(REPO, server.head, commit),
        lambda: read(client, "sdi.yml", commit),
        lambda: changed(client, server, head_sha=commit),
        lambda: client.pull_request_of(REPO, head=None, head_sha=commit),
    ):
        with pytest.raises(GitHubError, match="is not a commit; expected 40 hex digits"):
            ask()
    assert server.requests == []


def test_a_file_is_read_at_a_commit(client, server):
    assert read(client, "sdi.yml", server.base) == b"a"
    assert read(client, "sdi.yml", server.head) == b"b"
    assert [one.query for one in server.requests] == [{"ref": server.base}, {"ref": server.head}]


def test_any_bytes_and_any_name_can_be_read(client, server):
    content = bytes(range(256)) * 3
    path = "a b/ü?#%2e&ref=main.yml"
    server.files[REPO, server.base, path] = content
    server.files[REPO, server.base, "empty"] = b""
    assert read(client, path, server.base) == content
    assert read(client, "empty", server.base) == b""


def test_a_file_that_the_commit_does_not_have_is_none(client, server):
    assert read(client, "nothing", server.base) is None
    assert server.lines[-1] == f"GET /repos/{REPO}/commits/{server.base}"


def test_a_commit_that_is_not_there_has_no_absent_files(client):
    with pytest.raises(GitHubError, match="422"):
        read(client, "sdi.yml", OTHER)


def test_a_repository_that_is_not_seen_has_no_absent_files(client, server):
    server.private.add(REPO)
    with pytest.raises(GitHubError, match="404"):
        read(client, "sdi.yml", server.base)


def test_a_file_that_may_not_be_read_is_not_absent(client, server):
    server.before = lambda _: refused(403, "x")
    with pytest.raises(GitHubError, match="403"):
        read(client, "sdi.yml", server.base)


def test_what_is_no_file_is_an_error(client, server):
    server.files[REPO, server.base, "folder/file"] = b""
    server.kinds[REPO, server.base, "link"] = "symlink"
    server.kinds[REPO, server.base, "module"] = "submodule"
    with pytest.raises(GitHubError, match="it is a folder"):
        read(client, "folder", server.base)
    for name in ("link", "module"):
        with pytest.raises(GitHubError, match="a link or a submodule"):
            read(client, name, server.base)


@pytest.mark.parametrize("path", ["", "/a", "a/", "a//b", ".", "../a", "a/./b", "a/../../b"])
def test_no_path_leads_elsewhere(client, server, path):
    with pytest.raises(GitHubError, match="not the path of a file"):
        read(client, path, server.base)
    assert server.requests == []


def test_a_file_may_be_as_large_as_is_said_and_no_larger(client, server):
    server.files[REPO, server.base, "large"] = b"x" * 1001
    assert read(client, "large", server.base, max_bytes=1001) == b"x" * 1001
    with pytest.raises(GitHubError, match="1,001 bytes, at most 1,000 are read"):
        read(client, "large", server.base)


def test_a_file_that_github_does_not_send_is_too_large(client, server):
    server.files[REPO, server.base, "large"] = b"x" * (1024 * 1024 + 1)
    with pytest.raises(GitHubError, match="1,048,577 bytes"):
        read(client, "large", server.base, max_bytes=10**9)


FILE = {
    "type": "file",
    "path": "sdi.yml",
    "size": 1,
    "encoding": "base64",
    "content": base64.b64encode(b"a").decode(),
    "sha": blob_id(b"a"),
}


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"size": 2}, "another size or another name"),
        ({"sha": blob_id(b"b")}, "another size or another name"),
        ({"content": base64.b64encode(b"b").decode()}, "another size or another name"),
        ({"content": "***"}, "not base64"),
        ({"content": "ä"}, "not base64"),
        ({"encoding": "utf-8"}, "encoded in another way"),
        ({"path": "other.yml"}, "about another path"),
        ({"size": -1}, "size is not a whole number"),
        ({"size": True}, "size is not a whole number"),
        ({"type": "dir"}, "a link or a submodule"),
        ({"submodule_git_url": None}, "a link or a submodule"),
        ({"target": "x"}, "a link or a submodule"),
    ],
)
def test_a_content_is_what_it_says_it_is(client, server, wrong, why):
    server.before = lambda _: told(200, FILE)
    assert read(client, "sdi.yml", server.base) == b"a"
    server.before = lambda _: told(200, {**FILE, **wrong})
    with pytest.raises(GitHubError, match=why):
        read(client, "sdi.yml", server.base)


def test_the_files_of_a_pull_request_are_listed_with_former_names(client, server):
    files = [Change(name="b", status="renamed", previous="a"), Change(name="c")]
    server.pull_requests[REPO, 7].files = files
    seen = changed(client, server)
    assert (seen.names, seen.is_complete) == (("b", "a", "c"), True)


def test_a_pull_request_of_many_files_is_read_to_its_last_page(client, server):
    files = [Change(name=f"f{n}") for n in range(250)]
    server.pull_requests[REPO, 7].files = files
    seen = changed(client, server)
    assert (len(seen.names), seen.is_complete) == (250, True)
    assert [one.query.get("page") for one in server.requests] == ["1", "2", "3", None]


@pytest.mark.parametrize(
    ("num_files", "num_listed", "is_complete"),
    [(2999, 2999, True), (3000, 3000, False), (3001, 3000, False)],
)
def test_a_list_that_reaches_the_most_files_is_not_complete(
    client, server, num_files, num_listed, is_complete
):
    server.pull_requests[REPO, 7].files = [Change(name=f"f{n}") for n in range(num_files)]
    seen = changed(client, server)
    assert (len(seen.names), seen.is_complete) == (num_listed, is_complete)


def test_a_list_that_is_not_as_long_as_the_pull_request_says_is_not_complete(client, server):
    assert changed(client, server).is_complete
    server.pull_requests[REPO, 7].num_files = 4
    assert not changed(client, server).is_complete


def test_a_list_of_another_head_is_not_complete(client, server):
    server.pull_requests[REPO, 7].head_sha = OTHER
    server.pull_requests[REPO, 7].files = [Change(name="x")]
    assert not changed(client, server).is_complete


def test_a_head_that_moves_while_its_files_are_listed_is_noticed(client, server):
    def push(request):
        if request.path.endswith("/pulls/7"):
            server.pull_requests[REPO, 7].head_sha = OTHER

    server.pull_requests[REPO, 7].files = [Change(name="x")]
    server.before = push
    assert not changed(client, server).is_complete


def test_without_a_pull_request_commits_are_compared_from_where_they_part(client, server):
    main = server.commit(REPO, {"z": b"1"}, parents=(server.base,), branch="main")
    seen = changed(client, server, pull_request=None, base_sha=main)
    assert (seen.names, seen.is_complete) == (("new", "old", "sdi.yml"), True)
    assert server.lines == [f"GET /repos/{REPO}/compare/{main}...{server.head}"]


@pytest.mark.parametrize(("num_files", "is_complete"), [(299, True), (300, False), (301, False)])
def test_a_comparison_that_reaches_its_most_files_is_not_complete(
    client, server, num_files, is_complete
):
    files = [Change(name=f"f{n}") for n in range(num_files)]
    server.differences[REPO, server.base, server.head] = files
    seen = changed(client, server, pull_request=None)
    assert (len(seen.names), seen.is_complete) == (min(300, num_files), is_complete)


def test_a_comparison_without_its_files_is_not_one_without_changes(client, server):
    server.before = lambda _: told(200, {"merge_base_commit": {"sha": server.base}})
    with pytest.raises(GitHubError, match="not a list"):
        changed(client, server, pull_request=None)


def test_a_pull_request_is_found_by_where_it_comes_from(client, server):
    assert found(client, server) == 7
    assert server.requests[0].query["head"] == "org:topic"
    assert len(server.requests) == 1


def test_a_pull_request_is_found_by_its_commit_too(client, server):
    assert found(client, server, head=None) == 7
    assert found(client, server, head="org:renamed") == 7


def test_a_pull_request_of_an_older_commit_or_a_closed_one_is_not_meant(client, server):
    newer = server.commit(REPO, {"x": b""}, parents=(server.head,))
    server.pull_requests[REPO, 7].head_sha = newer
    assert found(client, server) is None
    server.pull_requests[REPO, 7].head_sha = server.head
    server.pull_requests[REPO, 7].state = "closed"
    assert found(client, server) is None


def test_several_pull_requests_are_none(client, server):
    server.pull_requests[REPO, 8] = PullRequest(
        base_sha=server.base, head_sha=server.head, head="org:topic"
    )
    assert found(client, server) is None
    assert found(client, server, head=None) is None


def test_one_of_several_is_found_by_where_it_comes_from(client, server):
    server.pull_requests[REPO, 8] = PullRequest(
        base_sha=server.base, head_sha=server.head, head="evil:topic"
    )
    assert found(client, server) == 7


def test_pull_requests_are_looked_for_on_all_pages(client, server):
    for number in range(100, 240):
        server.pull_requests[REPO, number] = PullRequest(
            base_sha=server.base, head_sha=server.base, head="org:topic"
        )
    server.pull_requests[REPO, 7] = server.pull_requests.pop((REPO, 7))
    assert found(client, server) == 7
    assert [one.query["page"] for one in server.requests] == ["1", "2"]


def test_a_commit_that_github_does_not_know_has_no_pull_request(client):
    assert client.pull_request_of(REPO, head=None, head_sha=OTHER) is None


def test_that_pull_requests_may_not_be_listed_is_an_error(client, server):
    server.before = lambda request: refused(403, "x") if "commits" in request.path else None
    with pytest.raises(GitHubError, match="403"):
        found(client, server, head=None)


def test_a_pull_request_of_another_repository_is_not_ours(client, server):
    def elsewhere(request):
        base = {"repo": {"full_name": "evil/repo"}}
        pull = {"number": 9, "state": "open", "head": {"sha": server.head}, "base": base}
        return told(200, [pull]) if "commits" in request.path else None

    server.before = elsewhere
    assert found(client, server, head=None) is None


def test_a_list_without_an_end_is_not_read_without_an_end(client_of, server):
    client = client_of(server, num_pages=3)
    link = f'<{server.url}/x?page=9>; rel="next"'
    server.before = lambda _: told(200, [], Link=link)
    with pytest.raises(GitHubError, match="more than 3 pages"):
        changed(client, server)
    assert len(server.requests) == 3


def test_the_token_of_a_person_says_whose_it_is_and_that_of_a_job_does_not(client_of, server):
    server.accounts["other"] = Account(login="a-person", is_app=False)
    assert client_of(server, token="other").viewer() == "a-person"  # noqa: S106 - none
    assert client_of(server).viewer() is None


def test_a_token_that_is_refused_is_an_error_and_so_is_a_login_that_is_none(client_of, server):
    with pytest.raises(GitHubError, match="refused the token"):
        client_of(server, token="nobody").viewer()  # noqa: S106 - none
    server.before = lambda _: told(200, {"login": "a\n::error::b"})
    with pytest.raises(GitHubError, match="its login is none") as caught:
        client_of(server).viewer()
    assert "::error" not in caught.value.message


def test_a_comparison_without_a_merge_base_is_not_githubs(client, server):
    server.before = lambda _: told(200, {"merge_base_commit": None})
    with pytest.raises(GitHubError, match="merge_base_commit is not an object"):
        client.merge_base(REPO, server.base, server.head)


def test_a_full_page_without_a_link_is_not_taken_for_the_last(client, server):
    full = [{"filename": f"f{number}"} for number in range(100)]
    server.answers = [told(200, full), told(200, [{"filename": "last"}])]
    server.pull_requests[REPO, 7].num_files = 101
    seen = changed(client, server)
    assert (seen.names[-1], seen.is_complete) == ("last", True)
