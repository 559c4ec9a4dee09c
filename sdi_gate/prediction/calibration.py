"""Load calibrations: the data files that turn signals into an index, and say what they rest on."""

from __future__ import annotations

import json
from importlib import resources
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, ValidationError, model_validator

from sdi_gate.errors import UsageError
from sdi_gate.files import read_at_most
from sdi_gate.prediction.schema import (
    FORMULA_VERSION,
    CalibrationStatus,
    Count,
    DegradationEntry,
    ProbeEntry,
    ProvenanceEntry,
    ScaleEntry,
    Strict,
    TierEntry,
    formula_of,
)

if TYPE_CHECKING:
    from pathlib import Path

    from sdi_gate.signals.divergence import Formula

__all__ = ["DEFAULT", "Calibration", "CalibrationStatus", "dump", "load_default", "load_file"]

DEFAULT = "organisms-1"
_MAX_BYTES = 16 * 1024 * 1024


class Calibration(Strict):
    """Hold a calibration as its file has it.

    Attributes:
        schema_: Version of the file's format.
        name: Name, which is also that of the file where it ships with the package.
        version: Rises with every change that can move a number.
        status: What it rests on. A provisional calibration predicts nothing.
        note: What a reader of a report must know about it.
        families: Model families it was fitted on.
        num_pairs: How many pairs of base and fine-tune it was fitted on.
        num_degraded: How many of them are high regressions.
        population: Where the models come from; empty if there are none.
        scale: Sizes of the bases; None if it was fitted on nothing.
        probe: The probe set; None if none was read.
        degradation: What was predicted; None if nothing was.
        formula_version: Version of the form of the index.
        signal_ids: Each signal with its version and parameters, without seeds.
        tiers: The indices of each tier that could be fitted. Each tier has its own formula, with
            its own weights: a scan of the weights alone is another, weaker index and is shown as
            one.
        provenance: What it was made from; None if it was set by hand.
    """

    schema_: Literal[2] = Field(alias="schema")
    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.\-]*$", max_length=60)]
    version: Annotated[int, Field(ge=1, le=10**9)]
    status: Annotated[CalibrationStatus, Field(strict=False)]
    note: str
    families: tuple[str, ...]
    num_pairs: Count
    num_degraded: Count
    population: str
    scale: ScaleEntry | None
    probe: ProbeEntry | None
    degradation: DegradationEntry | None
    formula_version: Literal[2] = FORMULA_VERSION
    signal_ids: tuple[str, ...]
    tiers: dict[Literal["weights", "probe", "full"], TierEntry]
    provenance: ProvenanceEntry | None

    @model_validator(mode="after")
    def _says_what_it_rests_on(self) -> Self:
        if self.status is CalibrationStatus.PROVISIONAL:
            return self
        known = (self.families, self.num_pairs, self.scale, self.degradation, self.provenance)
        if not all(known):
            msg = "a fitted calibration names families, pairs, scale, degradation and provenance"
            raise ValueError(msg)
        for name, tier in self.tiers.items():
            if tier.evidence is None:
                msg = f"tier {name} of a fitted calibration has its evidence"
                raise ValueError(msg)
            told = {*tier.axes, *tier.silent_axes}
            if self.degradation and not told <= set(self.degradation.axes):
                msg = f"tier {name} has lines for axes that degradation does not name"
                raise ValueError(msg)
        return self

    @property
    def is_fitted(self) -> bool:
        """Return whether the weights were fitted to measured degradation."""
        return self.status is CalibrationStatus.FITTED

    def tier(self, tier: str) -> TierEntry | None:
        """Return what the calibration has for a tier.

        Args:
            tier: Name of the tier that ran.

        Returns:
            Its entry, or None if it could not be fitted.
        """
        return next((entry for name, entry in self.tiers.items() if name == tier), None)

    def sdi(self, tier: str) -> Formula | None:
        """Return the formula of ``sdi`` for a tier.

        Args:
            tier: Name of the tier that ran.

        Returns:
            The formula, or None if the calibration has none for the tier.
        """
        entry = self.tier(tier)
        return formula_of(entry.sdi) if entry is not None else None

    def sdi_plus(self, tier: str) -> Formula | None:
        """Return the formula of ``sdi_plus`` for a tier.

        Args:
            tier: Name of the tier that ran.

        Returns:
            The formula, or None if the tier measures no behaviour or the calibration has none.
        """
        entry = self.tier(tier)
        return formula_of(entry.sdi_plus) if entry is not None and entry.sdi_plus else None


def load_default() -> Calibration:
    """Load the calibration that ships with the package.

    Returns:
        The calibration.
    """
    file = resources.files("sdi_gate.prediction") / "data" / f"{DEFAULT}.json"

    return Calibration.model_validate_json(file.read_bytes())


def load_file(path: Path) -> Calibration:
    """Load a calibration of one's own.

    Args:
        path: A file that `sdi-gate calibrate` wrote.

    Returns:
        The calibration.

    Raises:
        UsageError: If the file cannot be read or is no calibration.
    """
    hint = "give a file that sdi-gate calibrate wrote"
    try:
        data = read_at_most(path, _MAX_BYTES)
    except OSError as exc:
        msg = f"cannot read the calibration {str(path)!r}: {exc.strerror}"
        raise UsageError(msg, hint=hint) from exc
    if len(data) > _MAX_BYTES:
        msg = f"{path}: not a calibration: more than {_MAX_BYTES:,} bytes"
        raise UsageError(msg, hint=hint)
    try:
        return Calibration.model_validate_json(data)
    except ValidationError as exc:
        first = exc.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "document"
        msg = f"{path}: not a calibration (schema 2): {where}: {first['msg']}"
        raise UsageError(msg, hint=hint) from exc


def dump(calibration: Calibration) -> bytes:
    """Write a calibration as JSON.

    Args:
        calibration: The calibration.

    Returns:
        UTF-8 with a fixed order of keys: equal calibrations give equal bytes.
    """
    plain = calibration.model_dump(mode="json", by_alias=True)
    return (json.dumps(plain, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()
