"""Estimate how long each step of a scan takes, from the size of the work and measured rates."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sdi_gate.policy.facts import Tier

if TYPE_CHECKING:
    from sdi_gate.gate.budget import Rung
    from sdi_gate.gate.rates import Rates
    from sdi_gate.gate.workload import Workload

# A forward pass with eager attention and short texts does not reach the rate of large products.
_EFFICIENCY = 0.4
# Spectra of base, candidate and their difference; half of a symmetric product is computed.
_SPECTRA = 3.0
_EIGEN_OPERATIONS = 4.0 / 3.0
# What two log-probabilities and their divergence cost, for each token and entry of the vocabulary.
_VOCABULARY_OPERATIONS = 500.0
# However small a model: what each layer takes in one pass over a batch, and in one draw at one
# model, before the sizes of its matrices matter.
_LAYER_PASS_S = 1e-3
_LAYER_DRAW_S = 1.5e-2
# Forward, and forward with backward, for each parameter and token.
_FORWARD = 2.0
_WITH_GRADIENTS = 6.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """Say how long each step will take, both models together.

    Attributes:
        weights_s: Reading all weights, and their spectra.
        loading_s: Loading one model after the other.
        probe_s: The probe through both.
        outputs_s: The outputs of the matrices.
        curvature_s: The curvature draws at both.
    """

    weights_s: float
    loading_s: float = 0.0
    probe_s: float = 0.0
    outputs_s: float = 0.0
    curvature_s: float = 0.0

    @property
    def seconds(self) -> float:
        """Return the seconds of all steps."""
        models = self.loading_s + self.probe_s + self.outputs_s + self.curvature_s
        return self.weights_s + models

    def scaled(self, factor: float) -> Forecast:
        """Return the forecast of a machine that computes more slowly than was measured.

        Args:
            factor: How much longer it takes; reading stays as it is.

        Returns:
            The forecast.
        """
        return replace(
            self,
            probe_s=self.probe_s * factor,
            outputs_s=self.outputs_s * factor,
            curvature_s=self.curvature_s * factor,
        )


def forecast(work: Workload, rung: Rung, rates: Rates) -> Forecast:
    """Estimate how long each step takes.

    Args:
        work: What the rung leaves; see `part_of`.
        rung: Whether the models are run, and curvature is measured.
        rates: How fast the machine is.

    Returns:
        Seconds by step.
    """
    shape, reading = work.shape, 2 * work.stored_bytes / rates.reading
    weights = (
        reading
        + _SPECTRA * shape.gram / rates.exact_products
        + _SPECTRA * _EIGEN_OPERATIONS * shape.cubes / rates.eigenvalues
    )
    if not rung.sixteenths:
        return Forecast(weights_s=weights)
    rate = _EFFICIENCY * rates.products
    logits = _VOCABULARY_OPERATIONS * shape.num_tokens * work.probe_tokens
    passes = _FORWARD + (_WITH_GRADIENTS if rung.ran is Tier.FULL else _FORWARD)
    outputs = passes * shape.num_parameters * work.output_tokens
    least, draws = 2 * shape.num_layers, len(work.strata) * work.settings.curvature_draws
    batches = work.num_samples / work.settings.batch_size
    curvature = work.curvature_operations() / rate
    return Forecast(
        weights_s=weights,
        loading_s=reading,
        probe_s=max((work.operations(Tier.PROBE) + logits) / rate, least * _LAYER_PASS_S * batches),
        outputs_s=reading + outputs / rate,
        curvature_s=max(curvature, least * _LAYER_DRAW_S * draws) if rung.curvature else 0.0,
    )
