"""Folders of a checkout are judged only if it is of the commit that is judged."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from sdi_gate.action.checkout import Checkout, commit_of
from sdi_gate.action.subjects import Subject
from sdi_gate.errors import NotFoundError, UsageError
from sdi_gate.integrations.runner.event import Event, Kind
from sdi_gate.policy.origins import Origin

if TYPE_CHECKING:
    from pathlib import Path

HEAD, MERGE, OTHER = "1" * 40, "2" * 40, "3" * 40
HUB = f"hf:org/base@{OTHER}"


@pytest.fixture
def workspace(tmp_path):
    (tmp_path / ".git" / "refs" / "heads").mkdir(parents=True)
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "model.safetensors").write_bytes(b"x")
    (tmp_path / ".git" / "HEAD").write_text(HEAD + "\n", encoding="utf-8")
    return tmp_path


def checkout(workspace: Path | None, *, name: str = "pull_request") -> Checkout:
    event = Event(name=name, kind=Kind.PULL_REQUEST, repository="org/models", head_sha=HEAD)
    return Checkout.of(None if workspace is None else str(workspace), event, MERGE)


def subject(candidate: str = "file:weights", *, line: int | None = 3) -> Subject:
    origin = None if line is None else Origin(file="models.yml", line=line, column=1)
    return Subject(name="one", base=HUB, candidate=candidate, change="changed", origin=origin)


def is_of(workspace: Path, commit: str) -> None:
    (workspace / ".git" / "HEAD").write_text(commit, encoding="utf-8")


@pytest.mark.parametrize("commit", [HEAD, MERGE])
def test_at_a_pull_request_the_head_and_its_merge_with_the_base_are_taken(workspace, commit):
    is_of(workspace, commit)
    checkout(workspace).check(subject())


@pytest.mark.parametrize("name", ["pull_request_target", "push", "merge_group", "schedule"])
def test_elsewhere_the_runners_own_commit_is_not_enough(workspace, name):
    is_of(workspace, MERGE)
    with pytest.raises(UsageError, match="expected a checkout of 111111111111, got one of 2222"):
        checkout(workspace, name=name).check(subject())


@pytest.mark.parametrize("head", ["", "ref: refs/heads/absent", "ref: ../../HEAD", "4" * 39])
def test_a_checkout_of_which_nothing_says_what_it_is_of_is_refused(workspace, head):
    is_of(workspace, head)
    with pytest.raises(UsageError, match="nothing says of which commit"):
        checkout(workspace).check(subject())


def test_another_commit_does_not_matter_to_a_model_on_the_hub(workspace):
    is_of(workspace, OTHER)
    checkout(workspace).check(subject(HUB))
    checkout(None).check(subject(HUB))


def test_a_folder_that_the_workflow_names_itself_may_come_from_a_step_before(workspace):
    is_of(workspace, OTHER)
    checkout(workspace).check(subject(line=None))


def test_a_folder_that_is_not_there_is_told_with_the_step_that_is_missing(workspace):
    with pytest.raises(NotFoundError, match="the checkout has no such folder") as raised:
        checkout(workspace).check(subject("file:absent"))
    assert "actions/checkout" in raised.value.hint


@pytest.mark.parametrize("line", [3, None])
def test_a_link_out_of_the_folder_is_refused_and_one_inside_is_not(workspace, line):
    (workspace / "weights" / "inside").symlink_to("model.safetensors")
    checkout(workspace).check(subject(line=line))
    (workspace / "blobs").mkdir()
    (workspace / "weights" / "sub").mkdir()
    (workspace / "weights" / "sub" / "out").symlink_to(workspace / "blobs")
    with pytest.raises(UsageError, match="'out' is a link out of the folder"):
        checkout(workspace).check(subject(line=line))


def test_a_commit_is_read_from_a_branch_loose_or_packed(workspace):
    is_of(workspace, "ref: refs/heads/main\n")
    packed = f"# pack-refs with: peeled\n{OTHER} refs/heads/mainly\n{MERGE} refs/heads/main\n"
    (workspace / ".git" / "packed-refs").write_text(packed, encoding="utf-8")
    assert commit_of(workspace) == MERGE
    (workspace / ".git" / "refs" / "heads" / "main").write_text(f"{HEAD}\n", encoding="utf-8")
    assert commit_of(workspace) == HEAD
