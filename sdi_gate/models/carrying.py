"""Read the tensors of a model when they are asked for, and bring each to its device.

Between the disk and a device there is the host, whose memory can be a fraction of the model's
size. However many threads ask, no more is in flight there than the largest tensor takes.
"""

from __future__ import annotations

from contextlib import contextmanager
from threading import Condition
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from torch import Tensor

    from sdi_gate.models.opening import OpenModel
    from sdi_gate.models.placement import Placement
    from sdi_gate.models.tensors import TensorInfo

# Of one number, at most, as a file stores it: what is in flight is compared, not allocated.
_STORED_BYTES = {"F64": 8, "I64": 8, "F32": 4, "I32": 4, "F16": 2, "BF16": 2, "I16": 2}
_CPU = torch.device("cpu")


class Admission:
    """Bound the bytes that several threads hold at once; one by itself is always let in.

    Args:
        limit_bytes: The bound.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._held = 0
        self._inside = 0
        self._closed = False
        self._changed = Condition()

    @contextmanager
    def holding(self, size_bytes: int) -> Iterator[None]:
        """Wait until there is room, and keep it for the time of a block.

        Args:
            size_bytes: How much.

        Yields:
            Nothing; hold the bytes inside.

        Raises:
            RuntimeError: If nobody is let in any more.
        """
        with self._changed:
            self._changed.wait_for(
                lambda: self._closed or not self._inside or self._held + size_bytes <= self._limit
            )
            if self._closed:
                msg = "the model is no longer being loaded"
                raise RuntimeError(msg)
            self._held += size_bytes
            self._inside += 1
        try:
            yield
        finally:
            with self._changed:
                self._held -= size_bytes
                self._inside -= 1
                self._changed.notify_all()

    def close(self) -> None:
        """Let nobody in any more, and wait until everybody is out."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._inside)


class Arriving:
    """Read a tensor when transformers asks for it, round it, and send it to its device.

    Args:
        model: The model that holds it.
        info: The tensor.
        admission: Bounds what is in flight on the host, for all of the model's tensors.
        device: Where it goes; what goes to the CPU has arrived when it is read.
        rounded_to: The type to which it is rounded first; None for none.
    """

    def __init__(
        self,
        model: OpenModel,
        info: TensorInfo,
        admission: Admission,
        device: torch.device,
        rounded_to: torch.dtype | None,
    ) -> None:
        self._model = model
        self._info = info
        self._admission = admission
        self._device = device
        self._rounded_to = rounded_to

    def __getitem__(self, index: object) -> Tensor:
        """Return the tensor, whole.

        Args:
            index: The ellipsis, by which transformers asks for all of it.

        Returns:
            The tensor on its device, in its stored type or the one to which it is rounded.
        """
        with self._admission.holding(_size_of(self._info)):
            tensor = self._model.source.read(self._info)[index]  # type: ignore[index]
            if self._rounded_to is not None:
                tensor = tensor.to(self._rounded_to)
            # Here and not by whoever asked, so that the host's copy is gone before the next one.
            return tensor if self._device == _CPU else tensor.to(self._device)


def arriving(
    model: OpenModel, placement: Placement, rounding: Mapping[str, torch.dtype]
) -> tuple[dict[str, Arriving], Admission]:
    """Name the tensors of a model so that each is read when it is asked for.

    Args:
        model: The model.
        placement: Where its parts lie.
        rounding: Types to which tensors are rounded first, by name.

    Returns:
        The tensors by name, and what to close when no more of them are wanted.
    """
    admission = Admission(max(map(_size_of, model.tensors.values()), default=0))
    named = {
        name: Arriving(model, info, admission, placement.device_of(name), rounding.get(name))
        for name, info in model.tensors.items()
    }
    return named, admission


def _size_of(info: TensorInfo) -> int:
    return info.numel * _STORED_BYTES.get(info.dtype, 4)
