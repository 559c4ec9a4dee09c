"""Read the payload of an event: JSON of bounded size, of which only the fields used are checked."""

from __future__ import annotations

import json
import re
from typing import Final

from sdi_gate.errors import UsageError
from sdi_gate.policy.format.spelling import visible

_MAX_BYTES: Final = 25_000_000  # GitHub sends no larger payload
_MAX_DEPTH: Final = 100
_MAX_BRANCH: Final = 255  # git keeps a branch as a file
_MAX_SHOWN: Final = 80
_MAX_NUMBER: Final = 2**53  # the largest whole number that every reader of JSON keeps

_HINT: Final = "GITHUB_EVENT_PATH must name the file that the runner wrote"

_SHA = re.compile(r"[0-9a-f]{40}")
# A dot alone, or two, would climb in the paths of the API.
_REPOSITORY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}/(?!\.{1,2}\Z)[A-Za-z0-9._-]{1,100}")
_OWNER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")


class Payload:
    """Look up the fields of a payload by path, and refuse what is not of the type expected.

    Args:
        event: Name of the event, for messages.
        root: What the payload holds.
    """

    __slots__ = ("_event", "_root")

    def __init__(self, event: str, root: dict[str, object]) -> None:
        self._event = event
        self._root = root

    def has(self, path: str) -> bool:
        """Say whether a field is there, and is not null.

        Args:
            path: Names of fields, joined by dots.

        Returns:
            Whether it is there.
        """
        return self._at(path) is not None

    def sha(self, path: str) -> str:
        """Return the name of a commit.

        Args:
            path: Names of fields, joined by dots.

        Returns:
            40 hexadecimal digits.

        Raises:
            UsageError: If the field is absent or holds something else.
        """
        found = self._at(path)
        if isinstance(found, str) and _SHA.fullmatch(found):
            return found
        raise UsageError(self._wrong(path, "a commit of 40 hexadecimal digits", found), hint=_HINT)

    def repository(self, path: str) -> str:
        """Return the name of a repository.

        Args:
            path: Names of fields, joined by dots.

        Returns:
            ``owner/name``.

        Raises:
            UsageError: If the field is absent or holds something else.
        """
        found = self._at(path)
        if isinstance(found, str) and _REPOSITORY.fullmatch(found):
            return found
        raise UsageError(self._wrong(path, "a repository as owner/name", found), hint=_HINT)

    def owner(self, path: str) -> str:
        """Return the login of an owner.

        Args:
            path: Names of fields, joined by dots.

        Returns:
            The login.

        Raises:
            UsageError: If the field is absent or holds something else.
        """
        found = self._at(path)
        if isinstance(found, str) and _OWNER.fullmatch(found):
            return found
        raise UsageError(
            self._wrong(path, "the login of a user or organization", found), hint=_HINT
        )

    def branch(self, path: str) -> str:
        """Return the name of a branch or another reference.

        Args:
            path: Names of fields, joined by dots.

        Returns:
            The name: not empty, at most 255 bytes, without blanks, colons and control characters
            of ASCII. It is foreign text.

        Raises:
            UsageError: If the field is absent or holds something else.
        """
        found = self._at(path)
        if isinstance(found, str) and _is_branch(found):
            return found
        raise UsageError(self._wrong(path, "the name of a branch", found), hint=_HINT)

    def number(self, path: str) -> int:
        """Return a number that counts from one.

        Args:
            path: Names of fields, joined by dots.

        Returns:
            The number.

        Raises:
            UsageError: If the field is absent or holds something else.
        """
        found = self._at(path)
        if type(found) is int and 1 <= found <= _MAX_NUMBER:
            return found
        raise UsageError(self._wrong(path, "a whole number from 1", found), hint=_HINT)

    def parts(self, path: str) -> tuple[Payload, ...]:
        """Return the objects of a list.

        Args:
            path: Names of fields, joined by dots.

        Returns:
            One payload for each.

        Raises:
            UsageError: If the field is absent or holds something else.
        """
        found = self._at(path)
        if isinstance(found, list) and all(isinstance(part, dict) for part in found):
            return tuple(Payload(self._event, part) for part in found)
        raise UsageError(self._wrong(path, "a list of objects", found), hint=_HINT)

    def flag(self, path: str) -> bool:
        """Return whether a field says true.

        Args:
            path: Names of fields, joined by dots.

        Returns:
            What it says; False if it is absent.

        Raises:
            UsageError: If the field holds something else.
        """
        found = self._at(path)
        if found is None or isinstance(found, bool):
            return bool(found)
        raise UsageError(self._wrong(path, "true or false", found), hint=_HINT)

    def _at(self, path: str) -> object:
        found: object = self._root
        walked = ""
        for name in path.split("."):
            if found is None:
                return None
            if not isinstance(found, dict):
                raise UsageError(self._wrong(walked, "an object", found), hint=_HINT)
            found = found.get(name)
            walked = f"{walked}.{name}" if walked else name
        return found

    def _wrong(self, path: str, expected: str, found: object) -> str:
        return (
            f"the payload of the event {self._event} cannot be used: .{path} should be"
            f" {expected}; got {shown(found)}"
        )


