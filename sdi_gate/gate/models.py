"""Bring both models of a scan to where they can be compared: fetched, opened, aligned, loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sdi_gate.errors import SdiGateError, UsageError
from sdi_gate.gate.weights_tier import RoundingFacts, Weights
from sdi_gate.models.adapters.config import base_reference, read_adapter_config
from sdi_gate.models.addressed import num_addressed
from sdi_gate.models.alignment import Names, align
from sdi_gate.models.causal_lm import LoadingChanges
from sdi_gate.models.config import check_same_architecture
from sdi_gate.models.fit import does_fit
from sdi_gate.models.opening import OpenModel, open_candidate, open_model
from sdi_gate.models.ref import Scheme, is_hub_name
from sdi_gate.models.snapshot import SnapshotKind
from sdi_gate.models.weights import weight_files

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sdi_gate.gate.request import ScanRequest
    from sdi_gate.models.ref import ModelRef
    from sdi_gate.models.snapshot import ModelSnapshot, ModelSource
    from sdi_gate.progress import Progress


def resolve(
    request: ScanRequest, sources: Mapping[Scheme, ModelSource], progress: Progress
) -> tuple[ModelSnapshot, ModelSnapshot]:
    """Fetch both models.

    Args:
        request: Which.
        sources: A source for each scheme.
        progress: Told of every file.

    Returns:
        Base and candidate.

    Raises:
        UsageError: If no base was given and the candidate is no adapter that names one, or if
            the base is an adapter.
    """

    def fetch(ref: ModelRef) -> ModelSnapshot:
        return sources[ref.scheme].fetch(ref, progress)

    if request.base is not None:
        base, candidate = fetch(request.base), fetch(request.candidate)
    else:
        candidate = fetch(request.candidate)
        if candidate.kind is not SnapshotKind.ADAPTER:
            msg = f"{request.candidate} is no adapter, so it does not name its base"
            raise UsageError(msg, hint="give the base with --base")
        base = _fetch_named(base_reference(read_adapter_config(candidate)), candidate, fetch)
    if base.kind is SnapshotKind.ADAPTER:
        msg = f"the base {base.ref} is an adapter; expected a model with weights of its own"
        raise UsageError(msg, hint="give the model that the adapter was put on")
    return base, candidate


def _fetch_named(
    ref: ModelRef, candidate: ModelSnapshot, fetch: Callable[[ModelRef], ModelSnapshot]
) -> ModelSnapshot:
    try:
        return fetch(ref)
    except SdiGateError as exc:
        # Nobody typed this name: say where it is from.
        msg = f"{exc.message}; it is the base that the adapter {candidate.ref} names"
        hint = f"{exc.hint}; or give the base with --base" if exc.hint else "give it with --base"
        raise type(exc)(msg, hint=hint) from exc


def remarks_on(weights: Weights) -> tuple[str, ...]:
    """Say what a reviewer must know of two open models, because no number shows it.

    Args:
        weights: Both models.

    Returns:
        Sentences.
    """
    found = (
        _other_name(weights.base.snapshot),
        _other_name(weights.candidate.snapshot),
        another_base(weights),
        _unfit(weights),
        _beside(weights),
        weights.candidate.tokenizer_note or None,
    )
    return tuple(sentence for sentence in found if sentence is not None)


def _other_name(snapshot: ModelSnapshot) -> str | None:
    # A policy goes by the Hub's name: who typed another one sees by which.
    if snapshot.name is None:
        return None
    return f"the Hub calls {snapshot.ref} {snapshot.name}"


def _unfit(weights: Weights) -> str | None:
    # Tier weights needs no model that runs, and must not hide that one of the two does not.
    fits = [does_fit(model.skeleton, model.tensors) for model in (weights.base, weights.candidate)]
    if not fits[0] or fits[1]:
        return None
    return "the candidate's weights do not fit its config.json, so that it cannot be run"


def _beside(weights: Weights) -> str | None:
    snapshot = weights.candidate.snapshot
    if snapshot.kind is not SnapshotKind.FULL:
        return None
    unread = {file.name for file in snapshot.weight_files} - {*weight_files(snapshot)}
    if not unread:
        return None
    return (
        f"the candidate holds {len(unread)} files of weights that transformers does not load,"
        f" first {min(unread)[:80]!r}"
    )


def another_base(weights: Weights) -> str | None:
    """Say whether an adapter names another base than the one it was put on.

    Whoever loads the adapter by itself gets the base that it names.

    Args:
        weights: Both models.

    Returns:
        A sentence; None if the names agree: two names on the Hub as a whole, a folder's by its
        last part.
    """
    named, ref = weights.candidate.named_base, weights.base.snapshot.ref
    if named is None:
        return None
    # What was typed is as good as what the Hub calls it by now: an adapter's file is not renamed.
    names = (ref.location, weights.base.snapshot.name or ref.location)
    ours, theirs = [name.casefold().rstrip("/") for name in names], named.casefold().rstrip("/")
    if ref.scheme is not Scheme.HUB or not is_hub_name(named):
        ours, theirs = [name.rpartition("/")[2] for name in ours], theirs.rpartition("/")[2]
    if theirs in ours:
        return None
    return f"the adapter names {named[:120]!r} as its base, and was put on {ref}"


def open_pair(base: ModelSnapshot, candidate: ModelSnapshot) -> Weights:
    """Open both models and match their tensors.

    Args:
        base: The base.
        candidate: The candidate.

    Returns:
        Both, aligned.

    Raises:
        FormatError: If the files of one are damaged or do not fit each other.
        IncomparableError: If they cannot be compared.
    """  # noqa: DOC502 - raised by the functions called
    ours = open_model(base)
    theirs = open_candidate(candidate, ours)
    check_same_architecture(ours.config, theirs.config)
    alignment = align(
        ours.tensors, theirs.tensors, _names(ours, theirs), num_addressed(base, candidate)
    )
    return Weights(base=ours, candidate=theirs, alignment=alignment)


def _names(base: OpenModel, candidate: OpenModel) -> Names:
    ours, theirs = base.names, candidate.names
    return Names(
        tied={**theirs.tied, **ours.tied},
        vocabulary=ours.vocabulary | theirs.vocabulary,
        transposed=ours.transposed,
        roles={**theirs.roles, **ours.roles},
    )


def loading_changes(
    weights: Weights, rounding: RoundingFacts | None
) -> tuple[LoadingChanges, LoadingChanges]:
    """Say what is done to the weights of both models when they are loaded.

    Args:
        weights: Both, open.
        rounding: Which of their tensors were rounded, and shall be here too.

    Returns:
        For base and candidate. Parameters that one of them ties and the other does not are untied
        in both, so that both have the same parameters.
    """
    untied = frozenset({*weights.base.tensors} ^ {*weights.candidate.tensors})
    return (
        LoadingChanges(rounding=rounding.base if rounding else {}, untied=untied),
        LoadingChanges(rounding=rounding.candidate if rounding else {}, untied=untied),
    )
