"""Write a first policy, and its test, from one of the postures that ship."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING

from pydantic import ValidationError

from sdi_gate.errors import UsageError
from sdi_gate.policy.format.provisions import Metadata

if TYPE_CHECKING:
    from pathlib import PurePath

POSTURES = ("default", "observe", "strict", "regulated")

_NAME = re.compile(r"^  name: .*$", re.MULTILINE)
_OWNER = re.compile(r"^  owner: .*$", re.MULTILINE)
_POLICY = re.compile(r"^policy: .*$", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Hold the texts of a first policy and of its test."""

    policy: str
    test: str


def start(posture: str, metadata: Metadata, file: PurePath) -> Start:
    """Return a first policy and its test.

    Args:
        posture: One of `POSTURES`.
        metadata: Its name, and its owner, if the posture's is not to stay.
        file: Name of the policy's file, beside which the test will be.

    Returns:
        The posture's texts, with this name and owner.
    """
    policy = _text(f"{posture}.yml")
    policy = _replaced(_NAME, f"  name: {_scalar(metadata.name)}", policy)
    if metadata.owner is not None:
        policy = _replaced(_OWNER, f"  owner: {_scalar(metadata.owner)}", policy)
    test = _text(f"{posture}.test.yml")
    return Start(
        policy=policy, test=_replaced(_POLICY, f"policy: {_scalar(f'./{file.name}')}", test)
    )


def metadata_of(name: str, owner: str | None) -> Metadata:
    """Check what a policy is to be called.

    Args:
        name: Its name.
        owner: Who is to own it.

    Returns:
        Both.

    Raises:
        UsageError: If a policy may not have such a name or owner.
    """
    try:
        metadata = Metadata(name=name, owner=owner)
    except ValidationError as exc:
        key = str(exc.errors()[0]["loc"][0])
        got = {"name": name, "owner": owner}[key]
        msg = f"--{key}: a policy cannot have the {key} {got!r:.80}"
        raise UsageError(msg, hint=_HINTS[key]) from exc
    if owner is not None and not owner.isprintable():
        msg = f"--owner: a policy cannot have the owner {owner!r:.80}"
        raise UsageError(msg, hint=_HINTS["owner"])
    return metadata


_HINTS = {
    "name": "a name is 1 to 64 lower-case letters, digits and hyphens",
    "owner": "an owner is one line of at most 200 characters, such as model-governance",
}


def _text(name: str) -> str:
    return (files("sdi_gate.policy") / "postures" / name).read_text(encoding="utf-8")


def _replaced(line: re.Pattern[str], new: str, text: str) -> str:
    # The new line is text, not a template with groups.
    found, number = line.subn(lambda _: new, text, count=1)
    assert number == 1, f"a posture has no line {line.pattern}"  # noqa: S101 - they are ours
    return found


_PLAIN = re.compile(r"[a-z]+(-[a-z]+)+|\./[A-Za-z0-9_.-]+")


def _scalar(text: str) -> str:
    # With quotes, unless nobody could take it for anything else than text.
    return text if _PLAIN.fullmatch(text) else json.dumps(text, ensure_ascii=False)
