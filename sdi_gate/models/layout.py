"""Show the tensors of a checkpoint under the names and in the shapes that transformers runs.

Checkpoints of the same weights differ: earlier versions of transformers had other names, experts
lie one by one or stacked, a tied head is stored or not, and buffers were saved that are computed
today. How the ones become the others is transformers' own knowledge, and it is asked for it.
"""

from __future__ import annotations

import re
from collections import defaultdict
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import (
    WeightConverter,
    WeightRenaming,
    dot_natural_key,
    rename_source_key,
)

from sdi_gate.errors import FormatError
from sdi_gate.models.weights import Place, Placed

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from torch import Tensor

    from sdi_gate.models.skeleton import Skeleton
    from sdi_gate.models.tensors import TensorInfo, TensorSource

# Saved by earlier versions and computed today: the module it was part of, and how many axes it
# has. A name alone never hides a weight: a learned bias has one axis and a mask has four, and what
# the architecture has as a parameter is one, whatever its name.
_BUFFERS = (
    (re.compile(r"(?:(.+)\.)?rotary_emb\.inv_freq"), (1,)),
    (re.compile(r"(?:(.+)\.)?rotary_emb\.(?:cos|sin)_cached"), (2, 4)),
    (re.compile(r"(?:(.+)\.)?position_ids"), (1, 2)),
    (re.compile(r"(.*(?:attn|attention))\.(?:bias|causal_mask)"), (4,)),
    (re.compile(r"(.*(?:attn|attention))\.masked_bias"), (0, 1)),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Group:
    """Hold the stored tensors that make one tensor, or several, and how."""

    target: str
    names: tuple[str, ...]
    patterns: tuple[str, ...] = ()
    converter: WeightConverter | None = None


class CanonicalTensors:
    """Show a checkpoint's tensors as the installed transformers names and shapes them.

    Law: every stored tensor goes into exactly one of the tensors shown, or is listed in
    ``ignored`` or in ``tied_copies``.

    Args:
        source: The tensors as they are stored.
        skeleton: The model that its configuration describes.
        where: The model, for messages.

    Attributes:
        tensors: Every tensor by name; those that the model does not know keep their stored names.
        ignored: Stored buffers, which transformers computes anew.
        tied_copies: Stored copies, equal to the bit, of the tensor that they are tied to.
        untied: Names of parameters that the configuration ties and the checkpoint does not.

    Raises:
        FormatError: If two stored tensors are one and the same in the model, or a group of them
            cannot be put together.
    """

    def __init__(self, source: TensorSource, skeleton: Skeleton, where: str) -> None:
        self._source = source
        self._skeleton = skeleton
        self._where = where
        self._groups: dict[str, _Group] = {}
        self.tensors: dict[str, TensorInfo] = {}
        self.ignored: list[TensorInfo] = []
        self.tied_copies: list[TensorInfo] = []
        self.untied: frozenset[str] = frozenset()
        self._modules = frozenset(name for name, _ in skeleton.model.named_modules())
        buffers = {name for name, _ in skeleton.model.named_buffers()}
        self._computed = buffers - skeleton.roles.keys()
        for group in self._grouped():
            self._add(group)
        self._resolve_ties()

    def read(self, info: TensorInfo) -> Tensor:
        """See `TensorSource.read`.

        Args:
            info: Which; from ``tensors``.

        Returns:
            The tensor on the CPU; one that is made of several stored ones is put together, which
            takes the memory of the stored ones and its own.
        """
        group = self._groups[info.name]
        if group.converter is None:
            return self._source.read(self._source.tensors[group.names[0]])
        parts = [self._source.read(self._source.tensors[name]) for name in group.names]
        return self._convert(group, parts)[info.name]

    def place_of(self, info: TensorInfo) -> Place | None:
        """See `Placed.place_of`: a tensor that is put together has no place.

        Args:
            info: Which; from ``tensors``.

        Returns:
            Its place, or None.
        """
        group = self._groups[info.name]
        if group.converter is not None or not isinstance(self._source, Placed):
            return None
        return self._source.place_of(self._source.tensors[group.names[0]])

    def _grouped(self) -> Iterator[_Group]:
        mapping = get_model_conversion_mapping(self._skeleton.model)
        renamings = [entry for entry in mapping if isinstance(entry, WeightRenaming)]
        converters = [entry for entry in mapping if isinstance(entry, WeightConverter)]
        by_pattern = {p: entry for entry in converters for p in entry.source_patterns}
        groups: dict[str, list[tuple[str, str | None]]] = defaultdict(list)
        # Experts are stacked in the order of their numbers, not of their digits; otherwise the
        # stored order stays, in which reading costs least.
        for name in self._source.tensors:
            target, pattern = self._target(name, renamings, converters)
            groups[target].append((name, pattern))
        for target, members in groups.items():
            members.sort(key=lambda member: dot_natural_key(member[0]))
            patterns = tuple(pattern for _, pattern in members if pattern is not None)
            names = tuple(name for name, _ in members)
            if patterns:
                self._refuse_mixed(target, members)
                yield _Group(
                    target=target,
                    names=names,
                    patterns=patterns,
                    converter=by_pattern[patterns[0]],
                )
            else:
                self._refuse_twins(target, names)
                yield _Group(target=target, names=names)

    def _target(
        self, name: str, renamings: list[WeightRenaming], converters: list[WeightConverter]
    ) -> tuple[str, str | None]:
        # The same steps as transformers takes when it loads a checkpoint.
        known: Any = self._skeleton.roles
        prefix = self._skeleton.model.base_model_prefix
        target, pattern = rename_source_key(name, renamings, converters, prefix, known)
        return (target, pattern) if target in known else (name, None)

    def _refuse_twins(self, target: str, names: Sequence[str]) -> None:
        if len(names) > 1:
            msg = f"{self._where} holds {target!r} twice, as {names[0]!r} and as {names[1]!r}"
            hint = "re-save the model with save_pretrained"
            raise FormatError(f"{msg}; expected it once", hint=hint)

    def _refuse_mixed(self, target: str, members: Sequence[tuple[str, str | None]]) -> None:
        whole = [name for name, pattern in members if pattern is None]
        if whole:
            part = next(name for name, pattern in members if pattern is not None)
            self._refuse_twins(target, (whole[0], part))
        types = sorted({self._source.tensors[name].dtype for name, _ in members})
        if len(types) > 1:
            msg = f"{self._where} stores the parts of {target!r} as {' and '.join(types)}"
            hint = "re-save the model with save_pretrained"
            raise FormatError(f"{msg}; expected one type for all of them", hint=hint)

    def _add(self, group: _Group) -> None:
        first = self._source.tensors[group.names[0]]
        if group.converter is None:
            if group.target not in self._skeleton.roles and self._is_buffer(first):
                self.ignored.append(first)
                return
            self._show(group, replace(first, name=group.target))
            return
        stored = [self._source.tensors[name] for name in group.names]
        shapes = [torch.empty(info.shape, device="meta") for info in stored]
        for name, made in self._convert(group, shapes).items():
            self._show(group, replace(first, name=name, shape=tuple(made.shape)))

    def _show(self, group: _Group, info: TensorInfo) -> None:
        if info.name in self.tensors:
            self._refuse_twins(info.name, (self._groups[info.name].names[0], group.names[0]))
        self._groups[info.name] = group
        self.tensors[info.name] = info

    def _is_buffer(self, info: TensorInfo) -> bool:
        if self._known_as(info.name, self._computed):
            return True
        return any(
            (found := pattern.fullmatch(info.name)) is not None
            and len(info.shape) in axes
            and self._known_as(found[1] or "", self._modules)
            for pattern, axes in _BUFFERS
        )

    def _known_as(self, name: str, names: Collection[str]) -> bool:
        # Checkpoints of the model without its head lack the first part of every name.
        return name in names or f"{self._skeleton.model.base_model_prefix}.{name}" in names

    def _convert(self, group: _Group, parts: Sequence[Tensor]) -> dict[str, Tensor]:
        converter = deepcopy(group.converter)
        assert converter is not None  # noqa: S101 - only groups with one come here
        model = self._skeleton.model
        try:
            for name, pattern, part in zip(group.names, group.patterns, parts, strict=True):
                converter.add_tensor(group.target, name, pattern, lambda part=part: part)  # type: ignore[arg-type]
            made: Mapping[str, Any] = converter.convert(
                group.target, model=model, config=model.config
            )
        except Exception as exc:
            # Parts of the wrong number or shape fail anywhere in transformers' operations.
            msg = (
                f"{self._where}: {len(group.names)} tensors, {group.names[0]!r} first, cannot be"
                f" put together to {group.target!r}: {type(exc).__name__}"
            )
            raise FormatError(msg, hint="copy or download the model again") from exc
        return {
            name: value[0] if isinstance(value, list) else value for name, value in made.items()
        }

    def _resolve_ties(self) -> None:
        # transformers does the same: it ties what is equal, and what differs stays its own.
        for name, original in self._skeleton.tied.items():
            if name not in self.tensors:
                continue
            if original not in self.tensors:
                # The copy alone was stored: it is the tensor.
                self.tensors[original] = replace(self.tensors.pop(name), name=original)
                self._groups[original] = self._groups.pop(name)
            elif self._equal(name, original):
                self.tied_copies.append(self.tensors.pop(name))
                del self._groups[name]
            else:
                self.untied |= {name}

    def _equal(self, name: str, original: str) -> bool:
        ours, theirs = self.tensors[name], self.tensors[original]
        if ours.shape != theirs.shape or ours.dtype != theirs.dtype:
            return False
        return torch.equal(self.read(ours), self.read(theirs))
