"""Load calibrations: the data files that turn signals into an index, and say what they rest on."""

from __future__ import annotations

from enum import StrEnum
from importlib import resources
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from sdi_gate.signals.divergence import Formula, Term
from sdi_gate.signals.interface import SignalName  # noqa: TC001 - pydantic reads it at run time

DEFAULT = "provisional-1"


class CalibrationStatus(StrEnum):
    """Say what the weights and scales of a calibration rest on."""

    PROVISIONAL = "provisional"
    FITTED = "fitted"


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", allow_inf_nan=False)


class TermEntry(_Strict):
    """Say how one signal enters an index; see `Term`."""

    signal: Annotated[SignalName, Field(strict=False)]
    weight: Annotated[float, Field(ge=0, le=1)]
    scale: Annotated[float, Field(gt=0)]


class IndexEntry(_Strict):
    """Hold the two indices of one tier.

    Attributes:
        sdi: Terms of the index over the structural signals that the tier measures.
        sdi_plus: Terms of the index that adds behaviour; None where the tier has none.
    """

    sdi: tuple[TermEntry, ...]
    sdi_plus: tuple[TermEntry, ...] | None


class Calibration(_Strict):
    """Hold a calibration as its file has it.

    Attributes:
        name: Name, which is also that of the file.
        version: Rises with every change that can move a number.
        status: What it rests on. A provisional calibration predicts nothing.
        note: What a reader of a report must know about it.
        families: Model families it was fitted on.
        num_pairs: How many pairs of base and fine-tune it was fitted on.
        tiers: The indices of each tier. Each tier has its own formula, with its own weights: a
            scan of the weights alone is another, weaker index and is shown as one.
    """

    name: str
    version: int
    status: Annotated[CalibrationStatus, Field(strict=False)]
    note: str
    families: tuple[str, ...]
    num_pairs: Annotated[int, Field(ge=0)]
    tiers: dict[str, IndexEntry]

    @property
    def is_calibrated(self) -> bool:
        """Return whether the weights were fitted to measured degradation."""
        return self.status is CalibrationStatus.FITTED

    def sdi(self, tier: str) -> Formula:
        """Return the formula of ``sdi`` for a tier.

        Args:
            tier: Name of the tier that ran.

        Returns:
            The formula.
        """
        return _formula(self.tiers[tier].sdi)

    def sdi_plus(self, tier: str) -> Formula | None:
        """Return the formula of ``sdi_plus`` for a tier.

        Args:
            tier: Name of the tier that ran.

        Returns:
            The formula, or None if the tier measures no behaviour.
        """
        terms = self.tiers[tier].sdi_plus
        return _formula(terms) if terms is not None else None


def load_default() -> Calibration:
    """Load the calibration that ships with the package.

    Returns:
        The calibration.
    """
    file = resources.files("sdi_gate.prediction") / "data" / f"{DEFAULT}.json"

    return Calibration.model_validate_json(file.read_bytes())


def _formula(terms: tuple[TermEntry, ...]) -> Formula:
    return Formula(
        terms=tuple(
            Term(signal=term.signal, weight=term.weight, scale=term.scale) for term in terms
        )
    )
