"""Declare the inputs of the action, and find them among the runner's variables."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from sdi_gate.action.values import shown

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

AUTHOR = "github-actions[bot]"
_PREFIX = "INPUT_"
# What each input is, as --help and the tests of action.yml have it.
KNOWN_INPUTS = {
    "command": "judge (default), or comment: post what a job of a fork has stored.",
    "base": "The model it was made from, such as hf:org/name@COMMIT.",
    "candidate": "The fine-tune, or an adapter; or else give manifest.",
    "registered-name": "Name of the candidate in a registry, for match blocks and waivers.",
    "manifest": "File of the repository that names several candidates.",
    "policy": "File of the repository on the base side, owner/repo//path@COMMIT, or"
    " hf:org/name@COMMIT//path.",
    "expect-policy-digest": "Refuse a policy with another digest.",
    "minimum-policy-revision": "Refuse a policy of a lower metadata.revision, or of none.",
    "policy-public-key": "Refuse a policy that this key has not signed: the key's text.",
    "policy-token": "Token to read a policy in another repository with.",
    "github-token": "Token of the job.",
    "hf-token": "Token for models on the Hub.",
    "mlflow-tracking-uri": "Address of the MLflow server.",
    "mlflow-tracking-token": "Token for it.",
    "tier": "Highest tier to run: weights, probe, full or auto (default).",
    "budget": "Time for each candidate, such as 30m; what does not fit is cut, and said.",
    "device": "Where to compute: auto (default), cpu or cuda.",
    "threads": "CPU threads; default: all there are.",
    "cache": "Folder that outlives the job, for models and profiles of bases.",
    "comment": "When to comment: always (default), on-failure or never.",
    "comment-author": f"Login whose comments are ours; default: the token's user, else {AUTHOR}.",
    "out": "Folder for the files; default: sdi-gate in the runner's temporary folder.",
    "sarif": "Write results.sarif, too: true or false (default).",
    "junit": "Write junit.xml, too: true or false (default).",
    "check-run": "Make a check run, too: true or false (default).",
    "run": "With command comment: path of the run.json that the other job has stored.",
}
# The runner and the launcher read these themselves.
_OTHERS = frozenset({"args", "entrypoint", "image"})
_SECRETS = ("policy-token", "github-token", "hf-token", "mlflow-tracking-token")
# Variables of the libraries, which a workflow may set itself.
_SECRET_VARIABLES = (
    *("GITHUB_TOKEN", "GH_TOKEN", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"),
    *("MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_PASSWORD"),
)


def forms_of(name: str) -> tuple[str, str]:
    """Return the variables in which an input can arrive.

    Args:
        name: The input.

    Returns:
        With dashes, as a runner that starts a container has it; with underscores, as a shell can.
    """
    dashed = f"{_PREFIX}{name.upper()}"
    return dashed, dashed.replace("-", "_")


def strangers(environment: Mapping[str, str]) -> Iterator[str]:
    """Find variables that would be inputs, and are none.

    Args:
        environment: The process's.

    Yields:
        What is wrong with each: a typing error must not leave out what somebody meant.
    """
    known = {form for name in (*KNOWN_INPUTS, *_OTHERS) for form in forms_of(name)}
    for key in sorted(environment):
        if key.startswith(_PREFIX) and key not in known:
            name = key.removeprefix(_PREFIX).lower().replace("_", "-")
            near = difflib.get_close_matches(name, KNOWN_INPUTS, n=1)
            meant = f"; did you mean {near[0]}?" if near else ""
            yield f"{shown(name)} is no input{meant}"


def given_secrets(environment: Mapping[str, str]) -> tuple[str, ...]:
    """Find the secrets that were given, whatever is wrong with them or with other inputs.

    Args:
        environment: The process's.

    Returns:
        Each line of each, none of them empty.
    """
    forms = [form for name in _SECRETS for form in forms_of(name)]
    given = [environment.get(key, "") for key in (*forms, *_SECRET_VARIABLES)]
    for key in (*forms_of("mlflow-tracking-uri"), "MLFLOW_TRACKING_URI"):
        # Only what stands before the host is secret: a password, or a token without a name.
        host = environment.get(key, "").partition("://")[2].partition("/")[0]
        user, _, password = host.rpartition("@")[0].partition(":")
        given.append(password or user)
    lines = (line.strip() for text in given for line in text.splitlines())
    return tuple(dict.fromkeys(filter(None, lines)))
