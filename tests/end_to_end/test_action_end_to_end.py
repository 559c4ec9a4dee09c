"""The action from an event to the exit code: real models, a GitHub on loopback, a runner's rules."""

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
from tiny_models import add_noise, build_base, perturb
from transformers.utils import logging as transformers_logging

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


def test_debug_print(world):
    world.push(manifest_of(one="near", two="far"))
    ended = world.pull_request(new=True)
    print(ended.text)
    print(ended.outputs)
    print(world.comments[0].body[:3000])
    print(world.github.lines)
    assert 0
