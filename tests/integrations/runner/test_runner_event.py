import copy
import json
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st
from node_packages import node_folder

from sdi_gate.errors import UsageError
from sdi_gate.integrations.runner.event import Kind, read_event

SHA = "a" * 40
BASE, HEAD, OLD = "b" * 40, "c" * 40, "d" * 40
ZEROS = "0" * 40
DELETED = "the push deleted a branch or a tag: it leaves no commit that could be judged"
REPOSITORY = {"id": 7, "full_name": "Org/Models", "default_branch": "main"}

# What every event of the published examples is; those of no line are judged at the runner's commit.
KINDS = {
    "merge_group": Kind.MERGE_GROUP,
    "pull_request": Kind.PULL_REQUEST,
    "pull_request_review": Kind.PULL_REQUEST,
    "pull_request_review_comment": Kind.PULL_REQUEST,
    "pull_request_review_thread": Kind.PULL_REQUEST,
    "push": Kind.PUSH,
    "workflow_run": Kind.WORKFLOW_RUN,
}
EVENTS = [
    "branch_protection_rule", "check_run", "check_suite", "code_scanning_alert", "commit_comment",
    "create", "delete", "dependabot_alert", "deploy_key", "deployment", "deployment_review",
    "deployment_status", "discussion", "discussion_comment", "fork", "github_app_authorization",
    "gollum", "installation", "installation_repositories", "issue_comment", "issues", "label",
    "marketplace_purchase", "member", "membership", "merge_group", "meta", "milestone",
    "organization", "org_block", "package", "page_build", "ping", "project", "project_card",
    "project_column", "projects_v2_item", "public", "pull_request", "pull_request_review",
    "pull_request_review_comment", "pull_request_review_thread", "push", "release",
    "repository_dispatch", "repository", "repository_import", "repository_vulnerability_alert",
    "security_advisory", "sponsorship", "star", "status", "team", "team_add", "watch",
    "workflow_dispatch", "workflow_job", "workflow_run",
]  # fmt: skip


def pull_request(**changed):
    return {
        "action": "opened",
        "repository": REPOSITORY,
        "pull_request": {
            "number": 12,
            "base": {"sha": BASE, "ref": "main", "repo": {"full_name": "org/models"}},
            "head": {"sha": HEAD, "ref": "tune", "repo": {"full_name": "ORG/models"}},
        }
        | changed,
    }


def merge_group(**changed):
    return {
        "action": "checks_requested",
        "repository": REPOSITORY,
        "merge_group": {
            "base_sha": BASE,
            "head_sha": HEAD,
            "base_ref": "refs/heads/main",
            "head_ref": f"refs/heads/gh-readonly-queue/main/pr-104-{OLD}",
        }
        | changed,
    }


def push(**changed):
    payload = {"ref": "refs/heads/main", "before": BASE, "after": HEAD, "deleted": False}
    return payload | {"repository": REPOSITORY} | changed


def workflow_run(**changed):
    run = {
        "id": 99,
        "event": "pull_request",
        "head_sha": HEAD,
        "head_branch": "feature/tune",
        "head_repository": {"full_name": "fork/models", "owner": {"login": "fork"}},
        "pull_requests": [],
    }
    return {"repository": REPOSITORY, "workflow_run": run | changed}


def listed(number=12, sha=HEAD, repository=7):
    return {"number": number, "head": {"sha": sha}, "base": {"repo": {"id": repository}}}


def read(name, payload, *, repository="org/models", sha=SHA):
    data = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return read_event(name=name, payload=data, repository=repository, sha=sha)


@cache
def examples():
    path = node_folder() / "@octokit" / "webhooks-examples" / "api.github.com" / "index.json"
    return {entry["name"]: entry["examples"] for entry in json.loads(path.read_text("utf-8"))}


def of_example(name, payload):
    repository = (payload.get("repository") or {}).get("full_name", "org/models")
    return read(name, payload, repository=repository)


def test_the_published_examples_are_of_the_events_known_here():
    assert sorted(examples()) == sorted(EVENTS)
    assert sum(map(len, examples().values())) == 329


