"""Turn a manifest into units of work."""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sdi_gate.errors import UsageError
from sdi_gate.study.keys import base_key, build_key, candidate_key, measure_key, row_key
from sdi_gate.study.manifest import Population
from sdi_gate.study.units import Unit

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sdi_gate.study.manifest import Endpoint, Manifest, Pair

BUILD, MEASURE, EVALUATE = "build", "measure", "evaluate"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedPair:
    """Hold the units that make the row of one pair.

    Attributes:
        pair: The pair; the task of ``build`` and ``measure``.
        key: Key of its row.
        build: Building its models; None for public models.
        measure: Scanning it.
        base: Evaluating the base, which all its pairs share; the task is the model's `Endpoint`.
        candidate: Evaluating the candidate.
    """

    pair: Pair
    key: str
    build: Unit | None
    measure: Unit
    base: Unit
    candidate: Unit

    @property
    def units(self) -> tuple[Unit, ...]:
        """Return all units."""
        found = (self.build, self.measure, self.base, self.candidate)
        return tuple(unit for unit in found if unit is not None)


def plan(manifest: Manifest, versions: Mapping[str, int]) -> tuple[PlannedPair, ...]:
    """Plan the work for each pair.

    Args:
        manifest: The pairs.
        versions: Version of each signal.

    Returns:
        The units of each pair, in the order of the manifest.
    """
    built = manifest.population is Population.ORGANISMS
    return tuple(
        PlannedPair(
            pair=pair,
            key=row_key(manifest, pair, versions),
            build=_unit(BUILD, pair, build_key(manifest, pair)) if built else None,
            measure=_unit(MEASURE, pair, measure_key(manifest, pair, versions)),
            base=_evaluation(pair.base, base_key(manifest, pair)),
            candidate=_evaluation(pair.candidate, candidate_key(manifest, pair)),
        )
        for pair in manifest.pairs
    )


def choose(
    planned: Sequence[PlannedPair], only: str = "*", shard: tuple[int, int] = (1, 1)
) -> tuple[PlannedPair, ...]:
    """Choose the pairs that this machine works on.

    Args:
        planned: All pairs.
        only: Pattern of their names, as of file names.
        shard: Which share, from 1, and how many there are.

    Returns:
        The pairs, in order; over all shares each exactly once.

    Raises:
        UsageError: If no name matches.
    """
    found = [entry for entry in planned if fnmatch.fnmatchcase(entry.pair.pair, only)]
    if not found:
        msg = f"no pair of the manifest is named {only!r}; the first is {planned[0].pair.pair!r}"
        raise UsageError(msg, hint="--only takes a pattern such as 'llama-s-0/*'")
    index, count = shard
    return tuple(found[index - 1 :: count])


def builds(planned: Iterable[PlannedPair]) -> tuple[list[Unit], list[Unit]]:
    """Choose what is to be built, in two rounds.

    Args:
        planned: Pairs.

    Returns:
        The first pair of each base, which builds the base too; then all others, so that no two
        processes ever build one base at once.
    """
    first: dict[str, Unit] = {}
    rest = []
    for entry in planned:
        if entry.build is None:
            continue
        if entry.base.key in first:
            rest.append(entry.build)
        else:
            first[entry.base.key] = entry.build
    return [*first.values()], rest


def evaluations(planned: Sequence[PlannedPair], mine: Iterable[PlannedPair]) -> list[Unit]:
    """Choose which models are to be evaluated, each once.

    Args:
        planned: All pairs of the manifest.
        mine: The pairs of this machine.

    Returns:
        Candidates of this machine's pairs, and the bases whose first pair is one of them: over
        all machines each model once, and each where it was built.
    """
    owner: dict[str, str] = {}
    for entry in planned:
        for unit in (entry.base, entry.candidate):
            owner.setdefault(unit.key, entry.key)
    found: dict[str, Unit] = {}
    for entry in mine:
        for unit in (entry.base, entry.candidate):
            if owner[unit.key] == entry.key:
                found[unit.key] = unit
    return [*found.values()]


def _unit(step: str, pair: Pair, key: str) -> Unit:
    return Unit(step=step, name=pair.pair, key=key, task=pair)


def _evaluation(model: Endpoint, key: str) -> Unit:
    return Unit(step=EVALUATE, name=model.name, key=key, task=model)
