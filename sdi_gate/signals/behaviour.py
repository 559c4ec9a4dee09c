"""Measure how the predictions themselves changed: KL divergence, likelihood, top-1 flips."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sdi_gate.signals.interface import (
    Measurement,
    Outcome,
    SignalId,
    SignalName,
    SignalResult,
    inconclusive,
)
from sdi_gate.signals.strata import sample_mean, stratum_rows, worst

if TYPE_CHECKING:
    from collections.abc import Sequence

METRIC = "kl-divergence"
VERSION = 1
METRICS = ("kl-divergence", "nll-change", "top1-flip-rate")

# Elements of a block of logits that is promoted to float64 at one time: 16 MiB.
_BLOCK_ELEMENTS = 1 << 21


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleBehaviour:
    """Hold what changed in the predictions on one probe sample, as means over its tokens.

    Attributes:
        stratum: Stratum of the sample.
        kl_nats: Mean KL divergence of base from candidate, nats per token.
        base_nll_nats: Mean negative log-likelihood under the base, nats per token.
        candidate_nll_nats: The same under the candidate.
        flip_rate: Share of positions at which the most likely next token differs.
    """

    stratum: str
    kl_nats: float
    base_nll_nats: float
    candidate_nll_nats: float
    flip_rate: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenBehaviour:
    """Hold the same four numbers for every position of a batch.

    Attributes:
        kl_nats: Shape ``[t]``, float64.
        base_nll_nats: Shape ``[t]``, float64.
        candidate_nll_nats: Shape ``[t]``, float64.
        flips: Shape ``[t]``, float64, 0 or 1.
    """

    kl_nats: Tensor
    base_nll_nats: Tensor
    candidate_nll_nats: Tensor
    flips: Tensor


def compare_predictions(
    base: Tensor, candidate: Tensor, targets: Tensor, dtype: torch.dtype = torch.float64
) -> TokenBehaviour:
    r"""Compare two models' predictions of the next token.

    :math:`\mathrm{KL}(p \| q) = \sum_v p_v (\log p_v - \log q_v)` in nats, block by block, all
    sums in float64. With logits in float64 small divergences are not rounding; in float32 each
    logit carries an error of some :math:`10^{-7}` of its distance from the largest one.

    Args:
        base: Base logits, shape ``[t, v]``, any floating dtype.
        candidate: Candidate logits, shape ``[t, w]`` with ``w >= v``: what stands behind the
            base's columns are tokens that the base does not have, and gives probability 0.
        targets: The tokens that follow, shape ``[t]``, int64.
        dtype: Type of the logits and their exponentials: float64, or float32 where that is slow.

    Returns:
        Four vectors of shape ``[t]`` on the CPU. KL is at least 0, exactly 0 for equal logits, and
        NaN or infinite wherever a logit is not finite; flips are always 0 or 1.
    """
    parts: list[Tensor] = []
    step = max(1, _BLOCK_ELEMENTS // base.shape[1])
    for start in range(0, max(1, base.shape[0]), step):
        rows = slice(start, start + step)
        P, Q = _below_largest(base[rows], dtype), _below_largest(candidate[rows], dtype)
        target = targets[rows, None]
        flips = P.argmax(-1) != Q.argmax(-1)
        moved = P - Q[:, : P.shape[1]]
        logs = [X.gather(1, target)[:, 0].double() for X in (P, Q)]
        weights, sums = P.exp_(), Q.exp_().sum(-1, dtype=torch.float64)
        own = weights.sum(-1, dtype=torch.float64)
        kl = moved.mul_(weights).sum(-1, dtype=torch.float64) / own + (sums.log() - own.log())
        kl = kl.clamp(min=0)  # rounding; keeps NaN
        nll0, nll1 = own.log() - logs[0], sums.log() - logs[1]
        parts.append(torch.stack([kl, nll0, nll1, flips.double()]).cpu())
    kl, nll0, nll1, flips = torch.cat(parts, dim=1)
    return TokenBehaviour(kl_nats=kl, base_nll_nats=nll0, candidate_nll_nats=nll1, flips=flips)


def _below_largest(logits: Tensor, dtype: torch.dtype) -> Tensor:
    # Contiguous, so that equal logits are summed in one order whatever their strides.
    X = logits.to(dtype).contiguous()
    return X - X.amax(-1, keepdim=True)


def behaviour(
    samples: Sequence[SampleBehaviour], parameters: Sequence[tuple[str, str]]
) -> SignalResult:
    """Compute KL divergence, likelihood change and flip rate, per stratum and over the worst.

    Not part of the index ``sdi``: it is the baseline that the four signals are compared with.

    Args:
        samples: One entry per probe sample.
        parameters: Parameters of the forward passes that change the number, for the signal's id.

    Returns:
        The headline is the KL divergence of the worst stratum, nats per token, at least 0.
        ``nll-change`` is signed: above 0 means that the candidate finds the text less likely.
        Standard errors are those of a mean over the samples of a stratum. Inconclusive if a
        number is not finite or a stratum has one sample only.
    """
    signal_id = SignalId(name=SignalName.BEHAVIOUR, version=VERSION, parameters=tuple(parameters))
    grouped: dict[str, list[SampleBehaviour]] = {}
    for sample in samples:
        grouped.setdefault(sample.stratum, []).append(sample)
    if not grouped or min(len(group) for group in grouped.values()) < 2:
        return inconclusive(signal_id, METRIC, "a stratum has fewer than 2 samples")
    if not all(_is_finite(sample) for sample in samples):
        return inconclusive(signal_id, METRIC, "a model predicts NaN or infinity on the probe set")
    rows: list[Measurement] = []
    for metric in METRICS:
        by_stratum = {
            name: sample_mean([_value(metric, sample) for sample in group])
            for name, group in grouped.items()
        }
        top = worst({name: estimate.value for name, estimate in by_stratum.items()})
        rows.append(Measurement(metric=metric, estimate=by_stratum[top]))
        rows.extend(stratum_rows(metric, by_stratum))
    for metric in ("base-nll", "candidate-nll"):
        by_stratum = {
            name: sample_mean([_value(metric, sample) for sample in group])
            for name, group in grouped.items()
        }
        rows.extend(stratum_rows(metric, by_stratum))
    return SignalResult(
        id=signal_id,
        outcome=Outcome.MEASURED,
        metric=METRIC,
        estimate=rows[0].estimate,
        measurements=tuple(rows[1:]),
    )


def _is_finite(sample: SampleBehaviour) -> bool:
    values = (sample.kl_nats, sample.base_nll_nats, sample.candidate_nll_nats, sample.flip_rate)
    return all(math.isfinite(value) for value in values)


def _value(metric: str, sample: SampleBehaviour) -> float:
    match metric:
        case "kl-divergence":
            return sample.kl_nats
        case "nll-change":
            return sample.candidate_nll_nats - sample.base_nll_nats
        case "top1-flip-rate":
            return sample.flip_rate
        case "base-nll":
            return sample.base_nll_nats
        case _:
            return sample.candidate_nll_nats