@pytest.mark.parametrize("name", EVENTS)
def test_every_published_payload_is_of_the_kind_documented(name):
    for payload in examples()[name]:
        if name == "push" and payload["deleted"]:
            with pytest.raises(UsageError, match=DELETED):
                of_example(name, payload)
            continue
        event = of_example(name, payload)
        assert event.kind is KINDS.get(name, Kind.OTHER)
        assert event.name == name
        if event.kind is Kind.OTHER:
            assert (event.head_sha, event.base_sha, event.policy_sha) == (SHA, None, None)
        if "default_branch" in (payload.get("repository") or {}):
            assert event.default_branch == payload["repository"]["default_branch"]


@pytest.mark.parametrize("name", [name for name in EVENTS if name.startswith("pull_request")])
def test_published_pull_requests_are_judged_from_base_to_head(name):
    for payload in examples()[name]:
        event, given_request = of_example(name, payload), payload["pull_request"]
        assert event.head_sha == given_request["head"]["sha"]
        assert event.base_sha == event.policy_sha == given_request["base"]["sha"]
        assert event.pull_request == given_request["number"]
        assert not event.is_fork


@pytest.mark.parametrize("name", [name for name in EVENTS if name.startswith("pull_request")])
@pytest.mark.parametrize("repo", [None, {"full_name": "someone/Hello-World"}], ids=["gone", "fork"])
def test_published_pull_requests_edited_to_be_of_a_fork_are_of_a_fork(name, repo):
    for payload in examples()[name]:
        edited = copy.deepcopy(payload)
        edited["pull_request"]["head"]["repo"] = repo
        event = of_example(name, edited)
        assert event.is_fork
        assert event.base_sha == event.policy_sha == payload["pull_request"]["base"]["sha"]


def test_published_pushes_of_new_branches_have_no_base():
    created = [payload for payload in examples()["push"] if payload["created"]]
    assert {payload["ref"] for payload in created} == {"refs/heads/master", "refs/tags/simple-tag"}
    for payload in created:
        event = of_example("push", payload)
        assert (event.base_sha, event.policy_sha, event.pull_request) == (None, None, None)
        assert event.head_sha == payload["after"]


def test_published_merge_groups_name_their_last_pull_request():
    for payload in examples()["merge_group"]:
        event, group = of_example("merge_group", payload), payload["merge_group"]
        assert event.pull_request == 104
        assert event.head_sha == group["head_sha"]
        assert event.base_sha == event.policy_sha == group["base_sha"]


def test_published_workflow_runs_name_head_and_run_and_no_pull_request_of_another_commit():
    runs = examples()["workflow_run"]
    assert [len(payload["workflow_run"]["pull_requests"]) for payload in runs].count(1) == 1
    for payload in runs:
        event, run = of_example("workflow_run", payload), payload["workflow_run"]
        assert event.pull_request is None
        assert event.run_id == run["id"]
        assert event.head == f"octo-org:{run['head_branch']}"
        assert (event.head_sha, event.base_sha) == (run["head_sha"], None)
        assert event.is_fork == (payload["repository"]["full_name"] != "octo-org/octo-repo")


@pytest.mark.parametrize(
    "name",
    [
        "pull_request",
        "pull_request_target",
        "pull_request_review",
        "pull_request_review_comment",
    ],
)
def test_a_pull_request_of_the_repository_is_no_fork_whatever_the_case_of_its_name(name):
    event = read(name, pull_request())
    assert (event.kind, event.name, event.repository) == (Kind.PULL_REQUEST, name, "org/models")
    assert (event.base_sha, event.policy_sha, event.head_sha) == (BASE, BASE, HEAD)
    assert (event.pull_request, event.is_fork, event.default_branch) == (12, False, "main")


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"base": None}, r"\.pull_request\.base\.repo\.full_name should be a repo.*; got nothing"),
        ({"base": {"sha": BASE}}, r"\.pull_request\.base\.repo\.full_name should be"),
        ({"base": {"repo": REPOSITORY}}, r"\.pull_request\.base\.sha should be a commit"),
        ({"base": {"repo": REPOSITORY, "sha": BASE[:39]}}, r"\.pull_request\.base\.sha should"),
        ({"base": {"repo": REPOSITORY, "sha": "main"}}, r"hexadecimal digits; got 'main'"),
        ({"base": {"repo": REPOSITORY, "sha": BASE + "\n"}}, r"got 'b{40}\\n'"),
        ({"base": {"repo": REPOSITORY, "sha": 7}}, r"hexadecimal digits; got 7"),
        ({"head": {"sha": HEAD, "repo": {}}}, r"\.pull_request\.head\.repo\.full_name should"),
        ({"head": {"sha": HEAD, "repo": "x"}}, r"\.pull_request\.head\.repo should be an object"),
        ({"head": {"repo": REPOSITORY}}, r"\.pull_request\.head\.sha should be a commit"),
        ({"head": []}, r"\.pull_request\.head should be an object; got a list"),
        ({"number": "12"}, r"\.pull_request\.number should be a whole number from 1; got '12'"),
        ({"number": True}, r"whole number from 1; got true"),
        ({"number": 0}, r"whole number from 1; got 0"),
        ({"number": 12.0}, r"whole number from 1; got 12.0"),
        ({"number": 10**400}, r"whole number from 1; got 10{79}$"),
        ({"number": {}}, r"whole number from 1; got an object"),
        (
            {"base": {"sha": BASE, "repo": {"full_name": "other/models"}}},
            r"is made to the repository other/models, and the workflow runs in org/models",
        ),
    ],
    ids=lambda part: str(part)[:40] if isinstance(part, dict) else None,
)
def test_a_pull_request_that_lacks_what_is_needed_is_an_error_and_nothing_else(changed, problem):
    with pytest.raises(UsageError, match=problem):
        read("pull_request", pull_request(**changed))


