"""What a run judges is told by commits, through the API: exactly what a change touches."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from github_runs import REPO, Rig
from github_server import JOB_TOKEN, Account, Change, GitHubServer, PullRequest, refused

from sdi_gate.action.difference import Difference, difference_of
from sdi_gate.action.subjects import Subjects, find_subjects, located
from sdi_gate.errors import UsageError
from sdi_gate.integrations.github.errors import GitHubError
from sdi_gate.policy.origins import Origin

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sdi_gate.integrations.runner.event import Event

PATH = "models.yml"
BASE = f"hf:org/base@{'a' * 40}"
OTHER = f"hf:org/other@{'c' * 40}"
TUNE = f"hf:org/tune@{'b' * 40}"
NEWER = f"hf:org/tune@{'d' * 40}"
ONE = f"  - {{name: one, candidate: '{TUNE}'}}\n"
TWO = f"  - {{name: two, candidate: '{OTHER}'}}\n"
FOLDER = "  - {name: folder, candidate: 'file:weights/tune'}\n"


def manifest(*entries: str, base: str | None = BASE) -> bytes:
    head = "apiVersion: sdi-gate/v1\nkind: Candidates\n" + (f"base: '{base}'\n" if base else "")
    return f"{head}candidates:\n{''.join(entries)}".encode()


@pytest.fixture
def rig() -> Iterator[Rig]:
    with GitHubServer() as server:
        yield Rig(server).giving(manifest=PATH)


def judged(rig: Rig, event: Event | None = None) -> Subjects:
    event = event or rig.event
    return find_subjects(rig.inputs, event, difference_of(event, rig.github), rig.github)


def changes(found: Subjects) -> dict[str, str]:
    return {subject.name: subject.change for subject in found.subjects}


# Of a manifest.


def test_what_a_pull_request_adds_or_changes_is_judged_and_nothing_else(rig: Rig):
    changed = ONE.replace(TUNE, NEWER)
    three = f"  - {{name: three, candidate: '{TUNE}', registered-name: bot}}\n"
    rig.commits({PATH: manifest(ONE, TWO)}, {PATH: manifest(three, TWO, changed)})
    found = judged(rig)
    assert changes(found) == {"three": "added", "one": "changed"}
    assert (found.num_unchanged, found.manifest) == (1, PATH)
    three_found, one = found.subjects
    assert (three_found.base, three_found.candidate) == (BASE, TUNE)
    assert three_found.registered_name == "bot"
    assert three_found.origin == Origin(file=PATH, line=5, column=5)
    assert (one.former_candidate, one.former_base) == (TUNE, None)


def test_a_change_that_touches_no_candidate_judges_nothing_and_says_why(rig: Rig):
    rig.commits({PATH: manifest(ONE)}, {"README.md": b"other", PATH: b"# new\n" + manifest(ONE)})
    found = judged(rig)
    assert (found.subjects, found.num_unchanged) == ((), 1)
    assert found.explanation == (
        f"Judged is what differs in 'models.yml' between the commits {rig.base[:12]} and"
        f" {rig.head[:12]}."
    )


def test_a_pull_request_is_held_against_where_it_left_the_base_branch(rig: Rig):
    start = rig.server.commit(REPO, {PATH: manifest(ONE)})
    rig.head = rig.server.commit(REPO, {PATH: manifest(ONE, TWO)}, parents=(start,))
    newest = {PATH: manifest(ONE.replace(TUNE, NEWER))}
    rig.base = rig.server.commit(REPO, newest, parents=(start,), branch="main")
    assert changes(judged(rig)) == {"two": "added"}


def test_a_file_of_a_folder_has_its_candidate_judged(rig: Rig):
    before = {PATH: manifest(ONE, FOLDER), "weights/tune/config.json": b"1", "weights/x": b"1"}
    assert changes(judged(rig.commits(before, {"weights/x": b"2"}))) == {}
    touched = rig.commits(before, {"weights/tune/config.json": b"2"})
    assert changes(judged(touched)) == {"folder": "changed"}


def test_a_file_that_moves_out_of_a_folder_changes_it(rig: Rig):
    rig.commits({PATH: manifest(FOLDER)}, {})
    moved = [Change(name="old/config.json", status="renamed", previous="weights/tune/config.json")]
    rig.server.differences[REPO, rig.base, rig.head] = moved
    assert changes(judged(rig)) == {"folder": "changed"}


def test_where_the_list_of_files_is_cut_all_are_judged(rig: Rig):
    rig.commits({PATH: manifest(ONE, FOLDER)}, {PATH: manifest(ONE, FOLDER, TWO)})
    many = [Change(name=f"f{i}") for i in range(300)]
    rig.server.differences[REPO, rig.base, rig.head] = many
    found = judged(rig)
    assert changes(found) == {"one": "present", "folder": "present", "two": "added"}
    assert (
        found.explanation == "All of 'models.yml' is judged: more files changed than GitHub lists."
    )
    rig.server.differences[REPO, rig.base, rig.head] = many[:299]
    assert changes(judged(rig)) == {"two": "added"}


def test_the_list_of_files_is_that_of_the_commits_whatever_the_pull_request_is_by_now(rig: Rig):
    # Its author can move the head, or choose another base branch, while the job runs.
    before = {PATH: manifest(FOLDER), "weights/tune/config.json": b"1"}
    rig.commits(before, {"weights/tune/config.json": b"2"})
    rig.server.pull_requests[REPO, 7] = PullRequest(
        base_sha=rig.head, head_sha=rig.head, head="org:topic", files=[], num_files=0
    )
    assert changes(judged(rig)) == {"folder": "changed"}


def test_without_a_base_all_are_judged(rig: Rig):
    rig.commits({PATH: manifest(ONE)}, {PATH: manifest(ONE, TWO)})
    found = judged(rig, rig.other_event)
    assert changes(found) == {"one": "present", "two": "present"}
    assert "nothing is known of how it was before" in found.explanation


def test_a_base_that_is_in_no_history_of_the_head_has_all_judged(rig: Rig):
    rig.commits({PATH: manifest(ONE)}, {PATH: manifest(ONE, TWO)})
    forced = replace(rig.event, base_sha="f" * 40)
    assert difference_of(forced, rig.github) is None
    assert changes(judged(rig, forced)) == {"one": "present", "two": "present"}


@pytest.mark.parametrize("status", [403, 500, 503])
def test_a_comparison_that_fails_is_an_error(rig: Rig, status: int):
    rig.commits({PATH: manifest(ONE)}, {})
    rig.server.before = lambda request: (
        refused(status, "no") if "/compare/" in request.path else None
    )
    with pytest.raises(GitHubError, match=f"compare .*{status}"):
        judged(rig)


def test_a_new_manifest_is_all_new(rig: Rig):
    rig.commits({}, {PATH: manifest(ONE, TWO)})
    assert changes(judged(rig)) == {"one": "added", "two": "added"}


@pytest.mark.parametrize("before", [b"broken: [", b"#" * 1_000_001], ids=["no-yaml", "large"])
def test_a_manifest_that_was_broken_can_be_mended(rig: Rig, before: bytes):
    rig.commits({PATH: before}, {PATH: manifest(ONE)})
    found = judged(rig)
    assert changes(found) == {"one": "present"}
    assert f"as it was at {rig.base[:12]}" in found.explanation


def test_a_manifest_that_was_a_link_can_be_mended(rig: Rig):
    rig.commits({}, {PATH: manifest(ONE)})
    rig.server.kinds[REPO, rig.base, PATH] = "symlink"
    assert changes(judged(rig)) == {"one": "present"}


def test_a_former_manifest_that_is_refused_is_an_error(rig: Rig):
    rig.commits({PATH: manifest(ONE)}, {})
    rig.server.before = lambda request: (
        refused(403, "no") if request.query.get("ref") == rig.base else None
    )
    with pytest.raises(GitHubError, match="403"):
        judged(rig)


def test_a_manifest_that_is_not_valid_is_an_error_with_its_places(rig: Rig):
    rig.commits(
        {PATH: manifest(ONE)}, {PATH: manifest("  - {name: x, candidate: 'hf:org/x@main'}\n")}
    )
    with pytest.raises(UsageError, match=r"models\.yml:5:26: candidates\.0\.candidate: a model on"):
        judged(rig)


def test_a_manifest_that_a_change_removes_is_an_error(rig: Rig):
    with pytest.raises(UsageError, match=r"the change removes 'models\.yml'"):
        judged(rig.commits({PATH: manifest(ONE)}, {}).without(PATH))


def test_a_manifest_that_is_nowhere_is_an_error(rig: Rig):
    rig.commits({}, {})
    with pytest.raises(UsageError, match=rf"there is no file 'models.yml' in {REPO} at"):
        judged(rig)
    with pytest.raises(UsageError, match="there is no file"):
        judged(rig, rig.other_event)


@pytest.mark.parametrize("path", ["/etc/models.yml", "../models.yml", "a//b", "a/./b", r"a\b"])
def test_a_manifest_is_a_file_of_the_repository(rig: Rig, path: str):
    rig.commits({PATH: manifest(ONE)}, {})
    with pytest.raises(UsageError, match=r"^manifest: .*read by its API"):
        judged(rig.giving(manifest=path))


def test_a_dot_before_the_path_changes_nothing(rig: Rig):
    rig.commits({}, {PATH: manifest(ONE)}).giving(manifest=f"./{PATH}")
    assert judged(rig).manifest == PATH


def test_a_private_repository_without_the_permission_is_an_error(rig: Rig):
    rig.commits({PATH: manifest(ONE)}, {})
    rig.server.private.add(REPO)
    rig.server.accounts[JOB_TOKEN] = Account(permissions={}, repositories=frozenset({REPO}))
    with pytest.raises(GitHubError, match="contents: read"):
        judged(rig)


# With the base that the workflow gives.


def test_the_base_of_the_workflow_is_that_of_entries_without_one(rig: Rig):
    rig.commits({PATH: manifest(ONE, base=None)}, {PATH: manifest(ONE, TWO, base=None)})
    found = judged(rig.giving(base=BASE))
    assert changes(found) == {"two": "added"}
    assert found.subjects[0].base == BASE


def test_an_entry_with_another_base_is_refused_though_it_did_not_change(rig: Rig):
    rig.commits({PATH: manifest(ONE, base=OTHER)}, {})
    with pytest.raises(UsageError, match="'one': the workflow's input base is"):
        judged(rig.giving(base=BASE))


# Named by the workflow.


def test_a_named_candidate_is_judged_whatever_changed(rig: Rig):
    rig.giving(manifest=None, candidate=TUNE, base=BASE, registered_name="bot")
    found = find_subjects(rig.inputs, rig.event, None, rig.github)
    (subject,) = found.subjects
    assert (subject.name, subject.change) == ("bot", "named")
    assert (subject.base, subject.candidate, subject.registered_name) == (BASE, TUNE, "bot")
    assert (found.manifest, found.num_unchanged) == (None, 0)
    assert rig.server.requests == []


def test_a_named_candidate_is_called_as_it_is(rig: Rig):
    rig.giving(manifest=None, candidate="hf:org/tune@main")
    (subject,) = find_subjects(rig.inputs, rig.event, None, rig.github).subjects
    assert (subject.name, subject.base) == ("org/tune", None)
    rig.giving(candidate="file:/models/\n" + "x" * 200)
    (subject,) = find_subjects(rig.inputs, rig.event, None, rig.github).subjects
    assert subject.name.startswith("/models/\\nxxx")
    assert len(subject.name) == 100


@pytest.mark.parametrize("given", [{}, {"candidate": TUNE, "manifest": PATH}], ids=["none", "both"])
def test_a_run_is_about_one_thing(rig: Rig, given: dict[str, str]):
    rig.giving(**{"manifest": None, "candidate": None, **given})
    with pytest.raises(UsageError, match="exactly one of them"):
        find_subjects(rig.inputs, rig.event, None, rig.github)


def test_a_difference_knows_where_the_head_left_the_base(rig: Rig):
    rig.commits({}, {"new": b"1"})
    assert rig.difference() == Difference(merge_base=rig.base, files=frozenset({"new"}))


# Where a folder is.


def test_a_model_elsewhere_stays_where_it_is(tmp_path: Path):
    assert located(TUNE, tmp_path) == TUNE
    assert located("file:/models/tune", None) == "file:/models/tune"


def test_a_folder_is_in_the_checkout_whether_it_is_there_or_not(tmp_path: Path):
    root = tmp_path.resolve()
    (root / "weights").mkdir()
    assert located("file:weights", root) == f"file:{root}/weights"
    assert located("file:absent/tune", root) == f"file:{root}/absent/tune"
    assert located("file:./weights/", root) == f"file:{root}/weights"


def test_the_checkout_itself_may_be_behind_a_link(tmp_path: Path):
    (tmp_path / "real" / "weights").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert located("file:weights", tmp_path / "link") == f"file:{tmp_path.resolve()}/real/weights"


@pytest.mark.parametrize("reference", ["file:..", "file:.", "file:a/../../b", "file:../b"])
def test_a_path_out_of_the_checkout_is_refused(tmp_path: Path, reference: str):
    (tmp_path / "workspace").mkdir()
    with pytest.raises(UsageError, match="leads out of the checkout"):
        located(reference, tmp_path / "workspace")


@pytest.mark.parametrize("target", ["outside", "workspace/inside"])
def test_a_link_in_a_path_is_refused_wherever_it_leads(tmp_path: Path, target: str):
    (tmp_path / "workspace" / "inside" / "tune").mkdir(parents=True)
    (tmp_path / "outside" / "tune").mkdir(parents=True)
    (tmp_path / "workspace" / "link").symlink_to(tmp_path / target)
    for reference in ("file:link", "file:link/tune"):
        with pytest.raises(UsageError, match="or through a link"):
            located(reference, tmp_path / "workspace")


def test_without_a_checkout_there_is_no_folder():
    with pytest.raises(UsageError, match="GITHUB_WORKSPACE is not set"):
        located("file:weights", None)
