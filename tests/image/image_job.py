"""A step of a workflow whose program is in a container, in each of the ways there are."""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path

import engine
from github_server import JOB_TOKEN, GitHubServer, PullRequest
from runner_parser import Runner, parse_outputs

REPOSITORY, NUMBER = "org/models", 7
HF_TOKEN = "hf_canaryCANARYcanaryCANARYcanary"  # noqa: S105 - nobody's
POLICY = b"""apiVersion: sdi-gate/v1
kind: Policy
metadata: {name: production}
required-tier: weights
limits: {sdi: {fail: 0.2}}
"""
MANIFEST = """apiVersion: sdi-gate/v1
kind: Candidates
base: file:base
candidates:
  - {name: one, candidate: file:%s}
"""
# What the runner mounts, and where; the socket of Docker comes on top of these.
FOLDERS = ("runner_temp", "home", "workflow", "file_commands", "workspace")
_COMMANDS = {"GITHUB_OUTPUT": "set_output", "GITHUB_STEP_SUMMARY": "step_summary"}


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a step ended, as the runner sees it."""

    code: int
    log: str
    outputs: dict[str, str]
    summary: str

    @property
    def errors(self):
        return [told.data for told in Runner().read(self.log).done if told.name == "error"]


@dataclass(kw_only=True)
class ImageJob:
    """A job of a pull request to a repository whose checkout has models."""

    folder: Path
    image: str
    github: GitHubServer
    options: tuple[str, ...] = ()
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def workspace(self):
        return self.folder / "workspace"

    def inputs(self, **changes):
        """Give the inputs of a step that judges the manifest on the CPU."""
        given = {
            "policy": "policies/production.yml",
            "manifest": "models.yml",
            "tier": "weights",
            "threads": "1",
            "github-token": JOB_TOKEN,
            "hf-token": HF_TOKEN,
        }
        return given | {name.replace("_", "-"): value for name, value in changes.items()}

    def push(self, candidate):
        """Let the pull request add a candidate to the manifest."""
        policy = {"policies/production.yml": POLICY}
        base = self.github.commit(REPOSITORY, policy, branch="main")
        manifest = {"models.yml": (MANIFEST % candidate).encode(), **policy}
        head = self.github.commit(REPOSITORY, manifest, parents=(base,), branch="topic")
        # As the step before has checked it out.
        (self.workspace / ".git").mkdir(exist_ok=True)
        (self.workspace / ".git/HEAD").write_text(f"{head}\n", encoding="utf-8")
        self.github.pull_requests[REPOSITORY, NUMBER] = PullRequest(
            base_sha=base, head_sha=head, head="org:topic"
        )
        repository = {"full_name": REPOSITORY, "default_branch": "main"}
        return {
            "action": "synchronize",
            "number": NUMBER,
            "repository": repository,
            "pull_request": {
                "number": NUMBER,
                "base": {"sha": base, "ref": "main", "repo": {"full_name": REPOSITORY}},
                "head": {"sha": head, "ref": "topic", "repo": {"full_name": REPOSITORY}},
            },
        }

    def as_container_action(self, payload, **inputs):
        """Start the image with the arguments that the runner starts a container action with."""
        for name in FOLDERS:
            (self.folder / name).mkdir(exist_ok=True)
        (self.folder / "workflow/event.json").write_text(json.dumps(payload), encoding="utf-8")
        for name in _COMMANDS.values():
            (self.folder / "file_commands" / name).write_text("", encoding="utf-8")
        environment = {
            **self._variables("/github/workspace", "/github/workflow/event.json"),
            "GITHUB_OUTPUT": "/github/file_commands/set_output",
            "GITHUB_STEP_SUMMARY": "/github/file_commands/step_summary",
            "HOME": "/github/home",
            "RUNNER_TEMP": "/github/runner_temp",
            **{f"INPUT_{name.upper()}": value for name, value in inputs.items()},
        }
        options = [word for key, value in environment.items() for word in ("-e", f"{key}={value}")]
        for name in FOLDERS:
            options += ["-v", f"{self.folder / name}:/github/{name}"]
        command = ["podman", "run", "--rm", "--workdir", "/github/workspace", *options]
        done = engine.ran(*command, *self.options, self.image, check=False, timeout_s=300)
        return self._ended(done, self.folder / "file_commands")

    def as_composite_action(self, payload, docker, **inputs):
        """Run the launcher as a runner's own user, with a docker that it can talk to."""
        launcher = self.folder / "launch.sh"
        launcher.write_bytes((engine.PROJECT / "action/launch.sh").read_bytes())
        files = self.folder / "temp/_runner_file_commands"
        files.mkdir(parents=True)
        (self.folder / "temp/event.json").write_text(json.dumps(payload), encoding="utf-8")
        for name in _COMMANDS.values():
            (files / name).write_text("", encoding="utf-8")
        for path in (self.folder, *self.folder.rglob("*")):
            os.chown(path, docker.user, docker.user)
        environment = {
            **self._variables(str(self.workspace), str(self.folder / "temp/event.json")),
            **{key: str(files / name) for key, name in _COMMANDS.items()},
            **{f"INPUT_{key.upper().replace('-', '_')}": value for key, value in inputs.items()},
            **docker.environment,
            "HOME": str(self.folder),
            "RUNNER_TEMP": str(self.folder / "temp"),
        }
        user = {"user": docker.user, "group": docker.user, "extra_groups": []}
        done = engine.ran("bash", launcher, check=False, env=environment, cwd=self.folder, **user)
        return self._ended(done, files)

    def _variables(self, workspace, event):
        return {
            "CI": "true",
            "GITHUB_ACTIONS": "true",
            "GITHUB_API_URL": self.github.url,
            "GITHUB_EVENT_NAME": "pull_request",
            "GITHUB_EVENT_PATH": event,
            "GITHUB_REPOSITORY": REPOSITORY,
            "GITHUB_RUN_ID": "4711",
            "GITHUB_SERVER_URL": "https://github.com",
            "GITHUB_SHA": "0" * 40,
            "GITHUB_WORKSPACE": workspace,
            **self.variables,
        }

    def _ended(self, done, files):
        texts = [(files / name).read_text(encoding="utf-8") for name in _COMMANDS.values()]
        return Ended(
            code=done.returncode,
            log=done.stdout,
            outputs=parse_outputs(texts[0]),
            summary=texts[1],
        )
