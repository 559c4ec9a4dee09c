"""One comment per pull request and marker: ours, found on any page, and never made twice."""

import pytest
from github_server import JOB_LOGIN, JOB_TOKEN, Account, refused, told

from sdi_gate.integrations.github.comments import CommentOutcome, Done
from sdi_gate.integrations.github.errors import GitHubError

REPO = "org/repo"
MARKER = "<!-- sdi-gate:comment:v1:0123456789abcdef -->"


def body(text="pass"):
    return f"{MARKER}\n{text}\n"


def upsert(client, text="pass", *, author=JOB_LOGIN, number=7):
    return client.upsert_comment(REPO, number, marker=MARKER, body=body(text), author=author)


def bodies(server):
    return [comment.body for comment in server.comments]


def test_the_first_comment_is_made_and_later_ones_take_its_place(client, server):
    made = upsert(client)
    url = f"https://github.com/{REPO}/pull/7#issuecomment-{server.comments[0].id}"
    assert made == CommentOutcome(done=Done.CREATED, url=url)
    assert upsert(client, "fail") == CommentOutcome(done=Done.UPDATED, url=url)
    assert bodies(server) == [body("fail")]


def test_a_comment_that_says_the_same_already_is_left(client, server):
    upsert(client)
    server.comments[0].body = body().replace("\n", "\r\n").rstrip()
    num_requests = len(server.requests)
    assert upsert(client).done is Done.UNCHANGED
    assert server.lines[num_requests:] == [f"GET /repos/{REPO}/issues/7/comments"]


@pytest.mark.parametrize("num_before", [31, 100, 250])
def test_our_comment_is_found_on_every_page(client, server, num_before):
    for number in range(num_before):
        server.comment(REPO, 7, "somebody", f"comment {number}")
    server.comment(REPO, 7, JOB_LOGIN, body("old"))
    assert upsert(client).done is Done.UPDATED
    assert len(server.comments) == num_before + 1
    assert bodies(server)[-1] == body()


def test_a_comment_of_another_with_our_marker_is_not_ours(client, server):
    for author in ("attacker", "github-actions", "evil[bot]", f"x{JOB_LOGIN}"):
        server.comment(REPO, 7, author, body("forged"))
    assert upsert(client).done is Done.CREATED
    assert bodies(server) == [body("forged")] * 4 + [body()]


@pytest.mark.parametrize(
    "text",
    [
        f"quoted:\n{MARKER}\n",
        f" {MARKER}\n",
        f"{MARKER} more\n",
        f"\n{MARKER}\n",
        "<!-- sdi-gate:comment:v1:ffffffffffffffff -->\nof another policy",
    ],
)
def test_a_marker_counts_only_as_the_whole_first_line(client, server, text):
    server.comment(REPO, 7, JOB_LOGIN, text)
    assert upsert(client).done is Done.CREATED
    assert bodies(server) == [text, body()]


def test_the_case_of_a_login_does_not_matter(client, server):
    server.comment(REPO, 7, JOB_LOGIN, body("old"))
    assert upsert(client, author="GitHub-Actions[bot]").done is Done.UPDATED


def test_of_several_comments_of_ours_the_oldest_is_kept_up_to_date(client, server):
    for text in ("first", "second"):
        server.comment(REPO, 7, JOB_LOGIN, body(text))
    assert upsert(client).done is Done.UPDATED
    assert bodies(server) == [body(), body("second")]


def test_a_comment_without_an_author_or_a_text_is_passed_by(client, server):
    page = [{"id": 1, "user": None, "body": body()}, {"id": 2, "user": {"login": JOB_LOGIN}}]
    server.answers = [told(200, page)]
    assert upsert(client).done is Done.CREATED


@pytest.mark.parametrize("status", [404, 410])
def test_a_comment_that_is_deleted_meanwhile_is_made_anew(client, server, status):
    server.comment(REPO, 7, JOB_LOGIN, body("old"))

    def delete(request):
        if request.method == "PATCH":
            server.comments.clear()
            return refused(status, "x")
        return None

    server.before = delete
    assert upsert(client).done is Done.CREATED
    assert bodies(server) == [body()]


def test_a_comment_may_have_all_the_characters_that_github_takes_and_no_more(client, server):
    room = 65_536 - len(body(""))
    assert upsert(client, "ü" * room).done is Done.CREATED
    num_requests = len(server.requests)
    with pytest.raises(GitHubError, match="65,537 characters is longer than 65,536"):
        upsert(client, "ü" * (room + 1))
    assert len(server.requests) == num_requests


