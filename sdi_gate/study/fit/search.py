"""Choose one headline for each signal by how well the index orders groups that it has not seen.

A group is a family. Each is left out in turn: phi and weights are fitted on the others, the group
is scored, and the scores of all groups are ranked together against their degradation. No number of
a group has a part in its own scores; what is chosen by those scores, the headlines, has seen all
of them. That is why `sdi_gate.study.fit.procedure` runs the whole search anew for each family that
the evidence leaves out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sdi_gate.study.fit.hill import choose_hills, rank_target
from sdi_gate.study.fit.numerics import (
    average_ranks,
    correlation,
    non_negative_least_squares,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sdi_gate.signals.interface import SignalName
    from sdi_gate.study.fit.numerics import Mask, Matrix, Vector
    from sdi_gate.study.fit.sample import Sample

# A signal has to raise the out-of-family rank correlation by more than this to get a weight.
MARGIN = 0.005
_TIE = 1e-9
_MAX_SWEEPS = 8
_WEIGHT_DIGITS = 4

Columns = tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fold:
    """Hold a group that is left out, and what was fitted without it.

    Attributes:
        test: Which pairs are left out, shape ``[n]``.
        phi: Phi of every candidate on all pairs, by settings of the others, shape ``[n, k]``.
        target: The target of the others, by their ranks alone.
    """

    test: Mask
    phi: Matrix
    target: Vector

    def score(self, columns: Columns) -> Vector:
        """Score the pairs that were left out.

        Args:
            columns: The chosen headlines.

        Returns:
            Their index, by weights fitted on the others.
        """
        chosen = self.phi[:, columns]
        return chosen[self.test] @ weights_of(chosen[~self.test], self.target)


class Search:
    """Score sets of headlines on groups left out, and look for the best.

    Args:
        sample: The pairs to fit on.
        groups: Group of each pair; at least two.
    """

    def __init__(self, sample: Sample, groups: Sequence[str]) -> None:
        labels = np.array(groups)
        self._folds = [_fold(sample, labels == group) for group in sorted(set(groups))]
        self._ranks = average_ranks(sample.degradation)
        self._known: dict[Columns, float] = {(): 0.0}

    def out_of_group(self, columns: Columns) -> Vector:
        """Score every pair by a fit without its group.

        Args:
            columns: The chosen headlines, at least one.

        Returns:
            Index of each pair, shape ``[n]``.
        """
        scores = np.zeros(len(self._ranks))
        for fold in self._folds:
            scores[fold.test] = fold.score(columns)
        return scores

    def rho(self, columns: Columns) -> float:
        """Return the rank correlation of the out-of-group scores with degradation.

        Args:
            columns: The chosen headlines, in any order; 0 for none.

        Returns:
            From -1 to 1; 0 where it is not defined.
        """
        key = tuple(sorted(columns))
        if key not in self._known:
            found = correlation(average_ranks(self.out_of_group(key)), self._ranks)
            self._known[key] = found if np.isfinite(found) else 0.0
        return self._known[key]

    def choose(self, options: Mapping[SignalName, Columns]) -> dict[SignalName, int]:
        """Look for the best headlines, at most one for each signal.

        Signals are added one by one, the best first, while each raises the correlation by more
        than the margin; then headlines are exchanged and signals dropped, in turn, until nothing
        changes.

        Args:
            options: The headlines that each signal may have.

        Returns:
            Column of each signal that earns its place.
        """
        chosen: dict[SignalName, int] = {}
        for _ in range(_MAX_SWEEPS):
            before = dict(chosen)
            self._add(chosen, options)
            for signal in [name for name in options if name in chosen]:
                self._exchange(signal, chosen, options[signal])
            if chosen == before:
                break
        return chosen

    def best_beside(self, columns: Columns, options: Columns) -> tuple[int, float]:
        """Return the headline that raises the correlation most beside others.

        Args:
            columns: The others.
            options: Headlines to choose from, at least one.

        Returns:
            The column, the first of equals, and how much it raises the correlation.
        """
        base = self.rho(columns)
        best, gain = options[0], -np.inf
        for column in options:
            found = self.rho((*columns, column)) - base
            if found > gain + _TIE:
                best, gain = column, found
        return best, gain

    def _add(self, chosen: dict[SignalName, int], options: Mapping[SignalName, Columns]) -> None:
        while True:
            found = [
                (*self.best_beside(tuple(chosen.values()), columns), signal)
                for signal, columns in options.items()
                if signal not in chosen and columns
            ]
            gain = max((gain for _, gain, _ in found), default=0.0)
            if not gain > MARGIN:
                return
            column, _, signal = next(item for item in found if item[1] >= gain - _TIE)
            chosen[signal] = column

    def _exchange(self, signal: SignalName, chosen: dict[SignalName, int], own: Columns) -> None:
        others = tuple(column for name, column in chosen.items() if name is not signal)
        column, gain = self.best_beside(others, own)
        if not gain > MARGIN:
            del chosen[signal]
        elif gain > self.rho(tuple(chosen.values())) - self.rho(others) + _TIE:
            chosen[signal] = column


def weights_of(phi: Matrix, target: Vector) -> Vector:
    """Fit weights of at least 0 that sum to 1.

    Args:
        phi: Phi of the chosen headlines, shape ``[n, k]``.
        target: The target, shape ``[n]``.

    Returns:
        Weights, shape ``[k]``, each a multiple of 0.0001; all 0 if no headline helps.
    """
    weights = non_negative_least_squares(phi, target)
    total = float(weights.sum())
    if not total > 0.0:
        return np.zeros_like(weights)
    shares = np.round(weights / total, _WEIGHT_DIGITS)
    largest = int(np.argmax(shares))
    shares[largest] = round(float(1.0 - (shares.sum() - shares[largest])), _WEIGHT_DIGITS)
    return np.asarray(shares, dtype=np.float64)


def _fold(sample: Sample, test: Mask) -> Fold:
    target = rank_target(sample.degradation[~test])
    hills = choose_hills(sample.values[~test], target)
    return Fold(test=test, phi=hills.map(sample.values), target=target)
