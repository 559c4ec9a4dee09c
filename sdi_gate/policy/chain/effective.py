"""Find what a policy, with all that it extends and its waivers, demands of the models of a scan."""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING

from sdi_gate.policy.chain.demands import stricter
from sdi_gate.policy.chain.matching import demands_of, possible_demands
from sdi_gate.policy.chain.waivers import waived

if TYPE_CHECKING:
    from datetime import datetime

    from sdi_gate.policy.chain.demands import Demands
    from sdi_gate.policy.chain.levels import Level
    from sdi_gate.policy.facts import Facts
    from sdi_gate.policy.loader import LoadedPolicy


def effective(loaded: LoadedPolicy, facts: Facts, now: datetime) -> Demands:
    """Return what is demanded of the candidate of a scan.

    Each file raises its own limits by its own waivers before the stricter of all files is taken,
    so that no file waives what another one demands.

    Args:
        loaded: The policy, with all that it extends.
        facts: What was found, with the names of the models.
        now: The time of the judgement, with a time zone.

    Returns:
        The strictest of what the files demand.

    Raises:
        ValueError: If the time has no time zone.
    """  # noqa: DOC502 - raised by waived()
    return reduce(
        stricter,
        (
            waived(level, demands, facts, now)
            for level in loaded.levels
            for demands in possible_demands(
                level, family=facts.family or None, model=facts.model_name or None
            )
        ),
    )


def plain_demands(level: Level, facts: Facts) -> Demands:
    """Return what one file demands of the candidate of a scan, waivers aside.

    Args:
        level: The file.
        facts: What was found, with the names of the models.

    Returns:
        The demands.
    """
    return demands_of(level, family=facts.family or None, model=facts.model_name or None)
