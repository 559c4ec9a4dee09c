"""Define the levels of a policy: its file, and every file that it extends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sdi_gate.policy.format.places import Place
from sdi_gate.policy.origins import Origin

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sdi_gate.policy.format.places import Path
    from sdi_gate.policy.format.schema import Policy

DEFAULT_WAIVER_DAYS = 90


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """Hold one file of a chain of policies.

    Attributes:
        policy: What the file says.
        file: Where it was read from, as messages name it.
        places: Where each value of it starts, by the keys from the top; an index of a list is a
            key, such as ``("match", "0", "limits", "sdi", "fail")``. The empty path is there.
        maximum_waiver_days: How many days its waivers may hold: what the strictest file from the
            root to this one says, or else 90.
    """

    policy: Policy
    file: str
    places: Mapping[Path, Place]
    maximum_waiver_days: int = DEFAULT_WAIVER_DAYS

    @property
    def is_root(self) -> bool:
        """Return whether it extends nothing; only then does the default hold where it is silent."""
        return self.policy.extends is None

    def place(self, path: Path) -> Place:
        """Return where a value starts.

        Args:
            path: Keys from the top of the file.

        Returns:
            Its place, or that of the nearest key above it that the file has.
        """
        while path not in self.places and path:
            path = path[:-1]
        return self.places.get(path, Place(1, 1))

    def origin(self, path: Path, block: str = "") -> Origin:
        """Return where a value starts, as demands and findings tell it.

        Args:
            path: Keys from the top of the file.
            block: The match block that it is in, such as ``family llama``.

        Returns:
            File, line and column.
        """
        place = self.place(path)
        return Origin(file=self.file, line=place.line, column=place.column, block=block)

    def default(self) -> Origin:
        """Return the origin of what the file does not state.

        Returns:
            The file, without a line.
        """
        return Origin(file=self.file)