def parse_payload(event: str, payload: bytes) -> Payload:
    """Parse the payload of an event.

    Args:
        event: Name of the event, for messages.
        payload: The bytes of the file that ``GITHUB_EVENT_PATH`` names.

    Returns:
        The payload.

    Raises:
        UsageError: If it is larger than 25 MB, no JSON in UTF-8, nested in more than 100 levels,
            or no object.
    """
    if len(payload) > _MAX_BYTES:
        msg = f"the payload of the event {event} has {len(payload)} bytes; at most {_MAX_BYTES}"
        raise UsageError(f"{msg} can be read")
    try:
        root = json.loads(payload.decode("utf-8-sig"))
    except ValueError as exc:  # no UTF-8, no JSON, or a number of thousands of digits
        raise UsageError(f"the payload of the event {event} is not JSON in UTF-8: {exc}") from exc
    except RecursionError as exc:
        raise UsageError(_too_deep(event)) from exc
    if not isinstance(root, dict):
        msg = f"the payload of the event {event} should be an object; got {shown(root)}"
        raise UsageError(msg)
    if _is_deep(root):
        raise UsageError(_too_deep(event))
    return Payload(event, root)


def is_sha(text: str) -> bool:
    """Say whether a text names a commit in full.

    Args:
        text: Any text.

    Returns:
        Whether it is 40 hexadecimal digits.
    """
    return _SHA.fullmatch(text) is not None


def is_repository(text: str) -> bool:
    """Say whether a text is the name of a repository.

    Args:
        text: Any text.

    Returns:
        Whether it has the form ``owner/name``.
    """
    return _REPOSITORY.fullmatch(text) is not None


def shown(found: object) -> str:
    """Return a value as a message may quote it.

    Args:
        found: Any value of JSON.

    Returns:
        ``nothing`` for null; the beginning of a text in quotes, on one line; a number; or the kind
        of a list or an object.
    """
    match found:
        case None:
            return "nothing"
        case str():
            cut = found if len(found) <= _MAX_SHOWN else f"{found[:_MAX_SHOWN]}..."
            return f"'{visible(cut)}'"
        case bool():
            return str(found).lower()
        case int() | float():
            return str(found)[:_MAX_SHOWN]
        case list():
            return "a list"
        case _:
            return "an object"


def _is_branch(text: str) -> bool:
    # As git has it; a lone half of a character would be no text that can be sent.
    refused = any(char <= " " or char in ":\x7f" or "\ud800" <= char <= "\udfff" for char in text)
    return not refused and 0 < len(text.encode("utf-8", "replace")) <= _MAX_BRANCH


def _is_deep(root: dict[str, object]) -> bool:
    level: list[object] = [root]
    for _ in range(_MAX_DEPTH):
        below: list[object] = []
        for node in level:
            if isinstance(node, dict):
                below += node.values()
            elif isinstance(node, list):
                below += node
        if not below:
            return False
        level = below
    return any(isinstance(node, dict | list) for node in level)


def _too_deep(event: str) -> str:
    return f"the payload of the event {event} is nested in more than {_MAX_DEPTH} levels"