@pytest.mark.parametrize("name", ["pull_request", "pull_request_target", "pull_request_new"])
def test_an_event_that_claims_to_be_of_a_pull_request_never_falls_back(name):
    with pytest.raises(UsageError, match=r"\.pull_request\.base\.repo\.full_name should be"):
        read(name, {"repository": REPOSITORY, "issue": {"number": 3}})


@pytest.mark.parametrize(
    ("head_ref", "base_ref", "number"),
    [
        (f"refs/heads/gh-readonly-queue/main/pr-104-{OLD}", "refs/heads/main", 104),
        (f"gh-readonly-queue/main/pr-1-{OLD}", "main", 1),
        (f"refs/heads/gh-readonly-queue/release/1.x/pr-7-{OLD}", "refs/heads/release/1.x", 7),
        (f"refs/heads/gh-readonly-queue/pr-1-/pr-2-{OLD}", "refs/heads/pr-1-", 2),
        (
            f"refs/heads/gh-readonly-queue/a/pr-3-{OLD}/pr-4-{OLD}",
            f"refs/heads/a/pr-3-{OLD}",
            4,
        ),
        (f"refs/heads/gh-readonly-queue/main/pr-0-{OLD}", "refs/heads/main", None),
        (f"refs/heads/gh-readonly-queue/main/pr-104-{OLD[:39]}", "refs/heads/main", None),
        (f"refs/heads/gh-readonly-queue/main/pr-104-{OLD}x", "refs/heads/main", None),
        (f"refs/heads/gh-readonly-queue/other/pr-104-{OLD}", "refs/heads/main", None),
        ("refs/heads/main", "refs/heads/main", None),
    ],
)
def test_the_number_of_a_queued_pull_request_is_read_or_not_known(head_ref, base_ref, number):
    event = read("merge_group", merge_group(head_ref=head_ref, base_ref=base_ref))
    assert event.pull_request == number
    assert (event.kind, event.base_sha, event.policy_sha) == (Kind.MERGE_GROUP, BASE, BASE)
    assert event.head_sha == HEAD


def test_a_merge_group_that_was_destroyed_is_one_like_any_other():
    event = read("merge_group", merge_group() | {"action": "destroyed"})
    assert event == read("merge_group", merge_group())


@pytest.mark.parametrize("field", ["base_sha", "head_sha", "base_ref", "head_ref"])
def test_a_merge_group_that_lacks_what_is_needed_is_an_error(field):
    with pytest.raises(UsageError, match=rf"\.merge_group\.{field} should be .*; got nothing"):
        read("merge_group", merge_group(**{field: None}))


def test_a_push_is_judged_from_what_was_before_by_the_policy_of_the_default_branch():
    event = read("push", push())
    assert (event.kind, event.base_sha, event.head_sha) == (Kind.PUSH, BASE, HEAD)
    assert (event.policy_sha, event.pull_request) == (None, None)


def test_of_a_push_of_a_new_branch_all_is_judged():
    assert read("push", push(before=ZEROS)).base_sha is None


