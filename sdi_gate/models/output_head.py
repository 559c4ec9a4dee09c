"""Take a language model apart into its decoder and its head, where that changes no number.

The states that a decoder gives are some thirty times smaller than the logits that the head makes
of them. So the states are what is kept of a base, with the head alone, while the candidate runs.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import torch
from torch import Tensor, nn

from sdi_gate.models.activations import logits, output_head, predicting

if TYPE_CHECKING:
    from collections.abc import Iterator

    from transformers.utils.generic import ModelOutput

    from sdi_gate.models.causal_lm import LoadedModel
    from sdi_gate.models.tokens import Batch

# Positions of which logits are made at one time: enough to be worth a pass over the head's weights.
BLOCK_ROWS = 128

# How many roundings of the largest logit two ways of making the same logits may lie apart.
_ROUNDINGS = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Say where a causal language model comes apart.

    Attributes:
        path: Name of the decoder's module in the model.
        output_type: What the decoder returns.
    """

    path: str
    output_type: type[ModelOutput]


class OutputHead:
    """Go from tokens to logits in two steps: to rows that are worth keeping, and on from there.

    For a model that comes apart the rows are the states that its head reads, and the logits are
    made of them by the model's own forward pass with the decoder taken out, so that whatever a
    family does to its logits (soft caps, scales) is done. For any other model the rows are the
    logits themselves.

    Args:
        loaded: The model.
        split: Where it comes apart; None if it does not.
    """

    def __init__(self, loaded: LoadedModel, split: Split | None) -> None:
        self._loaded = loaded
        self._decoder = loaded.model.get_submodule(split.path) if split is not None else None
        self._stub = _Stub(split.output_type) if split is not None else None
        self._path = split.path if split is not None else ""
        # Some families look for it by way of the decoder, which is not always in its place.
        self._module = output_head(loaded)

    @property
    def is_apart(self) -> bool:
        """Say whether rows are states, not logits."""
        return self._stub is not None

    @classmethod
    def take(cls, loaded: LoadedModel, split: Split | None) -> Self:
        """Keep what turns rows into logits, and free the rest of the model's memory.

        Args:
            loaded: The model. If it comes apart it cannot be run any more.
            split: Where it comes apart; None if it does not: then the whole model is kept.

        Returns:
            The head.
        """
        head = cls(loaded, split)
        head.part()
        decoder, head._decoder = head._decoder, None
        if decoder is not None:
            # Whoever still holds the model holds no memory by that. A tied head stays.
            kept = {id(parameter) for parameter in loaded.model.parameters()}
            for parameter in decoder.parameters():
                if id(parameter) not in kept:
                    parameter.data = parameter.data.new_empty(0)
        return head

    @classmethod
    @contextmanager
    def opened(cls, loaded: LoadedModel, split: Split | None) -> Iterator[Self]:
        """Take a model apart for the time of a block.

        Args:
            loaded: The model.
            split: Where it comes apart; None if it does not.

        Yields:
            Both steps; the model is whole again afterwards.
        """
        head = cls(loaded, split)
        head.part()
        try:
            yield head
        finally:
            head.join()

    def part(self) -> None:
        """Put something in the decoder's place that gives the states which it is told."""
        self._replace(self._stub)

    def join(self) -> None:
        """Put the decoder back."""
        self._replace(self._decoder)

    def _replace(self, module: nn.Module | None) -> None:
        if module is not None:
            path, _, leaf = self._path.rpartition(".")
            setattr(self._loaded.model.get_submodule(path), leaf, module)

    def run(self, batch: Batch) -> Tensor:
        """Run the model on a batch as far as to the rows.

        Args:
            batch: The tokens.

        Returns:
            Shape ``[b, t, p]``; see `predicting` for the positions that matter.
        """
        if self._decoder is None:
            return logits(self._loaded, batch)
        output = self._decoder(input_ids=batch.ids, attention_mask=batch.mask, use_cache=False)
        states: Tensor = output.last_hidden_state
        return states

    def logits(self, rows: Tensor) -> Tensor:
        """Go on from rows to logits.

        Args:
            rows: Shape ``[r, p]``, on any device; some `BLOCK_ROWS` at a time.

        Returns:
            Shape ``[r, v]``, where the model lies.
        """
        if self._stub is None:
            return rows
        head = self._module
        device = rows.device if head is None else next(head.parameters()).device
        # A copy, so that equal rows are equally aligned: products can depend on that in their last
        # bit.
        self._stub.states = rows.to(device, copy=True)[None]
        try:
            ids = torch.zeros(1, len(rows), dtype=torch.int64, device=device)
            output = self._loaded.model(
                input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False
            )
        finally:
            self._stub.states = None
        result: Tensor = output.logits[0]
        return result

    def repeats(self, batch: Batch, rows: Tensor) -> bool:
        """Say whether the model gives the same numbers again.

        Args:
            batch: The tokens.
            rows: What it gave for them at the predicting positions.

        Returns:
            True if rows and, of the first of them, logits are equal to the bit.
        """
        if not same_bits(predicting(self.run(batch), batch), rows):
            return False
        block = rows[:BLOCK_ROWS]
        return same_bits(self.logits(block), self.logits(block))


