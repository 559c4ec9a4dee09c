"""Find what one file demands of a candidate, whose names may not all be known.

Of the blocks that match, the most specific one that states a thing decides it, each thing by
itself: the mode, the tier, each step of each limit. Where a name is not known, the strictest of
everything that could apply holds, so that nobody gains by leaving a name out.
"""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING

from sdi_gate.policy.chain.demands import stricter
from sdi_gate.policy.chain.stating import Layer, block_name, demands_in
from sdi_gate.policy.format.places import Problem

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sdi_gate.policy.chain.demands import Demands
    from sdi_gate.policy.chain.levels import Level
    from sdi_gate.policy.format.provisions import Selector

# No family and no model has the empty name: it stands for one that no block names.
OTHER = ""


def demands_of(level: Level, *, family: str | None, model: str | None) -> Demands:
    """Return what one file demands of a candidate, waivers aside.

    Args:
        level: The file.
        family: Family of the models; None if it is not known, `OTHER` for one that no block names.
        model: Name of the candidate; None if it is not known, `OTHER` for one that no block names.

    Returns:
        The demands. Where the file is silent, the default holds if it extends nothing; else what
        demands least, for the default is then the root ancestor's to demand.
    """
    return reduce(stricter, possible_demands(level, family=family, model=model))


def possible_demands(level: Level, *, family: str | None, model: str | None) -> tuple[Demands, ...]:
    """Return everything that one file may demand of a candidate, waivers aside.

    A waiver raises what is demanded of one candidate, and so comes before the strictest is taken
    of what is demanded of several.

    Args:
        level: The file.
        family: Family of the models, as for :func:`demands_of`.
        model: Name of the candidate, as for :func:`demands_of`.

    Returns:
        At least one; exactly one if both names are known.
    """
    cases = candidates_of((level,), family=family, model=model)
    return tuple(demands_in(layers_of(level, *case)) for case in cases)


def candidates_of(
    levels: Sequence[Level], *, family: str | None, model: str | None
) -> tuple[tuple[str, str], ...]:
    """Return candidates among which is one for everything that could apply to a candidate.

    A statement that decides for some candidate also decides for the one that has the names of its
    block, the known names, and otherwise names that no block has. A model's name that differs from
    a block's in upper and lower case alone counts as not known: some registries take both for one
    model, and some do not.

    Args:
        levels: Files.
        family: Family of the models; None if it is not known.
        model: Name of the candidate; None if it is not known.

    Returns:
        Pairs of family and model, of which at least one; `OTHER` stands for any further name.
    """
    if model is not None and _is_near(levels, model):
        model = None
    known = OTHER if family is None else family, OTHER if model is None else model
    found = {known}
    for level in levels:
        for block in level.policy.match or ():
            if _agree(block.match.family, family) and _agree(block.match.model, model):
                found.add((block.match.family or known[0], block.match.model or known[1]))
    return tuple(sorted(found))


def selectors_of(levels: Sequence[Level]) -> tuple[tuple[str, str], ...]:
    """Return candidates of every kind that files tell apart.

    Args:
        levels: The files.

    Returns:
        All pairs of a family and a model that blocks name; `OTHER` stands for any further name.
    """
    blocks = [block.match for level in levels for block in level.policy.match or ()]
    families = {OTHER, *(selector.family or OTHER for selector in blocks)}
    models = {OTHER, *(selector.model or OTHER for selector in blocks)}
    return tuple((family, model) for family in sorted(families) for model in sorted(models))


def layers_of(level: Level, family: str, model: str) -> tuple[Layer, ...]:
    """Return what of a file is for a candidate.

    Args:
        level: The file.
        family: Family of the models, or `OTHER`.
        model: Name of the candidate, or `OTHER`.

    Returns:
        What is for all, and the blocks that match, the most specific last.
    """
    matching = [
        (_specificity(block.match), Layer(level=level, section=block, path=("match", str(index))))
        for index, block in enumerate(level.policy.match or ())
        if block.match.family in {None, family} and block.match.model in {None, model}
    ]
    # No two blocks of a file have the same selector, and so no two that match one specificity.
    ordered = sorted(matching, key=lambda found: found[0])
    return (Layer(level=level, section=level.policy), *(layer for _, layer in ordered))


def block_problems(level: Level) -> list[Problem]:
    """Return what is wrong with the match blocks of a file.

    Args:
        level: The file.

    Returns:
        One problem for each block that is for the same candidates as one before it.
    """
    lines: dict[tuple[str | None, str | None], int] = {}
    problems = []
    for index, block in enumerate(level.policy.match or ()):
        place = level.place(("match", str(index)))
        selector = block.match.family, block.match.model
        if selector in lines:
            message = (
                f"match.{index}: a second block for {block_name(block.match)}; the first is in"
                f" line {lines[selector]}; write one block"
            )
            problems.append(Problem(place, message))
        lines.setdefault(selector, place.line)
    return problems


def _is_near(levels: Sequence[Level], model: str) -> bool:
    names = {block.match.model for level in levels for block in level.policy.match or ()}
    folded = {name.casefold() for name in names if name is not None}
    return model not in names and model.casefold() in folded


def _agree(stated: str | None, known: str | None) -> bool:
    return stated is None or known is None or stated == known


def _specificity(selector: Selector) -> int:
    return (selector.family is not None) + 2 * (selector.model is not None)
