"""Run the action as a job of a workflow runs it, and read what it says as the runner does."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from github_server import JOB_TOKEN
from runner_parser import Runner, parse_outputs

from sdi_gate.action.main import main

if TYPE_CHECKING:
    from pathlib import Path

REPOSITORY = "org/models"
HF_TOKEN = "hf_canaryCANARYcanaryCANARYcanary"  # noqa: S105 - nobody's
MLFLOW_TOKEN = "mlflow-canary-canary-canary"  # noqa: S105
SECRETS = (JOB_TOKEN, HF_TOKEN, MLFLOW_TOKEN)
_PRIVATE = ("HF_", "HUGGING", "SDI_", "PYTHON", "GITHUB_", "RUNNER_", "INPUT_", "GH_", "COV_")


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a step ended, as the runner sees it."""

    code: int
    log: Runner
    text: str
    outputs: dict[str, str]
    summary: str
    out: Path

    @property
    def shown(self) -> str:
        return "\n".join(self.log.shown)

    @property
    def run(self) -> dict:
        return json.loads((self.out / "run.json").read_text(encoding="utf-8"))

    def annotations(self, level: str) -> list[str]:
        return [told.data for told in self.log.done if told.name == level]


def head_of(payload: object) -> str | None:
    """The commit that an event is about, if its payload says."""
    if not isinstance(payload, dict):
        return None
    if "pull_request" in payload:
        return payload["pull_request"]["head"]["sha"]
    if "merge_group" in payload:
        return payload["merge_group"]["head_sha"]
    return payload.get("after")


@dataclass(kw_only=True)
class Job:
    """One job: its folders, its variables and its inputs."""

    folder: Path
    api_url: str
    inputs: dict[str, str] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)
    num_steps: int = 0
    # Of the workspace; None for what the event is about, as a workflow should have it.
    checked_out: str | None = None

    @property
    def workspace(self) -> Path:
        return self.folder / "workspace"

    def environment(self, name: str, payload: object, sha: str) -> dict[str, str]:
        files = self.folder / f"step-{self.num_steps}"
        for part in (files, self.folder / "temp", self.workspace):
            part.mkdir(parents=True, exist_ok=True)
        for file in ("output", "summary"):
            (files / file).touch()
        (files / "event.json").write_text(json.dumps(payload), encoding="utf-8")
        (self.workspace / ".git").mkdir(exist_ok=True)
        head = f"{self.checked_out or head_of(payload) or sha}\n"
        (self.workspace / ".git" / "HEAD").write_text(head, encoding="utf-8")
        kept = {key: value for key, value in os.environ.items() if not key.startswith(_PRIVATE)}
        own = {
            "CI": "true",
            "GITHUB_ACTIONS": "true",
            "GITHUB_API_URL": self.api_url,
            "GITHUB_EVENT_NAME": name,
            "GITHUB_EVENT_PATH": str(files / "event.json"),
            "GITHUB_OUTPUT": str(files / "output"),
            "GITHUB_REPOSITORY": REPOSITORY,
            "GITHUB_RUN_ID": "4711",
            "GITHUB_SERVER_URL": "https://github.com",
            "GITHUB_SHA": sha,
            "GITHUB_STEP_SUMMARY": str(files / "summary"),
            "GITHUB_WORKSPACE": str(self.workspace),
            "HF_HUB_OFFLINE": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            "OMP_NUM_THREADS": "1",
            "RUNNER_TEMP": str(self.folder / "temp"),
        }
        given = {f"INPUT_{key.upper()}": value for key, value in self.inputs.items()}
        return kept | own | given | self.variables

    def start(self, name: str, payload: object, sha: str = "0" * 40, *words: str) -> Ended:
        """Run a step in a process of its own."""
        environment = self.environment(name, payload, sha)
        done = subprocess.run(  # noqa: S603 - the arguments are ours
            [sys.executable, "-m", "sdi_gate.action", *words],
            check=False,
            cwd=self.workspace,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            timeout=300,
        )
        return self._ended(done.returncode, done.stdout, environment)

    def here(self, name: str, payload: object, sha: str = "0" * 40, *words: str) -> Ended:
        """Run a step in this process, which has the libraries loaded; no test may need its own."""
        environment = self.environment(name, payload, sha)
        out = io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()):
            code = main(list(words), environment)
        return self._ended(code, out.getvalue(), environment)

    def _ended(self, code: int, text: str, environment: dict[str, str]) -> Ended:
        self.num_steps += 1
        read = {}
        for variable in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY"):
            with open(environment[variable], encoding="utf-8") as file:  # noqa: PTH123
                read[variable] = file.read()
        return Ended(
            code=code,
            log=Runner().read(text),
            text=text,
            outputs=parse_outputs(read["GITHUB_OUTPUT"]),
            summary=read["GITHUB_STEP_SUMMARY"],
            out=self.folder / "temp" / "sdi-gate",
        )