@pytest.mark.parametrize("changed", [{"after": ZEROS}, {"deleted": True}], ids=["zeros", "deleted"])
def test_a_push_that_deletes_is_an_error_that_says_so(changed):
    with pytest.raises(UsageError, match=DELETED):
        read("push", push(**changed))


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"after": None}, r"\.after should be a commit"),
        ({"before": "x"}, r"\.before should be a commit of 40 hexadecimal digits; got 'x'"),
        ({"deleted": "no"}, r"\.deleted should be true or false; got 'no'"),
    ],
)
def test_a_push_that_lacks_what_is_needed_is_an_error(changed, problem):
    with pytest.raises(UsageError, match=problem):
        read("push", push(**changed))


def test_a_workflow_run_of_a_fork_names_its_head():
    event = read("workflow_run", workflow_run())
    assert (event.kind, event.is_fork, event.pull_request) == (Kind.WORKFLOW_RUN, True, None)
    assert (event.head, event.run_id, event.head_sha) == ("fork:feature/tune", 99, HEAD)
    assert (event.base_sha, event.policy_sha) == (None, None)


@pytest.mark.parametrize(
    ("requests", "number"),
    [
        ([listed()], 12),
        ([], None),
        ([listed(), listed(number=13)], None),
        ([listed(sha=OLD)], None),
        ([listed(repository=8)], None),
    ],
    ids=["one", "none", "two", "moved on", "made to a fork"],
)
def test_a_pull_request_of_a_workflow_run_is_named_only_if_it_is_certain(requests, number):
    assert read("workflow_run", workflow_run(pull_requests=requests)).pull_request == number


@pytest.mark.parametrize(
    ("changed", "head"),
    [
        ({"head_repository": None}, None),
        ({"head_branch": None}, None),
        ({"head_branch": "模型/‍x"}, "fork:模型/‍x"),
    ],
    ids=["repository gone", "no branch", "foreign letters"],
)
def test_the_head_of_a_workflow_run_may_be_unknown(changed, head):
    event = read("workflow_run", workflow_run(**changed))
    assert (event.head, event.is_fork) == (head, True)


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"id": None}, r"\.workflow_run\.id should be a whole number"),
        ({"head_sha": None}, r"\.workflow_run\.head_sha should be a commit"),
        ({"pull_requests": None}, r"\.workflow_run\.pull_requests should be a list of objects"),
        ({"pull_requests": [1]}, r"\.workflow_run\.pull_requests should be a list of objects"),
        ({"head_branch": "a:b"}, r"\.head_branch should be the name of a branch; got 'a:b'"),
        ({"head_branch": "a\nb"}, r"the name of a branch; got 'a\\nb'"),
        ({"head_branch": "\ud800"}, r"the name of a branch; got '\\ud800'"),
        ({"head_branch": "é" * 128}, "the name of a branch"),
        ({"head_branch": ""}, "the name of a branch; got ''"),
        (
            {"head_repository": {"full_name": "f/m", "owner": {"login": "a:b"}}},
            r"\.owner\.login should be the login of a user or organization; got 'a:b'",
        ),
    ],
    ids=lambda part: ascii(part)[:30] if isinstance(part, dict) else None,
)
def test_a_workflow_run_that_lacks_what_is_needed_is_an_error(changed, problem):
    with pytest.raises(UsageError, match=problem):
        read("workflow_run", workflow_run(**changed))


@pytest.mark.parametrize("payload", [{}, {"repository": None}, {"schedule": "0 3 * * *"}])
@pytest.mark.parametrize(
    "name", ["schedule", "workflow_dispatch", "repository_dispatch", "new_one"]
)
def test_every_other_event_is_judged_at_the_commit_of_the_runner(name, payload):
    event = read(name, payload)
    assert (event.kind, event.head_sha, event.name) == (Kind.OTHER, SHA, name)
    assert (event.base_sha, event.policy_sha, event.default_branch) == (None, None, None)


@pytest.mark.parametrize(
    ("name", "payload"),
    [
        ("pull_request", pull_request()),
        ("merge_group", merge_group()),
        ("push", push()),
        ("workflow_run", workflow_run()),
        ("schedule", {"repository": REPOSITORY}),
    ],
)
def test_a_payload_of_another_repository_is_an_error(name, payload):
    with pytest.raises(UsageError, match=f"the payload of the event {name} is of the repository"):
        read(name, payload, repository="org/other")


