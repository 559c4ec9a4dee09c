"""The action from event to exit code: real models, a GitHub on loopback, a runner's rules."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
import torch
from action_job import HF_TOKEN, MLFLOW_TOKEN, REPOSITORY, SECRETS, Ended, Job
from github_server import JOB_LOGIN, JOB_TOKEN, Account, GitHubServer, PullRequest, refused
from hub_server import HubServer
from tiny_models import add_noise, build_base, perturb
from transformers.utils import logging as transformers_logging

import sdi_gate.action.judge as judge_module
import sdi_gate.cli.scanning as scanning_module
from sdi_gate.action.outcome import OUTPUTS

if TYPE_CHECKING:
    from pathlib import Path

POLICY = b"""apiVersion: sdi-gate/v1
kind: Policy
metadata: {name: production}
required-tier: weights
limits: {sdi: {fail: 0.2}}
"""
LAX = POLICY.replace(b"0.2", b"0.99")
NUMBER = 7
MARKER = "<!-- sdi-gate:comment:v1:"


def manifest_of(**entries: str) -> bytes:
    lines = ["apiVersion: sdi-gate/v1", "kind: Candidates", "base: file:base", "candidates:"]
    for name, folder in entries.items():
        lines += [f"  - name: {name}", f"    candidate: file:{folder}"]
    return ("\n".join(lines) + "\n").encode()


@dataclass
class World:
    """A repository, a pull request to it, and the jobs of its workflows."""

    github: GitHubServer
    job: Job
    base: str
    head: str = ""

    def push(self, manifest: bytes, *, policy: bytes = POLICY, **options) -> str:
        """Add a commit to the pull request."""
        parents = (self.head or self.base,)
        files = {"models.yml": manifest, "policies/production.yml": policy}
        self.head = self.github.commit(REPOSITORY, files, parents=parents, branch="topic")
        self.github.pull_requests[REPOSITORY, NUMBER] = PullRequest(
            base_sha=self.base, head_sha=self.head, head=options.pop("head", "org:topic"), **options
        )
        return self.head

    def payload(self, *, fork: bool = False) -> dict:
        home = {"full_name": "stranger/models" if fork else REPOSITORY}
        return {
            "action": "synchronize",
            "number": NUMBER,
            "repository": repository(),
            "pull_request": {
                "number": NUMBER,
                "base": {"sha": self.base, "ref": "main", "repo": {"full_name": REPOSITORY}},
                "head": {"sha": self.head, "ref": "topic", "repo": home},
            },
        }

    def pull_request(self, *, fork: bool = False, name: str = "pull_request", new: bool = False):
        start = self.job.start if new else self.job.here
        return start(name, self.payload(fork=fork))

    @property
    def comments(self) -> list:
        return self.github.comments


def repository() -> dict:
    return {"full_name": REPOSITORY, "id": 99, "default_branch": "main"}


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    base = build_base(folder / "base")
    perturb(base, folder / "near", add_noise(0.001))
    perturb(base, folder / "far", add_noise(2.0))
    perturb(base, folder / "middle", add_noise(0.002))
    return folder


@pytest.fixture
def world(models, tmp_path):
    before = torch.get_num_threads(), transformers_logging.get_verbosity()
    with GitHubServer() as github:
        files = {"models.yml": manifest_of(one="near"), "policies/production.yml": POLICY}
        base = github.commit(REPOSITORY, files, branch="main")
        job = Job(folder=tmp_path, api_url=github.url)
        job.inputs = {
            "policy": "policies/production.yml",
            "manifest": "models.yml",
            "tier": "weights",
            "threads": "1",
            "cache": str(tmp_path / "cache"),
            "github-token": JOB_TOKEN,
            "hf-token": HF_TOKEN,
            "mlflow-tracking-token": MLFLOW_TOKEN,
        }
        shutil.copytree(models, job.workspace)
        yield World(github=github, job=job, base=base)
    torch.set_num_threads(before[0])
    torch.use_deterministic_algorithms(mode=False)
    transformers_logging.set_verbosity(before[1])
    transformers_logging.enable_progress_bar()


def digest(path: str) -> str:
    with open(path, "rb") as file:  # noqa: PTH123
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"


def decision_line(markdown: str) -> str:
    """Return the first line that a reader sees."""
    lines = (line for line in markdown.split("\n") if line and not line.startswith("<!--"))
    return next(lines)


def assert_keeps_secrets(ended: Ended, world: World) -> None:
    told = [ended.shown, json.dumps(ended.outputs), ended.summary]
    told += [comment.body for comment in world.comments]
    told += [file.read_text(encoding="utf-8") for file in ended.out.rglob("*") if file.is_file()]
    # Before the first line that can be read, each secret is masked.
    assert set(SECRETS) <= ended.log.masks
    assert ended.text.startswith("::add-mask::")
    for secret in SECRETS:
        assert not any(secret in text for text in told)
        assert ended.text.count(secret) == ended.text.count(f"::add-mask::{secret}")


def test_a_pull_request_is_judged_commented_on_and_commented_on_again(world):
    world.push(manifest_of(one="near", two="far"))
    ended = world.pull_request(new=True)
    assert ended.code == 10, ended.shown
    assert ended.outputs["decision"] == "fail"
    assert ended.outputs["candidates"] == "1"
    assert float(ended.outputs["sdi"]) > 0.2
    assert ended.outputs["policy-digest"].startswith("sha256:")
    assert ended.outputs["report-digest"] == digest(ended.outputs["report-path"])
    assert ended.outputs["run-digest"] == digest(ended.outputs["run-path"])
    (comment,) = world.comments
    assert (comment.author, comment.number) == (JOB_LOGIN, NUMBER)
    assert comment.body.startswith(MARKER)
    assert "two" in comment.body
    assert "FAIL" in comment.body
    assert "FAIL" in ended.summary
    assert ended.annotations("error")
    assert [subject["name"] for subject in ended.run["subjects"]] == ["two"]
    assert ended.run["num_unchanged"] == 1
    assert (ended.out / "comment.md").read_text(encoding="utf-8") == comment.body
    assert (ended.out / "candidates" / "01" / "result.json").is_file()
    assert {told.name for told in ended.log.done} <= {"error", "warning", "notice"}
    assert_keeps_secrets(ended, world)

    world.push(manifest_of(one="near", two="middle"))
    again = world.pull_request()
    assert (again.code, again.outputs["decision"]) == (0, "pass"), again.shown
    assert [one.id for one in world.comments] == [comment.id]
    assert "PASS" in decision_line(world.comments[0].body)
    assert not again.annotations("error")


def test_a_pull_request_that_changes_no_candidate_passes_and_says_why(world):
    world.push(manifest_of(one="near"))
    ended = world.pull_request()
    assert (ended.code, ended.outputs["decision"], ended.outputs["sdi"]) == (0, "none", "")
    assert "nothing is to be judged" in ended.shown
    assert "NOTHING TO JUDGE" in ended.summary
    assert world.comments == []


def test_a_comment_of_before_is_corrected_when_nothing_is_left_to_judge(world):
    world.push(manifest_of(one="near", two="far"))
    assert world.pull_request().code == 10
    world.push(manifest_of(one="near"))
    ended = world.pull_request()
    assert (ended.code, ended.outputs["decision"]) == (0, "none")
    (comment,) = world.comments
    assert "NOTHING TO JUDGE" in decision_line(comment.body)
    assert not (ended.out / "candidates" / "01" / "result.json").exists()


def test_an_edit_of_the_policy_is_told_and_judges_nothing(world):
    world.push(manifest_of(one="near", two="far"), policy=LAX.replace(b"0.99", b"0.9999"))
    ended = world.pull_request()
    assert (ended.code, ended.outputs["decision"]) == (10, "fail"), ended.shown
    (comment,) = world.comments
    assert "The edit loosens the policy." in comment.body
    (subject,) = ended.run["subjects"]
    assert subject["proposed"]["status"] == "pass"


def test_a_manifest_in_the_checkout_is_not_looked_at(world):
    world.push(manifest_of(one="near", two="far"))
    (world.job.workspace / "models.yml").write_bytes(manifest_of(one="near"))
    (world.job.workspace / "policies").mkdir()
    (world.job.workspace / "policies" / "production.yml").write_bytes(LAX)
    assert world.pull_request().code == 10


def test_one_candidate_that_cannot_be_had_does_not_keep_others_from_being_judged(world):
    world.push(manifest_of(a="gone", b="far", one="near", c="middle"))
    ended = world.pull_request()
    found = {subject["name"]: subject for subject in ended.run["subjects"]}
    assert (ended.code, ended.outputs["decision"], ended.outputs["candidates"]) == (10, "fail", "2")
    assert found["a"]["error"]["exit_code"] == 4
    assert found["b"]["result"]["verdict"]["status"] == "fail"
    assert found["c"]["result"]["verdict"]["status"] == "pass"
    # Bases are named as the manifest has them: a runner's folders are nobody's business.
    assert {found[name]["result"]["base"]["reference"] for name in "bc"} == {"file:base"}
    assert str(world.job.workspace) not in world.comments[0].body


def test_an_error_alone_decides_where_all_else_passes(world):
    world.push(manifest_of(one="near", a="gone", c="middle"))
    ended = world.pull_request()
    assert (ended.code, ended.outputs["decision"]) == (4, "error")
    assert "ERROR" in decision_line(world.comments[0].body)


def fork(world):
    world.push(
        manifest_of(one="near", two="far"),
        head="stranger:topic",
        head_repository="stranger/models",
    )


def workflow_run(world) -> dict:
    return {
        "action": "completed",
        "repository": repository(),
        "workflow_run": {
            "id": 4711,
            "head_sha": world.head,
            "head_branch": "topic",
            "head_repository": {"full_name": "stranger/models", "owner": {"login": "stranger"}},
            "pull_requests": [],
        },
    }


@pytest.fixture
def follower(world, tmp_path):
    """The job of the second workflow, and the document that the first has stored."""
    fork(world)
    world.github.accounts[JOB_TOKEN].permissions = {"contents": "read"}
    first = world.pull_request(fork=True)
    assert (first.code, first.outputs["decision"]) == (10, "fail")
    assert "comes from a fork" in first.shown
    assert not first.annotations("warning")
    assert not [line for line in world.github.lines if "comments" in line]
    world.github.accounts[JOB_TOKEN] = Account()
    stored = tmp_path / "artifact.json"
    shutil.copy(first.outputs["run-path"], stored)
    job = Job(folder=tmp_path / "second", api_url=world.github.url)
    job.inputs = {
        "command": "comment",
        "policy": "policies/production.yml",
        "run": str(stored),
        "github-token": JOB_TOKEN,
    }
    return job, stored


def test_what_a_fork_has_stored_is_commented_by_a_second_workflow(world, follower):
    job, _ = follower
    ended = job.start("workflow_run", workflow_run(world))
    assert (ended.code, ended.outputs["decision"]) == (0, "none"), ended.shown
    (comment,) = world.comments
    assert comment.number == NUMBER
    assert comment.body.startswith(MARKER.replace("comment", "reported"))
    assert "Reported by a job of the fork: FAIL" in decision_line(comment.body)
    assert "were reported by a job of the pull request" in comment.body
    assert "This check is" not in comment.body
    assert JOB_TOKEN not in ended.shown + comment.body


def test_what_a_fork_reports_never_takes_the_place_of_what_a_job_of_ours_found(world, follower):
    job, _ = follower
    world.github.comments.clear()
    target = world.pull_request(fork=True, name="pull_request_target")
    assert target.code == 10
    job.start("workflow_run", workflow_run(world))
    ours, reported = sorted(world.comments, key=lambda comment: comment.id)
    assert ours.body.startswith(MARKER)
    assert decision_line(ours.body).startswith("## FAIL")
    assert reported.body.startswith(MARKER.replace("comment", "reported"))


def test_a_checkout_of_another_commit_is_not_judged_as_the_one_of_the_event(world):
    world.push(manifest_of(one="near", two="middle"))
    world.job.checked_out = "f" * 40
    ended = world.pull_request()
    assert (ended.code, ended.outputs["decision"]) == (2, "error")
    assert "expected a checkout of" in ended.shown


def test_a_cache_that_the_checkout_could_have_brought_is_refused(world):
    world.push(manifest_of(one="near", two="middle"))
    world.job.inputs["cache"] = str(world.job.workspace / "cache")
    ended = world.pull_request()
    assert ended.code == 2
    assert "cache: expected a folder outside the workspace" in ended.shown


def test_an_edit_of_the_policy_alone_is_told_in_a_comment(world):
    looser = POLICY.replace(b"0.", b"0.9", 1)
    assert looser != POLICY
    world.push(manifest_of(one="near"), policy=looser)
    ended = world.pull_request()
    assert (ended.code, ended.outputs["decision"]) == (0, "none")
    (comment,) = world.comments
    assert "The policy is edited here, too" in comment.body


def test_a_push_by_force_is_judged_whole(world):
    # What the old head brought is taken back; against the common ancestor nothing would show.
    files = {"models.yml": manifest_of(one="middle"), "policies/production.yml": POLICY}
    before = world.github.commit(REPOSITORY, files, parents=(world.base,), branch="main")
    files = {"models.yml": manifest_of(one="near"), "policies/production.yml": POLICY}
    after = world.github.commit(REPOSITORY, files, parents=(world.base,), branch="main")
    payload = {
        "repository": repository(),
        "before": before,
        "after": after,
        "ref": "refs/heads/main",
    }
    ended = world.job.here("push", payload, after)
    assert (ended.code, ended.outputs["candidates"]) == (0, "1"), ended.shown


def forged(**changes):
    def change(plain):
        for path, value in changes.items():
            part, _, key = path.partition("__")
            plain[part] = {**plain[part], key: value} if key else value
        return json.dumps(plain)

    return change


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (forged(event__head_sha="1" * 40), "it is of another commit"),
        (forged(event__repository="org/other"), "it is of another repository"),
        (forged(policy__key="0" * 16), "it is of another policy"),
        (forged(version=7), "not a run document"),
        (forged(extra="<script>"), "not a run document"),
        (lambda _: "no JSON", "not a run document"),
        (lambda _: "", "not a run document"),
    ],
    ids=["commit", "repository", "policy", "type", "key", "text", "empty"],
)
def test_a_document_that_is_forged_is_refused_and_nothing_is_posted(world, follower, change, told):
    job, stored = follower
    stored.write_text(change(json.loads(stored.read_text(encoding="utf-8"))), encoding="utf-8")
    ended = job.here("workflow_run", workflow_run(world))
    assert (ended.code, ended.outputs["decision"]) == (2, "error"), ended.shown
    assert told in ended.shown
    assert world.comments == []


def test_a_document_cannot_say_on_which_pull_request_it_is_commented(world, follower):
    job, stored = follower
    world.github.pull_requests[REPOSITORY, 8] = PullRequest(
        base_sha=world.base, head_sha=world.base, head="org:other"
    )
    plain = json.loads(stored.read_text(encoding="utf-8"))
    stored.write_text(forged(event__pull_request=8)(plain), encoding="utf-8")
    assert job.here("workflow_run", workflow_run(world)).code == 0
    assert [comment.number for comment in world.comments] == [NUMBER]


def test_a_second_workflow_that_cannot_comment_fails(world, follower):
    job, _ = follower
    world.github.accounts[JOB_TOKEN].permissions = {"contents": "read"}
    ended = job.here("workflow_run", workflow_run(world))
    assert ended.code == 6
    assert "pull-requests: write" in ended.shown


def test_without_a_token_nothing_is_written_and_the_verdict_stays(world):
    world.job.inputs |= {"github-token": "", "check-run": "true"}
    world.push(manifest_of(one="middle"))
    ended = world.pull_request()
    assert (ended.code, ended.outputs["decision"]) == (0, "pass"), ended.shown
    warnings = ended.annotations("warning")
    assert ["github-token is empty" in line for line in warnings] == [True, True]
    assert "give github-token: ${{ github.token }}" in ended.shown
    assert not any("comments" in line or "/user" in line for line in world.github.lines)


def test_problems_of_a_manifest_are_told_one_by_one(world):
    world.push(manifest_of(one="near") + b"  - nam: two\n    candidate: file:/far\n")
    ended = world.pull_request()
    assert ended.code == 2
    first, *others = ended.run["error"]["message"].split("; models.yml:")
    assert first.endswith(f"cannot be used: {len(others)} problems")
    assert len(others) > 1
    assert "\n" not in ended.run["error"]["message"]


def test_a_comment_that_is_not_called_for_is_not_said_to_be_absent(world):
    world.job.inputs["comment"] = "on-failure"
    world.push(manifest_of(one="near"))
    ended = world.pull_request()
    assert (ended.code, world.comments) == (0, [])
    assert "no comment: none is called for, and there is none to update" in ended.shown


def test_a_second_workflow_that_finds_no_pull_request_says_so_and_is_done(world, follower):
    job, _ = follower
    world.github.pull_requests[REPOSITORY, NUMBER].state = "closed"
    ended = job.here("workflow_run", workflow_run(world))
    assert (ended.code, world.comments) == (0, [])
    assert "no open pull request" in ended.shown


def test_a_fork_by_label_is_commented_on_by_the_workflow_of_the_base(world):
    fork(world)
    ended = world.pull_request(fork=True, name="pull_request_target")
    assert ended.code == 10
    assert len(world.comments) == 1


def test_a_merge_queue_is_judged_and_gets_no_comment(world):
    world.push(manifest_of(one="near", two="far"))
    queue = {
        "repository": repository(),
        "merge_group": {
            "base_sha": world.base,
            "head_sha": world.head,
            "base_ref": "refs/heads/main",
            "head_ref": f"refs/heads/gh-readonly-queue/main/pr-{NUMBER}-{world.base}",
        },
    }
    ended = world.job.here("merge_group", queue)
    assert (ended.code, ended.outputs["decision"]) == (10, "fail")
    assert world.comments == []


def test_a_push_to_a_new_branch_judges_every_candidate_by_the_default_branchs_policy(world):
    world.push(manifest_of(one="near", two="far"), policy=LAX.replace(b"0.99", b"0.9999"))
    pushed = {"repository": repository(), "before": "0" * 40, "after": world.head}
    ended = world.job.here("push", pushed)
    assert (ended.code, ended.outputs["candidates"]) == (10, "2")
    assert {subject["change"] for subject in ended.run["subjects"]} == {"present"}


def test_a_workflow_that_names_the_models_judges_that_pair_at_any_event(world):
    del world.job.inputs["manifest"]
    world.job.inputs |= {"base": "file:base", "candidate": "file:near"}
    ended = world.job.here("schedule", {"repository": repository()}, world.base)
    assert (ended.code, ended.outputs["decision"]) == (0, "pass"), ended.shown
    assert ended.run["subjects"][0]["change"] == "named"


@pytest.mark.parametrize(
    "answer",
    [
        refused(403, "Resource not accessible by integration"),
        refused(404, "Not Found"),
        refused(410, "This issue was deleted"),
        refused(422, "Validation Failed"),
        refused(429, "slow down", retry_after="3600"),
        refused(503, "down"),
    ],
    ids=lambda answer: str(answer.status),
)
def test_a_comment_that_cannot_be_made_changes_no_verdict(world, answer):
    for folder, code in (("middle", 0), ("far", 10)):
        world.push(manifest_of(one="near", two=folder))
        world.github.before = lambda asked: answer if "/comments" in asked.path else None
        ended = world.pull_request()
        assert ended.code == code, ended.shown
        assert ended.outputs["decision"] == ("pass" if code == 0 else "fail")
        (warning,) = ended.annotations("warning")
        assert warning.startswith("the comment could not be made")
        assert (ended.out / "comment.md").is_file()
        if answer.status == 503:
            break  # it waits between attempts


def test_a_comment_on_failure_is_made_when_the_gate_closes_and_kept_up_to_date(world):
    world.job.inputs["comment"] = "on-failure"
    for folder, num_comments, word in (("middle", 0, ""), ("far", 1, "FAIL"), ("near", 1, "PASS")):
        world.push(manifest_of(one="near", two=folder))
        world.pull_request()
        assert len(world.comments) == num_comments
        assert word in "".join(decision_line(comment.body) for comment in world.comments)
    world.job.inputs["comment"] = "never"
    world.push(manifest_of(one="near", two="far"))
    before = world.comments[0].body
    assert world.pull_request().code == 10
    assert [comment.body for comment in world.comments] == [before]


HOSTILE = "::error::x ##[add-mask]a @team <img src=x> | `b`"


def test_hostile_names_give_the_runner_no_command_and_the_page_no_html(world):
    hostile = "a ##[error]x @team <img src=x> ::add-mask::b"
    folder = "##[add-mask]sdi"
    shutil.copytree(world.job.workspace / "far", world.job.workspace / folder)
    written = manifest_of(one="near").decode()
    written += f"  - name: {json.dumps(hostile)}\n    candidate: {json.dumps(f'file:{folder}')}\n"
    written += f"  - name: {json.dumps(HOSTILE)}\n    candidate: 'file:##[group]gone'\n"
    world.push(written.encode(), head="org:##[warning]x")
    ended = world.pull_request(new=True)
    assert ended.code == 10, ended.shown
    assert {told.name for told in ended.log.done} <= {"error", "warning", "notice"}
    assert ended.log.masks == set(SECRETS)
    assert ended.log.token is None
    for text in (ended.summary, world.comments[0].body):
        assert "<img" not in text
        assert "@team" not in text
    assert set(ended.outputs) == set(OUTPUTS)
    assert_keeps_secrets(ended, world)


def test_a_policy_that_is_not_there_is_an_error_that_the_comment_tells(world):
    world.job.inputs["policy"] = "policies/none.yml"
    world.push(manifest_of(one="near", two="far"))
    ended = world.pull_request()
    assert (ended.code, ended.outputs["decision"]) == (3, "error"), ended.shown
    assert ended.outputs["candidates"] == "0"
    assert "ERROR" in decision_line(world.comments[0].body)
    assert "ERROR" in ended.summary


@pytest.mark.parametrize(
    ("raised", "code"), [(RuntimeError("::error::x"), 1), (KeyboardInterrupt(), 130)]
)
def test_a_crash_or_an_interrupt_ends_with_its_code_and_the_outputs_say_error(
    world, monkeypatch, raised, code
):
    def broken(*_: object) -> None:
        raise raised

    world.push(manifest_of(one="near", two="far"))
    monkeypatch.setattr(judge_module, "find_subjects", broken)
    ended = world.pull_request()
    assert (ended.code, ended.outputs["decision"]) == (code, "error")
    assert "no verdict was reached" in ended.shown
    (told,) = ended.annotations("error")
    assert f"exit code {code}" in told


def test_a_crash_of_one_scan_is_an_error_of_that_candidate(world, monkeypatch):
    whole = scanning_module.run_scan

    def broken(request, effects):
        if request.candidate.location.endswith("middle"):
            msg = "##[error]x"
            raise RuntimeError(msg)
        return whole(request, effects)

    world.push(manifest_of(one="near", two="middle", three="far"))
    monkeypatch.setattr(scanning_module, "run_scan", broken)
    ended = world.pull_request()
    assert ended.code == 10
    (error,) = [each["error"] for each in ended.run["subjects"] if each["error"]]
    assert error["exit_code"] == 1
    assert "RuntimeError" in error["message"]
    assert "##[error]x" not in error["message"]


def test_inputs_that_cannot_be_used_end_the_run_with_secrets_masked_all_the_same(world):
    world.job.inputs |= {"polcy": "x", "tier": "fast"}
    world.push(manifest_of(one="near"))
    ended = world.pull_request(new=True)
    assert (ended.code, ended.outputs["decision"]) == (2, "error"), ended.shown
    assert "did you mean policy?" in ended.shown
    assert "expected weights, probe, full or auto" in ended.shown
    assert ended.annotations("error")
    assert world.github.requests == []
    assert_keeps_secrets(ended, world)


def test_a_gpu_that_is_not_there_is_one_sentence_before_anything_is_fetched(world):
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    world.job.inputs["device"] = "cuda"
    world.push(manifest_of(one="near", two="far"))
    ended = world.pull_request()
    assert ended.code == 2
    assert "--gpus all" in ended.shown
    assert "Traceback" not in ended.text
    assert world.github.requests == []


def test_nothing_is_written_to_the_workspace_and_the_runners_user_owns_what_is_written(world):
    world.push(manifest_of(one="near", two="middle"))
    (world.job.workspace / ".git").mkdir()
    (world.job.workspace / ".git" / "HEAD").touch()
    before = sorted(world.job.workspace.rglob("*"))
    if os.geteuid() == 0:
        (world.job.folder / "temp").mkdir()
        os.chown(world.job.folder / "temp", 1001, 1002)
    world.job.inputs |= {"sarif": "true", "junit": "true"}
    ended = world.pull_request()
    assert ended.code == 0
    assert sorted(world.job.workspace.rglob("*")) == before
    names = {"candidates", "comment.md", "junit.xml", "report.md", "results.sarif", "run.json"}
    assert {path.name for path in ended.out.iterdir()} == names
    if os.geteuid() == 0:
        owners = {(path.stat().st_uid, path.stat().st_gid) for path in ended.out.rglob("*")}
        assert owners == {(1001, 1002)}


def test_an_out_folder_in_the_workspace_is_refused(world):
    world.job.inputs["out"] = str(world.job.workspace / "out")
    world.push(manifest_of(one="near"))
    ended = world.pull_request()
    assert ended.code == 2
    assert "outside the workspace" in ended.shown


def test_a_check_run_says_what_the_exit_code_says(world):
    world.job.inputs["check-run"] = "true"
    world.push(manifest_of(one="near", two="far"))
    assert world.pull_request().code == 10
    (check,) = world.github.check_runs
    assert (check["conclusion"], check["head_sha"]) == ("failure", world.head)
    assert check["name"] == "sdi-gate: production"
    world.github.accounts[JOB_TOKEN].permissions = {"contents": "read", "pull_requests": "write"}
    ended = world.pull_request()
    assert ended.code == 10
    assert "the check run could not be made" in ended.annotations("warning")[0]


def test_a_second_workflow_comments_at_its_own_event_only_and_on_what_it_can_read(world, follower):
    job, stored = follower
    ended = job.here("pull_request", world.payload())
    assert (ended.code, world.comments) == (2, [])
    assert "expected the event workflow_run" in ended.shown
    stored.unlink()
    ended = job.here("workflow_run", workflow_run(world))
    assert ended.code == 2
    assert "run: the file cannot be read" in ended.shown


def test_models_of_the_hub_are_fetched_with_the_token_into_the_cache(world, models):
    with HubServer() as hub:
        base = f"hf:org/base@{hub.commit('org/base', models / 'base')}"
        tune = f"hf:org/tune@{hub.commit('org/tune', models / 'near')}"
        world.job.variables = {"HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0"}
        entry = f"  - name: hub\n    base: {base}\n    candidate: {tune}\n"
        world.push(manifest_of(one="near") + entry.encode())
        ended = world.pull_request(new=True)
        assert (ended.code, ended.outputs["decision"]) == (0, "pass"), ended.shown
        assert f"Bearer {HF_TOKEN}" in {request.token for request in hub.requests}
    (subject,) = ended.run["subjects"]
    assert subject["result"]["base"]["reference"] == base
    assert subject["result"]["candidate"]["reference"] == tune
    assert {path.name for path in (world.job.folder / "cache").iterdir()} == {
        "huggingface",
        "profiles",
    }
    assert_keeps_secrets(ended, world)


def test_an_interrupt_of_a_scan_ends_the_run(world, monkeypatch):
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    world.push(manifest_of(one="near", two="middle", three="far"))
    monkeypatch.setattr(scanning_module, "run_scan", interrupted)
    ended = world.pull_request()
    assert (ended.code, ended.outputs["decision"]) == (130, "error")
    assert world.comments == []


def test_a_candidates_files_that_cannot_be_written_turn_a_pass_into_6(world, monkeypatch):
    whole = scanning_module.run_scan

    def in_the_way(request, effects):
        (world.job.folder / "temp/sdi-gate/candidates/01/report.md").mkdir()
        return whole(request, effects)

    world.push(manifest_of(one="near", two="middle"))
    monkeypatch.setattr(scanning_module, "run_scan", in_the_way)
    ended = world.pull_request()
    assert (ended.code, ended.outputs["decision"]) == (6, "pass"), ended.shown
