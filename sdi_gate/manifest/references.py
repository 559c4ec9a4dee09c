"""Check references of a manifest: what they name must not become another model unseen.

A model on the Hub is named with its commit. A folder is one of the repository, by the one path
under which a change of its files is seen.
"""

from __future__ import annotations

import re

from sdi_gate.models.ref import is_repo_name
from sdi_gate.policy.format.places import quoted

HUB_FORM = "hf:org/name@COMMIT"
FOLDER_FORM = "file:path/to/folder"
# What a schema can say of a reference; `problem_of` says the rest.
PATTERN = r"^(hf:[A-Za-z0-9_][A-Za-z0-9_./-]*@[0-9a-f]{40}|file:[^/\\].*)$"

_FOLDER = "file:"
_HUB = "hf:"
_COMMIT = re.compile(r"[0-9a-f]{40}")


def problem_of(text: str) -> str | None:
    """Say why a manifest cannot name a model so.

    Args:
        text: The reference.

    Returns:
        What is wrong and what to write; None for ``hf:org/name@COMMIT`` with all 40 hex digits,
        and for ``file:`` with the path of a folder from the top of the repository.
    """
    if text.startswith(_HUB):
        return _hub_problem(text)
    if text.startswith(_FOLDER):
        return path_problem(text.removeprefix(_FOLDER))
    return f"{quoted(text)} is not a model; write {HUB_FORM} or {FOLDER_FORM}"


def path_problem(path: str) -> str | None:
    """Say why a text is not the path of something in a repository.

    Args:
        path: The text.

    Returns:
        What is wrong and what to write; None for names with ``/`` between them, in the one form
        that Git knows them by.
    """
    shown = quoted(path)
    names = path.split("/")
    if not path or path.startswith(("/", "~")) or "\\" in path or not path.isprintable():
        return f"{shown} is not a path in the repository; give one from its top, with / in it"
    if ".." in names:
        return f"{shown} leads out of its folder; give the path from the top of the repository"
    if "" in names or "." in names:
        return f"{shown} has a part that is empty or '.'; give the path without it"
    return None


def folder_of(reference: str) -> str | None:
    """Return the folder that a reference names.

    Args:
        reference: A reference of a manifest.

    Returns:
        Its path from the top of the repository; None for a model that is elsewhere.
    """
    return reference.removeprefix(_FOLDER) if reference.startswith(_FOLDER) else None


def same_model(one: str, other: str) -> str | None:
    """Say why two references name the same files.

    Args:
        one: A reference of a manifest.
        other: Another one.

    Returns:
        One clause; None if they need not be the same. Repositories that were renamed or copied
        share commits: what stands before a commit does not matter.
    """
    if one == other:
        return "both are the same reference"
    _, _, commit = one.rpartition("@")
    if one.startswith(_HUB) and other.startswith(_HUB) and other.endswith(f"@{commit}"):
        return f"both are at commit {commit}, which is the same files under any name"
    return None


def _hub_problem(text: str) -> str | None:
    name, at, commit = text.removeprefix(_HUB).partition("@")
    if not is_repo_name(name):
        return f"{quoted(name)} is not a repository on the Hub; write {HUB_FORM}"
    if at and _COMMIT.fullmatch(commit):
        return None
    got = quoted(commit) if commit else "none"
    return (
        "a model on the Hub must be pinned, for a branch or a tag can be moved to other weights;"
        f" write {HUB_FORM} with all 40 lower-case hex digits of the commit, got {got}"
    )