@pytest.mark.parametrize(
    ("name", "payload"),
    [
        ("pull_request", pull_request()),
        ("merge_group", merge_group()),
        ("push", push()),
        ("workflow_run", workflow_run()),
    ],
)
def test_a_payload_that_names_no_repository_is_an_error_where_one_is_judged(name, payload):
    with pytest.raises(UsageError, match=r"\.repository\.full_name should be a repository"):
        read(name, payload | {"repository": None})


@pytest.mark.parametrize("name", ["", "Push", "push\n", "a b", "a" * 65, "../x"])
def test_a_name_that_is_no_event_is_an_error(name):
    with pytest.raises(UsageError, match="GITHUB_EVENT_NAME should be the name of an event; got"):
        read(name, {})


@pytest.mark.parametrize(
    "repository", ["", "models", "a/b/c", "a/..", "a/.", "/b", "a/", "a b/c", "a/b\n", "é/b"]
)
def test_a_name_that_is_no_repository_is_an_error(repository):
    with pytest.raises(UsageError, match="GITHUB_REPOSITORY should be a repository as owner/name"):
        read("schedule", {}, repository=repository)


@pytest.mark.parametrize("sha", ["", "main", "A" * 40, "a" * 39, "a" * 40 + "\n", "a" * 64])
def test_a_commit_that_is_none_is_an_error(sha):
    with pytest.raises(UsageError, match="GITHUB_SHA should be a commit of 40 hexadecimal digits"):
        read("schedule", {}, sha=sha)


@pytest.mark.parametrize(
    ("payload", "problem"),
    [
        (b"", "is not JSON in UTF-8: Expecting value"),
        (b"{", "is not JSON in UTF-8"),
        (b'{"a": "\xff"}', "is not JSON in UTF-8: 'utf-8' codec can't decode byte 0xff"),
        (b'{"a": ' + b"1" * 5000 + b"}", "is not JSON in UTF-8"),
        (b"[]", "should be an object; got a list"),
        (b"null", "should be an object; got nothing"),
        (b'"' + b"x" * 90 + b'"', r"should be an object; got 'x{80}\.\.\.'"),
        (b"[" * 100_000, "is nested in more than 100 levels"),
        (b'{"a": ' + b"[" * 100 + b"]" * 100 + b"}", "is nested in more than 100 levels"),
        (b" " * 25_000_001, "has 25000001 bytes; at most 25000000 can be read"),
    ],
    ids=["empty", "cut", "bytes", "digits", "list", "null", "text", "deepest", "deep", "large"],
)
def test_a_payload_that_cannot_be_read_is_an_error(payload, problem):
    with pytest.raises(UsageError, match=f"the payload of the event schedule {problem}"):
        read("schedule", payload)


def test_a_payload_may_be_nested_in_a_hundred_levels_and_begin_with_a_mark():
    deep = b'\xef\xbb\xbf{"a": ' + b"[" * 99 + b"]" * 99 + b"}"
    assert read("schedule", deep).kind is Kind.OTHER


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda parts: st.lists(parts, max_size=3) | st.dictionaries(st.text(max_size=8), parts),
    max_leaves=6,
)
VALID = {
    "pull_request": pull_request(),
    "merge_group": merge_group(),
    "push": push(),
    "workflow_run": workflow_run(pull_requests=[listed()]),
    "schedule": {"repository": REPOSITORY},
}


def places(node, way=()):
    if way:
        yield way
    inner = node.items() if isinstance(node, dict) else enumerate(node)
    for key, part in inner:
        if isinstance(part, dict | list):
            yield from places(part, (*way, key))
        else:
            yield (*way, key)


@given(name=st.sampled_from(sorted(VALID)), data=st.data(), value=JSON)
def test_any_value_anywhere_gives_an_event_that_holds_or_one_clear_error(name, data, value):
    payload = copy.deepcopy(VALID[name])
    *way, last = data.draw(st.sampled_from(list(places(payload))))
    node = payload
    for key in way:
        node = node[key]
    node[last] = value
    event, problem = None, "?"
    try:
        event = read(name, payload)
    except UsageError as error:
        problem = str(error)
    assert problem.isprintable()
    assert len(problem) < 400
    if event is not None:
        whole = read(name, VALID[name])
        assert (event.kind, event.repository) == (whole.kind, whole.repository)
        # Another number of a pull request is one too, and one that is not certain is not named.
        assert event.pull_request in (whole.pull_request, None, value)
        for sha in (event.base_sha, event.policy_sha, event.head_sha):
            assert sha is None or sha in {BASE, HEAD, SHA}
