"""Hold the curvature draws of one model, so that base and candidate need not be loaded together."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sdi_gate.profiles.parts import Part
from sdi_gate.signals.curvature import CurvatureKind, Table

if TYPE_CHECKING:
    from collections.abc import Mapping

_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateCurvature:
    """Hold what every draw gave at the candidate.

    Attributes:
        strata: Stratum of every draw, in the order of the draws.
        tables: Value for each kind and layer group, of every draw.
    """

    strata: tuple[str, ...]
    tables: tuple[Table, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseCurvature:
    """Hold what every draw gave at the base, and what the candidate's draws need to know of it.

    Law: `from_part` of `to_part` is the same but for the quadratic forms.

    Attributes:
        strata: Stratum of every draw, in the order of the draws.
        tables: Value for each kind and layer group, of every draw.
        shapes: Shape of each parameter of the base, in its order, which is that of the signs.
        quadratic: Half of update times Hessian times update, nats per token, of every draw; it
            belongs to one candidate. None if it was not measured.
    """

    strata: tuple[str, ...]
    tables: tuple[Table, ...]
    shapes: Mapping[str, tuple[int, ...]]
    quadratic: tuple[float, ...] | None = None

    @property
    def is_finite(self) -> bool:
        """Return whether every number of the tables is finite; others are not worth keeping."""
        return all(math.isfinite(value) for table in self.tables for value in table.values())

    def to_part(self) -> Part:
        """Return what depends on the base alone, to be kept in its profile.

        Returns:
            The draws without their quadratic forms. A store keeps finite numbers only: see
            `is_finite`.
        """
        return Part(
            facts={
                "strata": [*self.strata],
                "tables": [
                    [[kind.value, layer, value] for (kind, layer), value in table.items()]
                    for table in self.tables
                ],
                "shapes": [[name, [*shape]] for name, shape in self.shapes.items()],
            }
        )

    @classmethod
    def from_part(cls, part: Part | None) -> BaseCurvature | None:
        """Read draws that were kept.

        Args:
            part: What the store gave, which anybody may have written.

        Returns:
            The draws; None, with a warning, if this is not what `to_part` makes. Whether they
            belong to a model is for `quadratic_forms` to say.
        """
        if part is None:
            return None
        try:
            return _read(part.facts)
        except (AttributeError, KeyError, TypeError, ValueError) as exc:
            _LOGGER.warning("the kept curvature of the base cannot be used, and is redone: %r", exc)
            return None


def _read(facts: Mapping[str, Any]) -> BaseCurvature:
    found = BaseCurvature(
        strata=tuple(_text(stratum) for stratum in facts["strata"]),
        tables=tuple(
            {(CurvatureKind(kind), _text(layer)): _number(value) for kind, layer, value in table}
            for table in facts["tables"]
        ),
        shapes={_text(name): tuple(_size(n) for n in shape) for name, shape in facts["shapes"]},
    )
    if len(found.strata) != len(found.tables):
        msg = f"{len(found.strata)} strata for {len(found.tables)} draws"
        raise ValueError(msg)
    return found


def _text(value: object) -> str:
    if not isinstance(value, str):
        msg = f"expected a text; got {value!r:.80}"
        raise TypeError(msg)
    return value


def _number(value: object) -> float:
    if not isinstance(value, float) or not math.isfinite(value):
        msg = f"expected a finite number; got {value!r:.80}"
        raise ValueError(msg)
    return value


def _size(value: object) -> int:
    if type(value) is not int or not value >= 0:
        msg = f"expected a size; got {value!r:.80}"
        raise ValueError(msg)
    return value
