"""Read from the runner's variables what a workflow runs for, and where GitHub is."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from sdi_gate.errors import UsageError
from sdi_gate.files import read_at_most
from sdi_gate.integrations.github.client import GitHub
from sdi_gate.integrations.runner.event import read_event

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sdi_gate.action.inputs import ActionInputs
    from sdi_gate.integrations.runner.event import Event

# GitHub sends no larger payload.
_MAX_PAYLOAD_BYTES = 25_000_000
_NUMBER = re.compile(r"[0-9]{1,20}")
_HINT = "the action runs in a step of a workflow, where the runner sets it"


def event_of(environment: Mapping[str, str]) -> Event:
    """Read what the workflow runs for.

    Args:
        environment: The process's.

    Returns:
        The event.

    Raises:
        UsageError: If the runner's variables or its file are missing, or cannot be used.
    """
    path = environment.get("GITHUB_EVENT_PATH", "")
    if not path:
        msg = "GITHUB_EVENT_PATH is not set: there is no event, and nothing says what is judged"
        raise UsageError(msg, hint=_HINT)
    try:
        payload = read_at_most(path, _MAX_PAYLOAD_BYTES)
    except (OSError, ValueError) as exc:
        why = exc.strerror if isinstance(exc, OSError) else "it is no path"
        msg = f"the file that GITHUB_EVENT_PATH names cannot be read: {why}"
        raise UsageError(msg, hint=_HINT) from exc
    return read_event(
        name=environment.get("GITHUB_EVENT_NAME", ""),
        payload=payload,
        repository=environment.get("GITHUB_REPOSITORY", ""),
        sha=environment.get("GITHUB_SHA", ""),
    )


def github_of(inputs: ActionInputs, environment: Mapping[str, str]) -> GitHub:
    """Return the client with the token of the job.

    Args:
        inputs: The inputs.
        environment: The process's.

    Returns:
        The client, for GitHub or the Enterprise Server on which the workflow runs.

    Raises:
        GitHubError: If the address or the token cannot be used.
    """  # noqa: DOC502 - raised by the client
    return GitHub(api_url=environment.get("GITHUB_API_URL") or None, token=inputs.github_token)


def check_token(inputs: ActionInputs) -> None:
    """Refuse to write where no token was given, before anything is asked.

    Args:
        inputs: The inputs.

    Raises:
        UsageError: If there is none.
    """
    if not inputs.github_token:
        msg = "github-token is empty, so that nothing can be written on GitHub"
        raise UsageError(msg, hint="give github-token: ${{ github.token }}")


def run_url_of(environment: Mapping[str, str], repository: str) -> str | None:
    """Return the address of the run's page.

    Args:
        environment: The process's.
        repository: ``owner/name``.

    Returns:
        The address; None if the runner does not say.
    """
    server, run = environment.get("GITHUB_SERVER_URL", ""), environment.get("GITHUB_RUN_ID", "")
    if not server.startswith("https://") or not server.isprintable() or not _NUMBER.fullmatch(run):
        return None
    return f"{server.rstrip('/')}/{repository}/actions/runs/{run}"
