"""Run the whole procedure once without each group, and score the group that it has not seen."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from sdi_gate.signals.interface import SignalName
from sdi_gate.study.fit.procedure import fit_index, groups_of, options_of, prepare

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sdi_gate.study.fit.numerics import Mask, Vector
    from sdi_gate.study.fit.procedure import FittedIndex, Ground, Options
    from sdi_gate.study.fit.sample import Sample

STRUCTURAL = tuple(name for name in SignalName if name is not SignalName.BEHAVIOUR)


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Hold one group that was left out.

    Attributes:
        group: Its name.
        test: Which pairs are in it, shape ``[n]``.
        fitted: The pairs outside of it, on which all is fitted.
    """

    group: str
    test: Mask
    fitted: Ground


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossFit:
    """Hold an index fitted on all, and what fits without each group say of it.

    Attributes:
        index: Fitted on all pairs.
        folds: The index fitted without each group.
        scores: Out-of-group index of each pair, shape ``[n]``.
        flags: Whether that fit's threshold flags it, shape ``[n]``.
        predicted: Degradation predicted by that fit, shape ``[n]``.
        lower: Lower end of its interval, shape ``[n]``.
        upper: Upper end of its interval, shape ``[n]``.
    """

    index: FittedIndex
    folds: tuple[tuple[Split, FittedIndex], ...]
    scores: Vector
    flags: Mask
    predicted: Vector
    lower: Vector
    upper: Vector


def splits_of(sample: Sample) -> tuple[Split, ...]:
    """Split a sample before anything in it is looked at.

    Args:
        sample: The pairs.

    Returns:
        One split for each group.
    """
    _, groups = groups_of(sample)
    labels = np.array(groups)
    return tuple(
        Split(group=group, test=labels == group, fitted=prepare(sample.where(labels != group)))
        for group in sorted(set(groups))
    )


def fit_structural(ground: Ground, signals: Sequence[SignalName] = STRUCTURAL) -> FittedIndex:
    """Fit an index over signals of structure.

    Args:
        ground: The pairs to fit on.
        signals: The signals; all four for ``sdi``.

    Returns:
        The index.
    """
    return fit_index(ground, options_of(ground.sample, signals))


def fit_with_behaviour(ground: Ground, sdi: FittedIndex) -> FittedIndex:
    """Fit the index that adds one term of behaviour to those of another.

    Args:
        ground: The pairs to fit on.
        sdi: The index over structure, fitted on the same pairs: its headlines are kept.

    Returns:
        The index. The weights are fitted anew, since behaviour and structure overlap.
    """
    kept = {term.candidate.signal: (term.column,) for term in sdi.terms if term.weight > 0.0}
    options: Options = {**kept, **options_of(ground.sample, (SignalName.BEHAVIOUR,))}
    found = fit_index(ground, options)
    dropped = tuple(term for term in sdi.terms if not term.weight > 0.0)
    return replace(found, terms=(*found.terms, *dropped))


def cross_fit(
    ground: Ground,
    splits: Sequence[Split],
    fit: Callable[[Ground], FittedIndex],
) -> CrossFit:
    """Fit an index on all pairs, and without each group.

    Args:
        ground: All pairs.
        splits: The groups.
        fit: Fits the index on whatever pairs it is given.

    Returns:
        The fits, and what each says of the group that it has not seen.
    """
    sample = ground.sample
    folds = tuple((split, fit(split.fitted)) for split in splits)
    columns: Mapping[str, Vector] = {
        name: np.zeros(len(sample)) for name in ("scores", "predicted", "lower", "upper")
    }
    flags = np.zeros(len(sample), dtype=np.bool_)
    for split, index in folds:
        scores = index.score(sample.where(split.test))
        columns["scores"][split.test] = scores
        columns["predicted"][split.test] = index.predictor.line.at(scores)
        columns["lower"][split.test], columns["upper"][split.test] = index.predictor.interval(
            scores
        )
        flags[split.test] = index.flags(scores)
    return CrossFit(index=fit(ground), folds=folds, flags=flags, **columns)
