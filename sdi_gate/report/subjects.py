"""Make the parts of the result document that are about the two models and how they match."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from sdi_gate.gate.facts import identity_of, readable
from sdi_gate.models.roles import role_label
from sdi_gate.report.entries import (
    AlignmentEntry,
    FileEntry,
    MismatchEntry,
    ModelEntry,
    RoleEntry,
    RoundingEntry,
    TensorEntry,
    VocabularyEntry,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sdi_gate.gate.result import ModelFacts, ScanResult
    from sdi_gate.models.alignment import TensorPair
    from sdi_gate.models.tensors import TensorInfo


def model_entry(facts: ModelFacts) -> ModelEntry:
    """Describe one of the two models.

    Args:
        facts: What the scan found out about it.

    Returns:
        Its entry.
    """
    snapshot, identity = facts.snapshot, identity_of(facts)
    return ModelEntry(
        reference=identity.reference,
        name=identity.name,
        commit=snapshot.commit,
        digest=snapshot.digest,
        architecture=readable(facts.architecture),
        num_parameters=facts.num_parameters,
        dtypes=facts.dtypes,
        files=tuple(
            FileEntry(name=file.name, size_bytes=file.size_bytes, sha256=file.sha256)
            for file in snapshot.files
        ),
        kind=snapshot.kind.value,
        quantisation=None if facts.quantisation is None else readable(facts.quantisation),
        quantisation_method=identity.quantisation,
        family=readable(facts.family),
        adapter=None if facts.adapter is None else readable(facts.adapter),
        ignored=tuple(map(readable, facts.ignored)),
        tied_copies=tuple(map(readable, facts.tied_copies)),
    )


def alignment_entry(result: ScanResult) -> AlignmentEntry:
    """Say how the tensors of both models were matched.

    Args:
        result: What the scan found.

    Returns:
        The entry.
    """
    alignment, rounding = result.alignment, result.rounding
    return AlignmentEntry(
        coverage=alignment.coverage,
        num_paired=len(alignment.paired),
        paired_parameters=alignment.paired_parameters,
        base_only=_tensors(alignment.base_only),
        candidate_only=_tensors(alignment.candidate_only),
        mismatched=tuple(
            MismatchEntry(name=base.name, base_shape=base.shape, candidate_shape=other.shape)
            for base, other in alignment.mismatched
        ),
        config_differences=result.config_differences,
        vocabulary=_vocabulary(result),
        missing_layers=alignment.missing_layers,
        extra_layers=alignment.extra_layers,
        rounding=RoundingEntry(
            floor=rounding.floor,
            num_tensors=rounding.num_tensors,
            num_base=len(rounding.base),
            num_candidate=len(rounding.candidate),
        )
        if rounding is not None
        else None,
        roles=_roles(alignment.paired),
    )


def _tensors(tensors: Iterable[TensorInfo]) -> tuple[TensorEntry, ...]:
    return tuple(TensorEntry(name=info.name, shape=info.shape) for info in tensors)


def _vocabulary(result: ScanResult) -> tuple[VocabularyEntry, ...]:
    ratios = {rows.tensor: rows.norm_ratio for rows in result.added_rows}
    return tuple(
        VocabularyEntry(
            name=rows.name,
            compared_rows=rows.compared,
            base_only_rows=rows.base_only,
            candidate_only_rows=rows.candidate_only,
            base_padding_rows=rows.base_padding,
            candidate_padding_rows=rows.candidate_padding,
            added_norm_ratio=ratios.get(rows.name),
        )
        for rows in result.alignment.vocabulary
    )


def _roles(pairs: Iterable[TensorPair]) -> tuple[RoleEntry, ...]:
    tensors: Counter[str] = Counter()
    parameters: Counter[str] = Counter()
    for pair in pairs:
        label = role_label(pair.roles)
        tensors[label] += 1
        parameters[label] += pair.numel
    # A counter keeps the order in which its keys came.
    return tuple(
        RoleEntry(label=label, num_tensors=num, num_parameters=parameters[label])
        for label, num in tensors.items()
    )
