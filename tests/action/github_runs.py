"""A repository on loopback with a policy and a pull request, for tests of the action."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from github_server import JOB_TOKEN, GitHubServer

from sdi_gate.action.difference import Difference, difference_of
from sdi_gate.action.inputs import ActionInputs
from sdi_gate.action.policies import locate_policy, open_policy
from sdi_gate.action.policy_access import PolicyAccess
from sdi_gate.action.policy_edit import InForce
from sdi_gate.integrations.github.client import GitHub
from sdi_gate.integrations.github.line import Clock
from sdi_gate.integrations.runner.event import Event, Kind

if TYPE_CHECKING:
    from sdi_gate.policy.loader import LoadedPolicy

REPO = "org/models"
PATH = "policies/production.yml"
BASE_PATH = "policies/base.yml"
HEAD = "apiVersion: sdi-gate/v1\nkind: Policy\nmetadata: {name: production}\n"
PARENT = HEAD.replace("production", "base") + "limits:\n  sdi: {fail: 0.5}\n"
POLICY = HEAD + "extends: ./base.yml\nlimits:\n  sdi: {warn: 0.3, fail: 0.4}\n"
FILES = {PATH: POLICY.encode(), BASE_PATH: PARENT.encode(), "README.md": b"models\n"}


@dataclass(slots=True)
class Rig:
    """A server, with the commits of a pull request on it."""

    server: GitHubServer
    base: str = ""
    head: str = ""
    inputs: ActionInputs = field(default_factory=lambda: ActionInputs(policy=PATH))

    @property
    def github(self) -> GitHub:
        clock = Clock(sleep=lambda _: None)
        return GitHub(api_url=self.server.url, token=JOB_TOKEN, clock=clock)

    @property
    def access(self) -> PolicyAccess:
        return PolicyAccess(
            repository=REPO,
            api_url=self.server.url,
            github_token=JOB_TOKEN,
            policy_token=self.inputs.policy_token,
        )

    @property
    def event(self) -> Event:
        return Event(
            name="pull_request",
            kind=Kind.PULL_REQUEST,
            repository=REPO,
            head_sha=self.head,
            base_sha=self.base,
            policy_sha=self.base,
            default_branch="main",
            pull_request=7,
        )

    @property
    def other_event(self) -> Event:
        """Return an event without a base, such as a schedule."""
        return Event(name="schedule", kind=Kind.OTHER, repository=REPO, head_sha=self.head)

    def commits(self, before: dict[str, bytes], after: dict[str, bytes]) -> Rig:
        """Lay a commit on the base branch, and one on a topic branch after it."""
        self.base = self.server.commit(REPO, FILES | before, branch="main")
        self.head = self.server.commit(
            REPO, FILES | before | after, parents=(self.base,), branch="topic"
        )
        return self

    def without(self, path: str) -> Rig:
        """Take a file out of the topic branch."""
        del self.server.files[REPO, self.head, path]
        return self

    def giving(self, **inputs: object) -> Rig:
        self.inputs = replace(self.inputs, **inputs)
        return self

    def difference(self) -> Difference | None:
        return difference_of(self.event, self.github)

    def open(self, event: Event | None = None) -> LoadedPolicy:
        located = locate_policy(self.inputs.policy, event or self.event, self.github)
        return open_policy(located, self.inputs, self.access)

    def in_force(self) -> InForce:
        located = locate_policy(self.inputs.policy, self.event, self.github)
        loaded = open_policy(located, self.inputs, self.access)
        return InForce(located=located, loaded=loaded, inputs=self.inputs, sources=self.access)
