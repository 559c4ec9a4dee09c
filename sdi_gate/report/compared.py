"""Say what the two models are where they are more than two plain checkpoints of one shape."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sdi_gate.report.numbers import count, number, plural
from sdi_gate.report.parts import ABSENT, Section, Table, clean, listed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sdi_gate.report.document import AlignmentEntry, ResultDocument, VocabularyEntry
    from sdi_gate.report.entries import RoundingEntry

_MAX_ROWS = 20
_MAX_ROLES = 30
_MAX_LAYERS = 8
_MAX_ASIDE = 3
# Longer ones could fill a report that is cut wherever it can be.
_DESCRIPTION_LIMIT = 300
_LAYERS_LIMIT = 120
_ASIDE_LIMIT = 160


def compared_section(document: ResultDocument) -> Section:
    """Return what a reader must know of the models before the numbers.

    Args:
        document: The result.

    Returns:
        The section; empty for two plain checkpoints of one shape and type.
    """
    vocabulary = document.alignment.vocabulary
    return Section(
        title="What was compared",
        sentences=tuple(_sentences(document)),
        tables=(_vocabulary_table(vocabulary),) if vocabulary else (),
    )


def set_aside_table(document: ResultDocument) -> Table:
    """Return what the files hold and the comparison left out, for it is no weight of its own.

    Args:
        document: The result.

    Returns:
        A row for each model and reason; no rows if nothing was set aside.
    """
    sides = (("base", document.base), ("candidate", document.candidate))
    copies = "Copies of tied tensors, counted once"
    lists = (
        *(("Buffers, computed anew", side, model.ignored) for side, model in sides),
        *((copies, side, model.tied_copies) for side, model in sides),
    )
    rows = tuple(
        (what, side, count(len(names)), listed(names, _MAX_ASIDE, _ASIDE_LIMIT))
        for what, side, names in lists
        if names
    )
    return Table(
        key="set-aside",
        nouns="kinds of stored tensors",
        head=("Stored, and set aside", "Model", "Tensors", "First"),
        rows=rows,
        total=len(rows),
        essential=4,
        is_numeric=(False, False, True, False),
    )


def roles_table(document: ResultDocument) -> Table:
    """Return what was compared, by what the tensors do.

    Args:
        document: The result.

    Returns:
        A row for each role; no rows if the document has none.
    """
    roles = document.alignment.roles
    return Table(
        key="roles",
        nouns="roles",
        head=("Role", "Tensors compared", "Parameters"),
        rows=tuple(
            (clean(role.label), count(role.num_tensors), count(role.num_parameters))
            for role in roles[:_MAX_ROLES]
        ),
        total=len(roles),
        essential=3,
        is_numeric=(False, True, True),
    )


def _sentences(document: ResultDocument) -> Iterator[str]:
    alignment = document.alignment
    if document.candidate.adapter is not None:
        yield f"Adapter: {_described(document.candidate.adapter)}."
    yield from _quantisation(document)
    if alignment.rounding is not None:
        yield _rounding_sentence(document, alignment.rounding)
    if _is_unmoved(document):
        yield "No compared weight differs from the base's."
    yield from _layers(alignment)
    if alignment.vocabulary:
        yield _rows_sentence(alignment.vocabulary)


def _rounding_sentence(document: ResultDocument, rounding: RoundingEntry) -> str:
    base, candidate = (
        listed(model.dtypes, _MAX_ASIDE, _ASIDE_LIMIT)
        for model in (document.base, document.candidate)
    )
    sides = (("base", rounding.num_base), ("candidate", rounding.num_candidate))
    whose = " and ".join(f"{plural(n, 'tensor')} of the {side}" for side, n in sides if n)
    done = f"{whose or plural(rounding.num_tensors, 'tensor')} rounded to the other's type first"
    return (
        f"The base is stored as {base} and the candidate as {candidate}. Everything was measured "
        f"with {done}, forward passes included. What that rounding took away, a relative distance "
        f"of {number(rounding.floor)}, was not counted as drift."
    )


def _quantisation(document: ResultDocument) -> Iterator[str]:
    base, candidate = document.base.quantisation, document.candidate.quantisation
    if base is not None and base == candidate:
        yield f"Quantisation of both models: {_described(base)}. Its error is in both alike."
        return
    for side, description in (("base", base), ("candidate", candidate)):
        if description is not None:
            yield f"Quantisation of the {side}: {_described(description)}."


def _is_unmoved(document: ResultDocument) -> bool:
    geometry = document.signal("weight-geometry")
    return geometry is not None and geometry.headline is not None and geometry.headline.value == 0.0


def _described(text: str) -> str:
    return clean(text, _DESCRIPTION_LIMIT).rstrip(".")


def _layers(alignment: AlignmentEntry) -> Iterator[str]:
    coverage = number(alignment.coverage, (0.0, 1.0))
    sides = (("base", alignment.missing_layers), ("candidate", alignment.extra_layers))
    for side, layers in sides:
        if layers:
            yield (
                f"{plural(len(layers), 'layer')} only in the {side}: "
                f"{listed(layers, _MAX_LAYERS, _LAYERS_LIMIT)}. Not compared: coverage is "
                f"{coverage}."
            )


def _rows_sentence(vocabulary: tuple[VocabularyEntry, ...]) -> str:
    text = "Vocabulary: only rows that both models have were compared."
    if any(entry.added_norm_ratio is not None for entry in vocabulary):
        text += " Norm ratio is the mean norm of an added row over that of a compared one."
    if any(entry.base_padding_rows or entry.candidate_padding_rows for entry in vocabulary):
        text += " Padding (base / candidate), which no token addresses, was left out."
    return text


def _vocabulary_table(vocabulary: tuple[VocabularyEntry, ...]) -> Table:
    return Table(
        key="vocabulary",
        nouns="tensors of the vocabulary",
        head=("Tensor", "Compared", "Added", "Norm ratio", "Missing", "Padding"),
        rows=tuple(map(_vocabulary_row, vocabulary[:_MAX_ROWS])),
        total=len(vocabulary),
        essential=6,
        is_numeric=(False, True, True, True, True, True),
    )


def _vocabulary_row(entry: VocabularyEntry) -> tuple[str, ...]:
    padding = (entry.base_padding_rows, entry.candidate_padding_rows)
    return (
        clean(entry.name),
        count(entry.compared_rows),
        count(entry.candidate_only_rows),
        ABSENT if entry.added_norm_ratio is None else number(entry.added_norm_ratio),
        count(entry.base_only_rows),
        " / ".join(map(count, padding)) if any(padding) else ABSENT,
    )
