"""Say what a profile of a base is made of: parts, each under a key that says all it depends on.

A profile holds what depends on the base alone, so that the second candidate of a base costs less.
Its parts are looked up by everything that they were computed from: another probe, another version
of a formula or another data type is another key.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

SCHEMA = "sdi-gate/profile/v1"
_BASE = re.compile(r"sha256:[0-9a-f]{64}")
_PART = re.compile(r"[a-z][a-z0-9-]{0,39}")


@dataclass(frozen=True, slots=True)
class PartKey:
    """Name everything that a part of a profile was computed from.

    Law: two keys are equal exactly if their digests are, and the order of the parameters does not
    matter.

    Attributes:
        base: Digest of the base's content, ``sha256:`` and 64 hex digits.
        part: What it is: lower-case letters, digits and hyphens.
        parameters: Everything else that moves a number: digest of the probe, version of the
            formula, data type, seed; kept sorted by name.

    Raises:
        ValueError: If the base is no digest, the part no such name, or a parameter is named twice.
    """

    base: str
    part: str
    parameters: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        """Check the fields and sort the parameters.

        Raises:
            ValueError: See the class.
        """
        if not _BASE.fullmatch(self.base):
            msg = f"expected a base as sha256:<64 hex digits>; got {self.base[:80]!r}"
            raise ValueError(msg)
        if not _PART.fullmatch(self.part):
            msg = f"expected a part of lower-case letters, digits and hyphens; got {self.part!r}"
            raise ValueError(msg)
        if len(dict(self.parameters)) < len(self.parameters):
            msg = f"expected each parameter once; got {self.parameters!r}"
            raise ValueError(msg)
        object.__setattr__(self, "parameters", tuple(sorted(self.parameters)))

    @property
    def digest(self) -> str:
        """Return 64 hex digits over all fields."""
        plain = json.dumps([SCHEMA, self.base, self.part, self.parameters])
        return hashlib.sha256(plain.encode()).hexdigest()

    @property
    def folder(self) -> str:
        """Return the name of the folder that holds the base's profile."""
        return self.base.removeprefix("sha256:")

    @property
    def file(self) -> str:
        """Return the name of the file that describes the part."""
        return f"{self.part}-{self.digest}.json"


@dataclass(frozen=True, slots=True)
class Part:
    """Hold one part of a profile.

    Attributes:
        tensors: By name; of type float64, float32, bfloat16, float16, int64, int32 or bool, with
            finite values.
        facts: What else there is to say, as JSON: objects, lists, texts, finite numbers.
    """

    tensors: Mapping[str, Tensor] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)


class ProfileStore(Protocol):
    """Keep parts of profiles. A store never fails: what it cannot give or keep is computed."""

    def load(self, key: PartKey) -> Part | None:
        """Return a part.

        Args:
            key: Everything that it was computed from.

        Returns:
            The part as it was saved, on the CPU; None if it is absent or cannot be trusted.
        """

    def save(self, key: PartKey, part: Part) -> None:
        """Keep a part, in the place of a former one.

        Args:
            key: Everything that it was computed from.
            part: The part.
        """


@dataclass(frozen=True, slots=True)
class NoStore:
    """Keep nothing."""

    def load(self, key: PartKey) -> Part | None:
        """See `ProfileStore.load`.

        Returns:
            None.
        """
        del key
        return None

    def save(self, key: PartKey, part: Part) -> None:
        """See `ProfileStore.save`."""
        del key, part


@dataclass(frozen=True, slots=True)
class LayeredStore:
    """Read from the first store that has a part, and keep parts in the last one.

    Attributes:
        stores: At least one.
    """

    stores: tuple[ProfileStore, ...]

    def load(self, key: PartKey) -> Part | None:
        """See `ProfileStore.load`.

        Returns:
            What the first store gives that gives something.
        """
        found = (store.load(key) for store in self.stores)
        return next((part for part in found if part is not None), None)

    def save(self, key: PartKey, part: Part) -> None:
        """See `ProfileStore.save`."""
        self.stores[-1].save(key, part)
