"""Read the candidate that an adapter makes of a base, tensor by tensor."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sdi_gate.models.adapters.changes import Change, Kind, apply_change, thin_factors
from sdi_gate.models.roles import role_label, roles_of
from sdi_gate.models.tensors import LowRankUpdate, TensorInfo

if TYPE_CHECKING:
    from torch import Tensor

    from sdi_gate.models.adapters.names import Part
    from sdi_gate.models.adapters.opening import Changes
    from sdi_gate.models.tensors import TensorSource


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterFacts:
    """Say what an adapter is, for a report.

    Attributes:
        kinds: What it does, such as LoRA and full weights.
        num_tensors: How many of the candidate's tensors it changes.
        ranks: Every rank that it has, ascending.
        scales: Every factor before an update that it has, ascending.
        roles: What the tensors do that it adds to.
        whole: Tensors that it brings whole.
        untied: Parameters that it makes the candidate's own, where the base ties them.
        num_parameters: How many of its numbers are in effect.
    """

    kinds: tuple[str, ...]
    num_tensors: int
    ranks: tuple[int, ...]
    scales: tuple[float, ...]
    roles: tuple[str, ...]
    whole: tuple[str, ...]
    untied: tuple[str, ...]
    num_parameters: int

    def __str__(self) -> str:
        """Return one line."""
        names = " and ".join(self.kinds) or "no change"
        tensors = f"{self.num_tensors:,} tensor{'' if self.num_tensors == 1 else 's'}"
        roles = f" ({', '.join(self.roles)})" if self.roles else ""
        parts = [f"{names} on {tensors}{roles}"]
        if self.ranks:
            parts.append(f"rank {', '.join(map(str, self.ranks))}")
        if self.scales:
            parts.append(f"scale {' to '.join(f'{value:.4g}' for value in _ends(self.scales))}")
        if self.whole:
            more = f" and {len(self.whole) - 3} more" if len(self.whole) > 3 else ""
            parts.append(f"replaces {', '.join(self.whole[:3])}{more}")
        if self.untied:
            parts.append(f"unties {', '.join(self.untied)}")
        return "; ".join([*parts, f"{self.num_parameters:,} parameters"])


def _ends(values: tuple[float, ...]) -> tuple[float, ...]:
    return values if len(values) == 1 else (values[0], values[-1])


class AdaptedTensors:
    """Show the candidate that an adapter makes of a base; a `TensorSource`.

    What the adapter leaves alone is the base's to the bit. A changed tensor is computed when it
    is read: with its result one base tensor and one chunk of it in float64 are in memory.

    Args:
        base: The base.
        changes: What `Adapter.changes` says for this base.

    Attributes:
        tensors: Every tensor of the candidate by name, in the base's order; parameters that the
            adapter unties are behind it.
        changed: Names of those that differ from the base's, or may.
        untied: Names of parameters that are the base's other ones, and the candidate's own. A
            model that is loaded from this source must not tie them.
    """

    def __init__(self, base: TensorSource, changes: Changes) -> None:
        self._base = base
        self._adapter = changes.weights
        self._changes = dict(changes.by_target)
        self.tensors: dict[str, TensorInfo] = {
            name: self._describe(self._changes[name]) if name in self._changes else info
            for name, info in base.tensors.items()
        }
        self.untied = frozenset(self._changes) - frozenset(self.tensors)
        for name in sorted(self.untied):
            self.tensors[name] = self._describe(self._changes[name])
        self.changed = frozenset(
            name for name, change in self._changes.items() if change.kind is not Kind.UNTIED
        )

    def read(self, info: TensorInfo) -> Tensor:
        """Read one tensor.

        Args:
            info: Which; from ``tensors``.

        Returns:
            The tensor on the CPU: untouched ones as the base stores them, full weights as the
            adapter does, adapted ones in float32, or in float64 if the base is in float64.

        Raises:
            FormatError: If it cannot be read.
        """  # noqa: DOC502 - raised by the sources
        change = self._changes.get(info.name)
        if change is None:
            return self._base.read(self._base.tensors[info.name])
        if change.whole is not None:
            return self._adapter.read(change.whole)
        start = self._start(change)
        return (
            start if change.kind is Kind.UNTIED else apply_change(change, start, self._read(change))
        )

    def update(self, name: str) -> LowRankUpdate | None:
        """Return what the adapter adds to a tensor of the base, as a product of thin matrices.

        Args:
            name: Name of a tensor.

        Returns:
            The factors; None if the tensor is not changed, or not by adding a low-rank matrix to
            the base's own weight. In a parameter of `untied` it is added to the base's tensor
            that the parameter was tied to, with which an alignment pairs it.
        """
        change = self._changes.get(name)
        if change is None or change.kind is not Kind.LORA or change.beneath is not None:
            return None
        left, right = thin_factors(change, self._read(change))
        return LowRankUpdate(left=left, right=right)

    @property
    def description(self) -> str:
        """Return one line about the adapter."""
        return str(self.describe())

    def describe(self) -> AdapterFacts:
        """Say what the adapter is.

        Returns:
            What a report says of it.
        """
        changes = [self._changes[name] for name in sorted(self.changed)]
        return AdapterFacts(
            kinds=tuple(kind for kind in Kind if any(change.kind is kind for change in changes)),
            num_tensors=len(changes),
            ranks=tuple(sorted({change.rank for change in changes if change.rank})),
            scales=tuple(sorted({change.scale for change in changes if change.parts})),
            roles=tuple(dict.fromkeys(role_label(roles_of(c.target)) for c in changes if c.parts)),
            whole=tuple(change.target for change in changes if change.whole is not None),
            untied=tuple(sorted(self.untied)),
            num_parameters=sum(
                info.numel
                for change in changes
                for info in (*change.parts.values(), *([change.whole] if change.whole else []))
            ),
        )

    def _describe(self, change: Change) -> TensorInfo:
        if change.whole is not None:
            return replace(change.whole, name=change.target)
        assert change.start is not None  # noqa: S101 - only full weights start from nothing
        start = self._base.tensors[change.start]
        adapted = "F64" if start.dtype == "F64" else "F32"
        dtype = start.dtype if change.kind is Kind.UNTIED else adapted
        return TensorInfo(name=change.target, dtype=dtype, shape=change.shape, shard=start.shard)

    def _start(self, change: Change) -> Tensor:
        if change.beneath is not None:
            return self._adapter.read(change.beneath)
        assert change.start is not None  # noqa: S101 - only full weights start from nothing
        return self._base.read(self._base.tensors[change.start])

    def _read(self, change: Change) -> dict[Part, Tensor]:
        return {part: self._adapter.read(info) for part, info in change.parts.items()}
