"""Match the tensors of two checkpoints."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sdi_gate.errors import IncomparableError
from sdi_gate.models.layers import depth_of, is_decoder_layer, layer_of
from sdi_gate.models.roles import Roles, roles_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sdi_gate.models.tensors import TensorInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorPair:
    """Hold the same tensor of both models.

    Attributes:
        name: Its name.
        base: In the base; where the base ties it to another, that other one.
        candidate: In the candidate; likewise.
        layer: Layer group.
        roles: What the tensor does.
        rows: How many of its first rows are compared; None for the whole tensor.
        num_added: How many rows after those are of tokens that the candidate added.
        is_transposed: Whether it is stored as ``[inputs, outputs]``.
    """

    name: str
    base: TensorInfo
    candidate: TensorInfo
    layer: str
    roles: Roles = ()
    rows: int | None = None
    num_added: int = 0
    is_transposed: bool = False

    @property
    def numel(self) -> int:
        """Return the number of compared parameters."""
        if self.rows is None:
            return self.base.numel
        return self.rows * (self.base.numel // max(1, self.base.shape[0]))


@dataclass(frozen=True, slots=True, kw_only=True)
class VocabularyRows:
    """Say how the rows of a tensor with one row for each token were matched.

    Law: the base's rows are those compared, those of the base only and those without a token;
    likewise the candidate's.

    Attributes:
        name: The tensor.
        width: Parameters of a row.
        compared: Rows that were compared.
        base_only: Rows of tokens that the candidate lacks.
        candidate_only: Rows of tokens that were added.
        base_padding: Rows of the base that no token addresses, and which are left out.
        candidate_padding: Likewise of the candidate.
    """

    name: str
    width: int
    compared: int
    base_only: int
    candidate_only: int
    base_padding: int
    candidate_padding: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Alignment:
    """Hold every tensor of both models in exactly one list.

    Attributes:
        paired: Compared with each other, in the base's reading order.
        base_only: Missing in the candidate.
        candidate_only: Missing in the base.
        mismatched: Same name and another shape; base first.
        vocabulary: The paired tensors of which not every row was compared.
    """

    paired: tuple[TensorPair, ...]
    base_only: tuple[TensorInfo, ...]
    candidate_only: tuple[TensorInfo, ...]
    mismatched: tuple[tuple[TensorInfo, TensorInfo], ...]
    vocabulary: tuple[VocabularyRows, ...] = ()

    @property
    def paired_parameters(self) -> int:
        """Return the number of compared parameters, each pair counted once."""
        return sum(pair.numel for pair in self.paired)

    @property
    def coverage(self) -> float:
        """Return compared parameters over all, from 0 to 1; a mismatched pair counts by its larger.

        It is 1 only if every parameter of both models was compared, but for rows of padding,
        which no token addresses.
        """
        unpaired = sum(info.numel for info in (*self.base_only, *self.candidate_only))
        unpaired += sum(max(base.numel, other.numel) for base, other in self.mismatched)
        unpaired += sum(
            rows.width * (rows.base_only + rows.candidate_only) for rows in self.vocabulary
        )
        whole = self.paired_parameters + unpaired
        return self.paired_parameters / whole if whole else 0.0

    @property
    def layers(self) -> tuple[str, ...]:
        """Return the layer groups of the paired tensors, from input to output."""
        return tuple(sorted({pair.layer for pair in self.paired}, key=depth_of))

    @property
    def runs_side_by_side(self) -> bool:
        """Say whether both models have the same modules, and every token of the base's."""
        whole = not self.base_only and not self.candidate_only and not self.mismatched
        return whole and not any(rows.base_only for rows in self.vocabulary)

    @property
    def missing_layers(self) -> tuple[str, ...]:
        """Return the decoder layers that only the base has, from input to output."""
        return self._layers_without(self.base_only)

    @property
    def extra_layers(self) -> tuple[str, ...]:
        """Return the decoder layers that only the candidate has, from input to output."""
        return self._layers_without(self.candidate_only)

    def _layers_without(self, unpaired: Iterable[TensorInfo]) -> tuple[str, ...]:
        known = {*self.layers, *(layer_of(base.name) for base, _ in self.mismatched)}
        found = {layer for info in unpaired if is_decoder_layer(layer := layer_of(info.name))}
        return tuple(sorted(found - known, key=depth_of))


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """Hold what is known of a model's tensors beside their names and shapes.

    Attributes:
        tied: Names of parameters that are another one's, to the other's name.
        vocabulary: Tensors whose first axis is the vocabulary.
        transposed: Weights that are stored as ``[inputs, outputs]``.
        roles: What each tensor does.
    """

    tied: Mapping[str, str]
    vocabulary: frozenset[str]
    transposed: frozenset[str]
    roles: Mapping[str, Roles]


