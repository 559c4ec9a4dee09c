"""Run both models over the probe set: pooled activations of every layer, and predictions."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from torch import nn

    from sdi_gate.models.causal_lm import LoadedModel
    from sdi_gate.models.tokens import Batch


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedPredictions:
    """Hold both models' predictions at every real position of a batch, sample after sample.

    Attributes:
        indices: Which samples, as positions in the probe.
        counts: Number of predictions of each sample.
        base: Base logits, shape ``[t, v]``.
        candidate: Candidate logits, shape ``[t, w]``; with added tokens ``w > v``.
        targets: The tokens that follow, shape ``[t]``, int64.
    """

    indices: tuple[int, ...]
    counts: tuple[int, ...]
    base: Tensor
    candidate: Tensor
    targets: Tensor


class PooledActivations:
    """Collect the mean activation of each sample after each decoder layer of one model.

    And what the head reads, which is the state after the last norm, if the model has a head. The
    mean is over the sample's tokens but the first: that position is an attention sink, whose
    massive activations would drown the others.

    Args:
        loaded: The model.
        num_samples: Number of samples of the probe.
    """

    def __init__(self, loaded: LoadedModel, num_samples: int) -> None:
        self._loaded = loaded
        self._num_samples = num_samples
        self._batch: Batch | None = None
        self.layers: list[Tensor] = []
        self.output: Tensor | None = None

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Attach to the model's decoder layers for the time of a block.

        Yields:
            Nothing; run the model inside.
        """
        with ExitStack() as stack:
            for index, layer in enumerate(self._loaded.layers):
                stack.callback(layer.register_forward_hook(self._hook(index)).remove)
            head = output_head(self._loaded)
            if head is not None:
                stack.callback(head.register_forward_pre_hook(self._read_output).remove)
            yield

    def logits(self, batch: Batch) -> Tensor:
        """Run the model on a batch and collect what its layers give.

        Args:
            batch: The tokens.

        Returns:
            Logits, shape ``[b, t, v]``.
        """
        self._batch = batch
        try:
            return logits(self._loaded, batch)
        finally:
            self._batch = None  # other passes through this model are not of the probe

    def _hook(self, index: int) -> Callable[[nn.Module, object, Tensor | tuple[Tensor, ...]], None]:
        def collect(_module: nn.Module, _args: object, output: Tensor | tuple[Tensor, ...]) -> None:
            hidden = output if isinstance(output, Tensor) else output[0]  # [b, t, p]
            if self._batch is not None:
                while len(self.layers) <= index:
                    self.layers.append(self._empty(hidden))
                self._keep(self.layers[index], hidden, self._batch)

        return collect

    def _read_output(self, _module: nn.Module, args: tuple[Tensor, ...]) -> None:
        if self._batch is not None:
            if self.output is None:
                self.output = self._empty(args[0])
            self._keep(self.output, args[0], self._batch)

    def _empty(self, hidden: Tensor) -> Tensor:
        shape = (self._num_samples, hidden.shape[-1])
        return torch.full(shape, torch.nan, dtype=torch.float32)

    @staticmethod
    def _keep(kept: Tensor, hidden: Tensor, batch: Batch) -> None:
        mask = batch.mask.clone()
        mask[:, 0] = 0
        weights = mask.to(torch.float64)[:, :, None]
        # where, not a product: padding may hold infinities, and 0 times those is NaN.
        real = torch.where(weights > 0, hidden.to(torch.float64), 0.0)
        pooled = real.sum(1) / weights.sum(1)
        kept[list(batch.indices)] = pooled.to("cpu", torch.float32)


def output_head(loaded: LoadedModel) -> nn.Module | None:
    """Find the module that turns the last state into logits.

    Args:
        loaded: The model.

    Returns:
        The head, or None if the model has none that can be named.
    """
    find = getattr(loaded.model, "get_output_embeddings", None)
    head: nn.Module | None = find() if find is not None else None
    return head


def logits(loaded: LoadedModel, batch: Batch) -> Tensor:
    """Run a model on a batch.

    Args:
        loaded: The model.
        batch: The tokens.

    Returns:
        Logits, shape ``[b, t, v]``.
    """
    output = loaded.model(input_ids=batch.ids, attention_mask=batch.mask, use_cache=False)
    result: Tensor = output.logits
    return result


def is_deterministic(loaded: LoadedModel, batch: Batch) -> bool:
    """Say whether a model gives the same numbers twice for the same batch.

    Args:
        loaded: The model.
        batch: Any batch.

    Returns:
        True if the logits are equal to the bit; numbers that are not finite count as equal, for
        they are found by whoever uses them.
    """
    with torch.inference_mode():
        first, second = logits(loaded, batch), logits(loaded, batch)
    return bool(torch.equal(first.nan_to_num(), second.nan_to_num()))


def paired_predictions(
    base: PooledActivations, candidate: PooledActivations, batches: Sequence[Batch]
) -> Iterator[PairedPredictions]:
    """Run both models over the probe, batch by batch.

    Args:
        base: Collects from the base.
        candidate: Collects from the candidate.
        batches: The probe.

    Yields:
        The predictions of each batch; afterwards both collectors hold every sample.
    """
    with torch.inference_mode(), base.reading(), candidate.reading():
        for batch in batches:
            ours, theirs = base.logits(batch), candidate.logits(batch)
            # What the base has beyond the candidate's columns is padding, which no token addresses.
            ours = ours[..., : theirs.shape[-1]]
            predicts = batch.mask[:, 1:].bool()  # position t predicts token t + 1
            yield PairedPredictions(
                indices=batch.indices,
                counts=tuple(int(count) for count in predicts.sum(1)),
                base=ours[:, :-1][predicts],
                candidate=theirs[:, :-1][predicts],
                targets=batch.ids[:, 1:][predicts],
            )
