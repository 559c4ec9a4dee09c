"""Size the work of a scan before any of it is done: memory and operations, tier by tier.

One model lies in memory at a time. What is kept of the base while the candidate runs lies on the
host, and is small beside a model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sdi_gate.gate.request import CurvatureMethod
from sdi_gate.policy.facts import Tier

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sdi_gate.gate.request import Settings
    from sdi_gate.gate.shape import ModelShape

# Operations per parameter and token: 2 forward, 4 backward, and twice a backward's 4 and a
# forward's 2 for each of three Hessian products (the quadratic form is one of them).
_FORWARD = 2.0
_BACKWARD = 4.0
_JOINT = 42.0
# By blocks there is no quadratic form. Half of what is left is done once in all, for each
# parameter is in one block; the other half, derivatives on their way to the block, once for each
# block and half as deep on average; and each block needs a forward pass of its own.
_BLOCKS_ONCE = 15.0
# As large as the model are, for all parameters at once, the update that the quadratic form needs,
# and the halves of products that autograd keeps until their other halves are there; by blocks,
# those halves of one block. Beside them lie the graph of one draw and a few tensors as large as
# the largest. Elements that the graph keeps for each token, layer and unit of width, with eager
# attention (22 in a Llama, counted); how many times that where it is derived again (60 in all);
# and bytes for each token and entry of the vocabulary: logits, their logarithms and gradients.
_JOINT_COPIES = 2.0
_LARGEST_COPIES = 3.0
_GRAPH_ELEMENTS = 25.0
_SECOND_ORDER = 2.5
_LOGIT_BYTES = 32.0
# Room for the activations of a batch, the libraries and the interpreter itself.
_OVERHEAD_BYTES = 600_000_000
# Matrices of a pair and of what is made of them, as multiples of the largest tensor in float32,
# and square matrices of its shorter side in float64.
_PAIR_COPIES = 3.0
_SQUARES = 6.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Say how much memory a step takes, and where.

    Attributes:
        model_bytes: Where the model runs: on the GPU, if there is one.
        host_bytes: On the host, whatever the device.
    """

    model_bytes: float
    host_bytes: float

    @property
    def bytes_in_all(self) -> float:
        """Return the bytes of both, which is what a machine without a GPU needs."""
        return self.model_bytes + self.host_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """Say how large the work is.

    Attributes:
        shape: The model's shape.
        bytes_per_parameter: Bytes of one parameter once loaded.
        strata: Number of samples of each stratum of the probe.
        probe_tokens: Tokens of the whole probe, at most.
        stored_bytes: Bytes of the weight files of one model.
        settings: Lengths, draws and how curvature is measured.
    """

    shape: ModelShape
    bytes_per_parameter: int
    strata: Mapping[str, int]
    probe_tokens: int
    stored_bytes: int
    settings: Settings

    @property
    def num_samples(self) -> int:
        """Return the number of samples of the probe."""
        return sum(self.strata.values())

    @property
    def curvature_tokens(self) -> int:
        """Return the tokens of all curvature draws, at most."""
        draws = len(self.strata) * self.settings.curvature_draws
        return draws * self.settings.curvature_samples * self.settings.curvature_tokens

    @property
    def output_tokens(self) -> int:
        """Return the tokens on which the outputs of matrices are compared, at most."""
        return min(len(self.strata) * self.settings.output_tokens, self.probe_tokens)

    def memory(self, tier: Tier) -> Memory:
        """Return an estimate of the memory that a tier needs.

        Args:
            tier: Which; ``full`` with the method of the settings.

        Returns:
            The memory. That of the weights is the largest tensor's, and never keeps from measuring
            them.
        """
        shape, size = self.shape, self.bytes_per_parameter
        if tier is Tier.WEIGHTS:
            pair = _PAIR_COPIES * 4 * shape.largest + _SQUARES * 8 * shape.side**2
            return Memory(model_bytes=pair, host_bytes=4 * shape.largest + _OVERHEAD_BYTES)
        # The base's states at every position, pooled activations of both, inputs of the matrices.
        kept = self.probe_tokens * shape.width * size
        kept += 2 * self.num_samples * (shape.num_layers + 1) * shape.width * 4
        joint = self.settings.curvature_method is CurvatureMethod.JOINT
        gradients = shape.outputs if tier is Tier.FULL and joint else 0
        kept += self.output_tokens * (shape.inputs + gradients) * size
        head = shape.num_tokens * shape.width * size  # the base's, beside the candidate
        model = shape.num_parameters * size + _OVERHEAD_BYTES
        extra = self._curvature_bytes() if tier is Tier.FULL else 0.0
        return Memory(model_bytes=model + max(head, extra), host_bytes=kept)

    def _curvature_bytes(self) -> float:
        shape, settings = self.shape, self.settings
        tokens = settings.curvature_samples * settings.curvature_tokens
        copies = 0.0
        match settings.curvature_method:
            case CurvatureMethod.JOINT:
                kept, copies = _SECOND_ORDER, _JOINT_COPIES
            case CurvatureMethod.BLOCKS:
                # Above a block what carries derivatives down to it is kept, in it what the
                # parameters' own derivatives need as well.
                kept = _SECOND_ORDER * (1 + 1 / settings.curvature_blocks) / 2
                copies = 1 / settings.curvature_blocks
            case CurvatureMethod.FISHER:
                kept, tokens = 1.0, settings.curvature_tokens  # one sample at a time
        size = self.bytes_per_parameter
        graph = kept * _GRAPH_ELEMENTS * tokens * shape.num_layers * shape.width * size
        largest = _LARGEST_COPIES * shape.largest * size
        whole = copies * shape.num_parameters * size
        return whole + graph + largest + tokens * shape.num_tokens * _LOGIT_BYTES

    def operations(self, tier: Tier) -> float:
        """Return an estimate of the operations that a tier adds over the weights.

        Args:
            tier: Which; ``full`` with the method of the settings.

        Returns:
            Floating-point operations of both models.
        """
        probe = 2 * _FORWARD * self.shape.num_parameters * self.probe_tokens
        return {
            Tier.WEIGHTS: 0.0,
            Tier.PROBE: probe,
            Tier.FULL: probe + self.curvature_operations(),
        }[tier]

    def curvature_operations(self) -> float:
        """Return an estimate of the operations of all curvature draws.

        Returns:
            Floating-point operations of both models, by the method of the settings.
        """
        match self.settings.curvature_method:
            case CurvatureMethod.JOINT:
                each = _JOINT
            case CurvatureMethod.BLOCKS:
                blocks = self.settings.curvature_blocks
                each = _FORWARD * blocks + _BLOCKS_ONCE * (1 + (blocks + 1) / 2)
            case CurvatureMethod.FISHER:
                each = _FORWARD + _BACKWARD
        return 2 * each * self.shape.num_parameters * self.curvature_tokens