def test_a_comment_without_its_marker_is_a_bug(client):
    for wrong in ("pass", f"x\n{MARKER}", "", f"{MARKER}x"):
        with pytest.raises(ValueError, match="starts with its marker"):
            client.upsert_comment(REPO, 7, marker=MARKER, body=wrong, author=JOB_LOGIN)
    with pytest.raises(ValueError, match="has an author"):
        client.upsert_comment(REPO, 7, marker=MARKER, body=body(), author="")


def test_a_token_that_only_reads_is_told_what_it_lacks(client, server):
    server.accounts[JOB_TOKEN].permissions = {"contents": "read"}
    with pytest.raises(GitHubError, match="issues: write or pull-requests: write") as caught:
        upsert(client)
    assert caught.value.status == 403
    assert "forks" in caught.value.hint


def test_a_locked_conversation_is_an_error(client, server):
    server.pull_requests[REPO, 7].locked = True
    with pytest.raises(GitHubError, match=r"comment on org/repo#7: it is forbidden, or locked"):
        upsert(client)


def test_a_comment_that_is_ours_by_name_only_is_not_edited(client, server):
    server.accounts[JOB_TOKEN] = Account(login="another[bot]")
    server.comment(REPO, 7, JOB_LOGIN, body("old"))
    with pytest.raises(GitHubError, match=r"update the comment.*\(403\)"):
        upsert(client)
    assert bodies(server) == [body("old")]


def test_a_conversation_that_is_gone_or_never_was_is_an_error(client, server):
    with pytest.raises(GitHubError, match="404"):
        upsert(client, number=8)
    server.gone.add((REPO, 7))
    with pytest.raises(GitHubError, match=r"it was deleted \(410\)"):
        upsert(client)


@pytest.mark.parametrize("status", [422, 429])
def test_a_refused_comment_is_an_error(client, server, status):
    refusal = refused(status, "x", Retry_After="3600")
    server.before = lambda request: refusal if request.method == "POST" else None
    with pytest.raises(GitHubError, match=str(status)):
        upsert(client)
    assert server.comments == []


def test_a_comment_that_was_made_although_the_server_failed_is_not_made_twice(
    client, server, clock
):
    def made_and_lost(request):
        if request.method == "POST":
            server.comment(REPO, 7, JOB_LOGIN, request.json["body"])
            return refused(502, "x")
        return None

    server.before = made_and_lost
    assert upsert(client).done is Done.UNCHANGED
    assert bodies(server) == [body()]
    assert clock.slept == [1.0]


def test_a_comment_that_was_not_made_is_tried_twice_more(client, server, clock):
    server.before = lambda request: refused(502, "x") if request.method == "POST" else None
    with pytest.raises(GitHubError, match="502"):
        upsert(client)
    assert [one.method for one in server.requests] == ["GET", "POST"] * 3
    assert clock.slept == [1.0, 3.0]


def test_a_limit_on_comments_is_waited_for(client, server, clock):
    server.before = lambda request: (
        refused(403, "x", Retry_After="5") if request.method == "POST" and not clock.slept else None
    )
    assert upsert(client).done is Done.CREATED
    assert clock.slept == [5.0]


@pytest.mark.parametrize(
    "page", [None, 5, "javascript:alert(1)", "https://x/a)b", "https://x/\n::error::"]
)
def test_an_address_that_may_not_be_shown_is_left_out(client, server, page):
    answer = told(201, {"html_url": page})
    server.before = lambda request: answer if request.method == "POST" else None
    assert upsert(client) == CommentOutcome(done=Done.CREATED, url="")


def test_an_edit_that_fails_is_an_error_and_no_second_comment_is_made(client, server):
    server.comment(REPO, 7, JOB_LOGIN, body("old"))
    server.before = lambda request: refused(502, "x") if request.method == "PATCH" else None
    with pytest.raises(GitHubError, match=r"update the comment on org/repo#7.*\(502\)"):
        upsert(client)
    assert bodies(server) == [body("old")]


def test_a_comment_that_shall_only_be_kept_up_to_date_is_not_made(client, server):
    def keep(text):
        return client.upsert_comment(
            REPO, 7, marker=MARKER, body=body(text), author=JOB_LOGIN, only_existing=True
        )

    server.comment(REPO, 7, "attacker", body("forged"))
    assert keep("pass") == CommentOutcome(done=Done.ABSENT, url="")
    server.comment(REPO, 7, JOB_LOGIN, body("fail"))
    assert keep("pass").done is Done.UPDATED
    assert bodies(server) == [body("forged"), body("pass")]