NO_NAMES = Names(tied={}, vocabulary=frozenset(), transposed=frozenset(), roles={})


def align(
    base: Mapping[str, TensorInfo],
    candidate: Mapping[str, TensorInfo],
    names: Names = NO_NAMES,
    num_tokens: int | None = None,
) -> Alignment:
    """Match the tensors of two checkpoints by name and shape, without reading any.

    A head that one of the models ties to its embedding, and the other does not, is compared with
    that embedding. Tensors with one row for each token are compared in the rows that both have.

    Args:
        base: Tensors of the base by name, in reading order.
        candidate: Tensors of the candidate by name.
        names: What the base's configuration says of them.
        num_tokens: How many rows the tokenizers address; None if that is not known, and then no
            row counts as padding.

    Returns:
        The alignment.

    Raises:
        IncomparableError: If not one tensor has its counterpart.
    """
    builder = _Builder(base, candidate, names, num_tokens)
    for name in {**base, **candidate}:
        builder.add(name)
    alignment = builder.alignment()
    if not alignment.paired_parameters:
        msg = (
            f"no tensor of the base ({len(base)}) has its counterpart, of the same name and shape,"
            f" in the candidate ({len(candidate)})"
        )
        raise IncomparableError(msg, hint="is the candidate a fine-tune of this base?")
    return alignment


class _Builder:
    def __init__(
        self,
        base: Mapping[str, TensorInfo],
        candidate: Mapping[str, TensorInfo],
        names: Names,
        num_tokens: int | None,
    ) -> None:
        self._base, self._candidate = base, candidate
        self._names = names
        self._num_tokens = num_tokens
        self._paired: list[TensorPair] = []
        self._base_only: list[TensorInfo] = []
        self._candidate_only: list[TensorInfo] = []
        self._mismatched: list[tuple[TensorInfo, TensorInfo]] = []
        self._vocabulary: list[VocabularyRows] = []

    def add(self, name: str) -> None:
        ours, theirs = self._find(name, self._base), self._find(name, self._candidate)
        if ours is not None and theirs is not None:
            self._match(name, ours, theirs)
        elif ours is not None:
            self._base_only.append(ours)
        else:
            assert theirs is not None  # noqa: S101 - a name is of one of the two
            self._candidate_only.append(theirs)

    def _find(self, name: str, tensors: Mapping[str, TensorInfo]) -> TensorInfo | None:
        return tensors.get(name) or tensors.get(self._names.tied.get(name, ""))

    def _match(self, name: str, ours: TensorInfo, theirs: TensorInfo) -> None:
        by_rows = self._is_vocabulary(name) and ours.shape[1:] == theirs.shape[1:]
        rows = self._rows(name, ours, theirs) if by_rows else None
        if rows is None and ours.shape != theirs.shape:
            self._mismatched.append((ours, theirs))
            return
        if rows is not None:
            self._vocabulary.append(rows)
        self._paired.append(
            TensorPair(
                name=name,
                base=ours,
                candidate=theirs,
                layer=layer_of(name),
                roles=self._names.roles.get(name) or roles_of(name),
                rows=rows.compared if rows is not None else None,
                num_added=rows.candidate_only if rows is not None else 0,
                is_transposed=name in self._names.transposed,
            )
        )

    def _is_vocabulary(self, name: str) -> bool:
        return name in self._names.vocabulary

    def _rows(self, name: str, ours: TensorInfo, theirs: TensorInfo) -> VocabularyRows | None:
        if not ours.shape or not theirs.shape:
            return None
        base, candidate = ours.shape[0], theirs.shape[0]
        addressed = max(base, candidate) if self._num_tokens is None else self._num_tokens
        used_base, used_candidate = min(base, addressed), min(candidate, addressed)
        compared = min(used_base, used_candidate)
        if compared == base == candidate or compared == 0:
            return None
        return VocabularyRows(
            name=name,
            width=ours.numel // max(1, base),
            compared=compared,
            base_only=used_base - compared,
            candidate_only=used_candidate - compared,
            base_padding=base - used_base,
            candidate_padding=candidate - used_candidate,
        )

    def alignment(self) -> Alignment:
        return Alignment(
            paired=tuple(self._paired),
            base_only=tuple(self._base_only),
            candidate_only=tuple(self._candidate_only),
            mismatched=tuple(self._mismatched),
            vocabulary=tuple(self._vocabulary),
        )
