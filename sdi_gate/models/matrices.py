"""Read the inputs of a model's weight matrices, and the gradients of the loss at their outputs."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from sdi_gate.models.activations import logits
from sdi_gate.models.hessian import sample_labels
from sdi_gate.models.layers import is_decoder_layer, layer_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from sdi_gate.models.causal_lm import LoadedModel
    from sdi_gate.models.tokens import Batch


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenReadings:
    """Hold what some tokens show at one linear map, on the host.

    Attributes:
        inputs: Inputs of the map, shape ``[t, n]``; maps that read one tensor share it.
        gradients: Gradient of the tokens' summed negative log-likelihood with respect to the
            map's outputs, nats, shape ``[t, m]``; None where no gradient was taken.
    """

    inputs: Tensor
    gradients: Tensor | None


def linear_maps(loaded: LoadedModel) -> dict[str, nn.Linear | Conv1D]:
    """Return the linear maps inside the decoder layers.

    Args:
        loaded: The model.

    Returns:
        Modules by the name of their weight, in model order.
    """
    return {
        f"{name}.weight": module
        for name, module in loaded.model.named_modules()
        if isinstance(module, (nn.Linear, Conv1D)) and is_decoder_layer(layer_of(f"{name}.weight"))
    }


def weight_of(module: nn.Linear | Conv1D) -> Tensor:
    """Return the matrix of a linear map.

    Args:
        module: The map.

    Returns:
        Shape ``[outputs, inputs]``, a view without a graph; some families (GPT-2) store it
        transposed.
    """
    weight: Tensor = module.weight.detach()
    return weight if isinstance(module, nn.Linear) else weight.mT


def read_tokens(
    loaded: LoadedModel, batch: Batch, chosen: Tensor, uniforms: Tensor | None
) -> dict[str, TokenReadings]:
    """Run a model once and read what some tokens show at each linear map of its decoder layers.

    The gradients are those of the negative log-likelihood of labels that are sampled from the
    model at every real position, summed over the positions.

    Args:
        loaded: The model.
        batch: The tokens.
        chosen: Which positions to read, shape ``[b, t]``, bool.
        uniforms: Numbers in [0, 1) by which labels are sampled, one for each real position,
            float64; None to read no gradients.

    Returns:
        Readings by the name of the map's weight, in model order, one row for each chosen
        position. Maps that do not see every position of the batch exactly once (experts) have
        none.
    """
    reader = _Reader(chosen)
    with ExitStack() as stack:
        for name, module in linear_maps(loaded).items():
            stack.callback(module.register_forward_hook(reader.hook(name)).remove)
        if uniforms is None:
            with torch.no_grad():
                logits(loaded, batch)
        else:
            _backward(loaded, batch, uniforms, stack)
    return {
        name: TokenReadings(inputs=inputs, gradients=reader.gradients.get(name))
        for name, inputs in reader.inputs.items()
        if name not in reader.repeated and (uniforms is None or name in reader.gradients)
    }


def _backward(loaded: LoadedModel, batch: Batch, uniforms: Tensor, stack: ExitStack) -> None:
    # From the logits down to the embedded tokens: every output of a map lies on the way, and the
    # gradients of the weights themselves are not computed.
    leaves: list[Tensor] = []

    def embed(_module: nn.Module, _args: object, output: Tensor) -> Tensor:
        leaves.append(output.detach().requires_grad_())
        return leaves[-1]

    embeddings = loaded.model.get_input_embeddings()
    stack.callback(embeddings.register_forward_hook(embed).remove)
    with torch.enable_grad():
        raw = logits(loaded, batch)[batch.mask.bool()]
        log_p = raw.to(torch.promote_types(raw.dtype, torch.float32)).log_softmax(-1)
        labels = sample_labels(log_p, uniforms[: log_p.shape[0]])
        sampled = -log_p.gather(1, labels[:, None]).sum()
        torch.autograd.grad(sampled, leaves)


class _Reader:
    def __init__(self, chosen: Tensor) -> None:
        self._chosen = chosen
        self._last: tuple[Tensor, int, Tensor] | None = None
        self.inputs: dict[str, Tensor] = {}
        self.gradients: dict[str, Tensor] = {}
        self.repeated: set[str] = set()

    def hook(self, name: str) -> Callable[[nn.Module, tuple[Tensor, ...], object], None]:
        def read(_module: nn.Module, args: tuple[Tensor, ...], output: object) -> None:
            if name in self.inputs:
                self.repeated.add(name)
            # Some routers are linear maps by their class and give what they chose.
            if not isinstance(output, Tensor) or (which := self._rows_of(name, output)) is None:
                return
            self.inputs[name] = self._read_once(args[0], which)
            if output.requires_grad:
                output.register_hook(lambda gradient: keep(gradient, which))  # type: ignore[no-untyped-call]

        def keep(gradient: Tensor, which: Tensor) -> None:
            self.gradients[name] = gradient.detach()[which.to(gradient.device)].cpu()

        return read

    def _read_once(self, inputs: Tensor, which: Tensor) -> Tensor:
        # Query, key and value read the same tensor, as gate and up do, one after the other.
        version = inputs._version  # noqa: SLF001 - the only sign of a change in place
        if self._last is None or self._last[0] is not inputs or self._last[1] != version:
            read = inputs.detach()[which.to(inputs.device)].cpu()
            self._last = (inputs, version, read)
        return self._last[-1]

    def _rows_of(self, name: str, output: Tensor) -> Tensor | None:
        if output.shape[:-1] == self._chosen.shape:
            return self._chosen
        # OPT and shared experts lay the samples end to end. One of several experts can by chance
        # be given as many tokens, in its own order.
        flat = output.shape[:-1] == (self._chosen.numel(),)
        return self._chosen.reshape(-1) if flat and not _is_one_of_several(name) else None


def _is_one_of_several(name: str) -> bool:
    return sum(part.isdigit() for part in name.split(".")) > 1