class _Stub(nn.Module):
    """Return given states, whatever the tokens."""

    def __init__(self, output_type: type[ModelOutput]) -> None:
        super().__init__()
        self._output_type = output_type
        self.states: Tensor | None = None

    def forward(self, *_args: object, **_kwargs: object) -> ModelOutput:
        return self._output_type(last_hidden_state=self.states)


def same_bits(X: Tensor, Y: Tensor) -> bool:  # noqa: N803 - matrices
    """Say whether two tensors hold the same numbers.

    Args:
        X: Any shape and floating dtype.
        Y: Likewise, on any device.

    Returns:
        True if they are equal; numbers that are not finite count as equal, for they are found by
        whoever uses them.
    """
    return X.dtype == Y.dtype and torch.equal(X.nan_to_num(), Y.to(X.device).nan_to_num())


def find_split(loaded: LoadedModel, batch: Batch) -> Split | None:
    """Find out where a model comes apart, by trying it.

    Args:
        loaded: The model.
        batch: A few tokens; logits of all of them are made.

    Returns:
        The place where the decoder alone gives to the bit what the head reads in the whole pass,
        and where the model without its decoder makes the whole pass's logits of that, to
        rounding. None if there is no such place.
    """
    for path in _places(loaded):
        if (split := _split_at(loaded, path, batch)) is not None:
            return split
    return None


def _places(loaded: LoadedModel) -> dict[str, None]:
    model = loaded.model
    named = (getattr(model, "base_model", None), getattr(model, "get_decoder", lambda: None)())
    names = {id(part): name for name, part in model.named_modules()}
    # Some families name neither (Llama 4): then it is a module that holds the decoder layers.
    first = names.get(id(loaded.layers[0]), "") if loaded.layers else ""
    parts = first.split(".")[:-2]  # without the list and the number
    around = [".".join(parts[:end]) for end in range(1, len(parts) + 1)]
    # The model itself, which is its own base if it has no other, is nothing to take out.
    return dict.fromkeys(
        path for path in (*(names.get(id(part), "") for part in named), *around) if path
    )


def _split_at(loaded: LoadedModel, path: str, batch: Batch) -> Split | None:
    decoder = loaded.model.get_submodule(path)
    real = batch.mask.bool()
    try:
        with torch.inference_mode():
            read, whole = _read_and_logits(loaded, batch)
            output = decoder(input_ids=batch.ids, attention_mask=batch.mask, use_cache=False)
            split = Split(path=path, output_type=type(output))
            states = output.last_hidden_state
            # Some heads read their input in a type of their own.
            given = states[real.to(states.device)].to(read.dtype)
            if not same_bits(given, read[real.to(read.device)]):
                return None
            with OutputHead.opened(loaded, split) as head:
                again = head.logits(states[real.to(states.device)])
    except torch.OutOfMemoryError:
        raise  # that is a RuntimeError too, and says nothing about the family
    except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError):
        # A family that needs more of its decoder than states, or calls it otherwise.
        return None
    # Some families multiply in a half type and return single precision.
    coarsest = max(torch.finfo(X.dtype).eps for X in (states, again, next(decoder.parameters())))
    return split if _equal_within(whole[real.to(whole.device)], again, coarsest) else None


def _read_and_logits(loaded: LoadedModel, batch: Batch) -> tuple[Tensor, Tensor]:
    read: list[Tensor] = []

    def keep(_module: nn.Module, args: tuple[Tensor, ...]) -> None:
        read.append(args[0])

    head = output_head(loaded)
    if head is None:
        msg = "no module is known that makes the logits"
        raise AttributeError(msg)
    handle = head.register_forward_pre_hook(keep)
    try:
        whole = logits(loaded, batch)
    finally:
        handle.remove()
    (only,) = read
    return only, whole


def _equal_within(whole: Tensor, again: Tensor, eps: float) -> bool:
    if whole.shape != again.shape:
        return False
    moved = (whole.double() - again.to(whole.device).double()).abs().amax()
    bound = _ROUNDINGS * eps * whole.double().abs().amax()
    # Sums of products in another order: far above their rounding, far below any scale or cap.
    # Of infinite logits nothing can be said.
    return bool(moved <= bound) and bool(bound.isfinite())
