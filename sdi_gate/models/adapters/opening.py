"""Open an adapter's files, and say what it does to a base."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sdi_gate.errors import FormatError
from sdi_gate.models.adapters.build import BaseModel, adapted_change, whole_change
from sdi_gate.models.adapters.changes import have_equal_values
from sdi_gate.models.adapters.config import AdapterConfig, read_adapter_config
from sdi_gate.models.adapters.names import Groups, group_tensors
from sdi_gate.models.adapters.targets import check_targets, wrapping_of
from sdi_gate.models.adapters.ties import settle_ties
from sdi_gate.models.snapshot import ADAPTER_WEIGHTS
from sdi_gate.models.weights import Checkpoint

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from sdi_gate.models.adapters.changes import Change
    from sdi_gate.models.snapshot import ModelSnapshot
    from sdi_gate.models.tensors import TensorInfo, TensorSource

_FLOATS = frozenset({"F64", "F32", "F16", "BF16"})
_AGAIN = "save the adapter again with PEFT's save_pretrained"


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """Hold what an adapter does to a base.

    Attributes:
        by_target: What is done, by the candidate's tensor; together every tensor of the adapter
            is used.
        weights: The adapter's tensors.
    """

    by_target: Mapping[str, Change]
    weights: TensorSource


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapter:
    """Hold an adapter: its configuration and its tensors, none of them read.

    Attributes:
        config: What it says of itself.
        weights: Its tensors.
        groups: The same, by what they change.
    """

    config: AdapterConfig
    weights: TensorSource
    groups: Groups

    def changes(
        self,
        base: TensorSource,
        tied: Mapping[str, str],
        transposed: Collection[str],
        vocabulary: Collection[str] = (),
    ) -> Changes:
        """Say what the adapter does to each tensor of a base.

        Args:
            base: The base, under the names of the installed transformers' module tree.
            tied: Names of parameters that are another one's, to the other's name.
            transposed: Weights that are stored as ``[in, out]``.
            vocabulary: Tensors whose first axis is the vocabulary; only they may have other rows
                in the adapter than in the base.

        Returns:
            The changes.

        Raises:
            FormatError: If the adapter contradicts itself, or is incomplete.
            IncomparableError: If it does not fit the base.
        """  # noqa: DOC502 - raised by the functions below
        model = BaseModel(
            tensors=base.tensors,
            tied=tied,
            transposed=frozenset(transposed),
            vocabulary=frozenset(vocabulary),
        )
        beneath = self._beneath(base, model)
        self._check_copies()
        changes = {}
        for module, parts in self.groups.adapted.items():
            own = beneath.get(f"{module}.weight")
            change = adapted_change(module, parts, own, self.config, model)
            changes[change.target] = change
        for target, info in self.groups.whole.items():
            if target in changes:
                msg = f"{self.config.where} adapts {target[:120]!r} and also replaces it"
                raise FormatError(msg, hint=_AGAIN)
            changes[target] = whole_change(target, info, beneath.get(target), self.config, model)
        check_targets(self.groups, self.config, model)
        settled = settle_ties(changes, self.weights, self.config, model)
        return Changes(by_target=settled, weights=self.weights)

    def _beneath(self, base: TensorSource, model: BaseModel) -> dict[str, TensorInfo]:
        whole = self.groups.whole
        saved = set(filter(wrapping_of(self.config, model), whole))
        adapted = {f"{module}.weight" for module in self.groups.adapted}
        found = {}
        for group, over in ((self.groups.beneath, adapted), (self.groups.originals, saved)):
            for target, info in group.items():
                if target not in over:
                    msg = f"{self.config.where} holds {info.name[:120]!r} and no adapter over it"
                    raise FormatError(msg, hint=_AGAIN)
                start = model.start_of(target)
                # PEFT saves an embedding's own weight too. Mostly it is the base's.
                if start is None or not self._is_same(info, start, base):
                    found[target] = info
        return found

    def _check_copies(self) -> None:
        for target, info in self.groups.copies.items():
            whole = self.groups.whole.get(target)
            if whole is None:
                continue  # refused later, by the name that is missing
            first = self.weights.read(whole)
            if not have_equal_values(first, self.weights.read(info)):
                msg = f"{self.config.where} holds {target[:120]!r} twice, with other values"
                raise FormatError(msg, hint=_AGAIN)

    def _is_same(self, info: TensorInfo, start: TensorInfo, base: TensorSource) -> bool:
        if info.shape != start.shape:
            return False
        return have_equal_values(self.weights.read(info), base.read(start))


def open_adapter(snapshot: ModelSnapshot) -> Adapter:
    """Read an adapter's configuration and the names and shapes of its tensors.

    Args:
        snapshot: Its files.

    Returns:
        The adapter.

    Raises:
        FormatError: If a file is missing, too large or damaged, or a tensor's name means nothing.
        IncomparableError: If the adapter is of a kind that is not read.
    """  # noqa: DOC502 - raised by the functions called
    config = read_adapter_config(snapshot)
    weights = Checkpoint(snapshot)
    where = f"{ADAPTER_WEIGHTS} of {snapshot.ref}"
    for info in weights.tensors.values():
        if info.dtype not in _FLOATS:
            msg = f"tensor {info.name[:80]!r} in {where} is stored as {info.dtype}"
            expected = ", ".join(sorted(_FLOATS))
            raise FormatError(f"{msg}; expected one of {expected}", hint=_AGAIN)
    return Adapter(config=config, weights=weights, groups=group_tensors(weights, where))
