"""Match module names against regular expressions of strangers, in bounded time.

PEFT takes the keys of ``rank_pattern`` as regular expressions. Python's engine backtracks, so that
a hostile one hangs. Here the positions that a pattern can have reached are kept as bits, which
needs no backtracking, and only what adapters use is understood: characters, ``.``, classes,
groups, ``|``, ``^``, ``$``, and ``*``, ``+``, ``?``, of which the first two must not be nested.
"""

from __future__ import annotations

import string
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable

    Step = Callable[["Name", int], int]

_MAX_LENGTH = 500
_MAX_DEPTH = 16
_ANY = frozenset(map(chr, range(128))) - {"\n"}
_DOT = frozenset(".")
_DIGITS = frozenset(string.digits)
_WORD = frozenset(string.ascii_letters + string.digits + "_")
_SPECIAL = frozenset("*+?{}[]()|\\")
_SPECIAL_ANYWHERE = _SPECIAL | {"^", "$"}


class PatternError(ValueError):
    """Say that a regular expression is outside what is understood here."""


class Name:
    """Hold a name and where in it the characters of a class stand, each as bits of one number.

    Args:
        text: ASCII, one line.

    Attributes:
        text: The same.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self._places: dict[frozenset[str], int] = {}

    def places(self, members: frozenset[str]) -> int:
        """Return where the members of a class stand.

        Args:
            members: Characters.

        Returns:
            Bit ``i`` is set if character ``i`` is one of them.
        """
        if members not in self._places:
            bits = "".join("01"[character in members] for character in reversed(self.text))
            self._places[members] = int(bits or "0", 2)
        return self._places[members]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    step: Step
    repeats: bool
    members: frozenset[str] | None = None  # what it matches, if that is one character


@dataclass(frozen=True, slots=True, kw_only=True)
class Pattern:
    """Hold a pattern that can be matched in bounded time.

    Attributes:
        text: As it was written.
        is_literal: It has no special character but the dot.
        step: From the positions reached before the pattern to those reached after it, as bits.
    """

    text: str
    is_literal: bool
    step: Step

    def matches(self, name: Name) -> bool:
        """Say whether the pattern is the whole of a name, as ``re.fullmatch`` does.

        Args:
            name: The name.

        Returns:
            True if it is.
        """
        return bool(self.step(name, 1) >> len(name.text))

    def matches_end(self, name: Name) -> bool:
        r"""Say whether the pattern is a name or its end after a dot: ``(.*\.)?(PATTERN)$``.

        Args:
            name: The name.

        Returns:
            True if it is.
        """
        if self.is_literal:
            return self._is_end_of(name.text)
        starts = 1 | name.places(_DOT) << 1
        return bool(self.step(name, starts) >> len(name.text))

    def _is_end_of(self, name: str) -> bool:
        # An adapter can name each of a thousand modules; most fail at the first look.
        start = len(name) - len(self.text)
        if start < 0 or (start > 0 and name[start - 1] != "."):
            return False
        pairs = zip(self.text, name[start:], strict=True)
        return all(ours in (theirs, ".") for ours, theirs in pairs)


def compile_pattern(text: str) -> Pattern:
    """Read a regular expression.

    Args:
        text: In the syntax of Python's ``re``.

    Returns:
        The pattern.

    Raises:
        PatternError: If it uses what is not understood here, or is too long or too deep.
    """
    if len(text) > _MAX_LENGTH:
        msg = f"longer than {_MAX_LENGTH} characters"
        raise PatternError(msg)
    parser = _Parser(text)
    part = parser.alternatives(0)
    if parser.rest:
        parser.refuse()
    is_literal = not _SPECIAL_ANYWHERE & {*text}
    return Pattern(text=text, is_literal=is_literal, step=part.step)


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    @property
    def rest(self) -> str:
        return self._text[self._at :]

    def refuse(self) -> NoReturn:
        msg = f"not understood from character {self._at + 1} on"
        raise PatternError(msg)

    def alternatives(self, depth: int) -> _Part:
        if depth > _MAX_DEPTH:
            self.refuse()
        parts = [self._sequence(depth)]
        while self._take("|"):
            parts.append(self._sequence(depth))
        return _Part(step=_any_of(parts), repeats=any(part.repeats for part in parts))

    def _sequence(self, depth: int) -> _Part:
        parts: list[_Part] = []
        while self.rest and self.rest[0] not in "|)":
            parts.append(self._quantified(depth))
        return _Part(step=_in_turn(parts), repeats=any(part.repeats for part in parts))

    def _quantified(self, depth: int) -> _Part:
        anchor = self.rest[0] in "^$"
        part = self._atom(depth)
        for quantifier in "*+?":
            if not self._take(quantifier):
                continue
            # Nested repetition is what costs most, even without backtracking.
            if anchor or (part.repeats and quantifier != "?"):
                self.refuse()
            self._take("?")  # lazy or not, the same names match
            return _repeated(part, quantifier)
        return part

    def _atom(self, depth: int) -> _Part:
        if self._take("("):
            if self.rest.startswith("?") and not self._take("?:"):
                self.refuse()
            part = self.alternatives(depth + 1)
            if not self._take(")"):
                self.refuse()
            return part
        if self._take("^"):
            return _Part(step=lambda _, at: at & 1, repeats=False)
        if self._take("$"):
            return _Part(step=lambda name, at: at & 1 << len(name.text), repeats=False)
        if self._take("."):
            return _one_of(_ANY)
        if self._take("["):
            return _one_of(self._members())
        return _one_of(self._character())

    def _members(self) -> frozenset[str]:
        negated = self._take("^")
        found: set[str] = set()
        while not self._take("]"):
            low = self._character(inside=True)
            if self.rest.startswith("-") and not self.rest.startswith("-]"):
                self._take("-")
                low = self._range(low, self._character(inside=True))
            found |= low
        if not found:
            self.refuse()
        return _ANY - found if negated else frozenset(found)

    def _range(self, low: frozenset[str], high: frozenset[str]) -> frozenset[str]:
        if len(low) != 1 or len(high) != 1 or min(low) > min(high):
            self.refuse()
        return frozenset(map(chr, range(ord(min(low)), ord(min(high)) + 1)))

    def _character(self, *, inside: bool = False) -> frozenset[str]:
        if self._take("\\"):
            return self._escaped()
        refused = "[]\\" if inside else _SPECIAL
        if not self.rest or self.rest[0] in refused or self.rest[0] not in _ANY:
            self.refuse()
        self._at += 1
        return frozenset(self._text[self._at - 1])

    def _escaped(self) -> frozenset[str]:
        for name, members in (("d", _DIGITS), ("w", _WORD)):
            if self._take(name):
                return members
        if not self.rest or self.rest[0] in _WORD or self.rest[0] not in _ANY:
            self.refuse()
        self._at += 1
        return frozenset(self._text[self._at - 1])

    def _take(self, text: str) -> bool:
        if not self.rest.startswith(text):
            return False
        self._at += len(text)
        return True


def _one_of(members: frozenset[str]) -> _Part:
    return _Part(
        step=lambda name, at: (at & name.places(members)) << 1, repeats=False, members=members
    )


def _in_turn(parts: list[_Part]) -> Step:
    def step(name: Name, at: int) -> int:
        for part in parts:
            at = part.step(name, at)
        return at

    return step


def _any_of(parts: list[_Part]) -> Step:
    def step(name: Name, at: int) -> int:
        reached = 0
        for part in parts:
            reached |= part.step(name, at)
        return reached

    return step


def _repeated(part: _Part, quantifier: str) -> _Part:
    def step(name: Name, at: int) -> int:
        reached = part.step(name, at) if quantifier == "+" else at
        if part.members is not None and quantifier != "?":
            return _runs_from(reached, name.places(part.members))
        new = reached
        while new:
            new = part.step(name, new) & ~reached
            reached |= new
            if quantifier == "?":
                break
        return reached

    return _Part(step=step, repeats=part.repeats or quantifier != "?")


def _runs_from(at: int, places: int) -> int:
    # The carry of the sum runs from a position to the end of its run of places (Myers 1999).
    return (((at & places) + places) ^ places) | at
