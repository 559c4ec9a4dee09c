"""A check run is written within GitHub's limits, and never lets a required check pass by itself."""

import pytest
from github_server import JOB_TOKEN, refused

from sdi_gate.integrations.github.check_runs import CheckAnnotation, CheckRun
from sdi_gate.integrations.github.errors import GitHubError

REPO = "org/repo"


def annotation(line=1, **more):
    about = {"path": "sdi.yml", "start_line": line, "end_line": line, "title": "t"}
    return CheckAnnotation(**{**about, "annotation_level": "failure", "message": "m", **more})


def run(server, **more):
    about = {"name": "sdi", "head_sha": server.head, "conclusion": "failure"}
    return CheckRun(**{**about, "title": "t", "summary": "s", **more})


def test_a_check_is_written_with_its_verdict(client, server):
    page = client.create_check_run(
        REPO, run(server, text="details", details_url="https://github.com/org/repo/actions/runs/1")
    )
    (written,) = server.check_runs
    assert (written["status"], written["conclusion"]) == ("completed", "failure")
    assert written["output"] == {"title": "t", "summary": "s", "text": "details", "annotations": []}
    assert written["head_sha"] == server.head
    assert written["details_url"] == "https://github.com/org/repo/actions/runs/1"
    assert page == f"https://github.com/{REPO}/runs/{written['id']}"


@pytest.mark.parametrize(("number", "num_requests"), [(0, 1), (50, 1), (51, 2), (101, 3)])
def test_annotations_go_in_requests_of_fifty(client, server, number, num_requests):
    annotations = [annotation(line) for line in range(1, number + 1)]
    client.create_check_run(REPO, run(server, annotations=annotations))
    (written,) = server.check_runs
    assert [one["start_line"] for one in written["annotations"]] == list(range(1, number + 1))
    assert [one.method for one in server.requests] == ["POST"] + ["PATCH"] * (num_requests - 1)


def test_texts_may_be_as_long_as_github_takes_them(client, server):
    longest = annotation(title="t" * 255, message="m" * 65_536)
    texts = {"title": "t" * 255, "summary": "s" * 65_535, "text": "x" * 65_535}
    client.create_check_run(REPO, run(server, annotations=[longest], **texts))
    assert len(server.check_runs) == 1


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"title": "t" * 256}, "title of a check has 256 characters"),
        ({"summary": "s" * 65_536}, "summary of a check has 65,536 characters"),
        ({"text": "s" * 65_536}, "text of a check has 65,536 characters"),
        ({"conclusion": "neutral"}, "success or failure, not with 'neutral'"),
        ({"conclusion": "skipped"}, "success or failure"),
        ({"conclusion": ""}, "success or failure"),
        ({"name": ""}, "a name, a title and a summary"),
        ({"title": ""}, "a name, a title and a summary"),
        ({"summary": ""}, "a name, a title and a summary"),
    ],
)
def test_a_check_that_github_would_refuse_is_refused_here(server, more, why):
    with pytest.raises(ValueError, match=why):
        run(server, **more)


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"title": "t" * 256}, "title of an annotation has 256 characters"),
        ({"message": "ü" * 32_769}, "message of an annotation has 65,538 bytes"),
        ({"message": ""}, "has a message"),
        ({"start_line": 0}, "lines from 1"),
        ({"end_line": 0}, "the first before the last"),
        ({"path": ""}, "expected folder/file"),
        ({"path": "/etc/x"}, "expected folder/file"),
    ],
)
def test_an_annotation_that_github_would_refuse_is_refused_here(more, why):
    with pytest.raises(ValueError, match=why):
        annotation(**more)


def test_an_annotation_without_a_title_has_none(client, server):
    client.create_check_run(REPO, run(server, annotations=[annotation(title="")]))
    assert "title" not in server.check_runs[0]["annotations"][0]


def test_without_the_permission_the_check_is_an_error_that_names_it(client, server):
    server.accounts[JOB_TOKEN].permissions = {"contents": "read"}
    with pytest.raises(GitHubError, match="asks for is checks: write"):
        client.create_check_run(REPO, run(server))


def test_a_check_on_a_commit_that_is_not_there_is_an_error(client, server):
    with pytest.raises(GitHubError, match="422"):
        client.create_check_run(REPO, run(server, head_sha="0" * 40))


def test_a_server_that_fails_is_asked_again(client, server, clock):
    server.answers = [refused(502, "x")]
    client.create_check_run(REPO, run(server))
    assert (len(server.check_runs), clock.slept) == (1, [1.0])
