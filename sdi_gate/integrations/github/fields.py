"""Read GitHub's answers: every field is checked for its type before anybody relies on it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sdi_gate.integrations.github.errors import UnusableAnswerError

if TYPE_CHECKING:
    from collections.abc import Mapping

_SHA = re.compile(r"[0-9a-f]{40}")
_PAGE = re.compile(r"https?://[A-Za-z0-9.:\[\]-]{1,255}/[A-Za-z0-9._/#?=&%-]{0,500}")


def is_sha(text: object) -> bool:
    """Tell whether a value is a commit's full name.

    Args:
        text: Any value.

    Returns:
        Whether it is 40 hex digits in lower case.
    """
    return isinstance(text, str) and _SHA.fullmatch(text) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fields:
    """Hold an object of an answer.

    Attributes:
        values: Its fields.
        host: Who answered, for messages.
        what: What was asked, for messages.
    """

    values: Mapping[str, object]
    host: str
    what: str

    def text(self, name: str) -> str:
        """Return a field that is a text.

        Args:
            name: Name of the field.

        Returns:
            The text.
        """
        value = self.values.get(name)
        if not isinstance(value, str):
            raise self.wrong(f"its field {name} is not a text")
        return value

    def number(self, name: str) -> int:
        """Return a field that is a whole number.

        Args:
            name: Name of the field.

        Returns:
            The number, at least 0.
        """
        value = self.values.get(name)
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise self.wrong(f"its field {name} is not a whole number")
        return value

    def sha(self, name: str) -> str:
        """Return a field that names a commit or a blob.

        Args:
            name: Name of the field.

        Returns:
            40 hex digits.
        """
        value = self.values.get(name)
        if not isinstance(value, str) or not is_sha(value):
            raise self.wrong(f"its field {name} is not 40 hex digits")
        return value

    def part(self, name: str) -> Fields:
        """Return a field that is an object.

        Args:
            name: Name of the field.

        Returns:
            The object.
        """
        value = self.values.get(name)
        if not isinstance(value, dict):
            raise self.wrong(f"its field {name} is not an object")
        return Fields(values=value, host=self.host, what=self.what)

    def parts(self, name: str) -> list[Fields]:
        """Return a field that is a list of objects.

        Args:
            name: Name of the field.

        Returns:
            The objects.
        """
        return listed(self.values.get(name), self.host, self.what)

    def page(self) -> str:
        """Return where a person can look at this.

        Returns:
            An address of plain characters; empty if there is none that may be shown.
        """
        value = self.values.get("html_url")
        return value if isinstance(value, str) and _PAGE.fullmatch(value) else ""

    def wrong(self, why: str) -> UnusableAnswerError:
        """Return the error that says that the answer cannot be used.

        Args:
            why: What is wrong, without words of the answer.

        Returns:
            The error, to be raised.
        """
        return UnusableAnswerError(self.host, self.what, why)


def parsed(body: str, host: str, what: str) -> object:
    """Read an answer.

    Args:
        body: Its text.
        host: Who answered.
        what: What was asked.

    Returns:
        A value of JSON.

    Raises:
        UnusableAnswerError: If it is none.
    """
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as exc:
        raise UnusableAnswerError(host, what, "it is not JSON") from exc


def single(value: object, host: str, what: str) -> Fields:
    """Read an answer that is one object.

    Args:
        value: The answer.
        host: Who answered.
        what: What was asked.

    Returns:
        The object.

    Raises:
        UnusableAnswerError: If it is anything else.
    """
    if not isinstance(value, dict):
        raise UnusableAnswerError(host, what, "it is not an object")
    return Fields(values=value, host=host, what=what)


def listed(value: object, host: str, what: str) -> list[Fields]:
    """Read an answer that is a list of objects.

    Args:
        value: The answer.
        host: Who answered.
        what: What was asked.

    Returns:
        The objects.

    Raises:
        UnusableAnswerError: If it is anything else.
    """
    if not isinstance(value, list):
        raise UnusableAnswerError(host, what, "it is not a list")
    return [single(item, host, what) for item in value]
