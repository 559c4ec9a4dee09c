"""Find the value of a part of the model or of the probe set that a limit is about: the worst one.

A selector that covers nothing measured gives no value, and one that covers something that this
signal has no value for, though the scan saw it, gives a value that can fail and cannot pass.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sdi_gate.policy.judging.readings import Missing, Reading, held, measured
from sdi_gate.policy.verdict import Bound
from sdi_gate.signals.interface import SignalName

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sdi_gate.policy.facts import Facts
    from sdi_gate.signals.interface import Measurement, SignalResult

_HEADLINES = frozenset(SignalName) - {SignalName.BEHAVIOUR}
_NAMED = 3


def read_part(path: tuple[str, ...], facts: Facts, standard_errors: float) -> Reading | Missing:
    """Find the worst value of the part that a limit is about.

    Args:
        path: Path of the limit: ``limits``, ``by-stratum``, ``by-layer`` or ``by-role``, which
            part, and the metric.
        facts: What a scan found.
        standard_errors: How many standard errors are added to a value before it is compared.

    Returns:
        The value, or why there is none.
    """
    match path:
        case ("limits", "by-stratum", stratum, metric):
            return _of_stratum(facts, stratum, metric, standard_errors)
        case ("limits", "by-layer", selector, signal) if signal in _HEADLINES:
            return _of_layers(facts, selector, SignalName(signal), standard_errors)
        case ("limits", "by-role", role, signal) if signal in _HEADLINES:
            return _of_role(facts, role, SignalName(signal), standard_errors)
        case _:
            why = f"{'.'.join(path)} is not a rule that can be judged."
            return Missing(metric=path[-1], why=why)


def covers(selector: str, layer: str) -> bool:
    """Say whether a selector of layer groups covers one.

    Args:
        selector: A name, ``kind.*``, or ``kind.FIRST-LAST``.
        layer: Layer group, such as ``layers.3``.

    Returns:
        True if it does; a name covers itself alone, a range both its ends.
    """
    if selector == layer:
        return True
    kind, _, wanted = selector.partition(".")
    own, _, number = layer.partition(".")
    if kind != own or not (number.isascii() and number.isdigit()):
        return False
    first, dash, last = wanted.partition("-")
    return wanted == "*" or (bool(dash) and int(first) <= int(number) <= int(last))


def _of_stratum(
    facts: Facts, stratum: str, metric: str, standard_errors: float
) -> Reading | Missing:
    headline = metric in _HEADLINES
    name = SignalName(metric) if headline else SignalName.BEHAVIOUR
    result = measured(facts, name, None if headline else metric)
    if isinstance(result, Missing):
        return result
    metric = result.metric if headline else metric
    rows = [row for row in result.by_stratum(metric) if row.stratum == stratum]
    if not rows:
        return Missing(metric=metric, why=f"{name} was measured without {metric} on {stratum}.")
    return _reading(_worst(rows, standard_errors), f" on {stratum}")


def _of_layers(
    facts: Facts, selector: str, name: SignalName, standard_errors: float
) -> Reading | Missing:
    result = measured(facts, name, None)
    if isinstance(result, Missing):
        return result
    rows = [row for row in result.by_layer(result.metric) if covers(selector, row.layer or "")]
    if not rows:
        why = f"{name} was measured on no layer group that {selector} covers."
        return Missing(metric=result.metric, why=why)
    everywhere = (row.layer for other in facts.signals for row in other.measurements)
    seen = {layer for layer in everywhere if layer is not None and covers(selector, layer)}
    worst = _worst(rows, standard_errors)
    unread = _unread(result, seen - {row.layer for row in rows})
    return _reading(worst, f" of {worst.layer}", unread)


def _of_role(
    facts: Facts, role: str, name: SignalName, standard_errors: float
) -> Reading | Missing:
    result = measured(facts, name, None)
    if isinstance(result, Missing):
        return result
    tensors = {tensor for tensor, roles in facts.tensor_roles if role in roles}
    known = [row for row in result.measurements if row.tensor in tensors and row.stratum is None]
    rows = [row for row in known if row.metric == result.metric]
    if not rows:
        why = f"{name} was measured on no tensor of role {role}."
        return Missing(metric=result.metric, why=why)
    worst = _worst(rows, standard_errors)
    # A bias of zeros that moved has no relative distance, and other numbers that say it moved.
    left = {row.tensor for row in known if row.tensor is not None} - {row.tensor for row in rows}
    return _reading(worst, f" of {worst.tensor}", _unread(result, left))


def _worst(rows: list[Measurement], standard_errors: float) -> Measurement:
    def badness(row: Measurement) -> float:
        return held(row.estimate.value, row.estimate.stderr, Bound.UPPER, standard_errors)

    return max(rows, key=badness)


def _reading(row: Measurement, of: str, unread: str | None = None) -> Reading:
    return Reading(
        metric=row.metric,
        value=row.estimate.value,
        stderr=row.estimate.stderr,
        layer=row.layer,
        stratum=row.stratum,
        of=of,
        unread=unread,
    )


def _unread(result: SignalResult, missing: Iterable[str]) -> str | None:
    names = sorted(missing)
    if not names:
        return None
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    listed = ", ".join(names[:_NAMED])
    return f"{result.name} was measured without {result.metric} of {listed}{more}."
