"""Measure how the curvature of the loss changed: Hutchinson's trace, paired between the models."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from sdi_gate.signals.interface import (
    Estimate,
    Measurement,
    Outcome,
    SignalId,
    SignalName,
    SignalResult,
    inconclusive,
)
from sdi_gate.signals.signs import rademacher
from sdi_gate.signals.strata import mean, sample_mean, stratum_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import torch
    from torch import Tensor

METRIC = "trace-shift"
VERSION = 1


class CurvatureKind(StrEnum):
    """Name the quantities that one draw yields for each model and layer group."""

    HESSIAN_TRACE = "hessian-trace"
    WEIGHTED_TRACE = "weight-scaled-trace"
    FISHER_TRACE = "fisher-trace"


Table = dict[tuple[CurvatureKind, str], float]  # value for each kind and layer group
# Shifts by name; the first that was measured is the headline.
_SHIFTS = (
    (METRIC, CurvatureKind.HESSIAN_TRACE),
    ("weight-scaled-trace-shift", CurvatureKind.WEIGHTED_TRACE),
    ("fisher-trace-shift", CurvatureKind.FISHER_TRACE),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CurvatureDraw:
    """Hold one paired draw: the same vectors, tokens and labels for both models.

    Attributes:
        stratum: Stratum of the batch.
        base: Value for each kind and layer group at the base.
        candidate: Value for each kind and layer group at the candidate.
        update_quadratic_form_nats: Half of update times Hessian times update at the base, over all
            parameters, nats per token; None if it was not measured.
    """

    stratum: str
    base: Table
    candidate: Table
    update_quadratic_form_nats: float | None = None


def hutchinson_trace(
    matvec: Callable[[Tensor], Tensor], size: int, num_matvecs: int, generator: torch.Generator
) -> Estimate:
    r"""Estimate the trace of a symmetric matrix from products with random signs.

    :math:`\frac1m \sum_i v_i^\top A v_i` with Rademacher :math:`v_i` is unbiased, exact for a
    diagonal matrix, and has variance :math:`2 \sum_{i \ne j} a_{ij}^2 / m` otherwise.

    Args:
        matvec: Maps a vector of shape ``[size]``, float64, to the matrix times that vector.
        size: Order of the matrix.
        num_matvecs: Number of products; at least 2.
        generator: Source of randomness.

    Returns:
        The trace with its standard error.

    Raises:
        ValueError: If fewer than two products are asked for.

    References:
        Hutchinson (1989), Communications in Statistics 18(3):1059-1076, proposition 1.
    """
    if num_matvecs < 2:
        msg = f"a standard error needs at least 2 products; got num_matvecs={num_matvecs}"
        raise ValueError(msg)
    draws = []
    for _ in range(num_matvecs):
        v = rademacher([size], generator).double()
        draws.append(float(v @ matvec(v)))
    return sample_mean(draws)


def symmetric_relative_difference(base: float, candidate: float) -> float:
    r"""Compute :math:`|t_1 - t_0| / (|t_1| + |t_0|)`.

    A log ratio would not do: on text that the model was not trained to its optimum on, the trace
    of a Hessian can be negative.

    Args:
        base: Any finite number.
        candidate: Any finite number.

    Returns:
        From 0 (equal) to 1 (one is 0, or the signs differ); 0 if both are 0.
    """
    if base == candidate:
        return 0.0
    _, exponent = math.frexp(max(abs(base), abs(candidate)))
    a, b = math.ldexp(base, -exponent), math.ldexp(candidate, -exponent)  # sums cannot overflow
    return abs(b - a) / (abs(b) + abs(a))


def paired_shift(base: Sequence[float], candidate: Sequence[float]) -> Estimate:
    """Estimate the symmetric relative difference of two means from paired draws.

    The standard error is the jackknife's, which leaves out one pair at a time: the noise that the
    pairs share cancels.

    Args:
        base: Draws at the base; at least 2.
        candidate: The draws that belong to them.

    Returns:
        The difference, 0 to 1, with its standard error; 0 and 0 for equal draws. Noise biases it
        upwards: the expectation of an absolute value is not 0.

    References:
        Efron and Stein (1981), Annals of Statistics 9(3):586-596, for the jackknife.
    """
    n = len(base)
    whole = symmetric_relative_difference(mean(base), mean(candidate))
    total0, total1 = math.fsum(base), math.fsum(candidate)
    left_out = [
        symmetric_relative_difference((total0 - b) / (n - 1), (total1 - c) / (n - 1))
        for b, c in zip(base, candidate, strict=True)
    ]
    centre = mean(left_out)
    spread = math.fsum((value - centre) ** 2 for value in left_out)
    return Estimate(value=whole, stderr=math.sqrt(spread * (n - 1) / n), n=n)


def curvature_shift(
    draws: Sequence[CurvatureDraw],
    headline_layers: Sequence[str],
    parameters: Sequence[tuple[str, str]],
) -> SignalResult:
    r"""Compute the curvature shift: the change of the Hessian's trace, mean over the strata.

    For each stratum :math:`|t_1 - t_0| / (|t_1| + |t_0|)` of the traces of the loss Hessian at
    both checkpoints, estimated from the same signs on the same tokens; traces over the headline
    layers only, since embeddings would dominate. Beside it the same of the weight-scaled trace
    :math:`\sum_i \theta_i^2 H_{ii}`, which a rescaling of weights between layers leaves alone
    (Dinh et al. 2017 show that the plain trace is not so robust), of the sampled-label Fisher
    trace, and the quadratic form :math:`\frac12 \Delta^\top H \Delta`. Draws of first derivatives
    alone have no Hessian: their headline is the Fisher trace's shift, under that name. The Fisher
    matrix is the part of the Hessian that is never negative; how far their traces are apart
    depends on how well the model predicts the text.

    Args:
        draws: Paired draws; at least 2 for every stratum. A kind that is not in all of them, at
            both models, is not measured.
        headline_layers: Layer groups that count in the headline, in model order.
        parameters: What else changes the number (probe, tokens, draws, seed, dtype), for the id.

    Returns:
        The headline, 0 to 1, with its standard error; rows per layer and stratum. Inconclusive if
        a draw is not finite, a stratum has fewer than 2, no layer counts, or no kind is in all.

    References:
        Keskar et al. (2017), arXiv:1609.04836, sharpness; Hutchinson (1989), the trace; Kunstner et
        al. (2019), arXiv:1905.12558, sampled labels; Kirkpatrick et al. (2017), arXiv:1612.00796,
        the quadratic form. The relative difference is ours.
    """
    signal_id = SignalId(
        name=SignalName.CURVATURE_SHIFT, version=VERSION, parameters=tuple(parameters)
    )
    grouped: dict[str, list[CurvatureDraw]] = {}
    for draw in draws:
        grouped.setdefault(draw.stratum, []).append(draw)
    shifts = _measured_shifts(draws, headline_layers)
    headline = shifts[0][0] if shifts else METRIC
    if problem := _why_not(grouped, headline_layers):
        return inconclusive(signal_id, headline, problem)
    if not shifts:
        return inconclusive(signal_id, headline, "no kind of curvature is in every draw")
    rows: list[Measurement] = []
    for metric, kind in shifts:
        rows.extend(_shift_rows(metric, kind, grouped, headline_layers))
    rows.extend(_trace_rows(shifts[0][1], grouped, headline_layers))
    rows.extend(_quadratic_rows(grouped))
    return SignalResult(
        id=signal_id,
        outcome=Outcome.MEASURED,
        metric=headline,
        estimate=rows[0].estimate,
        measurements=tuple(rows[1:]),
    )


def _measured_shifts(
    draws: Sequence[CurvatureDraw], layers: Sequence[str]
) -> list[tuple[str, CurvatureKind]]:
    tables = [table for draw in draws for table in (draw.base, draw.candidate)]

    def is_everywhere(kind: CurvatureKind) -> bool:
        return all((kind, layer) in table for table in tables for layer in layers)

    return [(metric, kind) for metric, kind in _SHIFTS if is_everywhere(kind)]


def _why_not(grouped: dict[str, list[CurvatureDraw]], layers: Sequence[str]) -> str | None:
    if not layers:
        return "the model has no decoder layers"
    if not grouped or min(len(group) for group in grouped.values()) < 2:
        return "a stratum has fewer than 2 paired draws"
    if not all(_is_finite(draw) for group in grouped.values() for draw in group):
        return "a curvature product is NaN or infinite"
    return None


def _is_finite(draw: CurvatureDraw) -> bool:
    form = draw.update_quadratic_form_nats or 0.0  # NaN counts as true
    values = (*draw.base.values(), *draw.candidate.values(), form)
    return all(math.isfinite(value) for value in values)


def _totals(
    group: Sequence[CurvatureDraw], kind: CurvatureKind, layers: Sequence[str]
) -> tuple[list[float], list[float]]:
    base = [math.fsum(draw.base[kind, layer] for layer in layers) for draw in group]
    candidate = [math.fsum(draw.candidate[kind, layer] for layer in layers) for draw in group]
    return base, candidate


def _mean_estimate(estimates: Sequence[Estimate]) -> Estimate:
    variance = math.fsum((estimate.stderr or 0.0) ** 2 for estimate in estimates)
    return Estimate(
        value=mean([estimate.value for estimate in estimates]),
        stderr=math.sqrt(variance) / len(estimates),
        n=sum(estimate.n or 0 for estimate in estimates),
    )


def _shift_rows(
    metric: str,
    kind: CurvatureKind,
    grouped: dict[str, list[CurvatureDraw]],
    layers: Sequence[str],
) -> list[Measurement]:
    by_stratum = {
        stratum: paired_shift(*_totals(group, kind, layers)) for stratum, group in grouped.items()
    }
    rows = [Measurement(metric=metric, estimate=_mean_estimate([*by_stratum.values()]))]
    for layer in layers:
        shifts = {
            stratum: paired_shift(*_totals(group, kind, [layer]))
            for stratum, group in grouped.items()
        }
        rows.append(
            Measurement(metric=metric, layer=layer, estimate=_mean_estimate([*shifts.values()]))
        )
        rows.extend(
            Measurement(metric=metric, layer=layer, stratum=stratum, estimate=estimate)
            for stratum, estimate in shifts.items()
        )
    rows.extend(stratum_rows(metric, by_stratum))
    return rows


def _trace_rows(
    kind: CurvatureKind, grouped: dict[str, list[CurvatureDraw]], layers: Sequence[str]
) -> list[Measurement]:
    return [
        Measurement(metric=f"{kind}-{who}", stratum=stratum, estimate=sample_mean(values))
        for stratum, group in grouped.items()
        for who, values in zip(("base", "candidate"), _totals(group, kind, layers), strict=True)
    ]


def _quadratic_rows(grouped: dict[str, list[CurvatureDraw]]) -> list[Measurement]:
    forms = {
        stratum: [form for draw in group if (form := draw.update_quadratic_form_nats) is not None]
        for stratum, group in grouped.items()
    }
    if any(len(forms[stratum]) < len(group) for stratum, group in grouped.items()):
        return []
    by_stratum = {stratum: sample_mean(values) for stratum, values in forms.items()}
    metric = "update-quadratic-form"
    return [
        Measurement(metric=metric, estimate=_mean_estimate([*by_stratum.values()])),
        *stratum_rows(metric, by_stratum),
    ]
