"""Take values out of a stranger's JSON object, each of the one type that it must have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from sdi_gate.errors import FormatError

if TYPE_CHECKING:
    from collections.abc import Mapping

# No rank is near this; a larger number is no rank.
_MAX_RANK = 1_000_000
# No scale is near this; it keeps every product of scales finite.
_MAX_NUMBER = 1e30
_MAX_ENTRIES = 100_000
_MAX_TEXT = 10_000
_AGAIN = "save the adapter again with PEFT's save_pretrained"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fields:
    """Read the fields of one JSON object.

    Attributes:
        plain: The object.
        where: Which file of which model, for messages.
    """

    plain: Mapping[str, Any]
    where: str

    def flag(self, key: str) -> bool:
        """Return a boolean.

        Args:
            key: Which.

        Returns:
            The value; False if it is absent or null.
        """
        value = self.plain.get(key)
        if value is not None and not isinstance(value, bool):
            self.refuse(key, "true or false")
        return bool(value)

    def text(self, key: str) -> str | None:
        """Return a text.

        Args:
            key: Which.

        Returns:
            The value; None if it is absent or null.
        """
        value = self.plain.get(key)
        if value is not None and (not isinstance(value, str) or len(value) > _MAX_TEXT):
            self.refuse(key, "a text")
        return value

    def names(self, key: str) -> tuple[str, ...] | None:
        """Return a list of texts.

        Args:
            key: Which.

        Returns:
            The values; None if they are absent or null.
        """
        value = self.plain.get(key)
        if value is None:
            return None
        fits = isinstance(value, list) and all(isinstance(item, str) for item in value)
        if not fits or len(value) > _MAX_ENTRIES:
            self.refuse(key, "a list of texts")
        return tuple(value)

    def names_or_pattern(self, key: str) -> tuple[str, ...] | str | None:
        """Return a list of texts, or one text.

        Args:
            key: Which.

        Returns:
            The values; None if they are absent or null.
        """
        return self.text(key) if isinstance(self.plain.get(key), str) else self.names(key)

    def rank(self, key: str, default: int) -> int:
        """Return a rank.

        Args:
            key: Which.
            default: What holds if it is absent.

        Returns:
            At least 1.
        """
        value = self.plain.get(key, default)
        return int(value) if _is_rank(value) else self.refuse(key, "a whole number of at least 1")

    def indices(self, key: str) -> frozenset[int] | None:
        """Return whole numbers: a list of them, or one.

        Args:
            key: Which.

        Returns:
            The values; None if they are absent or null.
        """
        value = self.plain.get(key)
        if value is None:
            return None
        numbers = value if isinstance(value, list) else [value]
        if len(numbers) > _MAX_ENTRIES or not all(type(number) is int for number in numbers):
            self.refuse(key, "a whole number or a list of them")
        return frozenset(numbers)

    def number(self, key: str, default: float) -> float:
        """Return a finite number.

        Args:
            key: Which.
            default: What holds if it is absent.

        Returns:
            The value.
        """
        value = self.plain.get(key, default)
        return float(value) if _is_number(value) else self.refuse(key, "a finite number")

    def ranks(self, key: str) -> dict[str, int]:
        """Return a mapping from patterns to ranks.

        Args:
            key: Which.

        Returns:
            The mapping, in the file's order; empty if it is absent or null.
        """
        pattern = self._mapping(key)
        if not all(_is_rank(value) for value in pattern.values()):
            self.refuse(key, "whole numbers of at least 1, by name")
        return pattern

    def numbers(self, key: str) -> dict[str, float]:
        """Return a mapping from patterns to finite numbers.

        Args:
            key: Which.

        Returns:
            The mapping, in the file's order; empty if it is absent or null.
        """
        pattern = self._mapping(key)
        if not all(_is_number(value) for value in pattern.values()):
            self.refuse(key, "finite numbers, by name")
        return {name: float(value) for name, value in pattern.items()}

    def refuse(self, key: str, expected: str) -> NoReturn:
        """Refuse the value of a field.

        Args:
            key: Which.
            expected: What it should have been.

        Raises:
            FormatError: Always.
        """
        got = repr(self.plain.get(key))[:80]
        msg = f"{key} in {self.where} is not {expected}; got {got}"
        raise FormatError(msg, hint=_AGAIN)

    def _mapping(self, key: str) -> dict[str, Any]:
        value = self.plain.get(key)
        if value is None:
            return {}
        if not isinstance(value, dict) or len(value) > _MAX_ENTRIES:
            self.refuse(key, "an object")
        return value


def _is_rank(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= _MAX_RANK


def _is_number(value: object) -> bool:
    # NaN is in no comparison, and a whole number of a thousand digits is no float.
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_number and -_MAX_NUMBER <= value <= _MAX_NUMBER  # type: ignore[operator]
