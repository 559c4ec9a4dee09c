"""Run a model over the probe set: pooled activations of every layer, and what predicts."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import nn

    from sdi_gate.models.causal_lm import LoadedModel
    from sdi_gate.models.output_head import OutputHead
    from sdi_gate.models.tokens import Batch


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

    def rows(self, head: OutputHead, batch: Batch) -> Tensor:
        """Run the model on a batch and collect what its layers give.

        Args:
            head: The model's way from tokens to logits.
            batch: The tokens.

        Returns:
            What `OutputHead.logits` takes at every position that predicts a token, sample after
            sample, shape ``[t, p]``.
        """
        self._batch = batch
        try:
            found = head.run(batch)
            if head.is_apart:  # then it is the states themselves that the head reads
                self._keep_output(found, batch)
            return predicting(found, batch)
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
            self._keep_output(args[0], self._batch)

    def _keep_output(self, hidden: Tensor, batch: Batch) -> None:
        if self.output is None:
            self.output = self._empty(hidden)
        self._keep(self.output, hidden, batch)

    def _empty(self, hidden: Tensor) -> Tensor:
        shape = (self._num_samples, hidden.shape[-1])
        return torch.full(shape, torch.nan, dtype=torch.float32)

    @staticmethod
    def _keep(kept: Tensor, hidden: Tensor, batch: Batch) -> None:
        # With layers on several devices, each gives its activations where it lies.
        mask = batch.mask.to(hidden.device, copy=True)
        mask[:, 0] = 0
        weights = mask.to(torch.float64)[:, :, None]
        # where, not a product: padding may hold infinities, and 0 times those is NaN.
        real = torch.where(weights > 0, hidden.to(torch.float64), 0.0)
        pooled = real.sum(1) / weights.sum(1)
        kept[list(batch.indices)] = pooled.to("cpu", torch.float32)


def predicting(found: Tensor, batch: Batch) -> Tensor:
    """Select the positions that predict a token: all of a sample but its last.

    Args:
        found: Anything with one row for each position, shape ``[b, t, p]``.
        batch: The tokens.

    Returns:
        Shape ``[n, p]``, sample after sample.
    """
    return found[:, :-1][batch.mask[:, 1:].bool().to(found.device)]


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
