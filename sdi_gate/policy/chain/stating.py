"""Read what a file states, for all or in its match blocks, as demands with their places."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from sdi_gate.policy.chain.allowing import widest_bases
from sdi_gate.policy.chain.demands import (
    COVERAGE,
    Demands,
    RuleLimit,
    Sourced,
    without_idle_warning,
)
from sdi_gate.policy.chain.rules import rule_order, rules_of
from sdi_gate.policy.facts import Tier
from sdi_gate.policy.format.limits import PredictedLimit
from sdi_gate.policy.format.provisions import MatchBlock
from sdi_gate.policy.modes import Mode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sdi_gate.policy.chain.levels import Level
    from sdi_gate.policy.chain.rules import Rule
    from sdi_gate.policy.format.places import Path
    from sdi_gate.policy.format.provisions import Selector
    from sdi_gate.policy.format.schema import Policy

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """Hold what a file states for all, or in one block.

    Attributes:
        level: The file.
        section: The whole policy, or the block.
        path: Where the section is in the file; empty for the whole policy.
    """

    level: Level
    section: Policy | MatchBlock
    path: Path = ()

    @property
    def block(self) -> str:
        """Return the name of the block, such as ``family llama``; empty for what is for all."""
        return block_name(self.section.match) if isinstance(self.section, MatchBlock) else ""

    def sourced(self, value: T | None, *keys: str) -> Sourced[T] | None:
        """Return a value that the section states, with its place.

        Args:
            value: The value; None if the section does not state it.
            *keys: Where it is in the section.

        Returns:
            Both; None if there is no value.
        """
        if value is None:
            return None
        return Sourced(value, self.level.origin((*self.path, *keys), self.block))


def block_name(selector: Selector) -> str:
    """Return what messages and reports call a match block.

    Args:
        selector: Which candidates it is for.

    Returns:
        ``family llama``, ``model org/name`` or ``model org/name of family llama``.
    """
    if selector.model is None:
        return f"family {selector.family}"
    family = "" if selector.family is None else f" of family {selector.family}"
    return f"model {selector.model}{family}"


def demands_in(layers: Sequence[Layer], *, as_stated: bool = False) -> Demands:
    """Return what parts of one file demand together, the later before the earlier.

    Args:
        layers: At least one part of one file, the most specific last.
        as_stated: Whether to keep warning steps that can never be reached, for whoever compares
            what is written.

    Returns:
        The demands. What no part states has an origin without a line: the default if the file
        extends nothing; else what demands least, for the default is then the root's to demand.
    """
    level = layers[0].level
    modes = [layer.sourced(layer.section.mode, "mode") for layer in layers]
    tiers = [layer.sourced(layer.section.required_tier, "required-tier") for layer in layers]
    silent = _SILENT_ROOT if level.is_root else _SILENT_CHILD
    default = level.default()
    stated_limits = _limits(layers)
    limits = stated_limits if as_stated else tuple(map(without_idle_warning, stated_limits))
    stated = any(limit.path == COVERAGE for limit in limits)
    demands = Demands(
        mode=_last(modes) or Sourced(silent.mode, default),
        required_tier=_last(tiers) or Sourced(silent.tier, default),
        standard_errors=Sourced(silent.standard_errors, default),
        notices=Sourced("warn", default),
        limits=limits,
        blocks=tuple(layer.block for layer in layers if layer.block),
        silent_on_coverage=level.is_root and not stated,
    )
    general = layers[0]
    if isinstance(general.section, MatchBlock):
        return demands
    return _with_calibration(_with_lists(demands, general), general)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Silence:
    """Hold what a file demands that does not state it."""

    mode: Mode
    tier: Tier
    standard_errors: float


_SILENT_ROOT = _Silence(mode=Mode.ENFORCE, tier=Tier.PROBE, standard_errors=1.0)
_SILENT_CHILD = _Silence(mode=Mode.OBSERVE, tier=Tier.WEIGHTS, standard_errors=0.0)


def _last(found: Sequence[Sourced[T] | None]) -> Sourced[T] | None:
    return next((sourced for sourced in reversed(found) if sourced is not None), None)


def _with_lists(demands: Demands, layer: Layer) -> Demands:
    policy = layer.level.policy
    parameters = policy.required_parameters or {}
    bases = policy.allowed_bases
    return replace(
        demands,
        standard_errors=layer.sourced(policy.standard_errors, "standard-errors")
        or demands.standard_errors,
        notices=layer.sourced(policy.notices, "notices") or demands.notices,
        parameters=tuple(
            (name, Sourced(_text(value), layer.level.origin(("required-parameters", name))))
            for name, value in sorted(parameters.items())
        ),
        formats=layer.sourced(_names(policy.accepted_formats), "accepted-formats"),
        bases=layer.sourced(None if bases is None else widest_bases(bases), "allowed-bases"),
        families=layer.sourced(_names(policy.allowed_families), "allowed-families"),
        quantisations=layer.sourced(_names(policy.allowed_quantisations), "allowed-quantisations"),
        maximum_age_days=layer.sourced(policy.maximum_age, "maximum-age"),
    )


def _with_calibration(demands: Demands, layer: Layer) -> Demands:
    required = layer.level.policy.required_calibration
    if required is None:
        return demands
    key = "required-calibration"
    return replace(
        demands,
        calibration_families=layer.sourced(_names(required.families), key, "families"),
        calibration_pairs=layer.sourced(required.min_pairs, key, "min-pairs"),
        calibration_in_scope=layer.sourced(required.in_scope, key, "in-scope"),
    )


def _names(entries: Sequence[str] | None) -> frozenset[str] | None:
    return None if entries is None else frozenset(entries)


def _text(value: str | float | bool) -> str:
    # As the ids of signals write their parameters.
    return str(value).lower() if isinstance(value, bool) else str(value)


def _limits(layers: Sequence[Layer]) -> tuple[RuleLimit, ...]:
    found: dict[Path, RuleLimit] = {}
    for layer in layers:
        for rule in rules_of(layer.section.limits):
            limit = found.get(rule.path, RuleLimit(path=rule.path, bound=rule.limit.bound))
            found[rule.path] = _over(limit, layer, rule)
    return tuple(found[path] for path in sorted(found, key=rule_order))


def _over(limit: RuleLimit, layer: Layer, rule: Rule) -> RuleLimit:
    stated = rule.limit
    confidence = stated.confidence if isinstance(stated, PredictedLimit) else None
    return replace(
        limit,
        warn=layer.sourced(stated.warn, *rule.path, "warn") or limit.warn,
        fail=layer.sourced(stated.fail, *rule.path, "fail") or limit.fail,
        confidence=layer.sourced(confidence, *rule.path, "confidence") or limit.confidence,
    )
